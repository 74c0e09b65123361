"""The folder that all goes to. Inside it, no symbolic link is followed, whoever may have put it there, and whenever.

Every name is opened relative to a descriptor, one part after the other, so what has been looked at is what is used.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from stat import S_ISREG

from whichpool.downloads.disk import disk_failed
from whichpool.downloads.failures import DiskFailed, Unsafe

__all__ = ["Folder", "Place"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A name that is none of what is looked for below.
_ONE_PART = re.compile(r"[^/.\0][^/\0]*")
_ANY_NAME = sys.getfilesystemencoding() == "utf-8"
_INSIDE = _FOLDER | os.O_NOFOLLOW


class Place:
    """One name in one folder: where a file is, or will be. Close it.

    Attributes:
        fd: A descriptor of the folder that the file is in.
        name: The file's name in that folder.
        path: Its name in `Folder`, with ``/``.
    """

    __slots__ = ("_folder", "fd", "name", "path")

    def __init__(self, folder: Folder, fd: int, name: str, path: str) -> None:
        self._folder = folder
        self.fd = fd
        self.name = name
        self.path = path

    def stat(self) -> os.stat_result | None:
        """Of the regular file there; ``None``: there is nothing.

        Raises:
            DiskFailed: There is something else: a folder, a link, a device.
        """
        try:
            found = os.stat(self.name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_failed(error, self.path) from error
        if not S_ISREG(found.st_mode):
            raise DiskFailed(
                f"{self.path}: something that is no regular file has that name (a folder, or a symbolic link, which is "
                "not followed). Move it, or give another name"
            )
        return found

    def open(self) -> int:
        """The file there, to be read; a descriptor."""
        flags = (
            os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        )  # not to wait for a pipe's other end
        try:
            return os.open(self.name, flags, dir_fd=self.fd)
        except OSError as error:
            raise disk_failed(error, self.path) from error

    @property
    def begun(self) -> frozenset[str] | None:
        """As `Folder.begun`; ``None``: it is in another folder, of which nobody has a list."""
        return self._folder.begun if self.fd == self._folder.fd else None

    @property
    def nameless(self) -> bool:
        """Whether a file without a name can be made there, and given one, as far as is known."""
        return self._folder.nameless

    @nameless.setter
    def nameless(self, can: bool) -> None:
        self._folder.nameless = can

    def sync(self) -> None:
        """Bring the names in its folder to the disk."""
        self._folder.sync(self.fd)

    def close(self) -> None:
        """Let go of the folder."""
        fd, self.fd = self.fd, -1
        if fd >= 0 and fd != self._folder.fd:
            os.close(fd)


class Folder:
    """DIR; it is made if it is not there, and may itself be a symbolic link.

    Attributes:
        fd: A descriptor of it.
        path: As it was given.
        nameless: Whether files can be made in it that have no name yet; what is tried shows where they cannot.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.nameless = hasattr(os, "O_TMPFILE")
        try:
            os.makedirs(path, exist_ok=True)
            self.fd = os.open(path, _FOLDER)
        except (FileExistsError, NotADirectoryError) as error:
            raise DiskFailed(f"{path}: it is a file, or leads through one. Give another folder") from error
        except OSError as error:
            raise disk_failed(error, path) from error
        self._together = _Together()
        self._begun: frozenset[str] | None = None
        self._listing = threading.Lock()

    @property
    def begun(self) -> frozenset[str]:
        """Which parts and journals were in it when that was asked first, by whom ever: one listing, in place of two
        looks for each file."""
        found = self._begun
        if found is None:
            ends = (".part", ".part.journal")
            with self._listing:  # two at a time would each get a part of it: the descriptor has one place
                found = self._begun
                if found is None:
                    # One by one: the names of a million files would be 100 MB.
                    with os.scandir(self.fd) as entries:
                        found = frozenset([entry.name for entry in entries if entry.name.endswith(ends)])
                    self._begun = found
        return found

    def place(self, path: str) -> Place:
        """Where the file of that name goes; the folders on the way are made.

        Raises:
            Unsafe: It leads out of the folder.
            DiskFailed: One of those is a file or a symbolic link, or cannot be made; or this process's locale has no
                such letters.
        """
        if not _ANY_NAME:
            _check_letters(path)
        if _ONE_PART.fullmatch(path):
            return Place(self, self.fd, path, path)
        *folders, name = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in (*folders, name)):
            raise Unsafe(f"{path!r} is no name inside a folder")
        fd = self.fd
        try:
            for part in folders:
                below = _enter(fd, part)
                if fd != self.fd:
                    os.close(fd)
                fd = below
        except OSError as error:
            if fd != self.fd:
                os.close(fd)
            raise disk_failed(error, path) from error
        return Place(self, fd, name, path)

    def sync(self, fd: int) -> None:
        """Bring the names in the folder ``fd`` to the disk."""
        if fd == self.fd:
            self._together.sync(fd)
        else:
            os.fsync(fd)

    def close(self) -> None:
        """Let go of it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _check_letters(path: str) -> None:
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise DiskFailed(
            f"{path!a}: the locale of this process ({error.encoding}) has no such letters. Take one with UTF-8, set "
            "PYTHONUTF8=1, or give another name"
        ) from None


def _enter(fd: int, part: str) -> int:
    try:
        return os.open(part, _INSIDE, dir_fd=fd)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(part, dir_fd=fd)
    except FileExistsError:
        pass  # another thread's file goes there too
    else:
        os.fsync(fd)
    return os.open(part, _INSIDE, dir_fd=fd)


class _Together:
    """Many files in one folder are done at nearly the same moment: one `os.fsync` is for all that were there before it.

    Who comes while one is under way needs the next, which the first of them makes for all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._begun = self._done = 0

    def sync(self, fd: int) -> None:
        with self._lock:
            needed = self._begun + 1  # the one under way may have begun before this thread's file was there
        with self._turn:
            with self._lock:
                if self._done >= needed:
                    return  # another thread has made it while this one waited
                self._begun = number = self._begun + 1
            os.fsync(fd)
            self._done = number
