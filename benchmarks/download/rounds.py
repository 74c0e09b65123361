"""The measured processes, one after another: each in turn, each with an empty folder, each checked byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.download.data import Served, differences, first_at, flush
from benchmarks.download.peers import OURS, PEERS, Setting, Task

LAUNCH = Path(__file__).with_name("launch.py")
HOPELESS, HOPELESS_S = 4.0, 2.0
"""A peer that took this many times the fastest's time in the first round, and more than these seconds, sits out the
others, as in `benchmarks.runner`; whichpool never does."""

Say = Callable[[str], None]
Cells = dict[str, dict[str, Any]]


def once(
    peer: str, setting: Setting, served: Served, base: str, folder: Path, timeout_s: float
) -> dict[str, Any]:
    """Have one fresh process fetch everything that is served.

    Args:
        peer: a name from `peers.PEERS`.
        setting: with the same number of connections as everybody, or as it is by itself.
        served: what is at the server.
        base: the server's address.
        folder: where a folder for the files is made, and removed.
        timeout_s: after this the process is killed.

    Returns:
        ``wall_s``, ``cpu_s``, ``peak_mb``, ``first_s`` (until the first file was there), ``flush_s`` (what an fsync of
        all files took *after* the process had ended); or ``error``.
    """
    with tempfile.TemporaryDirectory(prefix="bench-fetched-", dir=folder) as made:
        own, to = Path(made, "own"), Path(made, "files")
        own.mkdir()
        to.mkdir()
        task = Task(served.urls(base), served.names, to, own, served.biggest)
        command = PEERS[peer].command(task, setting)
        record = _launch(command, own, timeout_s)
        if "error" in record:
            return record
        begin = time.perf_counter()
        flush(to)
        record["flush_s"] = time.perf_counter() - begin
        first = first_at(to)
        record["first_s"] = None if first is None else max(0.0, first - record["begun_at"])
        wrong = differences(served, to)
        if wrong or record["exit_code"]:
            log = (own / "said").read_text("utf-8", "replace").strip().splitlines()
            said = f": {log[-1][:300]}" if log else ""
            return {"error": f"exit code {record['exit_code']}, {wrong or 'all files right'}{said}"}
        return record


def _launch(command: list[str], own: Path, timeout_s: float) -> dict[str, Any]:
    with open(own / "said", "w") as said, open(own / "record", "w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=said,
            cwd=runner.ROOT,
            # A home of its own: nobody's settings, passwords or memories of earlier runs, and nothing left in it.
            env={
                **runner.environment(),
                "HOME": str(own),
                "TMPDIR": str(own),
                "XDG_CACHE_HOME": str(own / "cache"),
            },
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return {"error": f"killed after {timeout_s:g} s"}
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # as it should be: nothing is left of it
            process.wait()
        out.seek(0)
        lines = out.read().strip().splitlines()
        if not lines:
            return {"error": f"the launcher ended with exit code {process.returncode}"}
        record: dict[str, Any] = json.loads(lines[-1])
        return record


def rounds(
    peers: Sequence[str],
    setting: Setting,
    served: Served,
    base: str,
    folder: Path,
    *,
    repeat: int,
    timeout_s: float,
    say: Say,
) -> Cells:
    """``repeat`` rounds of all ``peers``; each begins with another one. Gives, for each peer, its ``runs``, and the
    ``error`` of one that failed and was not tried again."""
    cells: Cells = {peer: {"runs": []} for peer in peers}
    for number in range(repeat):
        turn = number % max(1, len(peers))
        for peer in [*peers[turn:], *peers[:turn]]:
            cell = cells[peer]
            if "error" in cell or (number and _sits_out(peer, cells)):
                continue
            record = once(peer, setting, served, base, folder, timeout_s)
            if "error" in record:
                cell["error"] = record["error"]
            else:
                cell["runs"].append(record)
        brief = (f"{p} {_brief(c)}" for p, c in cells.items())
        say(f"{served.title}, {setting}, round {number + 1}: " + ", ".join(brief))
    return cells


def _sits_out(peer: str, cells: Cells) -> bool:
    mine = [run["wall_s"] for run in cells[peer]["runs"]]
    best = min(run["wall_s"] for cell in cells.values() for run in cell["runs"])
    return peer != OURS and min(mine, default=0.0) > max(HOPELESS * best, HOPELESS_S)


def _brief(cell: dict[str, Any]) -> str:
    return str(cell["error"]) if "error" in cell else f"{cell['runs'][-1]['wall_s']:.2f}"


def absent(peers: Sequence[str]) -> list[str]:
    """Those of ``peers`` that are not installed."""
    return [name for name in peers if PEERS[name].version() is None]


def space_for(served: Served, folder: Path) -> bool:
    """Whether what is served fits beside itself, with a fifth more."""
    return shutil.disk_usage(folder).free > 1.2 * served.total
