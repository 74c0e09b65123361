"""The clock of a run, and the tries that it sees to."""

from __future__ import annotations

import threading

import pytest

from whichpool._pools.base import Batch
from whichpool._records import Retry
from whichpool._run import again
from whichpool._run.again import Again
from whichpool._run.timekeeper import Timekeeper

PATIENCE_S = 30.0


@pytest.fixture
def clock():
    failed = []
    made = Timekeeper(failed.append)
    made.failures = failed
    yield made
    made.stop()


def test_things_are_done_in_the_order_of_their_times(clock):
    done, seen = threading.Event(), []
    clock.after(0.04, lambda: (seen.append("late"), done.set()))
    clock.after(0.02, lambda: seen.append("early"))
    clock.after(0.0, lambda: seen.append("now"))
    assert done.wait(PATIENCE_S)
    assert seen == ["now", "early", "late"]


def test_again_and_again_until_it_is_stopped(clock):
    thrice, seen = threading.Event(), []

    def look():
        seen.append(threading.current_thread())
        if len(seen) == 3:
            thrice.set()

    clock.every(0.001, look)
    assert thrice.wait(PATIENCE_S)
    clock.stop()
    seen[0].join(PATIENCE_S)
    assert not seen[0].is_alive()
    assert clock.after(0.0, lambda: seen.append("never"))
    assert "never" not in seen


def test_what_one_thing_raises_is_told_and_the_clock_goes_on(clock):
    done = threading.Event()
    clock.after(0.0, lambda: 1 // 0)
    clock.after(0.01, done.set)
    assert done.wait(PATIENCE_S)
    assert [type(error) for error in clock.failures] == [ZeroDivisionError]


def test_without_a_thread_nobody_will(clock, thread_limit):
    thread_limit.left = 0
    assert clock.after(0.0, lambda: None) is False


class NoClock:
    def after(self, wait_s, do):
        return False


def tries(retry, **options):
    return Again(
        retry, options.get("give_back", lambda batch: None), lambda: False, options.get("clock", NoClock())
    )


def test_the_waits_grow_to_the_most():
    one = tries(Retry(6, first_wait_s=1.0, factor=2.0, most_wait_s=10.0, jitter=0.0))
    assert [one.wait_s(7, OSError()) for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, None]
    assert one.attempts == ((7, 7),)


class Further(OSError):
    progressed = True


def test_an_item_that_came_further_has_all_its_tries_again():
    one = tries(Retry(2, first_wait_s=1.0, factor=2.0, jitter=0.0))
    failures = [OSError(), OSError(), *[Further()] * 50, OSError(), OSError()]
    assert [one.wait_s(3, error) for error in failures] == [1.0, 2.0, *[1.0] * 50, 2.0, None]
    assert one.attempts == ((3, 54),)
    assert tries(Retry(0)).wait_s(3, Further()) is None, "no further tries means none"


def test_jitter_takes_off_up_to_its_share():
    one = tries(Retry(1, first_wait_s=1.0, jitter=0.25))
    waits = [one.wait_s(index, OSError()) for index in range(200)]
    assert all(0.75 <= wait_s <= 1.0 for wait_s in waits)
    assert len(set(waits)) > 100


def test_without_a_clock_the_thread_waits_itself(monkeypatch):
    slept, given = [], []
    monkeypatch.setattr(again, "sleep", slept.append)
    one = tries(Retry(1), give_back=given.append)
    batch = Batch(3, ["x"])
    one.later(batch, 1.5, OSError())
    assert slept == [1.5]
    assert given == [batch]
