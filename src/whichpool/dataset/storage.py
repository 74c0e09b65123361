"""Where the bytes of a file are: on this machine, or in what fsspec knows (``s3://``, ``http://``, ...).

A worker opens the file itself. Of a remote one its file system travels along, which arrives as its class and its
arguments; so one that only this program has registered is known in a worker too, if its class can be imported there.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from whichpool import MissingExtra
from whichpool.dataset.failures import BadInput, DatasetError, InputChanged, RemoteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from whichpool.dataset.records import Source

__all__ = [
    "Found",
    "Ranges",
    "Raw",
    "can_seek",
    "check_unchanged",
    "find",
    "in_one_process",
    "is_remote",
    "open_file",
    "read_range",
    "same_file_system",
]

Found = tuple[str, str, str, "int | None", str]
"""A remote file: its URL as it may be shown, its path in the file system, its name, its size and its version."""

# Bytes that are asked for at a time of a remote file that is read from its beginning: a stream of HTTP gives a few at a
# time, and each call goes to another thread and back. A guess.
AHEAD_BYTES = 1 << 20

CHECKSUMS = ("ETag", "etag", "Content-MD5", "md5Hash", "Digest", "checksum", "generation", "uid")
"""What file systems call that which tells one content of a file from another."""
MODIFIED = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "created")
"""And the time of the last change."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?=://|::)")
_LOCAL = re.compile(r"(?:file|local)://")
_USER = re.compile(r"(?<=://)[^/?#@\s]*@")
# The values in a query that let in whoever has them.
_SECRET = re.compile(r"(?i)([?&][^=&#]*(?:sig|signature|token|credential|key|secret|password)[^=&#]*=)[^&#]*")


def is_remote(path: str) -> bool:
    """Whether it names what is not in this machine's own file system.

    >>> is_remote("s3://bucket/a.csv"), is_remote("file:///tmp/a.csv"), is_remote("a:b.csv")
    (True, False, False)
    """
    return _SCHEME.match(path) is not None and _LOCAL.match(path) is None and not os.path.exists(path)


def local_path(path: str) -> str:
    """Without ``file://``, if it has that."""
    found = _LOCAL.match(path)
    return path[found.end() :] if found and not os.path.exists(path) else path


def shown(url: str) -> str:
    """A URL without what lets in whoever has it.

    >>> shown("ftp://me:pw@host/a.csv"), shown("https://host/a.csv?part=1&X-Amz-Signature=abc")
    ('ftp://host/a.csv', 'https://host/a.csv?part=1&X-Amz-Signature=...')
    """
    return _SECRET.sub(r"\1...", _USER.sub("", url))


# --- what is there ------------------------------------------------------------------------------------------


def find(url: str) -> tuple[Any, list[Found], bool]:
    """The files that a URL names: one, those that match it, or those in a folder, by their names.

    Returns:
        The file system; the files; whether there may be several.

    Raises:
        MissingExtra: fsspec, or what it needs for this scheme, is not installed.
        BadInput: Nothing is there.
        RemoteFailed: It cannot be asked.
    """
    told = shown(url)
    scheme = _SCHEME.match(url)
    try:
        import fsspec
    except ImportError:
        raise MissingExtra(f"{told} is read through fsspec: pip install 'whichpool[fsspec]'") from None
    try:
        fs, inner = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingExtra(f"fsspec needs another package for {scheme and scheme[0]}://: {error}") from None
    except ValueError as error:
        raise BadInput(f"{told} cannot be read: {error}") from None
    try:
        return _looked(fs, inner, url, told)
    except FileNotFoundError as error:
        raise BadInput(f"there is no file {told}{_why(error)}") from None


def _why(error: FileNotFoundError) -> str:
    """fsspec says of a server that cannot be reached, or gives nothing, that there is no such file there."""
    cause = error.__cause__
    if cause is None or getattr(cause, "status", None) == 404:
        return ""
    return f", or it is not given ({type(cause).__name__}: {shown(str(cause))[:300]})"


def _looked(fs: Any, inner: str, url: str, told: str) -> tuple[Any, list[Found], bool]:
    with _asking(told, url):
        # In HTTP a `?` begins a query, and a folder is what ends in a slash.
        if not (url.endswith("/") and url.startswith("http")):
            try:
                info = fs.info(inner)
            except FileNotFoundError as error:
                info, why = None, _why(error)
            if info is not None and info.get("type") != "directory":
                return fs, [_found(fs, inner, told, _name(inner), info)], False
            if info is None:
                if not {*inner} & {*("*[" if url.startswith("http") else "*[?")}:
                    raise BadInput(f"there is no file {told}{why}")
                matching = fs.glob(inner, detail=True)
                files = {
                    path: each
                    for path, each in matching.items()
                    if each.get("type") != "directory" and ("/." in inner or "/." not in path)
                }
                if not files:
                    raise BadInput(f"no file matches {told!r}")
                return (
                    fs,
                    [_found(fs, p, _beside(told, p, fs), _name(p), files[p]) for p in sorted(files)],
                    False,
                )
        root = inner.rstrip("/") + "/"
        found = []
        for path, info in sorted(fs.find(inner, detail=True).items()):
            name = path.removeprefix(root)
            if "/." not in f"/{name}":
                found.append(_found(fs, path, _beside(told, path, fs), name, info))
        return fs, found, True


def _name(path: str) -> str:
    return path.partition("?")[0].rstrip("/").rpartition("/")[2]


def _beside(told: str, path: str, fs: Any) -> str:
    """How a file is shown that was found by way of another URL; with what that was chained to, if it was."""
    _, *chained = told.split("::")
    return shown("::".join([fs.unstrip_protocol(path), *chained]))


def _found(fs: Any, path: str, told: str, name: str, info: dict[str, Any]) -> Found:
    if info.get("size") is None:
        info = fs.info(path)  # a listing of HTTP has names only
    size = info.get("size")
    return told, path, name, size if isinstance(size, int) else None, _version(fs, path, info)


def _version(fs: Any, path: str, info: dict[str, Any], like: str = "") -> str:
    """What tells this content from another: ``"ETag abc"``; empty: the file system has nothing of the kind.

    Args:
        fs: The file system.
        path: In it.
        info: What it says of the file.
        like: An earlier version: the same thing is looked at.
    """
    kind = like.partition(" ")[0]
    for name in (kind,) if kind in (*CHECKSUMS, *MODIFIED) else (*CHECKSUMS, *MODIFIED):
        value = info.get(name)
        if value:
            value = _timestamp(value) if name in MODIFIED else str(value).removeprefix("W/").strip('"')
            return f"{name} {value}"
    for call in (fs.modified, fs.ukey):
        try:
            return f"{call.__name__} {_timestamp(call(path))}"
        except Exception:
            continue  # most file systems have the one or the other, or none
    return ""


def _timestamp(value: Any) -> str:
    """The same text for the same time, which a listing may give in another form than the file itself."""
    if isinstance(value, str):
        from email.utils import parsedate_to_datetime  # as long to load as much of this package

        for read in (datetime.fromisoformat, parsedate_to_datetime):
            try:
                value = read(value)
                break
            except ValueError:
                continue
    if isinstance(value, datetime):
        return repr((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return str(value)


def in_one_process(sources: list[Source]) -> bool:
    """Whether a file is in the memory of this process, so that a worker process would not see it."""
    memory = sys.modules.get("fsspec.implementations.memory")
    if memory is None:
        return False
    for source in sources:
        fs = source.fs
        while fs is not None:
            if isinstance(fs, memory.MemoryFileSystem):
                return True
            fs = getattr(fs, "fs", None)
    return False


def check_unchanged(source: Source) -> None:
    """Whether the file is still the one that was looked at.

    Raises:
        InputChanged: Its size, or the time of its last change or its ETag, is another.
    """
    size: int | None
    try:
        if source.fs is None:
            state = os.stat(source.path)
            size, same = state.st_size, state.st_mtime_ns == source.mtime_ns
        else:
            fs = _mine(source)
            with _asking(source.path):
                try:
                    fs.invalidate_cache(source.inner)
                except Exception:
                    pass  # not all have a cache
                info = fs.info(source.inner)
                # Where the server does not say how long it is, it may still say that it is another.
                size = info.get("size") if source.seekable or source.size_bytes else source.size_bytes
                same = _version(fs, source.inner, info, source.version) == source.version
    except FileNotFoundError:
        where = "" if source.fs is None else ", or is not to be seen from a worker process"
        raise InputChanged(f"{source.path} was removed while it was being read{where}") from None
    if not same or size != source.size_bytes:
        raise InputChanged(
            f"{source.path} changed while it was being read (it had {source.size_bytes:,} bytes, "
            f"and has {size or 0:,} now): run again when it is complete"
        )


# --- its bytes ----------------------------------------------------------------------------------------------


def _mine(source: Source) -> Any:
    """The file system as this thread may use it: fsspec keeps one for each thread where it must."""
    fs = source.fs
    return type(fs)(*fs.storage_args, **fs.storage_options)


@contextmanager
def _asking(told: str, url: str = "") -> Iterator[None]:
    """What a file system raises becomes a failure that names the file; a file that is not there stays that."""
    try:
        yield
    except (DatasetError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        text = shown(str(error).replace(url, told) if url else str(error))
        raise RemoteFailed(
            f"{told} could not be read ({type(error).__name__}: {text[:300]}). Look at the network, the server, and "
            "what lets you in there; the same call made again goes on from what is done"
        ) from None


def read_range(source: Source, offset: int, length: int) -> bytes:
    """Some bytes of the file as it lies there; fewer where it ends.

    Raises:
        RemoteFailed: They cannot be had.
    """
    if source.fs is None:
        with open(source.path, "rb") as file:
            file.seek(offset)
            return file.read(length)
    left = source.size_bytes - offset
    length = min(length, left) if length >= 0 else left
    if length <= 0:
        return b""
    with _asking(source.path):
        data: bytes = _mine(source).cat_file(source.inner, offset, offset + length)
    if len(data) > length and len(data) == source.size_bytes:
        return data[offset : offset + length]  # a server that takes no notice of ranges
    return data


class Ranges(io.RawIOBase):
    """A file of which little is read, here and there; each reading is a request of its own."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """To so many bytes from the beginning, or (2) from the end."""
        assert whence in (0, 2)
        self._at = offset + (self._source.size_bytes if whence else 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes."""
        data = read_range(self._source, self._at, size)
        self._at += len(data)
        return data


class Raw(io.RawIOBase):
    """What can be read, as a raw file of Python's."""

    def __init__(self, file: object, told: str = "") -> None:
        self._file = file
        self._told = told

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As many bytes as come at once."""
        read: Callable[[int], bytes] = self._file.read  # type: ignore[attr-defined]
        if self._told:
            with _asking(self._told):
                data = read(len(buffer))
        else:
            data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def open_file(source: Source) -> Iterator[BinaryIO]:
    """The content as it lies there, from its beginning.

    Raises:
        RemoteFailed: It cannot be opened, or read.
    """
    if source.fs is None:
        with open(source.path, "rb") as local:
            yield local
        return
    with _asking(source.path):
        file = _mine(source).open(source.inner, "rb")
    try:
        yield cast("BinaryIO", io.BufferedReader(Raw(file, source.path), AHEAD_BYTES))
    finally:
        try:
            file.close()
        except Exception:
            pass  # it was only read from


def can_seek(source: Source) -> bool:
    """Whether a part of it can be had without all that is before; asked by reading its last byte."""
    if source.fs is None or not source.seekable:
        return source.seekable  # where a server does not say how long it is, that has been noted
    if not source.size_bytes:
        return True
    with _asking(source.path):
        try:
            with _mine(source).open(source.inner, "rb") as file:
                if not file.seekable():
                    return False
                file.seek(source.size_bytes - 1)
                return len(file.read(1)) == 1
        except FileNotFoundError:
            raise
        except (ValueError, OSError, NotImplementedError):
            return False


def same_file_system(source: Source) -> tuple[Any, str]:
    """The file system as pyarrow takes it, and the path in it."""
    from whichpool.dataset.sources import pyarrow

    fs = pyarrow("fs")
    if source.fs is None:
        return fs.LocalFileSystem(), os.path.abspath(source.path)
    return fs.PyFileSystem(fs.FSSpecHandler(_mine(source))), source.inner
