"""A server of the tests' own that does everything wrong that a server can, and writes down what it was asked.

It speaks over bare sockets on loopback, a thread for each connection. What it does at a path is a script, a function
that gets the `Visit` and sends what it likes; the functions below make scripts. The n-th request at a path gets the
n-th script, the last one goes on for ever::

    with Hostile() as server:
        url = server.at("/a.bin", cut(whole(body), 700), serve(body, etag='"v1"'))
        ...
        assert server.sent("/a.bin") == len(body)

Where each byte counts, a test writes the script itself: `Visit.raw`, `Visit.answer`, `Visit.drip`, `Visit.stall`.

Its books: `requests` has every request whose head was read; `spans` has, for each answer, which bytes of the thing went
out (handed to the kernel: some of them may not have arrived).
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime

__all__ = [
    "CHUNK_FAULTS",
    "JOIN_S",
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

PIECE_BYTES = 65_536
"""Sent at once. Small enough that the books are right to some 100 kB when a client goes away in the middle."""
PIECE_S = 0.01
"""How often something is sent where a rate is given."""
SEND_BUFFER_BYTES = 65_536
"""Of the kernel, for the same reason."""
MOST_HEAD_BYTES = 1_000_000
JOIN_S = 10.0
"""A thread of the server that is not gone after so long is a fault of its script."""

Headers = Sequence[tuple[str, str]]
Script = Callable[["Visit"], object]
"""Answers a visit; ``False``: the connection ends then."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    """By names in lower case; what came twice is joined by ", "."""
    head: bytes
    connection: int
    """The number of the connection, from 0 on."""
    at_s: float
    """`time.monotonic`."""

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    @property
    def range(self) -> tuple[int, int | None] | None:
        """``bytes=5-9`` is (5, 9), ``bytes=5-`` is (5, None)."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", "").replace(" ", ""))
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None


@dataclass(slots=True)
class Span:
    """Bytes of a thing that went out in one answer: from ``first`` up to, not including, ``end``."""

    path: str
    first: int
    end: int
    connection: int


class _Closed(Exception):
    """The script has ended the connection, or the client has, or the server stops."""


@dataclass(eq=False)
class Visit:
    """One request, and the means to answer it."""

    server: Hostile
    socket: socket.socket
    request: Request
    keep: bool = True
    """Whether the connection is read on after the script."""
    span: Span | None = field(default=None)

    def raw(self, data: bytes | str) -> None:
        """Sends exactly that."""
        view = memoryview(data.encode("latin-1") if isinstance(data, str) else data)
        while len(view):
            view = view[self._send(view[:PIECE_BYTES]) :]

    def _send(self, view: memoryview) -> int:
        if self.server.stopping.is_set():
            raise _Closed
        try:
            sent = self.socket.send(view)
        except OSError as e:
            raise _Closed from e
        self.server.sent_bytes += sent
        return sent

    def head(self, status: int | str, headers: Headers = (), version: str = "HTTP/1.1") -> None:
        """The status line, headers, and the empty line."""
        self.raw(head(status, headers, version))

    def answer(self, status: int | str = 200, body: bytes = b"", **headers: str | None) -> None:
        """A whole answer; ``content_length=None`` leaves that out, other names have ``_`` for ``-``."""
        told = {"Content-Length": str(len(body))}
        told |= {name.replace("_", "-").title(): value for name, value in headers.items()}  # type: ignore[misc]
        self.head(status, [(name, value) for name, value in told.items() if value is not None])
        self.raw(body)

    def drip(self, data: bytes, every_s: float, piece: int = 1) -> None:
        """So many bytes at a time, so that each read of the client's brings something."""
        for place in range(0, len(data), piece):
            self.raw(data[place : place + piece])
            self.pause(every_s)

    def body(
        self,
        data: bytes | memoryview,
        first: int = 0,
        *,
        rate: float | None = None,
        piece: int = PIECE_BYTES,
        pace: Callable[[int], None] | None = None,
    ) -> None:
        """Sends ``data``, which begins at ``first`` of the thing, and books it.

        ``rate`` is bytes a second; ``pace`` is called before each piece with its place in the thing.
        """
        if self.request.method == "HEAD":
            return
        span = self.span
        if span is None or span.end != first:
            span = self.span = Span(self.request.path, first, first, self.request.connection)
            self.server.spans.append(span)
        view = memoryview(data)
        if rate:
            piece = max(1, min(piece, int(rate * PIECE_S)))
        started, place = time.monotonic(), 0
        while place < len(view):
            if pace is not None:
                pace(first + place)
            sent = self._send(view[place : place + piece])
            place += sent
            span.end += sent
            if rate and place < len(view):
                self.pause(started + place / rate - time.monotonic())

    def pause(self, seconds: float) -> None:
        """Does nothing for a while, or until the server stops."""
        if seconds > 0 and self.server.stopping.wait(seconds):
            raise _Closed

    def stall(self) -> None:
        """Sends nothing more, until the client goes or the server stops."""
        self.keep = False
        while True:
            ready, _, _ = select.select([self.socket, self.server.wake], [], [])
            if self.server.wake in ready:
                raise _Closed
            try:
                if not self.socket.recv(65_536):
                    raise _Closed
            except OSError as e:
                raise _Closed from e

    def hold(self, gate: threading.Event) -> None:
        """Goes on when the gate opens; ends if the client goes before."""
        while not gate.wait(0.01):
            ready, _, _ = select.select([self.socket, self.server.wake], [], [], 0)
            if self.server.wake in ready:
                raise _Closed
            if ready:
                try:
                    if not self.socket.recv(1, socket.MSG_PEEK):
                        raise _Closed
                except (OSError, ValueError) as e:
                    raise _Closed from e

    def close(self) -> None:
        """An orderly end: what was sent arrives."""
        raise _Closed

    def reset(self) -> None:
        """RST: the client gets ECONNRESET."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.server._resetting.add(self.request.connection)
        raise _Closed


class Hostile:
    """The server. A context manager; after it no thread and no socket is left.

    Args:
        script: For all paths that get none of their own; ``None``: 404.
        host: Where it listens.
        port: 0: any that is free.
        tls: With this, it speaks TLS.
        greeting: Sent on each connection before anything is read from it.

    Attributes:
        requests: What was asked, in order.
        spans: What of things went out.
        sent_bytes: All that was sent, heads included (TLS not counted).
        connections: How many were accepted.
        busiest: The most requests that were in progress at one moment.
        tls_failures: Handshakes that the client ended.
        errors: Exceptions of scripts: a fault of the test. Raised at the end.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        greeting: bytes = b"",
    ) -> None:
        self.host, self.port, self.tls, self.greeting = host, port, tls, greeting
        self.requests: list[Request] = []
        self.spans: list[Span] = []
        self.sent_bytes = 0
        self.connections = 0
        self.busiest = 0
        self.tls_failures: list[str] = []
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._scripts: dict[str, list[Script]] = {}
        self._prefixes: list[tuple[str, Script]] = [("", script or _nothing)]
        self._asked: dict[str, int] = {}
        self._resetting: set[int] = set()
        self._busy = 0
        self._lock = threading.RLock()  # `wait_until` asks the books with it
        self._open: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition(self._lock)

    # --- start and stop

    def __enter__(self) -> Hostile:
        self.wake, self._waker = socket.socketpair()
        self._listener = socket.create_server((self.host, self.port), backlog=512)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="hostile-accept", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._waker.close()  # `wake` is readable for ever: whoever waits sees it
        self._acceptor.join(JOIN_S)
        self._listener.close()
        with self._lock:
            sockets, threads = list(self._open.values()), list(self._threads)
        for connection in sockets:
            _shut(connection)
        for thread in threads:
            thread.join(JOIN_S)
        stuck = [thread.name for thread in threads if thread.is_alive()]
        self.wake.close()
        assert not stuck, f"scripts that do not end: {stuck}"
        if self.errors and exc[0] is None:
            raise self.errors[0]

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    def url(self, path: str = "/", host: str | None = None, user: str = "") -> str:
        """Of a path, by another name of the host, say."""
        return f"{'https' if self.tls else 'http'}://{user}{host or self.host}:{self.port}{path}"

    # --- what it does

    def at(self, path: str, *scripts: Script) -> str:
        """Sets the scripts of a path (with its query, if it has one); returns the URL."""
        with self._lock:
            self._scripts[path] = list(scripts)
            self._asked[path] = 0
        return self.origin + path

    def under(self, prefix: str, script: Script) -> str:
        """One script for all paths that begin so and have none of their own."""
        with self._lock:
            self._prefixes.insert(0, (prefix, script))
        return self.origin + prefix

    def _script(self, request: Request) -> Script:
        with self._lock:
            for key in (request.target, request.path):
                if scripts := self._scripts.get(key):
                    n = self._asked[key]
                    self._asked[key] = n + 1
                    return scripts[min(n, len(scripts) - 1)]
            for prefix, script in self._prefixes:
                if request.target.startswith(prefix):
                    return script
        raise AssertionError("the last one is for all")

    # --- its books

    @property
    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [request.target for request in self.requests]

    def header(self, name: str, at: int = -1) -> str | None:
        """What a request had."""
        return self.requests[at].headers.get(name.lower())

    def asked(self, path: str, method: str = "GET") -> list[Request]:
        """The requests at a path, in order."""
        with self._lock:
            return [r for r in self.requests if path in (r.path, r.target) and r.method == method]

    def sent(self, path: str) -> int:
        """Bytes of the thing at the path that went out, counted as often as they did."""
        with self._lock:
            return sum(s.end - s.first for s in self.spans if s.path == path)

    def twice(self, path: str) -> int:
        """Bytes that went out more than once: each further time counts."""
        with self._lock:
            spans = sorted((s.first, s.end) for s in self.spans if s.path == path and s.end > s.first)
        covered = reach = 0
        for first, end in spans:
            if end > reach:
                covered += end - max(first, reach)
                reach = end
        return sum(end - first for first, end in spans) - covered

    def wait_until(self, true: Callable[[Hostile], bool], seconds: float = 30.0) -> None:
        """Returns when it is so; it is looked at again with each request, and often."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not true(self):
                assert time.monotonic() < deadline, "it did not come to that"
                self._changed.wait(0.005)

    # --- its threads

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self.wake], [], [])
            if self.wake in ready:
                return
            try:
                connection, _ = self._listener.accept()
            except OSError:
                continue  # it has gone again
            connection.setblocking(True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            with self._lock:
                number = self.connections
                self.connections += 1
                self._open[number] = connection
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                thread = threading.Thread(
                    target=self._connection, args=(number, connection), name=f"hostile-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _connection(self, number: int, bare: socket.socket) -> None:
        connection = bare
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(bare, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open[number] = connection  # `bare` is an empty shell from here on
                try:
                    connection.do_handshake()
                except OSError as e:  # ssl.SSLError is one
                    self.tls_failures.append(str(e))
                    return
            if self.greeting:
                connection.sendall(self.greeting)
            waiting = b""
            while (found := self._read_head(connection, number, waiting)) is not None:
                request, waiting = found
                with self._changed:
                    self.requests.append(request)
                    self._busy += 1
                    self.busiest = max(self.busiest, self._busy)
                    self._changed.notify_all()
                visit = Visit(self, connection, request)
                try:
                    if self._script(request)(visit) is False:
                        visit.keep = False
                finally:
                    with self._lock:
                        self._busy -= 1
                if not visit.keep or request.headers.get("connection", "").lower() == "close":
                    return
        except (_Closed, OSError):
            pass
        except BaseException as e:
            self.errors.append(e)
        finally:
            with self._lock:
                self._open.pop(number, None)
            if number not in self._resetting:
                _farewell(connection)
            connection.close()

    def _read_head(
        self, connection: socket.socket, number: int, waiting: bytes
    ) -> tuple[Request, bytes] | None:
        while b"\r\n\r\n" not in waiting:
            got = connection.recv(65_536)
            if not got or len(waiting) > MOST_HEAD_BYTES or self.stopping.is_set():
                return None
            waiting += got
            if not waiting[:1].isalpha():  # TLS, say
                connection.sendall(head(400, [("Connection", "close")]))
                return None
        found, _, rest = waiting.partition(b"\r\n\r\n")
        first, *lines = found.decode("latin-1").split("\r\n")
        method, _, target = first.partition(" ")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        target = target.rpartition(" ")[0]
        return Request(method, target, headers, found, number, time.monotonic()), rest


def _nothing(visit: Visit) -> None:
    visit.head(404, [("Content-Length", "0")])


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _farewell(connection: socket.socket) -> None:
    """Ends the sending side, so that what was sent arrives even if something unread waits here: closing at once
    would reset the connection."""
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.setblocking(False)
        while connection.recv(65_536):
            pass
    except (OSError, ValueError):
        pass


def head(status: int | str, headers: Headers = (), version: str = "HTTP/1.1") -> bytes:
    """A status line (``206``, or all of what follows the version), headers, the empty line."""
    line = f"{status} {REASONS.get(status, 'Status')}" if isinstance(status, int) else status
    lines = [f"{version} {line}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


REASONS = {
    200: "OK",
    206: "Partial Content",
    302: "Found",
    304: "Not Modified",
    404: "Not Found",
    416: "Range Not Satisfiable",
}


# --- behaviours


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
        visit.drip(content, every_s, piece)

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
