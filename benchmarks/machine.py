"""Where a run was made: enough to judge whether two runs may be compared at all."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.peers import cores
from benchmarks.workloads import spin

LIBRARIES = ["whichpool", "joblib", "mpire", "pebble", "numpy", "cloudpickle", "threadpoolctl"]
CALIBRATION_STEPS = 100_000
"""About 5 to 10 ms: short enough to fall between two interruptions, long enough for the clock."""
CALIBRATION_ROUNDS = 40


def rate() -> float:
    """Steps of `workloads.spin` a second: the fastest of several rounds, as when nothing else runs."""
    best = float("inf")
    for _ in range(CALIBRATION_ROUNDS):
        begin = perf_counter()
        spin((1, CALIBRATION_STEPS))
        best = min(best, perf_counter() - begin)
    return CALIBRATION_STEPS / best


def load() -> list[float]:
    """The load averages over 1, 5 and 15 minutes; empty where the system has none."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else []


def describe() -> dict[str, Any]:
    """CPU, cores, system, interpreter, versions and time."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": cores(),
        "machine_cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def version(name: str) -> str | None:
    """Of an installed package; ``None``: it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "whichpool":  # run from a checkout that is not installed
            import whichpool

            return whichpool.__version__
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None
