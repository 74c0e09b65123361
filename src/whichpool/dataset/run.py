"""`process`: from a source and a function to an output or a value."""

from __future__ import annotations

import codecs
import os
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import whichpool
from whichpool.dataset.bad import MODES, Limit, as_lines
from whichpool.dataset.code import code_of
from whichpool.dataset.cutting import cut, usual_split_bytes
from whichpool.dataset.failures import BadOutput, SplitDied
from whichpool.dataset.formats import ARROW_ROWS, ROWS, format_for
from whichpool.dataset.guard import in_this_process, plan_for
from whichpool.dataset.journal import Done, Journal
from whichpool.dataset.merging import into_file, into_folder
from whichpool.dataset.records import Dialect, ProcessReport, Reading, Receipt, Source, Split
from whichpool.dataset.sources import resolve
from whichpool.dataset.task import NOTHING, Combine, Task, forget
from whichpool.dataset.writers import KINDS, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["process"]

# Splits in progress for each core, if nobody says how many. Each takes memory, so there are fewer than the engine might
# want for a function that waits. A guess: what waits for the disk or for a core leaves it to the other.
SPLITS_A_CORE = 2

# A split whose worker died of memory is read in twice as many pieces, up to so many. A guess: a 64th of a split of
# 4 MB is 64 KB, and what does not fit then is not the split.
MOST_PIECES = 64
SIGKILL = 9

_ENGINE = ("plan", "limit", "shared", "seed", "retries", "deadline", "timeout", "max_worker_memory")


def process(
    source: Any,
    fn: Callable[..., Any],
    output: str | os.PathLike[str] | None = None,
    combine: Callable[[Any, Any], Any] | None = None,
    batch: str | None = None,
    *,
    format: str | None = None,
    columns: Sequence[str] | None = None,
    where: Sequence[tuple[str, str, Any]] | None = None,
    schema: Any = None,
    encoding: str = "utf-8",
    dialect: Dialect | Mapping[str, Any] | None = None,
    header: Sequence[str] | None = None,
    batch_rows: int | None = None,
    split_bytes: int | None = None,
    bad: str = "raise",
    max_bad: int | float | str | None = None,
    quarantine: str | os.PathLike[str] | None = None,
    unify: bool = False,
    output_format: str | None = None,
    journal: str | os.PathLike[str] | None = None,
    restart: bool = False,
    why_rerun: bool = False,
    progress: Any = False,
    **engine: Any,
) -> ProcessReport:
    """Map a function over a dataset into an output, or map-reduce it to a value, on every core.

    The input is cut into splits; each is read, worked off and written where it runs, so what travels to a worker
    is a path and an offset. The splits are the items of `whichpool.imap` or `whichpool.map_reduce`.

    Args:
        source: A path, a URL that fsspec knows (``s3://``, ...), a glob, a folder, or a list of these: CSV, JSON
            lines, text, Parquet, or any files; the first three also as ``.gz``, ``.bz2``, ``.xz`` or ``.zst``.
        fn: Called with each batch. A class is made once in each worker, without arguments, and its instances called.
        output: A file that ends in ``.parquet``, ``.csv``, ``.jsonl``, ``.arrow`` or ``.txt``, or a folder. It appears
            whole, or not at all.
        combine: Of two neighbouring values, the earlier first, makes one; it must be associative. The value is in
            ``.value``, and the same on every plan, to the last bit.
        batch: What ``fn`` takes: ``"arrow"`` (a RecordBatch), ``"table"``, ``"pandas"``, ``"polars"``, ``"numpy"`` (a
            dictionary of arrays), ``"dicts"``, ``"lines"``, ``"bytes"``, ``"path"``, or one record a call: ``"dict"``,
            ``"line"``. ``None``, the default: by the type hint of its argument, else as is usual for the file.
        format: ``"csv"``, ``"jsonl"``, ``"text"``, ``"parquet"`` or ``"file"``. ``None``, the default: by the names.
        columns: Only these are read.
        where: ``(column, operator, value)``, all of which hold; for Parquet. Row groups without such are not read.
        schema: A `pyarrow.Schema` for CSV and JSON lines; ``None``, the default: by samples from all over the input.
        encoding: Of text.
        dialect: Of CSV, with the names that `csv.reader` takes.
        header: The names of the columns, where CSV has no header row.
        batch_rows: The most records in a batch; ``None``, the default: 65,536 of pyarrow's, 8,192 of Python's.
        split_bytes: About how long a split is; ``None``, the default: a 64th of the input, within 1 to 4 MB;
            of text, however short.
        bad: ``"raise"``, the default: what cannot be read, or what ``fn`` raises, ends the run. ``"skip"``: goes on
            without that record. ``"quarantine"``: and sets it aside. A batch that fails is tried in halves, until the
            records are found that it fails for.
        max_bad: How many may be bad: a number, or a share such as ``"0.1%"``; ``None``, the default: any number.
        quarantine: The JSON lines file for bad records; ``None``, the default: the output's name with ``.bad.jsonl``.
        unify: Parts of an output in one file with different columns are fitted to one another; else they are an error.
        output_format: What the parts in an output folder are: ``"parquet"``, the default, ``"csv"``, ``"jsonl"``,
            ``"arrow"``, ``"text"``.
        journal: The folder that finished splits are kept in until all is done; ``None``, the default: one beside the
            output, and none without an output.
        restart: Drop what an earlier run has done, instead of going on from it.
        why_rerun: Run nothing: say in the notes of the report how much an earlier run has done, and what has changed.
        progress: As for `whichpool.map`, in splits.
        **engine: ``plan``, ``limit``, ``shared``, ``seed``, ``retries``, ``deadline``, ``timeout`` and
            ``max_worker_memory``, as for `whichpool.map`. ``limit`` is twice the cores by default, except for whole
            files, since each split in progress takes memory: a function that waits for others may want more.

    Returns:
        What was done: ``.value``, ``.rows_in``, ``.rows_out``, ``.rejected``; ``str()`` of it is a summary.

    Raises:
        PlanError: An option that cannot be.
        MissingExtra: pyarrow is needed, and not installed.
        whichpool.dataset.failures.DatasetError: What is wrong with the input or the output; each says what to do.
        SharedWrite: A concurrent plan was asked for, and ``fn`` writes what other calls can see.
        BaseException: What ``fn`` raised, with the place in the input as a note.
    """
    begun = time.perf_counter()
    job = _Job(fn, output, combine, bad, max_bad, quarantine, output_format, engine)
    job.engine, kept_in_line = plan_for(fn, engine)
    chosen = format_for(fn, batch, None)
    sources, folders = resolve(
        source, format, whole_files=chosen in ("path",) or (chosen == "bytes" and not format)
    )
    engine, kept_here = in_this_process(sources, engine)
    if kept_here:
        job.engine, kept_in_line = {**job.engine, "plan": engine["plan"]}, [*kept_in_line, *kept_here]
    chosen = format_for(fn, batch, sources[0].format)
    assert chosen is not None
    if where and sources[0].format != "parquet":
        raise whichpool.PlanError("where= is for Parquet; for other files the function can leave rows out")
    job.check_places(sources, folders)
    if unify and job.in_folder:
        raise whichpool.PlanError(
            "unify=True is for an output in one file; parts in a folder stay as they were written"
        )
    given = _dialect(dialect, sources)
    reading = Reading(
        chosen,
        tuple(columns) if columns is not None else None,
        tuple(where) if where else None,
        ROWS.get(chosen, ARROW_ROWS) if batch_rows is None else batch_rows,
        encoding,
        given,
    )
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise whichpool.PlanError(f"encoding= is not one that Python has: {error}") from error
    if reading.batch_rows < 1:
        raise whichpool.PlanError(f"batch_rows must be at least 1, not {batch_rows}")
    length = usual_split_bytes(sources) if split_bytes is None else split_bytes
    if length < 1:
        raise whichpool.PlanError(f"split_bytes must be at least 1, not {length}")
    if sources[0].format != "file" and job.engine.get("plan", "auto") == "auto":
        job.engine.setdefault("limit", max(1, round(SPLITS_A_CORE * whichpool.doctor().cores)))
    plan: dict[str, Any] = {name: engine[name] for name in ("plan", "limit") if name in engine}
    kept = job.open(journal)
    if kept is None and why_rerun:
        raise whichpool.PlanError("why_rerun= is about a run with an output or a journal")
    finished = False
    try:
        splits, reading, notes = cut(
            sources, reading, length, tuple(header) if header is not None else None, schema, plan
        )
        if kept is not None:
            parameters = {
                **{field.name: repr(getattr(reading, field.name)) for field in fields(reading)},
                "split_bytes": repr(length),
                "bad": bad,
                "output": repr((job.kind, job.header)),
                "seed": repr(engine.get("seed")),
            }
            files = {each.path: each.state for each in sources}
            code = code_of(fn) | (
                {f"combine: {k}": v for k, v in code_of(combine).items()} if combine else {}
            )
            if why_rerun:
                return _why(splits, kept, kept.compare(code, parameters, files))
            kept.begin(code, parameters, files, restart)
            notes += [f"since the earlier run: {change}" for change in kept.changes]
        results, run, resumed, value = job.run(splits, reading, kept, progress)
        total = job.total(results)
        job.limit.check(total.rejected, total.rows_in)
        aside = job.finish(results, kept, unify)
        finished = True
    finally:
        forget()
        if kept is not None:
            kept.close(remove=finished or not kept.has_any)
    return ProcessReport(
        value,
        job.output,
        total.rows_in,
        total.rows_out,
        total.rejected,
        sum(each.size_bytes for each in sources),
        len(splits),
        resumed,
        time.perf_counter() - begun,
        aside,
        (*kept_in_line, *notes),
        run,
    )


def _why(splits: list[Split], kept: Journal, refused: list[str]) -> ProcessReport:
    """What would run, and why."""
    done = 0 if refused else len(kept.look(splits))
    if kept.fresh:
        notes = ["no earlier run at this output was left unfinished: all would run"]
    else:
        notes = [f"{done} of {len(splits)} splits have been done, and {len(splits) - done} would run"]
        notes += [f"since the earlier run: {change}" for change in kept.changes]
        if refused:
            notes.append("refused as it is: restart drops what has been done")
    return ProcessReport(None, None, 0, 0, 0, 0, len(splits), done, 0.0, None, tuple(notes))


def _dialect(given: Dialect | Mapping[str, Any] | None, sources: list[Source]) -> Dialect:
    if isinstance(given, Dialect):
        return given
    if given is not None:
        try:
            return Dialect(**given)
        except TypeError as error:
            raise whichpool.PlanError(f"dialect= takes the names that csv.reader has: {error}") from None
    names = [source.path.lower() for source in sources]
    tabs = [".tsv" in os.path.basename(name)[-8:] for name in names]
    return Dialect(delimiter="\t") if tabs and all(tabs) else Dialect()


class _Job:
    """What is to be done with the splits, and where it goes."""

    def __init__(
        self,
        fn: Any,
        output: Any,
        combine: Any,
        bad: str,
        max_bad: Any,
        quarantine: Any,
        output_format: Any,
        engine: Any,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be a function or a class, not {type(fn).__name__}")
        if combine is not None and not callable(combine):
            raise TypeError(f"combine must be a function of two values, not {type(combine).__name__}")
        if (output is None) == (combine is None):
            raise whichpool.PlanError(
                "give output=, where results go, or combine=, which makes one value of them"
            )
        if bad not in MODES:
            raise whichpool.PlanError(f"bad must be one of {', '.join(MODES)}, not {bad!r}")
        unknown = sorted(engine.keys() - {*_ENGINE})
        if unknown:
            raise whichpool.PlanError(f"process() has no option {unknown[0]!r}")
        if output_format is not None and output_format not in KINDS.values():
            raise whichpool.PlanError(f"output_format must be one of {', '.join(sorted({*KINDS.values()}))}")
        self.fn = fn
        self.output = os.fspath(output) if output is not None else None
        self.combine = combine
        self.bad = bad
        self.limit = Limit(max_bad)
        self.kind = kind_of(self.output) if self.output is not None else None
        self.in_folder = self.output is not None and self.kind is None
        self.header = False
        self._output_format = output_format
        self.engine = engine
        self._aside = os.fspath(quarantine) if quarantine is not None else None
        if self.bad == "quarantine" and self._aside is None:
            if self.output is None:
                raise whichpool.PlanError(
                    'bad="quarantine" without an output needs quarantine=, a file to write'
                )
            self._aside = self.output.rstrip("/") + ".bad.jsonl"

    def check_places(self, sources: list[Source], folders: dict[str, bool]) -> None:
        """Whether the output can be where it is asked to be.

        Raises:
            BadOutput: It is in the input, or is there and not empty, or its folder is missing.
        """
        if self.output is None:
            return
        place = os.path.realpath(self.output)
        for source in sources:
            if os.path.realpath(source.path) == place:
                raise BadOutput(f"the output {self.output} is a file of the input: give another name")
        for folder, is_all_input in folders.items():
            inside = os.path.realpath(folder)
            if place == inside or (
                place.startswith(os.path.join(inside, "")) and (is_all_input or self.in_folder)
            ):
                raise BadOutput(
                    f"the output {self.output} is inside the input {folder}: the next run would read it"
                )
        if not os.path.isdir(os.path.dirname(place)):
            raise BadOutput(f"the folder of {self.output} is not there: make it first")
        if self.in_folder and os.path.exists(place) and (not os.path.isdir(place) or os.listdir(place)):
            raise BadOutput(f"{self.output} is there, and not empty: remove it, or give another name")
        if self.in_folder and (sources[0].format != "file" or self._output_format):
            self.kind = self._output_format or "parquet"
            self.header = self.kind == "csv"

    def open(self, journal: Any) -> Journal | None:
        """The folder in which parts and receipts are, held by this run."""
        if journal is not None:
            made = Journal(os.fspath(journal))
            beside = os.path.dirname(os.path.abspath(self.output)) if self.output is not None else made.folder
            if os.stat(made.folder).st_dev != os.stat(beside).st_dev:
                made.close(remove=not made.has_any)
                raise BadOutput(
                    f"the journal {made.folder} and the output must be on one file system, so that one can "
                    "become the other at once"
                )
            return made
        if self.output is None:
            return None
        head, name = os.path.split(os.path.abspath(self.output))
        return Journal(os.path.join(head, f".{name}.whichpool"))

    def run(
        self, splits: list[Split], reading: Reading, kept: Journal | None, progress: Any
    ) -> tuple[list[Done], Any, int, Any]:
        """All the splits, those excepted that have been done.

        Returns:
            What came of each, in order (or of all together); the engine's report; how many had been done; the value.
        """
        kind = "folder" if self.in_folder and self.kind is None else self.kind
        folder = kept.folder if kept is not None else None
        combine = Combine(self.combine) if self.combine is not None else None
        task = Task(self.fn, reading, self.bad, uuid4().hex, folder, kind, self.header, combine)
        have = kept.done(splits) if kept is not None else {}
        options = {**self.engine, "progress": progress}
        if combine is not None:
            done, run = self._reduced(task, combine, splits, options)
            value = None if done is None or _no_value(done) else done.value
            return ([done] if done is not None else []), run, len(have), value
        if kind == "folder":
            have = {key: done for key, done in have.items() if self._has_files(folder or "", done)}
        results, run = self._mapped(task, [split for split in splits if split.key not in have], options, have)
        by_key = have | {done.receipt.key: done for done in results}
        return [by_key[split.key] for split in splits], run, len(have), None

    @staticmethod
    def _has_files(folder: str, done: Done) -> bool:
        return all(os.path.exists(os.path.join(folder, "files", name)) for name in done.receipt.files)

    def _mapped(
        self, task: Task, splits: list[Split], options: dict[str, Any], have: dict[str, Done]
    ) -> tuple[list[Done], Any]:
        """With the largest first, so that the workers end together; their order is restored from their names."""
        waiting = (
            sorted(splits, key=_size, reverse=True)
            if splits and len({_size(s) for s in splits}) > 1
            else splits
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
                        self.limit.check(bad, rows)
                run = run or results.report
            waiting = again
        return found, run

    def _reduced(
        self, task: Task, combine: Combine, splits: list[Split], options: dict[str, Any]
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
                splits[index] = _smaller(splits[index], error)
        return None, None

    @staticmethod
    def total(results: list[Done]) -> Receipt:
        """The counts of all."""
        receipts = [done.receipt for done in results]
        return Receipt(
            "",
            sum(each.rows_in for each in receipts),
            sum(each.rows_out for each in receipts),
            sum(each.rejected for each in receipts),
        )

    def finish(self, results: list[Done], kept: Journal | None, unify: bool) -> str | None:
        """Write what was set aside, and let the output appear.

        Returns:
            The file with what was set aside, if anything was.
        """
        found = [each for done in results for each in done.bad]
        aside = None
        if self.bad == "quarantine" and self._aside is not None:
            if found:
                aside = self._aside
                with open(aside + ".tmp", "w", encoding="utf-8") as file:
                    file.write(as_lines(found))
                os.replace(aside + ".tmp", aside)
            elif os.path.exists(self._aside):
                os.remove(self._aside)  # of an earlier run: nothing is set aside any more
        if self.output is not None and kept is not None:
            receipts = [done.receipt for done in results]
            if self.in_folder:
                into_folder(receipts, kept.folder, self.kind, self.output, unify=unify)
            else:
                into_file(receipts, kept.folder, self.kind or "", self.output, unify=unify)
        return aside


def _no_value(done: Done) -> bool:
    return isinstance(done.value, str) and done.value == NOTHING


def _size(split: Split) -> int:
    """Bytes, about."""
    if split.length is not None:
        return split.length >> 16  # splits of about the same size keep their order
    return sum(source.size_bytes for source in split.sources)


def _smaller(split: Split, error: BaseException) -> Split:
    """The split, to be read in smaller pieces, if it was memory that it failed of.

    Raises:
        SplitDied: It cannot be read in smaller pieces.
        BaseException: It was something else.
    """
    killed = isinstance(error, whichpool.WorkerDied) and error.exitcode == -SIGKILL
    if not killed and not isinstance(error, MemoryError):
        raise error
    if split.pieces >= MOST_PIECES:
        raise SplitDied(
            f"{split}: its worker runs out of memory, though it reads it in {split.pieces} pieces; "
            "the function holds more than it is given, or the machine has too little"
        ) from error
    return replace(split, pieces=split.pieces * 2)
