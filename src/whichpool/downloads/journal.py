"""``NAME.part.journal``: what the part is a part of, and which of its bytes are on the disk.

One line a record, each with its checksum. The first says what is being fetched; each of the others, which bytes came to
the disk since. A line is written only when what it claims has been brought to the disk (`os.fdatasync`), so a line that
was lost costs a few bytes that are fetched again, and a line that is there is true. What follows a torn line is not
believed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from whichpool.downloads.ranges import Ranges

__all__ = ["SUFFIX", "Identity", "Journal"]

SUFFIX = ".journal"
FORMAT = 1
# Bytes that are read of one: 250,000 records, which a download of a day has if a second brings three. A guess.
MOST_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two answers parts of the same thing."""

    source: str
    """A digest of the URL that was asked for: the text could hold a secret."""
    total: int
    """Bytes of the whole."""
    validator: str
    """The strong one, for ``If-Range``."""
    etag: str | None = None
    last_modified: str | None = None
    final_url: str | None = None
    """Where it came from in the end, without user name and password."""
    name: str | None = None
    """What the server calls it, made safe; ``None``: it has no name for it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the whole, as the server promised them."""

    @property
    def version(self) -> str:
        """The same for all answers that are parts of it."""
        return f"{self.total} {self.validator}"


class Journal:
    """The records of one part. Whoever holds the lock on the part is the only one to use it.

    Args:
        folder: A descriptor of the folder that it is in.
        name: Its name there.
    """

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._fd: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is one, as far as is known here."""
        return self._fd is not None

    def read(self) -> tuple[Identity, Ranges] | None:
        """What it says; ``None``: there is none, or none that can be understood."""
        try:
            fd = os.open(self._name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        if os.fstat(fd).st_nlink > 1:
            # It has another name, in a copy of the folder, say: to write into it would be to write into that one.
            os.close(fd)
            os.unlink(self._name, dir_fd=self._folder)
            return None
        self._fd = fd
        data = os.pread(self._fd, MOST_BYTES, 0)
        identity, there, good = None, Ranges(), 0
        for line in data.splitlines(keepends=True):
            record = _record(line)
            if record is None:
                break
            try:
                if identity is None:
                    identity = _identity(record)
                else:
                    for first, end in record["have"]:
                        there.add(*_checked(first, end, identity.total))
            except (KeyError, TypeError, ValueError):
                break
            good += len(line)
        if identity is None:
            return None
        os.ftruncate(self._fd, good)  # what is added comes after what is believed
        return identity, there

    def forget(self) -> None:
        """There is none any more, and none comes back after a power cut, to claim what is written from now on."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.fsync(self._fd)
            self.remove()

    def add(self, ranges: Ranges, identity: Identity) -> None:
        """These bytes of ``identity`` are on the disk now. The first such record makes the file."""
        if self._fd is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._name, flags, 0o666, dir_fd=self._folder)
            self._append({"format": FORMAT, **asdict(identity), "digests": dict(identity.digests)})
        self._append({"have": list(ranges)})
        os.fdatasync(self._fd)

    def _append(self, record: dict[str, Any]) -> None:
        assert self._fd is not None
        text = json.dumps(record, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        at = os.fstat(self._fd).st_size
        try:
            written = os.pwrite(self._fd, line, at)
            if written < len(line):
                os.pwrite(self._fd, line[written:], at + written)
        except OSError:
            os.ftruncate(self._fd, at)
            raise

    def remove(self) -> None:
        """It has served its purpose, or is not to be believed."""
        self.close()
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            pass

    def close(self) -> None:
        """Let go of it; it stays."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    text = line[9:-1]
    if line[:8] != b"%08x" % zlib.crc32(text):
        return None
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _identity(record: dict[str, Any]) -> Identity:
    if record.pop("format") != FORMAT:
        raise ValueError("of another version")
    identity = Identity(**record)
    if type(identity.total) is not int or identity.total < 0 or not isinstance(identity.validator, str):
        raise ValueError("no identity")
    return identity


def _checked(first: Any, end: Any, total: int) -> tuple[int, int]:
    if type(first) is not int or type(end) is not int or not 0 <= first < end <= total:
        raise ValueError("no range of it")
    return first, end
