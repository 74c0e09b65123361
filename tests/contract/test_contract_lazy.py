"""`imap` is lazy: items are taken as needed, results given as they come, and it can be left at any time."""

from __future__ import annotations

import gc
import itertools
import os
import time
import tracemalloc
import weakref

import pytest
from contract_work import Noted, Point, WaitsForLeave, fails_at_5, slow_square, square, uneven

import whichpool

AHEAD = 1000
"""More items than this are not taken ahead of the consumer when one takes milliseconds. The package promises a bound
without saying which; this one is the test's."""


def test_the_results_in_order(plan):
    assert list(whichpool.imap(uneven, range(60), plan=plan)) == list(range(60))


def test_as_they_come_all_come(plan):
    assert sorted(whichpool.imap(uneven, range(60), plan=plan, ordered=False)) == list(range(60))


def test_as_they_come_a_slow_item_holds_nobody_up(concurrent_plan, tmp_path):
    fifo = str(tmp_path / "leave")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    try:
        results = whichpool.imap(WaitsForLeave(fifo), range(30), plan=concurrent_plan, ordered=False)
        first = next(results)
        os.write(fd, b"!")
        rest = list(results)
    finally:
        os.close(fd)
    assert first != 0
    assert sorted([first, *rest]) == list(range(30))


def test_a_first_item_that_waits_does_not_hold_up_the_decision(tmp_path):
    """Judged while it still runs: others are started beside it, and here it returns only because of them."""
    fifo = str(tmp_path / "leave")
    os.mkfifo(fifo)
    waits = WaitsForLeave(fifo)

    def fn(x):
        if x == 20:
            fd = os.open(fifo, os.O_RDWR)
            os.write(fd, b"!")
            waits.kept = fd  # a pipe that nobody holds open forgets what was written
        return waits(x)

    try:
        assert whichpool.map(fn, range(30), shared="ok") == list(range(30))
    finally:
        os.close(waits.kept)


def test_several_iterables(plan):
    got = list(whichpool.imap(lambda a, b: (a, b), range(10), "abc", plan=plan))
    assert got == [(0, "a"), (1, "b"), (2, "c")]


def test_an_endless_generator(plan):
    pulled = itertools.count()
    results = whichpool.imap(slow_square, (next(pulled) for _ in itertools.repeat(None)), plan=plan)
    assert list(itertools.islice(results, 200)) == [x * x for x in range(200)]
    results.close()
    assert next(pulled) <= 200 + AHEAD


def test_a_consumer_that_pauses_is_not_run_ahead_of(plan):
    pulled = itertools.count()
    results = whichpool.imap(slow_square, (next(pulled) for _ in itertools.repeat(None)), plan=plan)
    next(results)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        square(3)  # the consumer has something else to do
    results.close()
    assert next(pulled) <= 1 + AHEAD


def test_the_limit_bounds_what_is_taken_ahead(plan):
    pulled = itertools.count()
    results = whichpool.imap(slow_square, (next(pulled) for _ in itertools.repeat(None)), plan=plan, limit=4)
    taken_ahead = []
    for n, _ in enumerate(itertools.islice(results, 100), 1):
        taken_ahead.append(int(repr(pulled)[6:-1]) - n)
    results.close()
    assert max(taken_ahead) <= 100


def test_memory_stays_flat(plan):
    """Items and results of 100 kB: how many there are at once does not grow with how many there have been."""
    tracemalloc.start()
    try:
        results = whichpool.imap(slow_square, (bytes_like() for _ in itertools.repeat(None)), plan=plan)
        for _ in itertools.islice(results, 200):
            pass
        tracemalloc.reset_peak()
        for _ in itertools.islice(results, 200):
            pass
        early = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        for _ in itertools.islice(results, 600):
            pass
        late = tracemalloc.get_traced_memory()[1]
        results.close()
    finally:
        tracemalloc.stop()
    if plan != "auto":  # that one may have gone from the loop to processes in between
        assert late < 2 * early + 20_000_000
    assert late < 150_000_000


class Payload(bytes):
    def __mul__(self, other):
        return Payload(self)


def bytes_like():
    return Payload(100_000)


def test_items_are_let_go(plan):
    alive = weakref.WeakSet()

    def points():
        for x in itertools.count():
            point = Point(x)
            alive.add(point)
            yield point

    results = whichpool.imap(slow_square_of_point, points(), plan=plan)
    for _ in itertools.islice(results, 300):
        pass
    gc.collect()
    assert len(alive) <= AHEAD
    results.close()
    del results
    until = time.monotonic() + 5
    while (
        len(alive) > 1 and time.monotonic() < until
    ):  # calls that were running when it was closed come to their end
        gc.collect()
    assert len(alive) <= 1  # the generator's own local


def slow_square_of_point(point):
    time.sleep(0.001)
    return point.x**2


# --- leaving early ------------------------------------------------------------------------------------------


def test_nothing_starts_after_close(plan, tmp_path):
    noted = Noted(str(tmp_path / "ran"), pause_s=0.002)
    results = whichpool.imap(noted, itertools.count(), plan=plan)
    assert next(results) == 0
    results.close()
    ran = noted.ran()
    assert list(results) == []
    whichpool.map(square, range(50), plan=plan)
    assert noted.ran() == ran
    assert len(ran) == len(set(ran))
    results.close()  # closing twice is closing once


def test_forgetting_it_is_closing_it(plan, tmp_path):
    noted = Noted(str(tmp_path / "ran"), pause_s=0.002)
    for result in whichpool.imap(noted, itertools.count(), plan=plan):
        assert result == 0
        break
    gc.collect()
    ran = noted.ran()
    whichpool.map(square, range(50), plan=plan)
    assert noted.ran() == ran


def test_close_before_the_first_result(plan, tmp_path):
    noted = Noted(str(tmp_path / "ran"))
    results = whichpool.imap(noted, range(100), plan=plan)
    results.close()
    assert list(results) == []


def test_the_report_after_the_end(plan):
    results = whichpool.imap(square, range(40), plan=plan)
    assert len(list(results)) == 40
    assert results.report.items == 40


def test_it_is_an_iterator(plan):
    results = whichpool.imap(square, range(4), plan=plan)
    assert iter(results) is results
    assert next(results) == 0
    assert list(results) == [1, 4, 9]
    with pytest.raises(StopIteration):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_results_before_a_failure_come_first(plan):
    got = []
    with pytest.raises(ValueError, match="five"):  # noqa: PT012  # what came before it is looked at too
        for result in whichpool.imap(fails_at_5, range(20), plan=plan):
            got.append(result)
    assert got == [0, 1, 2, 3, 4]


def test_two_at_once(plan):
    a = whichpool.imap(slow_square, range(40), plan=plan)
    b = whichpool.imap(uneven, range(40), plan=plan)
    assert list(zip(a, b, strict=True)) == [(x * x, x) for x in range(40)]


def test_one_feeds_the_other(plan):
    first = whichpool.imap(square, range(40), plan=plan)
    assert list(whichpool.imap(uneven, first, plan=plan)) == [x * x for x in range(40)]


def test_with_a_limit_no_more_is_taken_than_a_few_times_that(plan):
    taken = []

    def items():
        for x in itertools.count():
            taken.append(x)
            yield x

    results = whichpool.imap(square, items(), plan=plan, limit=3)
    for _ in range(20):
        next(results)
    results.close()
    assert len(taken) <= 20 + 5 * 3
