"""File names that are safe on Linux, macOS and Windows, whoever made them up.

    what the server says (Content-Disposition)  ─┐
    the last part of the URL                    ─┼─> safe_name ─> Names.claim ─> the file, and its `.part` beside it
    what the caller gives, with folders         ─┘

What a server or a URL says is never a folder: of `../../etc/passwd` the last part is taken. What the caller gives may
have folders in it; a name of theirs that would leave the folder is refused, not bent.

What is done to every part of a name, so that it is the same file everywhere:

- control characters, line separators and characters that turn the direction of writing (`exe.txt` shown for `txt.exe`)
  are removed; the rest is brought into Unicode's composed form (NFC)
- `<>:"|?*`, and what is no character, become `_`
- blanks at both ends and dots at the end go, since Windows drops them
- names of devices (`CON`, `nul.txt`, `COM¹.log`) get a `_` in front
- more than `LONGEST_BYTES` are cut before the extension
- `x.part` becomes `x_part`, and `x.part.journal` becomes `x.part_journal`: those names are the downloader's own, and
  what the next run would take for the half of `x` must not be a whole file
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from unicodedata import normalize
from urllib.parse import unquote_to_bytes, urlsplit

from whichpool.downloads.failures import Unsafe
from whichpool.downloads.urls import as_latin1

__all__ = ["LONGEST_BYTES", "Names", "name_from_disposition", "name_from_url", "safe_name"]

LONGEST_BYTES = 236
"""Of one part of a name, in UTF-8. The usual file systems take 255; 13 of them are for `.part.journal`, and 6 for a
number (`-2`) that is put in later."""

INDEX = "index.html"
"""The name where the URL ends in `/`, as wget has it."""

# What is taken for an extension: one word, and not a long one (24 characters are a guess).
_EXTENSION = re.compile(r"[\w+~-]{1,24}")

# Not seen, or seen as something else: controls (C0, DEL, C1), soft hyphen, Arabic letter mark, zero width space, marks
# and overrides of direction, line and paragraph separators, isolates, byte order mark. The joiners stay: emoji and
# Persian need them.
_REMOVED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]"
)
# Forbidden on Windows; surrogates, which are in no UTF-8; and the code points that are no characters.
_REPLACED = re.compile(
    r'[<>:"|?*\\/\ud800-\udfff\ufdd0-\ufdef'
    + "".join(chr((plane << 16) + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# What is safe as it is, but for devices and our own endings: most names.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+~.-]{0,198}[A-Za-z0-9_+~-]", re.ASCII)
# Of a URL without anything encoded, a query or a fragment: its last part. A fifth of the time of taking it apart.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+/(?:[^?#%\s]*/)?([A-Za-z0-9_+~.-]+)\Z", re.ASCII)
_BLANKS = " \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])[ \xa0]*(?:\.|$)", re.IGNORECASE
)
_OWN = re.compile(r"\.(part|part\.journal)$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:(?=[/\\]|$)")
_SEPARATORS = re.compile(r"[/\\]")


def safe_name(wanted: str) -> str:
    """A relative path, with ``/``, that is the same file on every system, and inside the folder that it is put into.

    Args:
        wanted: A name; with folders in it, if it is the caller's own. ``\\`` counts as ``/``. Bytes that are no UTF-8
            (``surrogateescape``) are taken for Latin-1, as in URLs.

    Returns:
        The name; unchanged if it was safe.

    Raises:
        Unsafe: It is absolute, goes up (``..``), or nothing is left of it.
    """
    parts = _SEPARATORS.split(as_latin1(wanted))
    if len(parts) > 1 and not parts[0]:
        raise Unsafe(f"the name {wanted!r} is an absolute path; it must be inside the folder")
    if _DRIVE.match(wanted):
        raise Unsafe(f"the name {wanted!r} names a drive; it must be inside the folder")
    if any(part.strip() == ".." for part in parts):
        raise Unsafe(f"the name {wanted!r} leaves the folder (..)")
    safe = "/".join(part for part in map(_part, parts) if part)
    if not safe:
        raise Unsafe(f"nothing is left of the name {wanted!r}")
    return safe


def name_from_url(url: str) -> str:
    """The last part of the URL's path, decoded; ``index.html`` if there is none. The query is not part of it.

    >>> name_from_url("https://example.org/a/b%20c.tar.gz?x=1"), name_from_url("https://example.org/a/")
    ('b c.tar.gz', 'index.html')
    >>> name_from_url("https://example.org/..%2f..%2fetc%2fpasswd")
    'passwd'
    """
    plain = _PLAIN_URL.match(url)
    if plain is not None and _PLAIN.fullmatch(plain[1]):
        return _last_part(plain[1], hidden=True)
    try:
        path = urlsplit(url).path
    except ValueError:
        return INDEX
    raw = unquote_to_bytes(path.rpartition("/")[2].encode("utf-8", "surrogatepass"))
    return _last_part(_text(raw), hidden=True) or INDEX


def name_from_disposition(header: str) -> str | None:
    """What a ``Content-Disposition`` calls the file (RFC 6266), without folders.

    ``filename*`` goes before ``filename``, if it can be read (RFC 8187; UTF-8 or ISO-8859-1).

    Args:
        header: As `http.client` gives it, which is decoded as Latin-1; UTF-8 in it is found.

    Returns:
        A safe name that does not begin with a dot; ``None``: it has none that can be used.

    >>> name_from_disposition("attachment; filename=plain.txt; filename*=UTF-8''na%C3%AFve.txt")
    'naïve.txt'
    >>> name_from_disposition("inline") is None
    True
    """
    try:
        header = header.encode("latin-1").decode()
    except UnicodeError:
        pass
    found = _parameters(header)
    for text in (_extended(found.get("filename*")), found.get("filename")):
        if text and (name := _last_part(text, hidden=False)):
            return name
    return None


class Names:
    """The names that are taken in one run: none is given twice, nor one that is the same file on some system.

    Upper and lower case and Unicode's forms make no difference, and a name cannot be a file and a folder at once. The
    outcome depends on the order of the claims only. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._files = _Keys()
        self._folders = _Keys()
        self._next: dict[int, int] = {}

    def claim(self, wanted: str, taken: Callable[[str], bool] | None = None) -> str:
        """A name that is the claimant's alone.

        Args:
            wanted: What `safe_name` gave.
            taken: Asked about each name that could be given: whether it cannot, because of a file that is there, say.

        Returns:
            ``wanted``, or with a number: ``a-2.tar.gz``.
        """
        with self._lock:
            *folders, last = wanted.split("/")
            above = ""
            for folder in folders:
                above += self._free(above, folder, lambda key, _: key in self._files, again=True) + "/"
                self._folders.add(_key(above[:-1]))
            if not folders and taken is None:  # the usual: a name that nobody has
                key = _key(last)
                if key not in self._files and key not in self._folders:
                    self._files.add(key)
                    return last
            name = above + self._free(
                above,
                last,
                lambda key, name: (
                    key in self._files or key in self._folders or (taken is not None and taken(name))
                ),
                again=False,
            )
            self._files.add(_key(name))
            return name

    def _free(self, above: str, part: str, taken: Callable[[int, str], bool], *, again: bool) -> str:
        key = _key(above + part)
        if not taken(key, above + part):
            return part
        stem, extension = _split(part)
        # Goes on where it stopped, so that 100,000 of the same name take 100,000 steps. A folder's number is looked for
        # from the start: several files share it.
        number = 2 if again else self._next.get(key, 2)
        while True:
            numbered = _cut(stem, f"-{number}{extension}")
            number += 1
            if not taken(_key(above + numbered), above + numbered):
                if not again:
                    self._next[key] = number
                return numbered


class _Keys:
    """A set of keys that takes 9 bytes for each: it is all that a run remembers of a file that is done with, and a set
    of Python has 70 (a million: 9 MB, and adding one takes 2 us; CPython 3.11, November 2026)."""

    def __init__(self) -> None:
        self._sorted = [array("Q") for _ in range(256)]  # by the first byte: adding moves what is behind it

    def __contains__(self, key: int) -> bool:
        one = self._sorted[key >> 56]
        at = bisect_left(one, key)
        return at < len(one) and one[at] == key

    def add(self, key: int) -> None:
        """Once is enough."""
        one = self._sorted[key >> 56]
        at = bisect_left(one, key)
        if at == len(one) or one[at] != key:
            one.insert(at, key)


def _part(text: str) -> str:
    """One part, safe; empty if nothing is left of it."""
    if _PLAIN.fullmatch(text) and not _DEVICE.match(text) and not _OWN.search(text):
        return text
    text, before = _REPLACED.sub("_", normalize("NFC", _REMOVED.sub("", text))), ""
    # What is cut off may leave a device, and a `_` in front may be one byte too many: until nothing is left to do.
    while text != before:
        before = text
        text = _cut(*_split(_ends(text)))
        if _DEVICE.match(text):
            text = "_" + text
        text = _OWN.sub(lambda found: "_part" if found[1].lower() == "part" else ".part_journal", text)
    return text


def _ends(text: str) -> str:
    return text.lstrip(_BLANKS).rstrip(_BLANKS + ".")


def _last_part(text: str, *, hidden: bool) -> str:
    """For names that others made up: no folders, and no ``-`` in front, which a shell's ``*`` makes an option of.

    Without ``hidden`` no dot in front either: some program reads `.bashrc` without being asked, and no server is to
    make one.
    """
    name = _part(_SEPARATORS.split(text)[-1])
    if not hidden:
        name = _part(name.lstrip("." + _BLANKS))
    return "_" + name[1:] if name.startswith("-") else name


def _split(part: str) -> tuple[str, str]:
    """The name and its extension, of which ``.tar.gz`` is one."""
    stem, dot, extension = part.rpartition(".")
    if not stem or not _EXTENSION.fullmatch(extension):
        return part, ""
    inner, _, kind = stem.rpartition(".")
    if inner and kind.lower() == "tar":
        return inner, f".{kind}.{extension}"
    return stem, dot + extension


def _cut(stem: str, end: str) -> str:
    """Both together within `LONGEST_BYTES`, with all of ``end``; cut between code points."""
    room = LONGEST_BYTES - len(end.encode())
    raw = stem.encode()
    return _ends((stem if len(raw) <= room else raw[:room].decode(errors="ignore")) + end)


def _key(name: str) -> int:
    """The same for names that are one file on some system.

    Both steps, since the i without a dot is an `I` only by its upper case, and `ß` is `ss` only when folded. The
    joiners do not count on HFS+.
    """
    if name.isascii():
        folded = name.lower()
    else:
        folded = normalize("NFC", name.replace("\u200c", "").replace("\u200d", "")).upper().casefold()
        folded = normalize("NFC", folded)
    return int.from_bytes(blake2b(folded.encode(), digest_size=8).digest(), "big")


# --- Content-Disposition -------------------------------------------------------------------------------------

# A parameter: its name, and a quoted string or all up to the next semicolon (names with blanks come without quotes).
_PARAMETER = re.compile(
    r'\s*([!#$%&\'*+.^_`|~\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?[^;]*|([^;]*))(?:;|$)', re.DOTALL
)
_EXTENDED = re.compile(r"([A-Za-z0-9_-]+)'[A-Za-z0-9-]*'((?:[^%]|%[0-9A-Fa-f]{2})*)", re.DOTALL)
_CHARSETS = {"utf-8": "utf-8", "iso-8859-1": "latin-1"}


def _parameters(header: str) -> dict[str, str]:
    """The first of each name; what cannot be read is passed over."""
    found: dict[str, str] = {}
    at = 0
    while at < len(header):
        match = _PARAMETER.match(header, at)
        if match is None:
            # The type, or something broken: up to the next semicolon.
            after = header.find(";", at)
            at = len(header) if after < 0 else after + 1
            continue
        at = match.end()
        name, quoted, plain = match.groups()
        value = plain.strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        found.setdefault(name.lower(), value)
    return found


def _extended(value: str | None) -> str | None:
    """A value in the coding of RFC 8187; ``None`` if it is not one."""
    match = _EXTENDED.fullmatch(value or "")
    charset = match and _CHARSETS.get(match[1].lower())
    if not match or not charset:
        return None
    try:
        return unquote_to_bytes(match[2].encode("utf-8", "replace")).decode(charset)
    except UnicodeDecodeError:
        return None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
