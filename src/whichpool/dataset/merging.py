"""Parts become the output: one file, or a folder, which appears at once or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from whichpool.dataset.failures import BadOutput, SchemaDrift
from whichpool.dataset.journal import making_room
from whichpool.dataset.parquet_merge import NotMergeable, merge
from whichpool.dataset.sources import pyarrow
from whichpool.dataset.writers import csv_bytes, promoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from whichpool.dataset.records import Receipt

__all__ = ["into_file", "into_folder"]


def into_file(receipts: list[Receipt], folder: str, kind: str, output: str, *, unify: bool) -> None:
    """The parts, one after the other, as one file.

    Args:
        receipts: In the order that the output is to have.
        folder: The journal's.
        kind: One of `whichpool.dataset.writers.KINDS`.
        output: The path; a file that is there is replaced.
        unify: Columns that differ are fitted.

    Raises:
        SchemaDrift: Two parts have different columns.
        OSError: It cannot be written; the parts are kept.
    """
    written = [each for each in receipts if each.part]
    parts = [os.path.join(folder, "parts", each.part or "") for each in written]
    names = [f"the output of {each.split}" for each in written]
    temporary = os.path.join(folder, "whole.tmp")
    try:
        with making_room(folder), open(temporary, "wb") as file:
            if kind in ("parquet", "arrow"):
                _tables(parts, names, kind, file, unify)
            elif kind == "csv":
                _csv(parts, written, names, file, unify)
            else:
                for part in parts:
                    _append(part, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, output)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass


def _append(part: str, file: BinaryIO) -> None:
    with open(part, "rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)


def _tables(parts: list[str], names: list[str], kind: str, file: BinaryIO, unify: bool) -> None:
    """Parts with the columns of all; those of a type that is null in one are the others'."""
    arrow, parquet = pyarrow(), pyarrow("parquet")
    schema, first = arrow.schema([]), ""
    for part, name in zip(parts, names, strict=True):
        own = _schema_of(part, kind)
        schema = promoted(schema, own, f"{first} and {name}", unify=unify)
        first = first or name
    if kind == "parquet" and _merged(parts, schema, file):
        return
    made: Callable[..., Any] = parquet.ParquetWriter if kind == "parquet" else arrow.ipc.new_file
    with made(file, schema) as writer:
        for part in parts:
            for batch in _batches(part, kind):
                writer.write_table(_fitted(arrow.Table.from_batches([batch]), schema))


def _merged(parts: list[str], schema: Any, file: BinaryIO) -> bool:
    """Whether the parts could be put together as they are; those with other columns are written anew before."""
    parquet = pyarrow("parquet")
    fitted: list[str] = []
    try:
        for index, part in enumerate(parts):
            if not _schema_of(part, "parquet").equals(schema, check_metadata=True):
                fitted.append(f"{part}.fitted.tmp")
                with parquet.ParquetWriter(fitted[-1], schema) as writer:
                    for batch in _batches(part, "parquet"):
                        writer.write_table(_fitted(pyarrow().Table.from_batches([batch]), schema))
                parts = [*parts[:index], fitted[-1], *parts[index + 1 :]]
        if parts:
            merge(parts, file)
        return bool(parts)
    except NotMergeable:
        file.seek(0)
        file.truncate()
        return False
    finally:
        for path in fitted:
            _remove(path)


def _schema_of(part: str, kind: str) -> Any:
    arrow = pyarrow()
    if kind == "parquet":
        return pyarrow("parquet").read_schema(part)
    with arrow.memory_map(part) as source, arrow.ipc.open_file(source) as reader:
        return reader.schema


def _batches(part: str, kind: str) -> Any:
    arrow = pyarrow()
    if kind == "parquet":
        with pyarrow("parquet").ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group).combine_chunks().to_batches()
        return
    with arrow.memory_map(part) as source, arrow.ipc.open_file(source) as reader:
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def _fitted(table: Any, schema: Any) -> Any:
    arrow = pyarrow()
    if table.schema.equals(schema):
        return table
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.schema.names
        else arrow.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return arrow.table(columns, schema=schema)


def _csv(parts: list[str], receipts: list[Receipt], names: list[str], file: BinaryIO, unify: bool) -> None:
    """Parts without headers, under one; under ``unify`` rewritten where they lack a column."""
    columns: list[str] = []
    first = None
    for receipt, name in zip(receipts, names, strict=True):
        own = json.loads(receipt.schema or "[]")
        if first is None:
            columns, first = own, name
        elif own != columns:
            if not unify:
                differ = sorted({*own} ^ {*columns}) or ["their order"]
                raise SchemaDrift(
                    f"{first} and {name} do not have the same columns: {', '.join(differ)} (unify=True leaves blanks)"
                )
            columns += [column for column in own if column not in columns]
    if first is None:
        return
    file.write(csv_bytes([columns]))
    for part, receipt in zip(parts, receipts, strict=True):
        own = json.loads(receipt.schema or "[]")
        if own == columns:
            _append(part, file)
            continue
        with open(part, encoding="utf-8", newline="") as source:
            for row in csv.DictReader(source, own):
                file.write(csv_bytes([[row.get(column, "") for column in columns]]))


def _keep_only(names: set[str], place: str) -> None:
    """Remove what no split has made: of an earlier run's input, or of a worker that was killed at it."""
    above = len(os.path.join(place, ""))
    for folder, inner, files in os.walk(place, topdown=False):
        for name in files:
            path = os.path.join(folder, name)
            if path[above:].replace(os.sep, "/") not in names:
                os.remove(path)
        for name in inner:
            path = os.path.join(folder, name)
            if not os.listdir(path):
                os.rmdir(path)


def into_folder(receipts: list[Receipt], folder: str, kind: str | None, output: str, *, unify: bool) -> None:
    """The parts, or the files, as a folder.

    Args:
        receipts: In the order that the parts are to have.
        folder: The journal's.
        kind: What the parts are; ``None``: the output is files that have names of their own.
        output: The path; an empty folder that is there is replaced.
        unify: Not possible for parts that stay apart; here only what is null is fitted.

    Raises:
        SchemaDrift: Two parts have different columns.
        BadOutput: Two splits have written a file of the same name.
    """
    place = os.path.join(folder, "files")
    if kind is None:
        seen: dict[str, str] = {}
        for receipt in receipts:
            for name in receipt.files:
                if name in seen:
                    raise BadOutput(
                        f"{name} would be written twice into {output}: {seen[name]} gives it, and {receipt.split}"
                    )
                seen[name] = receipt.split
        os.makedirs(place, exist_ok=True)
        _keep_only({*seen}, place)
    else:
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        written = [each for each in receipts if each.part]
        first = written[0] if written else None
        for number, each in enumerate(written):
            if first is not None and each.schema != first.schema:
                read = json.loads if kind == "csv" else str.splitlines
                differ = sorted({*read(each.schema or "[]")} ^ {*read(first.schema or "[]")})
                raise SchemaDrift(
                    f"the outputs of {first.split} and of {each.split} do not have the same columns: "
                    f"{'; '.join(differ)}"
                )
            suffix = os.path.splitext(each.part or "")[1]
            # A second name for the same bytes: if this is interrupted, the parts are still what the receipts say.
            made, named = os.path.join(folder, "parts", each.part or ""), f"part-{number:05d}{suffix}"
            try:
                os.link(made, os.path.join(place, named))
            except OSError:
                shutil.copyfile(made, os.path.join(place, named))  # a file system without second names
    output = output.rstrip("/")
    if os.path.isdir(output):
        os.rmdir(output)  # it is empty; `process` has looked
    os.rename(place, output)
