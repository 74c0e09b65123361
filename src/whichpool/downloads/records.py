"""What is asked for, how, and what came of it: frozen records, in the order of their use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["FIRST_PER_HOST", "Receipt", "Request", "Settings"]

MB = 1_000_000

LONGEST_S = 1e8
"""Of a time limit: three years. Sockets do not know infinity."""

FIRST_PER_HOST = 16
"""Connections to a host that is not known yet: from there they double. With a round trip of 20 ms, many come 70 ms
later from 8 on, of the second that 2,000 small files take."""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to fetch."""

    url: str
    """``http``, ``https`` or ``file``; others (``s3``, ``ftp``, ...) with the extra ``whichpool[fsspec]``. A user name
    and a password in it are used for that host, and are in no message, receipt or journal."""
    name: str | None = None
    """The file's name in the folder, which may have folders in it. ``None``: what the server calls it
    (``Content-Disposition``), else the last part of the URL."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the content, in lower-case hexadecimal, by algorithm as `hashlib` names it: ``{"sha256": "9f86d0..."}``."""
    mirrors: tuple[str, ...] = ()
    """Other URLs of the same content, tried in turn when one has failed."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request for it; not to another host after a redirect, if they can be secret."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The URL and its mirrors."""
        return (self.url, *self.mirrors)


@dataclass(frozen=True, slots=True)
class Settings:
    """How things are fetched; the same for all of one call."""

    most: int = 100
    """Files in progress at once."""
    per_host: int = 100
    """Connections to one host at the most; how many of them are used is found by trying, from `FIRST_PER_HOST` on."""
    rate: float | None = None
    """Bytes a second for all together; ``None``: no limit."""
    retries: int = 5
    """Further tries of a file that failed, after the first, or after the last one that brought 30 kB more of it; with
    mirrors, each try is the next mirror's."""
    connect_s: float = 15.0
    """A connection must be there after so long, its TLS included."""
    first_byte_s: float = 60.0
    """The answer must begin so long after it was asked for."""
    stall_s: float = 30.0
    """Over so long a time, a body must bring ``stall_bytes`` at least."""
    stall_bytes: int = 30_000
    """1 kB/s by default: what comes at one byte a second is not waited for."""
    most_redirects: int = 10
    downgrade: bool = False
    """Whether a redirect from https to http is followed."""
    private: bool = True
    """Whether addresses that are not public are connected to: loopback, private, link-local, ..."""
    segments: int = 8
    """Ranges of one large file that are fetched at once at the most; 1: never more than one."""
    segment_bytes: int = 16 * MB
    """No range is made smaller than this."""
    overwrite: bool = False
    """Whether a file that is there already is fetched again and replaced. Without: what is there is left, under a
    receipt that says so; see ``newer``."""
    newer: bool = False
    """Ask for what is there already only if the server has a newer one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    user: tuple[str, str] | None = None
    """Name and password for hosts that have none in the URL or in netrc."""
    cookies: Path | None = None
    """A file in Netscape's format."""
    ca_bundle: Path | None = None
    """Who is trusted, in place of the system's; PEM."""
    client_cert: tuple[Path, Path | None] | None = None
    """This client's certificate and its key (``None``: in the same file), PEM."""
    proxy: str | None = None
    """For everything; ``None``: as the environment says (``http_proxy``, ``https_proxy``, ``no_proxy``)."""
    digest: str = "sha256"
    """The algorithm whose digest each receipt has; empty: none is computed unless one is to be checked."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one request: one line of a receipts file."""

    url: str
    """As asked for, without user name and password."""
    outcome: str
    """``"fetched"``, ``"unchanged"`` (a 304, or it was there and nobody asked for a newer one) or ``"failed"``."""
    path: str | None = None
    """The file, relative to the folder, with ``/``; ``None``: there is none."""
    final_url: str | None = None
    """Where it came from in the end."""
    bytes: int | None = None
    """The size of the file."""
    fetched_bytes: int = 0
    """What came over the network for it in this run."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the file as it was written, by algorithm; hexadecimal."""
    checked: tuple[str, ...] = ()
    """Which promises were kept: ``"length"``, and the algorithms of digests that were given."""
    etag: str | None = None
    last_modified: str | None = None
    attempts: int = 1
    """Tries, the first included."""
    resumed: bool = False
    """Whether a part of it was there from an earlier run or try."""
    segments: int = 1
    """Ranges that were fetched at once, at the most."""
    started: str | None = None
    """When, in UTC: ``2026-11-24T12:00:00.000Z``."""
    elapsed_s: float | None = None
    failure: str | None = None
    """The class of the failure, as `DownloadFailed.kind` names it."""
    status: int | None = None
    """The HTTP status of the failure, if there was one."""
    message: str | None = None
    """What happened, for people."""

    @property
    def ok(self) -> bool:
        """Whether the file is there and whole."""
        return self.outcome != "failed"


class _Digests:
    """`Receipt.digests` in less memory. Whoever keeps the receipts of 100,000 files would have 30 MB of digests: a
    dictionary and its text take 300 bytes, the 32 bytes that the usual one says take 65."""

    def __init__(self, slot: Any) -> None:
        self._slot = slot

    def __set__(self, receipt: Receipt, value: Mapping[str, str] | bytes | None) -> None:
        if isinstance(value, dict):
            if not value:
                value = None
            elif len(value) == 1 and "sha256" in value:
                try:
                    raw = bytes.fromhex(value["sha256"])
                    value = raw if raw.hex() == value["sha256"] else value
                except (TypeError, ValueError):
                    pass  # from a file that somebody wrote by hand: it stays as it is
        self._slot.__set__(receipt, value)

    def __get__(self, receipt: Receipt | None, owner: type) -> Any:
        if receipt is None:
            return self
        value = self._slot.__get__(receipt, owner)
        if value is None:
            return {}
        return {"sha256": value.hex()} if isinstance(value, bytes) else value


setattr(Receipt, "digests", _Digests(vars(Receipt)["digests"]))  # noqa: B010  # in the place of the slot
