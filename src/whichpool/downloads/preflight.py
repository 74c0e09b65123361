"""What would come: names and sizes, asked for without fetching anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import whichpool
from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.manners import manners
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
    names, where = Names(), Path(folder)
    asked: dict[int, Request] = {}

    def numbered() -> Iterator[Request]:
        for number, request in enumerate(requests):
            asked[number] = request
            yield request

    with Transport(settings) as transport:
        found = whichpool.imap(
            lambda request: _ask(transport, request),
            numbered(),
            **manners(settings, lambda request: request.url),
        )
        try:
            for number, result in enumerate(found):
                if isinstance(result, whichpool.Failure):
                    if not isinstance(result.error, DownloadFailed):
                        raise result.error
                    yield _found(asked.pop(number), result.error, names, where)
                else:
                    yield _found(asked.pop(number), result, names, where)
        finally:
            found.close()


def _ask(transport: Transport, request: Request) -> Answer | DownloadFailed:
    """The answer, closed already; or why there will be none. What may go better another time is raised."""
    failed: list[DownloadFailed] = []
    for url in request.urls:
        try:
            with _asked(transport, url, request) as answer:
                return answer
        except DownloadFailed as error:
            failed.append(error)
    passing = next((one for one in failed if one.again), None)
    if passing is not None:
        raise passing
    return failed[0]


def _asked(transport: Transport, url: str, request: Request) -> Answer:
    try:
        return transport.open(url, request.headers, method="HEAD")
    except DownloadFailed as error:
        if error.status not in _NO_HEAD:
            raise
        return transport.open(url, request.headers, first=0, last=0)


def _found(request: Request, answer: Answer | DownloadFailed, names: Names, folder: Path) -> Found:
    url = without_credentials(request.url)
    wanted = request.name or name_from_url(request.url)
    # Also where the server has another one: so the names of the others are those of a run.
    name = names.claim(wanted)
    if isinstance(answer, DownloadFailed):
        return Found(url, name, failure=answer.kind, message=str(answer))
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
