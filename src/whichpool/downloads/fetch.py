"""One file, one try: what is there, what is missing, is that of the same version, is all of it right?

    job ─> is it there?  ─> what did an earlier try leave? ─> ask ─> read, write, hash ─> check ─> its name ─> receipt
             unchanged          NAME.part + journal            │ 206 that fits: go on      200: from the start
                                                               └ anything else: from the start, on a new connection

A try that fails raises; what it has brought is in the part, if it can be gone on with.

Connections of one file beyond the first come from a pool of their own, and only while the host has fewer than
`Settings.per_host` in use here. No thread waits for another connection while it holds one: the first reads to the end
of what it has, lets go, and only then waits for the others. So a connection that is waited for is held by one who goes
on.
"""

from __future__ import annotations

from email.utils import formatdate
from hashlib import blake2b
from os import stat_result
from stat import S_ISREG
from typing import TYPE_CHECKING

from whichpool.downloads.answer import Answer, http_date
from whichpool.downloads.at_once import TELL_DIGESTS, fetch_at_once, time_of
from whichpool.downloads.context import Stopped
from whichpool.downloads.digests import Hasher, differing, promised
from whichpool.downloads.disk import is_full
from whichpool.downloads.failures import (
    Broken,
    Busy,
    Changed,
    Corrupt,
    DiskFailed,
    DownloadFailed,
    Gone,
    Refused,
)
from whichpool.downloads.folder import Place
from whichpool.downloads.hashing import Hashing
from whichpool.downloads.held import Held, nothing_of
from whichpool.downloads.jobs import Job, host_of
from whichpool.downloads.journal import Identity
from whichpool.downloads.names import name_from_disposition
from whichpool.downloads.part import Part
from whichpool.downloads.records import Receipt
from whichpool.downloads.secrets import without_credentials, without_signature
from whichpool.downloads.transfer import CHUNK_BYTES, Transfer, bring_small, fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from whichpool.downloads.context import Context

__all__ = ["Fetcher"]

_AT_A_RANGE = (500, 501)
"""Statuses of servers that fail at ranges, or have none; and of those that may do better at the next try."""

APART_BYTES = 8_000_000
"""From this size on, a file is hashed on another thread than the one that receives it."""


class Fetcher:
    """What `whichpool.imap` calls for each job; a try that may go better next time raises.

    Args:
        context: What all files share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, job: Job) -> tuple[int, Receipt]:
        """The job's place in the input, and what became of it."""
        context = self._context
        context.check()
        job.begin()
        host = host_of(job.url)
        context.enter(host)
        try:
            if context.full is not None:
                raise DiskFailed(f"{job.name}: not begun, since there is no room any more ({context.full})")
            return job.number, self._try(job)
        except DownloadFailed as failure:
            if context.stop.is_set():
                raise Stopped from failure  # its connection was cut for that, say
            if is_full(failure):
                context.full = failure
            failure.url = without_credentials(failure.url or job.url)
            failure.progressed = job.progressed and not isinstance(failure, (Changed, Corrupt))
            if (isinstance(failure, DiskFailed) and not failure.said) or not job.failed(failure):
                return job.number, job.failure(failure)
            if job.in_vain <= context.settings.retries:
                context.tell(
                    "again",
                    url=without_credentials(job.request.url),
                    attempts=job.attempts,
                    failure=failure.kind,
                    status=failure.status,
                    message=str(failure),
                )
            raise
        finally:
            context.leave(host)

    def _try(self, job: Job) -> Receipt:
        place = self._context.folder.place(job.name)
        try:
            there = place.stat()
            if there is not None:
                kept = self._keep(job, place, there)
                if kept is not None:
                    return kept
            fresh = there is None and job.attempts == 1 and nothing_of(place)
            if fresh and job.url.startswith("http://"):
                self._context.settle()  # it may be small
            answer = fetch_at_once(self._context, job, place) if fresh else None
            if isinstance(answer, Receipt):
                return answer
            if not fresh:
                self._context.roam()
            file = _File(self._context, job, place, there, fresh)
            try:
                return file.fetch(answer)
            except DownloadFailed:
                part = file.part
                if part.identity is not None:
                    further = job.came(part.identity.version, max(part.there.size, part.front))
                    job.progressed = further and file.went_on
                raise
            finally:
                file.part.close()
        finally:
            place.close()

    def _keep(self, job: Job, place: Place, there: stat_result) -> Receipt | None:
        """The receipt, if what is there is to be left."""
        Part(place).sweep()
        settings, expected = self._context.settings, job.request.digests
        if expected:
            self._context.roam()
            got = file_digests(place, (*expected, *([settings.digest] if settings.digest else [])))
            if differing(expected, got):
                return None
            message = "it was there already, and its digest is the one that was given"
            return self._unchanged(job, place, there, message, digests=got, checked=tuple(expected))
        if settings.overwrite or settings.newer:
            return None
        message = (
            "it was there already. Whether the server has another one now was not asked: see overwrite, newer"
        )
        return self._unchanged(job, place, there, message)

    @staticmethod
    def _unchanged(job: Job, place: Place, there: stat_result, message: str, **more: object) -> Receipt:
        return job.receipt("unchanged", path=place.path, bytes=there.st_size, message=message, **more)


class _File:
    """One try of one file that is not there, or is to be replaced."""

    def __init__(
        self, context: Context, job: Job, place: Place, there: stat_result | None, fresh: bool
    ) -> None:
        self.context = context
        self.job = job
        self.request = job.request
        self.place = place
        self.part: Part | Held = (Held if fresh else Part)(place, context.later)
        self.there = there
        self.went_on = False  # where an earlier try has ended

    def fetch(self, answer: Answer | None) -> Receipt:
        """All of it: from asking to its name. ``answer``: to a request for all of it, if that was sent already."""
        known = self._known() if isinstance(self.part, Part) else None
        gaps: list[tuple[int, int | None]] = []
        if known is not None:
            gaps = [*self.part.there.missing(known.total)]
            if gaps:
                answer = self._go_on(known, gaps[0])
                if answer is None:
                    known = None
            self.went_on = known is not None
            self.job.resumed = self.job.resumed or self.went_on
        if known is None:
            answer = self._ask_for_all(answer)
            kept = self._kept(answer)
            if kept is not None:
                answer.close()
                return kept
            try:
                gaps = self._begin(answer)
            except BaseException:
                answer.close()
                raise
        return self._receive(answer, gaps)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _known(self) -> Identity | None:
        """What an earlier try has left of it, and can be gone on with."""
        request = self.request
        # With a digest of the content, it does not matter where it came from. Without, it matters even among mirrors:
        # a tag is comparable with those of the same URL only, and two servers may have the same one for two contents.
        part = self.part
        assert isinstance(part, Part)
        ours = None if request.digests else lambda source: source == _source(self.job.url)
        known = part.look(ours)
        return None if known is None or differing(request.digests, known.digests) else known

    def _go_on(self, known: Identity, gap: tuple[int, int | None]) -> Answer | None:
        """Ask for what is missing; ``None``: it cannot be gone on with."""
        first, end = gap
        last = None if end is None or (end == known.total and first) else end - 1
        try:
            answer = self.context.transport.open(
                self.job.url, self.request.headers, first=first, last=last, if_range=known.validator
            )
        except (Broken, Refused, Gone, Busy) as failure:
            if not self._for_the_range(failure):
                raise
            return None
        if fits(answer, known, first) is None:
            return answer
        answer.close()
        return None

    def _for_the_range(self, failure: DownloadFailed) -> bool:
        """Whether it may be the range that is not answered, so that it is to be seen whether all of it is. What is
        there is given up only if so."""
        if isinstance(failure, Broken):
            return failure.status == 206  # a range that cannot be
        if isinstance(failure, Busy):
            return failure.status in _AT_A_RANGE and self.job.in_vain >= 2
        return True

    def _ask_for_all(self, answer: Answer | None) -> Answer:
        since = None
        if self.context.settings.newer and self.there is not None and self.job.final is None:
            since = formatdate(int(self.there.st_mtime), usegmt=True)
        if answer is None:
            answer = self.context.transport.open(self.job.url, self.request.headers, if_modified_since=since)
        if answer.status == 200 or (answer.status == 304 and since is not None):
            return answer
        answer.close()
        raise Broken(
            f"the server answered {answer.status} to a request for all of it",
            answer.url,
            status=answer.status,
        )

    def _kept(self, answer: Answer) -> Receipt | None:
        """The receipt, if the answer shows that what is there is what it would bring."""
        if answer.status == 304:
            assert self.there is not None
            return self._unchanged(answer, self.place, self.there, "the server has no newer one")
        there = self.there
        if there is not None and self.context.settings.newer and _same(answer, there):
            return self._unchanged(answer, self.place, there, "the server's has the same size and time")
        name = self._servers_name(answer)
        if name is None:
            return None
        job, context = self.job, self.context
        replaced = context.settings.overwrite or context.settings.newer

        def taken(name: str) -> bool:
            found = self._stat(name)
            return found is not None and not (replaced or _same(answer, found))

        if job.final is None:
            job.final = context.names.claim(name, taken)
        found = self._stat(job.final)
        if found is None or context.settings.overwrite or not _same(answer, found):
            return None
        place = context.folder.place(job.final)
        try:
            expected = self.request.digests
            got = file_digests(place, expected) if expected else {}
            if differing(expected, got):
                return None
            message = "a file of the server's name, with the same size and time, was there already"
            return self._unchanged(answer, place, found, message, digests=got, checked=tuple(expected))
        finally:
            place.close()

    def _servers_name(self, answer: Answer) -> str | None:
        """The name that the server gave, where it counts and is another one than the file has anyway."""
        header = answer.headers.get("content-disposition")
        if self.request.name is not None or not header:
            return None
        name = name_from_disposition(header)
        return name if name != self.job.wanted else None

    def _stat(self, name: str) -> stat_result | None:
        place = self.context.folder.place(name)
        try:
            return place.stat()
        finally:
            place.close()

    def _unchanged(
        self, answer: Answer, place: Place, there: stat_result, message: str, **more: object
    ) -> Receipt:
        return self.job.receipt(
            "unchanged",
            path=place.path,
            final_url=without_credentials(answer.url),
            bytes=there.st_size,
            etag=answer.etag,
            last_modified=answer.last_modified,
            message=message,
            **more,
        )

    # -- receiving -------------------------------------------------------------------------------------------------

    def _begin(self, answer: Answer) -> list[tuple[int, int | None]]:
        """From nothing. What is missing, which is all."""
        part, total = self.part, answer.total
        if isinstance(part, Held):
            if total is not None and total <= CHUNK_BYTES:
                part.begin(self._identity(answer), total)
                return [(0, total)]
            part = self.part = Part(self.place, self.context.later)
        part.begin(self._identity(answer))
        if total == 0:
            return []
        return [(0, total)]

    def _identity(self, answer: Answer) -> Identity | None:
        """What makes another answer one of the same thing; ``None``: nothing does."""
        validator, total = answer.validator, answer.total
        if validator is None or total is None or answer.coded:
            return None
        return Identity(
            _source(self.job.url),
            total,
            validator,
            answer.etag,
            answer.last_modified,
            without_credentials(answer.url),
            self.job.final,
            _promised(answer),
        )

    def _receive(self, answer: Answer | None, gaps: list[tuple[int, int | None]]) -> Receipt:
        context, job, part = self.context, self.job, self.part
        identity = part.identity
        total = identity.total if identity is not None else answer.total if answer is not None else None
        done = part.there.size
        given = self.request.digests
        told = identity.digests if identity is not None else {}
        if answer is not None and (identity is None or answer.status != 200):
            told = {**told, **_promised(answer)}
        names = dict.fromkeys((*filter(None, [context.settings.digest]), *given, *told))
        if total is None or total > CHUNK_BYTES:
            context.roam()
        apart = done > 0 or (total is not None and total >= APART_BYTES)
        hashing = Hashing(part, names, context.later if apart else None)
        shown = without_credentials(job.url)
        entry = context.board.begin(job.name, total, done, url=shown)
        context.tell("begin", url=shown, name=job.name, total=total, done=done)
        reservation = None
        try:
            if total is not None and total > done:
                who = host_of(answer.url if answer is not None else job.url)
                reservation = context.space.reserve(total - done, part.path, who, done)
            if answer is not None and answer.status == 200 and total is not None and total <= CHUNK_BYTES:
                size = bring_small(context, job, part, hashing, entry, answer, total)
            elif answer is not None:
                assert isinstance(part, Part)
                noted = reservation if apart else None  # what is small is there in a moment
                transfer = Transfer(context, job, part, gaps, hashing, entry, noted)
                try:
                    size = transfer.run(answer)
                finally:
                    job.fetched += transfer.work.fetched
                    job.segments = max(job.segments, transfer.work.most)
            else:
                size = done
            receipt = self._finish(answer, identity, size, hashing.digests(), told)
        except BaseException:
            entry.end()
            raise
        finally:
            if answer is not None:
                answer.close()
            if reservation is not None:
                reservation.drop()
        entry.end("fetched")
        return receipt

    def _finish(
        self,
        answer: Answer | None,
        identity: Identity | None,
        size: int,
        digests: Mapping[str, str],
        told: Mapping[str, str],
    ) -> Receipt:
        """All is there: is it right? Then it gets its name."""
        given, job = self.request.digests, self.job
        for expected, who in ((given, "given"), (told, "that the server promised")):
            wrong = differing(expected, digests)
            if wrong:
                name = wrong[0]
                self.part.discard()
                raise Corrupt(
                    f"{job.name}: all {size:,} bytes came, but their {name} is {digests[name]}, and the one {who} is "
                    f"{expected[name]}",
                    without_credentials(job.url),
                )
        modified = answer.last_modified if answer is not None and answer.status == 200 else None
        etag = answer.etag if answer is not None and answer.status == 200 else None
        if identity is not None:
            etag, modified = identity.etag, identity.last_modified
            if job.final is None and identity.name is not None:
                job.final = self.context.names.claim(
                    identity.name, lambda name: self._stat(name) is not None and not self._may_replace
                )
        proved = identity is not None or (
            answer is not None
            and (answer.total is not None or "chunked" in answer.headers.get("transfer-encoding", "").lower())
        )
        path = self._name(size, modified)
        final_url = (
            without_credentials(answer.url)
            if answer is not None
            else identity.final_url
            if identity is not None
            else None
        )
        return job.receipt(
            "fetched",
            path=path,
            final_url=final_url,
            bytes=size,
            digests=dict(digests),
            checked=(*(["length"] if proved else []), *dict.fromkeys((*given, *told))),
            etag=etag,
            last_modified=modified,
        )

    @property
    def _may_replace(self) -> bool:
        return self.context.settings.overwrite or self.context.settings.newer

    def _name(self, size: int, modified: str | None) -> str:
        """Give it its name, which is returned."""
        mtime_s = time_of(modified)
        final = self.job.final
        if final is None:
            self.part.finish(self.place, size, mtime_s=mtime_s, replace=self.there is not None)
            return self.place.path
        place = self.context.folder.place(final)
        try:
            self.part.finish(place, size, mtime_s=mtime_s, replace=self._may_replace)
        finally:
            place.close()
        return final


def _promised(answer: Answer) -> Mapping[str, str]:
    """The digests of the whole that it tells. Few answers tell any, and thousands of small files should not pay."""
    headers = answer.headers
    return (
        promised(headers, whole=answer.status == 200) if any(map(headers.__contains__, TELL_DIGESTS)) else {}
    )


def _source(url: str) -> str:
    """The URL in a form that can be compared and shows nothing; the same however it was signed."""
    return blake2b(
        without_signature(without_credentials(url)).encode("utf-8", "surrogateescape"), digest_size=16
    ).hexdigest()


def _same(answer: Answer, there: stat_result) -> bool:
    """Whether the file has the size and the time that the server tells."""
    modified = http_date(answer.last_modified)
    return (
        S_ISREG(there.st_mode)
        and answer.total == there.st_size
        and modified is not None
        and int(modified) == int(there.st_mtime)
    )


def file_digests(place: Place, names: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    """Of the file that is there."""
    hasher = Hasher(dict.fromkeys(names))
    with open(place.open(), "rb", buffering=0) as file:
        while data := file.read(262_144):
            hasher.update(data)
    return hasher.digests()
