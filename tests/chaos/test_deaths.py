"""Every way in which a worker process can end: the item is named, and why; the others are done; the pool goes on."""

from __future__ import annotations

import os
import re
import signal
import time

import chaos_work as work
import pytest

import whichpool
from whichpool._pools import fleet

PLANS = [(1, 1), (2, 1), (2, 2), (2, 3)]
AT, ITEMS = 7, 30

# How it ends -> its exit code, words of the message. Negative: minus the signal.
ENDS = {
    "kills_itself": (-signal.SIGKILL, "SIGKILL"),
    "is_asked_to_end": (-signal.SIGTERM, "SIGTERM"),
    "segfaults": (-signal.SIGSEGV, "SIGSEGV"),
    "overflows_the_stack": (-signal.SIGSEGV, "SIGSEGV"),
    "aborts": (-signal.SIGABRT, "SIGABRT"),
    "exits": (3, "exit code 3"),
    "exits_well": (0, "exit code 0"),
    "exits_from_a_thread": (5, "exit code 5"),
    "leaves_a_child_that_lives_on": (-signal.SIGKILL, "SIGKILL"),
    # The worker's main thread may see it while the item still runs, on another thread. One that does not get to its
    # end within `LET_GO_S` is ended.
    "closes_all_descriptors": (1, "sent back|ran item|closed the socket"),
    "another_file_takes_the_place_of_the_socket": (1, "sent back|ran item|closed the socket"),
    "writes_garbage_to_the_socket": (-signal.SIGKILL, "wrote to the socket"),
}


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("how", ENDS)
def test_the_item_and_why(how, plan):
    code, words = ENDS[how]
    began = time.monotonic()
    with whichpool.Pool(plan=plan) as pool:
        results = pool.map(work.Ends(how, AT), range(ITEMS), on_error="return")
        assert [r for x, r in enumerate(results) if x != AT] == [x for x in range(ITEMS) if x != AT]
        error = results[AT].error
        assert isinstance(error, whichpool.WorkerDied)
        if how == "leaves_a_child_that_lives_on":
            assert time.monotonic() - began < work.CHILD_S, "the worker's child was waited for"
        if "closed the socket" in str(error):
            code = -signal.SIGKILL
        assert (error.index, error.exitcode) == (AT, code)
        assert f"item {AT} " in str(error)
        assert re.search(words, str(error))
        assert pool.map(abs, range(-5, 0)) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_worker_that_has_closed_its_socket_and_goes_on_is_ended(plan):
    """With threads that is seen when the item is over: until then another thread keeps the socket open by waiting."""
    how = "closes_all_descriptors_and_stays"
    results = whichpool.map(work.Ends(how, AT), range(ITEMS), plan=plan, on_error="return")
    assert [r for x, r in enumerate(results) if x != AT] == [x for x in range(ITEMS) if x != AT]
    assert isinstance(results[AT].error, whichpool.WorkerDied)
    assert results[AT].error.index == AT
    if plan[1] == 1:
        assert "closed the socket" in str(results[AT].error)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_an_item_that_forks_and_comes_back_twice_gives_one_result(plan):
    results = whichpool.map(work.Ends("comes_back_twice", AT), range(ITEMS), plan=plan)
    assert results == list(range(ITEMS))
    fleet.close()  # the child has ended, and its parent never asks how


@pytest.mark.parametrize("plan", [(1, 1), (2, 3)], ids=str)
def test_a_child_that_comes_back_does_not_run_the_rest_of_the_batch(plan, tmp_path):
    """Nor anything else: the worker does."""
    ran = tmp_path / "ran"
    fork_at = 1_000
    assert whichpool.map(work.ForksAndTells(ran, fork_at), range(1_500), plan=plan) == list(range(1_500))
    deadline = time.monotonic() + 30
    while len(child := [line for line in ran.read_text().splitlines() if line.startswith("child")]) < 1:
        assert time.monotonic() < deadline
        os.sched_yield()
    fleet.close()
    pid = int(child[0].split()[1])
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "the child lives on"
        os.sched_yield()
    items = [line for line in ran.read_text().splitlines() if not line.startswith("child")]
    assert sorted(map(int, items)) == list(range(1_500))


def test_what_is_written_to_stdout_is_no_message(capfd):
    assert whichpool.map(work.Ends("writes_garbage_to_stdout", AT), range(ITEMS), plan=(2, 2)) == list(
        range(ITEMS)
    )


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_result_that_can_be_pickled_when_it_is_tried_and_not_when_it_is_sent(plan):
    """A thread of a worker that cannot answer must not just end: its batch would be waited for."""
    results = whichpool.map(
        work.result_that_fails_to_pickle_in_the_end, range(ITEMS), plan=plan, on_error="return"
    )
    assert [r for x, r in enumerate(results) if x != AT] == [x for x in range(ITEMS) if x != AT]
    assert isinstance(results[AT], whichpool.Failure)
    assert isinstance(results[AT].error, whichpool.WorkerDied)
    assert "sent back item 7 " in str(results[AT].error)
