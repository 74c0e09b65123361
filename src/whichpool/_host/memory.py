"""How much memory is left? What the host has, or an enclosing control group allows, whichever is less."""

from __future__ import annotations

import os
import sys

from whichpool._host.cgroups import groups, read_field, read_number, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OS: str = sys.platform

NO_LIMIT_BYTES = 1 << 60
"""Bytes from which a version 1 limit means *none*: the kernel writes 2**63 rounded down to a page."""


def free_bytes(root: str = "") -> int | None:
    """Tell how many bytes can still be used without swapping or being killed.

    Linux: the least of ``MemAvailable`` and, for every enclosing control group that can be seen, its limit
    less what it uses; its inactive file cache is not counted as used, because the kernel drops it first.
    macOS, Windows: what the system says is available.

    Args:
        root: Put before each path read; default: the real ``/``.

    Returns:
        Bytes, 0 or more; ``None`` where it cannot be learnt.
    """
    if not root and _OS in ("darwin", "win32"):
        from whichpool._host import elsewhere

        return elsewhere.free_bytes()
    available = read_field(read_text("/proc/meminfo", root), "MemAvailable")
    left = [] if available is None else [available * 1024]
    for version, folder in groups("memory", root):
        limit = _limit_v2(folder, root) if version == 2 else _limit_v1(folder, root)
        if limit is None:
            continue
        used = read_number(folder + ("/memory.current" if version == 2 else "/memory.usage_in_bytes"), root)
        if used is None:
            continue
        stat = read_text(folder + "/memory.stat", root)
        # In version 1 the plain name is the group's alone; usage and `total_` count the groups inside it too.
        idle = read_field(stat, "inactive_file" if version == 2 else "total_inactive_file") or 0
        left.append(limit - max(used - idle, 0))
    return max(min(left), 0) if left else None


def resident_bytes(pid: int | None = None, root: str = "") -> int | None:
    """Tell how many bytes of physical memory a process occupies, pages that it shares with others included.

    Args:
        pid: The process; default: this one.
        root: Put before each path read; default: the real ``/``.

    Returns:
        Bytes; ``None`` where it cannot be learnt (no such process, not ours, or no way on this system).
    """
    if not root and _OS in ("darwin", "win32"):
        from whichpool._host import elsewhere

        return elsewhere.resident_bytes(os.getpid() if pid is None else pid)
    words = (read_text(f"/proc/{'self' if pid is None else pid}/statm", root) or "").split()
    try:
        pages = int(words[1])
        return pages * _page_bytes() or None  # 0: it has ended and waits to be reaped
    except (IndexError, OSError, ValueError):
        return None


def own_share_bytes(pid: int | None = None, root: str = "") -> int | None:
    """Tell how many bytes of physical memory a process occupies, what it shares with others divided among them.

    So these add up over processes. On Linux it is read where the kernel keeps it (``smaps_rollup``, 4.14), which takes
    it about a millisecond for 100 MB; elsewhere it is `resident_bytes`.

    Args:
        pid: The process; default: this one.
        root: Put before each path read; default: the real ``/``.

    Returns:
        Bytes; ``None`` where it cannot be learnt.
    """
    share = read_field(read_text(f"/proc/{'self' if pid is None else pid}/smaps_rollup", root), "Pss")
    return share * 1024 if share is not None else resident_bytes(pid, root)


def peak_bytes(pid: int, root: str = "") -> int | None:
    """Tell the most bytes of physical memory that a process has occupied since it began, or since `forget_peak`.

    Returns:
        Bytes; ``None`` where it cannot be learnt: only Linux tells.
    """
    peak = read_field(read_text(f"/proc/{pid}/status", root), "VmHWM")
    return peak * 1024 if peak is not None else None


def forget_peak(pid: int, root: str = "") -> bool:
    """Have `peak_bytes` of a process begin anew; false: this system does not (only Linux 4.0 does)."""
    try:
        with open(f"{root}/proc/{pid}/clear_refs", "wb", buffering=0) as file:
            file.write(b"5")
    except OSError:
        return False
    return True


def oom_kills(root: str = "") -> int | None:
    """Tell how many processes of this one's control group the kernel has ended for want of memory, so far.

    Args:
        root: Put before each path read; default: the real ``/``.

    Returns:
        A count that only grows, groups inside counted where the kernel does; ``None`` where it cannot be learnt.
    """
    if root:
        files = _oom_files(root)
    else:
        global _own_oom_files
        if _own_oom_files is None:
            _own_oom_files = _oom_files(root)
        files = _own_oom_files
    for file in files:
        count = read_field(read_text(file, root), "oom_kill")
        if count is not None:
            return count
    return None


_own_oom_files: list[str] | None = None  # finding them costs 0.2 ms, and they stay


def _oom_files(root: str) -> list[str]:
    return [
        folder + ("/memory.events" if version == 2 else "/memory.oom_control")
        for version, folder in groups("memory", root)
    ]


def _page_bytes() -> int:
    sysconf: Callable[[str], int] | None = getattr(os, "sysconf", None)
    return sysconf("SC_PAGE_SIZE") if sysconf is not None else 4096


def _limit_v1(folder: str, root: str) -> int | None:
    # The second one counts groups above the mount too, which cannot be seen from inside a container.
    limits = [
        read_number(folder + "/memory.limit_in_bytes", root),
        read_field(read_text(folder + "/memory.stat", root), "hierarchical_memory_limit"),
    ]
    return min((limit for limit in limits if limit is not None and 0 <= limit < NO_LIMIT_BYTES), default=None)


def _limit_v2(folder: str, root: str) -> int | None:
    # Above `high` the kernel slows the group down until it has shrunk: no place to put more workers.
    limits = [read_number(folder + "/memory.max", root), read_number(folder + "/memory.high", root)]
    return min((limit for limit in limits if limit is not None), default=None)
