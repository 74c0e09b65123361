"""What is likely meant, or likely wrong, where a file is not there or is not what its name says: for messages."""

from __future__ import annotations

import codecs
import difflib
import json
import os
import stat
from glob import has_magic
from typing import TYPE_CHECKING

from whichpool.dataset.failures import BadInput
from whichpool.dataset.splits.lines import is_splittable

if TYPE_CHECKING:
    from whichpool.dataset.records import Reading, Source

__all__ = ["check_content", "check_regular", "suggestion"]

# Names of a folder that are looked at, and that are told. Guesses: a message is read by people.
MOST_NAMES, TOLD_NAMES = 10_000, 3

# What files begin with that are none of ours, whatever their name says. Text does not begin so.
_BEGINNINGS = {
    b"\x1f\x8b\x08": "is compressed: give it a name that ends in .gz",
    b"BZh91AY&SY": "is compressed: give it a name that ends in .bz2",
    b"\xfd7zXZ\x00": "is compressed: give it a name that ends in .xz",
    b"\x28\xb5\x2f\xfd": "is compressed: give it a name that ends in .zst",
    b"PK\x03\x04": "is a zip archive, as the files of Excel and OpenOffice are: unpack it, or save it as text",
    b"PAR1": "is a Parquet file: give it a name that ends in .parquet, or format='parquet'",
    b"ARROW1": "is an Arrow file: write it as Parquet",
}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Where the first two characters, if they are plain letters, have their zero bytes.
_ZEROS = {
    (False, True, True, True, False, True, True, True): "utf-32-le",
    (True, True, True, False, True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


def check_content(source: Source, reading: Reading, data: bytes, *, all_of_it: bool) -> None:
    """Whether a text file is one, as far as its first bytes say.

    Args:
        source: The file.
        reading: How it is to be read.
        data: Its first bytes, decompressed.
        all_of_it: There are no others.

    Raises:
        BadInput: It is something else.
    """
    for begins, what in _BEGINNINGS.items():
        if data.startswith(begins):
            raise BadInput(f"{source.path} is not what its name says: what is in it {what}")
    if not is_splittable(reading.encoding):
        return  # it is decoded, and so looked at, as a whole
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            name = encoding.upper()
            raise BadInput(f"{source.path} begins with the mark of {name}: give encoding={encoding!r}")
    zeros = tuple(byte == 0 for byte in data[:8])
    for pattern, encoding in _ZEROS.items():
        # UTF-16 in plain letters is valid UTF-8: each other character would be a zero byte.
        if zeros[: len(pattern)] == pattern:
            raise BadInput(f"{source.path} seems to be {encoding.upper()}: give encoding={encoding!r}")
    if source.format == "jsonl" and reading.batch not in ("lines", "line", "bytes"):
        _check_lines(source, data.removeprefix(codecs.BOM_UTF8), all_of_it)


def _check_lines(source: Source, data: bytes, all_of_it: bool) -> None:
    first, _, rest = data.lstrip().partition(b"\n")
    if not first.startswith(b"["):
        return
    if not all_of_it or rest.strip():
        try:
            json.loads(first)
            return  # a line that is a list: a bad record, and perhaps the only one
        except ValueError:
            if first.strip() != b"[" and first.rstrip()[-1:] not in b",{[":
                return
    raise BadInput(
        f"{source.path} is one JSON array; in JSON lines each line is an object: write it so "
        "(jq -c '.[]' in.json > in.jsonl)"
    )


def check_regular(path: str) -> os.stat_result:
    """What the system knows of a file.

    Raises:
        BadInput: It is a link that leads nowhere, or nothing that can be read twice.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        if not os.path.islink(path):
            raise
        target = os.readlink(path)
        where = (
            "which is not there" if isinstance(error, FileNotFoundError) else f"and so on ({error.strerror})"
        )
        raise BadInput(f"{path} is a link to {target}, {where}: mend it, or remove it") from None
    if not stat.S_ISREG(state.st_mode):
        is_pipe = stat.S_ISFIFO(state.st_mode) or stat.S_ISSOCK(state.st_mode)
        what = "a pipe or a socket" if is_pipe else "a device"
        raise BadInput(
            f"{path} is {what}, which can be read once and by one: write what comes from it into a file"
        )
    return state


def suggestion(path: str) -> str:
    """What is there instead: the rest of a sentence, or nothing."""
    folder, wanted = os.path.split(path)
    missing = False
    while folder and (has_magic(folder) or not os.path.isdir(folder)):
        above, wanted = os.path.split(folder)
        if above == folder:
            return ""
        folder, missing = above, True
    try:
        with os.scandir(folder or ".") as entries:
            names = [e.name for e, _ in zip(entries, range(MOST_NAMES), strict=False) if e.name[0] != "."]
    except OSError:
        return ""
    where = folder or "the current folder"
    if not names:
        return f"; {where} is empty"
    by_lower = {name.lower(): name for name in sorted(names)}
    close = difflib.get_close_matches(wanted.lower(), by_lower, 1)
    if close and not has_magic(wanted):
        return f"; did you mean {os.path.join(folder, by_lower[close[0]])}?"
    names.sort()
    has = ", ".join(names[:TOLD_NAMES])
    more = f" and {len(names) - TOLD_NAMES:,} more" if len(names) > TOLD_NAMES else ""
    return f"; there is no {wanted} in {where}, but {has}{more}" if missing else f"; {where} has {has}{more}"
