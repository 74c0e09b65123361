"""The measured process: one job, one peer, called twice: cold, then warm. Its last line of output is the record."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.dataset.jobs import JOBS
from benchmarks.dataset.peers import PEERS, DoesNotApply


def measure(name: str, peer: str, source: Path, calls: int) -> dict[str, Any]:
    """Call so many times; the clock begins after what the work itself imports is loaded.

    Returns:
        ``seconds`` and ``answers`` of each call; or ``error`` and ``kind`` ("raised", "n/a").
    """
    job = JOBS[name]
    record: dict[str, Any] = {"seconds": [], "answers": []}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        os.environ["BENCHMARK_OUT"] = str(Path(scratch, "out"))
        try:
            for module in job.imports:
                import_module(module)
            for number in range(calls):
                folder = Path(scratch, str(number))
                folder.mkdir()
                job.clear()
                begin = perf_counter()
                value = PEERS[peer][0](job, source, folder)
                record["seconds"].append(perf_counter() - begin)
                record["answers"].append(job.answer(value))
        except DoesNotApply as error:
            record |= {"kind": "n/a", "error": str(error)}
        except Exception as error:
            record |= {"kind": "raised", "error": f"{type(error).__name__}: {error}"[:500]}
    return record


def main() -> None:
    """Arguments: job, peer, source, number of calls."""
    name, peer, source, calls = sys.argv[1:5]
    print("\n" + json.dumps(measure(name, peer, Path(source), int(calls))), flush=True)
