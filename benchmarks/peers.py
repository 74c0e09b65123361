"""The engines, each used as someone who knows it well would use it.

`make` imports the library: the caller's clock is already running. Every pool of processes gets as many
workers as this process may use cores. Chunk sizes: multiprocessing.Pool, joblib ("auto") and mpire choose
their own; ProcessPoolExecutor and pebble, whose default is one item a message, get the number that
multiprocessing.Pool would choose (`chunk`: four chunks per worker), because that is what an expert passes.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Sequence[Any]]
    Made = tuple[Mapper, Callable[[], object]]


def cores() -> int:
    """Cores that this process may be scheduled on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunk(n: int, workers: int) -> int:
    """Items in a message so that each worker gets four, rounded up: the rule of multiprocessing.Pool."""
    return max(1, -(-n // (workers * 4)))


def _nothing() -> None:
    pass


def _loop() -> Made:
    return (lambda fn, items: [fn(x) for x in items]), _nothing


def _threads() -> Made:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor()
    return (lambda fn, items: list(pool.map(fn, items))), pool.shutdown


def _threads32() -> Made:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(32)
    return (lambda fn, items: list(pool.map(fn, items))), pool.shutdown


def _mp_pool() -> Made:
    import multiprocessing

    pool = multiprocessing.Pool(cores())

    def close() -> None:
        pool.close()
        pool.join()

    return pool.map, close


def _process_executor() -> Made:
    from concurrent.futures import ProcessPoolExecutor

    workers = cores()
    pool = ProcessPoolExecutor(workers)
    return (lambda fn, items: list(pool.map(fn, items, chunksize=chunk(len(items), workers)))), pool.shutdown


def _joblib() -> Made:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    # As a context manager, which keeps the workers' hand-over between calls, as joblib's documentation
    # advises.
    parallel = Parallel(n_jobs=cores()).__enter__()

    def close() -> None:
        parallel.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True)

    def run(fn: Callable[[Any], Any], items: Sequence[Any]) -> Sequence[Any]:
        call = delayed(fn)
        results: list[Any] = parallel(call(x) for x in items)
        return results

    return run, close


def _mpire() -> Made:
    from mpire.pool import WorkerPool

    pool = WorkerPool(n_jobs=cores(), keep_alive=True)

    def run(fn: Callable[[Any], Any], items: Sequence[Any]) -> Sequence[Any]:
        # mpire unpacks tuples into arguments; `(x,)` makes each item one argument, whatever it is.
        # `concatenate_numpy_output=False`: the same list of results as from everybody else.
        results: list[Any] = pool.map(
            fn, ((x,) for x in items), iterable_len=len(items), concatenate_numpy_output=False
        )
        return results

    def close() -> None:
        pool.stop_and_join()

    return run, close


def _pebble() -> Made:
    from pebble import ProcessPool

    workers = cores()
    pool = ProcessPool(max_workers=workers)

    def run(fn: Callable[[Any], Any], items: Sequence[Any]) -> Sequence[Any]:
        return list(pool.map(fn, items, chunksize=chunk(len(items), workers)).result())

    def close() -> None:
        pool.close()  # type: ignore[no-untyped-call]
        pool.join()

    return run, close


def _whichpool() -> Made:
    import whichpool

    return whichpool.map, _nothing


PEERS: dict[str, tuple[str, Callable[[], Made], bool]] = {
    "loop": ("loop", _loop, True),
    "threads": ("Thread PE", _threads, True),
    "threads32": ("Thread PE 32", _threads32, True),
    "mp.Pool": ("mp.Pool", _mp_pool, False),
    "executor": ("Process PE", _process_executor, False),
    "joblib": ("joblib", _joblib, True),
    "mpire": ("mpire", _mpire, True),
    "pebble": ("pebble", _pebble, False),
    "whichpool": ("whichpool", _whichpool, True),
}
"""Name -> (heading, maker, whether it can run a closure).

A peer that cannot gets the workload's `portable` form (a `functools.partial` of a module's function), so that
it takes part. "PE" is concurrent.futures' PoolExecutor.
"""

OURS = "whichpool"
BASE = "loop"
