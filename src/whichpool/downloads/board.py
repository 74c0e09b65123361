"""How far it is: what is in progress, how fast it comes, how long it will take.

    begin ─> Entry: add, add, restart, add, end            snapshot ─> totals, rate, time left, the busiest files

Adding is done for each piece that arrives, on many threads, and costs a fraction of a microsecond; rates are worked out
when somebody looks.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import nlargest
from threading import Lock

__all__ = ["Board", "Entry", "Progress", "Snapshot"]

WINDOW_S = 5.0
"""Seconds over which rates are taken: long enough that a burst does not make the time left jump, short enough that a
stall is seen. A guess that reads well."""

# Looks that are closer together than this share one sample. Seconds.
_STEP_S = 0.1


class _Window:
    """A rate over the last seconds, from a number that grows."""

    __slots__ = ("_samples",)

    def __init__(self, now: float, amount: int) -> None:
        self._samples: deque[tuple[float, int]] = deque([(now, amount)])

    def rate(self, now: float, amount: int) -> float | None:
        """A second; ``None`` until enough time has passed to tell."""
        samples = self._samples
        # The oldest that is kept is the last one before the window, so that looks that are far apart have one.
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= _STEP_S:
            samples.append((now, amount))
        return (amount - before) / (now - since) if now - since >= _STEP_S else None


class Entry:
    """One file in progress. Thread-safe: the segments of a file add to one entry.

    Attributes:
        name: The file's, for people.
        url: Where it comes from, without credentials.
        total: Its size in bytes, if it is known; may be set.
    """

    __slots__ = ("_base", "_began", "_board", "_lock", "_received", "_window", "name", "total", "url")

    def __init__(self, board: Board, name: str, total: int | None, done: int, url: str) -> None:
        self.name = name
        self.url = url
        self.total = total
        self._board = board
        self._lock = Lock()
        self._base = done
        self._received = 0
        self._began = board._clock()
        self._window: _Window | None = (
            None  # from the first look on: most files are gone before anybody looks
        )

    @property
    def done(self) -> int:
        """Bytes of the file that are there, those of earlier runs included."""
        return self._base + self._received

    def add(self, count: int) -> None:
        """So many bytes more have arrived."""
        with self._lock:
            self._received += count

    def _rate(self, now: float) -> float | None:
        if self._window is None:
            self._window = _Window(self._began, 0)
        return self._window.rate(now, self._received)

    def restart(self, done: int = 0) -> None:
        """Only so much of the file counts now: it is begun anew, or at an earlier place.

        What had arrived still counts for rates.
        """
        with self._lock:
            self._base = done - self._received

    def end(self, outcome: str | None = None) -> None:
        """Nothing more comes; a second call does nothing.

        Args:
            outcome: Counted under this name; ``None``: it was only a try, and the file comes back later.
        """
        self._board._end(self, outcome)


@dataclass(frozen=True, slots=True)
class Progress:
    """One file in progress, when it was looked at."""

    name: str
    url: str
    done: int
    """Bytes of the file that are there."""
    total: int | None
    per_s: float | None
    """Bytes a second; ``None``: not known yet."""
    left_s: float | None
    """Seconds; ``None``: not known."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it, when it was looked at."""

    elapsed_s: float
    received: int
    """Bytes that came over the network."""
    per_s: float | None
    """Bytes a second, over the last seconds."""
    left_s: float | None
    """Seconds until all is there, if sizes allow to say. Files that have not begun are assumed to have the mean size of
    the others."""
    active: int
    """Files in progress."""
    ended: int
    """Files that are done with, well or not."""
    files: int | None
    """How many there are in all, if that is known."""
    done: int
    """Bytes of files that are there, whole or in part; what was there before this run included."""
    total: int | None
    """Bytes of all files, partly assumed as for ``left_s``; ``None``: cannot be told."""
    outcomes: Mapping[str, int]
    """Files that have ended, by outcome."""
    busiest: tuple[Progress, ...]
    """The fastest first."""


class Board:
    """Where all of one call's progress is noted. Thread-safe.

    Args:
        files: How many there will be; ``None``: not known. May be set later.
        started: Called with each `Entry` when it begins, on the thread that began it.
        clock: Seconds; a test's own, or `time.monotonic`.
    """

    def __init__(
        self,
        files: int | None = None,
        *,
        started: Callable[[Entry], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = files
        self._started = started
        self._clock = clock
        self._lock = Lock()
        self._entries: dict[int, Entry] = {}
        self._began = clock()
        self._window = _Window(self._began, 0)
        self._received = 0  # by entries that have ended
        self._done = 0
        self._sized = 0  # files that have ended and whose size is known
        self._outcomes: Counter[str] = Counter()

    @property
    def tells(self) -> bool:
        """Whether somebody is called when a file begins."""
        return self._started is not None

    def begin(self, name: str, total: int | None = None, done: int = 0, *, url: str = "") -> Entry:
        """A file is in progress from now on.

        Args:
            name: For people.
            total: Its size, if it is known; `Entry.total` may be set later.
            done: What is there of it already.
            url: Where it comes from, without credentials.
        """
        entry = Entry(self, name, total, done, url)
        with self._lock:
            if not self._entries and not self._received:
                # Getting ready is not what the rate is about.
                self._window = _Window(self._clock(), 0)
            self._entries[id(entry)] = entry
        if self._started is not None:
            self._started(entry)
        return entry

    def fetched(self, name: str, size: int, *, url: str = "") -> None:
        """A file came as a whole: it began and ended at once."""
        if self._started is not None:
            entry = self.begin(name, size, url=url)
            entry.add(size)
            entry.end("fetched")
            return
        with self._lock:
            if not self._entries and not self._received:
                self._window = _Window(self._clock(), 0)
            self._received += size
            self._count("fetched", size)

    def note(self, outcome: str, size: int | None = None) -> None:
        """A file is done with that never was in progress: it was there, or its host was not.

        Args:
            outcome: Counted under this name.
            size: Bytes of it that are there.
        """
        with self._lock:
            self._count(outcome, size)

    def snapshot(self, busiest: int = 5) -> Snapshot:
        """How far it is now.

        Args:
            busiest: So many of the files in progress, at the most.
        """
        with self._lock:
            now = self._clock()
            received, done, rest, unsized = self._received, self._done, 0, 0
            found = []
            for entry in self._entries.values():
                got, there, total = entry._received, entry.done, entry.total
                received += got
                done += there
                if total is None:
                    unsized += 1
                else:
                    rest += max(0, total - there)
                found.append((entry._rate(now), there, total, entry))
            ended, active = sum(self._outcomes.values()), len(self._entries)
            per_s = self._window.rate(now, received)
            left = self._rest(rest, unsized, active, ended)
            return Snapshot(
                elapsed_s=now - self._began,
                received=received,
                per_s=per_s,
                left_s=_left_s(left, per_s),
                active=active,
                ended=ended,
                files=self.files,
                done=done,
                total=None if left is None else done + left,
                outcomes=dict(self._outcomes),
                busiest=tuple(
                    Progress(
                        entry.name, entry.url, there, total, rate,
                        _left_s(None if total is None else max(0, total - there), rate),
                    )
                    for rate, there, total, entry in nlargest(
                        busiest, found, key=lambda one: (one[0] or 0.0, one[1])
                    )
                ),
            )  # fmt: skip

    def _rest(self, rest: int, unsized: int, active: int, ended: int) -> int | None:
        """Bytes that are still to come, those of files whose size is not known assumed; ``None``: it cannot be told."""
        if self.files is None:
            return None
        unknown = unsized + max(0, self.files - ended - active)
        if not unknown:
            return rest
        sizes = [entry.total for entry in self._entries.values() if entry.total is not None]
        known = self._sized + len(sizes)
        if not known:
            return None
        return rest + round(unknown * (self._done + sum(sizes)) / known)

    def _end(self, entry: Entry, outcome: str | None) -> None:
        with self._lock:
            if self._entries.pop(id(entry), None) is None:
                return
            self._received += entry._received
            if outcome is not None:
                self._count(outcome, None if outcome == "failed" else entry.done)

    def _count(self, outcome: str, size: int | None) -> None:
        self._outcomes[outcome] += 1
        if size is not None:
            self._done += size
            self._sized += 1


def _left_s(left: int | None, per_s: float | None) -> float | None:
    if left == 0:
        return 0.0
    return left / per_s if left is not None and per_s else None
