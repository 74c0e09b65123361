"""From files to splits: where each kind is cut, what the columns are, and what is worth saying about it."""

from __future__ import annotations

import codecs
import csv
import io
import os
from dataclasses import dataclass, replace
from typing import Any

import whichpool
from whichpool.dataset.chunks import arrow_buffer, chunks, head, is_cut
from whichpool.dataset.failures import BadInput
from whichpool.dataset.formats import ARROW
from whichpool.dataset.readers import csv_options, is_decoded
from whichpool.dataset.records import Dialect, Reading, Source, Split
from whichpool.dataset.sources import pyarrow
from whichpool.dataset.splits import csv as csv_splits
from whichpool.dataset.splits import lines as line_splits
from whichpool.dataset.splits.folder import SHARES_COMBINED, groups_of_files
from whichpool.dataset.splits.parquet import groups_of, open_parquet

__all__ = ["Header", "cut", "halves", "usual_split_bytes"]

# A split is a sixty-fourth of the input, so that all the cores are busy until the end; within these bounds. Guesses:
# below, starting a split is felt; above, so is the memory that a worker takes for it, which is several times as much.
SHARES = 64
LEAST_SPLIT_BYTES = 1 << 20
MOST_SPLIT_BYTES = 4 << 20
# Where each row is a call of its own, so many bytes take Python 10 ms and more, and the function does not see how many
# there are in a split. A guess: what is known of the work after the first split, and the tail, are as much shorter.
LEAST_SPLIT_BYTES_OF_ROWS = 1 << 18
# The columns' types are those of so many places, of so many bytes each. A guess.
SAMPLES = 8
SAMPLE_BYTES = 1 << 18

Header = tuple[str, ...] | None
"""The names of the columns where files have no header row; ``None``: the first row is the header."""


def usual_split_bytes(sources: list[Source], batch: str, *, combined: bool = False) -> int:
    """How long a split is if nobody says so.

    It depends on the input and on what is done with it, not on the machine, so that a run can be taken up again.

    Args:
        sources: The files.
        batch: What the function takes.
        combined: Its results become one value.
    """
    total = sum(source.size_bytes for source in sources)
    kind = sources[0].format if sources else ""
    least = LEAST_SPLIT_BYTES
    if kind == "text":
        least = 1  # likely a list of what to do: its bytes do not say how long that takes
    elif kind in ("csv", "jsonl") and batch in ("dict", "line"):
        least = LEAST_SPLIT_BYTES_OF_ROWS
    shares = SHARES_COMBINED if kind == "file" and combined else SHARES
    return min(MOST_SPLIT_BYTES, max(least, total // shares))


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
    if kind == "file":
        splits = [Split(0, group) for group in groups_of_files(sources, split_bytes, combined=combined)]
    elif kind == "parquet":
        _same_columns(sources, reading)
        # Rows that go through Python take so much longer than reading them that a row group is worth reading twice.
        python = reading.batch in ("dict", "dicts") and not reading.where
        splits = [
            Split(0, (source,), row_groups=groups, rows=rows)
            for number, source in enumerate(sources)
            for groups, rows in groups_of(
                source, split_bytes, reading.where, in_parts=python, probe=python and number == 0
            )
        ]
    else:
        splits = []
        for source in sources:
            whole = source.compression is not None or not is_cut(kind, reading)
            if whole and source.size_bytes > split_bytes:
                why = f".{source.compression}" if source.compression else "its encoding or dialect"
                notes.append(
                    f"{source.path} is read from its beginning by one worker: {why} cannot be cut by bytes"
                )
            splits += (
                _csv(source, reading, split_bytes, header, whole, plan)
                if kind == "csv"
                else _lines(source, reading, split_bytes, whole)
            )
        if kind == "csv":
            reading = _check_names(splits, reading)
    splits = [replace(split, index=index) for index, split in enumerate(splits)]
    if reading.batch in ARROW and kind in ("csv", "jsonl") and splits:
        found = schema if schema is not None else _sampled(splits, reading)
        _check_columns(reading, found.names, splits[0].sources[0].path)
        reading = replace(reading, schema=found.serialize().to_pybytes())
    return splits, reading, notes


def _lines(source: Source, reading: Reading, split_bytes: int, whole: bool) -> list[Split]:
    data, _ = head(source, reading, 64)
    if not data:
        return []
    _check_mark(source, reading, data)
    begin = line_splits.bom_bytes(data, "utf-8" if whole else reading.encoding)
    if whole:
        return [Split(0, (source,), begin)]
    with open(source.path, "rb") as file:
        cuts = line_splits.line_cuts(file, begin, source.size_bytes, split_bytes)
    return _ranges(source, cuts, None)


def _check_mark(source: Source, reading: Reading, data: bytes) -> None:
    """UTF-16 in plain letters is valid UTF-8 after its mark, and every other character would be a zero byte."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and is_cut("text", reading):
        raise BadInput(f"{source.path} begins with the mark of UTF-16: give encoding='utf-16'")


def _ranges(source: Source, cuts: list[int], names: tuple[str, ...] | None) -> list[Split]:
    ends = [*cuts[1:], source.size_bytes]
    return [Split(0, (source,), a, b - a, names=names) for a, b in zip(cuts, ends, strict=False) if a < b]


def _csv(
    source: Source, reading: Reading, split_bytes: int, header: Header, whole: bool, plan: dict[str, Any]
) -> list[Split]:
    names, begin, has_more = _header(source, reading, header, whole)
    if not has_more:
        return []
    if whole:
        return [Split(0, (source,), begin, names=names)]
    starts = list(range(begin, source.size_bytes, split_bytes))
    if len(starts) > 1:
        ranges = [_Range(source, at, split_bytes, reading) for at in starts]
        scans = list(whichpool.map(_scan_range, ranges, **plan))
        starts, _ = csv_splits.compose(scans, starts)
    return _ranges(source, starts, names)


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
    fd = os.open(item.source.path, os.O_RDONLY)
    try:
        data = os.pread(fd, item.length, item.offset)
    finally:
        os.close(fd)
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
        _check_mark(source, reading, data)
        bom = line_splits.bom_bytes(data, encoding)
        body = data[bom:]
        if header is not None:
            return header, bom, bool(body)
        # What cannot be decoded after the header is a bad record, and is found where it is read.
        text = body.decode(encoding, "surrogateescape")
        rows = csv.reader(io.StringIO(text, newline=""), **dialect.for_csv())
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


def _check_names(splits: list[Split], reading: Reading) -> Reading:
    for split in splits:
        first = splits[0]
        if split.names != first.names:
            lacks = sorted({*(first.names or ())} ^ {*(split.names or ())}) or ["in another order"]
            raise BadInput(
                f"{split.sources[0].path} does not have the columns of {first.sources[0].path}, and they must be the "
                f"same: {', '.join(lacks)}"
            )
    if splits:
        _check_columns(reading, list(splits[0].names or ()), splits[0].sources[0].path)
    return reading


def _same_columns(sources: list[Source], reading: Reading) -> None:
    first = None
    for source in sources:
        with open_parquet(source) as file:
            schema = file.schema_arrow
        if first is None:
            first = schema
            _check_columns(reading, schema.names, source.path)
            _check_columns(
                replace(reading, columns=tuple(c for c, _, _ in reading.where or ())),
                schema.names,
                source.path,
            )
        elif not schema.equals(first):
            differ = [f"{a} / {b}" for a, b in zip(first, schema, strict=False) if not a.equals(b)]
            differ = differ or [f"{len(first)} columns / {len(schema)}"]
            raise BadInput(
                f"{source.path} does not have the columns of {sources[0].path}: "
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
    return arrow.Table.from_pylist(found).schema if found else None


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
        with open(source.path, "rb") as file:
            file.seek(split.offset)
            data = file.read(split.length)
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
