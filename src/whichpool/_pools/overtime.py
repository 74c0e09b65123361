"""Which worker processes are over their time, told from their boards."""

from __future__ import annotations

from time import monotonic

from whichpool._worker.main import CANCEL_SLOT, IDLE, LOADING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from whichpool._pools.member import Member

__all__ = ["CallLimit", "look_every_s"]

# A worker that has batches and does nothing was stopped (SIGSTOP, a debugger), or it never will: it has so much longer.
# Seconds; a guess: what a busy machine may need to hand it over.
STALLED_S = 2.0
# In place of a slot's number: what the worker as a whole does, where no slot does anything.
WHOLE = -1


def look_every_s(timeout_s: float) -> float:
    """Calls are looked at so often: a twentieth of what they may take, from 1 to 50 ms."""
    return min(0.050, max(timeout_s / 20, 0.001))


class CallLimit:
    """Calls may take so long, and no longer; their time counts from the first look at them.

    Args:
        timeout_s: What a call may take; and so may receiving a batch, and sending back what came of it.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.look_s = look_every_s(timeout_s)

    def over(self, members: Iterable[Member]) -> Iterator[tuple[Member, int]]:
        """The workers with a call that is over its time, and the word on the board that stands for it."""
        now = monotonic()
        for member in list(members):
            if member.worker.pid is None or not member.batches:
                member.since.clear()
                continue
            words = enumerate(member.worker.board[:CANCEL_SLOT].tolist())
            doing = {slot: word for slot, word in words if word not in (IDLE, LOADING)}
            most_s = self.timeout_s
            if not doing:
                if LOADING in member.worker.board[:CANCEL_SLOT].tolist():
                    member.since.clear()
                    continue  # the function's own modules may take what they take to load
                doing, most_s = {WHOLE: min(member.batches)}, most_s + STALLED_S
            for slot in member.since.keys() - doing.keys():
                del member.since[slot]
            for slot, word in doing.items():
                seen = member.since.get(slot)
                if seen is None or seen[0] != word:
                    member.since[slot] = word, now
                elif now - seen[1] > most_s:
                    yield member, word if slot != WHOLE else IDLE
                    break
