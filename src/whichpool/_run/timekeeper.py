"""The clock of a run: what is due later, and what is looked at again and again, on a thread of its own.

There is one only where `timeout`, `deadline` or `retries` ask for it.
"""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from whichpool._pools.base import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timekeeper"]

# With nothing due, the thread looks up this seldom. Seconds.
IDLE_S = 60.0


class Timekeeper:
    """Does things at their time. The thread starts with the first of them.

    Args:
        failed: Told what one of them raised; nothing should.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._lock = threading.Lock()
        self._news = Signal()
        self._started = self._over = False

    def after(self, wait_s: float, do: Callable[[], object]) -> bool:
        """Have something done after so long; False: the system starts no thread, and nobody will."""
        with self._lock:
            if self._over:
                return True
            heappush(self._due, (monotonic() + wait_s, next(self._numbers), do))
            if not self._started:
                try:
                    threading.Thread(target=self._main, name="whichpool-clock", daemon=True).start()
                except RuntimeError:
                    self._due.clear()
                    return False
                self._started = True
        self._news.set()
        return True

    def every(self, period_s: float, do: Callable[[], object]) -> bool:
        """Have something done again and again; see `after`."""

        def again() -> None:
            do()
            self.after(period_s, again)

        return self.after(period_s, again)

    def stop(self) -> None:
        """Nothing more is done, and the thread ends."""
        with self._lock:
            self._over = True
            self._due.clear()
        self._news.set()

    def _main(self) -> None:
        while True:
            with self._lock:
                if self._over:
                    return
                wait_s = self._due[0][0] - monotonic() if self._due else IDLE_S
                do = heappop(self._due)[2] if wait_s <= 0 else None
            if do is None:
                self._news.wait(wait_s)
                continue
            try:
                do()
            except BaseException as error:
                self._failed(error)
