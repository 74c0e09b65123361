"""One answer on a connection: its head within a time and a size, its body in one of the three framings of HTTP/1.1.

`http.client` reads heads line by line with a timeout for each read, and bodies through a buffer. Here a head must be
whole within one time however slowly it drips, a body must bring so many bytes in so many seconds, and its bytes go from
the socket to the caller without a copy between. What is no HTTP is an error, never a guess.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable

from whichpool.downloads.failures import Broken, TimedOut
from whichpool.downloads.patience import Patience

__all__ = ["MOST_HEADERS", "Chunked", "Counted", "Empty", "UntilClosed", "Wire"]

MOST_HEAD_BYTES = 256 * 1024
"""Of one answer's head. nginx sends 32 kB at the most by default, curl takes 300 kB; the limits of `http.client` (100
headers of 64 kB) would be 6.5 MB for each connection."""

MOST_HEADERS = 200
"""Headers in one head; a guess with room: answers with fifty are rare."""

MOST_CHUNK_LINE = 4096
"""Bytes of a line that begins a chunk, extensions included. They are ignored, and nobody sends long ones."""

SLACK_S = 0.01
"""Seconds by which a head's time may be missed, for a timeout that is nearly right need not be set: a system call."""

HEAD_BYTES = 64 * 1024
"""Asked of the socket for a head: with it comes what is small as a whole."""

RECV_BYTES = 256 * 1024
"""Asked of the socket where the caller did not say: more than arrives between two calls on most networks."""

TLS_RECORD = 16 * 1024
"""`SSLSocket.recv` gives one record at the most, whatever it is asked for."""

_END = re.compile(rb"\r?\n\r?\n")


class Wire:
    """Reads a socket with patience: until a moment for the head, as long as it does not stall for the body."""

    def __init__(
        self,
        sock: socket.socket,
        until: float,
        stall_s: float,
        stall_bytes: int,
        is_cut: Callable[[], bool] = bool,
        patience: Patience | None = None,
    ) -> None:
        self._sock = sock
        self._patience = patience  # of a socket that blocks; None: it has a timeout
        self._is_cut = is_cut  # whether it is us who have ended the connection
        self._until = until
        self._stall_s = stall_s
        self._stall_bytes = stall_bytes
        self._timeout_s = -1.0  # what the socket has; unknown
        self._waited_s = 0.0
        self._got = 0
        self._tls = type(sock) is not socket.socket  # an SSLSocket is one as well
        self._ended: Exception | bool = False  # how it ended, after what was given last
        self._buffer = b""
        self._at = 0
        self.any = False
        """Whether a byte of an answer came."""

    # --- what came and was not asked for yet ----------------------------------------------------------------------

    def held(self) -> int:
        """How many bytes of it there are."""
        return len(self._buffer) - self._at

    def find(self, what: bytes) -> int:
        """How many bytes of it stand before these; -1: it does not have them."""
        return max(self._buffer.find(what, self._at) - self._at, -1)

    def take(self, most: int) -> bytes:
        """The first of it."""
        data = self._buffer[self._at : self._at + most]
        self._at += len(data)
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0
        return data

    def _keep(self, data: bytes) -> bool:
        self._buffer, self._at = self._buffer[self._at :] + data if self._buffer else data, 0
        return bool(data)

    def excess(self, beyond: int = 0) -> bool:
        """Whether there is more already, without waiting; more than so many bytes."""
        pending = getattr(self._sock, "pending", None) if self._tls else None
        return self.held() > beyond or (pending is not None and pending() > 0)

    # --- the head -----------------------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Adds to what is held; false at the end."""
        left_s = self._until - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            patience = self._patience
            has_s = self._sock.gettimeout() if patience is None else patience.seconds
            if has_s is None or abs(has_s - left_s) > SLACK_S:
                self._wait_for(left_s)
            else:
                self._timeout_s = has_s
            data = self._sock.recv(HEAD_BYTES)
        except (TimeoutError, BlockingIOError):
            what = "the answer's head did not end" if self.any else "the answer did not begin"
            raise TimedOut(f"{what} in time") from None
        self.any = self.any or bool(data)
        if not data:
            self._check()
        return self._keep(data)

    def _wait_for(self, seconds: float) -> None:
        if self._patience is None:
            self._sock.settimeout(seconds)
        else:
            self._patience.set(seconds)
        self._timeout_s = seconds

    def _check(self) -> None:
        # The end of a connection can be the end of a body. This one is not.
        if self._is_cut():
            raise Broken("it was not waited for any longer", again=False)

    def head(self) -> bytes:
        """All up to the empty line.

        Raises:
            TimedOut: It was not whole in time.
            Broken: It is too large, or the connection ended in it.
            RemoteDisconnected: The connection ended before it.
        """
        seen = 0
        while True:
            found = _END.search(self._buffer, self._at + seen)
            if found is not None:
                head = self.take(found.start() - self._at)
                self.take(len(found[0]))
                return head
            if self.held() > MOST_HEAD_BYTES:
                raise Broken(f"the answer's head is larger than {MOST_HEAD_BYTES // 1024} kB")
            seen = max(self.held() - 3, 0)
            if not self._more():
                if not self.held():
                    raise http.client.RemoteDisconnected("the server closed the connection without an answer")
                raise Broken("the connection ended in the answer's head")

    def readline(self, most: int) -> bytes:
        """A line of a proxy's answer to CONNECT, which `http.client` reads."""
        while self.find(b"\n") < 0 and self.held() < most and self._more():
            pass
        return self.take(min(self.find(b"\n") + 1 or most, most))

    # --- the body -----------------------------------------------------------------------------------------------

    def fill(self) -> bool:
        """Waits for more to be held; false at the end. Raises as `some` does."""
        return self._keep(self._receive(RECV_BYTES))

    def some(self, most: int) -> bytes:
        """What is there, ``most`` bytes at the most; waits for the first one; ``b""`` at the end.

        Only the time spent waiting here counts for the stall, not what the caller does between two calls.

        Raises:
            TimedOut: It stalls.
            Broken: The connection was reset.
        """
        return self.take(most) if self._buffer else self._receive(most)

    def _receive(self, most: int) -> bytes:
        left_s = self._stall_s - self._waited_s
        if left_s <= 0:
            raise self._stalled()
        if left_s != self._timeout_s:
            self._wait_for(left_s)
        began = time.monotonic()
        try:
            data = self._records(most) if self._tls or self._ended else self._sock.recv(most)
        except (TimeoutError, BlockingIOError):
            raise self._stalled() from None
        except ssl.SSLError as error:
            raise Broken(f"the encrypted connection broke: {error.reason or error.strerror}") from None
        except OSError as error:
            raise Broken(f"the connection broke: {error.strerror or type(error).__name__}") from None
        self._got += len(data)
        if self._got >= self._stall_bytes:
            self._got, self._waited_s = 0, 0.0
        elif data:
            self._waited_s += time.monotonic() - began
            if self._waited_s >= self._stall_s:
                raise self._stalled()
        else:
            self._check()
        return data

    def gather(self, size: int, seconds: float) -> bool:
        """Wait until so many bytes are held, about so many seconds at the most; whether they are.

        Raises nothing: what is wrong is found by whoever reads on.
        """
        left, seconds = size - self.held(), min(seconds, self._stall_s - self._waited_s)
        if left > 0 and seconds > 0 and self._patience is not None:
            if seconds != self._timeout_s:
                self._wait_for(seconds)
            began = time.monotonic()
            try:
                data = self._sock.recv(left, socket.MSG_WAITALL)
            except BlockingIOError:
                data = b""
            except OSError as error:
                self._ended, data = error, b""
            self._waited_s += time.monotonic() - began
            if data:
                self._keep(data)
                self._got += len(data)
                if self._got >= self._stall_bytes:
                    self._got, self._waited_s = 0, 0.0
        return self.held() >= size

    def _records(self, most: int) -> bytes:
        """One TLS record, and those that have come already: the caller's work for each call is more than a copy."""
        if self._ended:
            if isinstance(self._ended, Exception):
                raise self._ended
            return b""
        data = self._sock.recv(min(most, TLS_RECORD))
        most -= len(data)
        if len(data) < TLS_RECORD // 2 or most < TLS_RECORD:
            return data
        parts = [data]
        self._sock.settimeout(0)
        self._timeout_s = 0.0
        try:
            while most > 0:
                data = self._sock.recv(min(most, TLS_RECORD))
                if not data:
                    self._ended = True
                    break
                parts.append(data)
                most -= len(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass  # nothing more yet
        except OSError as error:
            self._ended = error  # what came before it is given first
        return b"".join(parts)

    def _stalled(self) -> TimedOut:
        return TimedOut(f"the server sent {self._got} bytes in {self._stall_s:g} s")

    def flush(self) -> None:
        """For `http.client`, which closes a file by flushing it."""

    def close(self) -> None:
        """For `http.client`, too: the socket is the connection's."""


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
    """A body that holds a connection until it is read or closed; ``done(reusable)`` lets go of it, once."""

    _over = False

    def __init__(self, wire: Wire, done: Callable[[bool], None]) -> None:
        self._wire = wire
        self._done = done

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

    def __del__(self) -> None:
        if not self._over:  # forgotten: its place among the host's connections would be lost
            self.close()

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
        wire = self._wire
        parts: list[bytes] = []
        size = 0
        # As many chunks as have come already: they are small, and a call for each would cost more than a copy.
        while size < most:
            if not self._left:
                if parts and not wire.held():
                    break
                self._left = self._size()
                if not self._left:
                    self._trailers()
                    _compare(self._got, self._length, over=True)
                    if wire.excess():
                        raise Broken("more came than the body that was told")
                    return b"".join(parts), True
            if not wire.held():
                if parts:
                    break
                if self._left < RECV_BYTES:
                    wire.fill()  # what follows the chunk as well
            data = wire.some(min(self._left, most - size))
            if not data:
                raise Broken(f"the connection ended in a chunk, after {self._got} bytes")
            self._left -= len(data)
            self._got += len(data)
            size += len(data)
            parts.append(data)
            _compare(self._got, self._length, over=False)
        return (parts[0] if len(parts) == 1 else b"".join(parts)), False

    def _line(self) -> bytes:
        while (length := self._wire.find(b"\n")) < 0:
            if self._wire.held() > MOST_CHUNK_LINE:
                raise Broken("a line between chunks does not end")
            if not self._wire.fill():
                raise Broken(f"the connection ended between chunks, after {self._got} bytes")
        if length > MOST_CHUNK_LINE:
            raise Broken("a line between chunks does not end")
        line = self._wire.take(length + 1)
        # No other ending: a chunk that is told one byte too long would swallow the first half of it.
        if not line.endswith(b"\r\n"):
            raise Broken(f"a line between chunks does not end as it must, after {self._got} bytes")
        return line[:-2]

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
