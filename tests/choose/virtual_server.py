"""A server in virtual time: so many calls at once, at a latency; beyond that they queue, or are refused."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from itertools import count

from whichpool._choose.allowance import Allowance


class Server:
    """Calls for it are always there; `run` lets so many seconds pass.

    Args:
        capacity: Calls that it works on at once; more wait in turn (or share, with ``shared``).
        latency_s: Of a call, besides its size.
        sizes: Draws a size; a call takes ``size / per_s`` more.
        refuses_above: With more calls in progress than this, a call is refused after the latency.
        shared: The latency of all rises in proportion, in place of a queue.
    """

    def __init__(
        self, allowance, capacity, *, latency_s=0.1, sizes=None, per_s=1.0, refuses_above=None,
        shared=False, seed=0, told=True, noise=0.05,
    ):  # fmt: skip
        self.allowance, self.capacity, self.latency_s = allowance, capacity, latency_s
        self.random = random.Random(seed)
        self.sizes, self.per_s, self.refuses_above = sizes, per_s, refuses_above
        self.shared, self.told, self.noise = shared, told, noise
        self.now = 0.0
        self._events = []
        self._numbers = count()
        self._queue = []
        self._working = 0
        self.levels = []  # (time, level)
        self.refused = 0
        self.done = 0

    def run(self, seconds):
        end = self.now + seconds
        while True:
            while self.allowance.room(self.now) > 0:
                self._begin()
            if not self._events or self._events[0][0] > end:
                self.now = end
                return
            self.now, _, began, size, kind = heappop(self._events)
            if kind == "refused":
                self.refused += 1
                self.allowance.too_much(self.now, began)
            else:
                self._working -= 1
                if self._queue:
                    self._work(*self._queue.pop(0))
                self.done += 1
                self.allowance.did(self.now, began, size if self.told else 1.0)
            self.allowance.leave()
            self.levels.append((self.now, self.allowance.level))

    def _begin(self):
        size = self.sizes(self.random) if self.sizes is not None else 1.0
        self.allowance.begin()
        if self.refuses_above is not None and self.allowance.in_progress > self.refuses_above:
            heappush(
                self._events, (self.now + self.latency_s, next(self._numbers), self.now, size, "refused")
            )
        elif self._working < self.capacity or self.shared:
            self._work(self.now, size)
        else:
            self._queue.append((self.now, size))

    def _work(self, began, size):
        self._working += 1
        takes = self.latency_s + (size / self.per_s if self.sizes is not None else 0.0)
        takes *= 1 + self.noise * self.random.random()
        if self.shared:
            takes *= max(1.0, self._working / self.capacity)
        heappush(self._events, (self.now + takes, next(self._numbers), began, size, "done"))

    def mean_level(self, since):
        """Over time, from then on."""
        marks = [mark for mark in self.levels if mark[0] >= since]
        spans = zip(marks, [*marks[1:], (self.now, 0)], strict=True)
        return sum(level * (after - at) for (at, level), (after, _) in spans) / (self.now - marks[0][0])


def server(capacity, *, first=4, most=64, **options):
    return Server(Allowance(first, most), capacity, **options)
