"""Results as lines on standard output, and files that are whole or not there at all."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.endings import IO_FAILED, Ending
from whichpool.cli.standard import not_written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

__all__ = ["Writer", "is_special", "result_stream", "whole_file"]

# JSON has an escape for a lone surrogate (a file name that is not UTF-8), and this handler happens to write
# it.
_ERRORS = "backslashreplace"


class Writer:
    """Writes each result as one line.

    Args:
        stream: Where to.
        name: What errors call it.
        as_text: ``str(result)`` with its line breaks escaped, for people, instead of JSON.
        flush: Whether each line goes out at once.
    """

    def __init__(self, stream: TextIO, name: str, *, as_text: bool, flush: bool) -> None:
        self._stream = stream
        self._name = name
        self._as_text = as_text
        self._flush = flush
        self.failures = 0
        self.first_failure: whichpool.Failure | None = None

    def write(self, index: int, result: object) -> None:
        """Write one result.

        Args:
            index: The item's position, from 0.
            result: What the function returned, or a ``Failure``.

        Raises:
            Ending: With code 3 where the result is nothing that JSON holds, or the stream cannot be written.
            ReaderGone: Where the other end of the pipe was closed.
        """
        if isinstance(result, whichpool.Failure):
            self.failures += 1
            self.first_failure = self.first_failure or result
        line = _text(result) if self._as_text else _json(index, result)
        try:
            self._stream.write(line + "\n")
        except OSError as error:
            raise not_written(self._name, error) from error
        if self._flush:
            self.flush()

    def flush(self) -> None:
        """Hand over what is still held back; raises as `write` does."""
        try:
            self._stream.flush()
        except OSError as error:
            raise not_written(self._name, error) from error


def _text(result: object) -> str:
    if isinstance(result, whichpool.Failure):
        result = f"! {type(result.error).__qualname__}: {result.error} (item {result.index}: {result.item})"
    return str(result).replace("\r", "\\r").replace("\n", "\\n")


def _json(index: int, result: object) -> str:
    from json import dumps

    if isinstance(result, whichpool.Failure):
        result = {"whichpool_failure": _failure(result)}
    try:
        return dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Ending(
            IO_FAILED,
            f"the result of item {index} cannot be written as JSON: {error}\n"
            "  let the function return what JSON holds (dict, list, str, numbers, True, False, None), "
            "or use --text for str(result)",
        ) from error


def _failure(failure: whichpool.Failure) -> dict[str, Any]:
    return {
        "index": failure.index,
        "item": failure.item,
        "type": type(failure.error).__qualname__,
        "message": str(failure.error),
        "traceback": failure.traceback,
    }


@contextmanager
def result_stream() -> Iterator[TextIO]:
    """Standard output for the results alone.

    While it is open, whatever else is printed, here or by worker processes that start meanwhile, goes to standard
    error: a ``print`` left in the function does not end up between the results. Where standard output is closed,
    what is given can be written to, but nobody will read it.
    """
    if sys.stdout is None:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            yield nowhere
        return
    try:
        number = sys.stdout.fileno()
        talk = sys.stderr.fileno()
    except OSError:
        # Not a real file (a test runner, an embedding): only what Python itself prints can be led away.
        stream = sys.stdout
        with redirect_stdout(sys.stderr):
            yield stream
        return
    sys.stdout.flush()
    saved = os.dup(number)
    stream = open(os.dup(number), "w", encoding="utf-8", errors=_ERRORS, newline="\n")  # noqa: SIM115
    os.dup2(talk, number)
    try:
        yield stream
    finally:
        # After a broken pipe there is a rest that nobody will read; closing must not complain about it again.
        with suppress(OSError):
            stream.close()
        try:
            sys.stdout.flush()
        except OSError:
            # Nobody can be told, and it is no result either: it must not go out there later.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), number)
            sys.stdout.flush()
        os.dup2(saved, number)
        os.close(saved)


def is_special(path: str | Path) -> bool:
    """Whether it is there, and no regular file: ``/dev/null``, a named pipe, a directory."""
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def whole_file(name: str) -> Iterator[TextIO]:
    """A file that appears under its name only once it is complete.

    It is written beside its place, and moved there when the block ends without an exception; otherwise it is
    removed, and what was there before stays. A name that is not a regular file (``/dev/null``, a named pipe)
    is written as it is.

    Args:
        name: The path. A symbolic link stays one; the file that it leads to is replaced.

    Raises:
        Ending: With code 3 where the file cannot be made or moved, *before* the work starts if it can be
            known.
    """
    path = Path(os.path.realpath(name))
    try:
        special = is_special(path)
        # A directory is refused here by open(), with the system's own words. In a container the process may well
        # have the number of one that was killed, and left its part behind.
        part = path if special else path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        stream = part.open("w" if special else "x", encoding="utf-8", errors=_ERRORS, newline="\n")
    except OSError as error:
        raise Ending(IO_FAILED, f"cannot write {name}: {error.strerror or error}") from error
    try:
        yield stream
        if not special:
            stream.flush()
            os.fsync(stream.fileno())
            if path.exists():
                part.chmod(path.stat().st_mode & 0o7777)
        stream.close()
        if not special:
            part.replace(path)
    except OSError as error:
        raise Ending(IO_FAILED, f"cannot write {name}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            stream.close()
        if not special:
            with suppress(FileNotFoundError):
                part.unlink()
