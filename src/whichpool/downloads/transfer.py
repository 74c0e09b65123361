"""From answers to the part: the bytes of one file, over one connection or several."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from whichpool.downloads.context import Context, Stopped
from whichpool.downloads.failures import Broken, Changed, DownloadFailed
from whichpool.downloads.hashing import Hashing
from whichpool.downloads.held import Held
from whichpool.downloads.jobs import Job, host_of
from whichpool.downloads.journal import Identity
from whichpool.downloads.part import Part
from whichpool.downloads.segments import Division, Growth, Span

if TYPE_CHECKING:
    from whichpool.downloads.answer import Answer
    from whichpool.downloads.board import Entry
    from whichpool.downloads.disk import Reservation

__all__ = ["CHUNK_BYTES", "Transfer", "bring_small", "fits"]

CHUNK_BYTES = 262_144
"""What is read at once; each connection holds one."""
LOOK_UP_S = 0.25
"""Who waits for the other connections of a file looks up so often whether the call is being ended."""


def fits(answer: Answer, identity: Identity, first: int) -> str | None:
    """Why an answer is no piece of that version from that byte on; ``None``: it is.

    A server may ignore ``If-Range``, so it is not enough that it sent a 206: it must name the same version itself.
    """
    if answer.status == 200:
        return "the server sent all of it, where a range was asked for"
    if answer.status != 206:
        return f"the server answered {answer.status} where a range was asked for"
    if answer.coded:
        return "the server sent a range of something compressed"
    if answer.first != first:
        return f"the server's range begins at {answer.first:,}, not at {first:,}"
    if answer.total != identity.total:
        return f"it has {answer.total} bytes now, not {identity.total}"
    for now, then, what in (
        (answer.etag, identity.etag, "ETag"),
        (answer.last_modified, identity.last_modified, "Last-Modified"),
    ):
        if now != then and (now is not None or then == identity.validator):
            return f"its {what} is {now} now, not {then}"
    return None


def bring_small(
    context: Context, job: Job, part: Part | Held, hashing: Hashing, entry: Entry, answer: Answer, total: int
) -> int:
    """All of what one read may bring: what `Transfer` does, without what only large files need. ``total`` again."""
    at, rate = 0, context.rate
    most = total if rate is None else rate.most(total)
    with answer:
        while at < total:
            data = answer.read(min(most, total - at))
            context.check()
            if not data:
                raise Broken(f"it ended after {at:,} of {total:,} bytes", answer.url)
            count = len(data)
            part.write(at, data)
            hashing.wrote(at, data)
            at += count
            job.fetched += count
            entry.add(count)
            if rate is not None:
                rate.take(count)
        _end(answer, at)
    return total


def _end(answer: Answer, at: int) -> None:
    """There must be nothing more, or it is longer than was said."""
    if answer.read(1):
        raise Broken(f"it has more than the {at:,} bytes that it should have", answer.url)


class _Retired(Exception):
    """A connection that does not pay, or that another file needs, ends; the others fetch what it has not brought."""


class Transfer:
    """The bytes of one try.

    Args:
        context: What all files share.
        job: Whose it is.
        part: Where it goes.
        gaps: What is missing; with the end ``None`` if nobody knows it.
        hashing: What is told of each piece.
        entry: Where progress is noted.
        reservation: Room that was set aside.
    """

    def __init__(
        self,
        context: Context,
        job: Job,
        part: Part,
        gaps: list[tuple[int, int | None]],
        hashing: Hashing,
        entry: Entry,
        reservation: Reservation | None,
    ) -> None:
        self._context = context
        self._job = job
        self._url = job.url
        self._host = host_of(job.url)
        self._part = part
        self._identity = part.identity
        self._hashing = hashing
        self._entry = entry
        self._reservation = reservation
        self.work = Division(gaps, context.settings.segment_bytes)
        self._changed: DownloadFailed | None = None
        self._given_up = False
        most = context.settings.segments if self._identity is not None and context.rate is None else 1
        self._growth = Growth(most, self._further)

    def run(self, answer: Answer) -> int:
        """Fetch all that is missing; the answer has the first of it. How many bytes the file has then.

        No other connection of it is in progress when this returns or raises.

        Raises:
            DownloadFailed: It could not be.
        """
        work = self.work
        try:
            with answer:
                span = work.take()
                if span is None:  # nothing is missing of an empty file
                    _end(answer, 0)
                    return 0
                end = self._bring(answer, span, leads=True)
            while not work.wait(LOOK_UP_S):
                self._check()
                span = work.take()
                if span is not None:
                    self._bring_range(span)
            self._check()
            return end if self._identity is None else self._identity.total
        finally:
            self._growth.over = self._given_up = True
            work.wait_for_helpers()

    def _check(self) -> None:
        self._context.check()
        if self._changed is not None:
            raise self._changed
        if self.work.error is not None:
            raise self.work.error

    def _bring_range(self, span: Span) -> None:
        """One range, on a connection of its own."""
        identity = self._identity
        assert identity is not None
        assert span.end is not None
        context, job = self._context, self._job
        try:
            answer = context.transport.open(
                self._url, job.request.headers, first=span.at, last=span.end - 1, if_range=identity.validator
            )
        except BaseException:
            self.work.put_back(span)
            raise
        with answer:
            misfit = fits(answer, identity, span.at)
            if misfit is not None:
                self.work.put_back(span)
                raise self._misfit(answer, identity, misfit)
            self._bring(answer, span)

    def _misfit(self, answer: Answer, identity: Identity, why: str) -> DownloadFailed:
        same = answer.status == 200 and answer.etag == identity.etag
        same = same and answer.last_modified == identity.last_modified and answer.total == identity.total
        if same:
            return Broken(why, answer.url, status=answer.status)
        return Changed(f"it changed while it was fetched: {why}", answer.url, status=answer.status)

    def _bring(self, answer: Answer, span: Span, leads: bool = False) -> int:
        """Read what belongs to the span; how far that went."""
        span.reach = span.at + answer.length if answer.length is not None else 0
        try:
            self._pump(answer, span, leads)
            if span.end is None or span.at == span.reach:
                _end(answer, span.at)
            if span.end is not None and span.at < span.end:
                raise Broken(f"it ended after {span.at:,} of {span.end:,} bytes", answer.url)
        finally:
            self.work.put_back(span)
        return span.at

    def _pump(self, answer: Answer, span: Span, leads: bool) -> None:
        context, work, part, rate = self._context, self.work, self._part, self._context.rate
        stopping, growth, reservation = context.stop.is_set, self._growth, self._reservation
        most = CHUNK_BYTES if rate is None else rate.most(CHUNK_BYTES)
        host = self._host
        while wanted := work.room(span, most):
            if leads:
                asked = perf_counter()
                data = answer.read(wanted)
                growth.waited_s += perf_counter() - asked
            else:
                data = answer.read(wanted)
            if not data:
                return
            if stopping() or self._given_up or self._changed is not None:
                self._check()
                raise Stopped
            count = len(data)
            at, mine = work.place(span, count)
            if mine < count:
                data = data[:mine]  # another connection has the rest
            part.write(at, data)
            self._hashing.wrote(at, data)
            self._entry.add(count)
            if reservation is not None:
                reservation.used(mine)
            if rate is not None:
                rate.take(count)
            if leads:
                if not growth.over:
                    growth.look(work.fetched)
            elif context.crowded(host) or (growth.one_too_many and growth.goes()):
                raise _Retired

    # -- further connections ---------------------------------------------------------------------------------------

    def _further(self) -> bool:
        host = self._host
        if not self.work.could_split() or not self._context.further(host):
            return False
        try:
            self.work.helper_comes()
            self._context.help(self._help, host)
        except RuntimeError:
            self.work.helper_goes()
            self._context.done_with(host)
            return False
        return True

    def _help(self, host: str) -> None:
        """Fetch ranges for as long as there are some; a trouble ends this connection only."""
        try:
            while not self._given_up and (span := self.work.take()) is not None:
                self._bring_range(span)
        except Changed as trouble:
            self._growth.over = True
            self._changed = trouble
        except Broken as trouble:
            self._growth.over = True
            if trouble.status == 200:
                self._context.sends_no_ranges(host)
        except (DownloadFailed, Stopped, _Retired):
            self._growth.over = True
        except BaseException as error:
            self._growth.over = True
            self.work.error = error
        finally:
            self.work.helper_goes()
            self._context.done_with(host)
