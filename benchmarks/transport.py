"""``python -m benchmarks.transport``: what it costs to bring a large array to a worker process, or back.

copy      `numpy.copyto` of the same array, in this process: the rate that memory allows
argument  the array goes to one warm worker process, which returns nothing
result    one warm worker process returns an array that it has had all along
both      it returns the array that it was sent

All take turns within one process, round by round, so that a busy machine is busy for all. joblib writes large
arguments to a file that its workers map; it runs two workers, since with one it does not leave the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import machine
from benchmarks.report import WIDTH, duration

SIZES_MB = (1, 64)
KINDS = ("argument", "result", "both")
ENGINES = ("whichpool", "executor", "joblib", "mpire")
ROUNDS = {1: 60, 64: 15}
WARM_UP = 3
"""Rounds that do not count: pages that were never touched, modules that were never imported."""


@cache
def array_of(megabytes: int) -> Any:
    """An array of so many million bytes; the same one at each call in a process."""
    import numpy as np

    return np.arange(megabytes * 1_000_000 // 8, dtype=float)


def take(array: Any) -> None:
    """Argument."""


def give(megabytes: int) -> Any:
    """Result."""
    return array_of(megabytes)


def both(array: Any) -> Any:
    """There and back."""
    return array


def engines(stack: ExitStack) -> dict[str, Callable[[Callable[[Any], Any], Any], Any]]:
    """Each engine, warm and with a worker of its own, as ``run(fn, item)``."""
    from concurrent.futures import ProcessPoolExecutor

    import joblib
    import mpire

    import whichpool

    executor = stack.enter_context(ProcessPoolExecutor(1))
    parallel = stack.enter_context(joblib.Parallel(n_jobs=2))
    workers = stack.enter_context(mpire.WorkerPool(n_jobs=1, keep_alive=True))
    return {
        "executor": lambda fn, item: executor.submit(fn, item).result(),
        "joblib": lambda fn, item: parallel([joblib.delayed(fn)(item)])[0],
        "mpire": lambda fn, item: workers.apply(fn, args=(item,)),
        "whichpool": lambda fn, item: whichpool.map(fn, [item], plan=(1, 1))[0],
    }


def measure(sizes: list[int], rounds: int | None) -> dict[str, Any]:
    """Medians in seconds: size -> kind -> engine, ``copy`` among the engines of each kind."""
    import numpy as np

    import benchmarks.transport as here  # the functions of an importable module, not of the main script

    found: dict[str, Any] = {}
    with ExitStack() as stack:
        pools = engines(stack)
        for size in sizes:
            source = array_of(size)
            target = np.empty_like(source)
            work = {"argument": (here.take, source), "result": (here.give, size), "both": (here.both, source)}
            times: dict[str, dict[str, list[float]]] = {
                kind: {name: [] for name in ("copy", *pools)} for kind in KINDS
            }
            for turn in range(WARM_UP + (rounds or ROUNDS.get(size, 15))):
                for kind, (fn, item) in work.items():
                    for name in ("copy", *pools):
                        began = perf_counter()
                        if name == "copy":
                            np.copyto(target, source)
                            result = None
                        else:
                            result = pools[name](fn, item)
                        took = perf_counter() - began
                        if turn >= WARM_UP:
                            times[kind][name].append(took)
                        elif kind != "argument" and result is not None and not (result == source).all():
                            raise AssertionError(f"{name} gave another array back")
                        del result
            found[f"{size} MB"] = {
                kind: {name: statistics.median(t) for name, t in each.items()} for kind, each in times.items()
            }
    return found


def show(found: dict[str, Any]) -> None:
    """One table a size: the median, and how many copies by `numpy.copyto` would have fitted into it. Needs rich."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for size, kinds in found.items():
        table = Table(title=f"an array of {size}: median (share of the rate of a copy)")
        names = list(next(iter(kinds.values())))
        for column in ("", *names):
            table.add_column(column)
        for kind, each in kinds.items():
            copy = each["copy"]
            cells = [
                f"{duration(each[name])}" + (f" ({copy / each[name]:.0%})" if name != "copy" else "")
                for name in names
            ]
            table.add_row(kind, *cells)
        console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, store if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transport",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("sizes", nargs="*", type=int, metavar="MB", help="1 and 64, if none is named")
    parser.add_argument("--rounds", type=int, help="rounds that count (60 of 1 MB, 15 of 64)")
    parser.add_argument("--out", type=Path, help="store as JSON")
    options = parser.parse_args(arguments)
    found = measure(options.sizes or list(SIZES_MB), options.rounds)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"schema": 1, "machine": machine.describe(), "load": machine.load(), "transport": found}
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
