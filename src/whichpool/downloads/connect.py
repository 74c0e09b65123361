"""Connections: urllib3's, with names from `Resolver` and one time for all of connecting.

Addresses are checked where they are connected to. Whatever goes wrong here is raised as the class of failure that it
is, without a URL: the caller knows it.
"""

from __future__ import annotations

import http.client
import queue
import re
import select
import socket
import ssl
import sys
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from whichpool.downloads.dial import dial
from whichpool.downloads.failures import (
    Broken,
    DownloadFailed,
    NotTrusted,
    Refused,
    TimedOut,
    Unreachable,
    Unsafe,
)
from whichpool.downloads.idle import Idle
from whichpool.downloads.patience import Patience
from whichpool.downloads.records import Settings
from whichpool.downloads.reply import Reply
from whichpool.downloads.resolve import Resolver, is_public
from whichpool.downloads.wire import Wire

__all__ = ["Stale", "Taken", "Ways", "manager"]

MOST_HOSTS = 64
"""Hosts whose idle connections are kept: more than are busy at once, and few descriptors. A guess."""


class Ways:
    """What all connections of one run share."""

    def __init__(self, settings: Settings, resolver: Resolver) -> None:
        self.settings = settings
        self.resolver = resolver
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._cut = False

    def note(self, sock: socket.socket) -> None:
        """A connection was made.

        Raises:
            Broken: None is wanted any more.
        """
        with self._lock:
            if self._cut:
                raise Broken("it was not waited for any longer", again=False)
            self._sockets.add(sock)

    def cut(self) -> None:
        """End all connections: whoever waits for one of them is told so at once."""
        with self._lock:
            self._cut = True
            sockets = list(self._sockets)
        for sock in sockets:
            try:
                # The base's: that of an `SSLSocket` would make it a plain one in the midst of its reader's work.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def is_cut(self) -> bool:
        """Whether `cut` was called."""
        return self._cut


class Stale(Exception):
    """A connection that was kept open had been closed by the server meanwhile: nothing of an answer came."""


if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _Ours(_Base):
    """What both kinds of connection do otherwise than urllib3's."""

    ways: Ways
    until = 0.0
    """When connecting, TLS included, must be over (monotonic)."""
    used = False
    """Whether an answer came on it."""
    connecting = False
    _patience: Patience | None = None
    _poll: Any = None
    """Looks at the socket without waiting; made once for each."""

    @property
    def is_connected(self) -> bool:
        """Whether a kept connection is there, and silent: what came unasked is no answer to what is asked next."""
        if self.sock is None:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
        return not self._poll.poll(0)

    def connect(self) -> None:
        self._poll = self._patience = None
        self.used = False
        self.connecting = True
        self.until = time.monotonic() + self.ways.settings.connect_s
        try:
            super().connect()
            self.ways.note(self.sock)
        except BaseException as error:
            self.close()
            failure = _connecting_failed(error, self._peer())
            if failure is None:
                raise
            raise failure from None
        finally:
            self.connecting = False
        if isinstance(self.sock, ssl.SSLSocket):
            # A body that ends with the connection is whole only if the end was announced, not if someone cut the line.
            self.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # typeshed has it as an argument only
        elif type(self.sock) is socket.socket and Patience.can():
            self._patience = Patience(self.sock, self.ways.settings.first_byte_s)

    def _peer(self) -> str:
        where = f"{self.host}:{self.port}"
        return f"the proxy {where}" if self.proxy is not None else where

    def _new_conn(self) -> socket.socket:
        host = self._dns_host  # with the dot at its end, if it has one
        port = self.port
        addresses = self.ways.resolver.addresses(host, port, self.until - time.monotonic())
        if not self.ways.settings.private:
            # The addresses that are connected to are these, not what another lookup would give.
            public = tuple(one for one in addresses if is_public(str(one[1][0])))
            if not public:
                raise Unsafe(f"{host} has no public address, and others are not connected to")
            addresses = public
        try:
            sock = dial(addresses, self.until, self.socket_options or ())
        except OSError:
            self.ways.resolver.forget(host, port)
            raise
        try:
            if not self.ways.settings.private and not is_public(str(sock.getpeername()[0])):
                raise Unsafe(f"{host} is not at a public address")
            sock.settimeout(self._left_s())
            sys.audit("http.client.connect", self, self.host, port)
        except BaseException:
            sock.close()
            raise
        return sock

    def _left_s(self) -> float:
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _tunnel(self) -> None:
        super()._tunnel()
        self.sock.settimeout(self._left_s())  # for the TLS that follows

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None
    ) -> Reply:
        """What `http.client` makes of the socket when an answer is due; also for a proxy's answer to CONNECT."""
        settings = self.ways.settings
        until = self.until if self.connecting else time.monotonic() + settings.first_byte_s
        wire = Wire(sock, until, settings.stall_s, settings.stall_bytes, self.ways.is_cut, self._patience)
        return Reply(wire, method)

    def ask(self, head: bytes, method: str) -> Reply:
        """Send a request, and read the head of its answer.

        Raises:
            Stale: The connection was a kept one, and nothing of an answer came.
            DownloadFailed: Of some class.
        """
        sys.audit("http.client.send", self, head)
        try:
            self.sock.sendall(head)
        except (TimeoutError, BlockingIOError):
            raise TimedOut("the request could not be sent in time") from None
        except BrokenPipeError:
            pass  # the server may have answered before it closed
        except OSError as error:
            if self.used:
                raise Stale from None
            raise Broken(f"the request could not be sent: {type(error).__name__}") from None
        reply = self.response_class(self.sock, method=method)
        try:
            reply.begin()
        except DownloadFailed:
            raise
        except OSError as error:
            if self.used and not reply.wire.any:
                raise Stale from None
            raise _not_let_in(error) or Broken(_why(error)) from None
        except http.client.HTTPException as error:
            raise Broken(f"what came is no HTTP: {type(error).__name__}") from None
        self.used = True
        return reply


class _Plain(_Ours, HTTPConnection):
    def __init__(self, *args: Any, ways: Ways, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ways = ways


class _Tls(_Ours, HTTPSConnection):
    def __init__(self, *args: Any, ways: Ways, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ways = ways


class Taken:
    """A connection with an answer on it, to be let go of once."""

    def __init__(self, pool: urllib3.HTTPConnectionPool, connection: _Ours, reply: Reply) -> None:
        self._pool = pool
        self._connection: _Ours | None = connection
        self.reply = reply

    def done(self, reusable: bool) -> None:
        """Put it back, to be used again or else closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if not reusable or self.reply.will_close:
                connection.close()
            self._pool._put_conn(connection)


if TYPE_CHECKING:
    _BasePool = urllib3.HTTPConnectionPool
else:
    _BasePool = object


class _OurPool(_BasePool):
    """What both kinds of pools do otherwise than urllib3's."""

    QueueCls = Idle  # type: ignore[assignment]  # all of a queue that is used, it has

    def ask(self, head: bytes, method: str, wait_s: float, *, tunnel: bool) -> Taken:
        """Send a request on one of the connections, as `urlopen` does, at a third of its cost: that makes headers and
        an answer of its own, which are not used here.

        Args:
            head: All of the request.
            method: Its method.
            wait_s: How long to wait for one that is free.
            tunnel: Whether the other end is reached through the proxy by CONNECT.

        Raises:
            Stale, DownloadFailed: As `_Ours.ask`, and of connecting.
            urllib3.exceptions.EmptyPoolError: None was free in time.
            urllib3.exceptions.ClosedPoolError: The pool is closed.
        """
        connection: Any = self._get_conn(wait_s)
        try:
            if connection.is_closed:
                if tunnel:
                    self._prepare_proxy(connection)
                else:
                    connection.connect()
            return Taken(self, connection, connection.ask(head, method))
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise

    def ask_kept(self, head: bytes, method: str) -> Taken | None:
        """As `ask`, on a connection that is there, waits and is silent; ``None``: there is none, or not any more.

        Raises:
            DownloadFailed: Of some class.
        """
        idle: Any = self.pool
        try:
            connection = idle.get(block=False)
        except (queue.Empty, AttributeError):  # closed, `pool` is None
            return None
        try:
            if connection is not None and not connection.is_closed and connection.is_connected:
                return Taken(self, connection, connection.ask(head, method))
        except Stale:
            connection.close()
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise
        self._put_conn(connection)
        return None


class _PlainPool(_OurPool, urllib3.HTTPConnectionPool):
    def __init__(self, *args: Any, ways: Ways, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = partial(_Plain, ways=ways)  # type: ignore[assignment]


class _TlsPool(_OurPool, urllib3.HTTPSConnectionPool):
    def __init__(self, *args: Any, ways: Ways, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = partial(_Tls, ways=ways)  # type: ignore[assignment]


def manager(
    ways: Ways, context: ssl.SSLContext | None, proxy: str | None, proxy_auth: str | None
) -> urllib3.PoolManager:
    """Pools of connections to all hosts, straight or through a proxy."""
    settings = ways.settings
    options: dict[str, Any] = {
        "num_pools": MOST_HOSTS,
        "maxsize": settings.per_host,
        "block": True,
        "retries": False,
        "timeout": urllib3.Timeout(connect=settings.connect_s, read=settings.first_byte_s),
        "ssl_context": context,
    }
    if proxy is None:
        made = urllib3.PoolManager(**options)
    else:
        # All plain requests share the pool to the proxy, whatever their host.
        options["maxsize"] = max(settings.per_host, settings.most)
        made = urllib3.ProxyManager(
            proxy,
            proxy_headers={"Proxy-Authorization": proxy_auth} if proxy_auth else None,
            proxy_ssl_context=context if proxy.startswith("https:") else None,
            **options,
        )
    pools: dict[str, Any] = {"http": partial(_PlainPool, ways=ways), "https": partial(_TlsPool, ways=ways)}
    made.pool_classes_by_scheme = pools
    return made


def _why(error: BaseException) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return str(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f"the connection broke before an answer: {text}"


_LET_IN = re.compile("ALERT_(BAD_CERTIFICATE|CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")


def _not_let_in(error: BaseException) -> Refused | None:
    """The failure, if the server wants another certificate of this client: since TLS 1.3 it says so where an answer is
    due. It is no use to ask again."""
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if not _LET_IN.search(reason):
        return None
    said = reason.partition("ALERT_")[2].replace("_", " ").lower()
    return Refused(f"the server lets in only clients with a certificate that it knows, and says: {said}")


def _connecting_failed(error: BaseException, peer: str) -> DownloadFailed | None:
    """The failure that an error of connecting is; ``None``: it is none of ours."""
    if isinstance(error, DownloadFailed):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTrusted(f"the certificate of {peer} is not trusted: {error.verify_message or error.reason}")
    if isinstance(error, TimeoutError):
        return TimedOut(f"no connection to {peer} in time")
    if (refused := _not_let_in(error)) is not None:
        return refused
    if isinstance(error, ssl.SSLError):
        again = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        return Unreachable(
            f"no encrypted connection to {peer}: {error.reason or error.strerror}", again=again
        )
    if isinstance(error, OSError):
        tunnel = re.match(r"Tunnel connection failed: ([0-9]{3})", str(error))
        if tunnel is None:
            return Unreachable(f"no connection to {peer}: {error.strerror or error}")
        status = int(tunnel[1])
        if status >= 500:
            return Unreachable(f"{peer} answered {status}", status=status)
        return Refused(f"{peer} answered {status}", status=status)
    if isinstance(error, http.client.HTTPException | urllib3.exceptions.HTTPError):
        return Unreachable(f"no connection to {peer}: {type(error).__name__}")
    return None
