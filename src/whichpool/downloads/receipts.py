"""Receipts as JSON lines: written as they come, read lazily, and a folder checked against them.

    {"version": 1, "url": "https://example.org/a.iso", "outcome": "fetched", "path": "a.iso", "bytes": 5200, ...}

One line is one `Receipt`; fields that have nothing to say are left out, and within one version fields are only added.
Several runs append to one file; of lines about the same path, the last is what holds.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import IO, Any

import whichpool
from whichpool.downloads.digests import Hasher, algorithms, differing
from whichpool.downloads.failures import Unsafe
from whichpool.downloads.names import safe_name
from whichpool.downloads.records import Receipt

__all__ = ["BadReceipt", "Receipts", "Verdict", "from_line", "read_receipts", "to_dict", "verify"]

VERSION = 1

THREADS_PER_CORE = 2
"""Files that are hashed at once: one waits for the disk while another is hashed. A guess."""

# What is read of a file at a time while it is hashed. Bytes; large enough that the GIL is hardly asked for.
_PIECE_BYTES = 1 << 20

_FIELDS = {one.name: one for one in fields(Receipt)}


class BadReceipt(ValueError):
    """A line is no receipt; the message has its number."""


def to_dict(receipt: Receipt) -> dict[str, Any]:
    """As it stands in the file: without what has nothing to say."""
    found: dict[str, Any] = {"version": VERSION}
    for name in _FIELDS:
        value = getattr(receipt, name)
        if value is None or (name in ("digests", "checked") and not value):
            continue
        found[name] = dict(value) if name == "digests" else list(value) if name == "checked" else value
    return found


class Receipts:
    """A file that receipts are appended to. Thread-safe, and several processes may append to one file.

    Each line is in the system's hands when `add` returns, so a program that is killed afterwards loses none. The half
    of a line, which a power cut may have left, is cut off.

    Args:
        path: Made if it is not there. What is no regular file (a pipe, ``/dev/stdout``) is only written to.

    Raises:
        BadReceipt: What is there does not begin with a receipt: it is some other file, and is left alone.
        OSError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = Lock()
        # A pipe that were opened for reading too would never tell that its reader has gone.
        special = self.path.exists() and not self.path.is_file()
        flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | (os.O_WRONLY if special else os.O_RDWR)
        self._file = os.open(path, flags, 0o666)
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        try:
            if self._regular:
                with self._alone():
                    self._mend()
        except BaseException:
            os.close(self._file)
            raise

    def add(self, receipt: Receipt) -> None:
        """Append one; all of it or nothing.

        Raises:
            OSError: The disk is full, say.
        """
        line = (json.dumps(to_dict(receipt), ensure_ascii=True, allow_nan=False) + "\n").encode()
        with self._lock, self._alone():
            left = memoryview(line)
            try:
                while left:
                    left = left[os.write(self._file, left) :]
            except OSError:
                if self._regular:
                    written = len(line) - len(left)
                    os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise

    def close(self) -> None:
        """Bring it to the disk, and close it. More than once does no harm."""
        with self._lock:
            if self._file < 0:
                return
            try:
                if self._regular:
                    os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Receipts:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _alone(self) -> _Flock:
        return _Flock(self._file if self._regular else None)

    def _mend(self) -> None:
        """See that the file is one of receipts and ends with a whole line."""
        size = os.fstat(self._file).st_size
        if not size:
            return
        with open(os.dup(self._file), "rb") as file:
            file.seek(0)
            first = file.readline()
            try:
                from_line(first.decode())
            except ValueError as error:
                if not _is_torn(first):
                    raise BadReceipt(f"{self.path} is no file of receipts: its line 1 {error}") from None
            # The last line, found from the end: the file may be large.
            tail, at = b"", size
            while at and b"\n" not in tail:
                at = max(0, at - 65_536)
                file.seek(at)
                tail = file.read(size - at)
        torn = tail.rpartition(b"\n")[2]
        if not torn:
            return
        try:
            from_line(torn.decode())
        except ValueError:
            os.ftruncate(self._file, size - len(torn))
        else:
            os.write(self._file, b"\n")  # whole but for its end


def _is_torn(line: bytes) -> bool:
    """Whether it is the half of a line that `Receipts` writes, at the end of a file."""
    begin = b'{"version": '
    return not line.endswith(b"\n") and line[: len(begin)] == begin[: len(line)]


class _Flock:
    """A file for one process at a time; nothing where there is no file that could be locked."""

    def __init__(self, file: int | None) -> None:
        self._file = file

    def __enter__(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def from_line(line: str) -> Receipt:
    """One line as a receipt. Fields that this version does not know are passed over.

    Raises:
        ValueError: It is none; the message goes on where "line 3" stops.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(found, dict) or not isinstance(found.get("url"), str):
        raise ValueError("has no 'url'")
    if not isinstance(found.get("outcome"), str):
        raise ValueError("has no 'outcome'")
    version = found.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(f"is of version {version!r}; this whichpool knows {VERSION}")
    values = {name: _field(name, found[name]) for name in _FIELDS if name in found}
    return Receipt(**values)


def _field(name: str, value: Any) -> Any:
    if name == "digests":
        if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
            return value
    elif name == "checked":
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return tuple(value)
    elif value is None and _FIELDS[name].default is None:
        return None
    elif name in ("bytes", "fetched_bytes", "attempts", "segments", "status"):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    elif name == "elapsed_s":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif isinstance(value, bool if name == "resumed" else str):
        return value
    raise ValueError(f"has a {name!r} that cannot be: {str(value)[:50]!r}")


def read_receipts(path: str | os.PathLike[str]) -> Iterator[Receipt]:
    """The receipts of a file, as it is read. A torn last line is left out.

    Raises:
        BadReceipt: A line before the end is none.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        yield from _read(file, str(path))


def _read(lines: IO[bytes], source: str) -> Iterator[Receipt]:
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            yield from_line(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:
            if _is_torn(raw) or (number > 1 and not raw.endswith(b"\n")):
                return  # it is the last
            said = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise BadReceipt(f"{source}, line {number}: it {said}") from None


# --- a folder beside its receipts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a receipt says of a file, beside what is there."""

    path: str
    """Relative to the folder; the URL, where no file was made."""
    state: str
    """``"ok"``; ``"missing"``; ``"size"`` or ``"digest"``: it is another; ``"unverifiable"``: the receipt has no digest
    that can be computed here (the size is right, if it has one); ``"unreadable"``; ``"failed"``: it was never fetched;
    ``"extra"``: no receipt is about it."""
    message: str = ""
    """For people."""

    @property
    def good(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self.state in ("ok", "unverifiable", "extra")


_NO_DIGESTS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Promise:
    """What is kept of each receipt, to compare with."""

    folder: str
    path: str
    bytes: int | None
    digests: Any
    failed: str | None = None


def verify(
    folder: str | os.PathLike[str], receipts: Iterable[Receipt], *, extras: bool = False
) -> Iterator[Verdict]:
    """Compare the files of a folder with receipts; verdicts come as they are found, in the order of the receipts.

    All receipts are read before the first verdict, since a later line about a path is what holds. Files are hashed
    several at a time. A path that leads out of the folder, by ``..`` or by a symbolic link, is not followed.

    Args:
        folder: Where the files are.
        receipts: From `read_receipts`, say.
        extras: At the end, say which other files are there.
    """
    root = os.path.realpath(folder)
    known: dict[str, _Promise] = {}
    failed: dict[str, str] = {}
    for receipt in receipts:
        if receipt.path is not None and receipt.ok:
            known[receipt.path] = _Promise(
                root, receipt.path, receipt.bytes, dict(receipt.digests) or _NO_DIGESTS
            )
            failed.pop(receipt.url, None)
        elif not receipt.ok:
            failed[receipt.url] = receipt.message or receipt.failure or "its download failed"
    # Reading waits and hashing lets go of the GIL: it is known beforehand that threads are what pays.
    threads = THREADS_PER_CORE * max(1, round(whichpool.doctor(measure=False).cores))
    with whichpool.imap(_compare, known.values(), plan=(0, threads), shared="ok") as verdicts:
        yield from verdicts
    for url, message in failed.items():
        yield Verdict(url, "failed", message)
    if extras:
        yield from (Verdict(path, "extra") for path in _others(root, known))


def _compare(promise: _Promise) -> Verdict:
    path = promise.path
    try:
        if safe_name(path) != path:
            return Verdict(path, "unreadable", "the downloader makes no such name")
        where = os.path.join(promise.folder, path)
        if os.path.realpath(where) != where:
            return Verdict(path, "unreadable", "there is a symbolic link on the way")
        # Not blocking, so that a pipe in its place does not hold this up.
        with open(
            os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", 0
        ) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                return Verdict(path, "missing", "it is no regular file")
            if promise.bytes is not None and about.st_size != promise.bytes:
                return Verdict(path, "size", f"{about.st_size:,} bytes, not {promise.bytes:,}")
            names = [name for name in promise.digests if name in algorithms()]
            if not names:
                return Verdict(path, "unverifiable", "the receipt has no digest")
            hasher = Hasher(names)
            piece = bytearray(_PIECE_BYTES)
            while count := file.readinto(piece):
                hasher.update(memoryview(piece)[:count])
    except Unsafe as error:
        return Verdict(path, "unreadable", str(error))
    except (FileNotFoundError, NotADirectoryError):
        return Verdict(path, "missing", "it is not there")
    except (OSError, ValueError) as error:
        return Verdict(path, "unreadable", getattr(error, "strerror", None) or str(error))
    wrong = differing(promise.digests, hasher.digests())
    return Verdict(path, "digest", f"its {', '.join(wrong)} differs") if wrong else Verdict(path, "ok")


def _others(root: str, known: dict[str, _Promise]) -> Iterator[str]:
    for place, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.relpath(os.path.join(place, name), root).replace(os.sep, "/")
            if path not in known:
                yield path
