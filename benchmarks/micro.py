"""``python -m benchmarks.micro``: what the engines themselves cost, without work to hide it.

imports       seconds of an import beyond the bare interpreter
round-trip    one no-op to a warm worker process and back, nothing else under way
million       1,000,000 trivial items through two worker processes
start         two workers from nothing, beside two bare interpreters; what memory an idle one takes
death         a worker killed on item 7 of 20: what comes back
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, runner
from benchmarks.engines import PARTS
from benchmarks.report import WIDTH, duration

IMPORTS = {
    "bare interpreter": "pass",
    "whichpool": "import whichpool",
    "whichpool.map": "import whichpool; whichpool.map",
    "whichpool.Pool": "import whichpool; whichpool.Pool",
    "concurrent.futures (threads)": "from concurrent.futures import ThreadPoolExecutor",
    "concurrent.futures (processes)": "from concurrent.futures import ProcessPoolExecutor",
    "multiprocessing.pool": "import multiprocessing.pool",
    "joblib": "import joblib",
    "mpire": "import mpire",
    "pebble": "import pebble",
}
ROUNDS = {"imports": 15, "round-trip": 3, "million": 3, "start": 7, "death": 1}
TIMEOUT_S = {"round-trip": 30.0, "million": 60.0, "start": 20.0, "death": 30.0}
"""Seconds until a measured process is killed; "death" waits for `engines.DEATH_WAIT_S` up to twice."""


def imports(rounds: int) -> dict[str, Any]:
    """Seconds from start to end of an interpreter that imports each; interleaved; with what is beyond the
    bare one."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    errors: dict[str, str] = {}
    for _ in range(rounds):
        for name, code in IMPORTS.items():
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=runner.environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            times[name].append(time.perf_counter() - begin)
            if done.returncode:
                errors[name] = done.stderr.strip().splitlines()[-1]
    bare = times["bare interpreter"]
    return {
        name: {"error": errors[name]}
        if name in errors
        else {
            "beyond_fastest": min(t) - min(bare),
            "beyond_median": statistics.median(t) - statistics.median(bare),
            "seconds": statistics.median(t),
        }
        for name, t in times.items()
    }


def measure(kind: str, rounds: int) -> dict[str, Any]:
    """All engines of one kind, in turns, each in a fresh process; the record with the least ``seconds`` of
    each."""
    best: dict[str, Any] = {}
    for _ in range(rounds):
        for engine in PARTS[kind]:
            record = runner.run_python(
                "import sys; from benchmarks.engines import part; part(*sys.argv[1:])",
                [kind, engine],
                TIMEOUT_S[kind],
            )
            old = best.get(engine)
            if old is None or (
                "error" not in record and record["seconds"] < old.get("seconds", float("inf"))
            ):
                best[engine] = record
    return best


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print each kind as a table. Needs rich."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for kind, engines in found.items():
        table = Table(title=kind)
        keys = list(dict.fromkeys(key for record in engines.values() for key in record))
        keys = [k for k in keys if k not in ("kind", "left")]
        table.add_column("")
        for key in keys:
            table.add_column(key.replace("_", " "))
        for engine, record in engines.items():
            table.add_row(engine, *(_cell(record.get(key, "")) for key in keys))
        console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return duration(value) if isinstance(value, float) else str(value)[:90]


def main(arguments: list[str] | None = None) -> int:
    """Run the kinds asked for, print them, store them if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all, if none is named")
    parser.add_argument("--rounds", type=int, help="rounds of each kind (15, 3, 3, 7, 1)")
    parser.add_argument("--out", type=Path, help="store as JSON")
    options = parser.parse_args(arguments)
    unknown = set(options.kinds) - set(ROUNDS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(ROUNDS)}")
    found = {}
    for kind in options.kinds or ROUNDS:
        rounds = options.rounds or ROUNDS[kind]
        found[kind] = imports(rounds) if kind == "imports" else measure(kind, rounds)
        print(f"{kind}: done", file=sys.stderr)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"schema": 1, "machine": machine.describe(), "load": machine.load(), "micro": found}
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
