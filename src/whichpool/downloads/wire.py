"""One answer on a connection: its head within a time and a size, its body in one of the three framings of HTTP/1.1.

`http.client` reads heads line by line with a timeout for each read, and bodies through a buffer. Here a head must be whole within one
time however slowly it drips, a body must bring so many bytes in so many seconds, and its bytes go from the socket to the
caller without a copy between. What is no HTTP is an error, never a guess.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable

from whichpool.downloads.failures import Broken, TimedOut

__all__ = ["Chunked", "Counted", "Empty", "Reply", "UntilClosed", "Wire"]

MOST_HEAD_BYTES = 256 * 1024
"""Of one answer's head. nginx sends 32 kB at the most by default, curl takes 300 kB; the limits of `http.client` (100 headers of
64 kB) would be 6.5 MB for each connection."""

MOST_HEADERS = 200
"""Headers in one head; a guess with room: answers with fifty are rare."""

MOST_CHUNK_LINE = 4096
"""Bytes of a line that begins a chunk, extensions included. They are ignored, and nobody sends long ones."""

RECV_BYTES = 256 * 1024
"""Asked of the socket where the caller did not say: more than arrives between two calls on most networks."""

TLS_RECORD = 16 * 1024
"""`SSLSocket.recv` gives one record at the most, whatever it is asked for."""

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (.*))?", re.DOTALL)


class Wire:
    """Reads a socket with patience: until a moment for the head, by `stall` for the body."""

    def __init__(self, sock: socket.socket, until: float, stall_s: float, stall_bytes: int) -> None:
        self._sock = sock
        # Holds the socket open when the connection lets go of it, which it does if the server will close.
        self._hold = sock.makefile("rb", buffering=0)
        self._until = until
        self._stall_s = stall_s
        self._stall_bytes = stall_bytes
        self._timeout_s = -1.0  # what the socket has; unknown
        self._waited_s = 0.0
        self._got = 0
        self._tls = not type(sock) is socket.socket  # noqa: E721  # SSLSocket is a subclass
        self.rest = b""
        """What came and was not asked for yet."""
        self.any = False
        """Whether a byte of an answer came."""

    # --- the head -----------------------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Adds to ``rest``; false at the end."""
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimedOut(
                "the answer did not begin in time"
                if not self.any
                else "the answer's head did not end in time"
            )
        self._sock.settimeout(left_s)
        self._timeout_s = left_s
        try:
            data = self._sock.recv(64 * 1024)
        except TimeoutError:
            return self._more()  # tells it as above
        self.any = self.any or bool(data)
        self.rest += data
        return bool(data)

    def head(self) -> bytes:
        """All up to the empty line; ``rest`` is what came after it.

        Raises:
            TimedOut: It was not whole in time.
            Broken: It is too large, or the connection ended in it.
            RemoteDisconnected: The connection ended before it.
        """
        at = 0
        while True:
            found = _END.search(self.rest, at)
            if found is not None:
                head, self.rest = self.rest[: found.start()], self.rest[found.end() :]
                return head
            if len(self.rest) > MOST_HEAD_BYTES:
                raise Broken(f"the answer's head is larger than {MOST_HEAD_BYTES // 1024} kB")
            at = max(len(self.rest) - 3, 0)
            if not self._more():
                if not self.rest:
                    raise http.client.RemoteDisconnected("the server closed the connection without an answer")
                raise Broken("the connection ended in the answer's head")

    def readline(self, most: int) -> bytes:
        """A line of a proxy's answer to CONNECT, which `http.client` reads."""
        while b"\n" not in self.rest and len(self.rest) < most and self._more():
            pass
        end = min(self.rest.find(b"\n") + 1 or len(self.rest), most)
        line, self.rest = self.rest[:end], self.rest[end:]
        return line

    # --- the body -----------------------------------------------------------------------------------------------

    def some(self, most: int) -> bytes:
        """What is there, ``most`` bytes at the most; waits for the first one; ``b""`` at the end.

        Only the time spent waiting here counts for the stall, not what the caller does between two calls.

        Raises:
            TimedOut: It stalls.
            Broken: The connection was reset.
        """
        if self.rest:
            data, self.rest = self.rest[:most], self.rest[most:]
            return data
        left_s = self._stall_s - self._waited_s
        if left_s != self._timeout_s:
            self._sock.settimeout(left_s)
            self._timeout_s = left_s
        began = time.monotonic()
        try:
            data = self._sock.recv(min(most, TLS_RECORD) if self._tls else most)
        except TimeoutError:
            raise self._stalled() from None
        except ssl.SSLError as error:
            raise Broken(f"the encrypted connection broke: {error.reason or error}") from None
        except OSError as error:
            raise Broken(f"the connection broke: {error.strerror or error}") from None
        self._got += len(data)
        if self._got >= self._stall_bytes:
            self._got, self._waited_s = 0, 0.0
        elif data:
            self._waited_s += time.monotonic() - began
            if self._waited_s >= self._stall_s:
                raise self._stalled()
        return data

    def _stalled(self) -> TimedOut:
        return TimedOut(f"the server sent {self._got} bytes in {self._stall_s:g} s")

    def excess(self) -> bool:
        """Whether there is more already, without waiting."""
        if self.rest:
            return True
        pending = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0

    def flush(self) -> None:
        """For `http.client`, which closes a file by flushing it."""

    def close(self) -> None:
        """Lets go of the socket, which goes on if the connection holds it."""
        self._hold.close()


class Reply(http.client.HTTPResponse):
    """A head, read and understood. The body is read by one of the classes below."""

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
        self.will_close = True

    def begin(self) -> None:
        """Reads the head; interim answers (1xx) are passed over."""
        while True:
            lines = self.wire.head().split(b"\n")
            status = _STATUS.fullmatch(lines[0].rstrip(b"\r").decode("latin-1"))
            if status is None:
                raise Broken(f"what came is no HTTP: {lines[0][:60]!r}")
            self.status = self.code = int(status[2])
            if self.status >= 200 or self.status == 101:
                break
        self.version = 10 if status[1] == "0" else 11
        self.reason = (status[3] or "").strip()
        self.headers = self.msg = _headers(lines)
        coding = ", ".join(self.headers.get_all("transfer-encoding", [])).strip().lower()
        if coding not in ("", "chunked", "identity"):
            raise Broken(f"a Transfer-Encoding that nobody asked for: {coding[:60]!r}", again=False)
        self.chunked = coding == "chunked"
        connection = self.headers.get("connection", "").lower()
        self.will_close = "close" in connection or (self.version == 10 and "keep-alive" not in connection)
        if not self.chunked and "content-length" not in self.headers and not self.empty:
            self.will_close = True

    @property
    def empty(self) -> bool:
        """Whether there is no body whatever the headers say (RFC 9112, 6.3)."""
        return self._method == "HEAD" or self.status in (204, 304) or self.status < 200

    def told(self) -> dict[str, str]:
        """The headers by lower-case name; several of one name joined."""
        found: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found


def _headers(lines: list[bytes]) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    if len(lines) > MOST_HEADERS + 1:
        raise Broken(f"the answer has more than {MOST_HEADERS} headers")
    pairs: list[list[str]] = []
    for raw in lines[1:]:
        line = raw.rstrip(b"\r").decode("latin-1")
        if line[:1] in (" ", "\t") and pairs:
            pairs[-1][1] += " " + line.strip(" \t")  # folded: obsolete, and still sent
            continue
        name, colon, value = line.partition(":")
        name = name.strip(" \t")
        if not colon or not name:
            raise Broken(f"a line in the answer's head is no header: {line[:60]!r}")
        pairs.append([name, value.strip(" \t")])
    for name, value in pairs:
        message[name] = value
    return message


class Empty:
    """No body."""

    def __init__(self, done: Callable[[bool], None]) -> None:
        self._done = done
        done(True)

    def read(self, most: int) -> bytes:
        """``b""``."""
        return b""

    def close(self) -> None:
        """Nothing is held any more."""
        self._done(False)


class _Framed:
    """A body that holds a connection until it is read or closed; ``done(reusable)`` lets go of it, the first time only."""

    def __init__(self, wire: Wire, done: Callable[[bool], None]) -> None:
        self._wire = wire
        self._done = done
        self._over = False

    def read(self, most: int) -> bytes:
        if self._over or most <= 0:
            return b""
        try:
            data, ended = self._next(most)
        except BaseException:
            self.close()
            raise
        if ended:
            self._over = True
            self._done(True)
        return data

    def close(self) -> None:
        self._over = True
        self._done(False)

    def _next(self, most: int) -> tuple[bytes, bool]:
        raise NotImplementedError


class Counted(_Framed):
    """As many bytes as were told."""

    def __init__(self, wire: Wire, done: Callable[[bool], None], length: int) -> None:
        super().__init__(wire, done)
        self._left = self._length = length
        if length == 0:
            self._over = True
            done(True)

    def _next(self, most: int) -> tuple[bytes, bool]:
        data = self._wire.some(min(most, self._left))
        if not data:
            raise Broken(f"the connection ended after {self._length - self._left} of {self._length} bytes")
        self._left -= len(data)
        if self._left:
            return data, False
        if self._wire.excess():
            raise Broken(f"more came than the {self._length} bytes that were told")
        return data, True


class UntilClosed(_Framed):
    """Neither length nor chunks: the end is where the connection ends. ``length`` is what a Content-Range told."""

    def __init__(self, wire: Wire, done: Callable[[bool], None], length: int | None = None) -> None:
        super().__init__(wire, done)
        self._length = length
        self._got = 0

    def _next(self, most: int) -> tuple[bytes, bool]:
        data = self._wire.some(most)
        self._got += len(data)
        _compare(self._got, self._length, over=not data)
        return data, not data


class Chunked(_Framed):
    """Chunks with their sizes (RFC 9112, 7.1). Trailers are read and dropped."""

    def __init__(self, wire: Wire, done: Callable[[bool], None], length: int | None = None) -> None:
        super().__init__(wire, done)
        self._length = length
        self._got = 0
        self._left = 0  # of the chunk
        self._begun = False

    def _next(self, most: int) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        size = 0
        # As many chunks as have come already: they are small, and a call for each would cost more than a copy.
        while size < most and (not parts or self._wire.rest):
            if not self._left:
                if parts and b"\n" not in self._wire.rest[2:]:
                    break
                self._left = self._size()
                if not self._left:
                    self._trailers()
                    _compare(self._got, self._length, over=True)
                    if self._wire.rest:
                        raise Broken("more came than the body that was told")
                    return b"".join(parts), True
            if not self._wire.rest and self._left < RECV_BYTES:
                self._wire.rest = self._wire.some(RECV_BYTES)
            data = self._wire.some(min(self._left, most - size))
            if not data:
                raise Broken(f"the connection ended in a chunk, after {self._got} bytes")
            self._left -= len(data)
            self._got += len(data)
            size += len(data)
            parts.append(data)
            _compare(self._got, self._length, over=False)
        return (parts[0] if len(parts) == 1 else b"".join(parts)), False

    def _line(self) -> bytes:
        while b"\n" not in self._wire.rest:
            if len(self._wire.rest) > MOST_CHUNK_LINE:
                raise Broken("a line between chunks does not end")
            rest, self._wire.rest = self._wire.rest, b""
            data = self._wire.some(RECV_BYTES)
            if not data:
                raise Broken(f"the connection ended between chunks, after {self._got} bytes")
            self._wire.rest = rest + data
        line, _, self._wire.rest = self._wire.rest.partition(b"\n")
        if len(line) > MOST_CHUNK_LINE:
            raise Broken("a line between chunks does not end")
        return line.removesuffix(b"\r")

    def _size(self) -> int:
        if self._begun and self._line():
            raise Broken(f"a chunk is longer than was told, after {self._got} bytes")
        self._begun = True
        line = self._line()
        match = re.match(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|$)", line)
        if match is None:
            raise Broken(f"a chunk's size is none: {line[:40]!r}")
        return int(match[1], 16)

    def _trailers(self) -> None:
        for _ in range(MOST_HEADERS):
            if not self._line():
                return
        raise Broken(f"more than {MOST_HEADERS} trailers")


def _compare(got: int, length: int | None, *, over: bool) -> None:
    if length is not None and (got > length or (over and got < length)):
        raise Broken(f"{got} bytes came of a range of {length}")
