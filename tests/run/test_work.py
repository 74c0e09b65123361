"""The work of a run: what makes a concurrent run look like a loop, against a model that fits on a page."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from whichpool._pools.base import Signal
from whichpool._records import Failure
from whichpool._run.pace import LOOK_AHEAD
from whichpool._run.sinks import ListSink, StreamSink, TreeSink
from whichpool._run.work import Work
from whichpool._worker.calls import Job


class Boom(Exception):
    def __init__(self, index):
        super().__init__(index)
        self.index = index


class Source:
    """Items "i0", "i1", ...; counts what was taken from it; may raise in the end."""

    def __init__(self, n, raises):
        self.n, self.raises, self.pulled = n, raises, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.pulled == self.n:
            if self.raises:
                raise Boom(self.n)
            raise StopIteration
        self.pulled += 1
        return f"i{self.pulled - 1}"


def results(batch, n=None):
    return ["r" + item[1:] for item in batch.items[:n]]


class WorkMachine(RuleBasedStateMachine):
    """Pools, a consumer and fate take turns; the model knows which items are where."""

    @initialize(
        n=st.integers(0, 200),
        known=st.booleans(),
        raises=st.booleans(),
        limit=st.one_of(st.none(), st.integers(1, 12)),
        stream=st.booleans(),
        return_failures=st.booleans(),
        local_is_fine=st.booleans(),
    )
    def begin(self, n, known, raises, limit, stream, return_failures, local_is_fine):
        self.n, self.limit, self.raises, self.known = n, limit, raises, known and not raises
        self.return_failures, self.local_is_fine = return_failures, local_is_fine
        self.source = Source(n, raises)
        self.sink = StreamSink(ordered=True) if stream else ListSink([])
        self.work = Work(
            Job(str, keep_going=return_failures),
            self.source,
            n if self.known else None,
            self.sink,
            limit=limit,
            return_failures=return_failures,
            local_is_fine=local_is_fine,
        )
        self.out = []  # batches in progress
        self.fresh = 0  # the first index that was never handed out
        self.back = set()  # indexes that were given back
        self.local = set()  # ... to be run here
        self.ended = set()
        self.failed = set()
        self.first_error = None
        self.consumed = []
        self.signals = []
        self.closed = False

    # -- taking

    def _took(self, batch):
        assert len(batch) >= 1
        indexes = set(range(batch.start, batch.start + len(batch)))
        assert batch.items == [f"i{i}" for i in sorted(indexes)]
        assert not self.closed
        assert self.first_error is None or max(indexes) < self.first_error, "started after a failure"
        self.out.append(batch)
        return indexes

    @rule(most=st.integers(1, 40))
    def take(self, most):
        waiting, in_progress = self.sink.waiting, self.work.in_progress
        batch = self.work.take(most)
        if batch is None:
            if self.raises and self.source.pulled == self.n and self._error_of_items():
                self._fail_at(self.n)
            return
        assert len(batch) <= most
        indexes = self._took(batch)
        wanted = {i for i in self.back if self.first_error is None or i < self.first_error}
        if wanted:
            assert min(indexes) == min(wanted), "what came back goes out first, the earliest first"
            assert indexes <= self.back
            self.back -= indexes
        else:
            assert indexes == set(range(self.fresh, self.fresh + len(batch)))
            self.fresh += len(batch)
            if isinstance(self.sink, StreamSink):
                most_lying = max(LOOK_AHEAD, 2 * in_progress)
                assert waiting < (most_lying if self.limit is None else min(most_lying, 2 * self.limit))
        if self._error_of_items():
            self._fail_at(self.n)

    def _error_of_items(self):
        return self.work.error is not None and isinstance(self.work.error, Boom) and (
            self.work.error.index == self.n
        )  # fmt: skip

    @rule(most=st.integers(1, 3))
    def take_local(self, most):
        batch = self.work.take_local(most)
        if batch is not None:
            indexes = self._took(batch)
            assert batch.local
            assert indexes <= self.local
            self.local -= indexes

    # -- putting back

    def _one_out(self, data):
        return self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    def _fail_at(self, index):
        if self.first_error is None or index < self.first_error:
            self.first_error = index

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put(self, data):
        batch = self._one_out(data)
        unrun = data.draw(st.integers(0, len(batch)))
        ran = len(batch) - unrun
        self.work.put(batch, results(batch, ran), unrun=unrun)
        self.ended |= set(range(batch.start, batch.start + ran))
        left = set(range(batch.start + ran, batch.start + len(batch)))
        self.back |= left

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put_with_an_error(self, data):
        batch = self._one_out(data)
        ran = data.draw(st.integers(0, len(batch) - 1))
        at = batch.start + ran
        self.work.put(batch, results(batch, ran), Boom(at))
        if self.closed:
            return
        self.ended |= set(range(batch.start, at))
        if self.return_failures:
            self.ended.add(at)
            self.failed.add(at)
            self.back |= set(range(at + 1, batch.start + len(batch)))
        else:
            self._fail_at(at)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def give_back(self, data):
        batch = self._one_out(data)
        for signal in self.signals:
            signal.wait(0)
        parked = [signal for signal in self.signals if self.work.park(signal)]
        self.work.give_back(batch)
        (self.local if batch.local else self.back).update(range(batch.start, batch.start + len(batch)))
        if not batch.local and self.work.is_open():
            assert all(signal.wait(0) for signal in parked), "nobody was told that there is work again"
            for signal in parked:
                assert self.work.park(signal)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def isolate(self, data):
        batch = self._one_out(data)
        if batch.local:
            self.out.append(batch)
            return
        places = data.draw(st.sets(st.integers(0, len(batch) - 1), min_size=1))
        singles = self.work.isolate(batch, [(place, place + 1) for place in sorted(places, reverse=True)])
        assert [single.start for single in singles] == sorted(batch.start + place for place in places)
        assert all(single.items == [f"i{single.start}"] for single in singles)
        self.out += singles
        alone = {single.start for single in singles}
        self.back |= set(range(batch.start, batch.start + len(batch))) - alone

    @precondition(lambda self: any(len(batch) == 1 and not batch.local for batch in self.out))
    @rule(data=st.data())
    def keep_local(self, data):
        batch = data.draw(st.sampled_from([b for b in self.out if len(b) == 1 and not b.local]))
        kept = self.work.keep_local(batch, Boom(0))
        assert kept == self.local_is_fine
        if kept:
            self.out.remove(batch)
            self.local.add(batch.start)
            if not self.closed:
                assert self.work.has_local

    # -- the consumer, and the end

    @precondition(lambda self: isinstance(self.sink, StreamSink))
    @rule(most=st.integers(1, 100))
    def consume(self, most):
        while self.sink.ready and most:
            self.consumed.append(self.sink.ready.popleft())
            most -= 1
            if self.work.pace.starved:
                self.work.consumed()

    @rule()
    def park(self):
        signal = Signal()
        if self.work.park(signal):
            self.signals.append(signal)
        else:
            assert not self.work.is_open()

    @precondition(lambda self: self.work.taken > 20)
    @rule(really=st.integers(0, 9))
    def close(self, really):
        if really == 0:
            self.work.close()
            self.closed = True

    # -- what holds at any moment

    @invariant()
    def counts(self):
        work = getattr(self, "work", None)
        if work is None:
            return
        assert work.in_progress == sum(len(batch) for batch in self.out)
        if self.limit is not None:
            # What must run here has a test of its own, below.
            travels = sum(len(batch) for batch in self.out if not batch.local)
            assert travels <= self.limit, "more in progress than the limit"
        assert self.source.pulled == work.taken == self.fresh, "taken from the iterable without need"
        if self.closed:
            assert not work.is_open()
            return
        assert work.done == len(self.ended)
        assert work.failed == len(self.failed)
        if self.first_error is None:
            if work.exhausted or self.known:
                assert work.remaining == self.n - len(self.ended)
            else:
                assert work.remaining is None
        assert (work.error is None) == (self.first_error is None)
        if self.first_error is not None:
            assert work.error_at == self.first_error
            assert work.error.index == self.first_error, "the earliest failure wins"

    @invariant()
    def the_end_is_the_end(self):
        work = getattr(self, "work", None)
        if work is None:
            return
        open_before = {i for batch in self.out for i in range(batch.start, batch.start + len(batch))}
        open_before |= self.back | self.local
        if self.first_error is not None:
            open_before = {i for i in open_before if i < self.first_error}
            assert work.is_open() == (bool(open_before) and not self.closed)
        elif not work.is_open() and not self.closed:
            assert self.ended == set(range(self.n))
        if not work.is_open():
            assert all(signal.wait(0) for signal in self.signals), "somebody waits for ever"
            self.signals = []

    @invariant()
    def results_are_in_order(self):
        if getattr(self, "work", None) is None:
            return
        got = [*self.consumed, *self.sink.ready] if isinstance(self.sink, StreamSink) else self.sink.values
        for i, value in enumerate(got):
            if i in self.failed:
                assert isinstance(value, Failure)
                assert (value.index, value.item) == (i, repr(f"i{i}"))
            else:
                assert value == f"r{i}"
        if not self.closed:
            prefix = next(i for i in itertools.count() if i not in self.ended)
            assert len(got) == prefix

    def teardown(self):
        """Whatever happened: those who go on pulling come to the end, and it is the loop's."""
        work = getattr(self, "work", None)
        if work is None or self.closed:
            return
        for _ in range(10_000):
            if not work.is_open():
                break
            for batch in self.out:
                work.put(batch, results(batch))
                self.ended |= set(range(batch.start, batch.start + len(batch)))
            self.out = [b for b in (work.take(7), work.take_local(7)) if b is not None]
            if isinstance(self.sink, StreamSink):
                self.consumed += self.sink.ready
                self.sink.ready.clear()
                work.consumed()
        assert not work.is_open()
        if self.raises:
            self._fail_at(self.n)
        got = self.consumed + list(self.sink.ready) if isinstance(self.sink, StreamSink) else self.sink.values
        wanted = self.n if self.first_error is None else self.first_error
        assert len(got) == wanted
        assert work.error_at == self.first_error


TestWork = WorkMachine.TestCase
TestWork.settings = settings(max_examples=80, stateful_step_count=50)


# --- by hand --------------------------------------------------------------------------------------------------


def make(items, length=None, sink=None, **options):
    return Work(Job(str), iter(items), length, sink if sink is not None else ListSink([]), **options)


def test_no_items():
    work = make([], 0)
    assert work.take(5) is None
    assert not work.is_open()
    assert work.remaining == 0


def test_an_iterable_without_end_is_taken_from_only_as_needed():
    pulled = []
    work = make((pulled.append(i) or i for i in itertools.count()), sink=StreamSink(True))
    while (batch := work.take(16)) is not None:
        work.put(batch, batch.items)
        assert len(pulled) <= LOOK_AHEAD + 16
    assert work.is_open()
    assert work.pace.starved


def test_an_iterable_of_unknown_length_is_taken_from_item_by_item():
    """The next item may depend on what came of this one, or take its time."""
    assert len(make(iter(range(100))).take(50)) == 1
    assert len(make(range(100), 100).take(50)) == 50


def test_an_iterable_that_raises_keeps_what_came_before_it():
    def items():
        yield 0
        yield 1
        raise OSError("the disk is gone")

    work = make(items())
    for value in "ab":
        assert work.is_open()
        work.put(work.take(10), [value])
    assert work.take(10) is None
    assert not work.is_open()
    assert work.sink.values == ["a", "b"]
    assert work.error_at == 2
    assert "iterable" in work.blamed


def test_parts_of_a_batch_are_set_apart():
    work = make(range(20), 20)
    batch = work.take(10)
    apart = work.isolate(batch, [(5, 8), (2, 3)])
    assert [(part.start, part.items) for part in apart] == [(2, [2]), (5, [5, 6, 7])]
    assert work.in_progress == 4
    assert [work.take(10).items for _ in range(3)] == [[0, 1], [3, 4], [8, 9]]


def test_ctrl_c_while_the_caller_takes_is_the_callers():
    def items():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        make(items()).take(1)


def test_a_combine_that_fails_ends_the_run():
    def combine(a, b):
        raise ArithmeticError("no sum")

    work = make([1, 2, 3], 3, TreeSink(combine))
    batch = work.take(3)
    work.put(batch, [1, 2, 3])
    assert isinstance(work.error, ArithmeticError)
    assert not work.is_open()


def test_fail_ends_it_whatever_is_in_progress():
    work = make(range(10), 10)
    batch = work.take(3)
    signal = Signal()
    assert work.park(signal)
    error = RuntimeError("no workers")
    work.fail(error)
    assert signal.wait(0)
    assert work.caller_signal.wait(0)
    assert not work.is_open()
    work.put(batch, [1, 2, 3])
    assert work.error is error
    assert work.take(1) is None


def test_the_limit_counts_what_must_run_here_too():
    work = make(range(10), 10, limit=2, local_is_fine=True)
    for single in work.isolate(work.take(2), [(0, 1), (1, 2)]):
        assert work.keep_local(single, TypeError("cannot be pickled"))
    batch = work.take(2)  # others go on meanwhile
    held = work.take_local(1)
    assert work.in_progress == (len(batch) if batch else 0) + (len(held) if held else 0)
    assert work.in_progress <= 2
    assert held is None
    work.put(batch, [0, 0])
    assert work.caller_signal.wait(0), "nobody tells the caller that there is room"
    assert work.take_local(1).items == [0]


def test_release_lets_go_of_items():
    import weakref

    class Item:
        pass

    item = Item()
    gone = weakref.ref(item)
    work = make([item], 1)
    del item
    batch = work.take(1)
    work.put(batch, ["r"])
    del batch
    work.take(1)
    work.release()
    work.drop_sink()
    assert gone() is None


def test_many_threads_take_and_put_everything_once():
    n = 3000
    work = make((i for i in range(n)), None)
    seen, lock = [], threading.Lock()

    def pool(size):
        signal = Signal()
        turn = 0
        while True:
            batch = work.take(size)
            if batch is None:
                if not work.park(signal):
                    return
                batch = work.take(size)
                if batch is None:
                    signal.wait()
                    continue
            turn += 1
            if turn % 5 == 0:
                work.give_back(batch)
                continue
            ran = len(batch) if turn % 3 else (len(batch) + 1) // 2
            with lock:
                seen.extend(batch.items[:ran])
            work.put(batch, batch.items[:ran], unrun=len(batch) - ran)

    threads = [threading.Thread(target=pool, args=(size,)) for size in (1, 3, 7, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert work.sink.values == list(range(n))
    assert sorted(seen) == list(range(n))


def test_who_waited_for_the_iterable_while_a_feeder_took_it_all_does_not_end_the_run():
    """A thread of a pool waits for the iterable; then worker processes are fed from it, to its end."""
    go_on, waits = threading.Event(), threading.Event()

    def slowly():
        yield 0
        waits.set()
        assert go_on.wait(30)
        yield 1
        yield 2

    work = Work(Job(str), slowly(), None, ListSink([]))
    first = work.take(1)
    work.put(first, ["0"])
    got = []
    pulls = threading.Thread(target=lambda: got.append(work.take(1)))
    pulls.start()  # holds the iterable
    assert waits.wait(30)
    also = threading.Thread(target=lambda: got.append(work.take(1)))
    also.start()  # waits for it, and finds that a feeder has come
    fed = [work.take_without_waiting(5)]
    go_on.set()
    pulls.join(30)
    also.join(30)
    signal = Signal()
    while work.is_open():
        for batch in [each for each in [*got, *fed] if each is not None]:
            work.put(batch, [str(item) for item in batch.items])
        got, fed = [], [work.take_without_waiting(5)]
        if fed == [None] and work.park(signal):
            signal.wait(0.05)
    assert work.sink.values == ["0", "1", "2"]
