"""A flag to wait for, and consecutive items."""

from __future__ import annotations

import threading

from whichpool._pools.base import Batch, Signal


def test_raised_twice_is_raised_once():
    signal = Signal()
    assert not signal.wait(0)
    signal.set()
    signal.set()
    assert signal.wait(0)
    assert not signal.wait(0)


def test_it_wakes_who_waits():
    signal, woken = Signal(), []
    thread = threading.Thread(target=lambda: woken.append(signal.wait(30)))
    thread.start()
    signal.set()
    thread.join(30)
    assert woken == [True]


def test_raised_from_many_threads_wakes_one():
    signal = Signal()
    threads = [threading.Thread(target=signal.set) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert signal.wait(0)
    assert not signal.wait(0)


def test_splitting_a_batch_keeps_what_is_known_of_it():
    first, second = Batch(10, list("abcd"), True).split(3)
    assert (first.start, first.items, first.local) == (10, ["a", "b", "c"], True)
    assert (second.start, second.items, second.local) == (13, ["d"], True)
    assert first < second
    assert len(first) == 3
