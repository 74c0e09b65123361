"""Opening a URL, whatever its scheme: HTTP, a file of this machine, or what fsspec knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType

from whichpool.downloads.answer import Answer
from whichpool.downloads.connect import Taken
from whichpool.downloads.failures import DownloadFailed, Unsafe
from whichpool.downloads.files import open_file
from whichpool.downloads.http import Http
from whichpool.downloads.records import Settings
from whichpool.downloads.remote import open_remote
from whichpool.downloads.resolve import Resolver
from whichpool.downloads.secrets import without_credentials

__all__ = ["Answer", "Transport"]


class Transport:
    """Opens URLs. Thread-safe; one for all of a run, a context manager.

    Raises:
        ValueError: Settings that cannot be: a cookies file that is none, a bundle that is not there, ``private=False``
            with a proxy.
    """

    def __init__(self, settings: Settings, *, resolver: Resolver | None = None) -> None:
        self._private = settings.private
        self._http = Http(settings, resolver)

    def open(
        self,
        url: str,
        headers: Mapping[str, str] = {},
        *,
        first: int = 0,
        last: int | None = None,
        if_range: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: str | None = None,
        method: str = "GET",
        wait_s: float | None = None,
    ) -> Answer:
        """Ask for a thing, or for a part of it.

        Args:
            url: What to ask for.
            headers: Sent along, to this origin; to others after a redirect only what cannot be secret.
            first: The first byte that is wanted.
            last: The last one, inclusive; ``None``: up to the end.
            if_range: A strong validator: if the thing is another by now, all of it is wanted.
            if_none_match: An ETag; the answer is 304 if the thing still has it.
            if_modified_since: An HTTP date; the answer is 304 if the thing is not newer.
            method: ``GET`` or ``HEAD``.
            wait_s: How long to wait for one of ``per_host`` connections to be free; ``None``: ``connect_s``.

        Returns:
            An answer of status 200, 206, 304 or 416.

        Raises:
            DownloadFailed: Of some class; its ``url`` is the last one that was asked.
        """
        asked: dict[str, str] = {}
        if first > 0 or last is not None:
            asked["Range"] = f"bytes={first}-{'' if last is None else last}"
            if if_range is not None:
                asked["If-Range"] = if_range
        if if_none_match is not None:
            asked["If-None-Match"] = if_none_match
        if if_modified_since is not None:
            asked["If-Modified-Since"] = if_modified_since
        if url.startswith(("http://", "https://")):
            return self._http.open(url, headers, asked, method, wait_s)
        match = re.match(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):", url)
        scheme = match[1].lower() if match else ""
        if scheme in ("http", "https"):
            return self._http.open(url, headers, asked, method, wait_s)
        shown = without_credentials(url)
        if not scheme:
            raise DownloadFailed("this is no URL", shown, again=False)
        if not self._private:
            raise Unsafe(f"private=False (--no-private) allows http and https only, not {scheme}", shown)
        if scheme == "file":
            return open_file(url.strip(), asked, method)
        return open_remote(url.strip(), scheme, asked, method)

    def ask_plainly(self, url: str) -> Taken | None:
        """As `Http.ask_plainly`."""
        return self._http.ask_plainly(url)

    def answer(self, url: str, taken: Taken) -> Answer:
        """What `open` returns, where the first answer is there already."""
        return self._http.open(url, {}, {}, "GET", None, taken)

    def close(self) -> None:
        """Close all idle connections; answers that are open go on until they are closed."""
        self._http.close()

    def cut(self) -> None:
        """End what is being read: it breaks, at once, wherever it waits. Nothing can be opened over HTTP any more."""
        self._http.cut()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
