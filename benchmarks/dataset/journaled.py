"""The measured process for the overhead of the journal: with it and without, taking turns, on one plan."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.dataset.jobs import JOBS


def main() -> None:
    """Arguments: source, rounds, bytes of a split. On the loop, so that the CPU time of this process has all of it."""
    import whichpool

    source, rounds, split_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    arguments: dict[str, Any] = JOBS["rows-csv"].ours
    wall: dict[str, list[float]] = {"with": [], "without": []}
    cpu: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        for number in range(-1, rounds):
            for kind in wall if number % 2 else reversed(wall):
                extra = {"journal": Path(scratch, f"journal-{number}")} if kind == "with" else {}
                begin, began = perf_counter(), process_time()
                report = whichpool.process(source, plan="loop", split_bytes=split_bytes, **arguments, **extra)
                if number >= 0:  # the first round imports
                    wall[kind].append(perf_counter() - begin)
                    cpu[kind].append(process_time() - began)
    pairs = [a / b - 1 for a, b in zip(cpu["with"], cpu["without"], strict=True)]
    each_us = [(a - b) / report.splits * 1e6 for a, b in zip(cpu["with"], cpu["without"], strict=True)]
    record = {
        "wall_s": wall,
        "process_cpu_s": cpu,
        "splits": report.splits,
        "share": statistics.median(pairs),
        "share_of_least": min(cpu["with"]) / min(cpu["without"]) - 1,
        "split_us": statistics.median(each_us),
    }
    print("\n" + json.dumps(record), flush=True)
