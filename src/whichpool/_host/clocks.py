"""CPU clocks of threads. Imports next to nothing: it is loaded while the caller's loop is running."""

from __future__ import annotations

import sys
import time
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OS: str = sys.platform

WINDOWS_TICK_S = 0.015625
"""Seconds in which a thread's CPU clock advances on Windows: 64 times a second, whatever it states."""


def own_cpu_clock() -> Callable[[], float] | None:
    """Make a clock that reads the CPU seconds of the calling thread, for any thread of this process to read.

    It is made by the thread itself, which is sure to be alive: the C library reads the thread's own record, which is
    gone when the thread is. (To ask the interpreter whether another thread lives, by ``sys._current_frames``, can stop
    CPython 3.11 for good: it may collect garbage while it holds the lock that threads need to start and to end;
    python/cpython#106883.) After the thread has ended the clock stays at what it last read, and it never goes
    backwards.

    Returns:
        A function without arguments that gives seconds since the thread began (0.3-0.6 us a call on 2-core
        Linux); ``None`` where no such clock exists (macOS, Windows).
    """
    resolve: Callable[[int], int] | None = getattr(time, "pthread_getcpuclockid", None)
    clock_gettime: Callable[[int], float] | None = getattr(time, "clock_gettime", None)
    if resolve is None or clock_gettime is None:
        return None
    try:
        clock_id = resolve(get_ident())
        last = clock_gettime(clock_id)
    except OSError:
        return None

    def read() -> float:
        nonlocal last
        try:
            now = clock_gettime(clock_id)
        except OSError:  # EINVAL: the thread has ended
            return last
        # The kernel may give the number of an ended thread to a new one, whose clock begins at 0.
        if now > last:
            last = now
        return last

    return read


def thread_clock_tick_s() -> float:
    """Tell in which steps a thread's CPU clock advances, in seconds: 1e-9 on Linux, 0.015625 on Windows."""
    resolution = time.get_clock_info("thread_time").resolution
    return max(resolution, WINDOWS_TICK_S) if _OS == "win32" else resolution
