"""The system starts no more threads (a limit of the user or of the container, an interpreter that is ending)."""

from __future__ import annotations

import threading
import time

import pytest

import whichpool
from whichpool import Plan


def nap(x):
    time.sleep(0.002)
    return x


def staying_nap():
    """It cannot go to a process."""
    lock = threading.Lock()

    def fn(x):
        assert lock is not None
        return nap(x)

    return fn


def test_not_even_a_thread_that_measures_then_it_is_the_loop(thread_limit):
    thread_limit.bare, thread_limit.left = False, 0
    results = whichpool.map(nap, range(40))
    assert results == list(range(40))
    assert results.report.plan == Plan.LOOP
    assert any("no thread could be started" in note for note in results.report.notes)


# Three: the governor, which without one goes on where it listens, and two beside the caller's own.
@pytest.mark.parametrize(("left", "there_are"), [(0, 1), (3, 3)])
def test_auto_goes_on_with_the_threads_that_there_are(thread_limit, left, there_are):
    thread_limit.left = left
    results = whichpool.map(staying_nap(), range(400))
    assert results == list(range(400))
    assert results.report.plan == Plan(0, there_are)
    assert any(f"no more than {there_are}" in note for note in results.report.notes)


@pytest.mark.parametrize("left", [0, 1, 5])
def test_a_plan_of_threads_has_as_many_as_there_are(thread_limit, left):
    thread_limit.left = left
    results = whichpool.map(nap, range(50), plan=(0, 8))
    assert results == list(range(50))
    assert results.report.plan == Plan(0, left + 1)
    assert any(f"no more than {left + 1}" in note for note in results.report.notes)


def test_imap_with_a_plan_of_threads_says_that_there_are_none(thread_limit):
    thread_limit.left = 0
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(whichpool.imap(nap, range(50), plan="threads"))


def test_imap_goes_on_as_the_loop(thread_limit):
    thread_limit.left = 0
    assert list(whichpool.imap(nap, range(100))) == list(range(100))


def test_submit_says_that_there_is_none_and_works_once_there_is(thread_limit):
    thread_limit.left = 0
    with whichpool.Pool() as pool:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(nap, 1)
        thread_limit.left = 1 << 30
        assert pool.submit(nap, 2).result() == 2


def test_imap_over_processes_says_that_nobody_can_serve_them(thread_limit):
    thread_limit.left = 0
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(whichpool.imap(nap, range(50), plan="processes"))
    thread_limit.left = 1 << 30
    assert list(whichpool.imap(nap, range(50), plan="processes")) == list(range(50))


def test_an_iterable_is_taken_from_by_whoever_serves_the_workers(thread_limit):
    thread_limit.left = 0
    results = whichpool.map(nap, (x for x in range(50)), plan="processes")
    assert results == list(range(50))
