"""`download` and `idownload`: lists, order, names, events, what stops them, and what they remember."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

import pytest
import scripted
from scripted import Site, cut

import whichpool
from whichpool.downloads import Request, learned, run
from whichpool.downloads.board import Board
from whichpool.downloads.failures import Busy

DATA = hashlib.sha512(b"one").digest() * 2_000  # 128,000 bytes


@pytest.fixture
def site(monkeypatch):
    return scripted.instead(Site(), monkeypatch)


def many(site, count):
    urls = [f"http://a.example/{number}.bin" for number in range(count)]
    for url in urls:
        site.put(url, DATA)
    return urls


def test_receipts_come_in_the_order_of_the_input(site, tmp_path):
    urls = many(site, 50)
    del site.things[urls[7]]
    receipts = whichpool.download(urls, tmp_path)
    assert [one.url for one in receipts] == urls
    assert [one.ok for one in receipts] == [number != 7 for number in range(50)]
    assert len(os.listdir(tmp_path)) == 49


def test_one_url_alone(site, tmp_path):
    (url,) = many(site, 1)
    assert whichpool.download(url, tmp_path)[0].ok
    assert whichpool.download(Request(url, "b"), tmp_path)[0].path == "b"
    assert whichpool.download({"url": url, "name": "c"}, tmp_path)[0].path == "c"
    assert whichpool.download([], tmp_path) == []


def test_each_entry_is_a_file_of_its_own_and_the_same_in_each_run(site, tmp_path):
    (url,) = many(site, 1)
    entries = [url, url, {"url": url, "name": "x/0.bin"}, {"url": url, "name": "0.BIN"}]
    receipts = whichpool.download(entries, tmp_path, most=2)
    assert [one.path for one in receipts] == ["0.bin", "0-2.bin", "x/0.bin", "0-3.BIN"]
    assert len(site.asked) == 4
    again = whichpool.download(entries, tmp_path, most=3)
    assert [one.path for one in again] == [one.path for one in receipts]
    assert {one.outcome for one in again} == {"unchanged"}


def test_a_list_is_read_as_it_is_worked_off(site, tmp_path):
    (url,) = many(site, 1)
    taken = itertools.count()
    last = 0

    def endless():
        nonlocal last
        for last in taken:
            yield {"url": url, "name": f"{last}.bin"}

    receipts = whichpool.idownload(endless(), tmp_path, most=4)
    first = next(receipts)
    assert first.ok
    assert last < 2_000  # of one host, a thousand are kept aside
    receipts.close()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".journal")]


def test_books_go_when_the_receipt_is_given(site, tmp_path, monkeypatch):
    made = []
    real = run._jobs

    def jobs(things, context, books):
        made.append(books)
        return real(things, context, books)

    monkeypatch.setattr(run, "_jobs", jobs)
    urls = many(site, 200)
    for number, _ in enumerate(whichpool.idownload(iter(urls), tmp_path, most=4)):
        assert len(made[0]) <= 200 - number
    assert made == [{}]


def test_an_entry_that_is_none_is_the_caller_s(site, tmp_path):
    with pytest.raises(ValueError, match="no scheme"):
        whichpool.download([*many(site, 2), "www.example.org/x"], tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"most": 0},
            {"per_host": 0},
            {"retries": -1},
            {"segments": True},
            {"rate": 0},
            {"segment_bytes": 1.5},
        ),
        *({"connect_s": 0}, {"first_byte_s": float("inf")}, {"stall_s": float("nan")}),
    ],
    ids=str,
)
def test_settings_that_cannot_be(site, tmp_path, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        whichpool.idownload([], tmp_path, **settings)


def test_a_setting_that_is_none(tmp_path):
    with pytest.raises(TypeError, match="no setting 'retry'"):
        whichpool.download([], tmp_path, retry=3)


def test_what_the_engine_refuses_leaves_nothing_open(site, tmp_path):
    with pytest.raises(whichpool.PlanError, match="progress"):
        whichpool.download(many(site, 1), tmp_path, progress="yes")
    assert site.closed


def test_settings_may_be_given_as_a_whole(site, tmp_path):
    from whichpool.downloads import Settings

    (url,) = many(site, 1)
    (receipt,) = whichpool.download(url, tmp_path, settings=Settings(digest="md5"), most=1)
    assert set(receipt.digests) == {"md5"}


def test_events_and_progress(site, tmp_path):
    urls = many(site, 3)
    site.things[urls[0]].then(cut(50_000))
    del site.things[urls[2]]
    events, told = [], []
    board = Board()
    receipts = whichpool.download(
        urls, tmp_path, on_event=events.append, progress=lambda *a: told.append(a), board=board
    )
    assert all(isinstance(event, Mapping) for event in events)
    kinds = [(event["event"], event["url"][-5:-4]) for event in events]
    assert sorted(kinds) == [
        ("again", "0"), ("begin", "0"), ("begin", "0"), ("begin", "1"), ("end", "0"), ("end", "1"), ("end", "2"),
    ]  # fmt: skip
    again = next(event for event in events if event["event"] == "again")
    assert (again["failure"], again["attempts"]) == ("broken", 1)
    assert told[-1] == (3, 3)
    seen = board.snapshot()
    assert (seen.files, seen.ended, seen.active) == (3, 3, 0)
    assert seen.received == 2 * len(DATA)
    assert seen.outcomes == {"fetched": 2, "failed": 1}
    assert [one.attempts for one in receipts] == [2, 1, 1]


def test_what_an_event_raises_ends_the_call(site, tmp_path):
    def on_event(event):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whichpool.download(many(site, 3), tmp_path, on_event=on_event)


def test_closing_early_keeps_what_has_arrived(site, tmp_path):
    quick, slow = many(site, 2)
    going, stopped = threading.Event(), threading.Event()

    def act(site, thing, request):
        def before(at):
            if at >= 50_000:
                going.set()
                stopped.wait(10)

        return site.usual(thing, request, piece=10_000, before=before)

    site.things[slow].then(act)
    receipts = whichpool.idownload([quick, slow], tmp_path)
    assert next(receipts).url == quick
    assert going.wait(10)
    closing = threading.Timer(0, receipts.close)
    threading.Timer(0.2, stopped.set).start()  # it hears of it with the next bytes
    closing.run()
    assert sorted(os.listdir(tmp_path)) == ["0.bin", "1.bin.part", "1.bin.part.journal"]
    assert site.closed
    assert all(body.closed for body in site.bodies)
    (receipt,) = whichpool.download(slow, tmp_path)
    assert receipt.resumed
    assert site.asked[-1].first >= 50_000
    assert (tmp_path / "1.bin").read_bytes() == DATA


CHILD = """
import os, signal, sys, threading
sys.path.insert(0, {tests!r})
import scripted, whichpool
from whichpool.downloads import run
site = scripted.Site()
run.Transport = lambda settings: site
thing = site.put("http://a.example/f", bytes(1_000_000), piece=10_000)
def before(at):
    if at == 500_000:
        print("half", flush=True)
    elif at > 500_000:
        threading.Event().wait(0.02)
thing.before = before
try:
    whichpool.download("http://a.example/f", {folder!r})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_leaves_all_to_be_gone_on_with(tmp_path):
    folder = str(tmp_path / "d")
    script = CHILD.format(tests=os.path.dirname(__file__), folder=folder)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == "interrupted\n"
        assert child.wait() == 0
    assert sorted(os.listdir(folder)) == ["f.part", "f.part.journal"]
    with open(os.path.join(folder, "f.part.journal"), "rb") as file:
        assert file.read().splitlines()[-1].startswith(b"", 0)
    assert os.stat(os.path.join(folder, "f.part")).st_size >= 500_000


def test_a_stalled_connection_does_not_hold_up_the_end(site, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "PUT_DOWN_S", 0.0)
    quick, slow = many(site, 2)
    going, over = threading.Event(), threading.Event()

    def before(at):
        if at:
            going.set()
            over.wait(30)

    site.things[slow].then(
        lambda site, thing, request: site.usual(thing, request, piece=1_000, before=before)
    )
    receipts = whichpool.idownload([quick, slow], tmp_path)
    next(receipts)
    assert going.wait(10)
    receipts.close()
    assert not over.is_set()
    over.set()  # the thread ends with its next bytes, and so does what it holds


def test_failures_are_receipts(site, tmp_path):
    (url,) = many(site, 1)
    site.things[url].then(*[lambda *_: Busy("not now", status=503)] * 10)
    (receipt,) = whichpool.download(url, tmp_path, retries=3)
    assert (receipt.outcome, receipt.failure, receipt.status, receipt.attempts) == ("failed", "busy", 503, 4)
    assert receipt.elapsed_s >= 0


def test_what_hosts_could_take_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHPOOL_CACHE", str(tmp_path / "cache"))
    assert learned.load() == {}
    learned.store({"a": 8, "b": 2}, {})
    assert learned.load() == {"a": 8, "b": 2}
    learned.store({"a": 8, "b": 3}, {"a": 8, "b": 2})
    assert list(learned.load().items()) == [("a", 8), ("b", 3)]
    learned.store({str(number): 1 for number in range(2_000)}, {})
    assert len(learned.load()) == learned.MOST_HOSTS
    (tmp_path / "cache" / "hosts.json").write_text(
        json.dumps({"a": 8, "b": "x", "c": 0, "d": True, "e": 10**9})
    )
    assert learned.load() == {"a": 8}
    (tmp_path / "cache" / "hosts.json").write_text("[")
    assert learned.load() == {}
    monkeypatch.setenv("WHICHPOOL_CACHE", "")
    learned.store({"a": 1}, {})
    assert learned.load() == {}
    assert os.listdir(tmp_path / "cache") == ["hosts.json"]


def test_the_rate_holds_over_all(site, tmp_path):
    import time

    urls = many(site, 8)
    began = time.monotonic()
    whichpool.download(urls, tmp_path, rate=1e6, most=8)
    took = time.monotonic() - began
    assert 8 * len(DATA) / took <= 1e6 * 1.15  # 1 s of work; catching up is allowed once


def test_a_run_begins_where_the_last_one_had_come_to(site, tmp_path, monkeypatch):
    monkeypatch.setenv("WHICHPOOL_CACHE", str(tmp_path / "cache"))
    learned.store({"a.example": 1}, {})
    at_once, most = [0], [0]
    lock = threading.Lock()

    def act(site, thing, request):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.01)  # what it takes
        with lock:
            at_once[0] -= 1

    urls = many(site, 5)
    for url in urls:
        site.things[url].then(act)
    whichpool.download(urls, tmp_path / "d", per_host=8)
    assert most == [1]
