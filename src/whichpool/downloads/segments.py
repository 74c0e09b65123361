"""The ranges of one file that are fetched at once: who fetches what, and whether another connection pays.

    whole ─> Span ─ split ─> Span, Span ─ done ─> take() splits the largest of the others, so that all end together

A connection that breaks gives back what it has not brought: to the one before it, if that has not gone past, else to
whoever comes for more. No byte is two spans', and none is nobody's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import monotonic, thread_time

__all__ = ["Division", "Growth", "Span"]

FIRST_LOOK_S = 1.0
"""One connection alone has run for so long before a second one is tried: most are past their slow start. A guess."""
WINDOW_S = 1.0
"""Seconds over which the rate is taken with so many connections. A guess."""
GAIN = 1.15
"""The rate must have risen by this with the last connection, or there is no further one. As agreed for the limit per
host; below it, it is noise."""
WAITING = 0.5
"""The share of its time that the first connection must have waited for the network. Reading from a server on the same
machine waits as well, but for a copy: that computes, and is taken off. A guess."""


class Span:
    """What one connection is to bring: the bytes from ``at`` up to ``end`` (``None``: up to where it ends).

    ``reach`` is what it would bring if it were read to its end; 0 while there is no answer.
    """

    __slots__ = ("at", "end", "first", "over", "reach")

    def __init__(self, first: int, end: int | None) -> None:
        self.first = self.at = first
        self.end = end
        self.reach = 0
        self.over = False

    def __repr__(self) -> str:
        return f"<Span {self.first}..{self.at}..{self.end}{' over' if self.over else ''}>"


class Division:
    """Who fetches what of one file. Thread-safe.

    Args:
        gaps: What is missing.
        least: No range is split into smaller ones than so many bytes.
    """

    def __init__(self, gaps: Iterable[tuple[int, int | None]], least: int) -> None:
        self._least = max(1, least)
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._waiting = [Span(first, end) for first, end in gaps]
        self._active: list[Span] = []
        self._helpers = 0
        self.fetched = 0  # bytes, by all
        self.most = 0  # spans in progress at once
        self.error: BaseException | None = None  # of a helper: one that should not be

    def take(self) -> Span | None:
        """Something to fetch: what nobody is at, else the second half of the largest that somebody is."""
        with self._lock:
            if self._waiting:
                span = self._waiting.pop(0)
            else:
                found = self._largest()
                if found is None:
                    return None
                end = found.end
                assert end is not None
                middle = found.at + (end - found.at + 1) // 2
                found.end = middle
                span = Span(middle, end)
            self._active.append(span)
            self.most = max(self.most, len(self._active))
            return span

    def _largest(self) -> Span | None:
        best, room = None, 2 * self._least - 1
        for span in self._active:
            if span.end is not None and span.end - span.at > room:
                best, room = span, span.end - span.at
        return best

    def could_split(self) -> bool:
        """Whether there is something for another connection."""
        with self._lock:
            return bool(self._waiting) or self._largest() is not None

    def room(self, span: Span, most: int) -> int:
        """So much of it, ``most`` at the most, is to be read next; 0: it is over."""
        with self._lock:
            if span.end is not None:
                most = min(most, span.end - span.at)
                if most <= 0:
                    span.over = True
                    return 0
            return most

    def place(self, span: Span, count: int) -> tuple[int, int]:
        """So many bytes came: where the first belongs, and how many of them are still this span's."""
        with self._lock:
            at = span.at
            if span.end is not None:
                count = min(count, span.end - at)
            span.at = at + count
            self.fetched += count
            return at, count

    def put_back(self, span: Span) -> None:
        """The connection has ended; what it has not brought is somebody else's."""
        with self._lock:
            span.over = True
            self._active.remove(span)
            if span.end is None or span.at >= span.end:
                self._news.notify_all()
                return
            for before in self._active:
                if before.end == span.at == span.first and not before.over and before.reach >= span.end:
                    before.end = span.end
                    break
            else:
                self._waiting.append(Span(span.at, span.end))
            self._news.notify_all()

    def wait(self, most_s: float) -> bool:
        """Until something has come back, or nobody is at anything; whether there is nothing left to do."""
        with self._lock:
            if self._active and not self._waiting:
                self._news.wait(most_s)
            return not self._active and not self._waiting

    def helper_comes(self) -> None:
        """Another thread is going to take spans."""
        with self._lock:
            self._helpers += 1

    def helper_goes(self) -> None:
        """It takes none any more, and touches nothing."""
        with self._lock:
            self._helpers -= 1
            self._news.notify_all()

    def wait_for_helpers(self) -> None:
        """Until there is none."""
        with self._lock:
            while self._helpers:
                self._news.wait()


class Growth:
    """When a further connection for one file is tried, and whether it stays. All but `goes` is for one thread.

    Args:
        most: Connections at the most.
        start: Tries to bring one in; False: there is no room for it.
        now: The clock.
        cpu: What this thread has computed so far, in seconds.

    Attributes:
        over: Nothing is tried any more.
        waited_s: Seconds that the first connection has spent in reading; to be kept by who reads.
        one_too_many: The last connection did not pay, and one is to end.
    """

    def __init__(
        self,
        most: int,
        start: Callable[[], bool],
        now: Callable[[], float] = monotonic,
        cpu: Callable[[], float] = thread_time,
    ) -> None:
        self._most = most
        self._start = start
        self._now = now
        self._cpu = cpu
        self._count = 1
        self._best = 0.0
        self._since = now()
        self._look_at = self._since + FIRST_LOOK_S
        self._cpu_since = cpu()
        self._bytes = 0
        self._lock = threading.Lock()
        self.waited_s = 0.0
        self.over = most <= 1
        self.one_too_many = False

    def look(self, fetched: int) -> None:
        """So much has been fetched by all connections together."""
        now = self._now()
        if now < self._look_at:
            return
        passed_s = now - self._since
        if self._count == 1 and self.waited_s - (self._cpu() - self._cpu_since) < WAITING * passed_s:
            self.over = True  # this machine is what it waits for: nothing to be gained
            return
        rate = (fetched - self._bytes) / passed_s
        if rate < self._best * GAIN:
            self.over = self.one_too_many = True
            return
        if self._count >= self._most or not self._start():
            self.over = True
            return
        self._count += 1
        self._best = rate
        self._since, self._bytes, self._look_at = now, fetched, now + WINDOW_S

    def goes(self) -> bool:
        """Whether the connection that asks is the one to end."""
        with self._lock:
            told, self.one_too_many = self.one_too_many, False
            return told
