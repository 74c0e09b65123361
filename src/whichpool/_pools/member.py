"""One worker of a crew, and what it has in hand."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._pools.base import Batch
    from whichpool._pools.budget import Hand
    from whichpool._pools.fleet import Worker

__all__ = ["Member"]


class Member:
    """Leased from the fleet for one run."""

    __slots__ = (
        "batches",
        "hand",
        "held_bytes",
        "new",
        "since",
        "stopped_at",
        "suspect",
        "worker",
        "writing",
    )

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        # Number on the wire -> batch, in the order in which they were sent.
        self.batches: dict[int, Batch] = {}
        self.writing = False
        self.new = True  # its first batch, in which it may load what the others find loaded, does not count
        self.suspect = False  # it was given one item alone, to see whether that item kills
        # What its threads were last seen to do, and since when; see `CallLimit`.
        self.since: dict[int, tuple[int, float]] = {}
        self.stopped_at: float | None = None  # when it was first seen stopped by a signal
        # Where the memory of the run is limited; see `Budget`.
        self.hand: Hand | None = None
        self.held_bytes: int | None = None  # its share between two batches
