"""What would come: names and sizes, asked for without fetching anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import whichpool
from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.names import Names, name_from_disposition, name_from_url
from whichpool.downloads.records import Request, Settings
from whichpool.downloads.secrets import without_credentials
from whichpool.downloads.transport import Answer, Transport

__all__ = ["Found", "free_bytes", "preflight"]

# Statuses with which servers refuse HEAD, and may yet answer a GET: forbidden (signed URLs are for one method), not
# found (some routes only GET), not allowed, not implemented.
_NO_HEAD = {400, 403, 404, 405, 501}


@dataclass(frozen=True, slots=True)
class Found:
    """What one request would bring."""

    url: str
    """As asked for, without user name and password."""
    name: str
    """The file's name in the folder."""
    bytes: int | None = None
    """Its size; ``None``: the server does not say."""
    there: bool = False
    """Whether there is a file of that name already."""
    ranges: bool = False
    """Whether the server says that it can go on where a part ends."""
    final_url: str | None = None
    """Where it is in the end."""
    failure: str | None = None
    """The class of the failure; ``None``: it would be fetched."""
    message: str | None = None
    """What happened, for people."""


def preflight(
    requests: Iterable[Request], folder: str | os.PathLike[str] = ".", settings: Settings | None = None
) -> Iterator[Found]:
    """Ask for each request, many at once, and tell what would come; in the order of the input.

    Servers that do not answer HEAD are asked for the first byte. Names are those that `idownload` would give, unless
    servers give one name to several.

    Args:
        requests: Read as they are worked off.
        folder: Where the files would go; it need not be there.
        settings: As for `idownload`.
    """
    settings = Settings() if settings is None else settings
    names = Names()
    with Transport(settings) as transport:

        def ask(request: Request) -> tuple[Request, Answer | None, DownloadFailed | None]:
            failure = None
            for url in request.urls:
                try:
                    with _asked(transport, url, request) as answer:
                        return request, answer, None
                except DownloadFailed as error:
                    failure = failure or error
            return request, None, failure

        found = whichpool.imap(ask, requests, plan=(0, settings.most), shared="ok")
        try:
            for request, answer, failure in found:
                yield _found(request, answer, failure, names, Path(folder))
        finally:
            found.close()


def _asked(transport: Transport, url: str, request: Request) -> Answer:
    try:
        return transport.open(url, request.headers, method="HEAD")
    except DownloadFailed as error:
        if error.status not in _NO_HEAD:
            raise
        return transport.open(url, request.headers, first=0, last=0)


def _found(
    request: Request, answer: Answer | None, failure: DownloadFailed | None, names: Names, folder: Path
) -> Found:
    url = without_credentials(request.url)
    wanted = request.name or name_from_url(request.url)
    # Also where the server has another one: so the names of the others are those of a run.
    name = names.claim(wanted)
    if answer is None:
        assert failure is not None
        return Found(url, name, failure=failure.kind, message=str(failure))
    if request.name is None and (header := answer.headers.get("content-disposition")):
        given = name_from_disposition(header)
        if given is not None and given != wanted:
            name = names.claim(given)
    return Found(
        url,
        name,
        answer.total,
        there=os.path.lexists(folder / name),
        ranges=answer.accepts_ranges or answer.status == 206,
        final_url=answer.url,
    )


def free_bytes(folder: str | os.PathLike[str]) -> int | None:
    """What is free where the folder is, or would be made; ``None``: it cannot be told."""
    place = Path(folder).absolute()
    for one in (place, *place.parents):
        try:
            return shutil.disk_usage(one).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
