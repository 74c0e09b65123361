"""Through which proxy a host is reached: the one that was given, or the environment's."""

from __future__ import annotations

import re
import urllib.request

import urllib3
from urllib3.util import parse_url

from whichpool.downloads.failures import Unreachable, Unsafe
from whichpool.downloads.records import Settings
from whichpool.downloads.secrets import basic, split_credentials

__all__ = ["Proxies", "proxy_parts"]

_UNSENT = re.compile(r"[^\x21-\x7e]")


class Proxies:
    """Those of one run; the environment is read once.

    Raises:
        ValueError: The proxy that was given is none, or goes together with ``private=False``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._environment: dict[str, str] = {}
        if settings.proxy is None:
            self._environment = urllib.request.getproxies()
            return
        proxy_parts(settings.proxy)
        if not settings.private:
            raise ValueError(
                "private=False (--no-private) cannot be kept through a proxy: it is the proxy that looks names up"
            )

    @property
    def any(self) -> bool:
        """Whether there may be one for some host."""
        return self._settings.proxy is not None or bool(self._environment)

    def way_to(self, scheme: str, host: str, port: int) -> str | None:
        """The proxy for a host; ``None``: there is none, it is reached straight.

        Raises:
            Unreachable: The environment's is no proxy.
            Unsafe: There is one, where private addresses are refused.
        """
        if self._settings.proxy is not None:
            return self._settings.proxy
        if not self._environment:
            return None
        proxy = self._environment.get(scheme) or self._environment.get("all")
        if not proxy or urllib.request.proxy_bypass(f"{host}:{port}"):
            return None
        if "://" not in proxy:
            proxy = "http://" + proxy
        try:
            proxy_parts(proxy)
        except ValueError as error:
            raise Unreachable(f"{error} (from the environment)", again=False) from None
        if not self._settings.private:
            raise Unsafe(
                "private=False (--no-private) cannot be kept through the environment's proxy: that looks names up"
            )
        return proxy


def proxy_parts(proxy: str) -> tuple[str, str | None]:
    """A proxy's URL without credentials, and its ``Proxy-Authorization``.

    Raises:
        ValueError: It is none that can be used.
    """
    bare, user = split_credentials(proxy if "://" in proxy else "http://" + proxy)
    scheme = bare.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"a {scheme[:20]} proxy cannot be used, only http and https ones")
    try:
        parts = parse_url(bare)
    except urllib3.exceptions.HTTPError:
        parts = None
    # A word without a scheme and a port is more often a mistake than a proxy, and programs differ in the port.
    named = parts is not None and parts.host and ("://" in proxy or parts.port)
    if not named or parts is None or _UNSENT.search(bare) or (parts.path or "/") != "/" or parts.query:
        raise ValueError(f"{bare[:100]!r} is no proxy: one looks like http://HOST:PORT")
    return bare, basic(*user) if user else None
