"""What the content should be: digests as lists, options and servers write them, and the means to check them.

    checksum=sha-256=9f86..  ─> parse_checksum ─┐
    Repr-Digest, Digest, ... ─> promised       ─┼─> {"sha256": "9f86.."} ─> Hasher ─> differing
    a record's digests       ─> checked_digests ┘

Names are those of `hashlib`, values are in lower-case hexadecimal. A digest that the caller gives and that cannot be
computed here is an error. One that a server gives is passed over: nobody asked for it to be checked.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from functools import cache

__all__ = ["Hasher", "algorithms", "checked_digests", "differing", "parse_checksum", "promised"]

_HEX = re.compile(r"[0-9a-f]+")
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*(?:;.*)?", re.DOTALL)


@cache
def algorithms() -> dict[str, int]:
    """What can be computed here: the name, and the length of its digest in bytes."""
    found = {}
    for name in sorted(hashlib.algorithms_available):
        try:
            size = hashlib.new(name, usedforsecurity=False).digest_size
        except (ValueError, TypeError):
            continue  # listed, and forbidden by this machine's OpenSSL
        if size:  # 0: as long as one likes, so there is nothing to compare with
            found[name.lower()] = size
    return found


def _known(name: str) -> str | None:
    """``SHA-256``, ``sha_256``, ``sha`` as `hashlib` names them; ``None``: it has no such thing."""
    plain = re.sub(r"[-_/]", "", name.lower())
    if plain == "sha":
        plain = "sha1"
    return next((known for known in algorithms() if re.sub(r"[-_/]", "", known) == plain), None)


def parse_checksum(text: str) -> tuple[str, str]:
    """A checksum as aria2 and others write it: ``sha-256=9F86...`` or ``sha256:9f86...``.

    Returns:
        The algorithm's name in `hashlib`, and the digest in lower case.

    Raises:
        ValueError: It is neither, or this Python cannot compute it; says what can be.

    >>> parse_checksum("SHA-1=DA39A3EE5E6B4B0D3255BFEF95601890AFD80709")
    ('sha1', 'da39a3ee5e6b4b0d3255bfef95601890afd80709')
    """
    match = re.fullmatch(r"\s*([\w/-]+?)\s*[=:]\s*(\S*)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no checksum: it should look like sha-256=9f86d081... (hexadecimal)")
    return _checked(*match.groups())


def checked_digests(digests: Mapping[str, str]) -> dict[str, str]:
    """Digests that a caller gives, under `hashlib`'s names and in lower case.

    Raises:
        ValueError: One is not hexadecimal, has the wrong length, or cannot be computed here.
    """
    return dict(_checked(name, value) for name, value in digests.items())


def _checked(name: str, value: str) -> tuple[str, str]:
    known = _known(name)
    if known is None:
        usual = ", ".join(
            usual for usual in ("md5", "sha1", "sha256", "sha384", "sha512") if usual in algorithms()
        )
        raise ValueError(f"the algorithm {name!r} is not known here; {usual} are, and others of hashlib's")
    digest, length = value.strip().lower(), 2 * algorithms()[known]
    if not _HEX.fullmatch(digest):
        raise ValueError(f"{value!r} is no {known} digest: it is not hexadecimal")
    if len(digest) != length:
        raise ValueError(f"{value!r} is no {known} digest: it has {len(digest)} digits, not {length}")
    return known, digest


def promised(headers: Mapping[str, str], *, whole: bool) -> dict[str, str]:
    """What an answer says of the whole file's content, in all algorithms that `hashlib` has.

    ``Repr-Digest`` (RFC 9530) and ``Digest`` (RFC 3230) are of the whole thing, whatever part of it the answer has.
    ``Content-Digest`` and ``Content-MD5`` are of what the answer has, and count only if that is the whole. Where two
    disagree, the first in this order counts. What cannot be read, or is not known here, is passed over.

    Args:
        headers: With keys in lower case.
        whole: Whether the answer has the whole thing: a 200, not a 206.
    """
    found: dict[str, str] = {}
    plain = headers.get("content-encoding", "identity").strip().lower() in ("", "identity")

    def take(name: str, value: str) -> None:
        known = _known(name)
        digest = known and _decoded(value, algorithms()[known])
        if known and digest:
            found.setdefault(known, digest)

    for field in ("repr-digest", *(["content-digest"] if whole else [])):
        # Of a key that comes twice, the last counts (RFC 9651, 4.2.2).
        members = (_MEMBER.fullmatch(part) for part in _split(headers.get(field, "")))
        for name, value in {match[1]: match[2] for match in members if match}.items():
            take(name, value)
    for part in headers.get("digest", "").split(","):
        name, _, value = part.strip().partition("=")
        # "id-": of the content without its coding, which is not what arrives if there is one.
        bare = name.lower().removeprefix("id-")
        if bare == name.lower() or plain:
            take(bare, value)
    if whole:
        take("md5", headers.get("content-md5", ""))
    return found


def _split(field: str) -> list[str]:
    """The members of a structured field: at commas that are not in a string."""
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', field)


def _decoded(value: str, size: int) -> str | None:
    """Base64 of so many bytes, in hexadecimal; hexadecimal itself, which some servers send, is told by its length."""
    value = value.strip()
    if len(value) == 2 * size and _HEX.fullmatch(value.lower()):
        return value.lower()
    try:
        raw = b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (NotBase64, ValueError):
        return None
    return raw.hex() if len(raw) == size else None


class Hasher:
    """Several digests of one stream of bytes. One thread at a time; `hashlib` lets go of the GIL meanwhile.

    Args:
        names: As `hashlib` has them; a name that comes twice counts once.
    """

    def __init__(self, names: Iterable[str]) -> None:
        # For checking what came, not for secrets: so md5 works also where it is forbidden for those.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes."""
        for one in self._hashes.values():
            one.update(data)

    def digests(self) -> dict[str, str]:
        """Of all bytes so far, by algorithm."""
        return {name: one.hexdigest() for name, one in self._hashes.items()}


def differing(expected: Mapping[str, str], got: Mapping[str, str]) -> tuple[str, ...]:
    """The algorithms in which the two differ; those that only one of them has are not compared.

    >>> differing({"md5": "00", "sha1": "11"}, {"md5": "00", "sha1": "22", "sha256": "33"})
    ('sha1',)
    """
    return tuple(name for name in expected if name in got and expected[name] != got[name])
