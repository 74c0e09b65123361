"""The three standard streams: what to do where one is closed, full, or has nobody at its other end."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from whichpool.cli.endings import IO_FAILED, Ending, ReaderGone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

__all__ = ["complete", "not_written", "output", "printing", "talking"]

OUTPUT = "standard output"


def complete() -> None:
    """Put the null device in the place of standard streams that are closed (``>&-``).

    Otherwise the next file or socket that is opened would get the number, and be taken for the stream by whoever
    goes by numbers: worker processes, and C code. ``sys.stdin`` and ``sys.stdout`` stay ``None``: who needs them
    says so. What would go to standard error is dropped.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)
            else:
                os.dup2(null, number)
                os.close(null)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives


def output() -> TextIO:
    """Standard output.

    Raises:
        Ending: With code 3 where there is none.
    """
    if sys.stdout is None:
        raise Ending(IO_FAILED, f"cannot write {OUTPUT}: it is closed")
    return sys.stdout


def not_written(name: str, error: OSError) -> Ending:
    """What a failed write comes to: nothing, where only the reader has gone; or code 3."""
    if isinstance(error, BrokenPipeError):
        return ReaderGone()
    return Ending(IO_FAILED, f"cannot write {name}: {error.strerror or error}")


@contextmanager
def printing() -> Iterator[None]:
    """For a block that does nothing but print: all of it has gone out at its end.

    Raises:
        ReaderGone: The other end of the pipe was closed.
        Ending: With code 3 where it cannot be written.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _forget(sys.stdout)
        raise not_written(OUTPUT, error) from error


@contextmanager
def talking() -> Iterator[None]:
    """For a block that says something on standard error: where nobody can hear it, nothing is said."""
    try:
        yield
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)


def _forget(stream: TextIO) -> None:
    """Drop what is still held back: the interpreter would try again at its end, and complain."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
