"""The file of a journal: what is in it, how it is read again, and what of it can be trusted.

    MAGIC, nonce (8 bytes), then records: MARK, length, check, payload

The first payload is the heading (JSON), which says whose results these are; each other one is a finished item: its
index, the fingerprint of the item, the pickle of the result. The check is a digest of the payload, of where the record
stands in the file and of the file's nonce: no record that was copied, moved or torn passes for one. A record counts if
its check does. What comes after the last good one was torn by a crash and is cut off when the file is opened; damage
before that is left out, so that its items run again.

Records are written at once, so that a process that is killed loses none; they are brought to the disk in groups
(`sync`), so that a machine that goes down loses those of the last moment.
"""

from __future__ import annotations

import json
import os
import pickle
from contextlib import suppress
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from stat import S_ISREG
from struct import Struct
from threading import Lock

from whichpool.errors import JournalMismatch, PlanError
from whichpool.files import lock_soon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["Journal", "dump"]

FAMILY = b"whichpool journal "
MAGIC = FAMILY + b"1\n"
NONCE_BYTES = 8
MARK = b"\xf5wpj"
HEAD = Struct("<4sQ8s")  # MARK, bytes of the payload, check
ITEM = Struct("<Q16s")  # index, fingerprint
# Bytes of a check: damage goes unseen once in 2**64.
CHECK_BYTES = 8
FIRST = len(MAGIC) + NONCE_BYTES


class Journal:
    """An open journal, this process's alone.

    Args:
        path: Made if it is not there.
        heading: Whose results these are.

    Attributes:
        index: Where the results that were there stand in the file, by the item's index.
        damaged: Bytes before the last good record that are none.

    Raises:
        PlanError: It cannot be opened or written, is no file, or another process uses it.
        JournalMismatch: It is no journal, or one of something else.
    """

    def __init__(self, path: str, heading: dict[str, Any]) -> None:
        self.path = path
        self.index: dict[int, int] = {}
        self.damaged = 0
        self._lock = Lock()  # of who writes
        self._syncing = Lock()  # of who brings it to the disk; nobody who has results waits for that
        self._dirty = False
        self._fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:
            raise PlanError(
                f"journal={path!r} cannot be opened: {getattr(error, 'strerror', error)}"
            ) from error
        try:
            self._take(fd)
            self._read(fd, heading)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    # -- opening -------------------------------------------------------------------------------------------------

    def _take(self, fd: int) -> None:
        """Make it this process's own, until it is closed, or the process ends in whatever way."""
        if not S_ISREG(os.fstat(fd).st_mode):
            raise PlanError(f"journal={self.path!r} is not a regular file")
        try:
            if lock_soon(fd):
                return
        except ImportError:  # pragma: no cover  (Windows)
            raise PlanError("journal= needs file locks, which this system does not have") from None
        except OSError as error:
            raise PlanError(f"journal={self.path!r} cannot be locked: {error.strerror}") from error
        raise PlanError(
            f"journal={self.path!r} is in use by another run; give this one a path of its own, or wait"
        )

    def _read(self, fd: int, heading: dict[str, Any]) -> None:
        size = os.fstat(fd).st_size
        end = 0
        if size:
            with mmap(fd, size, access=ACCESS_READ) as data:
                end = self._look_through(data, heading)
        try:
            if end < size:
                os.ftruncate(fd, end)
            self._end = end
            if not end:
                self._nonce = os.urandom(NONCE_BYTES)
                text = json.dumps(heading).encode()
                start = MAGIC + self._nonce
                self._write(fd, start + self._record(len(start), text))
                os.fsync(fd)
                _sync_folder(self.path)
        except OSError as error:
            raise self._no_room(error) from error

    def _look_through(self, data: mmap, heading: dict[str, Any]) -> int:
        """Note where the results are; returns where the last good record ends, 0 if not even the heading is there."""
        if len(FAMILY) <= len(data) < len(MAGIC) and data[:] == MAGIC[: len(data)]:
            return 0  # torn while it was made
        if data[: len(MAGIC)] != MAGIC:
            ours = data[: len(FAMILY)] == FAMILY
            raise self.mismatch(
                "it was written by another version of whichpool"
                if ours
                else "it is no journal, and was left as it is"
            )
        self._nonce = bytes(data[len(MAGIC) : FIRST])
        first = self._whole(data, FIRST)
        if first is None:
            if data.find(MARK, FIRST + 1) < 0 and self._is_torn(data, FIRST):
                return 0
            raise self.mismatch("its heading is damaged")
        self._compare(json.loads(data[FIRST + HEAD.size : first]), heading)
        end = place = first
        while 0 <= place < len(data):
            after = self._whole(data, place)
            if after is None or after - place < HEAD.size + ITEM.size:
                place = data.find(MARK, place + 1)
                continue
            self.damaged += place - end
            self.index[ITEM.unpack_from(data, place + HEAD.size)[0]] = place
            end = place = after
        return end

    def _whole(self, data: Any, place: int) -> int | None:
        """Where the record that begins here ends; ``None``: there is no good one."""
        if place + HEAD.size > len(data):
            return None
        mark, length, check = HEAD.unpack_from(data, place)
        begin = place + HEAD.size
        if mark != MARK or length > len(data) - begin:
            return None
        with memoryview(data) as view, view[begin : begin + length] as payload:
            return begin + length if self._check(place, payload) == check else None

    @staticmethod
    def _is_torn(data: mmap, place: int) -> bool:
        """Whether the record goes on beyond the end of the file."""
        if place + HEAD.size > len(data):
            return True
        return int(HEAD.unpack_from(data, place)[1]) > len(data) - place - HEAD.size

    def _compare(self, then: dict[str, Any], now: dict[str, Any]) -> None:
        for what in _differences(then, now):
            raise self.mismatch(what)

    def mismatch(self, what: str) -> JournalMismatch:
        """The error that says what differs, and what to do."""
        return JournalMismatch(
            f"the journal {self.path!r} cannot be used: {what}. Give this call another path, or delete the file "
            "if its results are not wanted any more"
        )

    # -- records -------------------------------------------------------------------------------------------------

    def _check(self, place: int, payload: Any) -> bytes:
        found = blake2b(digest_size=CHECK_BYTES, key=self._nonce)
        found.update(place.to_bytes(8, "little") + len(payload).to_bytes(8, "little"))
        found.update(payload)
        return found.digest()

    def _record(self, place: int, payload: bytes) -> bytes:
        return HEAD.pack(MARK, len(payload), self._check(place, payload)) + payload

    def load(self, index: int) -> tuple[bytes, bytes]:
        """The fingerprint of a recorded item, and the pickle of its result.

        Raises:
            JournalMismatch: The file is not any more what it was when it was opened.
        """
        place = self.index[index]
        head = os.pread(self._fd, HEAD.size, place)
        payload = b""
        if len(head) == HEAD.size:
            payload = _read_all(self._fd, HEAD.unpack(head)[1], place + HEAD.size)
        if len(payload) < ITEM.size or head != self._record(place, payload)[: HEAD.size]:
            raise self.mismatch("it was changed while it was read")
        return ITEM.unpack_from(payload)[1], payload[ITEM.size :]

    def append(self, results: list[tuple[int, bytes, bytes]]) -> bool:
        """Record (index, fingerprint, pickle) of finished items; returns whether they are to be brought to the disk.

        Raises:
            OSError: They cannot be written; what was recorded before is as it was.
        """
        with self._lock:
            if self._fd < 0 or not results:
                return False
            made, ends = [], [self._end]
            for index, print_, data in results:
                made.append(self._record(ends[-1], ITEM.pack(index, print_) + data))
                ends.append(ends[-1] + len(made[-1]))
            try:
                self._write(self._fd, b"".join(made), ends)
            except OSError as error:
                raise self._no_room(error) from error
            was, self._dirty = self._dirty, True
            return not was

    def _write(self, fd: int, data: bytes, ends: Sequence[int] = ()) -> None:
        """All of it, or of its records, which end at these places, those for which there is room."""
        view, place = memoryview(data), self._end
        try:
            while view:
                written = os.pwrite(fd, view, place)
                view, place = view[written:], place + written
        except BaseException:
            self._dirty = self._dirty or len(ends) > 1
            self._end = max([end for end in ends if end <= place], default=self._end)
            with suppress(OSError):  # then the half of a record stays, which is no record
                os.ftruncate(fd, self._end)
            raise
        self._end = place

    def _no_room(self, error: OSError) -> OSError:
        return OSError(
            error.errno,
            f"the journal cannot be written ({error.strerror}); what it had is kept, and the same call goes on from "
            "there once it can be",
            self.path,
        )

    def sync(self) -> None:
        """Bring what was recorded to the disk.

        Raises:
            OSError: The disk does not take it.
        """
        with self._syncing:
            with self._lock:
                fd, dirty, self._dirty = self._fd, self._dirty, False
            if fd >= 0 and dirty:
                try:
                    os.fsync(fd)
                except OSError as error:
                    raise self._no_room(error) from error

    def close(self) -> None:
        """Bring it to the disk and let go of it; nothing is recorded any more.

        Raises:
            OSError: As `sync`.
        """
        try:
            self.sync()
        finally:
            with self._syncing, self._lock:
                fd, self._fd = self._fd, -1
                if fd >= 0:
                    os.close(fd)


def dump(result: object) -> bytes:
    """The pickle of a result: by reference, since the same program will read it; by value what has no name.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    try:
        return pickle.dumps(result, protocol=5)
    except Exception:
        from whichpool._worker.byvalue import dumps

        return dumps(result)


def _read_all(fd: int, length: int, place: int) -> bytes:
    """So many bytes, or what there is of them."""
    data = os.pread(fd, length, place)
    while len(data) < length:  # a system gives 2 GB at once, no more
        more = os.pread(fd, length - len(data), place + len(data))
        if not more:
            break
        data += more
    return data


def _sync_folder(path: str) -> None:
    """The file's name is to be on the disk as well."""
    fd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems cannot
    finally:
        os.close(fd)


def _differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """What differs between two headings, in words, what says the most first."""
    if then.get("python") != now["python"]:
        yield f"it was written by {then.get('python')}, and this is {now['python']}, whose byte code is not comparable"
    if then.get("name") != now["name"]:
        yield f"its results are of the function {then.get('name')}, not of {now['name']}"
    for key, text in (("code", "the code of {}"), ("values", "the value of {}, which the function reads,")):
        old, new = then.get(key, {}), now[key]
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if changed:
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            yield f"{text.format(changed[0])} is not what it was{more}"
    if then.get("seed") != now["seed"]:
        yield f"it was made with seed={then.get('seed')!r}, not seed={now['seed']!r}"
    if then.get("iterables") != now["iterables"]:
        yield f"the function was given items from {then.get('iterables')} iterables, not from {now['iterables']}"
