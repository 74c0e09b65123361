"""What the parts of `whichpool.process` say to one another: frozen, with units in the names."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BadRecord", "Dialect", "ProcessReport", "Progress", "Reading", "Receipt", "Source", "Split"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written: what Python's `csv` understands by these names."""

    delimiter: str = ","
    quotechar: str | None = '"'
    escapechar: str | None = None
    doublequote: bool = True
    skipinitialspace: bool = False
    strict: bool = False
    quoting: int = csv.QUOTE_MINIMAL

    def for_csv(self) -> dict[str, Any]:
        """The keyword arguments of `csv.reader`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the input, as it was when it was looked at."""

    path: str
    format: str
    """``"csv"``, ``"jsonl"``, ``"text"``, ``"parquet"`` or ``"file"`` (read as a whole)."""
    size_bytes: int
    mtime_ns: int
    compression: str | None = None
    """``"gz"``, ``"bz2"``, ``"xz"``, ``"zst"``; such a file is read from its beginning, as one split."""
    name: str = ""
    """In a folder: the path from there, with ``/``."""
    version: str = ""
    """Of a remote file: its ETag, checksum or time of change; empty: it has nothing of the kind."""
    seekable: bool = True
    """Whether a part of it can be read without all that is before."""
    inner: str = field(default="", repr=False)
    """Of a remote file: where it is in its file system; ``path`` is how it is shown."""
    fs: Any = field(default=None, repr=False, compare=False)
    """The file system of fsspec that a remote file is in; ``None``: this machine's."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Of a folder thousands travel, in half of the time that the fields one by one would take."""
        made = (self.path, self.format, self.size_bytes, self.mtime_ns, self.compression, self.name)
        if self.fs is None and not self.version and self.seekable and not self.inner:
            return Source, made
        return Source, (*made, self.version, self.seekable, self.inner, self.fs)

    @property
    def state(self) -> str:
        """What is another where the file is another, as a text."""
        return f"{self.size_bytes} bytes, {self.version or f'{self.mtime_ns} ns'}"


@dataclass(frozen=True, slots=True)
class PartFooter:
    """The footer of a Parquet file, cut to the row groups of one split."""

    data: bytes
    """As a file without data: what pyarrow reads metadata from."""
    row_groups: tuple[int, ...]
    """Which these are in the file."""
    first_row: int
    """The number of the first of their rows in the file."""


@dataclass(frozen=True, slots=True, repr=False)
class Split:
    """What one call of the engine works on. This travels, and never rows.

    It is named by its file and the bytes or row groups, also where the engine names its item.
    """

    index: int
    """Its place in the order of the input."""
    sources: tuple[Source, ...]
    """One file; or several small files of a folder."""
    offset: int = 0
    """Bytes."""
    length: int | None = None
    """Bytes; ``None``: to the end of the file."""
    row_groups: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    """Of its one row group: from the first of these numbers to before the second; ``None``: all."""
    names: tuple[str, ...] | None = None
    """The header of this file, where it is a CSV file."""
    size_bytes: int = 0
    """About how many it reads; of Parquet, how many they are when they are decompressed."""
    footer: PartFooter | None = field(default=None, repr=False)
    """Of a Parquet file: what of its footer these row groups need; ``None``: all of it is read."""
    pieces: int = 1
    """In how many pieces its worker reads it, one after the other; more where a worker has died of memory."""

    @property
    def key(self) -> str:
        """Names it, and what it reads; sorts as the input does. Another file, or another cut, has another key."""
        from hashlib import blake2b

        # Not the sources' own representations: those are made in Python, of thousands of small files several times.
        files = [
            (s.path, s.format, s.size_bytes, s.mtime_ns, s.compression, s.name, s.version)
            for s in self.sources
        ]
        what = repr((files, self.offset, self.length, self.row_groups, self.rows, self.names))
        return f"{self.index:06d}-{blake2b(what.encode(), digest_size=8).hexdigest()}"

    def __str__(self) -> str:
        first = self.sources[0].path if self.sources else "nothing"
        if len(self.sources) > 1:
            return f"{first} and {len(self.sources) - 1} more"
        if self.row_groups is not None:
            low, high = self.row_groups[0], self.row_groups[-1]
            if self.rows is not None:
                return f"{first}, row group {low}, its rows {self.rows[0]} to {self.rows[1] - 1}"
            return f"{first}, row group {low}" if low == high else f"{first}, row groups {low} to {high}"
        if self.length is not None:
            return f"{first}, bytes {self.offset} to {self.offset + self.length}"
        return first

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Reading:
    """How splits become batches."""

    batch: str
    """One of `whichpool.dataset.formats.BATCHES`."""
    columns: tuple[str, ...] | None = None
    where: tuple[tuple[str, str, Any], ...] | None = None
    """All of these ``(column, operator, value)`` hold."""
    batch_rows: int = 65_536
    encoding: str = "utf-8"
    dialect: Dialect = field(default_factory=Dialect)
    field_limit: int = 131_072
    """Characters of a field of CSV, at the most: `csv.field_size_limit` of the process that the run was begun in."""
    schema: bytes | None = None
    """The Arrow schema that CSV and JSON lines are read with, serialized; so that all splits agree."""


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that could not be read, or for which the function raised."""

    file: str
    where: str
    """``"byte"`` or ``"row"``: what ``position`` counts, from 0 (a row: within its file or its split)."""
    position: int
    split: str
    error: str
    raw: str | None
    """The record as it stands in the file, cut at 10,000 characters; ``None``: it has no text (Parquet)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a split."""

    key: str
    split: str
    """In words."""
    rows_in: int
    rows_out: int
    rejected: int
    part: str | None = None
    """The name of the file with its output, among the parts; ``None``: it has none."""
    part_bytes: int = 0
    schema: str | None = None
    """The columns of its output and their types, one to a line."""
    files: tuple[str, ...] = ()
    """What it put into an output folder."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far `whichpool.process` is.

    Attributes:
        splits: Done, those of an earlier run counted.
        splits_total: All there are.
        rows: Records read: rows, lines, or files.
        rejected: How many of these were set aside.
        bytes: Bytes of the input that this was, as they lie on the disk; of Parquet, about.
        bytes_total: Of all the input.
        elapsed_s: Seconds since the first split began.
        bytes_per_s: Of the input, by this run; ``None``: nothing has been done yet.
        left_s: Seconds that the rest will take if it goes on at this pace; ``None``: nothing has been done yet.
    """

    splits: int
    splits_total: int
    rows: int
    rejected: int
    bytes: int
    bytes_total: int
    elapsed_s: float
    bytes_per_s: float | None
    left_s: float | None


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """What `whichpool.process` did.

    Attributes:
        value: The combined value; ``None`` without ``combine``.
        output: Where the output is; ``None`` without one.
        rows_in: Records read: rows, lines, or files.
        rows_out: Records written.
        rejected: Records that were set aside.
        bytes_in: Bytes of input read, as they lie on the disk.
        splits: Into how many the input was cut.
        resumed: How many of these an earlier run had done.
        wall_s: Seconds it took.
        quarantine: The file with what was set aside; ``None``: nothing was, or it was skipped.
        notes: What is worth knowing, a sentence each.
        run: The engine's own report: the plan, and why; ``None`` where nothing was left to run.
    """

    value: Any
    output: str | None
    rows_in: int
    rows_out: int
    rejected: int
    bytes_in: int
    splits: int
    resumed: int
    wall_s: float
    quarantine: str | None = None
    notes: tuple[str, ...] = ()
    run: Any = None

    def __str__(self) -> str:
        processed = self.rows_in - self.rejected
        lines = [
            f"{self.rows_in:,} records in = {processed:,} processed + {self.rejected:,} rejected"
            + (f"; {self.rows_out:,} out" if self.output else "")
        ]
        megabytes = self.bytes_in / 1e6
        pace = f", {megabytes / self.wall_s:,.1f} MB/s" if self.wall_s > 0 else ""
        lines.append(f"{self.splits} splits, {megabytes:,.1f} MB, {self.wall_s:.2f} s{pace}")
        if self.run is not None:
            lines.append(f"plan: {self.run.plan}; {self.run.verdict.reason or 'measured'}")
        if self.resumed:
            lines.append(f"{self.resumed} splits had been done by an earlier run")
        if self.output:
            lines.append(f"output: {self.output}")
        if self.quarantine:
            lines.append(f"rejected records: {self.quarantine}")
        return "\n".join([*lines, *self.notes])
