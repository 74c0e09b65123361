"""From files to splits: where each kind is cut, what the columns are, and what is worth saying about it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import whichpool
from whichpool.dataset.chunks import PIECE_BYTES, arrow_buffer, chunks, head, is_cut, is_ranged
from whichpool.dataset.failures import BadInput
from whichpool.dataset.formats import ARROW
from whichpool.dataset.hints import check_content
from whichpool.dataset.readers import csv_options, is_decoded
from whichpool.dataset.records import Dialect, Reading, Source, Split
from whichpool.dataset.sources import pyarrow
from whichpool.dataset.splits import csv as csv_splits
from whichpool.dataset.splits import lines as line_splits
from whichpool.dataset.splits.folder import SHARES_COMBINED, groups_of_files
from whichpool.dataset.splits.parquet import no_parts, opened, splits_of
from whichpool.dataset.storage import Ranges, can_seek, read_range

if TYPE_CHECKING:
    from typing import BinaryIO

    from whichpool import MemoryLimit

__all__ = ["Header", "Step", "cut", "halves", "stepping", "usual_split_bytes"]

# A split is a sixty-fourth of the input, so that all the cores are busy until the end; within these bounds. Guesses:
# below, starting a split is felt; above, so is the memory that a worker takes for it, which is several times as much.
# With 4 MB rows as dictionaries took 10 MB more in each worker (`--memory`; 2 GB of CSV, 2026).
SHARES = 64
LEAST_SPLIT_BYTES = 1 << 20
MOST_SPLIT_BYTES = 3 << 20
# Toward the end of the input a split is a 16th of what is left, down to a quarter of the usual: while one worker is at
# a split that takes long, the others share what is left in small pieces. Guesses; it makes 21 more splits.
TAIL_SHARES = 16
FINEST = 4
# Under `max_memory` a split is no more than this share of it, and no less than so many bytes. Guesses: rows that are
# dictionaries take a dozen times as much as their text.
MEMORY_SHARES = 512
LEAST_LIMITED_BYTES = 1 << 16
# Where each row is a call of its own, so many bytes take Python 10 ms and more, and the function does not see how many
# there are in a split. A guess: what is known of the work after the first split, and the tail, are as much shorter.
LEAST_SPLIT_BYTES_OF_ROWS = 1 << 18
# The columns' types are those of so many places, of so many bytes each. A guess.
SAMPLES = 8
SAMPLE_BYTES = 1 << 18

# Of a text file it is looked at so many bytes, to see whether it is one. A guess: a line or more.
LINE_BYTES = 4096

Header = tuple[str, ...] | None
"""The names of the columns where files have no header row; ``None``: the first row is the header."""
Step = Callable[[int], int]
"""How long the next split is, of so many bytes of the file that are left."""


def usual_split_bytes(
    sources: list[Source], batch: str, limit: MemoryLimit | None = None, *, combined: bool = False
) -> int:
    """How long a split is if nobody says so.

    It depends on the input, on what is done with it and on the limit, not on the machine, so that a run can be taken
    up again.

    Args:
        sources: The files.
        batch: What the function takes.
        limit: What all processes may hold.
        combined: The results of the splits become one value.
    """
    total = sum(source.size_bytes for source in sources)
    kind = sources[0].format if sources else ""
    least = LEAST_SPLIT_BYTES
    if kind == "text":
        least = 1  # likely a list of what to do: its bytes do not say how long that takes
    elif kind in ("csv", "jsonl") and batch in ("dict", "line"):
        least = LEAST_SPLIT_BYTES_OF_ROWS
    shares = SHARES_COMBINED if kind == "file" and combined else SHARES
    length = max(least, total // shares)
    if kind != "file":  # of whole files one is held at a time
        length = min(MOST_SPLIT_BYTES, length)
    if limit is not None and isinstance(limit.most, int):
        length = min(length, max(LEAST_LIMITED_BYTES, limit.most // MEMORY_SHARES))
    return length


def cut(
    sources: list[Source],
    reading: Reading,
    split_bytes: int,
    header: Header,
    schema: Any,
    plan: dict[str, Any],
    *,
    combined: bool = False,
) -> tuple[list[Split], Reading, list[str]]:
    """All the splits, numbered in the order of the input.

    Args:
        sources: The files, all of one format.
        reading: How they are read.
        split_bytes: About how long a split should be.
        header: See `Header`.
        schema: A `pyarrow.Schema`; ``None``: found out from samples, where it is needed.
        plan: Options for whichpool, with which CSV is scanned.
        combined: The results of the splits become one value.

    Returns:
        The splits; ``reading`` with its schema; notes.

    Raises:
        BadInput: A file cannot be read, or its columns are not those of the others.
    """
    kind = sources[0].format
    notes: list[str] = []
    if codecs.lookup(reading.encoding).name == "utf-8-sig":
        # The mark is looked for in UTF-8 too; this decoder would take it off each split.
        reading = replace(reading, encoding="utf-8")
    reading = replace(reading, field_limit=csv.field_size_limit())
    if reading.batch in ARROW and reading.dialect.quoting != csv.QUOTE_NONE:
        # What is a number, the columns' types say there; the other ways to quote are read alike.
        reading = replace(reading, dialect=replace(reading.dialect, quoting=csv.QUOTE_MINIMAL))
    try:
        csv.reader([], **reading.dialect.for_csv())
    except (TypeError, ValueError, csv.Error) as error:
        raise whichpool.PlanError(f"dialect= is none that csv.reader takes: {error}") from None
    left = sum(source.size_bytes for source in sources)
    if kind == "file":
        splits = [
            Split(0, group, size_bytes=max(source.size_bytes for source in group))
            for group in groups_of_files(sources, split_bytes, combined=combined)
        ]
    elif kind == "parquet":
        first, splits = None, []
        # Rows that go through Python take so much longer than reading them that a row group is worth reading twice; not
        # where memory is short, since each part holds what its row group does.
        in_parts = reading.batch in ("dict", "dicts") and not reading.where and "max_memory" not in plan
        for source in sources:
            if not can_seek(source):
                raise no_parts(source)
            footer, columns = opened(source)
            first = first or columns
            _same_columns(source, columns, sources[0], first, reading)
            step = stepping(split_bytes, left := left - source.size_bytes)
            splits += splits_of(
                source, footer, step, reading.where, in_parts=in_parts, probe=in_parts and not splits
            )
    else:
        splits, headers = [], []
        for source in sources:
            if source.size_bytes > split_bytes and is_ranged(source, reading) and not can_seek(source):
                source = replace(source, seekable=False)
            step = stepping(split_bytes, left := left - source.size_bytes)
            whole = not is_ranged(source, reading)
            if whole and (source.size_bytes > split_bytes or not source.seekable):
                notes.append(f"{source.path} is read from its beginning by one worker: {_why_whole(source)}")
            if kind == "csv":
                names, more = _csv(source, reading, step, header, whole, plan)
                headers.append((source.path, names))
                splits += more
            else:
                splits += _lines(source, reading, step, whole)
        _check_names([each for each in headers if each[1]], reading)
    if not splits:
        notes.append("there is no record in the input, so the output has no columns, and there is no value")
    splits = [replace(split, index=index) for index, split in enumerate(splits)]
    if reading.batch in ARROW and kind in ("csv", "jsonl") and splits:
        found = schema if schema is not None else _sampled(splits, reading)
        _check_columns(reading, found.names, splits[0].sources[0].path)
        reading = replace(reading, schema=found.serialize().to_pybytes())
    return splits, reading, notes


def _why_whole(source: Source) -> str:
    if source.compression:
        return f".{source.compression} cannot be cut by bytes"
    if not source.seekable:
        return "its server gives no part of it without what is before (no ranges)"
    return "its encoding or dialect cannot be cut by bytes"


def stepping(split_bytes: int, after: int) -> Step:
    """How long splits are: toward the end of the input a share of what is left, so that the workers end together.

    Guided self-scheduling (Polychronopoulos & Kuck 1987), for so many workers as make no difference to the cuts: these
    depend on the input alone, and so do the names of the splits and what is combined with what.

    Args:
        split_bytes: The most.
        after: Bytes of input behind this file.

    >>> step = stepping(100, after=0)
    >>> step(5000), step(1600), step(800), step(300), step(1)
    (100, 100, 50, 25, 25)
    """
    least = max(1, split_bytes // FINEST)
    return lambda left: max(least, min(split_bytes, (left + after) // TAIL_SHARES))


def _lines(source: Source, reading: Reading, step: Step, whole: bool) -> list[Split]:
    data, all_of_it = head(source, reading, LINE_BYTES)
    if not data:
        return []
    check_content(source, reading, data, all_of_it=all_of_it)
    begin = _mark_bytes(source, reading, data)
    if whole:
        return [Split(0, (source,), begin, size_bytes=min(source.size_bytes, PIECE_BYTES))]
    with Ranges(source) if source.fs is not None else open(source.path, "rb") as file:
        cuts = line_splits.line_cuts(cast("BinaryIO", file), begin, source.size_bytes, step)
    return _ranges(source, cuts, None)


def _mark_bytes(source: Source, reading: Reading, data: bytes) -> int:
    """How long the mark is that the content begins with, as it is read: some decoders take it off themselves."""
    if is_cut(source.format, reading):
        return line_splits.bom_bytes(data, reading.encoding)
    taken_off = codecs.lookup(reading.encoding).name in ("utf-16", "utf-32")
    return 0 if taken_off else line_splits.bom_bytes(data, "utf-8")


def _ranges(source: Source, cuts: list[int], names: tuple[str, ...] | None) -> list[Split]:
    ends = [*cuts[1:], source.size_bytes]
    return [
        Split(0, (source,), a, b - a, names=names, size_bytes=b - a)
        for a, b in zip(cuts, ends, strict=False)
        if a < b
    ]


def _csv(
    source: Source, reading: Reading, step: Step, header: Header, whole: bool, plan: dict[str, Any]
) -> tuple[tuple[str, ...], list[Split]]:
    """The names of its columns, none where it is empty; and its splits."""
    names, begin, has_more = _header(source, reading, header, whole)
    if not has_more:
        return names, []
    if whole:
        held = min(source.size_bytes, PIECE_BYTES)
        return names, [Split(0, (source,), begin, names=names, size_bytes=held)]
    starts = [begin]
    while (at := starts[-1] + step(source.size_bytes - starts[-1])) < source.size_bytes:
        starts.append(at)
    if len(starts) > 1:
        ends = [*starts[1:], source.size_bytes]
        ranges = [_Range(source, a, b - a, reading) for a, b in zip(starts, ends, strict=True)]
        scans = list(whichpool.map(_scan_range, ranges, **plan))
        starts, _ = csv_splits.compose(scans, starts)
    return names, _ranges(source, starts, names)


@dataclass(frozen=True, slots=True, repr=False)
class _Range:
    """Bytes of a CSV file that are looked through for where records begin."""

    source: Source
    offset: int
    length: int
    reading: Reading

    def __repr__(self) -> str:
        return str(Split(0, (self.source,), self.offset, self.length))


def _scan_range(item: _Range) -> csv_splits.Scan:
    data = read_range(item.source, item.offset, item.length)
    return csv_splits.scan(data, item.reading.dialect, item.reading.encoding)


def _header(
    source: Source, reading: Reading, header: Header, whole: bool
) -> tuple[tuple[str, ...], int, bool]:
    """The names of the columns, where the rows begin, and whether there are any."""
    encoding = "utf-8" if whole and not is_cut("csv", reading) else reading.encoding
    dialect = reading.dialect
    least = 1 << 16
    while True:
        data, all_of_it = head(source, reading, least)
        check_content(source, reading, data, all_of_it=all_of_it)
        bom = _mark_bytes(source, reading, data)
        body = data[bom:]
        if header is not None:
            return header, bom, bool(body)
        # What cannot be decoded after the header is a bad record, and is found where it is read.
        text = body.decode(encoding, "surrogateescape")
        # Names are texts, whatever the dialect makes of other fields without quotes.
        quoting = csv.QUOTE_NONE if dialect.quoting == csv.QUOTE_NONE else csv.QUOTE_MINIMAL
        rows = csv.reader(io.StringIO(text, newline=""), **dialect.for_csv() | {"quoting": quoting})
        if not csv_splits.is_splittable(dialect, encoding):
            # Its records cannot be told by bytes; the whole of it is one chunk, with the header as a record.
            raise BadInput(
                f"{source.path}: a delimiter, quote or escape of several bytes needs header=, a list of names"
            )
        begin: int | None = 0
        while begin is not None and begin < len(body) and body[begin : begin + 1] in (b"\r", b"\n"):
            begin += 1  # blank lines before the header
        end = csv_splits.header_end(body[begin:], dialect, encoding)
        if end is not None or all_of_it:
            break
        least *= 4
    try:
        names = tuple(next((row for row in rows if row), []))
    except csv.Error as error:
        raise BadInput(f"{source.path}: its header cannot be read: {error}") from error
    if not all(map(is_decoded, names)):
        raise BadInput(f"{source.path}: its header has bytes that are not {encoding}; give encoding=")
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise BadInput(f"{source.path}: the header has {doubles[0]!r} twice; give header=, a list of names")
    if end is None:
        return names, len(data), False
    return names, bom + (begin or 0) + end, True


def _check_names(headers: list[tuple[str, tuple[str, ...]]], reading: Reading) -> None:
    for path, names in headers:
        first_path, first = headers[0]
        if names != first:
            lacks = sorted({*first} ^ {*names}) or ["in another order"]
            raise BadInput(
                f"{path} does not have the columns of {first_path}, and they must be the same: {', '.join(lacks)}"
            )
    for path, names in headers[:1]:
        _check_columns(reading, list(names), path)


def _same_columns(source: Source, columns: Any, first: Source, its: Any, reading: Reading) -> None:
    if source is first:
        _check_columns(reading, columns.names, source.path)
        asked = tuple(name for name, _, _ in reading.where or ())
        _check_columns(replace(reading, columns=asked), columns.names, source.path)
    elif not columns.equals(its):
        differ = [f"{a} / {b}" for a, b in zip(its, columns, strict=False) if not a.equals(b)]
        differ = differ or [f"{len(its)} columns / {len(columns)}"]
        raise BadInput(
            f"{source.path} does not have the columns of {first.path}: "
            f"{'; '.join(differ).replace('pyarrow.', '')}"
        )


def _check_columns(reading: Reading, names: list[str], path: str) -> None:
    for name in reading.columns or ():
        if name not in names:
            raise BadInput(f"{path} has no column {name!r}: it has {', '.join(names)}")


def _sampled(splits: list[Split], reading: Reading) -> Any:
    """The columns with types that hold for samples from all over the input."""
    arrow = pyarrow()
    steps = max(1, len(splits) // SAMPLES)
    schemas = [found for split in splits[::steps] if (found := _sample(split, reading)) is not None]
    if not schemas:
        raise BadInput(
            f"{splits[0].sources[0].path}: no types could be found out for its columns; give schema="
        )
    if splits[0].sources[0].format == "jsonl":
        return arrow.unify_schemas(schemas, promote_options="permissive")
    return arrow.schema(
        [(name, _common([found.field(name).type for found in schemas])) for name in schemas[0].names]
    )


def _common(kinds: list[Any]) -> Any:
    """The type that all the samples' values can have."""
    types = pyarrow("types")
    kinds = [kind for kind in kinds if not types.is_null(kind)]
    if not kinds or any(types.is_binary(kind) for kind in kinds):  # binary: bytes that are no UTF-8
        return pyarrow().string()
    if all(kind == kinds[0] for kind in kinds):
        return kinds[0]
    if all(types.is_integer(kind) or types.is_floating(kind) for kind in kinds):
        return pyarrow().float64()
    return pyarrow().string()


def _sample(split: Split, reading: Reading) -> Any:
    arrow = pyarrow()
    source = split.sources[0]
    short = split if split.length is None else replace(split, length=min(split.length, SAMPLE_BYTES))
    reader = chunks(short, reading)
    try:
        chunk = next(reader, None)
    finally:
        reader.close()  # type: ignore[attr-defined]
    if chunk is None:
        return None
    data = chunk.data[:SAMPLE_BYTES]
    if len(chunk.data) > len(data) or short != split:
        if source.format == "csv":
            data = data[: csv_splits.last_record(data, reading.dialect, chunk.encoding)] or data
        else:
            data = data[: data.rfind(b"\n") + 1] or data
    try:
        if source.format == "csv":
            part = pyarrow("csv")
            options = csv_options(split.names or (), replace(reading), data, chunk.encoding)
            options["parse_options"].invalid_row_handler = lambda row: "skip"
            return part.read_csv(arrow_buffer(data), **options).schema
        return pyarrow("json").read_json(arrow_buffer(data)).schema
    except (arrow.ArrowException, ValueError):
        return _sample_of_rows(data, source, split, reading, chunk.encoding)


def _sample_of_rows(data: bytes, source: Source, split: Split, reading: Reading, encoding: str) -> Any:
    """As that, where pyarrow cannot read it: rows that cannot be read either are left out."""
    arrow = pyarrow()
    text = data.decode(encoding, "replace")
    if source.format == "csv":
        try:
            rows = [
                row for row in csv.reader(io.StringIO(text, newline=""), **reading.dialect.for_csv()) if row
            ]
        except csv.Error:
            return None
        names = split.names or ()
        file = io.StringIO(newline="")
        csv.writer(file).writerows([row for row in rows if len(row) == len(names)])
        clean = file.getvalue().encode()
        plain = replace(reading, dialect=Dialect())
        if not clean:
            return None
        return (
            pyarrow("csv").read_csv(arrow_buffer(clean), **csv_options(names, plain, clean, "utf-8")).schema
        )
    import json

    found = []
    for line in text.split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    try:
        return arrow.Table.from_pylist(found).schema if found else None
    except arrow.ArrowException as error:
        raise BadInput(
            f"{source.path}: its records have values of several types in one column, or of none that Arrow has "
            f"({error}); give schema=, or take dictionaries"
        ) from error


def halves(split: Split, reading: Reading) -> tuple[Split, Split] | None:
    """The split in two; ``None``: it cannot be cut any further."""
    if len(split.sources) > 1:
        middle = len(split.sources) // 2
        parts = [
            replace(split, sources=split.sources[:middle]),
            replace(split, sources=split.sources[middle:]),
        ]
    elif split.row_groups is not None:
        middle = len(split.row_groups) // 2
        if not middle:
            return None
        parts = [
            replace(split, row_groups=split.row_groups[:middle]),
            replace(split, row_groups=split.row_groups[middle:]),
        ]
    elif split.length is not None:
        source = split.sources[0]
        data = read_range(source, split.offset, split.length)
        half = len(data) // 2
        if source.format == "csv":
            starts = [0, half]
            scans = [
                csv_splits.scan(part, reading.dialect, reading.encoding)
                for part in (data[:half], data[half:])
            ]
            cuts, _ = csv_splits.compose(scans, starts)
            at = cuts[1] if len(cuts) > 1 else 0
        else:
            at = data.find(b"\n", half) + 1
        if not 0 < at < len(data):
            return None
        parts = [
            replace(split, length=at),
            replace(split, offset=split.offset + at, length=split.length - at),
        ]
    else:
        return None
    return parts[0], parts[1]
