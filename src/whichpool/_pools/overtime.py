"""Which worker processes are over their time, told from their boards; and which were stopped and do not go on."""

from __future__ import annotations

from time import monotonic

from whichpool._host.states import is_stopped
from whichpool._worker.main import CANCEL_SLOT, HANDLING, IDLE, LOADING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from whichpool._pools.member import Member

__all__ = ["STOPPED_S", "CallLimit", "StopWatch", "look_every_s"]

# A worker that has batches and does nothing was stopped (SIGSTOP, a debugger), or it never will: it has so much longer.
# Seconds; a guess: what a busy machine may need to hand it over.
STALLED_S = 2.0
# Receiving a batch may load the modules that its items come from, and those of a submitted call's function; sending
# back may pickle much. Neither is the call itself, so each has so much longer. Seconds; a guess: the largest libraries
# take about five to load.
HANDLING_S = 10.0
# A worker that was stopped by a signal and has batches in hand is ended after so long. Seconds; a guess: a shell that
# stops and continues a whole job does so to the parent as well, within milliseconds.
STOPPED_S = 5.0
# Workers are looked at this often for that; a look costs about 20 us for each. Seconds.
STOP_LOOK_S = 1.0
# In place of a slot's number: what the worker as a whole does, where no slot does anything.
WHOLE = -1


def look_every_s(timeout_s: float) -> float:
    """Calls are looked at so often: a twentieth of what they may take, from 1 to 50 ms."""
    return min(0.050, max(timeout_s / 20, 0.001))


class CallLimit:
    """Calls may take so long, and no longer; their time counts from the first look at them.

    Args:
        timeout_s: What a call may take. Receiving a batch, or sending back what came of it, may take `HANDLING_S` more.
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
                elif now - seen[1] > most_s + (HANDLING_S if LOADING < word <= HANDLING else 0):
                    yield member, word if slot != WHOLE else IDLE
                    break


class StopWatch:
    """Finds workers that were stopped by a signal with batches in hand, and do not go on."""

    def __init__(self) -> None:
        self._looked_at = monotonic()

    def over(self, members: Iterable[Member]) -> Iterator[Member]:
        """Those that have been seen stopped for `STOPPED_S`."""
        now = monotonic()
        if now - self._looked_at < STOP_LOOK_S:
            return
        self._looked_at = now
        for member in list(members):
            if not member.batches or member.worker.pid is None or not is_stopped(member.worker.pid):
                member.stopped_at = None
            elif member.stopped_at is None:
                member.stopped_at = now
            elif now - member.stopped_at >= STOPPED_S:
                yield member
