"""Time limits and further tries: what takes too long is given up, what failed is tried again, nothing else changes."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import wait

import pytest

import whichpool
from whichpool import DeadlineExceeded, Failure, ItemTimeout, Retry, WorkerDied

LONG_S = 3600.0
"""A call that is not given up takes the test to its own time limit."""

SHORT_S = 0.5
"""What a call may take here; the others take microseconds, but may have to wait for a core on a busy machine."""

END_S = 20.0
"""What a test may take on a busy machine, far below `LONG_S`."""


@pytest.fixture(autouse=True)
def threads_that_were_abandoned_end():
    """Calls on threads cannot be ended: they wait for this event, so that they end with their test."""
    global _over
    _over = threading.Event()
    yield
    _over.set()


_over = threading.Event()


def hang():
    """Wait for the end of the test; in a worker process nobody will tell it."""
    _over.wait(LONG_S)


def hangs_at_3(x):
    if x == 3:
        hang()
    return x * x


def spins_at_3(x):
    while x == 3 and not _over.is_set():
        pass
    return x * x


def expected(failed, n=40):
    return [None if x in failed else x * x for x in range(n)]


def cleaned(results):
    return [None if isinstance(result, Failure) else result for result in results]


@pytest.mark.parametrize("fn", [hangs_at_3, spins_at_3])
def test_an_item_that_hangs_fails_and_the_others_arrive(plan, fn):
    began = time.monotonic()
    results = whichpool.map(fn, range(40), plan=plan, timeout=SHORT_S, on_error="return")
    assert time.monotonic() - began < END_S
    assert cleaned(results) == expected({3})
    error = results[3].error
    assert isinstance(error, ItemTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.index, error.timeout_s) == (3, SHORT_S)
    assert "item 3 (3) took longer than timeout=0.5 s" in str(error)


def test_it_is_raised(plan):
    with pytest.raises(ItemTimeout, match=r"item 3 \(3\) took longer") as caught:
        whichpool.map(hangs_at_3, range(40), plan=plan, timeout=SHORT_S)
    assert list(whichpool.salvage(caught.value)) == [0, 1, 4]


def test_imap_goes_on_after_it(plan):
    results = whichpool.imap(hangs_at_3, range(40), plan=plan, timeout=SHORT_S, on_error="return")
    assert cleaned(results) == expected({3})
    unordered = whichpool.imap(
        hangs_at_3, range(40), plan=plan, timeout=SHORT_S, on_error="return", ordered=False
    )
    assert sorted(result for result in unordered if result or result == 0) == [
        x * x for x in range(40) if x != 3
    ]


def test_many_that_hang_one_after_the_other(process_plan):
    results = whichpool.map(hang_every_fourth, range(16), plan=process_plan, timeout=0.4, on_error="return")
    assert cleaned(results) == expected(set(range(0, 16, 4)), 16)
    assert whichpool.map(abs, [-1, -2], plan=process_plan) == [1, 2]


def hang_every_fourth(x):
    if x % 4 == 0:
        hang()
    return x * x


def test_calls_within_their_time_are_left_alone(plan):
    """The batch as a whole takes longer than one call may."""
    assert whichpool.map(short_nap, range(30), plan=plan, timeout=0.8) == list(range(30))


def short_nap(x):
    time.sleep(0.03)
    return x


def test_the_process_is_ended_for_certain(process_plan, tmp_path):
    results = whichpool.map(
        note_and_hang, [tmp_path / "pid"], plan=process_plan, timeout=SHORT_S, on_error="return"
    )
    assert isinstance(results[0].error, ItemTimeout)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + END_S
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline


def note_and_hang(path):
    path.write_text(str(os.getpid()))
    hang()


def test_a_worker_that_was_stopped_is_replaced(process_plan):
    results = whichpool.map(stop_at_3, range(40), plan=process_plan, timeout=SHORT_S, on_error="return")
    failed = {index for index, result in enumerate(results) if isinstance(result, Failure)}
    assert cleaned(results) == expected(failed)
    errors = [results[index].error for index in failed]
    if process_plan == "processes":
        assert failed == {3}
        assert all(isinstance(error, ItemTimeout) for error in errors)
    else:
        # The thread that asked for it may still end its item, and be at the next or at sending back when all are
        # stopped: nobody can say which one it was, and what is not in a call is no call that takes too long.
        assert len(failed) <= 1
        assert all(isinstance(error, (ItemTimeout, WorkerDied)) for error in errors)


def stop_at_3(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return x * x


def test_the_thread_that_was_abandoned_changes_nothing_later(tmp_path):
    go_on, gone_on = threading.Event(), threading.Event()

    def fn(x):
        if x == 0:
            go_on.wait(END_S)
            gone_on.set()
        return x

    results = whichpool.map(fn, range(10), plan="threads", timeout=SHORT_S, on_error="return")
    go_on.set()
    assert gone_on.wait(END_S)
    assert isinstance(results[0].error, ItemTimeout)
    assert results[1:] == list(range(1, 10))
    assert any("abandoned" in note for note in results.report.notes)


def test_submitted_calls_have_their_time_too(plan):
    with whichpool.Pool(plan=plan, timeout=SHORT_S) as pool:
        futures = [pool.submit(hangs_at_3, x) for x in range(8)]
        assert not wait(futures, END_S).not_done
        assert isinstance(futures[3].exception(), ItemTimeout)
        assert [future.result() for future in futures if future is not futures[3]] == [
            x * x for x in range(8) if x != 3
        ]


@pytest.mark.parametrize("how", ["dropped", "closed without waiting", "cancelled"])
def test_a_pool_that_nobody_waits_for_leaves_nobody_who_looks_at_the_time(plan, how):
    """What is left behind, a thread too, is seen by the fixture of all tests."""
    pool = whichpool.Pool(plan=plan, timeout=END_S, retries=FAST)
    futures = [pool.submit(short_nap, x) for x in range(4)]
    if how != "dropped":
        pool.close(wait=False, cancel=how == "cancelled")
    del pool
    assert not wait(futures, END_S).not_done
    assert all(future.cancelled() or future.result() == x for x, future in enumerate(futures))


def test_the_whole_ends_at_its_deadline(plan):
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"deadline=0\.5 s is over") as caught:
        whichpool.map(hangs_at_3, range(40), plan=plan, deadline=0.5)
    assert 0.5 <= time.monotonic() - began < END_S
    done = list(whichpool.salvage(caught.value))
    assert done == [0, 1, 4][: len(done)]


def test_a_deadline_that_is_kept_changes_nothing(plan):
    assert whichpool.map(short_nap, range(5), plan=plan, deadline=END_S) == list(range(5))


def test_an_endless_iterable_ends_at_the_deadline(plan):
    def endless():
        x = 0
        while True:
            yield x
            x += 1

    results = whichpool.imap(short_nap, endless(), plan=plan, deadline=0.4)
    seen = []
    with pytest.raises(DeadlineExceeded):
        seen.extend(results)
    assert seen == list(range(len(seen)))


# -- further tries -----------------------------------------------------------------------------------------------


class Flaky:
    """Fails so many times for each item of a kind, and counts the calls in files, which every process sees."""

    def __init__(self, folder, times, error=ValueError, every=5):
        self.folder, self.times, self.error, self.every = folder, times, error, every

    def calls(self, x):
        return len(list(self.folder.glob(f"{x}-*")))

    def __call__(self, x):
        calls = self.calls(x)
        (self.folder / f"{x}-{calls}").touch()
        if x % self.every == 3 and calls < self.times:
            raise self.error(f"not yet, {x}")
        return x


FAST = Retry(2, first_wait_s=0.01)


def test_what_failed_is_tried_again(plan, tmp_path):
    flaky = Flaky(tmp_path, 2)
    results = whichpool.map(flaky, range(20), plan=plan, retries=FAST)
    assert results == list(range(20))
    assert results.report.attempts == ((3, 3), (8, 3), (13, 3), (18, 3))
    assert "Tried again: 4 items (3, 8, 13, 18), up to 3 times each." in str(results.report)
    assert [flaky.calls(x) for x in range(5)] == [1, 1, 1, 3, 1]


def test_when_the_tries_are_used_up_the_error_is_the_item_s(plan, tmp_path):
    with pytest.raises(ValueError, match="not yet, 3") as caught:
        whichpool.map(Flaky(tmp_path, 9), range(20), plan=plan, retries=FAST)
    assert "whichpool: item 3 was tried 3 times" in caught.value.__notes__
    assert any("raised by item 3: 3" in note for note in caught.value.__notes__)
    (tmp_path / "more").mkdir()
    flaky = Flaky(tmp_path / "more", 9)
    results = whichpool.map(flaky, range(20), plan=plan, retries=FAST, on_error="return")
    assert [result for result in results if not isinstance(result, Failure)] == [
        x for x in range(20) if x % 5 != 3
    ]
    assert results.report.failures == 4
    assert [flaky.calls(x) for x in range(5)] == [1, 1, 1, 3, 1]


def test_only_the_named_failures_are(plan, tmp_path):
    only = Retry(5, on=(OSError, KeyError), first_wait_s=0.001)
    with pytest.raises(ValueError, match="not yet"):
        whichpool.map(Flaky(tmp_path, 1), range(20), plan=plan, retries=only)
    (tmp_path / "more").mkdir()
    flaky = Flaky(tmp_path / "more", 1, error=ConnectionError)
    assert whichpool.map(flaky, range(20), plan=plan, retries=only) == list(range(20))


class FurtherError(Exception):
    progressed = True


def test_an_item_that_comes_further_each_time_is_tried_on(plan, tmp_path):
    flaky = Flaky(tmp_path, 9, error=FurtherError)
    results = whichpool.map(flaky, range(5), plan=plan, retries=Retry(1, first_wait_s=0.001))
    assert results == list(range(5))
    assert results.report.attempts == ((3, 10),)


def test_imap_and_reduce_and_submit(plan, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    assert list(whichpool.imap(Flaky(tmp_path / "a", 1), iter(range(20)), plan=plan, retries=FAST)) == list(
        range(20)
    )
    total = whichpool.map_reduce(Flaky(tmp_path / "b", 1), range(20), int.__add__, plan=plan, retries=FAST)
    assert total == sum(range(20))
    with whichpool.Pool(plan=plan, retries=FAST) as pool:
        flaky = Flaky(tmp_path / "c", 1)
        assert [future.result() for future in [pool.submit(flaky, x) for x in range(20)]] == list(range(20))


def test_the_loop_stays_in_line(tmp_path):
    """On one thread the next items wait for the one that failed, as in a loop with a `try` in it."""
    order = []
    flaky = Flaky(tmp_path, 1)

    def fn(x):
        order.append(x)
        return flaky(x)

    whichpool.map(fn, range(6), plan="loop", retries=FAST)
    assert order == [0, 1, 2, 3, 3, 4, 5]


def test_a_worker_that_died_may_have_had_bad_luck(process_plan, tmp_path):
    results = whichpool.map(Dies(tmp_path, 1), range(20), plan=process_plan, retries=FAST)
    assert results == list(range(20))
    if (
        process_plan == "processes"
    ):  # else another item may have been to blame: both were tried alone, at no charge
        assert dict(results.report.attempts)[3] == 2


def test_an_item_that_kills_each_time_is_named(process_plan, tmp_path):
    with pytest.raises(WorkerDied, match=r"item 3 \(3\)") as caught:
        whichpool.map(Dies(tmp_path, 9), range(20), plan=process_plan, retries=FAST)
    assert "whichpool: item 3 was tried 3 times" in caught.value.__notes__


class Dies(Flaky):
    def __call__(self, x):
        calls = self.calls(x)
        (self.folder / f"{x}-{calls}").touch()
        if x == 3 and calls < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return x


def test_a_call_that_took_too_long_is_tried_again(plan, tmp_path):
    results = whichpool.map(HangsOnce(tmp_path, 1), range(10), plan=plan, timeout=SHORT_S, retries=FAST)
    assert results == list(range(10))
    assert results.report.attempts == ((3, 2),)


class HangsOnce(Flaky):
    def __call__(self, x):
        calls = self.calls(x)
        (self.folder / f"{x}-{calls}").touch()
        if x == 3 and calls < self.times:
            hang()
        return x


def test_the_caller_s_random_numbers_stay_what_they_were(tmp_path):
    import random

    random.seed(5)
    wanted = random.random()
    random.seed(5)
    whichpool.map(Flaky(tmp_path, 1), range(5), plan="loop", retries=FAST)
    assert random.random() == wanted


BAD = [
    {"timeout": 0},
    {"timeout": -1.0},
    {"timeout": True},
    {"timeout": "5"},
    {"deadline": float("nan")},
    {"deadline": float("inf")},
    {"retries": -1},
    {"retries": 1.5},
    {"retries": True},
    {"retries": Retry(-1)},
    {"retries": Retry(on=5)},
    {"retries": Retry(on=(OSError, "x"))},
    {"retries": Retry(first_wait_s=-1)},
    {"retries": Retry(jitter=2)},
]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(whichpool.PlanError):
        whichpool.map(abs, [1], **options)


def test_an_option_that_is_none_is_named_with_what_is_near():
    with pytest.raises(TypeError, match="no option 'time_out'; did you mean 'timeout'"):
        whichpool.map(abs, [1], time_out=3)
