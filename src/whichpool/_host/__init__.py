"""What machine is this? The only place that reads ``/proc`` and ``/sys``, or asks which system this is.

    look() -> Host  <-  cores     machine, affinity, cgroup quota, WHICHPOOL_CORES
                    <-  memory    what host and cgroups have left        (both through cgroups)
                    <-  costs     what starting threads and processes costs, remembered between runs
    clocks          another thread's CPU clock; imported by itself on hot paths

Nothing is read or measured at import, and the parts load at first use: this page imports only modules that
every interpreter has loaded already.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # `typing.TYPE_CHECKING` without the cost of importing typing
if TYPE_CHECKING:
    from whichpool._host.clocks import own_cpu_clock, thread_clock_tick_s
    from whichpool._host.cores import (
        affinity_cores,
        effective_cores,
        machine_cores,
        override_cores,
        quota_cores,
    )
    from whichpool._host.costs import flush, load, record
    from whichpool._host.memory import free_bytes, resident_bytes
    from whichpool._records import Host

__all__ = [
    "affinity_cores",
    "effective_cores",
    "flush",
    "free_bytes",
    "gil_enabled",
    "load",
    "look",
    "machine_cores",
    "override_cores",
    "own_cpu_clock",
    "quota_cores",
    "record",
    "resident_bytes",
    "thread_clock_tick_s",
]

_WHERE = {
    **dict.fromkeys(["own_cpu_clock", "thread_clock_tick_s"], "clocks"),
    **dict.fromkeys(
        ["affinity_cores", "effective_cores", "machine_cores", "override_cores", "quota_cores"],
        "cores",
    ),
    **dict.fromkeys(["flush", "load", "record"], "costs"),
    **dict.fromkeys(["free_bytes", "resident_bytes"], "memory"),
}

KEEP_S = 1.0
"""Seconds for which `look` gives the same answer again. A guess: reading costs 0.3 ms (2-core Linux), and
free memory changes meaningfully within seconds."""

_seen: tuple[tuple[object, ...], float, Host] | None = None
"""What was asked for, when (``time.monotonic``), and the answer. Replaced as a whole: no lock."""


def look(*, fresh: bool = False) -> Host:
    """Tell what this process may use of the machine.

    The answer is kept for a second. The GIL, ``WHICHPOOL_CORES``, ``WHICHPOOL_WORKER`` and the start costs
    are always those of now.

    Args:
        fresh: Read everything again.

    Returns:
        The host. ``worker_bytes`` is ``None``: only who has workers can measure it.

    Raises:
        PlanError: ``WHICHPOOL_CORES`` is not a number above 0.
    """
    global _seen
    from whichpool._host import costs

    start = costs.load()
    gil = gil_enabled()
    override = os.environ.get("WHICHPOOL_CORES")
    worker = os.environ.get("WHICHPOOL_WORKER")
    asked = (gil, override, worker, start, os.getpid())
    now = time.monotonic()
    seen = _seen
    if not fresh and seen is not None and seen[0] == asked and 0 <= now - seen[1] < KEEP_S:
        return seen[2]

    from whichpool._host import cores, memory
    from whichpool._records import Host

    machine, affinity, quota = cores.machine_cores(), cores.affinity_cores(), cores.quota_cores()
    lowered = cores.override_cores()
    host = Host(
        cores=cores.effective_cores(machine, affinity, quota, lowered),
        machine_cores=machine,
        affinity_cores=affinity,
        quota_cores=quota,
        override_cores=lowered,
        memory_free_bytes=memory.free_bytes(),
        gil=gil,
        python=_python(),
        platform=_platform(),
        nested=worker == "1",
        start=start,
    )
    _seen = (asked, now, host)
    return host


def gil_enabled() -> bool:
    """Tell whether this interpreter holds a GIL now; an extension may bring it back when it is imported."""
    asks = getattr(sys, "_is_gil_enabled", None)  # CPython 3.13 and later
    return True if asks is None else bool(asks())


def _python() -> str:
    """Name the interpreter, without importing ``platform`` (6 ms)."""
    name = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}.get(
        sys.implementation.name, sys.implementation.name
    )
    release = "{}.{}.{}".format(*sys.version_info[:3])
    if sys.version_info.releaselevel != "final":
        release += f"{sys.version_info.releaselevel}{sys.version_info.serial}"
    return f"{name} {release}{' free-threaded' if 'free-threading' in sys.version else ''}"


def _platform() -> str:
    """Name the operating system and the kind of processor."""
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    return f"{sys.platform} {machine}".strip()


def __getattr__(name: str) -> object:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{where}"), name)
    globals()[name] = value
    return value
