"""How many calls may be in progress at once, found by trying: raised while it helps.

What the model cannot know is what the calls wait *for*: a server may answer 8 at once, or 8,000. So the number of calls
starts at a modest level and grows fourfold, a round of calls at a time, while their latency does not rise (the
gradient ``alone / latency``, as in TCP Vegas) or throughput still follows. It steps back to the level before, and
stays, where a growth bought nothing.
"""

from __future__ import annotations

__all__ = ["Limiter"]

# Latency may rise by this factor over a call that runs alone and still count as not rising: timer and scheduling noise
# on a busy 2-core machine reached about 1.3. A guess on top of that.
STEADY = 1.5
# Each level has so many times the calls of the one before. Doubling takes five rounds from 32 to 256 calls and back to
# an end in sight, fourfold three: in the simulation that halved the regret of long calls that only wait.
GROWTH = 4
# A growth of the calls that brought less than this has brought nothing; more than the second is following.
NOTHING = 1.10
FOLLOWS = 1.25


class Limiter:
    """An adaptive limit on concurrency.

    Args:
        first: Calls at once that are taken for harmless.
    """

    __slots__ = ("_below", "_closed", "_first", "allowed")

    def __init__(self, first: int) -> None:
        self._first = first
        self.reset()

    def reset(self) -> None:
        """Forgets what was tried: the work has changed."""
        self.allowed = self._first
        self._below: tuple[int, float] | None = None  # the last level and its throughput
        self._closed = False

    def observe(
        self,
        calls: int,
        finished: int,
        least_per_s: float,
        most_per_s: float,
        latency_s: float,
        alone_s: float,
    ) -> None:
        """Takes in what was measured with ``calls`` at once, and moves `allowed` if that says so.

        Args:
            calls: In progress at once.
            finished: Calls that ended at this level; less than a round of them says nothing.
            least_per_s: Their throughput, at least.
            most_per_s: Their throughput, at most.
            latency_s: Their mean duration.
            alone_s: The duration of a call that runs alone.
        """
        if self._closed or calls < self.allowed or finished < calls:
            return
        below = self._below
        if below is not None and most_per_s < NOTHING * below[1]:
            self.allowed = below[0]
            self._closed = True
        elif latency_s <= STEADY * alone_s or (below is not None and least_per_s >= FOLLOWS * below[1]):
            self._below = (calls, max(least_per_s, calls / latency_s if latency_s > 0 else 0.0))
            self.allowed = GROWTH * calls
