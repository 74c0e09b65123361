"""``NAME.part``: a file that is not whole yet, and what of it is certain to be on the disk.

    look()  what an earlier try left        begin()  from nothing        write(), at any place, from several threads
    sync()  bring it to the disk, and say so in the journal
    finish()  all of it to the disk, under its name; or close(): what can be gone on with stays

- Nothing has the file's name before all of it is on the disk; then the name is there in one step (`os.link`, which
  fails where a file of that name appeared meanwhile; `os.rename` where it is to be replaced).
- The journal claims no byte that `os.fdatasync` has not brought to the disk before.
- Whoever works on a part holds a lock on it (`fcntl.flock`), which ends with the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from stat import S_ISREG
from time import monotonic

from whichpool.downloads.disk import disk_failed
from whichpool.downloads.failures import DiskFailed
from whichpool.downloads.folder import Place
from whichpool.downloads.journal import SUFFIX as JOURNAL
from whichpool.downloads.journal import Identity, Journal
from whichpool.downloads.ranges import Ranges

__all__ = ["GROUP_S", "NO_LINKS", "SUFFIX", "Part"]

SUFFIX = ".part"

# The journal is brought up to date when so many bytes, or so many seconds' worth, have come since: what a process
# that is killed fetches again. Bytes and seconds. It happens on another thread, and costs no time where the disk keeps
# up: of 2 GB from loopback onto ext4, the last sync took 0.02 s, and 0.5 s where there was none before it.
GROUP_BYTES = 64_000_000
GROUP_S = 1.0
# A part can be moved, or begun anew, by another process between its opening and its locking. More often than so is no
# accident.
TRIES = 10
# `os.link` is refused by file systems that have no links.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Part:
    """One part and its journal. `write` is for several threads at once; the rest is for the thread that has it.

    Args:
        place: Where the *whole* file goes; the part is beside it.
        later: Has something done soon on another thread; ``None``: it is done at once.

    Attributes:
        identity: What it is a part of; ``None``: what cannot be gone on with by another try.
        there: The bytes that have been written.
    """

    def __init__(self, place: Place, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.place = place
        self.path = place.path + SUFFIX
        self._name = place.name + SUFFIX
        self.identity: Identity | None = None
        self.there = Ranges()
        self._later = later
        self._journal = Journal(place.fd, self._name + JOURNAL)
        self._fd: int | None = None
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._fresh = Ranges()  # written, and not in the journal
        self._fresh_bytes = 0
        self._synced_at = monotonic()
        self._asked = False  # somebody is about to sync
        self._lost: OSError | None = (
            None  # what a sync said: nothing more is claimed, since the system forgets it
        )

    def look(self, begun: Callable[[str], bool] | None = None) -> Identity | None:
        """Take over what an earlier try left, if it can be gone on with.

        Args:
            begun: Of the source that it was begun from: whether that will do. ``None``: any will.

        Raises:
            DiskFailed: Another program is fetching it, or it cannot be opened.
        """
        try:
            self._fd = self._open()
            found = self._journal.read() if self._fd is not None else None
            if found is None or self._fd is None:
                return None
            identity, there = found
            size = self._size()
            if size < there.end:
                return None
            if size > identity.total:
                os.ftruncate(
                    self._fd, identity.total
                )  # whoever made it longer: the rest is what is known of it
        except OSError as error:
            raise disk_failed(error, self.path) from error
        if begun is not None and not begun(identity.source):
            return None
        self.identity, self.there = identity, there
        return identity

    def begin(self, identity: Identity | None) -> None:
        """Make it, or start again: nothing of it is there.

        Raises:
            DiskFailed: As `look`; or it cannot be made.
        """
        with self._syncing, self._lock:
            self.identity, self.there, self._fresh, self._fresh_bytes = identity, Ranges(), Ranges(), 0
            self._synced_at = monotonic()
            try:
                was_there = self._fd is not None
                if self._fd is None:
                    self._fd = self._make()
                if not self._journal.is_open:
                    self._journal.read()  # of a part that is not there any more
                self._journal.forget()
                if was_there or self._size():
                    os.ftruncate(self._fd, 0)
            except OSError as error:
                raise disk_failed(error, self.path) from error

    def sweep(self) -> None:
        """The whole file is there: remove what is left of its part, if whoever named it was killed just then."""
        place = self.place
        try:
            try:
                if os.stat(self._name, dir_fd=place.fd, follow_symlinks=False).st_nlink > 1:
                    os.unlink(self._name, dir_fd=place.fd)
                else:
                    return  # somebody's who is replacing the file
            except FileNotFoundError:
                pass
            os.unlink(self._name + JOURNAL, dir_fd=place.fd)
        except OSError:
            pass  # it was not there, or it stays: it is not believed in any case

    def _make(self) -> int:
        """A part that nobody else has, locked."""
        for _ in range(TRIES):
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(self._name, flags, 0o666, dir_fd=self.place.fd)
            except FileExistsError:
                found = self._open()
                if found is not None:
                    return found
                continue
            try:
                self._take(fd)
            except BaseException:
                os.close(fd)
                raise
            return fd
        raise self._moving()

    def _open(self) -> int | None:
        """The part that is there, locked; ``None``: there is none."""
        place = self.place
        for _ in range(TRIES):
            try:
                fd = os.open(self._name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.fd)
            except FileNotFoundError:
                return None
            keep = False
            try:
                self._take(fd)
                mine = os.fstat(fd)
                if not S_ISREG(mine.st_mode):
                    raise DiskFailed(f"{self.path}: is no regular file. Move it, or give another name")
                try:
                    named = os.stat(self._name, dir_fd=place.fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it got its final name before it was locked: whole, and no part any more
                if (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino):
                    continue
                if mine.st_nlink > 1:
                    # It has its final name already, and whoever gave it was killed before this one was taken away.
                    # To write into it would be to write into the whole file.
                    os.unlink(self._name, dir_fd=place.fd)
                    continue
                keep = True
                return fd
            finally:
                if not keep:
                    os.close(fd)
        raise self._moving()

    def _moving(self) -> DiskFailed:
        return DiskFailed(f"{self.path}: another program keeps moving it. Use a folder of your own")

    def _size(self) -> int:
        assert self._fd is not None
        return os.fstat(self._fd).st_size

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DiskFailed(
                f"{self.path}: another program is fetching it. Wait for that one, or give another name or folder"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    @property
    def front(self) -> int:
        """All before this byte has been written."""
        with self._lock:
            return self.there.front

    # -- while it comes --------------------------------------------------------------------------------------------

    def write(self, at: int, data: bytes) -> None:
        """These bytes belong there.

        Raises:
            DiskFailed: They could not be written, or what was written before did not get to the disk.
        """
        assert self._fd is not None
        if self._lost is not None:
            raise disk_failed(self._lost, self.path) from self._lost
        end = at + len(data)
        try:
            written = os.pwrite(self._fd, data, at)
            if written < len(data):
                self._write_rest(data, at, written)
        except OSError as error:
            raise disk_failed(error, self.path) from error
        with self._lock:
            self.there.add(at, end)
            if self.identity is None:
                return
            self._fresh.add(at, end)
            self._fresh_bytes += end - at
            due = self._fresh_bytes >= GROUP_BYTES or monotonic() - self._synced_at >= GROUP_S
            if not due or self._asked:
                return
            self._asked = True
        if self._later is None:
            self.sync()
        else:
            self._later(self._sync_quietly)

    def _write_rest(self, data: bytes, at: int, written: int) -> None:
        """After a short write: the next one says why, if it was not for a signal."""
        assert self._fd is not None
        view = memoryview(data)
        while written < len(data):
            written += os.pwrite(self._fd, view[written:], at + written)

    def sync(self) -> None:
        """Bring all that was written to the disk, and say so in the journal.

        Raises:
            DiskFailed: It could not be. Nothing more will be claimed of it.
        """
        with self._syncing:
            with self._lock:
                fresh, self._fresh, self._fresh_bytes = self._fresh, Ranges(), 0
                self._asked = False
                identity = self.identity
            if self._fd is None or identity is None or not fresh or self._lost is not None:
                return
            try:
                os.fdatasync(self._fd)
                self._journal.add(fresh, identity)
            except OSError as error:
                self._lost = error
                raise disk_failed(error, self.path) from error
            self._synced_at = monotonic()

    def _sync_quietly(self) -> None:
        try:
            self.sync()
        except DiskFailed:
            pass  # it is noted: the next write tells

    def read(self, at: int, most: int) -> bytes:
        """Up to so many bytes from there."""
        if self._fd is None:
            return b""  # it has just been given up
        try:
            return os.pread(self._fd, most, at)
        except OSError as error:
            raise disk_failed(error, self.path) from error

    # -- at the end ------------------------------------------------------------------------------------------------

    def finish(self, place: Place, total: int, *, mtime_s: int | None, replace: bool) -> None:
        """Give it its name: it is whole, and what it should be.

        Args:
            place: Where it goes.
            total: Its size.
            mtime_s: When it was changed last, seconds since 1970; ``None``: now.
            replace: Whether a file of that name may be replaced.

        Raises:
            DiskFailed: It could not be, or a file of that name appeared meanwhile. The part stays.
        """
        assert self._fd is not None
        with self._syncing:  # nobody else works on it any more
            if self._lost is not None:
                raise disk_failed(self._lost, self.path) from self._lost
            try:
                size = self._size()
                if size != total:
                    raise DiskFailed(
                        f"{self.path}: it has {size:,} bytes on the disk, not the {total:,} that were written. "
                        "Another program changes it: use a folder of your own"
                    )
                if mtime_s is not None:
                    os.utime(self._fd, ns=(mtime_s * 10**9, mtime_s * 10**9))
                os.fsync(self._fd)
                self._name_it(place, replace=replace)
                if self._journal.is_open:
                    self._journal.remove()
                place.sync()
            except OSError as error:
                raise disk_failed(error, place.path) from error
            self._let_go()

    def _name_it(self, place: Place, *, replace: bool) -> None:
        source, target = self.place.fd, place.fd
        if not replace:
            try:
                os.link(self._name, place.name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
                os.unlink(self._name, dir_fd=source)
                return
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
            if place.stat() is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(self._name, place.name, src_dir_fd=source, dst_dir_fd=target)

    def close(self) -> None:
        """Let go of it. What another try can go on with stays, on the disk and in the journal; the rest does not."""
        if self._fd is None:
            self._journal.close()
            return
        try:
            self.sync()
        except DiskFailed:
            pass  # what the journal has is true all the same
        if self.identity is None or not self._journal.is_open:
            self.discard()
            return
        with self._syncing:
            self._let_go()

    def discard(self) -> None:
        """Remove it: it is good for nothing."""
        with self._syncing:
            try:
                if self._fd is not None:
                    self._journal.forget()
                    os.unlink(self._name, dir_fd=self.place.fd)
            except OSError:
                pass  # the next try starts again anyway: it has no journal, or one that does not fit
            self._let_go()

    def _let_go(self) -> None:
        self._journal.close()
        fd, self._fd = self._fd, None
        self.identity, self.there = None, Ranges()
        if fd is not None:
            os.close(fd)
