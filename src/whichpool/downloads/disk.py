"""What the file system says, in words; and whether there is room for what is still to come."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from math import inf
from time import monotonic

from whichpool.downloads.failures import DiskFailed

__all__ = ["Reservation", "Space", "disk_failed", "is_full"]

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


FRESH_S = 1.0
"""Seconds for which a look at the free space is good, as long as it shows plenty: thousands of small files a second
would each ask for it otherwise. A guess: at 1 GB/s, what others write meanwhile is a gigabyte."""


class Reservation:
    """Room for what one file still lacks. What is written is not reserved any more, since it is not free any more."""

    __slots__ = ("_left", "_space")

    def __init__(self, space: Space, left: int) -> None:
        self._space = space
        self._left = left

    def used(self, count: int) -> None:
        """So many bytes were written."""
        with self._space.lock:
            count = min(count, self._left)
            self._left -= count
            self._space.reserved -= count

    def drop(self) -> None:
        """The file is done, or given up."""
        self.used(self._left)


class Space:
    """The room on the file system of one folder, for all files of a run.

    How much is free is looked at anew when `FRESH_S` have passed, and whenever what was seen then may be too little.

    Args:
        folder: A descriptor of the folder; it stays its owner's.
        name: The folder, for messages.
        now: The clock.

    Attributes:
        reserved: Bytes; changed under ``lock`` by the reservations.
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

    def reserve(self, count: int, path: str) -> Reservation:
        """Set so many bytes aside, before the first of them is fetched.

        Raises:
            DiskFailed: There are not so many.
        """
        with self.lock:
            now = self._now()
            if now >= self._look_at or count > self._seen - self._since:
                room = os.fstatvfs(self._folder)
                self._seen = room.f_bavail * room.f_frsize
                self._since = self.reserved
                self._look_at = now + FRESH_S
            if count > self._seen - self._since:
                others = (
                    f", {self.reserved:,} of them set aside for other files of this run"
                    if self.reserved
                    else ""
                )
                raise DiskFailed(
                    f"{path}: it needs {count:,} bytes, and {self._name} has {self._seen:,} free{others}. "
                    "Make room, and run it again"
                )
            self._since += count
            self.reserved += count
        return Reservation(self, count)
