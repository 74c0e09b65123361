"""Batches run on one thread: how they grow, what a failure leaves, what a seed does."""

from __future__ import annotations

import random
import threading
from types import SimpleNamespace

import pytest

from whichpool._measure.gil import Heart
from whichpool._pools.base import Batch
from whichpool._run import inline
from whichpool._run.inline import KeptRandom, Runner
from whichpool._run.sinks import ListSink
from whichpool._run.work import Work
from whichpool._worker.calls import FULL, STAR, Job


class Meter:
    def __init__(self):
        self.seen = []
        self.heart = Heart()

    def add_local(self, calls, wall_s, cpu_s, process_cpu_s):
        self.seen.append((calls, wall_s, cpu_s, process_cpu_s))


class Clock:
    """Time that passes only when a function says so."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(inline, "perf_counter", lambda: self.now)
        monkeypatch.setattr(inline, "thread_time", lambda: self.now)
        monkeypatch.setattr(inline, "process_time", lambda: self.now)
        monkeypatch.setattr(inline, "run_delay_clock", lambda *_: float)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Burnt:
    """CPU time that passes only when a function says so."""

    def __init__(self, monkeypatch, clock):
        self.wall, self.now = clock, 50.0
        monkeypatch.setattr(inline, "thread_time", lambda: self.now)

    def pass_(self, computing=0.0, waiting=0.0):
        self.now += computing
        self.wall.now += computing + waiting


@pytest.fixture
def cpu(monkeypatch, clock):
    return Burnt(monkeypatch, clock)


def make(fn, items, length=None, alone=lambda: True, **job):
    work = Work(Job(fn, **job), iter(items), length, ListSink([]))
    meter = Meter()
    runner = Runner(work, meter, alone)
    return work, runner, meter


def drive(work, runner):
    sizes = []
    while (batch := work.take(runner.size)) is not None:
        sizes.append(len(batch))
        runner.run(batch)
    runner.close()
    return sizes


def test_batches_of_quick_calls_double_until_one_takes_about_a_millisecond(clock):
    def quick(x):
        clock.now += 1e-6
        return x

    n = 20_000
    work, runner, meter = make(quick, range(n), n)
    sizes = drive(work, runner)
    assert sizes[:10] == [2**i for i in range(10)]
    assert max(sizes) * 1e-6 <= inline.BATCH_S * 1.03
    assert max(sizes) * 1e-6 >= inline.BATCH_S / 2
    assert work.sink.values == list(range(n))
    assert sum(calls for calls, *_ in meter.seen) == n


def test_slow_calls_run_one_at_a_time(clock):
    def slow(x):
        clock.now += 0.0006
        return x

    work, runner, _ = make(slow, range(20), 20)
    assert set(drive(work, runner)) == {1}


def test_calls_that_become_slow_shrink_the_batch_at_once(clock):
    def turns(x):
        clock.now += 1e-6 if x < 5000 else 0.01
        return x

    work, runner, _ = make(turns, range(5100), 5100)
    sizes = drive(work, runner)
    assert sizes[-5:] == [1] * 5
    assert work.sink.values == list(range(5100))


@pytest.mark.parametrize("item_s", [0.002, 0.030, 0.300])
def test_a_call_that_waited_for_whichpool_did_not_wait(cpu, item_s):
    """The governor held the GIL for a third of the time; in the beats the function computed."""

    def computes(_):
        cpu.pass_(computing=item_s, waiting=item_s / 2)
        runner.heart.note(item_s, item_s, item_s)

    n = max(int(0.6 / item_s), 2)
    work, runner, meter = make(computes, range(n), n)
    drive(work, runner)
    seen = sum(wall_s - cpu_s for _, wall_s, cpu_s, _ in meter.seen)
    assert seen <= 0.010 + 1e-9  # what came before it had been watched for long enough


@pytest.mark.parametrize("item_s", [0.002, 0.030, 0.300])
def test_a_call_that_waited_by_itself_did_wait(cpu, item_s):
    """Every other item waits; the rest compute. The heart watched two thirds of each, the governor ran in between."""

    def turns(x):
        cpu.pass_(**{"waiting" if x % 2 else "computing": item_s})
        runner.heart.note(item_s * 2 / 3, item_s * 2 / 3, 0.0 if x % 2 else item_s * 2 / 3)

    n = max(int(0.6 / item_s), 2) // 2 * 2
    work, runner, meter = make(turns, range(n), n)
    drive(work, runner)
    waited = sum(wall_s - cpu_s for _, wall_s, cpu_s, _ in meter.seen)
    assert waited == pytest.approx(n / 2 * item_s, rel=0.05)


def test_who_is_not_watched_is_believed(cpu):
    def computes(_):
        cpu.pass_(computing=0.010, waiting=0.005)
        runner.heart.note(0.010, 0.010, 0.010)

    work, runner, meter = make(computes, range(20), 20, alone=lambda: False)
    drive(work, runner)
    assert sum(wall_s - cpu_s for _, wall_s, cpu_s, _ in meter.seen) == pytest.approx(20 * 0.005)


def test_no_batch_is_larger_than_the_most(clock):
    def free(x):
        return x

    n = 400_000
    work, runner, _ = make(free, range(n), n)
    assert max(drive(work, runner)) == inline.MOST_ITEMS


@pytest.mark.parametrize("place", [0, 3, 7, 30, 63])
@pytest.mark.parametrize("size", [8, 64])
def test_a_failure_keeps_what_came_before_it(place, size):
    if place >= size:
        place = size - 1

    def fails(x):
        if x == place:
            raise ValueError("bad")
        return -x

    work, runner, _ = make(fails, range(100), 100)
    runner.run(work.take(size))
    runner.close()
    assert work.sink.values == [-x for x in range(place)]
    assert work.error_at == place
    assert type(work.error) is ValueError
    assert not work.is_open()


@pytest.mark.parametrize("size", [1, 8, 64])
def test_stop_iteration_is_a_failure_of_its_item_not_the_end(size):
    def stops(x):
        if x == size - 1:
            raise StopIteration("enough")
        return x

    work, runner, _ = make(stops, range(100), 100)
    runner.run(work.take(size))
    runner.close()
    assert work.sink.values == list(range(size - 1))
    assert work.error_at == size - 1
    assert isinstance(work.error, StopIteration)


def test_ctrl_c_in_the_callers_thread_gives_the_batch_back():
    def interrupted(x):
        raise KeyboardInterrupt

    work, runner, _ = make(interrupted, range(100), 100)
    batch = work.take(4)
    with pytest.raises(KeyboardInterrupt):
        runner.run(batch)
    runner.close()
    assert work.in_progress == 0
    assert work.error is None
    assert work.take(10).items == [0, 1, 2, 3]


def test_ctrl_c_raised_on_another_thread_is_a_failure():
    def interrupted(x):
        raise KeyboardInterrupt("by itself")

    work, _, _ = make(interrupted, range(3), 3)
    work.caller = threading.get_ident() + 1
    runner = Runner(work, Meter(), lambda: False)
    runner.run(work.take(1))
    runner.close()
    assert isinstance(work.error, KeyboardInterrupt)
    assert work.error_at == 0


def test_nothing_starts_in_a_small_batch_after_close():
    ran = []

    def closes(x):
        ran.append(x)
        if x == 2:
            work.close()
        return x

    work, runner, meter = make(closes, range(8), 8)
    runner.run(work.take(8))
    runner.close()
    assert ran == [0, 1, 2]
    assert meter.seen == []


def test_what_is_told_to_the_profile(clock):
    def call(x):
        clock.now += 0.001

    work, runner, meter = make(call, range(2), 2)
    runner.run(work.take(2))
    calls, wall_s, cpu_s, together = meter.seen[0]
    assert (calls, together) == (2, None)
    assert wall_s == pytest.approx(0.002)
    assert cpu_s == pytest.approx(0.002)
    runner.close()


def test_a_call_that_others_joined_half_way_was_not_alone(clock):
    alone = iter([True, False])
    work, runner, meter = make(lambda x: x, range(2), 2, alone=lambda: next(alone))
    runner.run(work.take(2))
    runner.close()
    assert meter.seen[0][3] is not None


def test_time_ready_without_a_core_is_taken_off(clock, monkeypatch):
    delays = iter([5.0, 5.4])
    monkeypatch.setattr(inline, "run_delay_clock", lambda *_: lambda: next(delays))
    cpu = iter([1.0, 1.1])
    monkeypatch.setattr(inline, "thread_time", lambda: next(cpu))

    def call(x):
        clock.now += 1.0

    work, runner, meter = make(call, [0], 1)
    runner.run(work.take(1))
    assert meter.seen[0][1] == pytest.approx(0.6)
    assert meter.seen[0][2] == pytest.approx(0.1)


def test_the_sampler_looks_before_and_after():
    seen = []

    def sampler(item):
        seen.append(("before", item))
        return lambda: seen.append(("after", item))

    work, runner, _ = make(lambda x: seen.append(("call", x)), ["a"], 1)
    runner.sampler = sampler
    drive(work, runner)
    assert seen == [("before", "a"), ("call", "a"), ("after", "a")]


def test_began_is_set_only_while_a_batch_runs():
    during = []
    work, runner, _ = make(lambda x: during.append(runner.began), [0], 1)
    assert runner.began is None
    drive(work, runner)
    assert during[0] is not None
    assert runner.began is None


def test_shapes():
    work, runner, _ = make(pow, [(2, 3), (3, 2)], 2, shape=STAR)
    drive(work, runner)
    assert work.sink.values == [8, 9]
    work, runner, _ = make(int, [(("ff",), {"base": 16})], 1, shape=FULL)
    drive(work, runner)
    assert work.sink.values == [255]


def test_a_seed_gives_each_item_its_numbers_whatever_the_batches():
    def draws(x):
        return [random.random() for _ in range(x % 3 + 1)]

    kept = KeptRandom(False)
    try:
        found = []
        for size in (1, 4, 30):
            work, runner, _ = make(draws, range(30), 30, seed=7)
            while (batch := work.take(size)) is not None:
                runner.run(batch)
            runner.close()
            found.append(work.sink.values)
    finally:
        kept.restore()
    assert found[0] == found[1] == found[2]
    assert len({numbers[0] for numbers in found[0]}) == 30


def test_the_callers_random_state_comes_back():
    np = pytest.importorskip("numpy")
    random.seed(1)
    np.random.seed(1)
    wanted = random.Random(1).random(), float(np.random.RandomState(1).random_sample())
    kept = KeptRandom(True)
    random.seed(99)
    np.random.seed(99)
    kept.restore()
    assert (random.random(), float(np.random.random_sample())) == wanted


def test_close_twice():
    runner = make(str, [], 0)[1]
    runner.close()
    runner.close()


def test_a_hub_needs_no_more_than_the_contract():
    put = []
    hub = SimpleNamespace(
        job=Job(str),
        caller=0,
        timeout_s=None,
        is_open=lambda: True,
        put=lambda *a: put.append(a),
        give_back=put.append,
    )
    runner = Runner(hub, Meter(), lambda: False)
    batch = Batch(5, [1, 2])
    runner.run(batch)
    runner.close()
    assert put == [(batch, ["1", "2"], None)]


def test_what_is_in_hand_can_be_given_up_and_then_nothing_is_put(made_work):
    """The thread that gives it up puts what there was; the one that ran it puts nothing, and begins nothing more."""
    work = made_work
    work.timeout_s = 1.0
    started, go_on = threading.Event(), threading.Event()
    ran = []

    def fn(x):
        ran.append(x)
        if x == 1:
            started.set()
            assert go_on.wait(30)
        return x

    work.job.fn = fn
    runner = Runner(work, Meter(), lambda: False)
    batch = work.take(3)
    thread = threading.Thread(target=runner.run, args=(batch,))
    thread.start()
    assert started.wait(30)
    assert runner.in_hand() == (batch, 1)
    assert runner.give_up(batch, 0) is None  # that item is done
    assert runner.give_up(batch, 1) == [0]
    go_on.set()
    thread.join()
    runner.close()
    assert ran == [0, 1]
    assert runner.abandoned
    assert work.done == 0
    work.put(batch, [0], ValueError("too long"))
    assert isinstance(work.error, ValueError)
    work.put(batch, [0, 1, 2])  # late: it is off the books
    assert work.done == 1


@pytest.fixture
def made_work():
    return Work(Job(str), iter(range(3)), 3, ListSink([]))
