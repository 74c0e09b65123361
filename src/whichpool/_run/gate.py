"""Who may take from the iterable: one thread at a time, and no other waits for it.

The iterable may take its time, or wait for what comes of an earlier item, which may come back to be tried again. So a
thread that finds the gate shut is told "nothing now", and waits for news of any kind as it would if there were no
items.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gate"]


class Gate:
    """A lock that is tried, not waited for (but for the one thread that is there to wait: see `Feeder`).

    Args:
        opened: Called, without the lock, when it is free again after somebody was refused.
    """

    __slots__ = ("_lock", "_opened", "refused")

    def __init__(self, opened: Callable[[], object]) -> None:
        self._lock = allocate_lock()
        self._opened = opened
        self.refused = False

    def enter(self) -> bool:
        """Go in, if nobody is there; who is refused is told when it is free."""
        if self._lock.acquire(False):
            return True
        # The flag first: who is inside looks at it after letting go, so it is seen, or the second try succeeds.
        self.refused = True
        return self._lock.acquire(False)

    def leave(self) -> None:
        """Let go, and let who was refused know."""
        self._lock.release()
        if self.refused:
            self._opened()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self.leave()
