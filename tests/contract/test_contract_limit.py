"""`limit=whichpool.Limit(...)`: how many items of a key run at once, and that nothing else changes."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from concurrent.futures import Future

import pytest
from contract_work import CrowdByKey, Refused, RefusedOnce, key_of, slow_square, square, three

import whichpool
from whichpool import Limit, Retry

TWO_EACH = Limit(4, key=key_of, per_key=2, first=2)
PAUSE_S = 0.15


def squares(n):
    return [x * x for x in range(n)]


# -- what is asked for is kept


def test_no_more_than_the_limits(plan, tmp_path):
    told = whichpool.map(CrowdByKey(str(tmp_path)), range(60), plan=plan, limit=TWO_EACH)
    assert [key for key, _, _ in told] == [key_of(x) for x in range(60)]
    assert max(same for _, same, _ in told) <= 2
    assert max(all_ for _, _, all_ in told) <= 4


def test_a_full_key_does_not_hold_up_the_others():
    """Threads: the items of key 0 all wait for the last item, which is of another key."""
    leave = threading.Event()

    def fn(x):
        if x == 39:
            leave.set()
        return leave.wait(20) and x

    limit = Limit(key=lambda x: x == 39, per_key=2, first=2)
    assert whichpool.map(fn, range(40), plan=(0, 4), limit=limit, shared="ok") == list(range(40))


def test_within_a_key_the_order_is_that_of_the_items():
    began = []

    def fn(x):
        began.append(x)
        time.sleep(0.001)

    whichpool.map(fn, range(90), plan=(0, 8), limit=Limit(key=key_of, per_key=1, first=1), shared="ok")
    for key in range(3):
        assert [x for x in began if key_of(x) == key] == [x for x in range(90) if key_of(x) == key]


# -- everything else is as without


def test_results_are_those_of_the_loop(plan):
    assert whichpool.map(square, range(50), plan=plan, limit=TWO_EACH) == squares(50)
    assert whichpool.map(square, iter(range(50)), plan=plan, limit=Limit(3)) == squares(50)
    assert list(whichpool.imap(square, iter(range(50)), plan=plan, limit=TWO_EACH)) == squares(50)
    unordered = whichpool.imap(square, range(50), plan=plan, limit=TWO_EACH, ordered=False)
    assert sorted(unordered) == squares(50)
    assert whichpool.map_reduce(square, range(50), int.__add__, plan=plan, limit=TWO_EACH) == sum(squares(50))
    assert whichpool.map(square, [], plan=plan, limit=TWO_EACH) == []


def test_several_iterables(plan):
    limit = Limit(key=lambda a, b, c: b, per_key=1, first=1)
    assert whichpool.map(three, "abc", [1, 1, 2], "xyz", plan=plan, limit=limit) == [
        ("a", 1, "x"), ("b", 1, "y"), ("c", 2, "z"),
    ]  # fmt: skip


def test_submitted_calls(plan):
    with whichpool.Pool(plan=plan, limit=Limit(4, key=lambda x: x % 2, per_key=1, first=1)) as pool:
        futures: list[Future[int]] = [pool.submit(slow_square, x) for x in range(20)]
        assert [future.result(20) for future in futures] == squares(20)
        assert pool.map(square, range(9)) == squares(9)
    with whichpool.Executor(plan=plan, limit=Limit(2)) as executor:
        assert list(executor.map(square, range(9))) == squares(9)


def test_the_earliest_failure_is_raised_and_what_is_before_it_is_run(plan):
    def fn(x):
        if x in (9, 20):
            raise ValueError(x)
        return x

    with pytest.raises(ValueError, match="9") as caught:
        whichpool.map(fn, range(40), plan=plan, limit=TWO_EACH)
    assert whichpool.salvage(caught.value) == list(range(9))
    returned = whichpool.map(fn, range(40), plan=plan, limit=TWO_EACH, on_error="return")
    assert [i for i, value in enumerate(returned) if isinstance(value, whichpool.Failure)] == [9, 20]
    assert returned.report.failures == 2


def test_each_item_runs_once_and_further_tries_are_tries(plan, tmp_path):
    fn = RefusedOnce(str(tmp_path), None)
    limit = Limit(4, key=key_of, per_key=2, slow_on=Refused)
    results = whichpool.map(fn, range(30), plan=plan, limit=limit, retries=Retry(2, first_wait_s=0.001))
    assert [x for x, _ in results] == list(range(30))
    assert results.report.attempts == ((0, 2),)
    mine = next(one for one in results.report.limits if one.key == "0")
    assert (mine.items, mine.slowed) == (11, 1)


def test_a_journal(plan, tmp_path):
    path = str(tmp_path / "journal")
    with pytest.raises(ZeroDivisionError):
        whichpool.map(lambda x: 1 // (x - 12), range(30), plan=plan, limit=TWO_EACH, journal=path)
    path += "2"
    for _ in range(2):
        assert whichpool.map(square, range(30), plan=plan, limit=TWO_EACH, journal=path) == squares(30)


def test_time_limits_and_seeds(plan):
    options = {"plan": plan, "limit": TWO_EACH, "timeout": 20.0, "deadline": 60.0, "seed": 3}
    assert whichpool.map(square, range(20), **options) == squares(20)


def test_an_endless_generator_is_taken_from_as_needed(plan):
    tracemalloc.start()
    try:
        results = whichpool.imap(square, itertools.count(), plan=plan, limit=TWO_EACH)
        list(itertools.islice(results, 300))
        before = tracemalloc.get_traced_memory()[0]
        list(itertools.islice(results, 1000))
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
        results.close()
    finally:
        tracemalloc.stop()


def test_what_is_kept_aside_is_bounded():
    """One key has no room until a thousand items were looked at for another."""
    leave, ended, ahead = threading.Event(), [], []

    def items():
        for x in range(3_000):
            ahead.append(x - len(ended))
            if x == 1_000:
                leave.set()
            yield x

    def fn(x):
        leave.wait(20)
        ended.append(x)

    limit = Limit(key=lambda x: 0, per_key=2, first=2)
    assert len(whichpool.map(fn, items(), plan=(0, 4), limit=limit, shared="ok")) == 3_000
    assert 1_000 <= max(ahead) <= 1_010


def test_left_early_while_a_key_is_paused():
    def fn(x):
        raise Refused(x, 60.0)

    limit = Limit(key=lambda x: 0, slow_on=Refused)
    results = whichpool.imap(fn, range(100), plan=(0, 4), limit=limit, on_error="return", shared="ok")
    assert isinstance(next(results).error, Refused)
    results.close()


# -- pauses


def test_a_pause_is_for_the_whole_key_and_for_no_other(plan, tmp_path):
    began = time.monotonic()
    fn = RefusedOnce(str(tmp_path), PAUSE_S)
    limit = Limit(4, key=key_of, per_key=1, first=1, slow_on=Refused)
    results = whichpool.map(fn, range(30), plan=plan, limit=limit, retries=Retry(1, first_wait_s=0.001))
    at = {x: start - began for x, start in results}
    assert sorted(at) == list(range(30))
    refused_at = next(one.paused_s for one in results.report.limits if one.key == "0")
    assert refused_at == pytest.approx(PAUSE_S)
    zeros = [at[x] for x in range(0, 30, 3)]
    assert min(zeros) >= PAUSE_S
    assert max(at[x] for x in range(30) if x % 3) < min(zeros), "the others waited"
    assert max(zeros) < PAUSE_S + 10


def test_all_keys_paused_is_waited_out(plan, tmp_path):
    fn = RefusedOnce(str(tmp_path), PAUSE_S)
    results = whichpool.imap(
        fn, iter(range(3)), plan=plan, limit=Limit(slow_on=Refused), retries=Retry(1, first_wait_s=0.001)
    )
    assert [x for x, _ in results] == [0, 1, 2]


# -- it adapts


def test_a_key_grows_while_throughput_follows_and_is_remembered():
    learned = {}
    limit = Limit(key=key_of, per_key=8, first=1, learned=learned)
    whichpool.map(lambda x: time.sleep(0.004), range(240), plan=(0, 24), limit=limit, shared="ok")
    assert set(learned) <= {0, 1, 2}
    assert max(learned.values()) >= 2, (
        learned
    )  # how far is the simulation's to say: here others use the cores
    results = whichpool.map(square, range(12), plan="loop", limit=limit)
    started = {int(one.key): one.at_once for one in results.report.limits}
    assert started == {key: learned.get(key, 1) for key in range(3)}


def test_auto_brings_in_as_many_threads_as_the_limits_have_room_for():
    limit = Limit(key=key_of, per_key=16, first=2)
    results = whichpool.map(lambda x: time.sleep(0.005), range(1200), limit=limit, shared="ok")
    assert max(step.plan.workers for step in results.report.steps) > 8, "it did not follow the limits"
    assert max(step.plan.workers for step in results.report.steps) <= 3 * 16 + 2
    results = whichpool.map(
        lambda x: time.sleep(0.005), range(60), limit=Limit(per_key=3, first=3), shared="ok"
    )
    assert max(step.plan.workers for step in results.report.steps) <= 3


def test_what_was_done_is_counted_as_asked():
    amounts = []

    def amount(result):
        amounts.append(result)
        return result

    whichpool.map(square, range(9), limit=Limit(amount=amount))
    assert sorted(amounts) == squares(9)


# -- the words for it


def test_the_report_says_what_was_reached(plan):
    report = whichpool.map(square, range(200), plan=plan, limit=Limit(key=lambda x: x % 50)).report
    assert len(report.limits) == 20
    assert all(one.items == 4 for one in report.limits)
    assert "at once" in str(report)
    assert whichpool.map(square, range(3)).report.limits == ()


@pytest.mark.parametrize(
    "wrong",
    [
        Limit(0), Limit(True), Limit(per_key=0), Limit(first=0), Limit(key=3), Limit(slow_on=3),
        Limit(slow_on=(ValueError, 3)), Limit(amount=1), Limit(learned=[]),
    ],
)  # fmt: skip
def test_a_limit_that_cannot_be(wrong):
    with pytest.raises(whichpool.PlanError, match="Limit"):
        whichpool.map(square, [1], limit=wrong)


def test_what_the_callers_functions_raise_ends_the_run(plan):
    with pytest.raises(ZeroDivisionError):
        whichpool.map(square, range(5), plan=plan, limit=Limit(key=lambda x: 1 // (3 - x)))
    with pytest.raises(TypeError):
        whichpool.map(square, range(5), plan=plan, limit=Limit(key=lambda x: []))
    with pytest.raises(ZeroDivisionError):
        whichpool.map(square, range(5), plan=plan, limit=Limit(amount=lambda result: 1 // (4 - result)))


def test_explain_does_without(plan):
    assert whichpool.explain(square, range(50), plan=plan, limit=TWO_EACH).limits == ()
