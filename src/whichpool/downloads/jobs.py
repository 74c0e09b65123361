"""The book of one request: what was tried, what came of it, and its receipt."""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern
from time import gmtime, monotonic, strftime, time
from urllib.parse import urlsplit

from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.records import Receipt, Request
from whichpool.downloads.secrets import without_credentials

__all__ = ["Job", "host_of"]


FURTHER_BYTES = 30_000
"""So many more must be there for a try to have come further: a server that gives a byte for each request would not come
to an end, and one that breaks off after less is not worth the asking. A guess."""


class Job:
    """One request in progress. It is on one thread at a time.

    Args:
        number: Its place in the input, from 0.
        request: What is asked for.
        name: The file's name, which is this request's alone.
        wanted: What the name would be if nobody else had it.

    Attributes:
        urls: The URLs that may still be tried; the first is the next one's.
        final: The name that the server made us take in its place; ``None``: it did not.
        in_vain: Tries that failed since the last one that came further.
    """

    __slots__ = (
        "attempts",
        "began",
        "fetched",
        "final",
        "in_vain",
        "name",
        "number",
        "progressed",
        "reached",
        "request",
        "resumed",
        "segments",
        "started",
        "urls",
        "wanted",
    )

    def __init__(self, number: int, request: Request, name: str, wanted: str) -> None:
        self.number = number
        self.request = request
        self.name = name
        self.wanted = wanted
        self.urls = list(request.urls)
        self.final: str | None = None
        self.attempts = 0
        self.in_vain = 0
        self.progressed = False  # this try
        self.reached: tuple[str, int] | None = None
        self.fetched = 0
        self.segments = 1
        self.resumed = False
        self.started = 0.0  # seconds since 1970
        self.began = 0.0  # of the steady clock

    @property
    def url(self) -> str:
        """What the next try is of."""
        return self.urls[0]

    def begin(self) -> None:
        """A try begins."""
        if not self.attempts:
            self.started, self.began = time(), monotonic()
        self.attempts += 1
        self.progressed = False

    def came(self, version: str, size: int) -> bool:
        """The try has left so many bytes that can be gone on with; whether that is further than before.

        Args:
            version: Of what. What is there of another one is no step on the way: a thing that changes all the time
                would never come to an end.
            size: Bytes.
        """
        before = self.reached
        if before is None or before[0] != version:
            self.reached = version, size
            return False
        if size < before[1] + FURTHER_BYTES:
            return False
        self.reached = version, size
        return True

    def failed(self, failure: DownloadFailed) -> bool:
        """The try failed; whether another one may go better. The next one is of the next mirror."""
        self.in_vain = 1 if failure.progressed else self.in_vain + 1
        first = self.urls.pop(0)
        if failure.again:
            self.urls.append(first)
        return bool(self.urls)

    def receipt(self, outcome: str, **more: object) -> Receipt:
        """What became of it."""
        return Receipt(
            without_credentials(self.request.url),
            outcome,
            fetched_bytes=self.fetched,
            attempts=max(1, self.attempts),
            resumed=self.resumed,
            segments=self.segments,
            started=_utc(self.started) if self.attempts else None,
            elapsed_s=round(monotonic() - self.began, 6) if self.attempts else None,
            **more,  # type: ignore[arg-type]  # the fields of a receipt, by name
        )

    def failure(self, failure: DownloadFailed) -> Receipt:
        """The receipt where nothing more is tried."""
        return self.receipt(
            "failed",
            final_url=failure.url or None,
            failure=intern(failure.kind),
            status=_status(failure.status),
            message=intern(str(failure)),  # thousands of them say the same
        )


@lru_cache(maxsize=64)  # many files begin in one second
def _second(whole: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole))


@lru_cache(maxsize=64)  # some in one millisecond; and receipts that are kept have one text then
def _instant(milliseconds: int) -> str:
    whole, part = divmod(milliseconds, 1000)
    return f"{_second(whole)}.{part:03d}Z"


def _utc(seconds: float) -> str:
    return _instant(int(seconds * 1000))


@lru_cache(maxsize=64)  # one object for each, as Python has it up to 256
def _status(status: int | None) -> int | None:
    return status


_PLAIN = re.compile(r"https?://([a-z0-9.-]*[a-z0-9](?::(?!(?:80|443)(?:[/?#]|$))[1-9][0-9]*)?)(?:/|$)")
_USUAL = {"http": ":80", "https": ":443", "ftp": ":21"}


def host_of(url: str) -> str:
    """The host and, where it is not the usual one, its port: what limits are for. However it is written.

    >>> host_of("http://a.example/x") == host_of("HTTP://joe@A.example.:80/y")
    True
    """
    plain = _PLAIN.match(url)
    if plain is not None:
        return plain[1]
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2].lower().removesuffix(_USUAL.get(parts.scheme, ":"))
    host, colon, port = where.rpartition(":")
    if colon and port.isdecimal():
        return f"{host.rstrip('.')}:{port}"
    return where.rstrip(".") or parts.scheme
