"""What authenticates: from the URL, netrc, the settings and cookies; to whom; and how it is kept out of sight."""

from __future__ import annotations

import base64
import http.cookiejar
import netrc
import os
import re
import threading
import urllib.request
from collections.abc import Iterable, Mapping
from email.message import Message
from pathlib import Path
from urllib.parse import unquote

from whichpool.downloads.records import Settings

__all__ = [
    "Cookies",
    "Secrets",
    "basic",
    "checked_headers",
    "harmless",
    "split_credentials",
    "without_credentials",
    "without_signature",
]

HARMLESS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "dnt",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
        "user-agent",
    }
)
"""Headers that go along to another host. Any other can be a secret: ``X-Api-Key``, ``Private-Token``, ..."""

MOST_COOKIES = 3_000
"""Set by servers in one run; what browsers keep. Past it new ones are not taken, so that memory stays flat."""

LOOK_EVERY = 500
"""Set-Cookie headers between two counts of the jar, since counting it walks through all of it."""

SIGNED = (
    # Amazon S3 and what speaks its protocol, version 4 and 2
    (
        "x-amz-signature",
        r"x-amz-(?:algorithm|credential|date|expires|security-token|signature|signedheaders)",
    ),
    ("awsaccesskeyid", r"awsaccesskeyid|expires|signature|x-amz-security-token"),
    # Google Cloud Storage, version 4 and 2
    ("x-goog-signature", r"x-goog-(?:algorithm|credential|date|expires|signature|signedheaders)"),
    ("googleaccessid", r"googleaccessid|expires|signature"),
    # Amazon CloudFront
    ("key-pair-id", r"key-pair-id|expires|signature|policy"),
    # Azure's shared access signatures
    ("sig", r"sig|se|st|sp|sv|sr|si|sip|spr|ske|skoid|sks|skt|sktid|skv|srt|ss"),
)
"""Who signs URLs: the parameter that shows it, and those that are others for the same thing tomorrow."""
_SIGNED = tuple((name, re.compile(rf"(?:{names})=", re.IGNORECASE)) for name, names in SIGNED)

_AUTHORITY = re.compile(r"(?s)^(\s*[a-zA-Z][a-zA-Z0-9+.-]*:)?([/\\]{2,})([^/\\?#]*@)")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """A URL without user name and password, and these, decoded; ``None`` if it has none."""
    match = _AUTHORITY.match(url) if "@" in url else None
    if match is None:
        return url, None
    bare = url[: match.start(3)] + url[match.end(3) :]
    user, _, password = match.group(3)[:-1].partition(":")
    return bare, (unquote(user), unquote(password))


def without_credentials(url: str) -> str:
    """A URL as it may be shown: no user name, no password. Takes any text."""
    return split_credentials(url)[0]


def without_signature(url: str) -> str:
    """A URL without what signs it and says until when: what is left names the thing.

    >>> without_signature("https://a.example/x?part=2&X-Amz-Date=20261125T0000Z&X-Amz-Signature=9f86")
    'https://a.example/x?part=2'
    """
    path, question, query = url.partition("?")
    if not question:
        return url
    parts = query.split("&")
    names = {part.partition("=")[0].lower() for part in parts}
    for name, volatile in _SIGNED:
        if name in names:
            rest = "&".join(part for part in parts if not volatile.match(part))
            return f"{path}?{rest}" if rest else path
    return url


def basic(user: str, password: str) -> str:
    """The value of an ``Authorization`` header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def harmless(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that may go to another host than they were meant for."""
    return {name: value for name, value in headers.items() if name.lower() in HARMLESS}


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, if they can be sent as they are.

    Raises:
        ValueError: A name is none, or a value has a line break or what Latin-1 does not have. The value is not named.
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if re.search(r"[\r\n\0]", value):
            raise ValueError(f"the value of the header {name} has a line break in it")
        if not all(ord(letter) < 256 for letter in value):
            raise ValueError(f"the value of the header {name} has letters that no header can have")
    return dict(headers)


class Secrets:
    """Who one is to whom. Knows no URL of this run; one for all of it."""

    def __init__(self, settings: Settings) -> None:
        self._user = settings.user
        self.netrc_trouble = ""
        """Why netrc was not read, for the message of a 401; empty: it was, or there is none."""
        self._netrc = self._read_netrc()

    def __repr__(self) -> str:
        return "<Secrets>"

    def authorization(self, host: str, *, redirected: bool) -> str | None:
        """The ``Authorization`` header for a host, if its URL has no password.

        After a redirect to another origin only what netrc has for that very host: neither its ``default`` nor the
        settings' user, since those were not meant for whatever host a server names.
        """
        if self._netrc is not None:
            name = host.strip("[]").lower()
            if name in self._netrc.hosts or not redirected:
                found = self._netrc.authenticators(name)
                if found is not None and (found[0] or found[2]):
                    return basic(found[0] or "", found[2] or "")
        if self._user is not None and not redirected:
            return basic(*self._user)
        return None

    def _read_netrc(self) -> netrc.netrc | None:
        named = os.environ.get("NETRC")
        try:
            home = Path.home()
            path = (
                Path(named)
                if named
                else next((p for p in (home / ".netrc", home / "_netrc") if p.exists()), None)
            )
            if path is None:
                return None
            if path == home / ".netrc":
                return netrc.netrc()  # looks at its permissions
            return netrc.netrc(str(path))
        except netrc.NetrcParseError as error:
            # Its text can have a word of the file, which can be a password.
            text = str(error.msg)
            if "permissive" in text or "owner" in text:
                self.netrc_trouble = (
                    f"{named or '~/.netrc'} was not read: its permissions or its owner let others in"
                )
            else:
                self.netrc_trouble = (
                    f"{named or '~/.netrc'} was not read: line {error.lineno} cannot be understood"
                )
        except (OSError, RuntimeError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            self.netrc_trouble = f"{named or '~/.netrc'} was not read: {reason}"
        return None


class Cookies:
    """Those of a file and those that servers set in this run. Thread-safe."""

    def __init__(self, path: Path | None) -> None:
        self._jar = http.cookiejar.MozillaCookieJar()
        self._lock = threading.Lock()
        self._taken = 0
        self._full = False
        self.any = False
        if path is not None:
            try:
                self._jar.load(str(path), ignore_discard=True, ignore_expires=True)
            except (http.cookiejar.LoadError, UnicodeDecodeError):
                # Its text has the line that it could not read.
                raise ValueError(f"{path} is no cookies file in Netscape's format") from None
            for cookie in self._jar:
                if (
                    cookie.expires == 0
                ):  # how curl and browsers' extensions write "until the end of the session"
                    cookie.expires, cookie.discard = None, True
            self._jar.clear_expired_cookies()
            self.any = True

    def __repr__(self) -> str:
        return "<Cookies>"

    def header(self, url: str) -> str | None:
        """The ``Cookie`` header for a URL."""
        if not self.any:
            return None
        request = urllib.request.Request(url)
        self._jar.add_cookie_header(request)
        value: str | None = request.get_header("Cookie")
        return value

    def take(self, url: str, headers: Iterable[tuple[str, str]]) -> None:
        """Keep what an answer sets, by the rules for its host."""
        with self._lock:
            self._taken += 1
            if self._taken % LOOK_EVERY == 0:
                self._jar.clear_expired_cookies()
                self._full = len(self._jar) > MOST_COOKIES
            if self._full:
                return
            self.any = True
        told = Message()
        for name, value in headers:
            if name.lower() == "set-cookie":
                told[name] = value
        self._jar.extract_cookies(_Told(told), urllib.request.Request(url))  # type: ignore[arg-type]


class _Told:
    """What `http.cookiejar` wants of an answer."""

    def __init__(self, headers: Message) -> None:
        self._headers = headers

    def info(self) -> Message:
        return self._headers
