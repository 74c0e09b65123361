"""How an executor ends: shut down, dropped, at the end of the program."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import executor_work as work
import pytest

import whichpool

WAIT_S = 30


def our_threads():
    return [t for t in threading.enumerate() if t.name.startswith("whichpool")]


def until(condition):
    """Whether it comes true in time."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return True
        pause.wait(0.01)
    return False


def test_after_shutdown_nothing_is_taken(plan):
    executor = whichpool.Executor(plan=plan)
    future = executor.submit(work.slow, 3)
    executor.shutdown()
    assert future.result(0) == 3
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(work.square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(work.square, [1])
    executor.shutdown()
    executor.shutdown(wait=False, cancel_futures=True)


def test_shutdown_of_one_that_did_nothing(plan):
    executor = whichpool.Executor(plan=plan)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(work.square, 1)
    with pytest.raises(RuntimeError):
        executor.__enter__()._pool.submit(work.square, 1)


def test_shutdown_without_waiting_does_what_was_submitted_and_leaves_nothing(plan):
    executor = whichpool.Executor(plan=plan)
    futures = [executor.submit(work.slow, x) for x in range(30)]
    executor.shutdown(wait=False)
    assert [future.result(WAIT_S) for future in futures] == list(range(30))
    assert until(lambda: not our_threads())


def test_shutdown_that_waits_after_one_that_did_not(plan):
    executor = whichpool.Executor(plan=plan)
    futures = [executor.submit(work.slow, x) for x in range(30)]
    executor.shutdown(wait=False)
    executor.shutdown(wait=True)
    assert all(future.done() for future in futures)


def test_shutdown_drops_what_waits(plan, gate):
    executor = whichpool.Executor(plan=plan, limit=2)
    futures = [executor.submit(gate.call, x) for x in range(30)]
    gate.wait_for(1)
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open(30)
    executor.shutdown(wait=True)
    assert all(future.done() for future in futures)
    assert futures[0].result(0) == 0
    assert futures[-1].cancelled()
    assert len(list(cf.as_completed(futures, 0))) == 30


def test_two_that_wait_for_the_end(plan):
    executor = whichpool.Executor(plan=plan)
    futures = [executor.submit(work.slow, x) for x in range(30)]
    threads = [threading.Thread(target=executor.shutdown) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert all(future.done() for future in futures)


def test_submit_and_shutdown_at_the_same_moment_leave_no_future_without_an_end():
    for _ in range(30):
        executor = whichpool.Executor(plan=(0, 2))
        executor.submit(work.square, 1)
        futures, begun = [], threading.Event()

        def submit(executor=executor, futures=futures, begun=begun):
            try:
                while True:
                    futures.append(executor.submit(work.square, 2))
                    begun.set()
            except RuntimeError:
                begun.set()

        thread = threading.Thread(target=submit)
        thread.start()
        begun.wait(WAIT_S)
        executor.shutdown()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert cf.wait(futures, WAIT_S).not_done == set()


# --- dropped ------------------------------------------------------------------------------------------------


def test_one_that_is_dropped_does_what_was_submitted_and_leaves_nothing(plan):
    executor = whichpool.Executor(plan=plan)
    seen = weakref.ref(executor)
    futures = [executor.submit(work.slow, x) for x in range(30)]
    del executor
    gc.collect()
    assert seen() is None
    assert [future.result(WAIT_S) for future in futures] == list(range(30))
    assert until(lambda: not our_threads())


def test_one_that_is_dropped_idle_leaves_nothing(plan):
    executor = whichpool.Executor(plan=plan)
    assert executor.submit(work.square, 3).result(WAIT_S) == 9
    del executor
    gc.collect()
    assert until(lambda: not our_threads())


def test_the_results_of_map_outlive_their_executor(plan):
    assert list(whichpool.Executor(plan=plan).map(work.slow, range(20))) == list(range(20))
    assert list(whichpool.Executor(plan=plan).map(work.slow, range(20), buffersize=2)) == list(range(20))
    gc.collect()
    assert until(lambda: not our_threads())


def test_garbage_in_a_cycle_ends_too(plan):
    class Owner:
        pass

    owner = Owner()
    owner.self, owner.executor = owner, whichpool.Executor(plan=plan)
    future = owner.executor.submit(work.slow, 1)
    del owner
    gc.collect()
    assert future.result(WAIT_S) == 1
    assert until(lambda: not our_threads())


# --- the end of the program ---------------------------------------------------------------------------------

AT_EXIT = """
    import os, sys, time
    import whichpool

    def slow(x):
        time.sleep(0.01)
        os.write(1, b".")
        return x

    def told(future):
        os.write(1, b"|")

    executor = whichpool.Executor(plan=eval(sys.argv[1]))
    futures = [executor.submit(slow, x) for x in range(20)]
    for future in futures:
        future.add_done_callback(told)
    how = sys.argv[2]
    if how == "shut down":
        executor.shutdown(wait=False)
    elif how == "dropped":
        del executor, futures, future
    elif how == "exception":
        raise SystemExit(3)
"""


@pytest.mark.parametrize("how", ["kept", "shut down", "dropped", "exception"])
def test_the_end_of_the_program_completes_what_was_submitted(plan, how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(AT_EXIT))
    done = subprocess.run(
        [sys.executable, str(script), repr(plan), how],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.stderr == ""
    assert done.returncode == (3 if how == "exception" else 0)
    assert (done.stdout.count("."), done.stdout.count("|")) == (20, 20)
