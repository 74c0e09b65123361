"""Which bytes of a file are there: half-open ranges, sorted, never touching one another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

__all__ = ["Ranges"]


class Ranges:
    """A set of bytes, as ranges ``(first, end)``. Not for several threads at once.

    >>> there = Ranges([(0, 10), (20, 30)])
    >>> there.add(10, 15)
    >>> list(there), there.front, there.size
    ([(0, 15), (20, 30)], 15, 25)
    >>> there.missing(40)
    [(15, 20), (30, 40)]
    """

    __slots__ = ("_ends", "_firsts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for first, end in ranges:
            self.add(first, end)

    def add(self, first: int, end: int) -> None:
        """The bytes from ``first`` up to ``end`` are there too."""
        if first >= end:
            return
        ends = self._ends
        if ends and first == ends[-1]:  # what comes in order
            ends[-1] = end
            return
        low = bisect_left(ends, first)
        high = bisect_right(self._firsts, end)
        if low < high:
            first = min(first, self._firsts[low])
            end = max(end, ends[high - 1])
        self._firsts[low:high] = [first]
        ends[low:high] = [end]

    def missing(self, total: int) -> list[tuple[int, int]]:
        """What is not there of a file of so many bytes."""
        gaps, at = [], 0
        for first, end in self:
            if first > at:
                gaps.append((at, min(first, total)))
            at = end
            if at >= total:
                return gaps
        if at < total:
            gaps.append((at, total))
        return gaps

    @property
    def front(self) -> int:
        """All before this byte is there."""
        return self._ends[0] if self._firsts and self._firsts[0] == 0 else 0

    @property
    def end(self) -> int:
        """Nothing from this byte on is there."""
        return self._ends[-1] if self._ends else 0

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self._ends) - sum(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._firsts, self._ends, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._firsts)
