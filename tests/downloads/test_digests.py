"""Digests: as lists and servers write them, and whether they are kept."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool.downloads.digests import (
    Hasher,
    algorithms,
    checked_digests,
    differing,
    parse_checksum,
    promised,
)

DATA = b"whichpool"
SHA256 = hashlib.sha256(DATA)
SHA512 = hashlib.sha512(DATA)
MD5 = hashlib.md5(DATA)
SHA1 = hashlib.sha1(DATA)


def b64(digest: object) -> str:
    return b64encode(digest.digest()).decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["sha-256={}", "SHA256:{}", "sha_256 = {}", " sha-256={} "])
def test_checksums(text: str) -> None:
    assert parse_checksum(text.format(SHA256.hexdigest().upper())) == ("sha256", SHA256.hexdigest())


@pytest.mark.parametrize("name", ["md5", "sha-1", "sha-224", "sha-384", "sha-512", "sha3-256", "blake2b"])
def test_all_that_hashlib_has_is_known(name: str) -> None:
    plain = {"sha-1": "sha1", "sha3-256": "sha3_256"}.get(name, name.replace("-", ""))
    digest = hashlib.new(plain, DATA).hexdigest()
    assert parse_checksum(f"{name}={digest}") == (plain, digest)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9f86", "no checksum"),
        ("", "no checksum"),
        ("sha-256=", "not hexadecimal"),
        ("sha-256=xyz", "not hexadecimal"),
        ("sha-256=9f86", "4 digits, not 64"),
        ("adler32=00000001", "not known here; md5, sha1, sha256"),
        ("shake_128=00", "not known"),
    ],
)
def test_checksums_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_checksum(text)


def test_digests_of_a_record_are_normalised() -> None:
    assert checked_digests({"SHA-256": SHA256.hexdigest().upper(), "md5": MD5.hexdigest()}) == {
        "sha256": SHA256.hexdigest(),
        "md5": MD5.hexdigest(),
    }
    with pytest.raises(ValueError, match="crc32"):
        checked_digests({"crc32": "00000000"})


def test_repr_digest() -> None:
    headers = {"repr-digest": f"sha-512=:{b64(SHA512)}:, sha-256=:{b64(SHA256)}:;q=1 , unixsum=:AAA=:"}
    for whole in (True, False):
        assert promised(headers, whole=whole) == {"sha512": SHA512.hexdigest(), "sha256": SHA256.hexdigest()}


def test_content_digest_and_content_md5_are_of_what_the_answer_has() -> None:
    headers = {"content-digest": f"sha-256=:{b64(SHA256)}:", "content-md5": b64(MD5)}
    assert promised(headers, whole=True) == {"sha256": SHA256.hexdigest(), "md5": MD5.hexdigest()}
    assert promised(headers, whole=False) == {}


def test_digest_of_rfc_3230() -> None:
    headers = {"digest": f"SHA-256={b64(SHA256)}, SHA={b64(SHA1)},unixsum=30637,md5={b64(MD5)}"}
    assert promised(headers, whole=False) == {
        "sha256": SHA256.hexdigest(), "sha1": SHA1.hexdigest(), "md5": MD5.hexdigest(),
    }  # fmt: skip
    assert promised({"digest": f"sha-256={SHA256.hexdigest()}"}, whole=True) == {"sha256": SHA256.hexdigest()}
    coded = {"digest": f"id-sha-256={b64(SHA256)}"}
    assert promised(coded, whole=True) == {"sha256": SHA256.hexdigest()}
    assert promised({**coded, "content-encoding": "gzip"}, whole=True) == {}


def test_the_newer_field_counts() -> None:
    other = b64encode(bytes(32)).decode()
    headers = {"digest": f"sha-256={other}", "repr-digest": f"sha-256=:{b64(SHA256)}:"}
    assert promised(headers, whole=True) == {"sha256": SHA256.hexdigest()}
    twice = {"repr-digest": f"sha-256=:{other}:, sha-256=:{b64(SHA256)}:"}
    assert promised(twice, whole=True) == {"sha256": SHA256.hexdigest()}


@pytest.mark.parametrize(
    "headers",
    [
        {"repr-digest": "sha-256=:AAAA:"},
        {"repr-digest": "sha-256=:!!!!:"},
        {"repr-digest": 'sha-256="a, sha-256=:x:"'},
        {"repr-digest": "sha-256"},
        {"repr-digest": ""},
        {"repr-digest": "md6=:AAAA:"},
        {"digest": "sha-256"},
        {"digest": "=,=,="},
        {"digest": "sha-256=" + "A" * 60},
        {"content-md5": "nonsense"},
        {},
    ],
)
def test_what_cannot_be_read_is_passed_over(headers: dict[str, str]) -> None:
    assert promised(headers, whole=True) == {}


@settings(max_examples=100)
@given(st.text(st.sampled_from(':=,;"\\ shamd5-126/+A') | st.characters(), max_size=60), st.booleans())
def test_no_header_breaks_it(text: str, whole: bool) -> None:
    headers = dict.fromkeys(
        ["repr-digest", "content-digest", "digest", "content-md5", "content-encoding"], text
    )
    for name, digest in promised(headers, whole=whole).items():
        assert len(digest) == 2 * algorithms()[name]


def test_several_digests_in_one_pass() -> None:
    hasher = Hasher(["sha256", "md5", "sha256"])
    hasher.update(memoryview(DATA)[:4])
    hasher.update(DATA[4:])
    got = hasher.digests()
    assert got == {"sha256": SHA256.hexdigest(), "md5": MD5.hexdigest()}
    assert differing({"sha256": SHA256.hexdigest(), "sha1": "00"}, got) == ()
    assert differing({"sha256": "00", "md5": MD5.hexdigest()}, got) == ("sha256",)
