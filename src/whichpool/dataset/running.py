"""All the splits, through the engine; those are tried again, in smaller pieces, whose workers died of memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import whichpool
from whichpool.dataset.failures import SplitDied
from whichpool.dataset.records import Receipt
from whichpool.dataset.task import NOTHING, Combine, Task

if TYPE_CHECKING:
    from whichpool.dataset.bad import Limit
    from whichpool.dataset.journal import Done, Journal
    from whichpool.dataset.planning import Job
    from whichpool.dataset.records import Reading, Split

__all__ = ["Worked", "work_off"]

# A split whose worker died of memory is read in twice as many pieces, up to so many. A guess: a 64th of a split of
# 4 MB is 64 KB, and what does not fit then is not the split.
MOST_PIECES = 64
SIGKILL = 9


@dataclass(frozen=True, slots=True)
class Worked:
    """What came of the splits."""

    results: list[Done]
    """Of each, in the order of the input; or one, of all together."""
    value: Any
    resumed: int
    """How many of them an earlier run had done."""
    run: Any
    """The engine's report; ``None``: there is none."""

    @property
    def total(self) -> Receipt:
        """The counts of all."""
        receipts = [done.receipt for done in self.results]
        return Receipt(
            "",
            sum(each.rows_in for each in receipts),
            sum(each.rows_out for each in receipts),
            sum(each.rejected for each in receipts),
        )


def work_off(job: Job, splits: list[Split], reading: Reading, kept: Journal | None, progress: Any) -> Worked:
    """Run all the splits, those excepted that have been done.

    Args:
        job: What is to be done.
        splits: In the order of the input.
        reading: The job's, with the schema that `cut` has found.
        kept: Where what has been done is, and goes; ``None``: nowhere.
        progress: As for `whichpool.map`.

    Raises:
        SplitDied: A split takes more memory than there is, in however small pieces it is read.
        TooManyBad: More records are bad than may be.
        BaseException: What the function raised.
    """
    goal, target = job.goal, job.target
    kind = "folder" if target.is_folder and target.kind is None else target.kind
    folder = kept.folder if kept is not None else None
    combine = Combine(goal.combine) if goal.combine is not None else None
    task = Task(goal.function, reading, goal.bad, uuid4().hex, folder, kind, target.header, combine)
    have = kept.done(splits) if kept is not None else {}
    options = {**job.engine, "progress": progress}
    if combine is not None:
        done, run = _reduced(task, combine, splits, options)
        value = None if done is None or _no_value(done) else done.value
        return Worked([done] if done is not None else [], value, len(have), run)
    if kind == "folder":
        have = {key: done for key, done in have.items() if _has_files(folder or "", done)}
    missing = [split for split in splits if split.key not in have]
    results, run = _mapped(task, missing, options, have, goal.limit)
    by_key = have | {done.receipt.key: done for done in results}
    return Worked([by_key[split.key] for split in splits], None, len(have), run)


def _has_files(folder: str, done: Done) -> bool:
    return all(os.path.exists(os.path.join(folder, "files", name)) for name in done.receipt.files)


def _mapped(
    task: Task, splits: list[Split], options: dict[str, Any], have: dict[str, Done], limit: Limit
) -> tuple[list[Done], Any]:
    """With the largest first, so that the workers end together; their order is restored from their names."""
    waiting = (
        sorted(splits, key=_size, reverse=True) if splits and len({_size(s) for s in splits}) > 1 else splits
    )
    found: list[Done] = []
    rows = sum(done.receipt.rows_in for done in have.values())
    bad = sum(done.receipt.rejected for done in have.values())
    run = None
    while waiting:
        again: list[Split] = []
        # What is tried again because its worker died of memory has all the memory there is.
        alone = {"plan": "processes", "limit": 1} if waiting[0].pieces > 1 else {}
        with whichpool.imap(
            task, waiting, ordered=False, on_error="return", **{**options, **alone}
        ) as results:
            for result in results:
                if isinstance(result, whichpool.Failure):
                    again.append(_smaller(waiting[result.index], result.error))
                    continue
                found.append(result)
                rows += result.receipt.rows_in
                bad += result.receipt.rejected
                if bad:
                    limit.check(bad, rows)
            run = run or results.report
        waiting = again
    return found, run


def _reduced(
    task: Task, combine: Combine, splits: list[Split], options: dict[str, Any]
) -> tuple[Done | None, Any]:
    """As one value; a split whose worker died of memory is read in smaller pieces, and the rest done again."""
    splits = [*splits]
    while splits:
        try:
            return whichpool.map_reduce(task, splits, combine, **options), None
        except (whichpool.WorkerDied, MemoryError) as error:
            index = getattr(error, "index", None)
            if index is None:
                raise
            if isinstance(error, whichpool.OverMemory):  # so would the others
                splits = [_smaller(split, error) for split in splits]
            else:
                splits[index] = _smaller(splits[index], error)
    return None, None


def _no_value(done: Done) -> bool:
    return isinstance(done.value, str) and done.value == NOTHING


def _size(split: Split) -> int:
    """Bytes, about."""
    if split.sources[0].format == "file":
        return sum(source.size_bytes for source in split.sources)
    return split.size_bytes >> 16  # splits of about the same size keep their order


def _smaller(split: Split, error: BaseException) -> Split:
    """The split, to be read in smaller pieces, if it was memory that it failed of.

    Raises:
        SplitDied: It cannot be read in smaller pieces.
        BaseException: It was something else.
    """
    killed = isinstance(error, whichpool.WorkerDied) and error.exitcode == -SIGKILL
    if not killed and not isinstance(error, MemoryError):
        raise error
    if isinstance(error, whichpool.OverMemory) and (not error.of_item or split.pieces >= MOST_PIECES):
        error.add_note(f"in the split {split}, read in {split.pieces} pieces")
        raise error
    if split.pieces >= MOST_PIECES:
        raise SplitDied(
            f"{split}: its worker runs out of memory, though it reads it in {split.pieces} pieces; "
            "the function holds more than it is given, or the machine has too little"
        ) from error
    return replace(split, pieces=split.pieces * 2)
