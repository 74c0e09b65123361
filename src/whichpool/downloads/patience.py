"""How long a socket is waited for: told to the kernel once, in place of asking `poll` before each call.

A socket of Python's with a timeout is one that does not block, and a `poll` before each `send` and `recv`: two system
calls, and the GIL let go of twice. Of thousands of small files on many threads, most of the time went into taking it
anew. A connection without TLS therefore blocks, for as long as the kernel was told (`SO_RCVTIMEO`, `SO_SNDTIMEO`);
then the call fails with `BlockingIOError`. And one call can wait for all of a body (`MSG_WAITALL`).
"""

from __future__ import annotations

import socket
import struct
import sys

__all__ = ["Patience"]

_TIMEVAL = struct.Struct("@ll")
LEAST_S = 0.001
"""0 would be for ever."""


class Patience:
    """Of one socket. What it may take is `seconds`, both ways.

    Args:
        sock: Connected, without TLS; it blocks from now on.
        seconds: For what is sent, always; for what is received, until `set` says otherwise.
    """

    __slots__ = ("_sock", "seconds")

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        sock.settimeout(None)
        self._tell(socket.SO_SNDTIMEO, seconds)
        self.seconds = -1.0
        self.set(seconds)

    @staticmethod
    def can() -> bool:
        """Whether it is known how this system wants to be told."""
        return sys.platform == "linux" and sys.maxsize > 2**32

    def set(self, seconds: float) -> None:
        """So long what is received from now on may take to come."""
        if seconds != self.seconds:
            self._tell(socket.SO_RCVTIMEO, seconds)
            self.seconds = seconds

    def _tell(self, what: int, seconds: float) -> None:
        whole, part = divmod(max(seconds, LEAST_S), 1)
        self._sock.setsockopt(socket.SOL_SOCKET, what, _TIMEVAL.pack(int(whole), int(part * 1e6)))
