"""What `benchmarks.micro` runs in each measured process: one kind, one engine, one record on standard output.

Each function imports its engine itself, so that nobody starts with another's modules loaded.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.workloads import no_op, square_plus_one

TRIPS = 2000
WARM_UP = 100
"""Round trips before the clock starts: a kept worker is meant, so its first calls do not count."""
MILLION = 1_000_000
HOLD_S = 0.05
"""Seconds that each of the two items of "start" holds its worker, so that one worker cannot take both;
subtracted."""
DEATH_ITEMS, DEADLY = 20, 7
DEATH_WAIT_S = 10.0
"""Seconds that an engine gets to notice that a worker is gone."""


# --------------------------------------------


def hold(x: int) -> int:
    """Keep the worker for `HOLD_S` and say who it is."""
    time.sleep(HOLD_S)
    return os.getpid()


def deadly(x: int) -> int:
    """Item `DEADLY` kills its own process, as the kernel does when memory runs out."""
    if x == DEADLY:
        os.kill(os.getpid(), 9)
    time.sleep(0.002)
    return x


def part(kind: str, engine: str) -> None:
    """Entry of the measured process."""
    record: dict[str, Any]
    try:
        record = PARTS[kind][engine]()
    except Exception as error:
        record = {"kind": "raised", "error": f"{type(error).__name__}: {error}"[:400]}
    print("\n" + json.dumps(record), flush=True)


def _trips(call: Callable[[int], object]) -> dict[str, Any]:
    for x in range(WARM_UP):
        call(x)
    times = []
    for x in range(TRIPS):
        begin = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(times), "fastest": min(times)}


def _trip_whichpool_submit() -> dict[str, Any]:
    import whichpool

    with whichpool.Pool(plan="processes") as pool:
        return _trips(lambda x: pool.submit(no_op, x).result())


def _trip_whichpool_map() -> dict[str, Any]:
    import whichpool

    return _trips(lambda x: whichpool.map(no_op, [x], plan=(1, 1)))


def _trip_executor() -> dict[str, Any]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        return _trips(lambda x: pool.submit(no_op, x).result())


def _trip_mp_pool() -> dict[str, Any]:
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        return _trips(lambda x: pool.apply(no_op, (x,)))


def _echo(connection: Any) -> None:
    while (message := connection.recv_bytes()) != b"end":
        connection.send_bytes(message)


def _trip_limit() -> dict[str, Any]:
    import multiprocessing

    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_echo, args=(there,))
    process.start()

    def call(x: int) -> None:
        here.send_bytes(b"x")
        here.recv_bytes()

    try:
        return _trips(call)
    finally:
        here.send_bytes(b"end")
        process.join()


def _million(call: Callable[[list[int]], Any]) -> dict[str, Any]:
    items = list(range(MILLION))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        results = call(items)
        times.append(time.perf_counter() - begin)
        assert len(results) == MILLION
        assert all(r == x * x + 1 for x, r in enumerate(results))
    return {"first": times[0], "seconds": min(times[1:])}


def _million_whichpool() -> dict[str, Any]:
    import whichpool

    return _million(lambda items: whichpool.map(square_plus_one, items, plan=(2, 1)))


def _million_whichpool_processes() -> dict[str, Any]:
    import whichpool

    return _million(lambda items: whichpool.map(square_plus_one, items, plan="processes"))


def _million_mp_pool() -> dict[str, Any]:
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        return _million(lambda items: pool.map(square_plus_one, items))


def _started(begin: float, pids: list[int]) -> dict[str, Any]:
    seconds = time.perf_counter() - begin - HOLD_S
    workers = set(pids) - {os.getpid()}
    return {
        "seconds": seconds,
        "workers": len(workers),
        "idle_pss_kb": max(filter(None, map(_pss_kb, workers)), default=None),
    }


def _pss_kb(pid: int) -> int | None:
    """Memory of a process, of what it shares with others only its part (Linux); the worker is idle by then."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return None


def _start_whichpool() -> dict[str, Any]:
    begin = time.perf_counter()
    import whichpool

    return _started(begin, whichpool.map(hold, [0, 1], plan=(2, 1)))


def _start_mp_pool(method: str) -> dict[str, Any]:
    begin = time.perf_counter()
    import multiprocessing

    with multiprocessing.get_context(method).Pool(2) as pool:
        return _started(begin, pool.map(hold, [0, 1], chunksize=1))


def _start_executor() -> dict[str, Any]:
    begin = time.perf_counter()
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        return _started(begin, list(pool.map(hold, [0, 1])))


def _start_bare() -> dict[str, Any]:
    begin = time.perf_counter()
    both = [subprocess.Popen([sys.executable, "-c", "pass"]) for _ in range(2)]
    for process in both:
        process.wait()
    return {"seconds": time.perf_counter() - begin, "workers": 2}


def _death_of_futures(submit: Callable[[int], Any], again: Callable[[], Any]) -> dict[str, Any]:
    begin = time.perf_counter()
    futures: list[Any] = []
    results, errors = 0, []
    try:
        for x in range(DEATH_ITEMS):
            futures.append(submit(x))
    except Exception as error:
        errors.append(error)
    for x, future in enumerate(futures):
        try:
            results += future.result(DEATH_WAIT_S) == x
        except Exception as error:
            errors.append(error)
    return death(begin, results, errors, again)


def death(begin: float, results: int, errors: list[Exception], again: Callable[[], Any]) -> dict[str, Any]:
    seconds = time.perf_counter() - begin
    try:
        usable = again() == 1
    except Exception:
        usable = False
    first = str(errors[0]) if errors else ""
    return {
        "results": results,
        "errors": sorted({type(e).__name__ for e in errors}),
        "names_the_item": str(DEADLY) in first,
        "message": first.splitlines()[0][:200] if first else "",
        "usable_after": usable,
        "seconds": seconds,
    }


def _death_whichpool() -> dict[str, Any]:
    import whichpool

    begin = time.perf_counter()
    results = whichpool.map(deadly, range(DEATH_ITEMS), plan="processes", on_error="return")
    failures = [r for r in results if isinstance(r, whichpool.Failure)]
    record = death(
        begin,
        sum(r == x for x, r in enumerate(results)),
        [f.error for f in failures if isinstance(f.error, Exception)],
        lambda: whichpool.map(deadly, [1], plan="processes")[0],
    )
    record["failures_at"] = [f.index for f in failures]
    record["names_the_item"] = record["failures_at"] == [DEADLY]
    return record


def _death_executor() -> dict[str, Any]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        return _death_of_futures(
            lambda x: pool.submit(deadly, x), lambda: pool.submit(deadly, 1).result(DEATH_WAIT_S)
        )


def _death_pebble() -> dict[str, Any]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=2) as pool:
        return _death_of_futures(
            lambda x: pool.schedule(deadly, args=(x,)),
            lambda: pool.schedule(deadly, args=(1,)).result(DEATH_WAIT_S),
        )


def _death_mp_pool() -> dict[str, Any]:
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        begin = time.perf_counter()
        handles = [pool.apply_async(deadly, (x,)) for x in range(DEATH_ITEMS)]
        results, errors = 0, []
        for x, handle in enumerate(handles):
            try:
                results += handle.get(DEATH_WAIT_S) == x
            except Exception as error:
                errors.append(error)
        return death(begin, results, errors, lambda: pool.apply_async(deadly, (1,)).get(DEATH_WAIT_S))


def _death_mp_pool_map() -> dict[str, Any]:
    import multiprocessing

    with multiprocessing.Pool(2) as pool:
        begin = time.perf_counter()
        results, errors = 0, []
        try:
            # `Pool.map` would wait for ever; this is the same call with an end to the waiting.
            results = len(pool.map_async(deadly, range(DEATH_ITEMS)).get(DEATH_WAIT_S))
        except Exception as error:
            errors.append(error)
        return death(begin, results, errors, lambda: pool.apply_async(deadly, (1,)).get(DEATH_WAIT_S))


def _death_joblib() -> dict[str, Any]:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    begin = time.perf_counter()
    results, errors = 0, []
    try:
        stream = Parallel(n_jobs=2, return_as="generator")(delayed(deadly)(x) for x in range(DEATH_ITEMS))
        for x, result in enumerate(stream):
            results += result == x
    except Exception as error:
        errors.append(error)
    return death(begin, results, errors, lambda: Parallel(n_jobs=2)([delayed(deadly)(1)])[0])


def _death_mpire() -> dict[str, Any]:
    from mpire.pool import WorkerPool

    with WorkerPool(n_jobs=2) as pool:
        begin = time.perf_counter()
        results, errors = 0, []
        try:
            for x, result in enumerate(pool.imap(deadly, range(DEATH_ITEMS), chunk_size=1)):
                results += result == x
        except Exception as error:
            errors.append(error)
        return death(begin, results, errors, lambda: pool.map(deadly, [1])[0])


PARTS: dict[str, dict[str, Callable[[], dict[str, Any]]]] = {
    "round-trip": {
        "limit: a pipe": _trip_limit,
        "multiprocessing.Pool.apply": _trip_mp_pool,
        "ProcessPoolExecutor.submit": _trip_executor,
        "whichpool.Pool.submit": _trip_whichpool_submit,
        "whichpool.map of one": _trip_whichpool_map,
    },
    "million": {
        "multiprocessing.Pool(2).map": _million_mp_pool,
        "whichpool.map, plan=(2, 1)": _million_whichpool,
        'whichpool.map, plan="processes"': _million_whichpool_processes,
    },
    "start": {
        "limit: two interpreters": _start_bare,
        "multiprocessing.Pool (fork)": lambda: _start_mp_pool("fork"),
        "multiprocessing.Pool (forkserver)": lambda: _start_mp_pool("forkserver"),
        "ProcessPoolExecutor": _start_executor,
        "whichpool": _start_whichpool,
    },
    "death": {
        "multiprocessing.Pool.map": _death_mp_pool_map,
        "multiprocessing.Pool.apply_async": _death_mp_pool,
        "ProcessPoolExecutor": _death_executor,
        "joblib": _death_joblib,
        "mpire": _death_mpire,
        "pebble": _death_pebble,
        "whichpool": _death_whichpool,
    },
}
