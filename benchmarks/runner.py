"""Starts the measured processes, one after another, and collects what they say.

Within a workload the peers take turns (round robin, each round beginning with another peer), so that a noisy
minute hits all of them and not one.
"""

from __future__ import annotations

import compileall
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, server
from benchmarks.peers import BASE, OURS
from benchmarks.suite import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 1.0
"""Seconds that what a peer started may live on after the measured process has ended."""
HOPELESS, HOPELESS_S = 4, 0.5
"""A peer this many times slower than the fastest of the first round, and slower than these seconds, sits out
the other rounds: it will not be the best, and a third of a run would be spent on it. Its figure is marked."""
LONG_S = 3.0
"""Seconds: an engine whose cold call takes longer is called warm in the first round only. A call that long
varies less than the machine does."""

Say = Callable[[str], None]


def environment() -> dict[str, str]:
    """The environment of a measured process: it finds `benchmarks`, and `whichpool` in the checkout or as
    installed."""
    path = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in path if p)}
    # Told not to keep bytecode, Python would compile the checkout anew in each process, and no installed package.
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def compile_ahead() -> None:
    """Leave bytecode beside the checkout's modules, as the peers got it when they were installed."""
    for folder in (ROOT / "src", ROOT / "benchmarks"):
        compileall.compile_dir(folder, quiet=2)


def run_python(
    code: str,
    arguments: Sequence[str],
    timeout_s: float,
    started: Callable[[int], None] = lambda pid: None,
) -> dict[str, Any]:
    """Run ``code`` in a fresh interpreter and read the JSON on its last line of output; ``started`` gets its id.

    Output goes through files, not pipes: a worker left behind that holds a pipe open would hold up the
    reader.

    Returns:
        What it printed; or ``{"kind": ..., "error": ...}`` with kind "timeout" (killed, with all it started)
        or "died". ``"left": True`` where something it started was still alive `GRACE_S` after its end, and
        was killed.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            # Not `-m`: runpy would load modules before the clock starts, and re-import main in spawned
            # workers.
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
        try:
            started(process.pid)
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return {"kind": "timeout", "error": f"killed after {timeout_s:g} s"}
        except BaseException:  # Ctrl-C: leave nothing running, then go on with what was raised
            _kill(process)
            raise
        left = not _gone(process.pid)
        if left:
            _kill(process)
        out.seek(0)
        lines = out.read().strip().splitlines()
        try:
            record: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError):
            err.seek(0)
            said = (err.read().strip().splitlines() or ["no message"])[-1]
            record = {"kind": "died", "error": f"exit code {process.returncode}: {said[:400]}"}
        if left:
            record["left"] = True
        return record


def _gone(group: int) -> bool:
    """Whether the process group comes to an end within `GRACE_S`."""
    end = time.monotonic() + GRACE_S
    while _alive(group):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _alive(group: int) -> bool:
    """Whether a process of the group lives. Zombies do not count: where PID 1 reaps nobody, they stay for
    ever."""
    if not hasattr(os, "killpg"):
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        try:
            # "PID (name, which may hold spaces and brackets) STATE PPID GROUP ..."
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it ended meanwhile
        if int(its_group) == group and state not in "ZX":
            return True
    return not stats  # without /proc: what killpg said


def _kill(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all of it has ended meanwhile
    else:
        process.kill()
    process.wait()


def run(
    workloads: Sequence[str],
    peers: Sequence[str],
    *,
    repeat: int = 3,
    warm: bool = True,
    scale: float = 1.0,
    timeout_s: float = 60.0,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Measure ``peers`` on ``workloads``.

    Args:
        workloads: names from `suite.WORKLOADS`.
        peers: names from `peers.PEERS`.
        repeat: rounds; in each, every peer gets one fresh process.
        warm: whether the process calls again after the cold call.
        scale: share of the full number of items.
        timeout_s: seconds after which a measured process is killed and counts as failed.
        say: gets a line for each round, for people.

    Returns:
        The run, as it is stored. After Ctrl-C: what there was, with ``"interrupted": True``.
    """
    begin = time.monotonic()
    compile_ahead()
    result: dict[str, Any] = {
        "schema": 1,
        "machine": machine.describe(),
        "options": {"repeat": repeat, "warm": warm, "scale": scale, "timeout_s": timeout_s},
        "rate": machine.rate(),
        "load": [machine.load()],
        "workloads": {},
    }
    try:
        with server.running() as url:
            for name in workloads:
                result["workloads"][name] = _workload(
                    name, peers, result["options"], result["rate"], url, say
                )
                result["load"].append(machine.load())
    except KeyboardInterrupt:
        result["interrupted"] = True
    result["took_s"] = round(time.monotonic() - begin, 1)
    return result


def _workload(
    name: str, peers: Sequence[str], options: dict[str, Any], rate: float, url: str, say: Say
) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {
        peer: {"cold_s": [], "warm_s": [], "cold_plans": [], "warm_plans": [], "failures": []}
        for peer in peers
    }
    entry: dict[str, Any] = {"title": WORKLOADS[name][0], "items": None, "peers": found}
    for number in range(options["repeat"]):
        turn = number % max(1, len(peers))
        for peer in [*peers[turn:], *peers[:turn]]:
            if number and _sits_out(peer, found):
                continue
            warm = options["warm"] and not (number and min(found[peer]["cold_s"]) > LONG_S)
            arguments = [name, peer, str(rate), str(options["scale"]), url, "warm" if warm else "cold"]
            record = run_python("from benchmarks.child import main; main()", arguments, options["timeout_s"])
            entry["items"] = record.get("items", entry["items"])
            _file(found[peer], record)
        say(f"{name}, round {number + 1}: " + ", ".join(f"{p} {_brief(found[p])}" for p in peers))
    return entry


def _file(cell: dict[str, Any], record: dict[str, Any]) -> None:
    """Put one process's record with the others of the same peer. Times of a failed one count for nothing."""
    if "error" in record:
        cell["failures"].append({"kind": record["kind"], "error": record["error"]})
    else:
        cell["cold_s"].append(record["cold_s"])
        cell["warm_s"].extend(record["warm_s"])
        cell["cold_plans"].extend(record["plans"][:1])
        cell["warm_plans"].extend(record["plans"][1:])
    if record.get("left"):
        cell["failures"].append(
            {"kind": "left", "error": "processes were alive after the end, and were killed"}
        )


def _sits_out(peer: str, found: dict[str, dict[str, Any]]) -> bool:
    mine = found[peer]["cold_s"]
    if not mine:
        return True  # it failed in the first round, and would again
    best = min(min(cell["cold_s"]) for cell in found.values() if cell["cold_s"])
    slow: bool = min(mine) > max(HOPELESS * best, HOPELESS_S)
    return slow and peer not in (OURS, BASE)


def _brief(cell: dict[str, Any]) -> str:
    if cell["failures"]:
        return str(cell["failures"][-1]["kind"])
    return f"{min(cell['cold_s']):.3f}" if cell["cold_s"] else "-"
