"""The sane cases, against a real server."""

from __future__ import annotations

import hashlib
import random

import pytest
from get_help import digest, fetch, fetch_one, files, only
from real_nginx import LARGE_BYTES, SMALL_FILES

from whichpool.downloads.records import Request


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def small(nginx, place="small", count=SMALL_FILES):
    """URLs, and what must come."""
    names = [f"{n:04}.bin" for n in range(count)]
    urls = [f"{nginx.http}/{place}/{name}" for name in names]
    return urls, {name: (nginx.root / "small" / name).read_bytes() for name in names}


def answers(nginx, place):
    return [line for line in nginx.log() if line[1].startswith(f"/{place}/")]


@pytest.mark.parametrize("place", ["small", "ten", "closed", "moved"])
def test_many_small_files(nginx, folder, place):
    """Over connections that stay, that end after ten requests, after each one; and redirected."""
    urls, content = small(nginx, place)
    receipts = fetch(urls, folder)
    assert {(r.outcome, r.attempts) for r in receipts.values()} == {("fetched", 1)}
    assert all(r.etag and r.last_modified for r in receipts.values())
    only(folder, content)
    again = fetch(urls, folder)
    assert {r.outcome for r in again.values()} == {"unchanged"}


def test_https(nginx, folder, certificates):
    urls, content = small(nginx, count=60)
    urls = [url.replace(nginx.http, nginx.https) for url in urls]
    assert all(r.ok for r in fetch(urls, folder, ca_bundle=certificates.bundle).values())
    only(folder, content)


def test_a_large_file(nginx, folder):
    url = f"{nginx.http}/large.bin"
    receipt = fetch_one(url, folder)
    assert receipt.ok
    assert receipt.bytes == LARGE_BYTES
    with open(nginx.root / "large.bin", "rb") as file:
        assert receipt.digests["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert [*files(folder)] == ["large.bin"]
    assert (folder / "large.bin").stat().st_mtime == int((nginx.root / "large.bin").stat().st_mtime)


def test_a_large_file_in_segments(nginx, folder):
    """4 MB/s for each connection: more of them are better, and found to be."""
    receipt = fetch_one(
        f"{nginx.http}/throttled/large.bin", folder, segments=16, segment_bytes=2_000_000, per_host=16
    )
    assert receipt.segments >= 4
    with open(nginx.root / "large.bin", "rb") as file:
        assert receipt.digests["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert receipt.fetched_bytes < LARGE_BYTES * 1.1


def test_without_ranges(nginx, folder):
    receipt = fetch_one(f"{nginx.http}/whole/large.bin", folder, segment_bytes=1_000_000)
    assert (receipt.ok, receipt.segments, receipt.bytes) == (True, 1, LARGE_BYTES)


def test_what_is_packed_too(nginx, folder):
    """A file with a .gz beside it comes as it is, for nothing else is asked for."""
    text = (nginx.root / "packed" / "text.txt").read_bytes()
    receipt = fetch_one(Request(f"{nginx.http}/packed/text.txt", digests=digest(text)), folder)
    assert set(receipt.checked) >= {"length", "sha256"}
    only(folder, {"text.txt": text})


def test_a_password(nginx, folder):
    urls, content = small(nginx, "secret", count=20)
    receipts = fetch(urls, folder)
    assert {(r.failure, r.status, r.attempts) for r in receipts.values()} == {("refused", 401, 1)}
    assert all(r.ok for r in fetch(urls, folder, user=("mole", "digs-deep")).values())
    only(folder, content)


def test_newer(nginx, folder):
    urls, content = small(nginx, count=20)
    fetch(urls, folder)
    before = len(answers(nginx, "small"))
    receipts = fetch(urls, folder, newer=True)
    assert {r.outcome for r in receipts.values()} == {"unchanged"}
    assert {line[2] for line in answers(nginx, "small")[before:]} == {"304"}
    only(folder, content)


@pytest.mark.parametrize("place", ["few", "slowly"])
def test_limits_of_the_server(nginx, folder, place):
    """503 above two connections; 429 above 40 requests a second: all arrives, and less is asked for at once."""
    urls, content = small(nginx, place, count=60)
    receipts = fetch(urls, folder, retries=20)
    assert {r.failure for r in receipts.values()} == {None}
    only(folder, content)


def test_a_mix(nginx, folder):
    """Files of all sizes, some not there, in one call."""
    urls, content = small(nginx)
    gone = [f"{nginx.http}/small/none-{n}" for n in range(20)]
    everything = [*urls, *gone, f"{nginx.http}/large.bin"]
    random.Random(4).shuffle(everything)
    receipts = fetch(everything, folder)
    assert {receipts[url].failure for url in gone} == {"gone"}
    found = files(folder)
    assert len(found.pop("large.bin")) == LARGE_BYTES
    assert found == content
