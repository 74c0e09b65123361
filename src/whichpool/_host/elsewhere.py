"""Memory on macOS and Windows, through the system's own libraries. Never loaded on Linux.

Any failure, a system that lacks the call included, is *not measured* (``None``), never an error.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OS: str = sys.platform


def free_bytes() -> int | None:
    """Tell how many bytes the system says are available; ``None`` where it cannot be learnt."""
    try:
        if _OS == "darwin":
            return mac_free_bytes(_library(None))
        return windows_free_bytes(_library("kernel32")) if _OS == "win32" else None
    except (AttributeError, ImportError, OSError, ValueError):
        return None


def resident_bytes(pid: int) -> int | None:
    """Tell how many bytes of physical memory a process occupies; ``None`` where it cannot be learnt."""
    try:
        if _OS == "darwin":
            return mac_resident_bytes(pid, _library(None))
        return windows_resident_bytes(pid, _library("kernel32")) if _OS == "win32" else None
    except (AttributeError, ImportError, OSError, ValueError):
        return None


def mac_free_bytes(libc: Any) -> int | None:
    """Take the percentage that the kernel itself holds to be available, of all memory.

    Args:
        libc: The C library, or what answers like it.

    Returns:
        Bytes, in steps of a hundredth of the machine's memory; ``None`` where it cannot be learnt.
    """
    percent, size = _sysctl(libc, "kern.memorystatus_level"), _sysctl(libc, "hw.memsize")
    if percent is None or size is None or percent > 100:
        return None
    return size * percent // 100


def mac_resident_bytes(pid: int, libc: Any) -> int | None:
    """Ask ``proc_pidinfo`` for the resident size of a process; ``None``: it does not tell."""
    import ctypes

    task_info, size = 4, 96  # PROC_PIDTASKINFO and its struct, which begins with virtual and resident size
    info = (ctypes.c_uint64 * (size // 8))()
    got = libc.proc_pidinfo(pid, task_info, ctypes.c_uint64(0), ctypes.byref(info), size)
    return int(info[1]) if got == size else None


def windows_free_bytes(kernel32: Any) -> int | None:
    """Ask ``GlobalMemoryStatusEx`` for the physical memory that is available; ``None``: it does not tell."""
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("page_files_and_address_space", ctypes.c_uint64 * 5),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    done = kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available) if done else None


def windows_resident_bytes(pid: int, kernel32: Any) -> int | None:
    """Ask ``K32GetProcessMemoryInfo`` for the working set of a process; ``None``: it does not tell."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("faults", ctypes.c_uint32),
            ("peak", ctypes.c_size_t),
            ("resident", ctypes.c_size_t),
            ("pools_and_page_file", ctypes.c_size_t * 6),
        )

    kernel32.OpenProcess.restype = ctypes.c_void_p  # the default, int, would cut a handle in half
    query_limited = 0x1000
    handle = ctypes.c_void_p(kernel32.OpenProcess(query_limited, False, pid))
    if handle.value is None:
        return None
    try:
        counters = Counters(length=ctypes.sizeof(Counters))
        done = kernel32.K32GetProcessMemoryInfo(handle, ctypes.byref(counters), counters.length)
        return int(counters.resident) if done else None
    finally:
        kernel32.CloseHandle(handle)


def _library(name: str | None) -> Any:
    import ctypes

    # On 64-bit Windows there is one calling convention, so CDLL serves for kernel32 too.
    return ctypes.CDLL(name)


def _sysctl(libc: Any, name: str) -> int | None:
    """Ask for a number of the kernel; ``None``: it has none of that name."""
    import ctypes

    value = ctypes.c_uint64(0)  # a 32-bit answer fills the lower half: all Macs are little-endian
    size = ctypes.c_size_t(ctypes.sizeof(value))
    failed = libc.sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else value.value
