"""One limit for all: exact, fair, and nobody sleeps with the lock."""

import threading

import pytest

from whichpool.downloads.rate import LEAST_READ, Rate


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self):
        self.time = 0.0
        self.slept = []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


@pytest.mark.parametrize("piece", [1_000, 50_000, 262_144])
def test_it_is_exact(piece):
    clock = Clock()
    rate = Rate(5e6, clock.sleep, clock.now)
    took = 0
    while clock.time < 2.0:
        took += piece
        rate.take(piece)
    assert took / clock.time == pytest.approx(5e6, rel=0.05)


def test_a_sleep_that_is_too_long_is_made_up_for():
    clock = Clock()
    rate = Rate(5e6, lambda seconds: clock.sleep(seconds + 0.01), clock.now)
    took = 0
    while clock.time < 2.0:
        took += 50_000
        rate.take(50_000)
    assert took / clock.time == pytest.approx(5e6, rel=0.05)


def test_what_was_not_used_is_not_kept_for_long():
    clock = Clock()
    rate = Rate(1e6, clock.sleep, clock.now)
    clock.time = 100.0
    before = clock.time
    for _ in range(20):
        rate.take(100_000)
    assert 1.85 <= clock.time - before <= 2.0


def test_reads_are_small_enough_to_flow():
    assert Rate(1e6, print).most(262_144) == 50_000
    assert Rate(1e9, print).most(262_144) == 262_144
    assert Rate(10, print).most(262_144) == LEAST_READ


def test_everyone_gets_the_same():
    # Real threads and a real clock, since it is about who comes first: 0.5 s of work.
    rate = Rate(4e6, threading.Event().wait)
    took = [0] * 4
    over = threading.Event()

    def take(which):
        while not over.is_set():
            rate.take(20_000)
            took[which] += 20_000
            if sum(took) >= 2_000_000:
                over.set()

    threads = [threading.Thread(target=take, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(took) > 0.7 * max(took)


def test_nobody_waits_for_one_who_sleeps():
    inside = threading.Event()
    go = threading.Event()

    def sleep(seconds):
        inside.set()
        go.wait(10)

    rate = Rate(1.0, sleep)
    thread = threading.Thread(target=rate.take, args=(100,))
    thread.start()
    assert inside.wait(10)
    assert rate._lock.acquire(timeout=1)
    rate._lock.release()
    go.set()
    thread.join()
