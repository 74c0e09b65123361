"""What a function returns, written as the part of one split; this runs in the worker.

A part is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from whichpool.dataset.failures import BadOutput, SchemaDrift
from whichpool.dataset.journal import temporary_name
from whichpool.dataset.sources import pyarrow

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

__all__ = ["KINDS", "FolderWriter", "PartWriter", "csv_bytes", "kind_of", "promoted", "schema_text"]

KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".txt": "text",
}


def kind_of(output: str) -> str | None:
    """What is written into a file of this name; ``None``: it is a folder.

    Raises:
        BadOutput: No such file is written.
    """
    suffix = os.path.splitext(output)[1].lower()
    if output.endswith(("/", os.sep)) or os.path.isdir(output) or not suffix:
        return None
    if suffix not in KINDS:
        raise BadOutput(f"{output}: what is written ends in {', '.join(KINDS)}, or in / for a folder")
    return KINDS[suffix]


class PartWriter:
    """The output of one split.

    Attributes:
        rows: Records written.
    """

    def __init__(self, folder: str, key: str, kind: str, header: bool) -> None:
        self.rows = 0
        self.name = f"{key}.{ {'text': 'txt'}.get(kind, kind) }"
        self._place = os.path.join(folder, "parts", self.name)
        self._temporary = temporary_name(self._place)
        self._kind = kind
        self._header = header
        self._held: list[Any] = []
        self._columns: list[str] | None = None
        self._schema: Any = None
        self._writer: Any = None
        self._file: BinaryIO | None = None
        self._add: Callable[[Any], None] = {
            "parquet": self._add_arrow,
            "arrow": self._add_arrow,
            "csv": self._add_csv,
            "jsonl": self._add_json,
            "text": self._add_text,
        }[kind]

    def add(self, result: Any) -> None:
        """What one call of the function returned.

        Raises:
            TypeError: It is nothing that can be written so.
            SchemaDrift: It has other columns than what came before it in this part.
        """
        if result is not None:
            self._add(result)

    def flush(self) -> None:
        """Write what is held, so that it takes no more memory."""
        if self._held:
            self._write_arrow()

    def close(self) -> tuple[str | None, int, str | None]:
        """The part is whole.

        Returns:
            Its name, its bytes and its columns; ``None`` for a name: nothing was written.
        """
        self.flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._file is None:
            return None, 0, None
        self._file.close()
        self._file = None
        size = os.path.getsize(self._temporary)
        os.replace(self._temporary, self._place)
        schema = schema_text(self._schema) if self._schema is not None else None
        if self._columns is not None:
            schema = json.dumps(self._columns)  # a name may have a new line in it
        return self.name, size, schema

    def drop(self) -> None:
        """The split failed: nothing of it stays."""
        for each in (self._writer, self._file):
            if each is not None:
                try:
                    each.close()
                except Exception:
                    pass  # the disk is full, say: that is what the split failed of
        self._writer = self._file = None
        try:
            os.remove(self._temporary)
        except FileNotFoundError:
            pass

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open(self._temporary, "wb")  # noqa: SIM115  # closed by `close` and `drop`
        return self._file

    # --- Parquet and Arrow ---

    def _add_arrow(self, result: Any) -> None:
        table = _table(result)
        self.rows += table.num_rows
        self._held.append(table)

    def _write_arrow(self) -> None:
        arrow = pyarrow()
        if self._schema is None:
            schema = self._held[0].schema
            for table in self._held[1:]:
                schema = promoted(schema, table.schema, "two batches of one split")
            self._schema = schema
            file = self._open()
            if self._kind == "parquet":
                self._writer = pyarrow("parquet").ParquetWriter(file, schema)
            else:
                self._writer = arrow.ipc.new_file(file, schema)
        tables = [_cast(table, self._schema, "two batches of one split") for table in self._held]
        self._held = []
        self._writer.write_table(arrow.concat_tables(tables).combine_chunks())

    # --- text ---

    def _add_csv(self, result: Any) -> None:
        rows = _rows(result)
        if not rows and not _has_columns(result):
            return
        columns = [*rows[0]] if rows else list(result.schema.names)
        lines: list[list[Any]] = []
        if self._columns is None:
            self._columns = columns
            if self._header:
                lines.append(columns)
        for row in rows:
            if row.keys() != {*self._columns}:
                raise _other_columns(self._columns, [*row])
        lines += [[row[name] for name in self._columns] for row in rows]
        self._open().write(csv_bytes(lines))
        self.rows += len(rows)

    def _add_json(self, result: Any) -> None:
        values = result if isinstance(result, list) else _rows(result)  # a line may be any JSON
        lines = [json.dumps(value, ensure_ascii=False, default=_jsonable) + "\n" for value in values]
        self._open().write("".join(lines).encode())
        self.rows += len(lines)

    def _add_text(self, result: Any) -> None:
        if isinstance(result, bytes):
            data = result
        else:
            lines = [result] if isinstance(result, str) else result
            data = "".join([f"{line}\n" for line in lines]).encode()
        self._open().write(data)
        self.rows += data.count(b"\n")


def _jsonable(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()  # NumPy's numbers and arrays
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _has_columns(result: Any) -> bool:
    return hasattr(result, "schema") and hasattr(result.schema, "names")


def _table(result: Any) -> Any:
    """What a function may return for a table, as a `pyarrow.Table`."""
    arrow = pyarrow()
    if isinstance(result, arrow.Table):
        return result
    if isinstance(result, arrow.RecordBatch):
        return arrow.Table.from_batches([result])
    if isinstance(result, list):
        rows = _checked(result)
        for row in rows:
            if row.keys() != rows[0].keys():  # pyarrow would leave out what the first does not have
                raise _other_columns([*rows[0]], [*row])
        return arrow.Table.from_pylist(rows) if rows else arrow.table({})
    if isinstance(result, dict):
        return arrow.table(result) if _are_columns(result) else arrow.Table.from_pylist([result])
    if type(result).__name__ == "DataFrame":
        if type(result).__module__.startswith("polars"):
            return result.to_arrow()
        return arrow.Table.from_pandas(result, preserve_index=False).replace_schema_metadata(None)
    raise TypeError(
        f"the function returned a {type(result).__name__}: rows are a record batch, a table, a data frame, a list of "
        "dictionaries, or a dictionary of columns"
    )


def _rows(result: Any) -> list[Any]:
    """As rows."""
    if isinstance(result, list):
        return _checked(result)
    if isinstance(result, dict):
        if not _are_columns(result):
            return [result]
        return [dict(zip(result, row, strict=True)) for row in zip(*result.values(), strict=True)]
    return list(_table(result).to_pylist())


def _checked(rows: list[Any]) -> list[Any]:
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError(
                f"the function returned a list with a {type(row).__name__} in it: a row is a dictionary"
            )
    return rows


def _are_columns(result: dict[str, Any]) -> bool:
    """Whether it is a dictionary of columns; else it is one row."""
    return bool(result) and all(
        hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict)) for value in result.values()
    )


def csv_bytes(lines: list[list[Any]]) -> bytes:
    """As CSV. Before CPython 3.13 `csv` leaves a carriage return without quotes, which then ends a record."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    if "\r" in text.getvalue():
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(lines)
    return text.getvalue().encode()


def _other_columns(first: list[str], second: list[str]) -> SchemaDrift:
    differ = sorted({*first} ^ {*second}) or second
    return SchemaDrift(f"two records of one split have different columns: {', '.join(differ)}")


def schema_text(schema: Any) -> str:
    """The columns and their types, one to a line."""
    return "\n".join([f"{field.name}: {field.type}" for field in schema])


def promoted(first: Any, second: Any, which: str, *, unify: bool = False) -> Any:
    """A schema that both fit into: a column that is all null in one has the type of the other.

    Args:
        first: A `pyarrow.Schema`.
        second: Another.
        which: Whose they are, for the message.
        unify: Columns that one lacks, and numbers of several kinds, are fitted as well.

    Raises:
        SchemaDrift: They do not fit.
    """
    arrow = pyarrow()
    if first.equals(second):
        return first
    # A call that returned no rows says nothing about columns.
    if len(first) == 0 or len(second) == 0:
        return second if len(first) == 0 else first
    if not unify and first.names != second.names:
        differ = sorted({*first.names} ^ {*second.names}) or ["their order"]
        raise SchemaDrift(
            f"{which} do not have the same columns: {', '.join(differ)} (unify=True fills in nulls)"
        )
    try:
        return arrow.unify_schemas([first, second], promote_options="permissive" if unify else "default")
    except (arrow.ArrowException, TypeError):
        differ = [
            f"{name} is {first.field(name).type} in one and {second.field(name).type} in the other"
            for name in first.names
            if name in second.names and not first.field(name).type.equals(second.field(name).type)
        ]
        help_text = (
            "cast them in the function" if unify else "unify=True finds a type for both, if there is one"
        )
        raise SchemaDrift(f"{which} do not have the same types: {'; '.join(differ)} ({help_text})") from None


def _cast(table: Any, schema: Any, which: str) -> Any:
    """The table with the columns of the schema."""
    arrow = pyarrow()
    if table.schema.equals(schema):
        return table
    if table.num_rows == 0:
        return schema.empty_table()
    if not promoted(schema, table.schema, which).equals(schema):
        raise SchemaDrift(f"{which} do not have the same types: give schema=, or cast them in the function")
    return arrow.table(
        [table.column(name).cast(schema.field(name).type) for name in schema.names], schema=schema
    )


class FolderWriter:
    """The output of one split, as files in a folder."""

    def __init__(self, folder: str) -> None:
        self.rows = 0
        self.names: list[str] = []
        self._folder = os.path.join(folder, "files")
        self._made: set[str] = set()

    def add(self, result: Any, name: str) -> None:
        """What the function made of the file of this name.

        Args:
            result: Bytes, a text, an image of Pillow's, or ``(name, one of these)``; ``None``: no file.
            name: The path in the folder, with ``/``.

        Raises:
            TypeError: It is none of these.
            BadOutput: The name leads out of the folder.
        """
        if result is None:
            return
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], (str, os.PathLike)):
            name, result = os.fspath(result[0]), result[1]
        inner = PurePosixPath(name)
        if inner.is_absolute() or ".." in inner.parts or not inner.parts:
            raise BadOutput(f"{name!r} is no name of a file in the output folder")
        if isinstance(result, str):
            data = result.encode()
        elif isinstance(result, (bytes, bytearray, memoryview)):
            data = bytes(result)
        elif hasattr(result, "save"):
            data = _image(result, name)
        else:
            raise TypeError(
                f"the function returned a {type(result).__name__}: a file is made of bytes, a text or an image, or "
                "of a pair of a name and one of these"
            )
        place = os.path.join(self._folder, *inner.parts)
        folder = os.path.dirname(place)
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        temporary = temporary_name(place)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, place)
        except OSError:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
        self.names.append(inner.as_posix())
        self.rows += 1


def _image(image: Any, name: str) -> bytes:
    """An image as Pillow writes it for a file of this name."""
    file = io.BytesIO()
    suffix = os.path.splitext(name)[1].lower()
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    image.save(file, format=kind)
    return file.getvalue()
