"""``file://``: answers as a server would give them for a file of this machine, ranges and validators included."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from whichpool.downloads.answer import Answer, Nothing, Stored, answer_for
from whichpool.downloads.failures import Broken, Changed, DownloadFailed, Gone, Refused

__all__ = ["open_file"]


def open_file(url: str, asked: Mapping[str, str], method: str) -> Answer:
    """Open a file, or a range of it.

    Raises:
        Gone: There is none.
        Refused: It is a folder, a pipe or the like, or must not be read.
    """
    try:
        parts = urlsplit(url)
        if parts.netloc.lower() not in ("", "localhost"):
            raise DownloadFailed("a file URL of another host cannot be fetched", url, again=False)
        path = url2pathname(parts.path) if os.name == "nt" else unquote(parts.path, errors="surrogateescape")
        # Not waiting: opening a pipe would, until someone writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise Gone("no file can have such a name", url) from None
    except OSError as error:
        raise _failure(error, url) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file", url)
        stored = Stored(found.st_size, _etag(found), found.st_mtime, ranges=True)
        answer = answer_for(url, stored, asked, Nothing())
        if method == "HEAD" or answer.status not in (200, 206):
            return answer
        answer.body = _FileBody(url, descriptor, answer.first, answer.length or 0, stored)
        descriptor = -1
        return answer
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _etag(found: os.stat_result) -> str:
    return f'"{found.st_size}-{found.st_mtime_ns}"'


class _FileBody:
    def __init__(self, url: str, descriptor: int, first: int, length: int, stored: Stored) -> None:
        self._url = url
        self._descriptor = descriptor
        self._at = first
        self._left = length
        self._etag = stored.etag
        self._to_the_end = first + length == stored.size
        if first:
            os.lseek(descriptor, first, os.SEEK_SET)

    def read(self, most: int) -> bytes:
        if self._descriptor < 0 or most <= 0:
            return b""
        try:
            data = os.read(self._descriptor, min(most, self._left))
            if len(data) == self._left:
                # What was read is one version of the file only if it is now what it was at first.
                if _etag(os.fstat(self._descriptor)) != self._etag:
                    raise Changed("the file was written to while it was read", self._url)
                if self._to_the_end and os.read(self._descriptor, 1):
                    # /proc has files of 0 bytes with something in them.
                    raise Broken("it has more in it than its size says", self._url, again=False)
                self.close()
            elif not data:
                raise Changed(
                    f"the file became shorter while it was read: {self._left} bytes are missing", self._url
                )
        except OSError as error:
            self.close()
            raise Broken(f"the file cannot be read: {error.strerror}", self._url) from None
        except BaseException:
            self.close()
            raise
        self._left -= len(data)
        return data

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _failure(error: OSError, url: str) -> DownloadFailed:
    if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno in (
        errno.ELOOP,
        errno.ENAMETOOLONG,
    ):
        return Gone("there is no such file", url)
    if isinstance(error, PermissionError):
        return Refused("the file must not be read", url)
    if isinstance(error, IsADirectoryError):
        return Refused("it is a folder", url)
    return Broken(f"the file cannot be opened: {error.strerror}", url)
