"""Threads that fetch small files share a core, and nobody else does."""

import os
import threading

import pytest

import whichpool
from whichpool.downloads import home
from whichpool.downloads.board import Board
from whichpool.downloads.home import Home

FREE = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
pytestmark = pytest.mark.skipif(len(FREE) < 2, reason="there is one core, or this system binds no threads")


def on_a_thread(do):
    """What it gives, on a thread of its own; where that thread may run at its end."""
    seen = []
    thread = threading.Thread(target=lambda: seen.extend((do(), os.sched_getaffinity(0))))
    thread.start()
    thread.join()
    return seen


@pytest.fixture
def one():
    made = Home()
    if not made._can:
        pytest.skip("free-threaded: there is no GIL to take turns at")
    return made


def test_all_who_settle_share_one_core(one):
    places = [on_a_thread(one.settle)[1] for _ in range(5)]
    assert len(places[0]) == 1
    assert places == places[:1] * 5


def test_who_roams_may_run_where_it_could(one):
    def there_and_back():
        one.settle()
        one.roam()

    assert on_a_thread(there_and_back)[1] == FREE


def test_it_is_looked_for_anew_by_one_that_is_free_meanwhile(one, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(home, "monotonic", lambda: clock[0])

    def settle_three_times():
        seen = []
        for now in (0.0, 10.0, 10.1):
            clock[0] = now
            one.settle()
            seen.append(len(os.sched_getaffinity(0)))
        return seen

    assert on_a_thread(settle_three_times)[0] == [1, len(FREE), 1]


def test_where_it_is_not_allowed_nothing_is_bound(one, monkeypatch):
    def refused(*args):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    on_a_thread(one.settle)
    assert on_a_thread(one.settle)[1] == FREE


@pytest.mark.parametrize("code", ["none", "on_event", "board"])
def test_threads_that_run_the_callers_code_are_not_bound_nor_is_his(serve, tmp_path, monkeypatch, code):
    bound = set()
    real = os.sched_setaffinity
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, cores: (bound.add(threading.get_ident()), real(pid, cores))
    )
    server = serve(lambda visit: visit.answer("200 OK", b"x" * 1000))
    urls = [server.url(f"/{number}") for number in range(64)]
    more = {
        "none": {},
        "on_event": {"on_event": print},
        "board": {"board": Board(started=lambda entry: None)},
    }
    receipts = whichpool.download(urls, tmp_path, most=4, per_host=4, **more[code])
    assert all(one.ok for one in receipts)
    assert threading.get_ident() not in bound
    assert os.sched_getaffinity(0) == FREE
    assert (len(bound) > 0) is (code == "none")
