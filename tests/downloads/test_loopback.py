"""`download` against a server on this machine: what scripted answers cannot show, that bytes really come and go."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import whichpool
from whichpool.downloads import manners, segments

DATA = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))  # 3,200,000 bytes
SENT = {
    "etag": '"v1"',
    "last_modified": "Tue, 01 Sep 2026 10:00:00 GMT",
    "date": "Wed, 25 Nov 2026 10:00:00 GMT",
    "accept_ranges": "bytes",
}


def ranged(peer, body=DATA, send=None):
    """Answer as a server of files does; ``send`` sends the body."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", peer.request.headers.get("range", ""))
    if found and peer.request.headers.get("if-range", SENT["etag"]) == SENT["etag"]:
        first, last = int(found[1]), int(found[2] or len(body) - 1)
        piece = body[first : last + 1]
        status, told = "206 Partial Content", {"content_range": f"bytes {first}-{last}/{len(body)}"}
    else:
        piece, status, told = body, "200 OK", {}
    if send is None:
        peer.answer(status, piece, **SENT, **told)
        return None
    peer.answer(status, content_length=str(len(piece)), **SENT, **told)
    return send(piece)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(manners, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("WHICHPOOL_CACHE", "")


def test_many_files(serve, tmp_path):
    server = serve(lambda peer: peer.answer(body=peer.request.target.encode() * 1000))
    urls = [server.url(f"/{number}") for number in range(100)]
    receipts = whichpool.download(urls, tmp_path)
    assert all(one.ok for one in receipts)
    for number in range(100):
        assert (tmp_path / str(number)).read_bytes() == b"/%d" % number * 1000


def test_a_reset_in_the_middle_is_gone_on_with(serve, tmp_path):
    def some(piece):
        peer.raw(piece[:1_000_000])
        return False

    def answer(given):
        nonlocal peer
        peer = given
        return ranged(peer, send=some if len(server.targets) < 3 else None)

    peer = None
    server = serve(answer)
    (receipt,) = whichpool.download(server.url("/f.bin"), tmp_path)
    assert (receipt.attempts, receipt.resumed, receipt.fetched_bytes) == (3, True, len(DATA))
    assert (tmp_path / "f.bin").read_bytes() == DATA


CHILD = "import sys, whichpool; whichpool.download(sys.argv[1], sys.argv[2], segments=1)"


def test_killed_in_the_middle_it_is_gone_on_with(serve, tmp_path):
    half, killed = threading.Event(), threading.Event()

    def slowly(piece):
        peer.raw(piece[:2_000_000])
        if not killed.is_set():
            half.set()
            killed.wait(30)
            return False
        peer.raw(piece[2_000_000:])
        return None

    def answer(given):
        nonlocal peer
        peer = given
        return ranged(peer, send=slowly)

    peer = None
    server = serve(answer)
    folder = tmp_path / "d"
    script = f"from whichpool.downloads import part; part.GROUP_BYTES = 500_000; {CHILD}"
    with subprocess.Popen([sys.executable, "-c", script, server.url("/f.bin"), str(folder)]) as child:
        assert half.wait(20)
        pause = threading.Event()
        until = time.monotonic() + 20
        while not (folder / "f.bin.part.journal").exists():  # it syncs on a thread of its own
            assert time.monotonic() < until
            pause.wait(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    killed.set()
    claimed = max(
        [int(line.rpartition("]")[0].rpartition(",")[2].rstrip("]")) for line in
         (folder / "f.bin.part.journal").read_text().splitlines()[1:]], default=0,
    )  # fmt: skip
    (receipt,) = whichpool.download(server.url("/f.bin"), folder)
    assert (folder / "f.bin").read_bytes() == DATA
    assert os.listdir(folder) == ["f.bin"]
    assert receipt.fetched_bytes == len(DATA) - claimed
    assert receipt.resumed == (claimed > 0)
    assert claimed >= 500_000


def test_who_asks_to_be_left_alone_is_left_alone_as_a_whole(serve, tmp_path):
    asked = []
    lock = threading.Lock()

    def answer(peer):
        with lock:
            asked.append(time.monotonic())
            first = len(asked) == 1
        if first:
            peer.answer("429 Too Many Requests", retry_after="1")
        else:
            peer.answer(body=b"x")

    server = serve(answer)
    urls = [server.url(f"/{number}") for number in range(20)]
    receipts = whichpool.download(urls, tmp_path, per_host=1)
    assert all(one.ok for one in receipts)
    assert sum(one.attempts for one in receipts) == 21
    assert asked[1] - asked[0] >= 0.99


def test_further_connections_where_each_is_slow(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "FIRST_LOOK_S", 0.1)
    monkeypatch.setattr(segments, "WINDOW_S", 0.1)
    at_once, most = [0], [0]
    lock = threading.Lock()

    def answer(peer):
        def slowly(piece):
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            try:
                for at in range(0, len(piece), 40_000):
                    peer.raw(piece[at : at + 40_000])
                    if peer.server.stopping.wait(0.02):  # 2 MB/s for each
                        break
            except OSError:
                return False  # it was cut: somebody else brings the rest
            finally:
                with lock:
                    at_once[0] -= 1
            return None

        return ranged(peer, send=slowly)

    server = serve(answer)
    (receipt,) = whichpool.download(server.url("/f.bin"), tmp_path, segment_bytes=200_000)
    assert (tmp_path / "f.bin").read_bytes() == DATA
    assert receipt.digests == {"sha256": hashlib.sha256(DATA).hexdigest()}
    assert receipt.segments >= 2
    assert most[0] >= 2
    assert receipt.fetched_bytes < len(DATA) * 1.2  # what was on its way when a range was cut
