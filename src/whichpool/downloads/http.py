"""HTTP: one request and what becomes of it through redirects, proxies and statuses."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from typing import Any, Never
from urllib.parse import urljoin

import urllib3

from whichpool import __version__
from whichpool.downloads.answer import Answer, Body, content_range, retry_after
from whichpool.downloads.connect import MOST_HOSTS, Stale, Taken, Ways, manager
from whichpool.downloads.failures import (
    BadRedirect,
    Broken,
    Busy,
    DownloadFailed,
    Gone,
    Refused,
    TimedOut,
)
from whichpool.downloads.proxies import Proxies, proxy_parts
from whichpool.downloads.records import Settings
from whichpool.downloads.reply import Reply
from whichpool.downloads.request import Target, first_line, header_lines, plain_target, target_of
from whichpool.downloads.resolve import Resolver
from whichpool.downloads.secrets import Cookies, Secrets, basic, checked_headers, harmless, split_credentials
from whichpool.downloads.wire import Chunked, Counted, Empty, UntilClosed

__all__ = ["Http"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})

LATER = frozenset({202, 408, 425, 429})
"""Not now: 202 is what archives answer while they fetch a thing from tape."""

DRAINED_BYTES = 16 * 1024
"""Bodies of errors and redirects up to this are read, to keep the connection; past it a new connection costs less."""

STALE_TRIES = 3
"""Of a request whose connection turned out closed. The second is on a new connection, unless another thread put a kept
one back at that moment."""

OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "if-range",
        "range",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are not the user's to set: they would change what an answer means."""


def _same(target: Target, went: Target) -> bool:
    """Whether what is meant for the one may be told to the other: its origin, or its step from http to https."""
    upgraded = ("https", target.host, 443)
    return went.origin == target.origin or (
        target.origin == ("http", target.host, 80) and went.origin == upgraded
    )


class Http:
    """Connections, cookies and credentials of one run. Thread-safe."""

    def __init__(self, settings: Settings, resolver: Resolver | None = None) -> None:
        self._settings = settings
        self._ways = Ways(settings, resolver or Resolver())
        self._headers = checked_headers(settings.headers)
        self._secrets = Secrets(settings)
        self._cookies = Cookies(settings.cookies)
        self._lock = threading.Lock()
        self._pools: dict[tuple[str | None, bool | None, str, str, int], Any] = {}
        self._managers: dict[tuple[str | None, bool | None], urllib3.PoolManager] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._usual: dict[
            tuple[str, str, int], bytes
        ] = {}  # the headers of requests that ask for nothing special
        self._closed = False
        self._proxies = Proxies(settings)
        if settings.ca_bundle is not None or settings.client_cert is not None:
            self._context(True)  # so that a file that is not there is told at once

    def close(self) -> None:
        """Close what is idle. Answers that are still read go on; their connections are closed after it."""
        with self._lock:
            self._closed = True
            managers = list(self._managers.values())
        for one in managers:
            pools = [one.pools.get(key) for key in one.pools.keys()]  # noqa: SIM118  # its container has no __iter__
            one.clear()
            for pool in pools:
                if pool is not None:
                    pool.close()

    def cut(self) -> None:
        """End the connections that are in use, too: their answers break."""
        self._ways.cut()

    # --- a request and its redirects ----------------------------------------------------------------------------

    def open(
        self,
        url: str,
        headers: Mapping[str, str],
        asked: Mapping[str, str],
        method: str,
        wait_s: float | None,
        taken: Taken | None = None,
    ) -> Answer:
        """Ask, and follow where it leads. ``asked``: Range and conditions; ``taken``: what `ask_plainly` brought.

        Raises:
            DownloadFailed: Of some class.
        """
        shown = split_credentials(url)[0]
        try:
            target = target_of(url)
            given = {**self._headers, **checked_headers(headers)} if headers else self._headers
        except ValueError as error:
            raise DownloadFailed(str(error), shown, again=False) from None
        user = target.user
        redirected = False
        seen: set[tuple[str, str | None]] = set()
        try:
            for _ in range(self._settings.most_redirects + 1):
                shown = target.url
                cookie = self._cookies.header(target.url)
                if (target.url, cookie) in seen:
                    raise BadRedirect("it is redirected in a circle")
                seen.add((target.url, cookie))
                if headers or asked or user or cookie or redirected:
                    sent: Mapping[str, str] | None = self._sent(
                        target, given, asked, user, cookie, redirected
                    )
                else:
                    sent = None
                if taken is None:
                    taken = self._exchange(method, target, sent, wait_s, with_cert=not redirected)
                reply, body = taken.reply, _body(taken)
                taken = None
                told = reply.told
                if "set-cookie" in told:
                    try:
                        self._cookies.take(target.url, reply.pairs)
                    except BaseException:
                        body.close()
                        raise
                if reply.status in (200, 206, 304, 416):
                    return self._answer(target.url, reply.status, told, body)
                _drain(body)
                if reply.status not in REDIRECTS:
                    self._failed(reply.status, reply.reason, told)
                went = self._led_to(target, told)
                if not _same(target, went):
                    given = harmless(given)
                    user = None
                    redirected = True
                user = went.user or user
                target = went
                if reply.status == 303 and method != "HEAD":
                    method = "GET"
            raise BadRedirect(f"it is redirected more than {self._settings.most_redirects} times")
        except DownloadFailed as failure:
            failure.url = failure.url or shown
            raise

    def ask_plainly(self, url: str) -> Taken | None:
        """Send what every request to a host has and nothing else, on a connection that waits for one.

        The head of the answer, whatever it is; ``None``: not this URL, or no such connection, and nothing was sent
        that was answered. What it says, and where it leads, is for `open` to find out.
        """
        target = plain_target(url)
        if target is None or self._proxies.any or self._cookies.any:
            return None
        usual = self._usual.get(target.origin)
        with_cert = True if target.scheme == "https" else None
        pool = None if self._closed else self._pools.get((None, with_cert, *target.origin))
        if usual is None or pool is None:
            return None
        try:
            taken: Taken | None = pool.ask_kept(first_line("GET", target.path) + usual, "GET")
        except DownloadFailed as failure:
            failure.url = failure.url or target.url
            raise
        return taken

    def _sent(
        self,
        target: Target,
        given: Mapping[str, str],
        asked: Mapping[str, str],
        user: tuple[str, str] | None,
        cookie: str | None,
        redirected: bool,
    ) -> dict[str, str]:
        sent = {"User-Agent": f"whichpool/{__version__}", "Accept": "*/*"}
        names = {name.lower(): name for name in sent}
        for name, value in given.items():
            lower = name.lower()
            if lower not in OURS:
                sent.pop(names.get(lower, ""), None)
                names[lower] = name
                sent[name] = value
        sent["Accept-Encoding"] = "identity"
        sent.update(asked)
        if "authorization" not in names:
            who = basic(*user) if user else self._secrets.authorization(target.host, redirected=redirected)
            if who is not None:
                sent["Authorization"] = who
        if cookie is not None and "cookie" not in names:
            sent["Cookie"] = cookie
        return sent

    def _led_to(self, target: Target, told: Mapping[str, str]) -> Target:
        location = told.get("location", "").strip()
        if not location:
            raise BadRedirect("it is redirected without a Location")
        try:
            location = location.encode("latin-1").decode("utf-8")  # what servers send that do not encode it
        except UnicodeError:
            pass
        try:
            went = target_of(urljoin(target.url, location))
        except ValueError:
            raise BadRedirect("it is redirected to what is no http or https URL") from None
        if target.scheme == "https" and went.scheme == "http" and not self._settings.downgrade:
            raise BadRedirect(
                "it is redirected from https to http (allowed with downgrade=True, --allow-downgrade)"
            )
        return went

    def _answer(self, url: str, status: int, told: Mapping[str, str], body: Body) -> Answer:
        try:
            answer = Answer(url, status, told, body)
        except BaseException:
            body.close()
            raise
        if status == 416:
            _drain(body)
        return answer

    def _failed(self, status: int, reason: str, told: Mapping[str, str]) -> Never:
        text = f"{status} {reason}".strip()[:200]
        if status in (404, 410):
            raise Gone(f"the server has no such thing: {text}", status=status)
        if status in LATER or status >= 500:
            raise Busy(f"not now: {text}", status=status, retry_after_s=retry_after(told))
        if status >= 400:
            if status in (401, 407) and self._secrets.netrc_trouble:
                text += f" ({self._secrets.netrc_trouble})"
            raise Refused(f"the server does not give it: {text}", status=status)
        if status >= 300:
            raise BadRedirect(f"a redirect that is none: {text}", status=status)
        raise Broken(f"an answer without the thing: {text}", status=status, again=False)

    # --- one request --------------------------------------------------------------------------------------------

    def _exchange(
        self,
        method: str,
        target: Target,
        sent: Mapping[str, str] | None,
        wait_s: float | None,
        *,
        with_cert: bool,
    ) -> Taken:
        """``sent``: the headers; ``None``: those of every request to that origin."""
        proxy = self._proxies.way_to(target.scheme, target.host, target.port)
        encrypted = target.scheme == "https" or (proxy or "").startswith("https:")
        way = (proxy, with_cert if encrypted else None, *target.origin)
        forwarded = proxy is not None and target.scheme == "http"
        wait_s = self._settings.connect_s if wait_s is None else wait_s
        for _ in range(STALE_TRIES):
            pool = self._pool(way)
            if sent is not None or proxy is not None:
                if sent is None:
                    sent = self._sent(target, self._headers, {}, None, None, False)
                extra = pool.proxy_headers if forwarded else {}
                head = first_line(method, target.url if forwarded else target.path) + header_lines(
                    target, {**sent, **extra}
                )
            else:
                head = first_line(method, target.path) + self._usual_lines(target)
            try:
                taken: Taken = pool.ask(head, method, wait_s, tunnel=proxy is not None and not forwarded)
                return taken
            except Stale:
                continue
            except urllib3.exceptions.EmptyPoolError:
                raise TimedOut("all connections to the host are in use") from None
            except urllib3.exceptions.ClosedPoolError:
                # Connections to very many hosts are open: this one's were the longest unused.
                self._pools.pop(way, None)
        raise Broken("the server closes each connection before it answers")

    def _usual_lines(self, target: Target) -> bytes:
        found = self._usual.get(target.origin)
        if found is None:
            found = header_lines(target, self._sent(target, self._headers, {}, None, None, False))
            if len(self._usual) >= MOST_HOSTS:
                self._usual.clear()
            self._usual[target.origin] = found
        return found

    def _pool(self, way: tuple[str | None, bool | None, str, str, int]) -> Any:
        """The connections to a host; what urllib3 asks of a URL to find them is asked once."""
        found = None if self._closed else self._pools.get(way)
        if found is None:
            proxy, with_cert, scheme, host, port = way
            found = self._manager(proxy, with_cert).connection_from_host(host, port, scheme)
            if len(self._pools) >= MOST_HOSTS:
                self._pools.clear()
            self._pools[way] = found
        return found

    def _manager(self, proxy: str | None, with_cert: bool | None) -> urllib3.PoolManager:
        """``with_cert=None``: without TLS. Loading who is trusted takes 20 ms and more; plain HTTP need not pay it."""
        if with_cert is False and self._settings.client_cert is None:
            with_cert = True
        with self._lock:
            if self._closed:
                raise Broken("it is closed", again=False)
            found = self._managers.get((proxy, with_cert))
            if found is None:
                bare, auth = proxy_parts(proxy) if proxy is not None else (None, None)
                found = manager(
                    self._ways, None if with_cert is None else self._context(with_cert), bare, auth
                )
                self._managers[proxy, with_cert] = found
        return found

    def _context(self, with_cert: bool) -> ssl.SSLContext:
        found = self._contexts.get(with_cert)
        if found is None:
            bundle = self._settings.ca_bundle
            try:
                if bundle is None:
                    found = ssl.create_default_context()
                elif bundle.is_dir():
                    found = ssl.create_default_context(capath=str(bundle))
                else:
                    found = ssl.create_default_context(cafile=str(bundle))
            except (OSError, ssl.SSLError) as error:
                raise ValueError(f"{bundle} cannot be used as ca_bundle: {error.strerror or error}") from None
            if with_cert and self._settings.client_cert is not None:
                cert, key = self._settings.client_cert
                try:
                    found.load_cert_chain(cert, key, password=_no_password)
                except (OSError, ssl.SSLError, ValueError) as error:
                    raise ValueError(f"{cert} cannot be used as client_cert: {error}") from None
            self._contexts[with_cert] = found
        return found


def _no_password() -> str:
    raise ValueError("its key is encrypted; whichpool asks for no password")


def _body(taken: Taken) -> Body:
    reply, done = taken.reply, taken.done
    try:
        if reply.empty:
            return Empty(done)
        if reply.chunked:
            return Chunked(reply.wire, done, _span(reply))
        if reply.length is None:
            return UntilClosed(reply.wire, done, _span(reply))
        return Counted(reply.wire, done, reply.length)
    except BaseException:
        done(False)
        raise


def _span(reply: Reply) -> int | None:
    """The bytes of a 206 without Content-Length, by its Content-Range. What is wrong with that, `Answer` tells."""
    if reply.status != 206:
        return None
    try:
        first, last, _ = content_range(reply.told.get("content-range", ""))
    except ValueError:
        return None
    return None if first is None or last is None else last - first + 1


def _drain(body: Body) -> None:
    """Read what is small, to keep the connection; close it otherwise."""
    left = DRAINED_BYTES
    try:
        while left > 0:
            data = body.read(left)
            if not data:
                return
            left -= len(data)
    except DownloadFailed:
        pass
    finally:
        body.close()
