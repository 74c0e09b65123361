"""All the splits, through the engine; those are tried again, in smaller pieces, whose workers died of memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import whichpool
from whichpool.dataset.failures import SplitDied
from whichpool.dataset.progress import Book
from whichpool.dataset.records import Receipt
from whichpool.dataset.splits.folder import PROBES
from whichpool.dataset.task import Combine, Task, is_nothing, pieces_of
from whichpool.trees import NOTHING, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichpool.dataset.journal import Done, Journal
    from whichpool.dataset.planning import Job
    from whichpool.dataset.progress import Tell
    from whichpool.dataset.records import Reading, Split

__all__ = ["Worked", "work_off"]

# A split whose worker died of memory is read in twice as many pieces, up to so many. A guess: a 64th of a split of
# 3 MB is 48 KB, and what does not fit then is not the split.
MOST_PIECES = 64
SIGKILL = 9
# Of fewer splits the largest comes first of all. A guess: eight for each of the short ones.
MANY_SPLITS = 16
# A deadline is more than none. Seconds.
LEAST_S = 0.001
# Splits that had to be read in pieces are named in the report up to so many. A guess at what is read.
NOTES_OF_PIECES = 3


@dataclass(frozen=True, slots=True)
class Worked:
    """What came of the splits."""

    results: list[Done]
    """Of each, in the order of the input or as they came; or one, of all together."""
    value: Any
    resumed: int
    """How many of them an earlier run had done."""
    run: Any
    """The engine's report; ``None``: nothing was left to run."""
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> Receipt:
        """The counts of all."""
        receipts = [done.receipt for done in self.results]
        return Receipt(
            "",
            "all",
            sum(each.rows_in for each in receipts),
            sum(each.rows_out for each in receipts),
            sum(each.rejected for each in receipts),
        )


class _Gathered:
    """What has come of splits so far: a receipt for each; or one value, combined as they come."""

    def __init__(self, splits: list[Split], combine: Combine | None) -> None:
        self._tree = Tree(combine) if combine is not None else None
        self._splits = splits
        self._places = {split.key: place for place, split in enumerate(splits)}
        self._by_key: dict[str, Done] = {}

    def add(self, done: Done) -> None:
        """One more; `BaseException` is what combining it has raised."""
        key = done.receipt.key
        if self._tree is None:
            self._by_key[key] = done
            return
        place = self._places[key]
        try:
            self._tree.add(0, place, done)
        except BaseException as error:
            error.add_note(f"in combining, when the value of {self._splits[place]} had come")
            raise

    def results(self, *, ordered: bool) -> list[Done]:
        """Of each, in the order of the input or as they came; or one, of all together."""
        if self._tree is not None:
            whole = self._tree.total()
            return [whole] if whole is not NOTHING else []
        if not ordered:
            return [*self._by_key.values()]
        return [self._by_key[split.key] for split in self._splits]


def work_off(
    job: Job, splits: list[Split], reading: Reading, kept: Journal | None, tell: Tell | None
) -> Worked:
    """Run all the splits, those excepted that have been done.

    Args:
        job: What is to be done.
        splits: In the order of the input.
        reading: The job's, with the schema that `cut` has found.
        kept: Where what has been done is, and goes; ``None``: nowhere.
        tell: Who is told how far it is; ``None``: nobody.

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
    gathered, book = _Gathered(splits, combine), Book(splits, tell)
    have = kept.done(splits) if kept is not None else {}
    missing = []
    for split in splits:
        done = have.pop(split.key, None)
        if done is None or (kind == "folder" and not _has_files(folder or "", done)):
            missing.append(split)
        else:
            gathered.add(done)
            book.add(done.receipt, earlier=True)

    def take(done: Done) -> None:
        gathered.add(done)
        book.add(done.receipt)
        if book.rejected:
            goal.limit.check(book.rejected, book.rows, book.rows_expected)

    options = job.engine if tell is None else {**job.engine, "progress": book.tick}
    run, notes = _through_engine(task, missing, options, take)
    book.end()
    results = gathered.results(ordered=goal.ordered)
    value = results[0].value if combine is not None and results and not is_nothing(results[0].value) else None
    return Worked(results, value, len(splits) - len(missing), run, notes)


def _has_files(folder: str, done: Done) -> bool:
    return all(os.path.exists(os.path.join(folder, "files", name)) for name in done.receipt.files)


def _through_engine(
    task: Task, splits: list[Split], options: dict[str, Any], take: Callable[[Done], None]
) -> tuple[Any, tuple[str, ...]]:
    """One round for all the splits; and further ones, for those whose workers ran out of memory.

    Returns:
        The engine's report of the first round, and what is to be said of the others.
    """
    waiting = splits
    if task.combine is None and len({_size(split) for split in splits}) > 1:
        # The largest first, so that the workers end together; after those that are short to show what the work is. Not
        # where values are combined: neighbours should meet soon.
        short = PROBES if len(splits) >= MANY_SPLITS else 0
        waiting = splits[:short] + sorted(splits[short:], key=_size, reverse=True)
    deadline = options.get("deadline")
    until = monotonic() + deadline if isinstance(deadline, (int, float)) else None
    run = None
    in_pieces: dict[str, Split] = {}
    while waiting:
        again: list[Split] = []
        with whichpool.imap(task, waiting, ordered=False, on_error="return", **options) as results:
            for result in results:
                if isinstance(result, whichpool.Failure):
                    again.append(_smaller(waiting[result.index], task.reading, result.error))
                    continue
                take(result)
            run = run or results.report
        in_pieces.update({split.key: split for split in again})
        waiting = again
        if again:
            options = _alone(options)
            if until is not None:
                # What is over is found out by the engine, which says so.
                options["deadline"] = max(until - monotonic(), LEAST_S)
    notes = [
        f"a worker ran out of memory at {split}: it was read in {split.pieces} pieces"
        for split in [*in_pieces.values()][:NOTES_OF_PIECES]
    ]
    if len(in_pieces) > NOTES_OF_PIECES:
        notes.append(
            f"so were {len(in_pieces) - NOTES_OF_PIECES} others: smaller split_bytes would do for all"
        )
    return run, tuple(notes)


def _alone(options: dict[str, Any]) -> dict[str, Any]:
    """The options with which a split has all the memory there is, in a process that may die of it.

    A plan without processes stays: it was asked for, or the function writes what others see.
    """
    plan = options.get("plan", "auto")
    if plan in ("loop", "threads") or (isinstance(plan, tuple) and not plan[0]):
        return {**options, "limit": 1}
    return {**options, "plan": "processes", "limit": 1}


def _size(split: Split) -> int:
    """Bytes, about."""
    if split.sources[0].format == "file":
        return sum(source.size_bytes for source in split.sources)
    return split.size_bytes >> 16  # splits of about the same size keep their order


def _smaller(split: Split, reading: Reading, error: BaseException) -> Split:
    """The split, to be read in smaller pieces, if it was memory that it failed of.

    What cannot be cut is tried once more all the same: then it has all the memory there is.

    Raises:
        SplitDied: It has been read in the smallest pieces.
        BaseException: It was something else.
    """
    killed = isinstance(error, whichpool.WorkerDied) and error.exitcode == -SIGKILL
    if not killed and not isinstance(error, MemoryError):
        raise error
    if isinstance(error, whichpool.OverMemory) and (not error.of_item or split.pieces >= MOST_PIECES):
        error.add_note(f"in the split {split}, read in {split.pieces} pieces")
        raise error
    smaller = replace(split, pieces=split.pieces * 2)
    if split.pieces > 1:
        pieces = len(pieces_of(split, reading))
        if split.pieces >= MOST_PIECES or len(pieces_of(smaller, reading)) == pieces:
            how = f"it reads it in {pieces} pieces" if pieces > 1 else "it runs alone (it cannot be cut)"
            raise SplitDied(
                f"{split}: its worker runs out of memory, though {how}; "
                "the function holds more than it is given, or the machine has too little"
            ) from error
    return smaller
