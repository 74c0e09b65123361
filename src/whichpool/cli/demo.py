"""``whichpool demo``: four jobs over the running Python's own source files, in the loop and with whichpool.

The loop is really run on a part of the files only, and its time for all of them is worked out from that:
files are taken evenly from small to large, so a part costs per file what the whole does. Both times are taken
right after each other, and the results of the part are compared.
"""

from __future__ import annotations

import random
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli import demo_server, demo_work
from whichpool.cli.endings import FAILED, Ending, raised_by_function
from whichpool.cli.standard import output, printing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from whichpool import RunReport

__all__ = ["Task", "Timing", "evenly", "measure", "run", "source_files", "tasks"]

DELAY_S = 0.020
"""The server's delay before each answer."""

# What the loop would take over all the files of one job. With a sixth of it really run and whichpool at half
# of it or less, the four jobs are done within half a minute where nothing else runs, and within a minute
# where it is twice as slow (2 cores, CPython 3.11, November 2026). Seconds.
_LOOP_S = 9.0
# The share of the files on which the loop is really run.
_PART = 1 / 6
# So few files that the smallest part still has some of each size; a slow machine gets no fewer.
_FEWEST = 60
# Files that are timed beforehand to choose how many there should be.
_TRIED = 16
# What is not the standard library's, and the one file that makes the parser warn when it is only looked at.
_LEFT_OUT = {"site-packages", "dist-packages", "test_syntax.py"}


@dataclass(frozen=True, slots=True)
class Task:
    """One job of the demo."""

    name: str
    what: str
    """What it does with each file, for the title."""
    function: Callable[[Any], Any]
    items: Sequence[Any]
    part: Sequence[int]
    """The positions of the items that the loop is really run on."""
    merged: bool = False
    """Whether the results are combined into one table; counted in both times."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What came out of one job."""

    task: Task
    ran_s: float
    """Seconds of the loop on the part."""
    loop_s: float
    """Seconds of the loop on all items, worked out from the part."""
    whichpool_s: float
    """Seconds of whichpool on all items."""
    equal: bool
    """Whether whichpool's results are the loop's, on the part."""
    report: RunReport

    @property
    def speedup(self) -> float:
        """How many times as fast as the loop."""
        return self.loop_s / self.whichpool_s

    @property
    def limit(self) -> str:
        """What limits the plan that ran, in the report's words; empty where it does not say."""
        rows = self.report.verdict.rows
        return next((row.limit for row in rows if row.plan == self.report.plan), "")


def run(*, as_json: bool) -> None:
    """Run it all and print.

    Args:
        as_json: One JSON object at the end instead of the table.

    Raises:
        Ending: With code 1 where something fails, or a result is not the loop's.
    """
    from whichpool.cli.demo_view import Silent, Table, to_dict

    output()
    began = time.perf_counter()
    root, files = source_files()
    view = Silent() if as_json else Table()
    timings = []
    try:
        with server(root) as port:
            jobs = tasks(root, files, port)
            view.begin(jobs, files)
            for job in jobs:
                timings.append(measure(job, view.title, view.loop, view.whichpool))
    except (Ending, KeyboardInterrupt):
        raise
    except Exception as error:
        raise raised_by_function(error) from error
    wall_s = time.perf_counter() - began
    view.end(timings, wall_s)
    if as_json:
        import json

        with printing():
            print(json.dumps(to_dict(timings, files, wall_s), indent=2, allow_nan=False))
    wrong = [timing.task.name for timing in timings if not timing.equal]
    if wrong:
        raise Ending(FAILED, f"results are not those of the loop: {', '.join(wrong)}")


def source_files() -> tuple[Path, list[Path]]:
    """The folder of the standard library, and its source files from small to large.

    Raises:
        Ending: With code 1 where this Python came without them.
    """
    root = Path(sysconfig.get_path("stdlib")).resolve()
    files = [path for path in root.rglob("*.py") if not _LEFT_OUT.intersection(path.relative_to(root).parts)]
    if len(files) < _FEWEST:
        raise Ending(
            FAILED, f"this Python has hardly any source files of its own in {root}; the demo needs them"
        )
    # Read once, so that no job pays for the disk that the next one does not.
    return root, sorted(files, key=lambda path: (len(path.read_bytes()), path))


def tasks(root: Path, files: Sequence[Path], port: int) -> list[Task]:
    """The four jobs, each over as many files as keep it within its time on this machine.

    Args:
        root: The folder that the server serves.
        files: From small to large.
        port: The server's.
    """
    tried = [str(path) for path in evenly(files, _TRIED)]
    count_s = _each_s(demo_work.count_names, tried)
    compress_s = _each_s(demo_work.compress, tried)

    def chosen(each_s: float) -> list[Path]:
        return evenly(files, max(_FEWEST, round(_LOOP_S / each_s)))

    def task(name: str, what: str, function: Callable[[Any], Any], each_s: float, *, merged: bool) -> Task:
        paths = chosen(each_s)
        part = set(evenly(paths, round(len(paths) * _PART)))
        # Not from small to large: whoever sees the beginning should see what the rest is like.
        random.Random(len(paths)).shuffle(paths)
        over_http = function in (demo_work.fetch, demo_work.fetch_and_count)
        return Task(
            name,
            what,
            function,
            [(port, "/" + path.relative_to(root).as_posix()) if over_http else str(path) for path in paths],
            [index for index, path in enumerate(paths) if path in part],
            merged,
        )

    asked = f"a local server that answers after {DELAY_S * 1000:.0f} ms"
    return [
        task("fetch", f"ask {asked}", demo_work.fetch, DELAY_S * 1.1, merged=False),
        task("parse", "parse with ast and count the names", demo_work.count_names, count_s, merged=True),
        task("compress", "compress with lzma", demo_work.compress, compress_s, merged=False),
        task("fetch + parse", f"both: {asked}", demo_work.fetch_and_count, DELAY_S + count_s, merged=True),
    ]


def measure(
    task: Task,
    title: Callable[[Task], None],
    loop: Callable[[Task, float, float], None],
    done: Callable[[Timing], None],
) -> Timing:
    """Run one job: the loop on its part, then whichpool on all of it.

    Args:
        task: The job.
        title: Told before it starts.
        loop: Told the task, the seconds of the part and those worked out for all items.
        done: Told the result.
    """
    title(task)
    began = time.perf_counter()
    expected = [task.function(task.items[index]) for index in task.part]
    if task.merged:
        demo_work.merge(expected)
    ran_s = time.perf_counter() - began
    loop_s = ran_s * len(task.items) / len(task.part)
    loop(task, ran_s, loop_s)

    began = time.perf_counter()
    results = whichpool.map(task.function, task.items)
    if task.merged:
        demo_work.merge(results)
    whichpool_s = time.perf_counter() - began
    equal = len(results) == len(task.items) and [results[index] for index in task.part] == expected
    timing = Timing(task, ran_s, loop_s, whichpool_s, equal, results.report)
    done(timing)
    return timing


def evenly(files: Sequence[Any], number: int) -> list[Any]:
    """So many of them, at even distances from first to last; all of them if there are no more.

    >>> evenly(range(10), 5), evenly("ab", 5)
    ([1, 3, 5, 7, 9], ['a', 'b'])
    """
    if number >= len(files):
        return list(files)
    number = max(number, 1)
    return [files[(2 * index + 1) * len(files) // (2 * number)] for index in range(number)]


@contextmanager
def server(root: Path) -> Iterator[int]:
    """The demo's server in a process of its own, gone when the block ends or this process does.

    Args:
        root: The folder to serve.

    Yields:
        Its port on 127.0.0.1.

    Raises:
        Ending: With code 1 where it does not start.
    """
    command = [sys.executable, "-I", str(demo_server.__file__), str(root), str(DELAY_S)]
    # Leaving the block closes its standard input, which ends it, and waits for that.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            if not first.strip().isdecimal():
                raise Ending(FAILED, "the demo's server did not start")
            yield int(first)
        finally:
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2.0)
            process.kill()


def _each_s(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Seconds an item; the first call, which imports what the function needs, is not counted."""
    function(items[0])
    began = time.perf_counter()
    for item in items:
        function(item)
    return (time.perf_counter() - began) / len(items)
