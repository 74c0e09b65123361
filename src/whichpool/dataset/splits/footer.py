"""The footer of a Parquet file, cut to some of its row groups.

pyarrow reads a footer whole: of a file with thousands of row groups that is a tenth of a second and tens of megabytes,
for each split. So the footer is walked through once, where the file is cut, and each split has the part that it needs.
It is a structure in Thrift's compact protocol; nothing is decoded but how many rows and bytes a row group has.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Footer", "Group", "footer_of"]

MAGIC = b"PAR1"
TAIL_BYTES = 8  # the footer's length and the magic

# Thrift's types.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, _MAP, STRUCT = range(1, 13)

# Fields of the format's structures (parquet.thrift), by number.
NUM_ROWS, ROW_GROUPS = 3, 4  # FileMetaData
GROUP_BYTES, GROUP_ROWS = 2, 3  # RowGroup


@dataclass(frozen=True, slots=True)
class Group:
    """A row group, and where it stands in the footer."""

    begin: int
    end: int
    rows: int
    size_bytes: int
    """Of its values, decompressed."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What there is before, between and behind the places that are rewritten."""

    head: bytes
    between: bytes
    tail: bytes
    body: bytes
    groups: tuple[Group, ...]

    def cut(self, wanted: tuple[int, ...]) -> bytes:
        """A Parquet file without data that has these row groups: what pyarrow reads metadata from."""
        rows = sum(self.groups[index].rows for index in wanted)
        count = len(wanted)
        size = bytes([count << 4 | STRUCT]) if count < 15 else bytes([0xF0 | STRUCT]) + _varint(count)
        parts = [self.body[self.groups[index].begin : self.groups[index].end] for index in wanted]
        footer = b"".join([self.head, _varint(rows << 1), self.between, size, *parts, self.tail])
        return MAGIC + footer + struct.pack("<I", len(footer)) + MAGIC


def footer_of(file: BinaryIO) -> Footer | None:
    """The footer of an open file; ``None``: it is none that is understood, and pyarrow may know better."""
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read(TAIL_BYTES)
    if len(tail) < TAIL_BYTES or tail[4:] != MAGIC:
        return None
    length = struct.unpack("<I", tail[:4])[0]
    if length > size - TAIL_BYTES - len(MAGIC):
        return None
    file.seek(size - TAIL_BYTES - length)
    try:
        return _walk(file.read(length))
    except (IndexError, RecursionError, ValueError):
        return None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _walk(data: bytes) -> Footer:
    at = number = 0
    rows_at = (0, 0)
    rows = -1
    while (head := data[at]) != 0:
        kind = head & 0x0F
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            value, at = _number(data, at)
            number = value >> 1
        if number == NUM_ROWS and kind == I64:
            value, end = _number(data, at)
            rows, rows_at = value >> 1, (at, end)
            at = end
        elif number == ROW_GROUPS and kind == LIST and rows >= 0:
            begin = at
            groups, at = _groups(data, at)
            if sum(group.rows for group in groups) != rows:
                raise ValueError("the row groups do not have as many rows as the file")
            between = data[rows_at[1] : begin]
            return Footer(data[: rows_at[0]], between, data[at:], data, tuple(groups))
        else:
            at = _skip(data, at, kind)
    raise ValueError("no row groups")


def _groups(data: bytes, at: int) -> tuple[list[Group], int]:
    count, kind, at = _list(data, at)
    if count and kind != STRUCT:
        raise ValueError("row groups that are none")
    groups = []
    for _ in range(count):
        begin = at
        number = rows = size = 0
        while (head := data[at]) != 0:
            kind = head & 0x0F
            at += 1
            if not head >> 4:
                raise ValueError("fields out of order")
            number += head >> 4
            if kind == I64 and number in (GROUP_BYTES, GROUP_ROWS):
                value, at = _number(data, at)
                if number == GROUP_ROWS:
                    rows = value >> 1
                else:
                    size = value >> 1
            else:
                at = _skip(data, at, kind)
        at += 1
        groups.append(Group(begin, at, rows, size))
    return groups, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) >= 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    head = data[at]
    count, at = head >> 4, at + 1
    if count == 15:
        count, at = _number(data, at)
    return count, head & 0x0F, at


def _skip(data: bytes, at: int, kind: int) -> int:
    """Where what begins here ends."""
    if kind <= FALSE:
        return at
    if kind in (I16, I32, I64):
        while data[at] >= 0x80:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = _number(data, at)
        return at + size
    if kind == STRUCT:
        while (head := data[at]) != 0:
            at += 1
            if head < 16:
                _, at = _number(data, at)
            inner = head & 0x0F
            if I16 <= inner <= I64:  # most of what there is: a call for each would take twice as long
                while data[at] >= 0x80:
                    at += 1
                at += 1
            elif inner == BINARY and data[at] < 0x80:
                at += 1 + data[at]
            else:
                at = _skip(data, at, inner)
        return at + 1
    if kind in (LIST, SET):
        count, inner, at = _list(data, at)
        if inner <= BYTE:
            return at + count
        if inner in (I16, I32, I64):
            for _ in range(count):
                while data[at] >= 0x80:
                    at += 1
                at += 1
            return at
        for _ in range(count):
            at = _skip(data, at, inner)
        return at
    if kind == BYTE:
        return at + 1
    if kind == DOUBLE:
        return at + 8
    raise ValueError(f"a value of type {kind}")
