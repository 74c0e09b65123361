"""What the file system says, in words; and whether there is room for what is still to come."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable
from math import inf
from time import monotonic

from whichpool.downloads.failures import DiskFailed

__all__ = ["Reservation", "Space", "disk_failed", "fit_at_once", "is_full"]

FULL = {errno.ENOSPC, errno.EDQUOT}

_WHAT_TO_DO = {
    errno.ENOSPC: "the disk is full. What is there is kept: make room, and run it again",
    errno.EDQUOT: "your quota is used up. What is there is kept: make room, and run it again",
    errno.EACCES: "not allowed. Look at the owner and the mode of the folder, or take another one",
    errno.EPERM: "not allowed. Look at the owner, the mode and the attributes, or take another folder",
    errno.EROFS: "the file system can only be read. Take another folder",
    errno.EIO: "the disk reports an error. Look into the system's log before you go on",
    errno.ENAMETOOLONG: "the name is too long for this file system. Give a shorter one",
    errno.EISDIR: "a folder has that name. Move it, or give another name",
    errno.ENOTDIR: "a file, or a symbolic link (which is not followed), is where a folder should be",
    errno.ELOOP: "a symbolic link has that name. It is not followed: remove it, or give another name",
    errno.EFBIG: "the file is too large for this file system, or for the limit of this process",
    errno.EMFILE: "this process has too many open files. Raise the limit (ulimit -n), or fetch fewer at once",
    errno.ENFILE: "the system has too many open files. Fetch fewer at once",
    errno.EEXIST: "a file of that name appeared meanwhile. It is left alone: move it, or allow overwriting",
}


def disk_failed(error: OSError, path: str) -> DiskFailed:
    """The failure of one file, with what can be done about it; ``raise ... from error``."""
    reason = _WHAT_TO_DO.get(error.errno or 0, error.strerror or str(error))
    return DiskFailed(f"{path}: {reason}")


def is_full(failure: BaseException) -> bool:
    """Whether there is no room: others would fail for it too."""
    cause = failure.__cause__
    return isinstance(failure, DiskFailed) and isinstance(cause, OSError) and cause.errno in FULL


USED_BY_ONE, USED_BESIDES = 4, 24
"""Descriptors: of a file in progress (its connection, part, journal and folder), and of all else that may be opened
meanwhile. A guess for the latter, which was enough with limits from 48 to 256."""


def fit_at_once(wanted: int) -> int:
    """How many files can be in progress within the limit of open files (``ulimit -n``): ``wanted`` at the most."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= USED_BY_ONE * (wanted + 256):
        return wanted
    return max(1, min(wanted, (limit - _open_files() - USED_BESIDES) // USED_BY_ONE))


def _open_files() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return USED_BESIDES


FRESH_S = 1.0
"""Seconds for which a look at the free space is good, as long as it shows plenty: thousands of small files a second
would each ask for it otherwise. A guess: at 1 GB/s, what others write meanwhile is a gigabyte."""


BELIEVED_BYTES, BELIEVED_SHARE = 64_000_000, 64
"""What a server says of a file's size keeps room from other hosts' files for as much again as it has sent, and at first
for so many bytes, or this part of what is free where that is less. Guesses: with 64 files in progress, of which none
has brought a byte, a disk is never full of words."""


class Reservation:
    """Room for what one file still lacks. What is written is not reserved any more, since it is not free any more."""

    __slots__ = ("_here", "_host", "_left", "_look_at", "_path", "_space")

    def __init__(self, space: Space, left: int, here: int, host: str, path: str) -> None:
        self._space = space
        self._left = left
        self._here = here
        self._host = host
        self._path = path
        self._look_at = max(BELIEVED_BYTES, 2 * here)

    def believed(self, free: int) -> int:
        """What of it counts against the files of other hosts."""
        return min(self._left, max(self._here, min(BELIEVED_BYTES, free // BELIEVED_SHARE)))

    def counts(self, host: str, free: int) -> int:
        """What of it counts against a file of that host."""
        return self._left if host == self._host else self.believed(free)

    def used(self, count: int) -> None:
        """So many bytes were written.

        Raises:
            DiskFailed: The rest does not fit any more, beside what others have come to; looked at whenever the file has
                doubled.
        """
        space = self._space
        with space.lock:
            count = min(count, self._left)
            self._left -= count
            self._here += count
            space.reserved -= count
            if self._here >= self._look_at and self._left:
                space.look(self._left, self._path, self._host, self)
                self._look_at = 2 * self._here

    def drop(self) -> None:
        """The file is done, or given up."""
        space = self._space
        with space.lock:
            space.reserved -= self._left
            self._left = 0
            space.held.discard(self)


class Space:
    """The room on the file system of one folder, for all files of a run.

    How much is free is looked at anew when `FRESH_S` have passed, and whenever what was seen then may be too little.
    Nothing is allocated for what a server merely says. Files of one host count for each other as large as it says they
    are; for files of other hosts, only as far as `Reservation.believed` goes: who lies harms files of his own.

    Args:
        folder: A descriptor of the folder; it stays its owner's.
        name: The folder, for messages.
        now: The clock.

    Attributes:
        reserved: Bytes, as servers say; changed under ``lock`` by the reservations.
        held: The reservations of files in progress; likewise.
    """

    def __init__(self, folder: int, name: str, now: Callable[[], float] = monotonic) -> None:
        self._folder = folder
        self._name = name
        self._now = now
        self._seen = 0  # free, at the last look
        self._since = 0  # set aside since then, whether it was given back or not
        self._look_at = -inf
        self.lock = threading.Lock()
        self.reserved = 0
        self.held: set[Reservation] = set()

    def reserve(self, count: int, path: str, host: str = "", here: int = 0) -> Reservation:
        """Set so many bytes aside, before the first of them is fetched.

        Args:
            count: As the server says.
            path: The file, for messages.
            host: Who says so.
            here: What is there of it already.

        Raises:
            DiskFailed: There are not so many.
        """
        with self.lock:
            now = self._now()
            if now >= self._look_at or count > self._seen - self._since:
                self.look(count, path, host)
                self._since = self.reserved
                self._look_at = now + FRESH_S
            self._since += count
            self.reserved += count
            made = Reservation(self, count, here, host, path)
            self.held.add(made)
        return made

    def look(self, count: int, path: str, host: str, whose: Reservation | None = None) -> None:
        """See whether so much is free for one more file, or for the rest of the one ``whose`` it is; under ``lock``.

        Raises:
            DiskFailed: It is not.
        """
        room = os.fstatvfs(self._folder)
        free = self._seen = room.f_bavail * room.f_frsize
        if count <= free - self.reserved:
            return
        others = sum(one.counts(host, free) for one in self.held if one is not whose)
        if count > free - others:
            aside = f", {others:,} of them set aside for other files of this run" if others else ""
            failure = DiskFailed(
                f"{path}: it needs {count:,} bytes, and {self._name} has {free:,} free{aside}. "
                "Make room, and run it again"
            )
            failure.said = count > free
            raise failure
