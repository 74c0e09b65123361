"""How many cores may this process use? The least of four numbers, each ``None`` where it does not apply.

    machine     cores that are online
    affinity    cores that the scheduler may put this process on (taskset, cpusets, -X cpu_count)
    quota       CPU time per wall time that control groups allow (docker --cpus, CPUQuota=, k8s limits)
    override    WHICHPOOL_CORES

So none of them can raise it.
"""

from __future__ import annotations

import os

from whichpool._host.cgroups import groups, read_number, read_text

LEAST_CORES = 0.01
"""Cores that are assumed at least, so that nobody divides by 0: the least quota of Linux, 1 ms in 100 ms."""


def machine_cores() -> int:
    """Count the cores of the machine that are online; 1 if that cannot be learnt."""
    return os.cpu_count() or 1


def affinity_cores() -> int | None:
    """Count the cores that this process may be scheduled on; ``None`` where it cannot be learnt."""
    counts: list[int] = []
    if hasattr(os, "sched_getaffinity"):
        try:
            count = len(os.sched_getaffinity(0))
        except OSError:  # a sandbox that forbids the call
            count = 0
        if count:
            counts.append(count)
    # Python 3.13. Asked as well, not instead: PYTHON_CPU_COUNT may set it, also to more than there are.
    counter = getattr(os, "process_cpu_count", None)
    if counter is not None and (allowed := counter()):
        counts.append(allowed)
    return min(counts, default=None)


def quota_cores(root: str = "") -> float | None:
    """Read the CPU quota of the control groups around this process.

    Args:
        root: Put before each path read; default: the real ``/``.

    Returns:
        Cores, the least of all enclosing groups; ``None``: no quota, or none that can be read.
    """
    quotas = []
    for version, folder in groups("cpu", root):
        if version == 2:
            words = (read_text(folder + "/cpu.max", root) or "").split()
            quota, period = _numbers(words[0], words[1]) if len(words) == 2 else (None, None)
        else:
            quota = read_number(folder + "/cpu.cfs_quota_us", root)
            period = read_number(folder + "/cpu.cfs_period_us", root)
        # -1 (version 1) and "max" (version 2): this group sets none
        if quota is not None and period is not None and quota > 0 and period > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def override_cores() -> float | None:
    """Read ``WHICHPOOL_CORES``.

    Returns:
        Cores; ``None`` if the variable is not set, or empty.

    Raises:
        PlanError: It is not a number above 0.
    """
    text = os.environ.get("WHICHPOOL_CORES", "").strip()
    if not text:
        return None
    try:
        cores = float(text)
    except ValueError:
        cores = 0.0
    if 0.0 < cores < float("inf"):
        return cores
    from whichpool.errors import PlanError

    raise PlanError(
        f"the environment variable WHICHPOOL_CORES is {text!r}; it must be a number above 0, as 2 or 0.5 "
        "(it can only lower the number of cores used). Correct or unset it."
    )


def effective_cores(machine: int, affinity: int | None, quota: float | None, override: float | None) -> float:
    """Take the least of the numbers that are known, but at least `LEAST_CORES`."""
    known = [float(cores) for cores in (machine, affinity, quota, override) if cores is not None]
    return max(min(known), LEAST_CORES)


def _numbers(first: str, second: str) -> tuple[int | None, int | None]:
    """Convert both to whole numbers, or neither."""
    try:
        return int(first), int(second)
    except ValueError:
        return None, None
