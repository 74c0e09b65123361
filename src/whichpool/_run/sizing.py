"""How many items a batch has, for worker processes.

Large enough that a message costs little beside the work in it, small enough that nobody waits for one at the end: a
batch is a share of what is left (guided self-scheduling, Polychronopoulos & Kuck 1987), within bounds of time and size.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._measure.profile import Profile

# A batch is to take so long in the worker: a round trip costs about 0.05 ms, 0.5 % of it.
BATCH_S = 0.010
# Of what remains, each worker is given at most one part in so many times the number of workers.
SHARES = 2
# A batch carries no more bytes than this, if it has more than one item.
MOST_BYTES = 1_000_000
# Before anything is known, batches grow by this factor from one item on.
GROWTH = 8
MOST_ITEMS = 200_000
# Of a worker's threads one in so many has its next batch at hand: 120 x (15 ms waiting + 5 ms Python) took 440 ms on
# two processes of 8 or of 16 threads without, 414 and 384 with it (2-core Linux, 2026; medians of 8).
AT_HAND = 4
# Items up to so long are at hand while there are so many for each worker: 200 x 10 ms of Python on two processes, one
# the caller's, took 1.09 s without and 1.03 with it (2-core Linux, 2026). Seconds; guesses.
LONGEST_AT_HAND_S = 0.050
ROUNDS_AT_HAND = 4


class Sizer:
    """Says how many items the next batch has.

    ``limited``: so many items may be in progress at once, and what is at hand counts.
    """

    def __init__(self, profile: Profile, limited: bool = False) -> None:
        self._profile = profile
        self._limited = limited
        self._sent = 1

    def next(self, remaining: int | None, workers: int) -> int:
        """Items for one batch; ``remaining``: not finished yet, ``None`` if unknown."""
        each = self._profile.call_s
        if each is None:
            size = 1
        else:
            land = self._profile.land_s or 0.0
            size = int(BATCH_S / max(each + land, 1e-9))
            # One early batch may mislead: grow from what was tried.
            size = min(size, self._sent * GROWTH)
        payload = self._profile.payload_bytes
        if payload:
            size = min(size, int(MOST_BYTES / payload))
        if remaining is not None:
            size = min(size, -(-remaining // (SHARES * workers)))
        size = max(1, min(size, MOST_ITEMS))
        self._sent = max(self._sent, size)
        return size

    def prefetch(self, width: int, remaining: int | None, workers: int) -> int:
        """How many batches a worker of so many threads should have at hand beside those that they run.

        Until it has the next one it is idle: a millisecond or more where the caller's thread computes, whose GIL who
        hands it out has to wait for. But a batch that waits behind a slow one cannot be taken back: so not of the
        slowest items, and not of slow ones near the end. Of several threads one is soon free; where they compute, what
        they ask for has to wait for their GIL twice, so more is to be at hand.
        """
        each = self._profile.call_s
        if each is None:
            return 0
        if self._limited:  # a slow one at hand would take another's place
            return int(each < BATCH_S / 2)
        if width > 1:
            return 0 if each >= BATCH_S * width else max(1, width // AT_HAND)
        near_the_end = remaining is not None and remaining < ROUNDS_AT_HAND * workers
        return int(each < BATCH_S / 2 or (each < LONGEST_AT_HAND_S and not near_the_end))
