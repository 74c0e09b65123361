"""Limits by key, against fate: never more in progress than allowed, each item once, in order within its key."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whichpool
from whichpool._pools.base import Signal
from whichpool._records import Limit, Retry
from whichpool._run import admission
from whichpool._run.pace import LOOK_AHEAD
from whichpool._run.sinks import ListSink, StreamSink
from whichpool._run.stream import FutureWork
from whichpool._run.work import Work
from whichpool._worker.calls import Job


class Slow(Exception):
    def __init__(self, retry_after_s):
        self.retry_after_s = retry_after_s


class Later:
    """In place of a timekeeper: what is due, in virtual time."""

    def __init__(self):
        self.now, self.due = 100.0, []

    def after(self, seconds, do):
        self.due.append((self.now + seconds, do))
        return True

    def stop(self):
        self.due.clear()

    def pass_(self, seconds):
        self.now += seconds
        now_due = [one for one in self.due if one[0] <= self.now]
        self.due = [one for one in self.due if one[0] > self.now]
        for _, do in now_due:
            do()


class Tries:
    """In place of `Again`: three further tries, whenever the test says so."""

    def __init__(self):
        self.failures, self.waiting = {}, []

    def wait_s(self, index, error):
        self.failures[index] = self.failures.get(index, 0) + 1
        return 0.0 if self.failures[index] <= 3 else None

    def later(self, failed, wait_s, error):
        self.waiting.append(failed)


WHAT = ["take"] * 5 + ["put", "put", "slow", "back", "retry", "wait", "eat"]


def check(data, n, limit, keys, ordered, known):
    """One run, item by item, with a draw at each step."""
    time = Later()
    source = iter(range(n))
    sink = ListSink([]) if ordered is None else StreamSink(ordered)
    work = admission.keyed(Work)(
        Job(str), source, n if known else None, sink, limit=limit, return_failures=True
    )
    work._pauses, work.again = time, Tries()
    admission.monotonic = lambda: time.now
    out, ended, began, got = [], set(), [], []

    def key(x):
        return x % keys

    def consume(most):
        while ordered is not None and sink.ready and most:
            got.append(sink.ready.popleft())
            most -= 1
            if work.pace.starved:
                work.consumed()

    for step in itertools.count():
        finishing = step > 6 * n + 20
        what = "put" if finishing else data.draw(st.sampled_from(WHAT))
        if what == "take" or finishing:
            lying = sink.waiting
            batch = work.take(data.draw(st.integers(1, 3)) if not finishing else 1)
            if batch is not None:
                assert len(batch) == 1
                own = [one for one in out if key(one.start) == key(batch.start)]
                allowance = work._keys[key(batch.start)].allowance
                assert time.now >= allowance.paused_until, "it is paused"
                assert len(own) + 1 <= allowance.level <= limit.per_key
                assert limit.most is None or len(out) + 1 <= limit.most
                assert batch.start not in ended
                if batch.start not in began:
                    earlier = [i for i in began if key(i) == key(batch.start)]
                    assert batch.start == key(batch.start) + keys * len(earlier), (
                        "out of order within its key"
                    )
                    began.append(batch.start)
                awaited = ordered and batch.start == sink._next
                assert awaited or lying < max(LOOK_AHEAD, 2 * len(out) + 2)
                out.append(batch)
        if out and what in ("put", "slow", "back"):
            batch = out.pop(0 if finishing else data.draw(st.integers(0, len(out) - 1)))
            if what == "back":
                work.give_back(batch)
            elif what == "slow":
                work.put(batch, [], Slow(data.draw(st.sampled_from([None, 0.5, 5.0, -1, "soon"]))))
                if work.again.failures[batch.start] > 3:
                    ended.add(batch.start)
            else:
                time.now += 0.01
                work.put(batch, [batch.items[0]])
                ended.add(batch.start)
        if what == "retry" or finishing:
            waiting, work.again.waiting = work.again.waiting, []
            for failed in waiting:
                work.give_back(failed)
        if what == "wait" or finishing:
            time.pass_(1.0 if not finishing else 10.0)
        if what == "eat" or finishing:
            consume(5 if not finishing else 1000)
        assert len(work._aside) + work._kept <= admission.MOST_ASIDE + keys * limit.per_key
        assert work._active == len(out)
        if not work.is_open():
            break
        assert step < 40 * n + 500, "it does not come to its end"
    consume(n)
    assert ended == set(range(n))
    values = got if ordered is not None else sink.values
    kept = [value for value in values if isinstance(value, int)]
    assert sorted(kept) == [i for i in range(n) if work.again.failures.get(i, 0) <= 3]
    assert ordered is False or kept == sorted(kept)
    work.release()
    assert sum(one.items for one in work.reached()) >= n or len(work.reached()) == admission.REPORTED


@settings(max_examples=40)
@given(
    data=st.data(),
    n=st.integers(0, 60),
    most=st.one_of(st.none(), st.integers(1, 6)),
    per_key=st.integers(1, 5),
    first=st.integers(1, 5),
    keys=st.integers(1, 4),
    ordered=st.sampled_from([None, True, False]),
    known=st.booleans(),
)
def test_whatever_happens(data, n, most, per_key, first, keys, ordered, known):
    limit = Limit(most, key=lambda x: x % keys, per_key=per_key, first=first, slow_on=Slow)
    real, admission.MOST_ASIDE = admission.MOST_ASIDE, 7
    clock = admission.monotonic
    try:
        check(data, n, limit, keys, ordered, known)
    finally:
        admission.MOST_ASIDE, admission.monotonic = real, clock


def test_what_is_known_of_keys_is_bounded(monkeypatch):
    monkeypatch.setattr(admission, "MOST_KEYS", 50)
    work = admission.keyed(Work)(
        Job(str), iter(range(1000)), 1000, ListSink([]), limit=Limit(key=lambda x: x)
    )
    while (batch := work.take(1)) is not None:
        work.put(batch, [0])
        assert len(work._keys) <= 51
    assert work.done == 1000


def test_every_kind_of_work_can_have_limits():
    from whichpool._run.journaled import JournaledWork

    for kind in (Work, JournaledWork, FutureWork):
        made = admission.keyed(kind)
        assert issubclass(made, kind)
        assert issubclass(made, admission.Admission)


# -- who waits for the iterable


@pytest.mark.parametrize("limit", [None, 3, Limit(key=lambda x: x)], ids=["none", "number", "by key"])
@pytest.mark.parametrize("call", [whichpool.map, whichpool.imap])
def test_what_came_back_does_not_wait_for_the_iterable(limit, call):
    """The iterable gives its last item only when the one that failed has been tried again."""
    tried_again, tries = threading.Event(), SimpleNamespace(n=0)

    def items():
        yield from range(4)
        assert tried_again.wait(20), "the item that came back waits for who waits for the iterable"
        yield 4

    def fn(x):
        if x == 0:
            tries.n += 1
            if tries.n == 1:
                raise OSError
            tried_again.set()
        return x

    results = call(fn, items(), plan=(0, 3), limit=limit, retries=Retry(1, first_wait_s=0.05), shared="ok")
    assert list(results) == list(range(5))


def test_who_was_refused_at_the_iterable_is_let_in():
    """A slow iterable, with more threads than it can feed: all of them get something, and nobody is forgotten."""
    seen = set()

    def items():
        for x in range(200):
            threading.Event().wait(0.0002)
            yield x

    def fn(x):
        seen.add(threading.get_ident())
        threading.Event().wait(0.002)
        return x

    assert whichpool.map(fn, items(), plan=(0, 6), shared="ok") == list(range(200))
    assert len(seen) >= 4


@pytest.mark.parametrize("by_its_thread", [False, True])
def test_who_makes_room_and_asks_for_nothing_more_wakes_another(by_its_thread):
    """A call that is given up is put back by the clock's thread; its own would ask next."""
    limit = Limit(4, key=lambda x: 0, per_key=1, first=1)
    work = admission.keyed(Work)(Job(str), iter(range(9)), 9, ListSink([]), limit=limit)
    batch = work.take(1)
    assert work.take(1) is None  # there is room for one at a time
    parked = Signal()
    assert work.park(parked)
    batch.asks_next = threading.get_ident()
    if by_its_thread:
        work.put(batch, ["0"])
    else:
        clock = threading.Thread(target=work.put, args=(batch, ["0"]))
        clock.start()
        clock.join()
    assert parked.wait(0) != by_its_thread
    assert work.take(1).start == 1
