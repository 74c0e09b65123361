"""How long a thread was ready to run and had no core: on a busy machine that looks like waiting, and is not.

Linux keeps count in /proc (the second number of `schedstat`, nanoseconds; Documentation/scheduler/sched-stats.rst). One
read costs about 1.5 us. Elsewhere nothing is known, and 0 is assumed.
"""

from __future__ import annotations

import os
from _thread import get_native_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_delay_clock"]


class _Clock:
    """Reads one thread's count; closes its descriptor when it is dropped."""

    __slots__ = ("_fd",)

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> float:
        try:
            return int(os.pread(self._fd, 64, 0).split()[1]) * 1e-9
        except (OSError, IndexError, ValueError):
            return 0.0  # the thread has ended

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def run_delay_clock(native_id: int | None = None) -> Callable[[], float]:
    """Seconds that a thread of this process (default: this one) has been ready without running; a clock to subtract."""
    try:
        return _Clock(f"/proc/self/task/{native_id if native_id is not None else get_native_id()}/schedstat")
    except OSError:
        return float  # float() is 0.0
