"""`process`: from a source and a function to an output or a value.

what is asked for  ->  planning: a Job  ->  cutting: splits  ->  running: what came of each  ->  closing: the output
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.dataset.closing import close
from whichpool.dataset.cutting import cut, usual_split_bytes
from whichpool.dataset.earlier import identity_of, opened, why
from whichpool.dataset.formats import format_for
from whichpool.dataset.guard import in_this_process, plan_for
from whichpool.dataset.planning import (
    Job,
    engine_options,
    goal_of,
    limited,
    reading_of,
    target_of,
    with_workers,
)
from whichpool.dataset.progress import check, listener
from whichpool.dataset.records import ProcessReport
from whichpool.dataset.running import work_off
from whichpool.dataset.sources import resolve
from whichpool.dataset.task import forget

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from whichpool.dataset.records import Dialect, Progress

__all__ = ["process"]


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
    progress: bool | Callable[[Progress], object] = False,
    ordered: bool = True,
    max_memory: int | str | None = None,
    **engine: Any,
) -> ProcessReport:
    """Map a function over a dataset into an output, or map-reduce it to a value, on every core.

    The input is cut into splits; each is read, worked off and written where it runs, so what travels to a worker
    is a path and an offset. The splits are the items of `whichpool.imap`.

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
        split_bytes: About how long a split is; ``None``, the default: a 64th of the input, within 1 to 3 MB;
            from 256 KB on where each row is a call; of text, however short.
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
        progress: ``False``, the default. ``True``: a bar, on a terminal. A function: called with a
            `whichpool.dataset.records.Progress` (records, bytes, seconds left) about ten times a second, in the
            caller's thread, and at the end.
        ordered: ``False``: the records of an output in one file, or the parts of a folder, follow one another as their
            splits were done; within a split in the order of the input. All of them are there, and counted, as else.
        max_memory: Bytes, or a text such as ``"2 GB"``: what this process and its worker processes may hold together.
            Splits are shorter, begin when what those before them took fits, and run in worker processes, fewer of them
            if need be. ``None``, the default: no limit.
        **engine: ``plan``, ``limit``, ``shared``, ``seed``, ``retries``, ``deadline``, ``timeout`` and
            ``max_worker_memory``, as for `whichpool.map`. ``limit`` is twice the cores by default, except for whole
            files, since each split in progress takes memory: a function that waits for others may want more.

    Returns:
        What was done: ``.value``, ``.rows_in``, ``.rows_out``, ``.rejected``; ``str()`` of it is a summary.

    Raises:
        PlanError: An option that cannot be.
        OverMemory: A split does not fit into ``max_memory``, in however small pieces it is read.
        MissingExtra: pyarrow is needed, and not installed.
        whichpool.dataset.failures.DatasetError: What is wrong with the input or the output; each says what to do.
        SharedWrite: A concurrent plan was asked for, and ``fn`` writes what other calls can see.
        BaseException: What ``fn`` raised, with the place in the input as a note.
    """
    begun = time.perf_counter()
    check(progress)
    goal = goal_of(fn, output, combine, bad, max_bad, quarantine, output_format, ordered)
    options, notes = plan_for(fn, engine_options(engine, max_memory))
    options = with_workers(options, notes)
    chosen = format_for(fn, batch, None)
    sources, folders = resolve(
        source, format, whole_files=chosen in ("path",) or (chosen == "bytes" and not format)
    )
    options, here = in_this_process(sources, options)
    if here:
        engine, notes = {**engine, "plan": options["plan"]}, [*notes, *here]
    chosen = format_for(fn, batch, sources[0].format)
    assert chosen is not None
    if where and sources[0].format != "parquet":
        raise whichpool.PlanError("where= is for Parquet; for other files the function can leave rows out")
    target = target_of(goal, sources, folders)
    if unify and target.is_folder:
        raise whichpool.PlanError(
            "unify=True is for an output in one file; parts in a folder stay as they were written"
        )
    reading = reading_of(chosen, sources, columns, where, batch_rows, encoding, dialect)
    length = split_bytes
    if length is None:
        length = usual_split_bytes(sources, chosen, options.get("max_memory"), combined=combine is not None)
    if length < 1:
        raise whichpool.PlanError(f"split_bytes must be at least 1, not {length}")
    job = Job(goal, target, sources, reading, length, limited(options, sources))
    kept = opened(goal.output, journal)
    if kept is None and why_rerun:
        raise whichpool.PlanError("why_rerun= is about a run with an output or a journal")
    finished = False
    try:
        names = tuple(header) if header is not None else None
        asked: dict[str, Any] = {name: engine[name] for name in ("plan", "limit") if name in engine}
        if "max_memory" in options:
            asked |= {"plan": options["plan"], "max_memory": options["max_memory"].most}
        splits, reading, said = cut(
            sources, reading, length, names, schema, asked, combined=combine is not None
        )
        notes += said
        if kept is not None:
            identity = identity_of(job, reading)
            if why_rerun:
                return why(splits, kept, identity)
            kept.begin(*identity, restart)
            notes += [f"since the earlier run: {change}" for change in kept.changes]
        with listener(progress) as tell:
            worked = work_off(job, splits, reading, kept, tell)
        notes += worked.notes
        total = worked.total
        goal.limit.check(total.rejected, total.rows_in)
        aside = close(goal, target, worked.results, kept, unify=unify)
        finished = True
    finally:
        forget()
        if kept is not None:
            kept.close(remove=finished or not kept.has_any)
    return ProcessReport(
        worked.value,
        goal.output,
        total.rows_in,
        total.rows_out,
        total.rejected,
        sum(each.size_bytes for each in sources),
        len(splits),
        worked.resumed,
        time.perf_counter() - begun,
        aside,
        tuple(notes),
        worked.run,
    )
