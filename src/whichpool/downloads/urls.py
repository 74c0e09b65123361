"""A URL as people write it, in the form in which it is sent."""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import quote, urlsplit

__all__ = ["as_latin1", "clean_url", "not_utf8"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BYTES = re.compile("[\udc80-\udcff]")
# Whose URLs are quoted. The keys of others (s3, gs) are taken literally by what reads them: a blank is a blank there.
_QUOTED = {"http", "https", "ftp", "file"}
# What stays as it is, beside letters, digits and `-._~`. A `%` too: what is quoted already is not quoted again.
_IN_PATH = "/%:@!$&'()*+,;=[]|^"
_IN_QUERY = "/?%:@!$&()*+,;=[]|^`{}\\"
# As it must be already: most URLs are. A third of the time that taking one apart takes.
_CLEAN = re.compile(
    r"https?://[a-z0-9]+(?:[.-][a-z0-9]+)*(?::(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}))?/[A-Za-z0-9/%:@!$&'()*+,;=._~-]*"
    r"(?:\?[A-Za-z0-9/?%:@!$&()*+,;=._~-]+)?"
)
_IN_USER = "%:!$&'()*+,;="


def clean_url(url: str) -> str:
    """The URL with blanks and other characters quoted, its host in ASCII, and without a fragment.

    Args:
        url: Absolute, of any scheme. ``\\`` counts as ``/`` in ``http`` and ``https``, as in browsers.

    Raises:
        ValueError: It is none; says what to write instead where that can be guessed, and shows no password.

    >>> clean_url("HTTPS://Bücher.example/Ä b.zip?q=ü#top")
    'https://xn--bcher-kva.example/%C3%84%20b.zip?q=%C3%BC'
    """
    if _CLEAN.fullmatch(url):
        return url
    url = url.strip(" \t\r\n\ufeff")
    if not url:
        raise ValueError("the URL is empty")
    if found := _CONTROLS.search(url):
        raise ValueError(f"{_shown(url)!r} has the control character {found[0]!r} in it")
    match = _SCHEME.match(url)
    rest = url[match.end() :] if match else url
    scheme = match[1].lower() if match else ""
    if scheme in ("http", "https"):
        rest = rest.replace("\\", "/")
    if not match or not (rest.startswith("//") or (scheme == "file" and rest.startswith("/"))):
        raise ValueError(_without_scheme(url))
    if scheme not in _QUOTED:
        if not_utf8(rest):
            raise ValueError(
                f"{_shown(url)!r} has bytes in it that are not UTF-8, and none are sent for {scheme}://"
            )
        return f"{scheme}:{rest}"
    try:
        parts = urlsplit(f"{scheme}:{rest}")
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise ValueError(f"{_shown(url)!r} is no URL: {error}") from None
    if port == 0:
        raise ValueError(f"{_shown(url)!r} is no URL: there is no port 0")
    if not host and scheme != "file":
        raise ValueError(f"{_shown(url)!r} names no host")
    where = _ascii_host(host, url)
    if ":" in where:
        where = f"[{where}]"
    if port is not None:
        where += f":{port}"
    user, at, _ = parts.netloc.rpartition("@")
    path = quote(_utf8(parts.path), safe=_IN_PATH)
    query = quote(_utf8(parts.query), safe=_IN_QUERY)
    user = quote(_utf8(user), safe=_IN_USER)
    return f"{scheme}://{user}{at}{where}{path or '/'}" + (f"?{query}" if query else "")


def not_utf8(text: str) -> bool:
    """Whether there are bytes in it that were no UTF-8 where they were read (``surrogateescape``)."""
    return not text.isascii() and _BYTES.search(text) is not None


def as_latin1(text: str) -> str:
    """The text with such bytes as the characters that they are in Latin-1: what they mean most of the time.

    >>> as_latin1(b"caf\\xe9".decode("utf-8", "surrogateescape"))
    'café'
    """
    return _BYTES.sub(lambda found: chr(ord(found[0]) - 0xDC00), text) if not_utf8(text) else text


def _utf8(text: str) -> bytes:
    # What is not UTF-8 comes from the command line and from lists with surrogates; its bytes are what is meant.
    return text.encode("utf-8", "surrogateescape")


def _ascii_host(host: str, url: str) -> str:
    """The host as DNS has it."""
    if not_utf8(host):
        raise ValueError(
            f"{_shown(url)!r} is no URL: its host is not UTF-8. Save the list as UTF-8, or write the host as xn--..."
        )
    if host.isascii():
        if re.search(r"[ <>\"`{}|^\\%]", host) and ":" not in host:
            raise ValueError(f"{_shown(url)!r} is no URL: its host has characters in it that no host has")
        return host.lower()
    try:
        name = ".".join(_ascii_label(label) for label in re.split("[.\u3002\uff0e\uff61]", host))
    except UnicodeError as error:
        raise ValueError(f"{_shown(url)!r} is no URL: its host cannot be put into ASCII: {error}") from None
    if re.search(r"[/?#@:\\%\s]", name):
        raise ValueError(f"{_shown(url)!r} is no URL: its host would not be the one that is seen")
    return name


def _ascii_label(label: str) -> str:
    from encodings.idna import ToASCII

    # IDNA 2003, which Python has, makes "ss" of "ß", and of a final sigma the other one: another host than the one
    # that browsers go to (UTS 46, nontransitional).
    if re.search("[ßẞς]", label):
        folded = normalize("NFKC", label.lower())
        coded = "xn--" + folded.encode("punycode").decode("ascii")
        if len(coded) > 63:
            raise UnicodeError("label too long")
        return coded
    return ToASCII(label).decode("ascii").lower() if label else ""


def _without_scheme(url: str) -> str:
    shown = _shown(url)
    if url.startswith("//"):
        return f"{shown!r} has no scheme: write https:{shown}"
    if re.match(r"[A-Za-z]:[\\/]|[./~]", url):
        return f"{shown!r} is no URL: a list of URLs is given with -i, a file to copy as file:///..."
    if re.match(r"[\w.-]+\.[\w-]{2,}(:\d+)?(/|$)|localhost\b|\d+\.\d+\.\d+\.\d+", url):
        return f"{shown!r} has no scheme: write https://{shown}"
    return f"{shown!r} is no URL: one begins with https://, http:// or file:///"


def _shown(url: str) -> str:
    """For messages: no password, and no longer than a line."""
    bare = as_latin1(re.sub(r"(?<=//)[^/?#\\]*@", "", url))
    return bare if len(bare) <= 200 else bare[:199] + "…"
