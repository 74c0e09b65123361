"""How much memory the process tree of a run may hold, and whether one more item fits.

    held by this process, the fork server and idle workers  +  what busy workers are expected to reach
    +  what the next item takes                             <=  the limit, less a reserve

An item takes what those before it took, in proportion to their weights: how far the resident size of a worker rose
while it ran a batch. What a worker holds once it has run its first is known apart from that: it loads the function's
modules as soon as it is there. What is far heavier than all before it runs alone, and so does the very first item.
"""

from __future__ import annotations

import os
from time import monotonic, thread_time

from whichpool._host.memory import forget_peak, own_share_bytes, peak_bytes, resident_bytes
from whichpool._pools import fleet
from whichpool._pools.health import bytes_in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._pools.member import Member

__all__ = ["Budget", "Hand"]

# So much of the limit is planned with; the rest is for items that take more than those before them, and for what grows
# between two looks. A guess.
PLANNED = 0.9
# Above this share of the limit a worker is ended rather than left to pass it. A guess: what is left is what a worker
# that writes 1 GB/s to fresh memory takes on within `LOOK_S`, of a limit of 1 GB.
TOO_MUCH = 0.95
# The whole tree is looked at so often while items run, and no more often than takes this share of a core. Seconds.
LOOK_S = 0.05
LOOK_SHARE = 0.1
# No item is taken to be lighter: a weight is divided by.
LIGHTEST = 1e-6
# A worker is not replaced to save less than this: starting one takes time. A guess.
WORTH_BYTES = 4_000_000


class Hand:
    """What a busy worker had when it became so, and what it is expected to reach."""

    __slots__ = ("began_bytes", "expected_bytes", "held_bytes", "weight")

    def __init__(self, began_bytes: int, held_bytes: int, expected_bytes: float) -> None:
        self.began_bytes = began_bytes  # resident, as its peak is told
        self.held_bytes = held_bytes  # its share, as the limit counts
        self.expected_bytes = expected_bytes
        self.weight = 0.0


class Taken:
    """What items took, by their weights: told by the heavier half of those seen, since a light one takes little else
    than what any item takes."""

    def __init__(self) -> None:
        self._heaviest = 0.0
        self._each = 0.0  # bytes for a weight of 1
        self._least = 0.0  # what the lighter half took at the most

    def learn(self, rose: float, weight: float) -> None:
        """An item of this weight took so many bytes."""
        if weight > 2 * self._heaviest:
            self._least = max(self._least, self._each * self._heaviest)
            self._each = 0.0
        if weight * 2 >= self._heaviest:
            self._heaviest = max(self._heaviest, weight)
            self._each = max(self._each, rose / weight)
        else:
            self._least = max(self._least, rose)

    def knows(self, weight: float) -> bool:
        """Whether it is not far heavier than all that were seen."""
        return weight <= 2 * self._heaviest

    def of(self, weight: float) -> float:
        """Bytes that an item of this weight is expected to take."""
        return max(self._each * weight, self._least)


class Budget:
    """Sees to the memory of one run.

    Args:
        most_bytes: What the tree may hold.
        weigh: Of an item, what it takes is in proportion to; ``None``: all take the same.
    """

    def __init__(self, most_bytes: int, weigh: Callable[[Any], float] | None) -> None:
        self.most_bytes = most_bytes
        self.look_s = LOOK_S
        self._weigh = weigh
        self._first = Taken()  # beyond what workers held after their first batch
        self._later: Taken | None = None
        self._most_after = 0.0  # what workers held that had run their first batch
        self._looked_at = 0.0
        self._own = (0.0, 0)  # when, and how much this process, the server and workers of no run held

    # -- what is known -------------------------------------------------------------------------------------------

    def weight(self, batch: Batch) -> float:
        """Of the heaviest item of a batch: they run one after the other."""
        if self._weigh is None:
            return 1.0
        return max([float(self._weigh(item)) for item in batch.items] + [LIGHTEST])

    def _held(self, member: Member) -> float:
        """What a worker holds between two batches; of one that has run none, what it will hold when it has."""
        if member.worker.pid is None:
            return self._most_after
        if member.held_bytes is None or (member.new and not self._most_after):
            member.held_bytes = own_share_bytes(member.worker.pid) or 0
        return max(member.held_bytes, self._most_after) if member.new else member.held_bytes

    def _others(self) -> int:
        """What this process, the fork server and the workers that no run has hold now."""
        when, held = self._own
        now = monotonic()
        if now - when > self.look_s:
            there = fleet.status()
            pids = [pid for pid in (os.getpid(), there["server"], *there["idle"]) if pid is not None]
            held = sum(own_share_bytes(pid) or 0 for pid in pids)
            self._own = now, held
        return held

    def _need(self, batch: Batch, *, new: bool) -> float:
        taken = self._first if new or self._later is None else self._later
        return taken.of(self.weight(batch))

    def _is_known(self, batch: Batch) -> bool:
        weight = self.weight(batch)
        return self._first.knows(weight) or (self._later is not None and self._later.knows(weight))

    # -- one more ------------------------------------------------------------------------------------------------

    def fits(self, member: Member | None, crew: list[Member], batch: Batch, *, renewed: bool = False) -> bool:
        """Whether a worker may begin a batch now.

        Args:
            member: The worker; ``None``: one that is still to be started.
            crew: All workers of the run.
            batch: What it would be given.
            renewed: Think of a fresh worker in its place.
        """
        known = self._is_known(batch)
        if not known and (member is None or any(each.batches for each in crew)):
            return False
        total = float(self._others())
        if known:
            total += self._need(batch, new=member is None or renewed or member.new)
        for each in crew:
            if each is not member:
                total += each.hand.expected_bytes if each.hand is not None else self._held(each)
        if member is None or renewed:
            total += self._most_after
        else:
            total += member.hand.expected_bytes if member.hand is not None else self._held(member)
        return total <= PLANNED * self.most_bytes

    def would_help(self, member: Member, batch: Batch) -> bool:
        """Whether a fresh worker in its place would stay clearly below what this one would reach."""
        if member.new:
            return False
        reached = self._held(member) + self._need(batch, new=False)
        return reached > self._most_after + self._need(batch, new=True) + WORTH_BYTES

    def why_not(self, member: Member, batch: Batch) -> tuple[str, bool]:
        """The figures, where it does not fit alone; and whether it is the item that is too large."""
        words, known = bytes_in_words, self._is_known(batch)
        need = self._need(batch, new=member.new) if known else 0.0
        held, own = self._held(member), self._others()
        taken = (
            f"it is expected to take {words(need)} more, as those before it did"
            if known
            else "nothing like it has been run yet"
        )
        return (
            f"max_memory is {words(self.most_bytes)}, and {1 - PLANNED:.0%} of it is kept in reserve; this process "
            f"and its fork server hold {words(own)}, a worker process {words(held)}, and {taken}; it has to be "
            f"{words((own + held + need) / PLANNED)} at least"
        ), own + held <= PLANNED * self.most_bytes

    # -- while it runs -------------------------------------------------------------------------------------------

    def begin(self, member: Member, batch: Batch) -> None:
        """A worker is given a batch."""
        pid = member.worker.pid
        if pid is None:
            return
        if member.hand is None:
            held = self._held(member)
            member.hand = Hand(resident_bytes(pid) or 0, member.held_bytes or 0, held)
            forget_peak(pid)
        member.hand.weight += self.weight(batch)
        member.hand.expected_bytes += self._need(batch, new=member.new)

    def end(self, member: Member) -> None:
        """A worker has answered: what did it take?"""
        hand, pid = member.hand, member.worker.pid
        if hand is None or pid is None or member.batches:
            return
        member.hand = None
        after, share = resident_bytes(pid), own_share_bytes(pid)
        if after is None or share is None:
            return
        member.held_bytes = share
        base = hand.began_bytes
        if member.new:
            self._most_after = max(self._most_after, share)
            base = max(base, after)
        self._learn((peak_bytes(pid) or after) - base, hand.weight, new=member.new)

    def _learn(self, rose: float, weight: float, *, new: bool) -> None:
        if new:
            self._first.learn(max(rose, 0.0), weight)
        else:
            self._later = self._later or Taken()
            self._later.learn(max(rose, 0.0), weight)

    def over(self, crew: Iterable[Member]) -> tuple[Member, bool] | None:
        """Whether the tree holds too much now; looks as often as is cheap.

        Returns:
            The busy worker that has taken on most, and whether what idle ones hold is too little to do without.
        """
        now = monotonic()
        if now - self._looked_at < self.look_s:
            return None
        busy = [member for member in crew if member.hand is not None]
        self._looked_at, began_s = now, thread_time()
        if not busy:
            return None
        shares = {member: own_share_bytes(member.worker.pid) or 0 for member in busy}
        idle = sum(self._held(member) for member in crew if member.hand is None and member.worker.pid)
        total = self._others() + sum(shares.values()) + idle
        self.look_s = max(LOOK_S, (thread_time() - began_s) / LOOK_SHARE)
        if total <= TOO_MUCH * self.most_bytes:
            return None
        rose = {member: shares[member] - member.hand.held_bytes for member in busy if member.hand is not None}
        most = max(rose, key=rose.__getitem__)
        if most.hand is not None:
            beyond = rose[most] - (self._most_after if most.new else 0.0)
            self._learn(beyond, most.hand.weight, new=most.new)
        return most, total - idle > TOO_MUCH * self.most_bytes
