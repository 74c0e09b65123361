"""The usual small file, and nothing else: its answer comes with one read or two, and nothing about it is special.

    what every request to the host has, on a connection that waits ─> head ─> all of its body ─> digest ─> its name
                                                                       │
                                                                       └ anything else: `fetch` goes on with the answer

Thousands of small files cost what Python does for each. All rules are those of the longer way, and its functions are
called here; what would need more of them than one look at the headers goes the longer way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichpool.downloads.answer import http_date
from whichpool.downloads.digests import Hasher
from whichpool.downloads.held import HELD_BYTES, Held, put
from whichpool.downloads.part import GROUP_S
from whichpool.downloads.secrets import without_credentials

if TYPE_CHECKING:
    from whichpool.downloads.answer import Answer
    from whichpool.downloads.context import Context
    from whichpool.downloads.folder import Place
    from whichpool.downloads.jobs import Job
    from whichpool.downloads.records import Receipt

__all__ = ["TELL_DIGESTS", "fetch_at_once", "time_of"]

TELL_DIGESTS = ("repr-digest", "content-digest", "digest", "content-md5")
LATEST_S = 2.0**33
"""Seconds since 1970. No file is given a later time: some file systems cannot have one."""

_SPECIAL = frozenset({*TELL_DIGESTS, "content-disposition", "content-encoding", "set-cookie"})
"""Headers that say something of the file which is to be looked into."""


def time_of(modified: str | None) -> int | None:
    """The time that a file is given, of a ``Last-Modified``; ``None``: none."""
    mtime = http_date(modified)
    return int(mtime) if mtime is not None and 0 <= mtime < LATEST_S else None


def fetch_at_once(context: Context, job: Job, place: Place) -> Receipt | Answer | None:
    """Ask for a file of which nothing is there.

    Returns:
        Its receipt, if that was all; an answer of which nothing has been used; ``None``: it was not asked for.

    Raises:
        DownloadFailed: Of some class.
    """
    request, transport = job.request, context.transport
    if request.headers or request.digests or context.rate is not None:
        return None
    taken = transport.ask_plainly(job.url)
    if taken is None:
        return None
    reply = taken.reply
    wire, told, size = reply.wire, reply.told, reply.length
    if (
        reply.status != 200
        or reply.chunked
        or size is None
        or size > HELD_BYTES
        or not _SPECIAL.isdisjoint(told)
        or not wire.gather(size, GROUP_S)
        or wire.excess(size)
    ):
        return transport.answer(job.url, taken)
    data = wire.take(size)
    taken.done(True)
    context.check()
    context.settle()
    shown = without_credentials(job.url)
    context.tell("begin", url=shown, name=job.name, total=size, done=0)
    context.space.reserve(size, place.path).drop()
    hasher = Hasher((context.settings.digest,) if context.settings.digest else ())
    hasher.update(data)
    job.fetched = size
    etag, modified = told.get("etag") or None, told.get("last-modified") or None
    mtime_s = time_of(modified)
    if not (place.nameless and put(place, data, mtime_s)):
        context.roam()
        held = Held(place, context.later)
        try:
            held.begin(None, size)
            held.write(0, data)
            held.finish(place, size, mtime_s=mtime_s, replace=False)
        finally:
            held.close()
    context.board.fetched(job.name, size, url=shown)
    return job.receipt(
        "fetched",
        path=place.path,
        final_url=shown,
        bytes=size,
        digests=hasher.digests(),
        checked=("length",),
        etag=etag,
        last_modified=modified,
    )
