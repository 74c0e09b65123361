"""Where the items come from: the lines of a file or of standard input, paths, or a range of numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichpool.cli.endings import IO_FAILED, USAGE, Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import TextIO

__all__ = ["choose", "lines_of"]

# Files up to this size are read whole before the work starts, so that whichpool knows how many items remain
# (it decides better, and progress has an end). Larger ones stream. Bytes; a guess: 64 MB of lines are half a
# GB of str.
_WHOLE_BYTES = 64_000_000
# Standard input is read in pieces of up to so many bytes: what a pipe holds on Linux.
_PIECE_BYTES = 65_536
# So long it waits at a time for more, in milliseconds: Ctrl-C is seen within it.
_LOOK_UP_MS = 250


def choose(items: str | None, *, as_json: bool, pattern: str | None, numbers: int | None) -> Iterable[Any]:
    """The items that the command line asks for.

    Args:
        items: A path, ``-`` for standard input, or ``None``.
        as_json: Each line is a JSON value (blank lines are skipped) instead of a string.
        pattern: ``--glob``: the paths that match, sorted; ``**`` goes into folders.
        numbers: ``--range``: the integers from 0 up to this one.

    Returns:
        A sequence where the number of items is known, a lazy iterator where not.

    Raises:
        Ending: With code 2 where the sources contradict each other, with 3 where one cannot be read. A stream
            that breaks half way raises it while it is iterated.
    """
    named = [items is not None, pattern is not None, numbers is not None]
    if sum(named) > 1:
        raise Ending(USAGE, "items come from one place: ITEMS, --glob or --range")
    if as_json and (pattern is not None or numbers is not None):
        raise Ending(USAGE, "--json says how to read lines; with --glob and --range there are none")
    if numbers is not None:
        return range(numbers)
    if pattern is not None:
        return _paths(pattern)
    if items is None and (sys.stdin is None or sys.stdin.isatty()):
        raise Ending(USAGE, "no items: name a file of lines, - for standard input, --glob or --range")
    if items is None or items == "-":
        return _parsed(_standard_input(), "standard input", as_json)
    path = Path(items)
    try:
        whole = path.is_file() and path.stat().st_size <= _WHOLE_BYTES
        lines = path.open(encoding="utf-8-sig")
    except OSError as error:
        raise _unreadable(items, error) from error
    parsed = _parsed(lines, items, as_json)
    return list(parsed) if whole else parsed


def lines_of(name: str) -> Iterator[str]:
    """The lines of a file as they are read; with ``-``, of standard input as they come.

    They are UTF-8, without a byte order mark; bytes that are not come as Python has them in file names
    (``surrogateescape``), so that one such line does not spoil the others.

    Raises:
        Ending: With code 3 where it cannot be read; also half way.
    """
    if name == "-":
        return _parsed(_standard_input("surrogateescape"), "standard input", as_json=False)
    try:
        return _parsed(Path(name).open(encoding="utf-8-sig", errors="surrogateescape"), name, as_json=False)
    except OSError as error:
        raise _unreadable(name, error) from error


def _paths(pattern: str) -> list[str]:
    from glob import glob

    found = sorted(glob(pattern, recursive=True, include_hidden=False))
    if not found:
        raise Ending(IO_FAILED, f"nothing matches {pattern!r} (quote it so that the shell lets it be)")
    return found


def _standard_input(errors: str = "strict") -> Generator[str]:
    """The lines of standard input, each with its end as ``\\n``.

    It is not read through ``sys.stdin``: a thread may be waiting for more when the interpreter ends, and holds
    that object's lock then, which the interpreter wants, and aborts. Nobody wants anything of a thread that waits
    in ``os.read``.

    Raises:
        Ending: With code 3 where there is no standard input.
    """
    if sys.stdin is None:
        raise Ending(IO_FAILED, "cannot read standard input: it is closed")
    from io import UnsupportedOperation

    try:
        number = sys.stdin.fileno()
    except UnsupportedOperation:
        # Not a real file (a test runner, an embedding).
        buffer = sys.stdin.buffer
        return _lines(lambda: buffer.read(_PIECE_BYTES), errors)
    there_is = _arrivals(number)

    def read() -> bytes:
        while not there_is():
            pass
        return os.read(number, _PIECE_BYTES)

    return _lines(read, errors)


def _arrivals(number: int) -> Callable[[], bool]:
    """What waits for something to read, but not for long.

    A signal that arrives after Python has looked for one and before it waits would not be seen until more is read.
    """
    import select

    if not hasattr(select, "poll"):
        return lambda: True
    poller = select.poll()
    poller.register(number, select.POLLIN)
    return lambda: bool(poller.poll(_LOOK_UP_MS))


def _lines(read: Callable[[], bytes], errors: str) -> Generator[str]:
    """Text in pieces of bytes, as lines: UTF-8 whatever the locale says, like files; without a byte order mark."""
    from codecs import getincrementaldecoder
    from io import IncrementalNewlineDecoder

    decode = IncrementalNewlineDecoder(getincrementaldecoder("utf-8-sig")(errors), translate=True).decode
    # The beginning of a line that has not ended: in parts, since a long one comes in many pieces.
    begun: list[str] = []
    while piece := read():
        first, *rest = decode(piece).split("\n")
        begun.append(first)
        if rest:
            yield "".join(begun) + "\n"
            begun = [rest.pop()]
            for line in rest:
                yield line + "\n"
    begun.append(decode(b"", final=True))
    last = "".join(begun)
    if last:
        yield last


def _parsed(lines: TextIO | Generator[str], name: str, as_json: bool) -> Iterator[Any]:
    """One item a line; the stream is closed at the end."""
    from contextlib import closing
    from json import JSONDecodeError, loads

    number = 0
    with closing(lines):
        try:
            for line in lines:
                number += 1
                if not as_json:
                    yield line.removesuffix("\n")
                elif not line.isspace():
                    yield loads(line)
        except JSONDecodeError as error:
            raise Ending(
                IO_FAILED, f"{name}, line {number} is not a JSON value: {error.msg} (column {error.colno})"
            ) from error
        except UnicodeDecodeError as error:
            # The decoder reads ahead, so the line is only known to be after the last one that was given out.
            raise Ending(IO_FAILED, f"{name} is not UTF-8 text, after line {number}: {error}") from error
        except OSError as error:
            raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> Ending:
    return Ending(IO_FAILED, f"cannot read {name}: {error.strerror or error}")
