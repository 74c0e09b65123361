"""`submit`, `map`, and futures, as the documentation of `concurrent.futures` has them; on every plan."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import functools
import gc
import inspect
import itertools
import logging
import threading
import traceback
import weakref

import executor_work as work
import pytest

import whichpool

WAIT_S = 30


@pytest.fixture
def executor(plan):
    with whichpool.Executor(plan=plan) as made:
        yield made


# --- submit -------------------------------------------------------------------------------------------------


def test_submit_gives_a_future_of_the_result(executor):
    future = executor.submit(pow, 323, 1235)
    assert isinstance(future, cf.Future)
    assert future.result(WAIT_S) == pow(323, 1235)
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert not future.cancel()
    assert future.exception() is None


def test_all_arguments_arrive_whatever_their_names(executor):
    future = executor.submit(work.keywords, 1, 2, fn=3, self=4, args=5, timeout=6)
    assert future.result(WAIT_S) == ((1, 2), {"fn": 3, "self": 4, "args": 5, "timeout": 6})


def test_what_is_not_callable(executor):
    with pytest.raises(TypeError):
        executor.submit(3)


def test_an_exception_with_its_traceback(executor):
    future = executor.submit(work.fails, 3)
    with pytest.raises(ValueError, match="no 3") as caught:
        future.result(WAIT_S)
    assert type(future.exception()) is ValueError
    assert "raise ValueError(f" in "".join(traceback.format_exception(caught.value))


def test_a_base_exception_is_the_futures_and_the_executor_goes_on(executor):
    with pytest.raises(work.Odd):
        executor.submit(work.odd, 1).result(WAIT_S)
    with pytest.raises(SystemExit):
        executor.submit(work.leaves, 3).result(WAIT_S)
    assert executor.submit(work.square, 3).result(WAIT_S) == 9


@pytest.mark.parametrize("make", [threading.Lock, work.Grumpy], ids=["lock", "fails in __reduce__"])
def test_an_argument_that_cannot_be_pickled(plan, make):
    with whichpool.Executor(plan=plan) as executor:
        before = executor.submit(work.square, 2)
        future = executor.submit(work.kind, make())
        after = executor.submit(work.square, 3)
        assert (before.result(WAIT_S), after.result(WAIT_S)) == (4, 9)
        if plan in ("processes", (2, 2)):
            with pytest.raises(whichpool.CannotTravel):
                future.result(WAIT_S)
        else:
            assert future.result(WAIT_S) in ("lock", "Grumpy")


@pytest.mark.parametrize("fn", [work.lock, work.grumpy])
def test_a_result_that_cannot_be_pickled(plan, fn):
    with whichpool.Executor(plan=plan) as executor:
        futures = [executor.submit(work.square, 2), executor.submit(fn), executor.submit(work.square, 3)]
        assert [futures[0].result(WAIT_S), futures[2].result(WAIT_S)] == [4, 9]
        if plan in ("processes", (2, 2)):
            with pytest.raises(whichpool.CannotTravel):
                futures[1].result(WAIT_S)
        else:
            assert futures[1].result(WAIT_S) is not None


def test_an_exception_that_cannot_be_unpickled(plan):
    with whichpool.Executor(plan=plan) as executor:
        with pytest.raises((work.TwoWords, whichpool.RemoteError), match="ab"):
            executor.submit(work.two_words).result(WAIT_S)
        assert executor.submit(work.square, 3).result(WAIT_S) == 9


def test_result_and_exception_time_out(executor, gate):
    future = executor.submit(gate.call, 1)
    gate.wait_for(1)
    assert future.running()
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.01)
    gate.open(1)
    assert future.result(WAIT_S) == 1


# --- cancel -------------------------------------------------------------------------------------------------


def test_cancel_what_runs_and_what_waits(gate):
    with whichpool.Executor(plan=(0, 1)) as executor:
        running = executor.submit(gate.call, 1)
        gate.wait_for(1)
        waiting = [executor.submit(gate.call, x) for x in range(2, 5)]
        told = []
        waiting[1].add_done_callback(told.append)
        assert not running.cancel()
        assert waiting[1].cancel()
        assert waiting[1].cancel()
        assert told == [waiting[1]]
        assert waiting[1].cancelled()
        gate.open(3)
        assert [running.result(WAIT_S), waiting[0].result(WAIT_S), waiting[2].result(WAIT_S)] == [1, 2, 4]
        with pytest.raises(cf.CancelledError):
            waiting[1].result(0)


def test_cancelled_futures_do_not_hold_up_wait_or_as_completed(plan, gate):
    with whichpool.Executor(plan=plan, limit=1) as executor:
        futures = [executor.submit(gate.call, x) for x in range(6)]
        gate.wait_for(1)
        cancelled = [future for future in futures[3:] if future.cancel()]
        gate.open(6)
        _, waiting = cf.wait(futures, WAIT_S)
        assert not waiting
        assert len(list(cf.as_completed(futures, WAIT_S))) == 6
        assert all(future.result(0) == x for x, future in enumerate(futures) if future not in cancelled)


# --- callbacks ----------------------------------------------------------------------------------------------


def test_callbacks_are_called_in_order_once_with_the_future(executor, gate):
    told, over = [], threading.Event()
    future = executor.submit(gate.call, 1)
    gate.wait_for(1)
    for k in range(3):
        future.add_done_callback(lambda f, k=k: told.append((k, f is future, f.result(0))))
    future.add_done_callback(lambda _: over.set())
    gate.open(1)
    assert over.wait(WAIT_S)
    assert told == [(k, True, 1) for k in range(3)]
    future.add_done_callback(lambda f: told.append("at once"))
    assert told[-1] == "at once"


def test_an_exception_in_a_callback_is_logged_and_the_others_are_called(executor, gate, caplog):
    told, over = [], threading.Event()
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        future = executor.submit(gate.call, 1)
        gate.wait_for(1)
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(told.append)
        future.add_done_callback(lambda _: over.set())
        gate.open(1)
        assert over.wait(WAIT_S)
        assert executor.submit(work.square, 3).result(WAIT_S) == 9
    assert told == [future]
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_may_submit(executor):
    chain, over = [], threading.Event()

    def again(future):
        chain.append(future.result(0))
        if len(chain) == 5:
            over.set()
        else:
            executor.submit(work.square, len(chain)).add_done_callback(again)

    executor.submit(work.square, 0).add_done_callback(again)
    assert over.wait(WAIT_S)
    assert chain == [0, 1, 4, 9, 16]


def test_a_callback_may_shut_down(plan):
    executor = whichpool.Executor(plan=plan)
    over = threading.Event()

    def shut(_):
        executor.shutdown(wait=True)
        over.set()

    futures = [executor.submit(work.slow, x) for x in range(20)]
    futures[0].add_done_callback(shut)
    assert over.wait(WAIT_S), "it waits for itself"
    executor.shutdown()
    assert [future.result(0) for future in futures] == list(range(20))


def test_a_call_on_a_thread_may_shut_down():
    executor = whichpool.Executor(plan=(0, 2))
    assert executor.submit(executor.shutdown).result(WAIT_S) is None
    executor.shutdown()


# --- wait, as_completed, others that take executors ---------------------------------------------------------


def test_wait_for_the_first(executor, gate):
    held = executor.submit(gate.call, 1)
    gate.wait_for(1)
    done, waiting = cf.wait([held], timeout=0)
    assert (done, waiting) == (set(), {held})
    failed = cf.Future()
    failed.set_exception(ValueError())
    assert cf.wait([held, failed], WAIT_S, cf.FIRST_COMPLETED) == ({failed}, {held})
    assert cf.wait([held, failed], WAIT_S, cf.FIRST_EXCEPTION) == ({failed}, {held})
    gate.open(1)
    assert cf.wait([held], WAIT_S).done == {held}


def test_as_completed(executor):
    futures = {executor.submit(work.slow, x): x for x in range(20)}
    assert sorted(futures[f] for f in cf.as_completed(futures, WAIT_S)) == list(range(20))


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        one = loop.run_in_executor(executor, work.square, 3)
        with pytest.raises(ValueError, match="no 4"):
            await loop.run_in_executor(executor, work.fails, 4)
        many = await asyncio.gather(
            *(loop.run_in_executor(executor, functools.partial(work.keywords, x, k=x)) for x in range(20))
        )
        wrapped = await asyncio.wrap_future(executor.submit(work.square, 5))
        return await one, many, wrapped

    assert asyncio.run(main()) == (9, [((x,), {"k": x}) for x in range(20)], 25)


def test_asyncio_cancels_what_waits(gate):
    async def main():
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(executor, gate.call, 1)
        gate.wait_for(1)
        waiting = loop.run_in_executor(executor, gate.call, 2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)  # asyncio tells the executor's future in the loop's next round
        gate.open(1)
        return await running

    with whichpool.Executor(plan=(0, 1)) as executor:
        assert asyncio.run(main()) == 1


# --- map ----------------------------------------------------------------------------------------------------


def test_map_takes_several_iterables_and_ends_with_the_shortest(executor):
    assert list(executor.map(work.three, [1, 2, 3], "ab", itertools.count())) == [(1, "a", 0), (2, "b", 1)]
    assert list(executor.map(work.square, [])) == []


def test_map_is_an_iterator_in_order_with_any_chunksize(executor):
    results = executor.map(work.slow, range(30), chunksize=7)
    assert iter(results) is results
    assert next(results) == 0
    assert list(results) == list(range(1, 30))


def test_map_raises_where_the_result_would_be(executor):
    results = executor.map(lambda x: x if x < 3 else work.fails(x), range(6))
    assert list(itertools.islice(results, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="no 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_collects_its_items_at_once_without_a_buffer(executor):
    taken = []
    executor.map(work.square, (taken.append(x) or x for x in range(10)))
    assert taken == list(range(10))


def test_maps_timeout_counts_from_the_call(plan, gate):
    with whichpool.Executor(plan=plan) as executor:
        results = executor.map(gate.call, range(2), timeout=0.2)
        gate.wait_for(1)
        with pytest.raises(TimeoutError):
            next(results)
        gate.open(2)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_buffer_bounds_what_is_taken(executor, size):
    taken = []
    results = executor.map(work.square, (taken.append(x) or x for x in range(20)), buffersize=size)
    assert len(taken) == min(size, 20)
    for x in range(20):
        assert next(results) == x * x
        assert len(taken) == min(size + x + 1, 20)
    assert list(results) == []


def test_a_buffer_takes_from_an_endless_iterable(executor):
    results = executor.map(
        work.three, itertools.count(), itertools.count(1), itertools.repeat(0), buffersize=3
    )
    assert list(itertools.islice(results, 10)) == [(x, x + 1, 0) for x in range(10)]
    results.close()


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError)]
)
def test_a_buffer_that_cannot_be(executor, size, error):
    with pytest.raises(error, match="buffersize"):
        executor.map(work.square, [1], buffersize=size)


def test_an_iterable_that_fails_under_map(executor):
    def breaks():
        yield 1
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        executor.map(work.square, breaks())
    results = executor.map(work.square, breaks(), buffersize=1)
    with pytest.raises(OSError, match="the source broke"):
        list(results)


def test_results_that_nobody_asks_for_are_cancelled(gate):
    with whichpool.Executor(plan=(0, 1)) as executor:
        ran = []
        executor.submit(gate.call, 0)
        gate.wait_for(1)
        results = executor.map(ran.append, range(50))
        results_2 = executor.map(ran.append, range(50))
        with pytest.raises(TimeoutError):
            next(executor.map(ran.append, [99], timeout=0))
        del results_2
        gate.open(1)
        next(results)
        results.close()
    assert 99 not in ran


def test_the_signature_of_map_is_that_of_python_3_14():
    parameters = inspect.signature(whichpool.Executor.map).parameters
    assert list(parameters) == ["self", "fn", "iterables", "timeout", "chunksize", "buffersize"]
    assert [p.default for p in list(parameters.values())[3:]] == [None, 1, None]
    assert isinstance(whichpool.Executor(), cf.Executor)


# --- references ---------------------------------------------------------------------------------------------


class Thing:
    pass


def test_what_was_submitted_is_let_go_of(plan):
    with whichpool.Executor(plan=plan) as executor:
        thing = Thing()
        seen = weakref.ref(thing)
        future = executor.submit(work.kind, thing)
        assert future.result(WAIT_S) == "Thing"
        del thing, future
        executor.submit(work.square, 1).result(WAIT_S)  # the newest is known as what an item looks like
        deadline = threading.Event()
        for _ in range(500):
            gc.collect()
            if seen() is None:
                break
            deadline.wait(0.01)
        assert seen() is None


def test_futures_results_can_be_kept_and_sent_on_in_order(executor):
    import pickle

    futures = [executor.submit(work.slow, x) for x in range(30)]
    assert pickle.loads(pickle.dumps([future.result(WAIT_S) for future in futures])) == list(range(30))
