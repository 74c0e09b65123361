"""What a server, a file or a remote file system answered: its headers, understood, and its body to be read once."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from types import TracebackType
from typing import Protocol

from whichpool.downloads.failures import Broken

__all__ = [
    "MOST_RETRY_AFTER_S",
    "Answer",
    "Body",
    "Nothing",
    "Stored",
    "answer_for",
    "content_length",
    "content_range",
    "http_date",
    "retry_after",
]

MOST_RETRY_AFTER_S = 3600.0
"""Seconds. A server that asks for more is asked again after an hour: nobody waits a day for a typing error."""

SETTLED_S = 60.0
"""Seconds between ``Last-Modified`` and ``Date`` from which on the former is a strong validator: RFC 7232's figure.
RFC 9110 (8.8.2.2) allows one second where both come from the same clock, which cannot be known."""

MOST_VALIDATOR = 1000
"""Characters of a validator that is sent back: nginx takes headers of 8 kB by default, and would refuse a longer one
for ever. A guess; those that are seen have less than 100."""

MOST_DIGITS = 18
"""A length of more digits than this is none: it does not fit the file systems that there are."""


# What can be sent back: no controls, which no header can have, and no more than servers take.
_STRONG = re.compile(rf'"[^"\x00-\x1f\x7f]{{0,{MOST_VALIDATOR}}}"')
_SENT = re.compile(rf"[^\x00-\x1f\x7f]{{0,{MOST_VALIDATOR}}}")


class Body(Protocol):
    """Bytes that come one after the other."""

    def read(self, most: int) -> bytes:
        """Some bytes, ``most`` at the most; ``b""`` at the end."""

    def close(self) -> None:
        """Lets go of what the bytes come from. May be called twice."""


class Answer:
    """A context manager; the body is read from it.

    Attributes:
        url: Where it came from in the end, without user name and password.
        status: 200, 206, 304 or 416.
        headers: Keys in lower case; what came several times is joined with ``, ``.
        first: Where the body begins in the whole thing.
        last: The last byte that the body has, inclusive, if that was told (206).
        length: Bytes of the body, if told.
        total: Bytes of the whole thing, if told.
        etag: As it was sent, quotes and ``W/`` included.
        last_modified: As it was sent.
        accepts_ranges: Whether it was said, or shown by a 206.
        coded: Whether the body is compressed or the like: its bytes are not those of the thing itself.
    """

    def __init__(self, url: str, status: int, headers: Mapping[str, str], body: Body) -> None:
        self.url = url
        self.status = status
        self.headers = headers
        self.body = body
        self.first = 0
        self.last: int | None = None
        self.length = content_length(headers)
        self.total: int | None = None
        self.etag = headers.get("etag") or None
        self.last_modified = headers.get("last-modified") or None
        self.accepts_ranges = status == 206 or "bytes" in headers.get("accept-ranges", "").lower()
        self.coded = headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
        if status == 200:
            self.total = self.length
        elif status == 206:
            self._ranged(headers)
        elif status == 416:
            self.length = None
            told = headers.get("content-range")
            if told is not None:
                try:
                    self.total = content_range(told)[2]
                except ValueError:
                    pass  # that it ends before the range is what was asked; its length is extra
        else:
            self.length = None

    def _ranged(self, headers: Mapping[str, str]) -> None:
        if headers.get("content-type", "").lstrip().lower().startswith("multipart/byteranges"):
            raise Broken(
                "the server answered one range with several (multipart/byteranges)", self.url, status=206
            )
        try:
            self.first, self.last, self.total = _asked_range(headers.get("content-range"))
        except ValueError as error:
            raise Broken(f"the server answered 206 {error}", self.url, status=206) from None
        span = self.last - self.first + 1
        if self.length is not None and self.length != span:
            raise Broken(
                f"the server's Content-Length is {self.length}, its Content-Range has {span} bytes",
                self.url,
                status=206,
            )
        self.length = span

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may be sent with: a strong ETag, else a ``Last-Modified`` that is old enough."""
        if self.etag is not None:
            return self.etag if _STRONG.fullmatch(self.etag) else None
        modified, now = http_date(self.last_modified), http_date(self.headers.get("date"))
        if modified is None or now is None or now - modified < SETTLED_S:
            return None
        return self.last_modified if self.last_modified and _SENT.fullmatch(self.last_modified) else None

    def read(self, most: int) -> bytes:
        """Some bytes of the body, ``most`` at the most; ``b""`` at the end.

        Raises:
            TimedOut: Less than ``stall_bytes`` came in ``stall_s``.
            Broken: The connection was reset, or the body is shorter or longer than was told.
        """
        return self.body.read(most)

    def close(self) -> None:
        """Let go of it. A connection whose body was not read to the end is closed."""
        self.body.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.url}>"


def content_length(headers: Mapping[str, str]) -> int | None:
    """``Content-Length``, if there is one; several that are equal are one (RFC 9110, 8.6).

    Raises:
        Broken: It is no number, or there are several.
    """
    told = headers.get("content-length")
    if told is None:
        return None
    if told.isdecimal() and told.isascii() and len(told) <= MOST_DIGITS:
        return int(told)
    values = {part.strip(" \t") for part in told.split(",")}
    value = values.pop()
    if values or not re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}", value):
        raise Broken(f"the server's Content-Length is no length: {told[:60]!r}")
    return int(value)


def content_range(text: str) -> tuple[int | None, int | None, int | None]:
    """``bytes 0-9/100`` as first, last, total; ``bytes */100`` has a total only, ``bytes 0-9/*`` has none.

    Raises:
        ValueError: It is none of these.
    """
    number = rf"([0-9]{{1,{MOST_DIGITS}}})"
    match = re.fullmatch(rf"bytes[ =]+(?:{number}-{number}|\*)/(?:{number}|\*)", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"with a Content-Range that is none: {text[:60]!r}")
    first, last, total = (int(part) if part is not None else None for part in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        raise ValueError(f"with a Content-Range that cannot be: {text[:60]!r}")
    return first, last, total


def _asked_range(text: str | None) -> tuple[int, int, int | None]:
    if text is None:
        raise ValueError("without a Content-Range")
    first, last, total = content_range(text)
    if first is None or last is None:
        raise ValueError(f"with a Content-Range that has no range: {text[:60]!r}")
    return first, last, total


# RFC 9110, 5.6.7: what all servers send. `email.utils` knows the others, and takes ten times as long.
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = dict(zip(("Jan", "Feb", "Mar", "Apr", "May", "Jun"), range(1, 7), strict=True)) | dict(
    zip(("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), range(7, 13), strict=True)
)


def http_date(text: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date; ``None`` if it is none."""
    if not text:
        return None
    usual = _DATE.fullmatch(text)
    if usual is not None:
        day, month, year, hour, minute, second = usual.groups()
        try:
            return datetime(
                int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC
            ).timestamp()
        except (KeyError, ValueError):
            return None
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:  # "-0000": UTC of an unknown place
            when = when.replace(tzinfo=UTC)
        return when.timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds, `MOST_RETRY_AFTER_S` at the most; ``None``: not said, or nonsense.

    A date is compared with the server's own ``Date``, so that two clocks need not agree.
    """
    told = headers.get("retry-after", "").strip()
    if not told:
        return None
    if re.fullmatch(r"[0-9]{1,18}", told):
        return min(float(told), MOST_RETRY_AFTER_S)
    until = http_date(told)
    if until is None:
        return None
    now = http_date(headers.get("date"))
    return min(max(until - (time.time() if now is None else now), 0.0), MOST_RETRY_AFTER_S)


class Nothing:
    """No body."""

    def read(self, most: int) -> bytes:
        """``b""``."""
        return b""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a thing that no HTTP server has."""

    size: int
    etag: str | None
    """Strong, with its quotes."""
    modified: float | None
    """Seconds since 1970."""
    ranges: bool
    """Whether it can be read from anywhere."""


def answer_for(url: str, stored: Stored, asked: Mapping[str, str], body: Body) -> Answer:
    """What a server would answer to these conditions and this range (RFC 9110, 13.2.2)."""
    headers = {"content-length": str(stored.size), "accept-ranges": "bytes" if stored.ranges else "none"}
    if stored.etag is not None:
        headers["etag"] = stored.etag
    modified = None
    if stored.modified is not None:
        try:
            modified = datetime.fromtimestamp(int(stored.modified), UTC)
            headers["last-modified"] = format_datetime(modified, usegmt=True)
        except (ValueError, OverflowError, OSError):
            pass  # a year that no HTTP date has
    if "If-None-Match" in asked:
        unchanged = stored.etag is not None and asked["If-None-Match"].removeprefix("W/") in (
            stored.etag,
            "*",
        )
    else:
        since = http_date(asked.get("If-Modified-Since"))
        unchanged = since is not None and modified is not None and modified.timestamp() <= since
    if unchanged:
        return Answer(url, 304, headers, body)
    match = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", asked.get("Range", "")) if stored.ranges else None
    if match is None or asked.get("If-Range", stored.etag) not in (stored.etag, headers.get("last-modified")):
        return Answer(url, 200, headers, body)
    first, last = int(match[1]), min(int(match[2] or stored.size - 1), stored.size - 1)
    if first > last:
        headers |= {"content-range": f"bytes */{stored.size}", "content-length": "0"}
        return Answer(url, 416, headers, body)
    headers |= {
        "content-range": f"bytes {first}-{last}/{stored.size}",
        "content-length": str(last - first + 1),
    }
    return Answer(url, 206, headers, body)
