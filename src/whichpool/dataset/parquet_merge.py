"""Parquet files with the same columns become one, without decoding a value: data is copied, and footers are added up.

A Parquet file is row groups, then a footer that says where each column of each row group stands. So the file of all is
the row groups of all, with the places in the footer moved. The footer is a structure in Thrift's compact protocol;
it is read and written here as far as that takes: fields with their numbers; places are known by number.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["NotMergeable", "merge"]

MAGIC = b"PAR1"
TAIL_BYTES = 8  # the footer's length and the magic

# Thrift's types.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)

# Fields of the format's structures (parquet.thrift), by number.
SCHEMA, NUM_ROWS, ROW_GROUPS, COLUMN_ORDERS = 2, 3, 4, 7  # FileMetaData
COLUMNS, GROUP_OFFSET, ORDINAL = 1, 5, 7  # RowGroup
CHUNK_OFFSET, CHUNK_META, PAGE_INDEX = 2, 3, (4, 5, 6, 7)  # ColumnChunk
PLACES = (9, 10, 11, 14)  # ColumnMetaData: data page, index page, dictionary page, bloom filter

# Bytes copied at once.
COPY_BYTES = 1 << 20

Struct = dict[int, tuple[int, Any]]
"""Field number -> type and value."""


class NotMergeable(ValueError):
    """The files have different columns, or a footer that is not understood: they are to be decoded and written anew."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._data):
            raise NotMergeable("the footer ends too early")
        return self._data[self._at - count : self._at]

    def struct(self) -> Struct:
        found: Struct = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return found
            kind = head & 0x0F
            number = number + (head >> 4) if head >> 4 else self._signed()
            found[number] = (kind, self._value(kind, in_list=False))

    def _value(self, kind: int, *, in_list: bool) -> Any:
        if kind in (TRUE, FALSE):
            return self._byte() if in_list else kind
        if kind == BYTE:
            return self._byte()
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._unsigned())
        if kind in (LIST, SET):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._unsigned()
            return head & 0x0F, [self._value(head & 0x0F, in_list=True) for _ in range(count)]
        if kind == STRUCT:
            return self.struct()
        raise NotMergeable(f"the footer has a value of type {kind}")


class _Writer:
    def __init__(self) -> None:
        self.out = bytearray()

    def _unsigned(self, value: int) -> None:
        while value >= 0x80:
            self.out.append(value & 0x7F | 0x80)
            value >>= 7
        self.out.append(value)

    def _signed(self, value: int) -> None:
        self._unsigned(value << 1 if value >= 0 else (-value << 1) - 1)

    def struct(self, fields: Struct) -> None:
        before = 0
        for number, (kind, value) in sorted(fields.items()):
            if 0 < number - before < 16:
                self.out.append((number - before) << 4 | kind)
            else:
                self.out.append(kind)
                self._signed(number)
            before = number
            if kind not in (TRUE, FALSE):
                self._value(kind, value)
        self.out.append(0)

    def _value(self, kind: int, value: Any) -> None:
        if kind in (TRUE, FALSE, BYTE):
            self.out.append(value)
        elif kind in (I16, I32, I64):
            self._signed(value)
        elif kind == DOUBLE:
            self.out += value
        elif kind == BINARY:
            self._unsigned(len(value))
            self.out += value
        elif kind in (LIST, SET):
            inner, values = value
            if len(values) < 15:
                self.out.append(len(values) << 4 | inner)
            else:
                self.out.append(0xF0 | inner)
                self._unsigned(len(values))
            for each in values:
                self._value(inner, each)
        else:
            self.struct(value)


def merge(parts: list[str], file: BinaryIO) -> None:
    """Write the row groups of all parts, in order, as one Parquet file.

    Args:
        parts: Paths of Parquet files; at least one.
        file: Open for writing, at its beginning.

    Raises:
        NotMergeable: Their columns are not the same. Nothing that was written is of use.
    """
    whole: Struct = {}
    groups: list[Struct] = []
    rows = 0
    file.write(MAGIC)
    at = len(MAGIC)
    for part in parts:
        with open(part, "rb") as source:
            footer, body_end = _footer(source)
            if not whole:
                whole = footer
            elif footer[SCHEMA] != whole[SCHEMA] or footer.get(COLUMN_ORDERS) != whole.get(COLUMN_ORDERS):
                raise NotMergeable(f"{part} does not have the columns of {parts[0]}")
            rows += footer[NUM_ROWS][1]
            for group in footer[ROW_GROUPS][1][1]:
                _move(group, at - len(MAGIC))
                groups.append(group)
            source.seek(len(MAGIC))
            left = body_end - len(MAGIC)
            at += left
            while left:
                piece = source.read(min(left, COPY_BYTES))
                if not piece:
                    raise NotMergeable(f"{part} ends too early")
                file.write(piece)
                left -= len(piece)
    whole[NUM_ROWS] = (I64, rows)
    whole[ROW_GROUPS] = (LIST, (STRUCT, groups))
    writer = _Writer()
    writer.struct(whole)
    file.write(bytes(writer.out) + struct.pack("<I", len(writer.out)) + MAGIC)


def _footer(source: BinaryIO) -> tuple[Struct, int]:
    """The footer, and where it begins."""
    size = source.seek(0, 2)
    source.seek(max(0, size - TAIL_BYTES))
    tail = source.read(TAIL_BYTES)
    if len(tail) < TAIL_BYTES or tail[4:] != MAGIC:
        raise NotMergeable("it is no Parquet file, or an encrypted one")
    length = struct.unpack("<I", tail[:4])[0]
    begin = size - TAIL_BYTES - length
    source.seek(begin)
    try:
        footer = _Reader(source.read(length)).struct()
        if footer[ROW_GROUPS][1][1] and footer[ROW_GROUPS][1][0] != STRUCT:
            raise NotMergeable("its row groups are not understood")
    except (IndexError, KeyError) as error:
        raise NotMergeable("its footer is not understood") from error
    return footer, begin


def _move(group: Struct, by: int) -> None:
    """Its data stands so many bytes further on. What only helps to find pages, and has places in it, is left out."""

    def add(fields: Struct, number: int) -> None:
        kind, value = fields[number]
        fields[number] = kind, value + by

    group.pop(ORDINAL, None)
    if group.get(GROUP_OFFSET, (0, 0))[1]:
        add(group, GROUP_OFFSET)
    for chunk in group[COLUMNS][1][1]:
        for number in PAGE_INDEX:
            chunk.pop(number, None)
        # 0 where a writer has not put a copy of the metadata behind the data.
        if chunk[CHUNK_OFFSET][1]:
            add(chunk, CHUNK_OFFSET)
        meta = chunk[CHUNK_META][1]
        for number in PLACES:
            if number in meta:
                add(meta, number)
