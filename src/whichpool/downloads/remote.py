"""``s3://``, ``gs://``, ``ftp://``, ...: what fsspec knows, with the extra ``whichpool[fsspec]``.

The time limits are those of the file system that is used; the rest is as for a server: ranges, validators, and no body
that is shorter than was told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from whichpool.downloads.answer import Answer, Nothing, Stored, answer_for, http_date
from whichpool.downloads.failures import (
    Broken,
    Changed,
    DownloadFailed,
    Gone,
    Refused,
    TimedOut,
    Unsupported,
)
from whichpool.downloads.secrets import split_credentials

__all__ = ["open_remote"]

T = TypeVar("T")

MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "timeModified")
"""What file systems call the time of the last change."""

_DISTRIBUTIONS = {"smbclient": "smbprotocol"}
"""Modules whose distributions are named otherwise."""


def open_remote(url: str, scheme: str, asked: Mapping[str, str], method: str) -> Answer:
    """Open what a file system of fsspec has, or a range of it.

    Raises:
        Unsupported: There is nothing for this scheme: fsspec, or what that needs for it, is not installed, or fsspec
            does not know it.
        DownloadFailed: Of some other class.
    """
    shown, user = split_credentials(url)
    guard = _Guard(shown, user)
    try:
        import fsspec
    except ImportError:
        raise Unsupported(
            f"{scheme}:// is fetched through fsspec, if that knows it: pip install 'whichpool[fsspec]'", shown
        ) from None
    try:
        fsspec.get_filesystem_class(scheme)
        fs, path = guard(
            fsspec.core.url_to_fs, url
        )  # of a chain (``zip://...::s3://...``), all of its schemes
    except ValueError:
        raise Unsupported(f"nothing here can fetch {scheme}://, nor does fsspec know it", shown) from None
    except ImportError as error:
        raise Unsupported(f"{scheme}:// needs another package: {_package(error)}", shown) from None
    info = guard(fs.info, path)
    if info.get("type") == "directory":
        raise Refused("it is a folder", shown)
    size = info.get("size")
    if not isinstance(size, int):
        raise Broken("its size is not known", shown, again=False)
    etag = _etag(fs, path, info)
    file = None
    try:
        # Opened for a HEAD too: only the open file says whether it can be read from anywhere.
        file = guard(fs.open, path, "rb")
        stored = Stored(size, etag, _modified(fs, path, info), ranges=bool(guard(file.seekable)))
        answer = answer_for(shown, stored, asked, Nothing())
        if method == "HEAD" or answer.status not in (200, 206):
            return answer
        if answer.first:
            guard(file.seek, answer.first)

        def now() -> str | None:
            fs.invalidate_cache(path)
            return _etag(fs, path, fs.info(path))

        answer.body = _RemoteBody(guard, file, answer.length or 0, etag, now)
        file = None
        return answer
    finally:
        if file is not None:
            file.close()


def _package(error: ImportError) -> str:
    """The pip line for what fsspec has missed; where it is not known, what fsspec says."""
    missed = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    name = (missed.name or "").partition(".")[0]
    return f"pip install {_DISTRIBUTIONS.get(name, name)}" if name else str(error)[:300]


class _RemoteBody:
    def __init__(
        self, guard: _Guard, file: Any, length: int, etag: str | None, now: Callable[[], str | None]
    ) -> None:
        self._guard = guard
        self._file = file
        self._left = length
        self._etag = etag
        self._now = now

    def read(self, most: int) -> bytes:
        if self._file is None or most <= 0:
            return b""
        if not self._left:
            self.close()
            return b""
        try:
            data: bytes = self._guard(self._file.read, min(most, self._left))
            self._left -= len(data)
            if not data:
                raise Broken(f"it ended {self._left} bytes early", self._guard.url)
            if not self._left and self._etag is not None and self._guard(self._now) != self._etag:
                raise Changed("it was written to while it was read", self._guard.url)
        except BaseException:
            self.close()
            raise
        return data

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except Exception:
                pass  # it was only read from


class _Guard:
    """Calls into a file system; what it raises becomes a failure whose text has no user name and password."""

    def __init__(self, url: str, user: tuple[str, str] | None) -> None:
        self.url = url
        self._hidden = [
            part for text in user or () if text for part in (text, quote(text), quote(text, safe=""))
        ]

    def __call__(self, call: Callable[..., T], *args: object) -> T:
        try:
            return call(*args)
        except (ImportError, MemoryError, DownloadFailed):
            raise
        except (FileNotFoundError, NotADirectoryError):
            raise Gone("there is no such thing", self.url) from None
        except IsADirectoryError:
            raise Refused("it is a folder", self.url) from None
        except PermissionError as error:
            raise Refused(f"it is not given: {self._text(error)}", self.url) from None
        except TimeoutError as error:
            raise TimedOut(self._text(error), self.url) from None
        except ValueError as error:
            raise DownloadFailed(self._text(error), self.url, again=False) from None
        except Exception as error:
            raise Broken(self._text(error), self.url) from None

    def _text(self, error: Exception) -> str:
        text = str(error)
        if not text or any(part in text for part in self._hidden):
            return type(error).__name__
        return f"{type(error).__name__}: {text[:300]}"


def _etag(fs: Any, path: str, info: Mapping[str, Any]) -> str | None:
    told = info.get("ETag") or info.get("etag")
    if told:
        return '"{}"'.format(str(told).removeprefix("W/").strip('"').replace('"', ""))
    modified = _modified(fs, path, info)
    return None if modified is None else f'"{info.get("size")}-{int(modified * 1e6)}"'


def _modified(fs: Any, path: str, info: Mapping[str, Any]) -> float | None:
    told: object = next((info[key] for key in MODIFIED if info.get(key)), None)
    if told is None:
        try:
            told = fs.modified(path)
        except Exception:
            return None  # most file systems have no such thing; then there is no validator
    if isinstance(told, datetime):
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    if isinstance(told, int | float):
        return float(told)
    if isinstance(told, str):
        try:
            when = datetime.fromisoformat(told)
        except ValueError:
            return http_date(told)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None
