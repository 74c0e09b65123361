"""How far a run may be ahead of who takes its results."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOK_AHEAD", "Pace"]

# A consumer that falls behind may leave so many results lying, or twice what is in progress, whichever is more ...
LOOK_AHEAD = 64
# ... but no more than so many bytes, where it is known what a result weighs.
LOOK_AHEAD_BYTES = 64_000_000


class Pace:
    """Keeps work back until there is room for what comes of it.

    Args:
        limit: The most items in progress; ``None``: there is no limit.
        bounded: Results lie about until they are taken, so that a slow consumer must slow the work, not fill the
            memory.
    """

    def __init__(self, limit: int | None, bounded: bool) -> None:
        self.limit = limit
        self.bounded = bounded
        self.weigh: Callable[[], float | None] | None = None  # bytes of an item and its result, if known
        self.starved = False  # somebody was told "nothing now" because results lie about
        self._resume_at = 0

    def room(self, most: int, in_progress: int, lying: int) -> int:
        """How many of ``most`` items may begin; 0 or less: none now."""
        if self.limit is not None:
            most = min(most, self.limit - in_progress)
        if self.bounded:
            most_lying = max(LOOK_AHEAD, 2 * in_progress)
            if self.weigh is not None and (each := self.weigh()):
                most_lying = min(most_lying, max(1, int(LOOK_AHEAD_BYTES / each)))
            if self.limit is not None:
                most_lying = min(most_lying, 2 * self.limit)
            if lying >= most_lying:
                self.starved, self._resume_at = True, most_lying // 2
                return 0
        return most

    def resumes(self, lying: int) -> bool:
        """Whether there is room again, after somebody was told that there is none."""
        if lying > self._resume_at:
            return False
        self.starved = False
        return True
