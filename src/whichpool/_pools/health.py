"""How workers are: what they have run, what memory they hold, and what the kernel says of those it ended."""

from __future__ import annotations

from time import monotonic

from whichpool._host.memory import oom_kills, resident_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._pools.fleet import Worker

__all__ = ["Health", "bytes_in_words"]

# Where nobody asked for a limit, a worker's memory is read this seldom, for the message should it die. Seconds.
LOOK_S = 0.25


class Health:
    """Watches the workers of one run, between batches.

    Args:
        max_bytes: A worker that holds more than this is replaced; ``None``: it is not.
        max_items: So is one that has run so many items, in whatever runs.
    """

    def __init__(self, max_bytes: int | None, max_items: int | None) -> None:
        self._max_bytes = max_bytes
        self._max_items = max_items
        self._oom_kills = oom_kills()

    def note(self, worker: Worker, ran: int) -> None:
        """It has run so many items more."""
        worker.ran += ran
        now = monotonic()
        if worker.pid is not None and (self._max_bytes is not None or now - worker.looked_at >= LOOK_S):
            worker.looked_at = now
            worker.resident_bytes = resident_bytes(worker.pid) or worker.resident_bytes

    def worn(self, worker: Worker) -> str | None:
        """Why it is to be replaced by a fresh one, in words; ``None``: it is not."""
        if self._max_items is not None and worker.ran >= self._max_items:
            return f"had run {worker.ran:,} items (max_items_per_worker={self._max_items:,})"
        held = worker.resident_bytes
        if self._max_bytes is not None and held is not None and held > self._max_bytes:
            return f"held {bytes_in_words(held)} (max_worker_memory={bytes_in_words(self._max_bytes)})"
        return None

    def room(self, worker: Worker) -> int | None:
        """How many items it may still run; ``None``: any number."""
        return None if self._max_items is None else max(self._max_items - worker.ran, 1)

    def of_the_dead(self, worker: Worker, code: int | None) -> str:
        """What is known of a worker's memory, where that may be what ended it; begins with a space, or is empty."""
        words = ""
        if worker.resident_bytes is not None:
            words += f" It held {bytes_in_words(worker.resident_bytes)} when it was last looked at."
        before, self._oom_kills = self._oom_kills, oom_kills()
        if before is not None and self._oom_kills is not None and self._oom_kills > before:
            kills = self._oom_kills - before
            words += f" Meanwhile the kernel's out-of-memory killer ended {kills} process(es) of this control group."
        return words if code is None or code < 0 else ""


def bytes_in_words(size: float) -> str:
    """Bytes for people: ``512 MB``, ``2.1 GB``."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
