"""Workers that grow, or have done their share, are replaced; who was killed is named with what is known of it."""

from __future__ import annotations

import os
import signal

import pytest

import whichpool
from whichpool._pools import overtime

_kept = []


def keep_and_tell(x):
    """Hold on to 8 MB more with each item, and say who holds it."""
    _kept.append(bytearray(os.urandom(1)) * 8_000_000)
    return os.getpid(), len(_kept)


def who(x):
    return os.getpid()


def test_a_worker_that_grows_is_replaced(process_plan):
    results = whichpool.map(
        keep_and_tell, range(40), plan=process_plan, max_worker_memory="100 MB", limit=4, shared="ok"
    )
    most = max(kept for _, kept in results)
    assert len({pid for pid, _ in results}) >= 40 / most
    assert (
        2 <= most <= 25
    )  # 100 MB, less the interpreter, and what a batch or two may add before it is looked at
    assert any("MB (max_worker_memory=100 MB) and was replaced" in note for note in results.report.notes)
    whichpool.map(who, range(4), plan=process_plan)


def test_without_a_limit_it_is_not(process_plan):
    results = whichpool.map(who, range(200), plan=process_plan)
    assert len(set(results)) <= 2
    assert results.report.notes == ()


def test_a_worker_that_has_done_its_share_is_replaced(process_plan):
    results = whichpool.map(who, range(60), plan=process_plan, max_items_per_worker=7)
    assert max(results.count(pid) for pid in set(results)) <= 7
    assert any("(max_items_per_worker=7) and was replaced" in note for note in results.report.notes)


def test_also_over_several_runs():
    pids = [whichpool.map(who, [1, 2], plan=(1, 1), max_items_per_worker=4)[0] for _ in range(6)]
    assert len(set(pids)) >= 3


def test_results_stay_in_order_and_complete_while_workers_come_and_go(process_plan):
    squares = whichpool.map(lambda x: x * x, range(90), plan=process_plan, max_items_per_worker=3)
    assert squares == [x * x for x in range(90)]
    assert list(whichpool.imap(abs, iter(range(20)), plan=process_plan, max_items_per_worker=1)) == list(
        range(20)
    )


def hold_then_die(x):
    if x == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    _kept.append(bytearray(b"x") * 40_000_000)
    import time

    time.sleep(0.3)  # it is looked at four times a second
    return x


def test_who_was_killed_is_named_with_its_memory():
    with pytest.raises(
        whichpool.WorkerDied,
        match=r"SIGKILL while it ran item 5 .*It held [\d.]+ MB when it was last looked at",
    ):
        whichpool.map(hold_then_die, range(6), plan=(1, 1), shared="ok")


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "", "much", "5 parsecs", "MB"])
def test_a_size_that_is_none_is_refused(value):
    with pytest.raises(whichpool.PlanError, match="max_worker_memory"):
        whichpool.map(abs, [1], max_worker_memory=value)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "7"])
def test_a_number_of_items_that_is_none_is_refused(value):
    with pytest.raises(whichpool.PlanError, match="max_items_per_worker"):
        whichpool.map(abs, [1], max_items_per_worker=value)


def stop_at_3(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return x


def test_a_worker_that_is_stopped_and_does_not_go_on_is_ended(monkeypatch):
    monkeypatch.setattr(overtime, "STOPPED_S", 0.3)
    monkeypatch.setattr(overtime, "STOP_LOOK_S", 0.05)
    results = whichpool.map(stop_at_3, range(20), plan=(2, 1), on_error="return")
    assert [result for result in results if result or result == 0] == [x for x in range(20) if x != 3]
    assert isinstance(results[3].error, whichpool.WorkerDied)
    assert "item 3 (3) in hand was stopped by a signal (SIGSTOP)" in str(results[3].error)
    assert whichpool.map(abs, [-1, -2], plan=(2, 1)) == [1, 2]
