"""The bytes of a split, in chunks of whole records; and where in them a record stands."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from whichpool.dataset.failures import BadInput
from whichpool.dataset.sources import open_bytes, pyarrow
from whichpool.dataset.splits import csv as csv_splits
from whichpool.dataset.splits import lines as line_splits
from whichpool.dataset.storage import Raw, read_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichpool.dataset.records import Reading, Source, Split

__all__ = ["Chunk", "chunks", "head", "is_cut", "is_ranged", "stream"]

# Bytes that are decompressed at a time. A guess: a compressed file is one split, so this is what bounds its memory.
PIECE_BYTES = 8 << 20


class Chunk:
    """Whole records of one file.

    Attributes:
        data: Their bytes.
        offset: Where they stand: in the file, or in what is decompressed and decoded from it.
        encoding: Of the bytes.
    """

    def __init__(self, data: bytes, offset: int, encoding: str, kind: str, reading: Reading) -> None:
        self.data = data
        self.offset = offset
        self.encoding = encoding
        # Not of the chunk itself: a cycle would keep the bytes until the collector comes.
        self._walk = _spans(data, encoding, kind, reading)
        self._known: list[tuple[int, int]] = []

    def span(self, number: int) -> tuple[int, int]:
        """Where the record of this number begins and ends, within the chunk. Blank lines of CSV and JSON are none."""
        while len(self._known) <= number:
            self._known.append(next(self._walk))
        return self._known[number]


def _spans(data: bytes, encoding: str, kind: str, reading: Reading) -> Iterator[tuple[int, int]]:
    if reading.batch in ("lines", "line"):
        kind = "text"
    spans = csv_splits.records(data, reading.dialect, encoding) if kind == "csv" else _line_spans(data)
    for begin, end in spans:
        if kind == "text" or data[begin:end].strip(b"\r\n" if kind == "csv" else None):
            yield begin, end


def _line_spans(data: bytes) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        yield at, end
        at = end


def is_ranged(source: Source, reading: Reading) -> bool:
    """Whether ranges of its bytes are read; else it is a stream from its beginning."""
    return source.compression is None and source.seekable and is_cut(source.format, reading)


def is_cut(kind: str, reading: Reading) -> bool:
    """Whether an uncompressed file of this kind can be cut by its bytes."""
    if kind == "csv":
        return csv_splits.is_splittable(reading.dialect, reading.encoding)
    return line_splits.is_splittable(reading.encoding)


def stream(source: Source, reading: Reading) -> Iterator[bytes]:
    """The whole content, in pieces; as UTF-8 where its own encoding cannot be cut by bytes.

    Raises:
        BadInput: It is cut short or damaged, or cannot be decoded.
    """
    import lzma
    import zlib

    damage: tuple[type[BaseException], ...] = (EOFError, zlib.error, lzma.LZMAError)
    if source.compression:
        damage += (OSError,)
    done = 0
    with open_bytes(source) as raw:
        file = raw
        text = None
        if not line_splits.is_splittable(reading.encoding) or not is_cut(source.format, reading):
            # `TextIOWrapper` asks more of a file than pyarrow's have.
            text = io.TextIOWrapper(
                cast("io.BytesIO", io.BufferedReader(Raw(file))), reading.encoding, newline=""
            )
        try:
            while piece := text.read(PIECE_BYTES).encode() if text else file.read(PIECE_BYTES):
                done += len(piece)
                yield piece
        except damage as error:
            # A piece is read whole or not at all, so the damage is somewhere in the piece after these.
            where = f" after the first {done:,} bytes of its content" if done else ""
            raise BadInput(
                f"{source.path} is cut short or damaged{where} ({error}): fetch or write it again"
            ) from error
        except UnicodeError as error:
            raise BadInput(f"{source.path} is not {reading.encoding}: {error}; give encoding=") from error
        finally:
            if text is not None:
                text.detach().detach()


def head(source: Source, reading: Reading, least: int = 1 << 16) -> tuple[bytes, bool]:
    """The first bytes of the content, as `stream` has them, and whether they are all of it."""
    if is_ranged(source, reading):
        data = read_range(source, 0, least)
        return data, len(data) >= source.size_bytes
    found = bytearray()
    pieces = stream(source, reading)
    try:
        for piece in pieces:
            found += piece
            if len(found) >= least:
                return bytes(found), False
        return bytes(found), True
    finally:
        pieces.close()  # type: ignore[attr-defined]


def chunks(split: Split, reading: Reading) -> Iterator[Chunk]:
    """What the split has, from its first record on.

    Raises:
        BadInput: The file is cut short or damaged.
    """
    source = split.sources[0]
    kind = source.format
    if is_ranged(source, reading):
        data = read_range(source, split.offset, split.length if split.length is not None else -1)
        if split.length is not None and len(data) < split.length:
            raise BadInput(
                f"{source.path} ends before byte {split.offset + split.length:,}: it has become shorter"
            )
        if data:
            yield Chunk(data, split.offset, reading.encoding, kind, reading)
        return
    transcoded = not line_splits.is_splittable(reading.encoding) or not is_cut(kind, reading)
    encoding = "utf-8" if transcoded else reading.encoding
    in_pieces = kind != "csv" or csv_splits.is_splittable(reading.dialect, encoding)
    rest, at, skip = b"", split.offset, split.offset
    for piece in stream(source, reading):
        if skip:
            skip, piece = max(0, skip - len(piece)), piece[skip:]
        rest += piece
        if not in_pieces or len(rest) < PIECE_BYTES:
            continue
        is_csv = kind == "csv"
        cut = csv_splits.last_record(rest, reading.dialect, encoding) if is_csv else rest.rfind(b"\n") + 1
        if cut:
            yield Chunk(rest[:cut], at, encoding, kind, reading)
            rest, at = rest[cut:], at + cut
    if rest:
        yield Chunk(rest, at, encoding, kind, reading)


def arrow_buffer(data: bytes) -> object:
    """The bytes as a file of pyarrow's, not copied."""
    arrow = pyarrow()
    return arrow.BufferReader(arrow.py_buffer(data))
