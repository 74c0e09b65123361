"""The end of a run: bad records into their file, parts into the output."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from whichpool.dataset.bad import as_lines
from whichpool.dataset.merging import into_file, into_folder

if TYPE_CHECKING:
    from whichpool.dataset.journal import Done, Journal
    from whichpool.dataset.planning import Goal, Target
    from whichpool.dataset.records import BadRecord

__all__ = ["close"]


def close(
    goal: Goal, target: Target, results: list[Done], kept: Journal | None, *, unify: bool
) -> str | None:
    """Write what was set aside, and let the output appear.

    Args:
        goal: What becomes of bad records.
        target: Where the output is to be.
        results: Of all the splits, in the order that the output is to have.
        kept: Where their parts are.
        unify: See `whichpool.process`.

    Returns:
        The file with what was set aside, if anything was.

    Raises:
        SchemaDrift: Two parts have different columns.
        OSError: It cannot be written; the parts are kept.
    """
    aside = None
    if goal.bad == "quarantine" and goal.aside is not None:
        in_order = sorted(results, key=lambda done: done.receipt.key)
        aside = _set_aside([each for done in in_order for each in done.bad], goal.aside)
    if target.output is not None and kept is not None:
        receipts = [done.receipt for done in results]
        if target.is_folder:
            into_folder(receipts, kept.folder, target.kind, target.output, unify=unify)
        else:
            into_file(receipts, kept.folder, target.kind or "", target.output, unify=unify)
    return aside


def _set_aside(found: list[BadRecord], place: str) -> str | None:
    if not found:
        if os.path.exists(place):
            os.remove(place)  # of an earlier run: nothing is set aside any more
        return None
    with open(place + ".tmp", "w", encoding="utf-8") as file:
        file.write(as_lines(found))
    os.replace(place + ".tmp", place)
    return place
