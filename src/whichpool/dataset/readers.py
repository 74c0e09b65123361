"""From a split to batches of records; this runs in the worker.

What cannot be read goes to `Rejects`. The fast way is tried first; where it fails, the records of the split are taken
one by one, so that the bad one is found, named with its place, and set aside.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from codecs import BOM_UTF8
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from whichpool.dataset.chunks import Chunk, arrow_buffer, chunks
from whichpool.dataset.failures import BadInput
from whichpool.dataset.formats import ARROW
from whichpool.dataset.rows import dicts, lists_of_plain, rows_of_batch
from whichpool.dataset.sources import pyarrow
from whichpool.dataset.splits import csv as csv_splits
from whichpool.dataset.splits.parquet import expression, fragment_of, part_of
from whichpool.dataset.storage import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whichpool.dataset.bad import Rejects
    from whichpool.dataset.records import Reading, Source, Split

__all__ = ["Batch", "is_decoded", "read"]


@dataclass(slots=True)
class Batch:
    """Some records, before they are given the form that the function takes."""

    records: Any
    """A list, or a `pyarrow.RecordBatch`."""
    numbers: Sequence[int]
    """The number of each, in its chunk or its split."""
    chunk: Chunk | None = None
    rows: int = -1
    """How many records it stands for, where that is not its length."""

    def __post_init__(self) -> None:
        if self.rows < 0:
            self.rows = len(self.numbers)

    def part(self, begin: int, end: int) -> Batch:
        """Some of them."""
        records = self.records
        part = records[begin:end] if isinstance(records, list) else records.slice(begin, end - begin)
        return Batch(part, self.numbers[begin:end], self.chunk)


def read(split: Split, reading: Reading, rejects: Rejects) -> Iterator[Batch]:
    """The batches of a split, in order.

    Raises:
        BadInput: The file cannot be read; or a record cannot, and bad ones are not set aside.
    """
    kind = split.sources[0].format
    if kind == "file":
        yield from _files(split, reading, rejects)
    elif kind == "parquet":
        yield from _parquet(split, reading)
    else:
        if kind == "csv" and csv.field_size_limit() != reading.field_limit:
            csv.field_size_limit(reading.field_limit)
        for chunk in chunks(split, reading):
            yield from _of_chunk(chunk, kind, split, reading, rejects)


def _of_chunk(chunk: Chunk, kind: str, split: Split, reading: Reading, rejects: Rejects) -> Iterator[Batch]:
    if reading.batch == "bytes":
        rows = chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n"))
        yield Batch([chunk.data], range(1), None, rows)
    elif reading.batch in ("lines", "line"):
        yield from _batches(_lines(chunk, rejects), chunk, reading)
    elif reading.batch in ARROW:
        fast = _csv_table if kind == "csv" else _json_table
        arrow = pyarrow()
        try:
            table = fast(chunk, split, reading)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, ValueError):
            slow = _csv_rows if kind == "csv" else _json_rows
            yield from _typed(slow(chunk, split, reading, rejects), chunk, kind, reading, rejects)
            return
        first = 0
        for batch in table.combine_chunks().to_batches(max_chunksize=reading.batch_rows):
            yield Batch(batch, range(first, first + batch.num_rows), chunk)
            first += batch.num_rows
    elif kind == "csv":
        yield from _csv_batches(chunk, split, reading, rejects)
    else:
        yield from _batches(_json_rows(chunk, split, reading, rejects), chunk, reading)


def _batches(records: Iterator[tuple[int, Any]], chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    numbers: list[int] = []
    batch: list[Any] = []
    for number, record in records:
        numbers.append(number)
        batch.append(record)
        if len(batch) >= reading.batch_rows:
            yield Batch(batch, numbers, chunk)
            numbers, batch = [], []
    if batch:
        yield Batch(batch, numbers, chunk)


# --- records one by one -------------------------------------------------------------------------------------


def _lines(chunk: Chunk, rejects: Rejects) -> Iterator[tuple[int, str]]:
    try:
        lines: list[Any] = chunk.data.decode(chunk.encoding).split("\n")
    except UnicodeDecodeError:
        lines = chunk.data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines):
        if isinstance(line, bytes):
            try:
                line = line.decode(chunk.encoding)
            except UnicodeDecodeError as error:
                rejects.add(error, number, chunk)
                continue
        yield number, line[:-1] if line.endswith("\r") else line


def _json_rows(chunk: Chunk, split: Split, reading: Reading, rejects: Rejects) -> Iterator[tuple[int, Any]]:
    wanted = reading.columns
    number = -1
    for line in chunk.data.split(b"\n"):
        if not line.strip():
            continue
        number += 1
        try:
            row = json.loads(line.decode(chunk.encoding))
            if not isinstance(row, dict):
                raise BadInput(f"a row is a JSON object, not a {type(row).__name__}")
            if wanted:
                row = {name: row.get(name) for name in wanted}
        except (ValueError, RecursionError) as error:
            rejects.add(error, number, chunk)
            continue
        yield number, row


def _csv_batches(chunk: Chunk, split: Split, reading: Reading, rejects: Rejects) -> Iterator[Batch]:
    """Rows by the batch, as long as they are all as they should be; from the first batch on that is not, one by one."""
    first = 0
    try:
        text = chunk.data.decode(chunk.encoding)
        made = dicts(split.names or (), reading.columns)
        width = len(split.names or ())
        rows: Iterator[list[str]] = lists_of_plain(text, reading.dialect) or csv.reader(
            io.StringIO(text, newline=""), **reading.dialect.for_csv()
        )
        while block := list(islice(rows, reading.batch_rows)):
            if {*map(len, block)} != {width}:
                block = [row for row in block if row]  # without blank lines
                if not {*map(len, block)} <= {width}:
                    break
            records = made(block)
            if records:
                yield Batch(records, range(first, first + len(records)), chunk)
            first += len(records)
        else:
            return
    except (
        ValueError,
        csv.Error,
    ):  # ValueError: bytes of another encoding; no number, under QUOTE_NONNUMERIC
        pass
    yield from _batches(_csv_rows(chunk, split, reading, rejects, first), chunk, reading)


def _picked(
    names: tuple[str, ...], wanted: tuple[str, ...] | None
) -> tuple[tuple[str, ...], Callable[[list[str]], Sequence[str]] | None]:
    """The names of the columns that are wanted, and what picks them from a row; ``None``: all of them."""
    if wanted is None:
        return names, None
    places = [names.index(name) for name in wanted]
    return wanted, lambda row: [row[place] for place in places]


def _csv_rows(
    chunk: Chunk, split: Split, reading: Reading, rejects: Rejects, first: int = 0
) -> Iterator[tuple[int, dict[str, str]]]:
    width = len(split.names or ())
    names, pick = _picked(split.names or (), reading.columns)
    for number, row in enumerate(_parsed(chunk, reading, first), first):
        if isinstance(row, Exception):
            rejects.add(row, number, chunk)
        elif len(row) != width:
            rejects.add(BadInput(f"{len(row)} fields where the header has {width}"), number, chunk)
        elif not all(map(is_decoded, row)):
            rejects.add(BadInput(f"bytes that are not {chunk.encoding}"), number, chunk)
        else:
            yield number, dict(zip(names, pick(row) if pick else row, strict=True))


def _parsed(chunk: Chunk, reading: Reading, first: int) -> Iterator[list[str] | Exception]:
    """The records from this one on: the fields of each, or why it has none."""
    number, dialect = first, reading.dialect.for_csv()
    try:
        data = chunk.data[chunk.span(first)[0] :] if first else chunk.data
        text = data.decode(chunk.encoding, "surrogateescape")
        for row in csv.reader(io.StringIO(text, newline=""), **dialect):
            if row:  # else it is a blank line
                yield row
                number += 1
        return
    except StopIteration:
        return  # there is no such record
    except (csv.Error, ValueError):
        pass  # the reader has lost its place: from here on it is given one record at a time
    while True:
        try:
            begin, end = chunk.span(number)
        except StopIteration:
            return
        text = chunk.data[begin:end].decode(chunk.encoding, "surrogateescape")
        try:
            yield next(csv.reader(io.StringIO(text, newline=""), **dialect))
        except (csv.Error, ValueError) as error:
            if "field limit" in str(error):
                error = BadInput(
                    f"{error}: a quote that is not closed, or csv.field_size_limit() is to be raised"
                )
            yield error
        number += 1


def is_decoded(text: Any) -> bool:
    """Whether no byte was left over when the text was decoded with ``surrogateescape``; a number is no text."""
    if not isinstance(text, str):
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- pyarrow ------------------------------------------------------------------------------------------------


def _schema(reading: Reading) -> Any:
    arrow = pyarrow()
    return arrow.ipc.read_schema(arrow.py_buffer(reading.schema))


def csv_options(split_names: tuple[str, ...], reading: Reading, data: bytes, encoding: str) -> dict[str, Any]:
    """How pyarrow reads these bytes as Python's `csv` would."""
    part = pyarrow("csv")
    dialect = reading.dialect
    if (
        dialect.skipinitialspace
        or dialect.strict
        or (dialect.quoting == csv.QUOTE_NONE and dialect.quotechar)
    ):
        dialect_quote: Any = False
        if dialect.skipinitialspace or dialect.strict:
            raise ValueError("pyarrow has no such dialect")
    else:
        dialect_quote = dialect.quotechar or False
    return {
        "read_options": part.ReadOptions(
            column_names=list(split_names), use_threads=False, block_size=len(data) + 1, encoding=encoding
        ),
        "parse_options": part.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect_quote,
            double_quote=dialect.doublequote,
            escape_char=dialect.escapechar or False,
            newlines_in_values=dialect_quote is not False,
        ),
    }


def _csv_table(chunk: Chunk, split: Split, reading: Reading) -> Any:
    part, schema = pyarrow("csv"), _schema(reading)
    marked = chunk.data.startswith(BOM_UTF8)  # pyarrow would take it off, and here it is a character
    if marked or not csv_splits.is_regular(chunk.data, reading.dialect, chunk.encoding):
        raise ValueError("pyarrow may read it otherwise than `csv`")
    options = csv_options(split.names or (), reading, chunk.data, chunk.encoding)
    convert = part.ConvertOptions(
        column_types=schema, include_columns=list(reading.columns or schema.names), strings_can_be_null=False
    )
    return part.read_csv(arrow_buffer(chunk.data), convert_options=convert, **options)


def _json_table(chunk: Chunk, split: Split, reading: Reading) -> Any:
    part, schema = pyarrow("json"), _schema(reading)
    if chunk.encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "ascii"):
        raise ValueError("pyarrow reads UTF-8 only")
    table = part.read_json(
        arrow_buffer(chunk.data),
        read_options=part.ReadOptions(use_threads=False, block_size=len(chunk.data) + 1),
        parse_options=part.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
    return table.select(list(reading.columns or schema.names))


def _typed(
    rows: Iterator[tuple[int, dict[str, Any]]], chunk: Chunk, kind: str, reading: Reading, rejects: Rejects
) -> Iterator[Batch]:
    """Record batches from rows; a row with a value that does not have the type of its column is a bad one."""
    arrow, schema = pyarrow(), _schema(reading)
    if reading.columns:
        schema = arrow.schema([schema.field(name) for name in reading.columns])
    make = _cast_strings if kind == "csv" else _from_objects
    for batch in _batches(rows, chunk, reading):
        bad = dict(_misfits(batch.records, 0, len(batch.records), lambda some: make(some, schema)))
        for place, error in bad.items():
            rejects.add(BadInput(str(error)), batch.numbers[place], chunk)
        good = [place for place in range(len(batch.records)) if place not in bad]
        if good:
            records = make([batch.records[place] for place in good], schema)
            yield Batch(records, [batch.numbers[place] for place in good], chunk)


def _misfits(
    rows: list[Any], begin: int, end: int, make: Callable[[list[Any]], Any]
) -> Iterator[tuple[int, Exception]]:
    """The places of the rows that have not the types of their columns, found by halving what fails."""
    try:
        make(rows[begin:end])
    except (pyarrow().ArrowException, ValueError, TypeError) as error:
        if end - begin == 1:
            yield begin, error
            return
        middle = (begin + end) // 2
        yield from _misfits(rows, begin, middle, make)
        yield from _misfits(rows, middle, end, make)


def _cast_strings(rows: list[dict[str, str]], schema: Any) -> Any:
    """The rows with the types of the schema, by the rules that pyarrow's own reader of CSV has."""
    part, arrow = pyarrow("csv"), pyarrow()
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[row[name] for name in schema.names] for row in rows])
    data = text.getvalue().encode()
    if data.startswith(BOM_UTF8):
        data = BOM_UTF8 + data  # pyarrow takes one off
    table = part.read_csv(
        arrow_buffer(data),
        read_options=part.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(data) + 1),
        parse_options=part.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=part.ConvertOptions(column_types=schema),
    ).combine_chunks()
    if table.num_rows != len(rows):
        raise ValueError(f"{table.num_rows} rows where there were {len(rows)}")
    return table.to_batches()[0] if rows else arrow.RecordBatch.from_pylist([], schema=schema)


def _from_objects(rows: list[Any], schema: Any) -> Any:
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"a {type(row).__name__} where an object should be")
        if unknown := row.keys() - {*schema.names}:
            raise ValueError(f"a key {sorted(unknown)[0]!r} that the first records do not have; give schema=")
    return pyarrow().RecordBatch.from_pylist(rows, schema=schema)


def _parquet(split: Split, reading: Reading) -> Iterator[Batch]:
    arrow, source = pyarrow(), split.sources[0]
    columns = list(reading.columns) if reading.columns else None
    first = 0

    def as_wanted(batch: Any) -> Any:
        return rows_of_batch(batch) if reading.batch in ("dicts", "dict") else batch

    try:
        if reading.where:
            batches = fragment_of(source, split.row_groups).to_batches(
                columns=columns,
                filter=expression(reading.where),
                batch_size=reading.batch_rows,
                use_threads=False,
            )
            for batch in batches:
                if batch.num_rows:
                    yield Batch(as_wanted(batch), range(first, first + batch.num_rows))
                    first += batch.num_rows
            return
        file, groups, first = part_of(split)
        with file:
            batches = file.iter_batches(
                reading.batch_rows, row_groups=groups, columns=columns, use_threads=False
            )
            if split.rows is not None:
                first += split.rows[0]
                batches = _within(batches, *split.rows)
            for batch in batches:
                yield Batch(as_wanted(batch), range(first, first + batch.num_rows))
                first += batch.num_rows
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise BadInput(f"{split} cannot be read: {error}") from error


def _within(batches: Iterator[Any], begin: int, end: int) -> Iterator[Any]:
    """Those rows of the batches whose numbers are in this range."""
    at = 0
    for batch in batches:
        low, high = max(begin - at, 0), min(end - at, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        at += batch.num_rows
        if at >= end:
            return


# --- whole files --------------------------------------------------------------------------------------------


def _files(split: Split, reading: Reading, rejects: Rejects) -> Iterator[Batch]:
    for number, source in enumerate(split.sources):
        if reading.batch == "path":
            with _on_disk(source) as path:
                yield Batch([path], range(number, number + 1))
            continue
        with open_file(source) as file:
            content: Any = file.read()
        if reading.batch == "line":
            try:
                content = content.decode(reading.encoding)
            except UnicodeDecodeError as error:
                rejects.add(error, 0, None, file=source.path)
                continue
        yield Batch([content], range(number, number + 1))


@contextmanager
def _on_disk(source: Source) -> Iterator[str]:
    """Where the file is; a remote one is there for as long as it is being worked on."""
    if source.fs is None:
        yield source.path
        return
    with TemporaryDirectory(prefix="whichpool-") as folder:
        path = os.path.join(folder, os.path.basename(source.name))
        with open_file(source) as file, open(path, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        yield path
