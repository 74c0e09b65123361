"""A downloader that is interrupted, killed, out of room or not alone: the next run goes on, and nothing is wrong."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import hostile as h
import pytest
from get_help import fetch, fetch_one, files, finished, only

MB = 1_000_000
KILLS = int(os.environ.get("WHICHPOOL_CHAOS_DOWNLOAD_KILLS", "25"))
"""SIGKILLs of a downloader at random moments. A run with more: ``WHICHPOOL_CHAOS_DOWNLOAD_KILLS=200 pytest
tests/downloads/test_get_ends.py``; another seed: ``WHICHPOOL_CHAOS_SEED``."""
SEED = int(os.environ.get("WHICHPOOL_CHAOS_SEED", "20261125"))
CHILD = Path(__file__).with_name("get_child.py")
PATIENCE_S = 60
ON_A_BAD_LINE = {"retries": 40, "stall_s": 0.3, "stall_bytes": 1000, "first_byte_s": 0.3}
"""What stalls costs little here; a connection that is only slow breaks too, and that does no harm."""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def child(folder, compiled):
    """Starts a downloader; the ones that still run are killed at the end."""
    started = []

    def start(urls, **order):
        order = {"urls": urls, "folder": str(folder), **order}
        process = subprocess.Popen(
            [sys.executable, str(CHILD), json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def receipts(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    return [json.loads(line) for line in out.splitlines()], err


def test_ctrl_c_in_the_middle(server, folder, child, noise):
    """Ctrl-C: what is there is brought to the disk before it ends."""
    body = noise(5 * MB)
    reached = threading.Event()
    urls = [
        server.at(f"/{n}", h.serve(body, stop_at=4 * MB, then="stall", reached=reached)) for n in range(3)
    ]
    urls.append(server.at("/done", h.serve(b"done")))
    process = child(urls)
    server.wait_until(
        lambda s: process.poll() is not None or all(s.sent(f"/{n}") == 4 * MB for n in range(3))
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert set(finished(folder)) <= {"done"}
    for n in range(3):
        server.at(f"/{n}", h.serve(body))
    again = fetch(urls, folder)
    assert all(r.ok for r in again.values())
    only(folder, {"0": body, "1": body, "2": body, "done": b"done"})
    assert {again[url].resumed for url in urls[:3]} == {True}


def test_a_call_that_is_given_up(server, folder, noise):
    """`idownload` in a loop that is left."""
    from whichpool import idownload

    body = noise(MB)
    urls = [server.at("/first", h.serve(b"x")), server.at("/a", h.serve(body, stop_at=MB // 2, then="stall"))]
    for receipt in idownload(urls, folder):
        assert receipt.path == "first"
        break
    else:
        pytest.fail("no receipt")
    del receipt
    assert set(finished(folder)) == {"first"}


# --- killed -----------------------------------------------------------------------------------------------------

GROUP_BYTES = MB
"""What is brought to the disk at a time. By default 64 MB, or what a second brings: the runs would have to be long."""
UNSAFE_BYTES = 3 * GROUP_BYTES + 2 * MB
"""Of one file, what may come a second time after a kill: a group that is on its way to the disk, the one that is
gathered meanwhile (an fsync takes its time), and what was in the kernel's buffers."""


class Forker:
    """Downloaders that start at once: see `get_child.take_orders`. One at a time."""

    def __init__(self, folder):
        self._told = folder / "told"
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ended = None

    def start(self, **order):
        """Returns when it runs; ``self.pid``."""
        print(json.dumps({**order, "told": str(self._told)}), file=self._process.stdin, flush=True)
        self.pid = int(self._process.stdout.readline())

    def over(self):
        """Whether it has ended by itself."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def end(self):
        """Its exit code, and what it has said. Waits for it."""
        return int(self._process.stdout.readline()), self._told.read_text()

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE_S)


@pytest.fixture
def forker(tmp_path, compiled):
    forker = Forker(tmp_path)
    yield forker
    forker.close()


def on_disk(journal):
    """The ranges that a journal says to be on the disk; a line is written after the fsync of what it says."""
    ranges = []
    for line in journal.read_bytes().splitlines(keepends=True)[1:] if journal.exists() else ():
        if not line.endswith(b"\n"):
            break  # killed while it was written
        ranges += json.loads(line[9:])["have"]
    return ranges


def overlaps(span, path, ranges):
    return span.path == path and any(span.first < end and first < span.end for first, end in ranges)


@pytest.mark.timeout(30 + KILLS * 4)
def test_killed_at_random_moments(servers, folder, forker, noise):
    """Each run is killed somewhere; what it leaves is gone on with, or fetched anew; at the end all is right. No byte
    that was on the disk is sent by the server again."""
    rng = random.Random(SEED)
    killed = rounds = 0
    while killed < KILLS:
        rounds += 1
        server = servers()
        root = folder / f"round-{rounds}"
        content = {"large": noise(24 * MB, seed=1), "middle": noise(6 * MB, seed=2)}
        content |= {f"small-{n}": noise(rng.randrange(0, 60_000), seed=100 + n) for n in range(12)}
        urls = [server.at("/" + name, h.serve(body, rate=40 * MB)) for name, body in content.items()]
        order = {"urls": urls, "folder": str(root), "group_bytes": GROUP_BYTES}
        order["settings"] = {"segments": rng.choice([1, 4]), "segment_bytes": 2 * MB}
        here = 0
        certain, before = {}, 0
        while True:
            moment = server.sent_bytes + rng.randrange(8 * MB)
            forker.start(**order)
            server.wait_until(lambda s, m=moment: forker.over() or s.sent_bytes > m, PATIENCE_S)
            over = forker.over()
            if not over:
                os.kill(forker.pid, signal.SIGKILL)
            code, said = forker.end()
            for name, ranges in certain.items():
                again = [span for span in server.spans[before:] if overlaps(span, "/" + name, ranges)]
                assert not again, (name, ranges, again, f"kill {here} of round {rounds}")
            if over:
                assert code == 0, said
                outcomes = {json.loads(line)["outcome"] for line in said.splitlines()}
                assert outcomes <= {"fetched", "unchanged"}, said
                break
            here += 1
            for name, got in finished(root).items() if root.exists() else ():
                assert got == content[name], f"{name} is not what was served, after kill {here} of {rounds}"
            certain = {name: on_disk(root / f"{name}.part.journal") for name in ("large", "middle")}
            before = len(server.spans)
        killed += here
        only(root, content)
        for name in ("large", "middle"):
            assert server.twice("/" + name) <= here * UNSAFE_BYTES, (name, here)


@pytest.mark.timeout(30 + KILLS * 4)
def test_killed_on_a_bad_line(server, lossy, folder, forker, noise):
    """Connections break as well. What was certain to be on the disk is not asked for again, whoever ended the try."""
    dice, kills = random.Random(SEED), max(3, KILLS // 6)
    line = lossy(int(server.origin.rpartition(":")[2]), SEED, MB)
    content = {f"large-{n}": noise(4 * MB, seed=n) for n in range(3)}
    content |= {f"small-{n}": noise(dice.randrange(0, 60_000), seed=100 + n) for n in range(12)}
    for name, body in content.items():
        server.at("/" + name, h.serve(body))
    order = {
        "urls": [f"http://127.0.0.1:{line.port}/{name}" for name in content],
        "folder": str(folder),
        "group_bytes": GROUP_BYTES // 2,
        "first_wait_s": 0.0,
        "settings": {**ON_A_BAD_LINE, "segment_bytes": MB},
    }
    certain, before = {}, 0
    for kill in range(kills + 1):
        moment = server.sent_bytes + dice.randrange(12 * MB // kills) if kill < kills else 1 << 60
        forker.start(**order)
        server.wait_until(lambda s, m=moment: forker.over() or s.sent_bytes > m, PATIENCE_S)
        if not forker.over():
            os.kill(forker.pid, signal.SIGKILL)
        code, said = forker.end()
        for name, ranges in certain.items():
            again = [span for span in server.spans[before:] if overlaps(span, "/" + name, ranges)]
            assert not again, (name, ranges, again, kill)
        for name, got in finished(folder).items() if folder.exists() else ():
            assert got == content[name], f"{name} is not what was served, after kill {kill}"
        certain = {name: on_disk(folder / f"{name}.part.journal") for name in content}
        before = len(server.spans)
    assert code == 0, said
    assert {json.loads(text)["outcome"] for text in said.splitlines()} <= {"fetched", "unchanged"}, said
    only(folder, content)
    assert line.losses > 3, line.done
    twice = sum(server.twice("/" + name) for name in content)
    assert twice <= line.losses * line.most_lost + kills * 3 * UNSAFE_BYTES / 2, (twice, line.done)


def test_what_was_on_the_disk_is_not_fetched_again(server, folder, child, noise):
    """One file, one kill: the second run begins where the first was certain of it."""
    body = noise(24 * MB)
    url = server.at("/a", h.serve(body, stop_at=20 * MB, rate=40 * MB))
    process = child([url], group_bytes=GROUP_BYTES, settings={"segments": 1}, tell_syncs=True)
    synced = [json.loads(process.stdout.readline())["synced"] for _ in range(4)]
    process.kill()
    process.communicate()
    server.at("/a", h.serve(body))
    receipt = fetch_one(url, folder)
    assert receipt.resumed
    only(folder, {"a": body})
    # What the fourth brought there may not be in the journal yet.
    assert server.asked("/a")[-1].range[0] >= synced[2] > 2 * GROUP_BYTES


# --- not alone --------------------------------------------------------------------------------------------------


def test_two_at_one_folder(server, folder, child, noise):
    """The same URLs at the same time: one of them may have to leave a file to the other, and nothing is wrong."""
    content = {f"{n}": noise(300_000, seed=n) for n in range(8)}
    urls = [server.at("/" + n, h.serve(body, rate=MB)) for n, body in content.items()]
    two = [child(urls), child(urls)]
    found = [receipts(process) for process in two]
    for rs, err in found:
        assert len(rs) == len(urls), err
        for r in rs:
            assert r["outcome"] != "failed" or r["failure"] in {"diskfailed"}, r
    assert all(
        any(r["outcome"] != "failed" for rs, _ in found for r in rs if r["url"] == url) for url in urls
    )
    only(folder, content)


# --- no room, no leave ------------------------------------------------------------------------------------------


def test_a_file_that_may_not_get_so_large(server, folder, child, noise):
    """EFBIG stands for ENOSPC: it comes from the write, not from a look at what is free."""
    body = noise(6 * MB)
    urls = [server.at("/large", h.serve(body)), server.at("/small", h.serve(b"x"))]
    found, err = receipts(child(urls, limit_bytes=3 * MB))
    by_url = {r["url"]: r for r in found}
    assert by_url[urls[0]]["failure"] == "diskfailed", (found, err)
    assert by_url[urls[0]]["attempts"] == 1
    assert by_url[urls[1]]["outcome"] == "fetched"
    assert set(finished(folder)) == {"small"}
    # With room it goes on, and does not begin anew.
    receipt = fetch(urls, folder)[urls[0]]
    assert receipt.ok
    assert receipt.resumed
    only(folder, {"large": body, "small": b"x"})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    place = tmp_path / "data"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "whichpool-tests", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk, and not everywhere; EFBIG stands in for it")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_full_disk(server, small_disk, child, noise, known):
    """Where the size is known, it is seen before; where not, it ends when it is full. What is there stays."""
    body = noise(6 * MB)
    small = noise(100_000)
    good = h.serve(body)
    large = server.at("/large", good if known else h.raw(h.head(200, [("ETag", '"v1"')]) + body))
    first = server.at("/first", h.serve(small))
    one = fetch_one(first, small_disk)
    receipts = fetch([large, first], small_disk)
    assert one.ok
    assert receipts[large].failure == "diskfailed"
    assert receipts[large].attempts == 1
    assert finished(small_disk) == {"first": small}
    if known:
        assert server.sent("/large") < 3 * MB
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert fetch_one(large, small_disk).ok
    only(small_disk, {"first": small, "large": body})


def test_a_disk_that_fills_up_with_several_files(server, small_disk, noise):
    """What fits is there and whole, and what does not is no file."""
    content = {str(n): noise(MB, seed=n) for n in range(8)}
    urls = {server.at("/" + name, h.serve(body, rate=20 * MB)): name for name, body in content.items()}
    receipts = fetch([*urls], small_disk)
    there = {urls[url] for url, r in receipts.items() if r.ok}
    assert {r.failure for r in receipts.values()} == {None, "diskfailed"}
    assert 1 <= len(there) <= 4
    assert finished(small_disk) == {name: content[name] for name in there}
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert all(r.ok for r in fetch([*urls], small_disk).values())
    only(small_disk, content)


def test_a_server_that_lies_about_a_size_takes_nobody_s_room(server, servers, small_disk, noise):
    """It says nearly all that is free, and sends nothing; another host's file is fetched meanwhile."""
    body, said, there = noise(3 * MB), threading.Event(), threading.Event()

    def liar(visit):
        visit.head(200, [("Content-Length", str(4 * MB - 1000)), ("ETag", '"v1"')])
        visit.raw(b"x" * 300_000)
        there.wait(PATIENCE_S)
        return False

    def honest(visit):
        said.wait(PATIENCE_S)
        h.serve(body)(visit)

    def on_event(event):
        if event["event"] == "begin" and event["name"] == "liar":
            said.set()
        elif event["event"] == "end" and event.get("path") == "honest":
            there.set()

    urls = [servers(host="127.0.0.2").at("/liar", liar), server.at("/honest", honest)]
    receipts = fetch(urls, small_disk, retries=0, on_event=on_event)
    assert [receipts[url].failure for url in urls] == ["broken", None], receipts
    assert finished(small_disk) == {"honest": body}


def test_few_open_files_are_allowed(server, folder, noise):
    """Fewer files are in progress then, and none fails."""
    content = {str(n): noise(300_000, seed=n) for n in range(30)}
    urls = [server.at("/" + name, h.serve(body)) for name, body in content.items()]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = max(map(int, os.listdir("/dev/fd")))  # the limit is the highest number, too
    resource.setrlimit(resource.RLIMIT_NOFILE, (here + 44, hard))
    try:
        receipts = fetch(urls, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {r.message for r in receipts.values()} == {None}
    assert server.busiest < 16  # numbers that are free between those in use count too
    only(folder, content)


def test_a_folder_that_must_not_be_written(server, tmp_path, noise):
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o500)
    url = server.at("/a", h.serve(b"x"))
    assert fetch_one(url, folder).failure == "diskfailed"
    folder.chmod(0o700)
    assert files(folder) == {}


def test_a_disk_that_must_not_be_written(server, small_disk):
    """Read-only for root, too."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    url = server.at("/a", h.serve(b"x"))
    receipt = fetch_one(url, small_disk)
    assert (receipt.failure, receipt.attempts) == ("diskfailed", 1)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert files(small_disk) == {}


# --- many -------------------------------------------------------------------------------------------------------

MANY = 10_000


def test_many_urls_begin_at_once_and_hold_no_memory(server, folder, child):
    """From a generator: what is asked for is taken from it as it is needed; and memory does not grow with the count."""
    server.under("/", h.status(404, body=b""))
    process = child([], many=[server.origin + "/", MANY], settings={"per_host": 8})
    out, err = process.communicate(timeout=PATIENCE_S)
    told = json.loads(out)
    assert told["count"] == MANY, err
    first, *later = told["peaks"]
    assert first["taken"] < 2_000, "the list is read when it is needed"
    assert first["s"] < 10
    early = next(p for p in later if p["n"] == 2_000)
    assert told["kb"] - early["kb"] < 10_000
    assert told["kb"] < 100_000


def test_what_is_done_with_is_forgotten(folder, child):
    """Of a file that is done with, its name alone is remembered, in nine bytes. To keep receipts, or requests, would
    take more than 500 bytes for each: 9 MB."""
    process = child([], many=["file:///no/such/folder/", 2 * MANY])
    out, err = process.communicate(timeout=PATIENCE_S)
    told = json.loads(out)
    assert told["count"] == 2 * MANY, err
    early = next(p for p in told["peaks"] if p["n"] == 2_000)
    assert told["kb"] - early["kb"] < 4_000
