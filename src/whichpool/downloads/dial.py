"""One TCP connection to whichever of a name's addresses answers first (after RFC 8305, "Happy Eyeballs")."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from whichpool.downloads.resolve import Address

__all__ = ["dial"]

STAGGER_S = 0.25
"""Seconds until the next address is tried beside those that have not answered yet: RFC 8305's figure."""

UNDER_WAY = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}

Option = tuple[int, int, int | bytes]


def dial(
    addresses: Sequence[Address],
    until: float,
    options: Iterable[Option] = (),
    clock: Callable[[], float] = time.monotonic,
) -> socket.socket:
    """Connect to the first address that answers; the earlier ones are given a start.

    Raises:
        TimeoutError: None had by ``until``.
        OSError: All of them refused; this is why the last one did.
    """
    options = list(options)
    waiting = list(reversed(addresses))
    error: OSError = OSError(errno.EADDRNOTAVAIL, "there is no address to connect to")
    next_at = clock()
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                now = clock()
                if now >= until:
                    raise TimeoutError
                if waiting and now >= next_at:
                    try:
                        selector.register(_begin(waiting.pop(), options), selectors.EVENT_WRITE)
                        next_at = now + STAGGER_S
                    except OSError as caught:
                        error = caught
                    continue
                for key, _ in selector.select(min(until, next_at if waiting else until) - now):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    selector.unregister(sock)
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not number:
                        return sock
                    sock.close()
                    error = OSError(number, os.strerror(number))
                    next_at = clock()
        finally:
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
    raise error


def _begin(address: Address, options: list[Option]) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        for level, name, value in options:
            sock.setsockopt(level, name, value)
        sock.setblocking(False)
        number = sock.connect_ex(where)
        if number not in UNDER_WAY:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock
