"""`Pool` and `Executor`, and calls from several threads and from inside workers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import os
import threading

import pytest
from contract_work import (
    Meet,
    add,
    dies,
    fails_at_5,
    holds_a_lock,
    nested,
    nested_failure,
    slow_square,
    square,
    uneven,
    where,
)

import whichpool


def test_a_pool_does_all_that_the_functions_do(plan):
    with whichpool.Pool(plan=plan) as pool:
        assert pool.map(square, range(50)) == [x * x for x in range(50)]
        assert list(pool.imap(square, range(50))) == [x * x for x in range(50)]
        assert sorted(pool.imap(uneven, range(20), ordered=False)) == list(range(20))
        assert pool.map_reduce(square, range(10), add) == 285
        assert pool.map(add, [1, 2], [3, 4]) == [4, 6]
        assert isinstance(pool.explain(square, range(3)), whichpool.RunReport)
        assert pool.submit(add, 2, b=3).result(timeout=30) == 5


def test_options_of_a_call_win_over_the_pools(process_plan):
    with whichpool.Pool(plan=process_plan, on_error="return") as pool:
        assert isinstance(pool.map(fails_at_5, range(6))[5], whichpool.Failure)
        with pytest.raises(ValueError, match="five"):
            pool.map(fails_at_5, range(6), on_error="raise")
        assert pool.map(where, range(3), plan="loop") == [(os.getpid(), threading.get_ident())] * 3


def test_a_pool_keeps_its_workers(process_plan):
    with whichpool.Pool(plan=process_plan) as pool:
        first = {process for process, _ in pool.map(where, range(20))}
        second = {process for process, _ in pool.map(where, range(20))}
    assert second <= first or first <= second


def test_calls_without_a_pool_reuse_workers_too(process_plan):
    first = {process for process, _ in whichpool.map(where, range(20), plan=process_plan)}
    second = {process for process, _ in whichpool.map(where, range(20), plan=process_plan)}
    assert first & second


def test_submit(plan):
    with whichpool.Pool(plan=plan) as pool:
        futures = [pool.submit(slow_square, x) for x in range(40)]
        assert all(isinstance(future, concurrent.futures.Future) for future in futures)
        assert [future.result(timeout=30) for future in futures] == [x * x for x in range(40)]
        done, waiting = concurrent.futures.wait(futures, timeout=30)
        assert len(done) == 40
        assert not waiting


def test_submit_what_fails(plan):
    with whichpool.Pool(plan=plan) as pool:
        future = pool.submit(fails_at_5, 5)
        with pytest.raises(ValueError, match="five"):
            future.result(timeout=30)
        assert type(future.exception(timeout=30)) is ValueError
        with pytest.raises(Exception, match="does not travel"):
            pool.submit(holds_a_lock, 4).result(timeout=30)
        assert pool.submit(square, 3).result(timeout=30) == 9


def test_submit_what_kills_its_worker(process_plan):
    with whichpool.Pool(plan=process_plan) as pool:
        with pytest.raises(whichpool.WorkerDied):
            pool.submit(dies, 7).result(timeout=30)
        assert pool.submit(square, 3).result(timeout=30) == 9


def test_submit_runs_at_the_same_moment(concurrent_plan, tmp_path):
    with whichpool.Pool(plan=concurrent_plan) as pool:
        futures = [pool.submit(Meet(str(tmp_path), 2), x) for x in range(2)]
        assert [future.result(timeout=30) for future in futures] == [0, 1]


def test_leaving_the_pool_waits_for_what_was_submitted(plan, tmp_path):
    with whichpool.Pool(plan=plan) as pool:
        futures = [pool.submit(slow_square, x) for x in range(20)]
    assert all(future.done() for future in futures)
    assert [future.result(timeout=0) for future in futures if not future.cancelled()] == [
        x * x for x in range(20)
    ]


def test_a_pool_that_was_left_takes_no_more():
    with whichpool.Pool() as pool:
        pass
    with pytest.raises((RuntimeError, whichpool.WhichpoolError), match=r"clos|shut|left"):
        pool.submit(square, 1)
    with pytest.raises((RuntimeError, whichpool.WhichpoolError), match=r"clos|shut|left"):
        pool.map(square, [1])


def test_an_exception_in_the_block_is_not_hidden(plan):
    def use_it():
        with whichpool.Pool(plan=plan) as pool:
            pool.map(square, range(10))
            raise LookupError("of the caller's own")

    with pytest.raises(LookupError, match="of the caller's own"):
        use_it()


# --- Executor -----------------------------------------------------------------------------------------------


def test_an_executor_is_one(plan):
    with whichpool.Executor(plan=plan) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        assert executor.submit(add, 1, b=2).result(timeout=30) == 3
        assert list(executor.map(square, range(20))) == [x * x for x in range(20)]
        assert list(executor.map(add, [1, 2], [3, 4], timeout=30, chunksize=2)) == [4, 6]
        futures = [executor.submit(square, x) for x in range(5)]
        got = {future.result() for future in concurrent.futures.as_completed(futures, timeout=30)}
        assert got == {0, 1, 4, 9, 16}


def test_an_executors_map_starts_before_it_is_asked_for_results(concurrent_plan, tmp_path):
    with whichpool.Executor(plan=concurrent_plan) as executor:
        results = executor.map(Meet(str(tmp_path), 2), range(2))
        assert list(results) == [0, 1]


def test_an_executors_map_times_out(concurrent_plan, tmp_path):
    with whichpool.Executor(plan=concurrent_plan) as executor:
        # Two are needed and one comes, so it waits a second before it gives up; the caller waits for less.
        results = executor.map(Meet(str(tmp_path), 2, patience_s=1.0), range(1), timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)


def test_an_executors_map_raises_in_place(plan):
    with whichpool.Executor(plan=plan) as executor:
        results = executor.map(fails_at_5, range(20))
        assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="five"):
            next(results)


def test_shutdown(plan):
    executor = whichpool.Executor(plan=plan)
    future = executor.submit(slow_square, 3)
    executor.shutdown(wait=True)
    assert future.result(timeout=0) == 9
    with pytest.raises(RuntimeError):
        executor.submit(square, 1)
    executor.shutdown()  # twice is once


def test_shutdown_drops_what_has_not_begun(concurrent_plan):
    executor = whichpool.Executor(plan=concurrent_plan)
    futures = [executor.submit(slow_square, x) for x in range(2000)]
    executor.shutdown(wait=True, cancel_futures=True)
    assert all(future.done() for future in futures)
    assert any(future.cancelled() for future in futures)


def test_asyncio_can_use_it(plan):
    async def main():
        loop = asyncio.get_running_loop()
        with whichpool.Executor(plan=plan) as executor:
            return await asyncio.gather(*(loop.run_in_executor(executor, square, x) for x in range(10)))

    assert asyncio.run(main()) == [x * x for x in range(10)]


# --- from several threads -----------------------------------------------------------------------------------


def in_threads(number, fn):
    results = [None] * number
    errors = []

    def run(k):
        try:
            results[k] = fn(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors
    return results


def test_calls_from_several_threads(plan):
    got = in_threads(4, lambda k: whichpool.map(lambda x: slow_square(x + k), range(60), plan=plan))
    assert got == [[(x + k) ** 2 for x in range(60)] for k in range(4)]


def test_one_pool_from_several_threads(plan):
    with whichpool.Pool(plan=plan) as pool:
        got = in_threads(
            4,
            lambda k: [pool.submit(slow_square, k).result(30), list(pool.map(slow_square, range(k, k + 20)))],
        )
    assert got == [[k * k, [x * x for x in range(k, k + 20)]] for k in range(4)]


# --- inside workers -----------------------------------------------------------------------------------------


def test_whichpool_inside_whichpool(plan):
    results = whichpool.map(nested, range(12), plan=plan)
    assert [values for values, _, _ in results] == [[y * y for y in range(x, x + 5)] for x in range(12)]
    if plan in ("processes", (2, 2)):
        assert {processes for _, processes, _ in results} == {0}
        assert os.getpid() not in {pid for _, _, pid in results}


def test_a_failure_inside_inside(plan):
    with pytest.raises(ValueError, match="five"):
        whichpool.map(nested_failure, range(6), plan=plan)


def test_from_a_fork_of_the_program(script):
    """A child made by `os.fork` has no workers of its own yet, and does not touch its parent's."""
    text = """
        import os, sys, warnings, whichpool
        warnings.simplefilter("ignore")
        assert whichpool.map(abs, [-1], plan="processes") == [1]
        child = os.fork()
        if not child:
            ok = whichpool.map(abs, [-2], plan="processes") == [2]
            whichpool.map(abs, [-2], plan="loop")
            sys.exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        print(whichpool.map(abs, [-3], plan="processes"))
        """
    assert script(text).run().stdout == "[3]\n"
