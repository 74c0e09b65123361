"""The head of an answer, read and understood. What is no HTTP is an error, never a guess."""

from __future__ import annotations

import http.client
import re

from whichpool.downloads.answer import content_length
from whichpool.downloads.failures import Broken
from whichpool.downloads.wire import MOST_HEADERS, Wire

__all__ = ["Reply"]

MOST_INTERIM = 20
"""Answers of status 1xx before the one that counts; a guess: there are one or two. Without a limit a server could send
them for as long as a head may take."""

MOST_KNOWN, LONGEST_KNOWN = 1_000, 120
"""Lines of heads, and characters of one, kept with what they say: a host's are mostly the same. 300 kB; guesses."""

BLANK = " \t"
_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (.*))?", re.DOTALL)


class Reply(http.client.HTTPResponse):
    """A head, read and understood. Its body is read by one of the classes in `wire`."""

    def __init__(self, wire: Wire, method: str | None) -> None:
        # Not the base's own: that makes a buffered file of the socket.
        self.wire = wire
        self.fp = wire  # type: ignore[assignment]
        self.debuglevel = 0
        self._method = method
        self.headers = self.msg = None  # type: ignore[assignment]
        self.version = self.status = 0
        self.reason = ""
        self.chunked = False
        self.chunk_left = None
        self.length: int | None = None
        self.pairs: list[tuple[str, str]] = []
        """The headers, in their order."""
        self.told: dict[str, str] = {}
        """The headers by lower-case name; several of one name joined."""
        self.will_close = True

    def begin(self) -> None:
        """Reads the head; interim answers (1xx) are passed over."""
        for _ in range(MOST_INTERIM + 1):
            lines = self.wire.head().decode("latin-1").split("\n")
            status = _STATUS.fullmatch(lines[0].rstrip("\r"))
            if status is None:
                raise Broken(f"what came is no HTTP: {lines[0][:60]!r}")
            self.status = self.code = int(status[2])
            if self.status >= 200 or self.status == 101:
                break
        else:
            raise Broken(f"more than {MOST_INTERIM} interim answers, and none that counts")
        self.version = 10 if status[1] == "0" else 11
        self.reason = (status[3] or "").strip()
        self.pairs, self.told = _headers(lines)
        told = self.told
        coding = told.get("transfer-encoding", "").lower()
        if coding not in ("", "chunked", "identity"):
            raise Broken(f"a Transfer-Encoding that nobody asked for: {coding[:60]!r}", again=False)
        self.chunked = coding == "chunked"
        connection = told.get("connection", "").lower()
        self.will_close = "close" in connection or (self.version == 10 and "keep-alive" not in connection)
        if self.chunked and told.pop("content-length", None) is not None:
            # Told twice: chunks are what counts, and what comes after them is not trusted.
            self.will_close = True
        self.length = content_length(told)
        if self.length is None and not self.chunked and not self.empty:
            self.will_close = True

    @property
    def empty(self) -> bool:
        """Whether there is no body whatever the headers say (RFC 9112, 6.3)."""
        return self._method == "HEAD" or self.status in (204, 304) or self.status < 200


_known: dict[str, tuple[tuple[str, str], str]] = {}
"""Lines of heads: the header that each is, and its name in lower case."""


def _headers(lines: list[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The headers of a head in their order, and by lower-case name, several of one name joined."""
    if len(lines) > MOST_HEADERS + 1:
        raise Broken(f"the answer has more than {MOST_HEADERS} headers")
    pairs: list[tuple[str, str]] = []
    lowers: list[str] = []
    for line in lines[1:]:
        known = _known.get(line)
        if known is not None:
            pairs.append(known[0])
            lowers.append(known[1])
            continue
        raw, line = line, line.rstrip("\r")
        blank = line[:1] in (" ", "\t")
        if blank and pairs:
            name, value = pairs[-1]
            pairs[-1] = (name, f"{value} {line.strip(BLANK)}")  # folded: obsolete, and still sent
            continue
        name, colon, value = line.partition(":")
        name = name.strip(BLANK)
        if not colon or not name:
            raise Broken(f"a line in the answer's head is no header: {line[:60]!r}")
        pair, lower = (name, value.strip(BLANK)), name.lower()
        pairs.append(pair)
        lowers.append(lower)
        if len(raw) <= LONGEST_KNOWN and not blank:
            if len(_known) >= MOST_KNOWN:
                _known.clear()
            _known[raw] = pair, lower
    told: dict[str, str] = {}
    for lower, (_, value) in zip(lowers, pairs, strict=True):
        told[lower] = f"{told[lower]}, {value}" if lower in told else value
    return pairs, told
