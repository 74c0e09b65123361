"""Which part of a stretch of memory is free: numbers only, no memory.

A block that is free again is kept as it is, and is the first to be used for the same size: its pages are there, and in
the cache. Only when none of that size is at hand are the free blocks joined with their neighbours, and the first gap
that is wide enough is used; so what was never touched, at the end, is used last.
"""

from __future__ import annotations

from bisect import bisect_left

# Blocks begin at, and are, multiples of this. It is a whole number of pages on every Linux, and what is smaller than
# this does not come here.
GRAIN_BYTES = 32_768
# Of each doubling so many sizes are used: what is rounded up, at most an eighth, is never touched and costs nothing.
_STEPS = 8


def rounded(size: int) -> int:
    """The bytes of the block for ``size`` bytes."""
    step = max(GRAIN_BYTES, 1 << max((size - 1).bit_length() - 1, 0))
    step = max(GRAIN_BYTES, step // _STEPS)
    return -(-size // step) * step


class Blocks:
    """The blocks of one stretch, free and taken. Not locked: whoever shares it between threads does that.

    >>> blocks = Blocks(65_536, 1 << 20)
    >>> first = blocks.take(40_000, 1 << 20)
    >>> blocks.take(40_000, 1 << 20) - first
    65536
    >>> blocks.give(first)
    >>> blocks.take(50_000, 1 << 20) == first
    True
    """

    __slots__ = ("_gaps", "_warm", "start", "taken")

    def __init__(self, start: int, size: int) -> None:
        self.start = start
        self.taken: dict[int, int] = {}  # offset -> bytes
        self._warm: dict[int, list[int]] = {}  # bytes -> offsets, the most recently freed last
        self._gaps: list[tuple[int, int]] = [(start, size)]  # offset, bytes; by offset, no two touch

    def take(self, size: int, limit: int) -> int | None:
        """Where a block for so many bytes is; ``None``: none is free that ends within ``limit`` bytes of the start."""
        size = rounded(size)
        end = self.start + limit
        warm = self._warm.get(size)
        if warm and warm[-1] + size <= end:
            at = warm.pop()
        else:
            self.join()
            found = self._first_gap(size, end)
            if found is None:
                return None
            at = found
        self.taken[at] = size
        return at

    def give(self, at: int) -> None:
        """A block is free again.

        Raises:
            KeyError: There is no block there.
        """
        self._warm.setdefault(self.taken.pop(at), []).append(at)

    def join(self) -> list[tuple[int, int]]:
        """Join what is free with its neighbours. Returns all that is free: offsets and bytes."""
        gaps = self._gaps
        for size, offsets in self._warm.items():
            for at in offsets:
                i = bisect_left(gaps, (at, 0))
                first, last = at, at + size
                if i < len(gaps) and gaps[i][0] == last:
                    last += gaps.pop(i)[1]
                if i and sum(gaps[i - 1]) == first:
                    i -= 1
                    first = gaps.pop(i)[0]
                gaps.insert(i, (first, last - first))
        self._warm.clear()
        return gaps

    def _first_gap(self, size: int, end: int) -> int | None:
        for i, (at, width) in enumerate(self._gaps):
            if at + size > end:
                return None
            if width >= size:
                if width == size:
                    del self._gaps[i]
                else:
                    self._gaps[i] = (at + size, width - size)
                return at
        return None
