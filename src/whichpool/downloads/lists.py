r"""What is asked for, in all its forms, as `Request` records, one at a time.

    lines   https://example.org/a.iso<TAB>https://mirror.example/a.iso      aria2's input format:
              out=images/a.iso                                              mirrors between tabs, options indented
              checksum=sha-256=9f86...
            # and plain lists: one URL a line
    record  {"url": ..., "name": ..., "sha256": ..., "mirrors": [...], "headers": {...}, "digests": {...}}

Nothing is read before it is asked for, so a list of 100,000 URLs starts at once, and one that comes through a pipe
starts with its first entry. URLs are brought into the form in which they are sent (`urls`).

Options of aria2 that say how to fetch and not what (`split`, `gid`, ...) are passed over; the engine finds that out.
Those that would change what is fetched, or who learns of it (`http-passwd`, `all-proxy`, ...), and unknown ones are
errors, since to pass over them would not be what the list says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from whichpool.downloads.digests import checked_digests, parse_checksum
from whichpool.downloads.failures import Unsafe
from whichpool.downloads.names import name_from_url, safe_name
from whichpool.downloads.records import Request
from whichpool.downloads.urls import as_latin1, clean_url

__all__ = ["BadEntry", "add_header", "as_request", "requests_from"]

_KEYS = ("url", "name", "sha256", "digests", "mirrors", "headers")

_USED = ("out", "dir", "checksum", "header", "referer", "user-agent")
# Options of aria2 that change neither what is fetched nor who learns of it.
_PASSED_OVER = frozenset(
    {
        "gid",
        "split",
        "min-split-size",
        "max-connection-per-server",
        "continue",
        "pause",
        "max-tries",
        "retry-wait",
        "timeout",
        "connect-timeout",
        "lowest-speed-limit",
        "max-download-limit",
        "max-file-not-found",
        "file-allocation",
        "piece-length",
        "uri-selector",
        "reuse-uri",
        "stream-piece-selector",
        "no-file-allocation-limit",
        "enable-http-keep-alive",
        "enable-http-pipelining",
        "http-accept-gzip",
        "http-no-cache",
        "use-head",
        "remote-time",
        "always-resume",
        "max-resume-failure-tries",
        "auto-file-renaming",
        "allow-overwrite",
        "conditional-get",
        "check-integrity",
        "realtime-chunk-checksum",
        "save-not-found",
        "force-save",
        "max-mmap-limit",
        "async-dns",
        "content-disposition-default-utf8",
    }
)
# Those that change it, and what to use instead.
_INSTEAD = {
    "http-user": "put it into the URL, or use --user or netrc",
    "http-passwd": "put it into the URL, or use --user or netrc",
    "ftp-user": "put it into the URL",
    "ftp-passwd": "put it into the URL",
    "all-proxy": "use --proxy, or https_proxy in the environment",
    "http-proxy": "use --proxy, or http_proxy in the environment",
    "https-proxy": "use --proxy, or https_proxy in the environment",
    "no-proxy": "use no_proxy in the environment",
    "load-cookies": "use --cookies",
    "ca-certificate": "use --ca-bundle",
    "certificate": "use --cert",
    "private-key": "use --key",
}
# Headers that decide which bytes come. The downloader sends its own, and counts on the answer to them.
_OWN_HEADERS = frozenset(
    {
        "range",
        "if-range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "accept-encoding",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "te",
        "connection",
        "upgrade",
        "expect",
        "trailer",
        "keep-alive",
        "proxy-connection",
    }
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")  # its byte order marks, read as UTF-8


class BadEntry(ValueError):
    """An entry of a list that is none.

    Attributes:
        line: Its number, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def as_request(thing: str | Request | Mapping[str, Any]) -> Request:
    """A URL or a record as a `Request`, with everything in it checked.

    Args:
        thing: A URL; or a mapping with ``url`` and any of ``name``, ``sha256`` (hexadecimal), ``digests`` (by
            algorithm), ``mirrors`` (URLs) and ``headers``.

    Raises:
        ValueError: A value that cannot be, or an unknown key.
        TypeError: It is nothing of that kind.
    """
    if isinstance(thing, Request):
        return _checked(thing.url, thing.name, thing.digests, thing.mirrors, thing.headers)
    if isinstance(thing, str):
        return Request(clean_url(thing))
    if not isinstance(thing, Mapping):
        raise TypeError(f"a URL, a mapping or a Request is asked for, not {type(thing).__name__}")
    for key in thing:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1)
            raise ValueError(
                f"a record has no {key!r}; "
                + (f"is {near[0]!r} meant?" if near else f"it may have {', '.join(_KEYS)}")
            )
    url = thing.get("url")
    if not isinstance(url, str):
        raise (
            ValueError("a record needs a 'url'")
            if url is None
            else TypeError(f"'url' is text, not {_type(url)}")
        )
    name, sha256, mirrors = thing.get("name"), thing.get("sha256"), thing.get("mirrors") or ()
    for key, value in (("name", name), ("sha256", sha256)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{key!r} is text, not {_type(value)}")
    if isinstance(mirrors, str):
        mirrors = (mirrors,)
    digests = {**_texts("digests", thing), **({} if sha256 is None else {"sha256": sha256})}
    return _checked(url, name, digests, mirrors, _texts("headers", thing))


def _type(value: object) -> str:
    return type(value).__name__


def _texts(key: str, record: Mapping[str, Any]) -> Mapping[str, str]:
    value = record.get(key) or {}
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) for pair in value.items() for text in pair
    ):
        raise TypeError(f"{key!r} is a mapping of texts")
    return value


def _checked(
    url: str, name: str | None, digests: Mapping[str, str], mirrors: Iterable[str], headers: Mapping[str, str]
) -> Request:
    clean: dict[str, str] = {}
    for key, value in headers.items():
        add_header(clean, f"{key}: {value}")
    try:
        wanted = None if name is None else safe_name(name)
    except Unsafe as error:
        raise ValueError(str(error)) from None
    others = tuple(clean_url(mirror) for mirror in mirrors)
    return Request(clean_url(url), wanted, checked_digests(digests), others, clean)


def add_header(headers: dict[str, str], line: str) -> None:
    """Put ``Name: value`` to the others; a name that is there gets the value behind the one that it has.

    Raises:
        ValueError: It is no header, or one that the downloader must set itself.
    """
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name):
        # Not shown: what is wrongly written may still be a password.
        raise ValueError("a header looks like 'Name: value'")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise ValueError(f"the value of the header {name!r} has a control character in it")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the value of the header {name!r} has characters that no header can have") from None
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"the header {name!r} would change which bytes come: the downloader sets it itself")
    before = next((key for key in headers if key.lower() == name.lower()), None)
    if before is None:
        headers[name] = value
    else:
        headers[before] += ("; " if name.lower() == "cookie" else ", ") + value


@dataclass(slots=True)
class _Entry:
    """A line of URLs, and the options that followed so far."""

    line: int
    urls: list[str]
    out: str | None = None
    dir: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    bad: bool = False

    def request(self) -> Request:
        name = self.out
        if self.dir:
            # The folder is decided before anything is asked, and so is the name then.
            name = f"{self.dir}/{name or name_from_url(self.urls[0])}"
        return Request(
            self.urls[0], name and safe_name(name), self.digests, tuple(self.urls[1:]), self.headers
        )


def requests_from(
    lines: Iterable[str], *, source: str = "the list", on_bad: Callable[[BadEntry], None] | None = None
) -> Iterator[Request]:
    """The requests of a list, plain or in aria2's format, as its lines come.

    Empty lines, and those that begin with ``#``, say nothing. An entry is given out when the next one begins, since
    options may follow; in a plain list that is one line behind.

    Args:
        lines: With or without their ends; a byte order mark is dropped. Bytes that are not UTF-8 may be in them as
            ``surrogateescape`` has them: in a URL they are sent as they are (``%E9``), elsewhere they are Latin-1.
        source: What errors call it.
        on_bad: Told about each entry that is none, which is then left out as a whole. ``None``: the first is raised.

    Raises:
        BadEntry: With the number of the line in its message.
    """
    entry: _Entry | None = None

    def bad(number: int, message: str) -> None:
        error = BadEntry(f"{source}, line {number}: {message}", number)
        if on_bad is None:
            raise error
        on_bad(error)

    for number, raw in enumerate(lines, 1):
        line = raw
        if number == 1:
            line = raw.removeprefix("\ufeff")
            if line.startswith(_UTF16):
                bad(number, "this is UTF-16: save it as UTF-8. None of it is read")
                return
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if line[0] in " \t" and not _is_url(text):
            try:
                if entry is None:
                    raise ValueError("an indented line is an option of the URL above it, and there is none")
                _option(entry, text)
            except (ValueError, Unsafe) as error:
                bad(number, str(error))
                if entry is not None:
                    entry.bad = True
            continue
        if entry is not None and not entry.bad:
            yield entry.request()
        entry = _Entry(number, [])
        try:
            entry.urls = [clean_url(url) for url in text.split("\t") if url.strip()]
        except ValueError as error:
            entry.bad = True
            bad(number, str(error))
    if entry is not None and not entry.bad:
        yield entry.request()


def _is_url(text: str) -> bool:
    """Whether an indented line is a URL all the same: plain lists are indented at times."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def _option(entry: _Entry, text: str) -> None:
    name, equals, value = as_latin1(text).partition("=")
    name, value = name.strip().removeprefix("--"), value.strip()
    if not equals:
        raise ValueError(f"{text!r} is no option: one looks like out=NAME")
    match name:
        case "out":
            entry.out = safe_name(value)
        case "dir":
            try:
                entry.dir = safe_name(value) if value.strip("./\\") or ".." in value else None
            except Unsafe as error:
                raise ValueError(f"{error}; where that is, says -d") from None
        case "checksum":
            entry.digests.update([parse_checksum(value)])
        case "header":
            add_header(entry.headers, value)
        case "referer":
            add_header(entry.headers, f"Referer: {entry.urls[0] if value == '*' and entry.urls else value}")
        case "user-agent":
            add_header(entry.headers, f"User-Agent: {value}")
        case _ if name in _INSTEAD:
            raise ValueError(f"the option {name!r} is not taken from lists: {_INSTEAD[name]}")
        case _ if name not in _PASSED_OVER:
            near = get_close_matches(name, _USED, 1)
            raise ValueError(
                f"unknown option {name!r}; "
                + (f"is {near[0]!r} meant?" if near else f"known are {', '.join(_USED)}")
            )
