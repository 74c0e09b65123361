"""Where text and JSON lines can be cut: after a ``\\n``, which ``\\r\\n`` ends with too."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bom_bytes", "is_splittable", "line_cuts"]

# Bytes read at a time while the end of a line is looked for; most lines end within the first. A guess.
STEP_BYTES = 64 * 1024

_BYTEWISE = re.compile(
    r"ascii|utf-8|utf-8-sig|iso8859-\d+|cp\d+|koi8-[rut]|mac-.*|euc_.*|gb2312|shift_jis.*|big5.*"
)


def is_splittable(encoding: str) -> bool:
    """Whether a byte 10 is always the end of a line in this encoding; in UTF-16 it is not."""
    try:
        return _BYTEWISE.fullmatch(codecs.lookup(encoding).name) is not None
    except LookupError:
        return False


def bom_bytes(head: bytes, encoding: str) -> int:
    """How many bytes the mark takes that some programs put at the front of UTF-8."""
    return (
        3
        if head.startswith(codecs.BOM_UTF8) and codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        else 0
    )


def line_cuts(file: BinaryIO, begin: int, end: int, step: Callable[[int], int]) -> list[int]:
    """Offsets at which lines begin: ``begin``, and the first one at or after each step further on.

    Args:
        file: Open for reading, seekable.
        begin: Where the first line begins, bytes.
        end: The size of the file, bytes.
        step: Of how many bytes are left, to how long the next split should be.
    """
    cuts = [begin] if begin < end else []
    wanted = begin + step(end - begin)
    while wanted < end:
        at = wanted - 1  # a line that ends just there begins just here
        file.seek(at)
        found = -1
        while found < 0:
            piece = file.read(STEP_BYTES)
            if not piece:
                return cuts
            found = piece.find(b"\n")
            if found < 0:
                at += len(piece)
        cut = at + found + 1
        if cut >= end:
            return cuts
        cuts.append(cut)
        wanted = max(cut, wanted)
        wanted += step(end - wanted)
    return cuts
