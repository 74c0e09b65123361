"""Items on their way out: pickled by reference where that will do, and what to say of one that cannot be."""

from __future__ import annotations

from whichpool._worker.apart import Apart
from whichpool._worker.calls import FULL, dump_anything, short_repr
from whichpool.errors import CannotTravel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._worker.calls import Job

__all__ = ["Packer", "cannot_be_sent", "first_unsendable"]


class Packer:
    """Pickles the batches of one run, and learns from the first how that must be done."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._plainly = True
        self._apart = Apart(by_name=True)

    def pack(self, items: list[Any]) -> tuple[bytes, list[memoryview]]:
        """By reference where that will do; by value what lives in the main script, which workers never import.

        Raises:
            Exception: One of the items cannot be pickled; whatever pickling raised.
        """
        if self._plainly:
            try:
                body, buffers = self._apart.dumps(items)
                if b"__main__" not in body:
                    return body, buffers
            except Exception:
                pass
            # Items of one run are mostly alike: what failed once is not tried again, except where calls differ.
            self._plainly = self._job.shape == FULL
        from whichpool._worker import byvalue

        return self._apart.dumps(items, byvalue.dumps)


def first_unsendable(items: list[Any]) -> tuple[int, int]:
    """Where in the batch the first item is that cannot be pickled, as a part of it."""
    for at, item in enumerate(items):
        try:
            dump_anything(item)
        except Exception:
            return at, at + 1
    return 0, 1


def cannot_be_sent(batch: Batch, error: Exception) -> CannotTravel:
    """The failure of a batch of one item that cannot be pickled."""
    index, item = batch.start, batch.items[0]
    failure = CannotTravel(
        f"item {index} ({short_repr(item)}, {type(item).__name__}) cannot be sent to a worker process: "
        f"{type(error).__name__}: {error}. Send what the function needs to make it (a path, a key) instead, "
        'or use plan="threads".'
    )
    failure.__cause__ = error
    return failure
