"""A small file is held in memory until it is whole: then it comes to the disk in one go, and gets its name.

    begin()  write() ...  finish()   a file without a name, fsync, its name (`os.link`): who is killed leaves nothing
                          close()    a try that failed, or is stopped: what came goes to a `Part`, to be gone on with
    a second is over, and it is not whole: it goes on as a `Part`, so that a slow server's bytes outlive this process

What thousands of small files would pay for the part's name, its lock and its journal is not paid. The promises are
those of `Part`: nothing has the file's name before all of it is on the disk, and no file is replaced that is not to be.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from time import monotonic

from whichpool.downloads.disk import disk_failed
from whichpool.downloads.failures import DiskFailed
from whichpool.downloads.folder import Place
from whichpool.downloads.journal import SUFFIX as JOURNAL
from whichpool.downloads.journal import Identity
from whichpool.downloads.part import GROUP_S, NO_LINKS, SUFFIX, Part
from whichpool.downloads.ranges import Ranges

__all__ = ["HELD_BYTES", "Held", "nothing_of", "put"]

HELD_BYTES = 262_144
"""A file up to this is held. With 64 at once 16 MB, at the most."""

_NAMELESS = getattr(os, "O_TMPFILE", 0) | os.O_RDWR | os.O_CLOEXEC
# What file systems say that have no files without a name, or that none can be given one. ENOENT: there is no /proc.
_NOT_HERE = NO_LINKS | {errno.EISDIR, errno.ENOENT, errno.EXDEV, errno.EACCES}
_NOTHING = Ranges()


def nothing_of(place: Place) -> bool:
    """Whether no earlier run, and no other process before this one, has left or begun anything of it."""
    begun = place.begun
    for name in (place.name + SUFFIX, place.name + SUFFIX + JOURNAL):
        if begun is not None:
            if name in begun:
                return False
            continue
        try:
            if os.access(name, os.F_OK, dir_fd=place.fd, follow_symlinks=False):
                return False
        except OSError:  # where it cannot be asked so
            return False
    return True


def put(place: Place, data: bytes, mtime_s: int | None) -> bool:
    """Write a whole file without a name, bring it to the disk, and name it; False: that cannot be done here.

    Raises:
        DiskFailed: It could not be, or a file of that name has appeared meanwhile.
    """
    try:
        try:
            fd = os.open(".", _NAMELESS, 0o666, dir_fd=place.fd)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            place.nameless = False
            return False
        try:
            written = os.write(fd, data) if data else 0
            if written < len(data):
                left = memoryview(data)[written:]
                while left:  # the next write says why, if it was not for a signal
                    left = left[os.write(fd, left) :]
            if mtime_s is not None:
                os.utime(fd, (mtime_s, mtime_s))
            os.fsync(fd)
            try:
                os.link(f"/proc/self/fd/{fd}", place.name, dst_dir_fd=place.fd, follow_symlinks=True)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                place.nameless = False
                return False
            place.sync()
        finally:
            os.close(fd)
    except OSError as error:
        raise disk_failed(error, place.path) from error
    return True


class Held:
    """What `Part` is, for a file whose bytes come in order over one connection. One thread at a time.

    Args:
        place: Where the file goes.
        later: As for `Part`, which this may become.
    """

    def __init__(self, place: Place, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.place = place
        self.path = place.path + SUFFIX
        self.identity: Identity | None = None
        self._later = later
        self._pieces: list[bytes] = []
        self._front = self._total = 0
        self._until = 0.0  # it is held no longer than that (monotonic)
        self._part: Part | None = None  # what it has become

    @property
    def there(self) -> Ranges:
        """What has been written to the disk."""
        return _NOTHING if self._part is None else self._part.there

    @property
    def front(self) -> int:
        """All before this byte has come."""
        return self._front if self._part is None else self._part.front

    def begin(self, identity: Identity | None, total: int) -> None:
        """From nothing; so many bytes will come."""
        self.identity, self._total = identity, total
        self._until = monotonic() + GROUP_S

    def write(self, at: int, data: bytes) -> None:
        """These bytes come next.

        Raises:
            DiskFailed: As `Part.write`, if it is not held any more.
        """
        if self._part is not None:
            self._part.write(at, data)
            return
        self._pieces.append(data)
        self._front += len(data)
        if self._front < self._total and monotonic() >= self._until:
            self._become_a_part()

    def read(self, at: int, most: int) -> bytes:
        """Up to so many bytes from there."""
        if self._part is not None:
            return self._part.read(at, most)
        return b"".join(self._pieces)[at : at + most]

    def _become_a_part(self) -> Part:
        part, pieces = Part(self.place, self._later), self._pieces
        try:
            part.begin(self.identity)
            self._part, self._pieces = part, []
            if self._front:
                part.write(0, b"".join(pieces))
        except BaseException:
            if self._part is None:
                part.close()
            raise
        return part

    def finish(self, place: Place, total: int, *, mtime_s: int | None, replace: bool) -> None:
        """As `Part.finish`."""
        part = self._part
        if part is None and not replace and place.nameless:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            if put(place, data, mtime_s):
                self._pieces = []
                return
        if part is None:
            part = self._become_a_part()
        part.finish(place, total, mtime_s=mtime_s, replace=replace)

    def close(self) -> None:
        """Let go of it. What came, and another try can go on with, comes to the disk."""
        if self._part is None and self._pieces and self.identity is not None:
            try:
                self._become_a_part()
            except DiskFailed:
                pass  # then it is fetched again
        if self._part is not None:
            self._part.close()
        self._pieces = []

    def discard(self) -> None:
        """It is good for nothing."""
        if self._part is not None:
            self._part.discard()
        self._pieces, self.identity = [], None
