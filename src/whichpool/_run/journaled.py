"""Work with a journal: recorded items go from the iterable to the sink, and only the others are handed out.

A batch that was just taken is looked at before anyone gets it. What is recorded of it is put back at once, with the
results of the journal; the books are those of any other batch. So items are taken no earlier than without a journal.
"""

from __future__ import annotations

import pickle
import sys
from _thread import get_ident
from time import perf_counter

from whichpool._run.fingerprint import fingerprint, of_function
from whichpool._run.journal import Journal, dump
from whichpool._run.timekeeper import Timekeeper
from whichpool._run.work import Work
from whichpool._worker.calls import ONE, short_repr
from whichpool.errors import CannotTravel, JournalMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._run.run import Run

__all__ = ["JournaledWork"]

# What was recorded is brought to the disk after so long. Seconds: what a machine that goes down may lose, while at 5 to
# 10 ms for each time (a guess for a disk) it is a twentieth of the disk's time at the most.
SYNC_S = 0.2
# The caller's thread passes on recorded items for so long before it looks at keys and progress. Seconds; a guess.
PASS_S = 0.1
# So many items are looked at together, where it makes no difference to anybody: locks are taken once for all of them.
TOGETHER = 64


class JournaledWork(Work):
    """Work whose finished items are recorded, and whose recorded items are not run."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._journal: Journal | None = None
        self._prints: dict[
            int, bytes
        ] = {}  # of items that were handed out; before their call, which may change them
        self._notes: list[str] = []
        self._inline: Callable[[], bool] = bool
        self._unreadable = 0
        self._last = -1  # the last recorded item

    def open(self, run: Run) -> None:
        """Open the journal; before any item is taken.

        Raises:
            PlanError: See `Journal`.
            JournalMismatch: It is of another call.
        """
        path, job = run.options.journal, self.job
        assert path is not None
        version = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
        heading = {
            **of_function(job.fn),
            "python": version,
            "seed": job.seed,
            "iterables": "one" if job.shape == ONE else "several",
        }
        self._notes, self._inline = run.notes, lambda: run.inline_open
        self._clock = Timekeeper(self.fail)
        self._journal = journal = Journal(path, heading)
        self._last = max(journal.index, default=-1)
        if self.length is not None and self._last >= self.length:
            raise self._too_few(self.length)
        if journal.damaged:
            run.notes.append(
                f"{journal.damaged:,} bytes of the journal were damaged; their items were run again"
            )

    # -- taking --------------------------------------------------------------------------------------------------

    @property
    def goes_through(self) -> bool:
        """Never: each item is looked at first."""
        return False

    @property
    def remaining(self) -> int | None:
        """As without a journal, of those that have to be run."""
        remaining, journal = super().remaining, self._journal
        if remaining is None or journal is None:
            return remaining
        return max(remaining - len(journal.index), 0)

    def take(self, most: int) -> Batch | None:
        """As `Work.take`, of what is not recorded."""
        return self._unrecorded(super().take, most)

    def take_without_waiting(self, most: int) -> Batch | None:
        """As `Work.take_without_waiting`, of what is not recorded."""
        return self._unrecorded(super().take_without_waiting, most)

    def _unrecorded(self, take: Callable[[int], Batch | None], most: int) -> Batch | None:
        began = perf_counter()
        while True:
            batch = take(max(most, TOGETHER) if self._may_look_ahead() else most)
            if batch is None:
                return None
            try:
                rest = self._pass_on(batch)
            except Exception as error:
                self.fail(error)
                return None
            if rest is not None:
                return rest if len(rest) <= most else self._first(rest, most)
            if get_ident() == self.caller and self._inline():
                # The loop: what is there is the consumer's before more is taken.
                if self.pace.bounded and self.sink.waiting:
                    return None
                if perf_counter() - began > PASS_S:
                    self.caller_signal.set()  # "nothing now", and ask again at once
                    return None

    def _may_look_ahead(self) -> bool:
        """Whether nobody sees how many items are taken at once, and some are recorded."""
        journal = self._journal
        return (
            self.length is not None
            and not self.pace.bounded
            and self._limit is None
            and journal is not None
            and bool(journal.index)
        )

    def _first(self, batch: Batch, most: int) -> Batch | None:
        """So many items of the batch; the others are handed out next."""
        parts = self.isolate(batch, [(0, most)])
        return parts[0] if parts else None

    def _pass_on(self, batch: Batch) -> Batch | None:
        """Put what is recorded of a batch; the first part that is not, the others go back.

        Raises:
            JournalMismatch: A recorded item is another one now.
            CannotTravel: An item has no fingerprint.
        """
        prints, journal = self._prints, self._journal
        if journal is None:
            return None  # closed meanwhile
        found: list[Any] = []  # of each item: its result, in a list of its own, or None
        for index, item in enumerate(batch.items, batch.start):
            result = None
            if index not in prints:
                try:
                    print_ = fingerprint(item)
                except Exception as error:
                    raise CannotTravel(
                        f"item {index} ({short_repr(item)}) cannot be pickled, so the journal could not tell it from "
                        f"another one when the call is made again: {type(error).__name__}: {error}"
                    ) from error
                if index in journal.index:
                    result = self._recorded(index, item, print_)
                if result is None:
                    prints[index] = print_
            found.append(result)
        if not any(found):
            return batch
        kept = None
        for part, results in self._cut(batch, found):
            if results[0] is not None:
                with self._lock:
                    self.recalled += len(results)
                    for index in range(part.start, part.start + len(part)):
                        del journal.index[index]
                super().put(part, [result[0] for result in results])
            elif kept is None:
                kept = part
            else:
                self.give_back(part)
        return kept

    def _recorded(self, index: int, item: Any, print_: bytes) -> list[Any] | None:
        """The recorded result; ``None``: it does not unpickle any more, and the item has to run."""
        assert self._journal is not None
        then, data = self._journal.load(index)
        if then != print_:
            raise self._mismatch(
                f"item {index} is not the one whose result is recorded; it is {short_repr(item)} now (or one "
                "that does not pickle the same way twice)"
            )
        try:
            return [pickle.loads(data)]
        except Exception:
            with self._lock:
                self._unreadable += 1
                self._journal.index.pop(index, None)
            return None

    def _cut(self, batch: Batch, kinds: list[Any]) -> list[tuple[Batch, list[Any]]]:
        """The batch in runs of what is ``None`` and what is not, each in progress; nothing if it was given up."""
        ends = [at for at in range(1, len(kinds)) if (kinds[at] is None) != (kinds[at - 1] is None)]
        parts = []
        with self._lock:
            if not self._ended(batch):
                return []
            first = 0
            for end in [*ends, len(kinds)]:
                part, batch = batch.split(end - first)
                parts.append((self._started(part), kinds[first:end]))
                first = end
        return parts

    # -- putting back --------------------------------------------------------------------------------------------

    def put(
        self,
        batch: Batch,
        values: list[Any],
        error: BaseException | None = None,
        *,
        unrun: int = 0,
        nodes: list[Any] | None = None,
    ) -> None:
        """As `Work.put`; the results are recorded, and one that cannot be is a failure of its item."""
        wrong: list[Any] = [None] * len(values)
        refused = self._record(batch, values, wrong)
        if not any(wrong):
            super().put(batch, values, error, unrun=unrun, nodes=nodes)
        else:
            # A part for each of them, so that nothing runs twice for it; the last has what else is to be said.
            first = 0
            parts = self._cut_at(batch, wrong)
            for part, size in parts:
                last = part is parts[-1][0]
                why = wrong[first] if size else None
                if why is not None:
                    super().put(part, [], why)
                else:
                    some = values[first : first + size]
                    super().put(part, some, error if last else None, unrun=unrun if last else 0)
                first += size
        if refused is not None:
            self.fail(refused)

    def _cut_at(self, batch: Batch, wrong: list[Any]) -> list[tuple[Batch, int]]:
        """As `_cut`: each item whose result cannot be recorded by itself, those between together."""
        sizes = []
        run = 0
        for why in wrong:
            if why is None:
                run += 1
                continue
            sizes += [run, 1] if run else [1]
            run = 0
        parts = []
        with self._lock:
            if not self._ended(batch):
                return []
            for size in sizes:
                part, batch = batch.split(size)
                parts.append((self._started(part), size))
            if batch.items:
                parts.append((self._started(batch), run))
        return parts

    def _record(self, batch: Batch, values: list[Any], wrong: list[Any]) -> OSError | None:
        """Write results down; in ``wrong``, why not. Returns why nothing can be written."""
        journal, made = self._journal, []
        if journal is None:
            return None
        for at, value in enumerate(values):
            index = batch.start + at
            print_ = self._prints.get(index)
            if print_ is None:
                continue
            try:
                made.append((index, print_, dump(value)))
            except Exception as error:
                wrong[at] = CannotTravel(
                    f"the result of item {index} ({short_repr(batch.items[at], 40)}) cannot be pickled, so it cannot "
                    f"be recorded in the journal: {type(error).__name__}: {error}"
                )
        try:
            if journal.append(made) and not self._clock.after(SYNC_S, journal.sync):
                journal.sync()  # there is no thread for it
        except OSError as error:
            return error
        for index, _, _ in made:
            self._prints.pop(index, None)
        return None

    # -- the end -------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """As `Work.release`; the journal is closed."""
        journal = self._journal
        if journal is not None:
            self._clock.stop()
            if self.exhausted and self.error is None and not self.closed and self._last >= self.taken:
                self.error = self._too_few(self.taken)
            try:
                journal.close()
            except OSError as error:
                if self.error is None:
                    self.error = error
            if self.recalled:
                self._notes.append(f"{self.recalled:,} of {self.done:,} items were taken from the journal")
            if self._unreadable:
                self._notes.append(
                    f"{self._unreadable:,} results of the journal could not be unpickled; their items were run again"
                )
            self._journal = None
        self._prints.clear()
        super().release()

    def _too_few(self, there_are: int) -> JournalMismatch:
        return self._mismatch(f"it has the result of item {self._last}, and there are {there_are} items now")

    def _mismatch(self, what: str) -> JournalMismatch:
        assert self._journal is not None
        return self._journal.mismatch(what)
