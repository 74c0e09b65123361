"""The server of `hostile`: connections, requests, and the books; what it does at a path is a script's business."""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Headers", "Hostile", "Request", "Script", "Span", "Visit", "head"]

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
Script = Callable[["Visit"], None]


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

    def raw(self, data: bytes) -> None:
        """Sends exactly that."""
        view = memoryview(data)
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

    Attributes:
        requests: What was asked, in order.
        spans: What of things went out.
        sent_bytes: All that was sent, heads included (TLS not counted).
        connections: How many were accepted.
        busiest: The most requests that were in progress at one moment.
        tls_failures: Handshakes that the client ended.
        greeting: Sent on each connection before anything is read from it.
        errors: Exceptions of scripts: a fault of the test. Raised at the end.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, greeting: bytes = b""
    ) -> None:
        self.host, self.tls, self.greeting = host, tls, greeting
        self.requests: list[Request] = []
        self.spans: list[Span] = []
        self.sent_bytes = 0
        self.connections = 0
        self.busiest = 0
        self.tls_failures: list[str] = []
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._scripts: dict[str, list[Script]] = {}
        self._prefixes: list[tuple[str, Script]] = []
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
        self._listener = socket.create_server((self.host, 0), backlog=512)
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
        return _nothing

    # --- its books

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
                    self._script(request)(visit)
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
