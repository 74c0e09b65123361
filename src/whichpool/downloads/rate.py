"""One limit of bytes a second for all connections together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

__all__ = ["Rate"]

# What one read may bring is what so many seconds allow: the finer, the evener it flows and the more often a thread
# wakes. A guess: 20 times a second.
GRAIN_S = 0.05
LEAST_READ = 1_024
"""Bytes. Below 20 kB/s the grain gets coarser instead of the reads smaller."""
# What was not used in the past may be caught up on for so long; what a sleep overslept is not lost. Seconds. A guess.
CATCH_UP_S = 0.1


class Rate:
    """A bucket of tokens that may go into debt: who takes, waits until all that was taken so far is paid off.

    Everyone takes a place in one line, so each gets as much as it asks for as often as the others; nobody sleeps with
    the lock held.

    Args:
        bytes_per_s: The limit.
        sleep: Waits so many seconds, or less if the run is being stopped.
        now: The clock.
    """

    def __init__(
        self,
        bytes_per_s: float,
        sleep: Callable[[float], object],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        self._paid_until = now()

    def most(self, wanted: int) -> int:
        """How much to read at once, of the ``wanted``."""
        return max(LEAST_READ, min(wanted, int(self.bytes_per_s * GRAIN_S)))

    def take(self, count: int) -> None:
        """So many bytes have come: wait until they may have."""
        with self._lock:
            now = self._now()
            self._paid_until = max(self._paid_until, now - CATCH_UP_S) + count / self.bytes_per_s
            wait_s = self._paid_until - now
        if wait_s > 0:
            self._sleep(wait_s)
