"""A worker has ended with batches in hand: which of their items can be why? Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._pools.base import Batch

    Part = tuple[int, int]  # of a batch: from, to

__all__ = ["halves", "suspects"]


def suspects(
    batches: list[Batch], running: list[int], handling: list[int], babbled: int | None
) -> list[tuple[Batch, list[Part]]]:
    """The batches, and the parts of each to be tried apart.

    Args:
        batches: What the worker had, in the order in which it was sent.
        running: Indexes of the items that were running: each can be the cause.
        handling: Indexes of the first items of batches that were unpickled, combined or pickled: any of their items.
        babbled: It wrote what is no message: so many of the oldest batches were being run, and any of their items
            can be why. ``None``: it did not.
    """
    if babbled is not None:
        return [(batch, halves(len(batch))) for batch in batches[:babbled]]
    found: list[tuple[Batch, list[Part]]] = []
    for batch in batches:
        at = sorted(index - batch.start for index in running if 0 <= index - batch.start < len(batch))
        if at:
            found.append((batch, [(place, place + 1) for place in at]))
        elif batch.start in handling:
            found.append((batch, halves(len(batch))))
    return found


def halves(size: int) -> list[Part]:
    """The two halves of a batch of this size; one item is not cut."""
    middle = (size + 1) // 2
    return [(0, middle), (middle, size)] if middle < size else [(0, size)]
