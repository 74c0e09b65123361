"""One request: its URL taken apart, and what of it goes over the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import urllib3
from urllib3.util import parse_url

from whichpool.downloads.failures import Broken
from whichpool.downloads.secrets import split_credentials

__all__ = ["Target", "first_line", "header_lines", "plain_target", "target_of"]


class Target(NamedTuple):
    """A URL, taken apart."""

    url: str
    """Without user name, password and fragment; normal."""
    scheme: str
    host: str
    port: int
    path: str
    """With the query."""
    user: tuple[str, str] | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who is asked: what is meant for one origin is not told to another."""
        return self.scheme, self.host, self.port


_PLAIN = re.compile(
    r"(https?)://([a-z][a-z0-9.-]*[a-z0-9]|[1-9][0-9.]*)(?::([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?((?:/[A-Za-z0-9_~=,+-][A-Za-z0-9_.~=,+-]*)+)"
)
"""What is normal as it is: lower case, nothing encoded, no dot at a beginning, no query."""


def plain_target(url: str) -> Target | None:
    """A URL that is normal as it is, taken apart; ``None``: it is another one."""
    plain = _PLAIN.fullmatch(url)
    if plain is None:
        return None
    scheme, host, number, path = plain.groups()
    return Target(url, scheme, host, int(number) if number else 443 if scheme == "https" else 80, path, None)


def target_of(url: str) -> Target:
    """Take a URL apart.

    Raises:
        ValueError: It is none for HTTP; without the URL in its text.
    """
    plain = plain_target(url)
    if plain is not None:
        return plain
    bare, user = split_credentials(url.strip())
    try:
        if not bare.isascii():
            scheme, _, after = bare.partition("://")
            end = min((i for i in map(after.find, "/?#") if i >= 0), default=len(after))
            bare = f"{scheme}://{after[:end].encode('idna').decode('ascii')}{after[end:]}"
        parts = parse_url(bare)
    except (UnicodeError, urllib3.exceptions.HTTPError):
        raise ValueError("this is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.host or parts.auth or parts.port == 0:
        raise ValueError("this is no http or https URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(
        f"{parts.scheme}://{parts.netloc}{parts.request_uri}",
        parts.scheme,
        parts.host,
        port,
        parts.request_uri,
        user,
    )


_UNSENT = re.compile(r"[^\x21-\x7e]")


def first_line(method: str, path: str) -> bytes:
    """The first line of a request, with its end.

    Raises:
        Broken: Something in it would be a request of its own.
    """
    if _UNSENT.search(path):
        raise Broken("the request cannot be sent: there is a line break in it", again=False)
    return f"{method} {path} HTTP/1.1\r\n".encode("ascii")


def header_lines(target: Target, sent: Mapping[str, str]) -> bytes:
    """The headers of a request as they go over the line, with its end. Raises as `first_line`."""
    lines = []
    if not any(name.lower() == "host" for name in sent):
        host = target.host.rstrip(".")
        if "%" in host:
            host = host.partition("%")[0] + "]"  # the interface of this machine is not the server's business
        usual = 443 if target.scheme == "https" else 80
        lines.append(f"Host: {host}" if target.port == usual else f"Host: {host}:{target.port}")
    lines += [f"{name}: {value}" for name, value in sent.items()]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
        raise Broken("the request cannot be sent: there is a line break in it", again=False)
    try:
        return f"{text}\r\n\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise Broken(
            "the request cannot be sent: it has letters that no header can have", again=False
        ) from None
