"""What the engine calls with each split: read it, call the function with its batches, write or combine what comes.

It runs in a worker, or in this process: the plan is the engine's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from whichpool.dataset.bad import Rejects
from whichpool.dataset.cutting import halves
from whichpool.dataset.formats import convert
from whichpool.dataset.journal import Done, store
from whichpool.dataset.readers import read
from whichpool.dataset.records import Receipt
from whichpool.dataset.sources import check_unchanged
from whichpool.dataset.writers import FolderWriter, PartWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from whichpool.dataset.readers import Batch
    from whichpool.dataset.records import Reading, Split

__all__ = ["Combine", "Task", "forget", "is_nothing", "pieces_of"]

NOTHING = "whichpool.dataset: no value"
"""Stands for the value of a split without records; compared with ``is`` it would not survive the way to a worker."""

# Records that are held at once where each is a call of its own and nothing is written. 2,048 flights as dictionaries
# are 3 MB, and still in the cache when their turn comes. A guess: more rows save nothing that could be measured.
LOT_ROWS = 2048

_mine = threading.local()
"""Of each thread: the instance of the class that is the function, and the run that it was made for."""


@dataclass(frozen=True, slots=True)
class Combine:
    """Two neighbouring results into one."""

    function: Callable[[Any, Any], Any]

    def __call__(self, first: Done, second: Done) -> Done:
        """The counts add up; the values are combined by the caller's function."""
        a, b = first.receipt, second.receipt
        receipt = replace(
            a,
            rows_in=a.rows_in + b.rows_in,
            rows_out=a.rows_out + b.rows_out,
            rejected=a.rejected + b.rejected,
        )
        return Done(receipt, self.value(first.value, second.value), first.bad + second.bad)

    def value(self, first: Any, second: Any) -> Any:
        """Of two values; a split without records has none."""
        if is_nothing(first):
            return second
        return first if is_nothing(second) else self.function(first, second)


def is_nothing(value: Any) -> bool:
    """Whether it stands for the value of a split without records."""
    return isinstance(value, str) and value == NOTHING


@dataclass(frozen=True, slots=True)
class Task:
    """The function of the engine; its items are splits."""

    function: Any
    reading: Reading
    bad: str
    token: str
    """Of this run: an instance that a worker has from another one is not used."""
    folder: str | None = None
    """Of the journal; ``None``: nothing is written."""
    kind: str | None = None
    """Of the output; ``None``: there is none, ``"folder"``: files."""
    header: bool = False
    """Each part has a header of its own."""
    combine: Combine | None = None

    def __call__(self, split: Split) -> Done:
        """Work one split off.

        Raises:
            BadInput: It cannot be read.
            InputChanged: Its file is not the one any more that was cut.
            BaseException: What the function raised, with where in a note.
        """
        for source in split.sources:
            check_unchanged(source)
        rejects = Rejects(split, self.bad)
        writer: Any = None
        if self.kind == "folder":
            writer = FolderWriter(self.folder or "")
        elif self.kind is not None:
            writer = PartWriter(self.folder or "", split.key, self.kind, self.header)
        try:
            rows_in, value = self._run(split, rejects, writer)
            for source in split.sources:
                check_unchanged(source)
            part: tuple[str | None, int, str | None] = (None, 0, None)
            if isinstance(writer, PartWriter):
                part = writer.close()
        except BaseException as error:
            if isinstance(writer, PartWriter):
                writer.drop()
            if not any("in the split" in note for note in getattr(error, "__notes__", ())):
                error.add_note(f"in the split {split}")
            raise
        names = tuple(writer.names) if isinstance(writer, FolderWriter) else ()
        rows_out = writer.rows if writer is not None else 0
        receipt = Receipt(
            split.key, str(split), rows_in, rows_out, rejects.count, part[0], part[1], part[2], names
        )
        done = Done(receipt, value, tuple(rejects.found))
        if self.folder is not None:
            store(self.folder, split.key, done)
        return done

    def _run(self, split: Split, rejects: Rejects, writer: Any) -> tuple[int, Any]:
        call = _instance(self.function, self.token)
        rows_in, value = 0, NOTHING
        reading = self.reading
        if self.combine is not None and reading.batch in ("dict", "line"):
            reading = replace(reading, batch_rows=min(reading.batch_rows, LOT_ROWS))
        for piece in pieces_of(split, reading):
            for batch in read(piece, reading, rejects):
                rows_in += batch.rows
                for result, part in self._results(call, batch, piece, rejects):
                    if isinstance(writer, FolderWriter):
                        writer.add(result, piece.sources[part.numbers[0]].name)
                    elif writer is not None:
                        writer.add(result)
                    elif self.combine is not None:
                        value = self.combine.value(value, result)
                if isinstance(writer, PartWriter) and split.pieces > 1:
                    writer.flush()
        return rows_in + rejects.count - rejects.of_function, value

    def _results(self, call: Any, batch: Batch, split: Split, rejects: Rejects) -> Any:
        """The function's results; with bad records set aside, the part of the batch without them."""
        form = self.reading.batch
        if form == "dict" or (form == "line" and split.sources[0].format != "file"):
            yield from self._each(call, batch, split, rejects)
            return
        try:
            result = call(convert(batch.records, form))
        except Exception as error:
            if rejects.strict or isinstance(error, MemoryError):
                error.add_note(f"in {_place(batch, split)}")
                raise
            yield from self._halved(call, batch, split, rejects, error)
            return
        yield result, batch

    def _each(self, call: Any, batch: Batch, split: Split, rejects: Rejects) -> Any:
        results: list[Any] = []
        combine = self.combine.function if self.combine is not None else None
        value, count = None, 0
        for place, record in enumerate(batch.records):
            try:
                result = call(record)
            except Exception as error:
                if rejects.strict or isinstance(error, MemoryError):
                    error.add_note(f"in {_place(batch.part(place, place + 1), split)}")
                    raise
                rejects.add(error, batch.numbers[place], batch.chunk, record)
                rejects.of_function += 1
                continue
            if combine is None:
                results.append(result)
            else:
                value = combine(value, result) if count else result
                count += 1
        if combine is None:
            yield [result for result in results if result is not None], batch
        elif count:
            yield value, batch

    def _halved(self, call: Any, batch: Batch, split: Split, rejects: Rejects, error: Exception) -> Any:
        """A batch that fails is tried in halves, until the records are found that it fails for."""
        count = len(batch.numbers)
        if count <= 1:
            raw = None
            if batch.chunk is None and self.reading.batch not in ("path", "bytes", "line"):
                raw = batch.records[0] if isinstance(batch.records, list) else batch.records.to_pylist()[0]
            file = ""
            if split.sources[0].format == "file":
                file = split.sources[batch.numbers[0]].path
            rejects.add(error, 0 if file else batch.numbers[0], batch.chunk, raw, file)
            rejects.count += batch.rows - 1
            rejects.of_function += batch.rows
            return
        for part in (batch.part(0, count // 2), batch.part(count // 2, count)):
            yield from self._results(call, part, split, rejects)


def pieces_of(split: Split, reading: Reading) -> list[Split]:
    """What is read one after the other: as many as the split says, or as it can be cut into."""
    parts = [split]
    while len(parts) < split.pieces:
        cut = [halves(part, reading) for part in parts]
        if not any(cut):
            break
        parts = [each for part, pair in zip(parts, cut, strict=True) for each in (pair or (part,))]
    return parts


def _place(batch: Batch, split: Split) -> str:
    if split.sources[0].format == "file":
        return split.sources[batch.numbers[0]].path
    low, high = batch.numbers[0], batch.numbers[-1]
    if batch.chunk is None:
        return f"{split.sources[0].path}, rows {low} to {high}"
    begin, end = batch.chunk.offset + batch.chunk.span(low)[0], batch.chunk.offset + batch.chunk.span(high)[1]
    return f"{split.sources[0].path}, bytes {begin} to {end}"


def _instance(function: Any, token: str) -> Any:
    """The function; where it is a class, the instance that this thread has for this run."""
    if not isinstance(function, type):
        return function
    held = getattr(_mine, "held", None)
    if held is None or held[0] != token:
        held = _mine.held = (token, function())
    return held[1]


def forget() -> None:
    """Drop the instance that this thread has."""
    _mine.held = None
