"""A server of the tests' own that does everything wrong that a server can, and writes down what it was asked.

It speaks over bare sockets on loopback, a thread for each connection. What it does at a path is a script, a function
that gets the `Visit` and sends what it likes; the functions below make scripts. The n-th request at a path gets the
n-th script, the last one goes on for ever::

    with Hostile() as server:
        url = server.at("/a.bin", cut(whole(body), 700), serve(body, etag='"v1"'))
        ...
        assert server.sent("/a.bin") == len(body)

Its books: `requests` has every request whose head was read; `spans` has, for each answer, which bytes of the thing went
out (handed to the kernel: some of them may not have arrived).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import formatdate, parsedate_to_datetime

from hostile_server import Headers, Hostile, Request, Script, Span, Visit, head

__all__ = [
    "CHUNK_FAULTS",
    "Headers",
    "Hostile",
    "Request",
    "Script",
    "Span",
    "Visit",
    "broken_chunks",
    "cut",
    "cuts_of",
    "endless",
    "flood",
    "head",
    "late_or_early",
    "raw",
    "redirect",
    "refuse",
    "serve",
    "silent",
    "status",
    "then_close",
    "trickle",
    "whole",
]


def whole(content: bytes, headers: Headers = ()) -> bytes:
    """A plain, right answer of status 200, as bytes."""
    return head(200, [("Content-Length", str(len(content))), *headers]) + content


def cuts_of(answer: bytes) -> dict[str, int]:
    """Where an answer can be cut: what kind of place it is -> how many bytes come before the end.

    An answer of status 200 with two headers at least and a body of four bytes at least.
    """
    blank = answer.index(b"\r\n\r\n")
    line = answer.index(b"\r\n")
    colon = answer.index(b":")
    second = answer.index(b"\r\n", line + 2)
    start = blank + 4
    return {
        "nothing at all": 0,
        "in the version": 3,
        "in the status": line - 4,
        "before the end of the status line": line,
        "in the end of the status line": line + 1,
        "after the status line": line + 2,
        "in a header's name": colon - 3,
        "after the colon": colon + 1,
        "in a header's value": second - 1,
        "between two headers": second + 2,
        "before the empty line": blank + 2,
        "in the empty line": blank + 3,
        "before the body": start,
        "after the first byte": start + 1,
        "in the middle of the body": start + (len(answer) - start) // 2,
        "before the last byte": len(answer) - 1,
    }


def raw(data: bytes | Iterable[bytes], *, close: bool = True) -> Script:
    """Exactly these bytes; then the end, unless ``close`` is false."""

    def script(visit: Visit) -> None:
        for piece in [data] if isinstance(data, bytes) else data:
            visit.raw(piece)
        visit.keep = not close

    return script


def cut(answer: bytes, at: int, *, reset: bool = False) -> Script:
    """The first ``at`` bytes of an answer; then the end, or a reset. What is sent of the body is booked."""

    def script(visit: Visit) -> None:
        start = answer.index(b"\r\n\r\n") + 4
        visit.raw(answer[: min(at, start)])
        visit.body(answer[start:at])
        if reset:
            visit.reset()
        visit.close()

    return script


def status(code: int | str, headers: Headers = (), body: bytes = b"no\n") -> Script:
    """A status with a short body, on a connection that stays."""

    def script(visit: Visit) -> None:
        visit.head(code, [("Content-Length", str(len(body))), *headers])
        if visit.request.method != "HEAD":
            visit.raw(body)

    return script


def redirect(to: str | Callable[[Visit], str], code: int = 302, headers: Headers = ()) -> Script:
    """To a URL, or to what the function says."""

    def script(visit: Visit) -> None:
        place = to if isinstance(to, str) else to(visit)
        visit.head(code, [("Location", place), ("Content-Length", "0"), *headers])

    return script


def then_close(script: Script) -> Script:
    """The connection is closed after the answer, although nothing said so."""

    def closing(visit: Visit) -> None:
        script(visit)
        visit.keep = False

    return closing


def refuse(visit: Visit) -> None:
    """A reset in place of an answer."""
    visit.reset()


def silent(visit: Visit) -> None:
    """No answer at all."""
    visit.stall()


def serve(
    content: bytes,
    *,
    etag: str | None = '"v1"',
    last_modified: float | None = None,
    ranges: bool = True,
    headers: Headers = (),
    drop: Sequence[str] = (),
    conditional: bool = True,
    stop_at: int | None = None,
    then: str = "stall",
    reached: threading.Event | None = None,
    rate: float | None = None,
    pace: Callable[[int], None] | None = None,
    honest: bool = True,
) -> Script:
    """As a good server would: ranges, If-Range, If-None-Match, If-Modified-Since, HEAD.

    Args:
        content: The thing.
        etag: Its entity tag, with the quotes (and ``W/``).
        last_modified: Seconds since the epoch.
        ranges: False: every answer is whole, and ``Accept-Ranges: none``.
        headers: More of them.
        drop: Names of headers that are left out.
        conditional: False: no If-None-Match and If-Modified-Since.
        stop_at: The first answer's body ends at this place of the thing; ``then`` it stalls, resets or closes. Counted
            in the thing, not in the answer: one that begins after it is not stopped.
        reached: Set when that place is reached.
        rate: Bytes a second of each answer.
        pace: Called before each piece with its place.
        honest: False: If-Range is not looked at; a range is a range.
    """
    date = formatdate(last_modified, usegmt=True) if last_modified is not None else None

    def script(visit: Visit) -> None:
        asked = visit.request
        known = [("ETag", etag or ""), ("Last-Modified", date or ""), ("Date", formatdate(usegmt=True))]
        common = [(name, value) for name, value in known if value]
        common += [("Accept-Ranges", "bytes" if ranges else "none"), *headers]
        if conditional and _unchanged(asked, etag, last_modified):
            visit.head(304, [h for h in common if h[0] not in drop])
            return
        total, part = len(content), None
        if ranges and asked.range is not None:
            condition = asked.headers.get("if-range")
            strong = etag if etag and not etag.startswith("W/") else None
            if condition is None or not honest or condition in (strong, date):
                part = asked.range
        first, last = part or (0, None)
        last = total - 1 if last is None else min(last, total - 1)
        if part is not None and first >= total:
            visit.head(416, [("Content-Range", f"bytes */{total}"), ("Content-Length", "0"), *common])
            return
        if part is not None:
            common.append(("Content-Range", f"bytes {first}-{last}/{total}"))
        common.append(("Content-Length", str(last + 1 - first)))
        visit.head(206 if part else 200, [h for h in common if h[0] not in drop])
        if asked.method == "HEAD":
            return
        view = memoryview(content)
        if stop_at is not None and first <= stop_at <= last:
            visit.body(view[first:stop_at], first, rate=rate, pace=pace)
            if reached is not None:
                reached.set()
            {"stall": visit.stall, "reset": visit.reset, "close": visit.close}[then]()
        visit.body(view[first : last + 1], first, rate=rate, pace=pace)

    return script


def _unchanged(asked: Request, etag: str | None, last_modified: float | None) -> bool:
    tags = asked.headers.get("if-none-match")
    if tags is not None:
        weak = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return etag is not None and (tags.strip() == "*" or etag.removeprefix("W/") in weak)
    since = asked.headers.get("if-modified-since")
    if since is None or last_modified is None:
        return False
    try:
        return last_modified <= parsedate_to_datetime(since).timestamp()
    except ValueError:
        return False


def late_or_early(
    content: bytes,
    *,
    by: int = 0,
    total: int | str | None = None,
    etag: str | None = '"v1"',
    said: str | None = None,
) -> Script:
    """Whole things are right; a range begins ``by`` bytes from where it was asked (and says so), or names another
    total, or has ``said`` as its whole Content-Range ("": none)."""

    def script(visit: Visit) -> None:
        asked = visit.request.range
        if asked is None:
            serve(content, etag=etag)(visit)
            return
        first = max(0, asked[0] + by)
        last = len(content) - 1 if asked[1] is None else asked[1]
        tag = [("ETag", etag)] if etag else []
        text = f"bytes {first}-{last}/{len(content) if total is None else total}" if said is None else said
        place = [("Content-Range", text)] if text else []
        visit.head(206, [*tag, *place, ("Content-Length", str(last + 1 - first))])
        visit.body(memoryview(content)[first : last + 1], first)

    return script


def broken_chunks(content: bytes, how: str, *, headers: Headers = ()) -> Script:
    """``Transfer-Encoding: chunked``, of which the end is wrong: see `CHUNK_FAULTS`; ``"right"`` is right."""
    middle = len(content) // 2
    first, rest = content[:middle], content[middle:]

    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data)

    ends = {
        "right": chunk(rest) + b"0\r\n\r\n",
        "trailers": chunk(rest) + b"0\r\nX-After: yes\r\n\r\n",
        "extensions": b"%x;name=value\r\n%s\r\n0\r\n\r\n" % (len(rest), rest),
        "no terminator": chunk(rest),
        "half a terminator": chunk(rest) + b"0\r\n",
        "bad size": b"xyz\r\n" + rest + b"\r\n0\r\n\r\n",
        "no size": b"\r\n" + rest + b"\r\n0\r\n\r\n",
        "negative size": b"-5\r\n" + rest + b"\r\n0\r\n\r\n",
        "endless size": b"f" * 5_000 + b"\r\n" + rest,
        "larger than what comes": b"%x\r\n%s" % (len(rest) + 10, rest),
        "smaller than what comes": b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest) - 10, rest),
        "cut in the size": b"%x" % len(rest),
        "no line end": b"%x\r\n%sXX0\r\n\r\n" % (len(rest), rest),
    }
    answer = head(200, [("Transfer-Encoding", "chunked"), *headers]) + chunk(first) + ends[how]
    return raw(answer, close=how in CHUNK_FAULTS)


CHUNK_FAULTS = [
    "no terminator",
    "bad size",
    "no size",
    "negative size",
    "endless size",
    "larger than what comes",
    "smaller than what comes",
    "cut in the size",
    "no line end",
]


def trickle(content: bytes, *, every_s: float, piece: int = 1, headers: Headers = ()) -> Script:
    """A byte now and then, for as long as it takes."""

    def script(visit: Visit) -> None:
        visit.head(200, [("Content-Length", str(len(content))), *headers])
        for place in range(0, len(content), piece):
            visit.body(content[place : place + piece], place)
            visit.pause(every_s)

    return script


def endless(piece: bytes, before: bytes = b"") -> Script:
    """``before``, then ``piece`` again and again until the client goes."""

    def script(visit: Visit) -> None:
        visit.raw(before)
        while True:
            visit.raw(piece)

    return script


def flood(count: int, *, value: str = "x", content: bytes = b"flooded") -> Script:
    """An answer with that many headers."""

    def lines() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        for start in range(0, count, 1_000):
            yield b"".join(f"X-{n}: {value}\r\n".encode() for n in range(start, min(count, start + 1_000)))
        yield f"Content-Length: {len(content)}\r\n\r\n".encode()
        yield content

    return lambda visit: raw(lines())(visit)
