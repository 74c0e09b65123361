"""Digests of a file while it comes, in the order of its bytes, whatever the order in which they come.

Pieces that come in order are hashed as they are written. Where several connections write, or the file is large, another
thread follows behind the front of what is there without a gap, and reads it back: it is still in memory then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from whichpool.downloads.digests import Hasher
from whichpool.downloads.held import Held
from whichpool.downloads.part import Part

__all__ = ["Hashing"]

STRIDE_BYTES = 4_000_000
"""So much must have come before the follower is called again: 5 ms of hashing, against 0.1 ms for calling it."""
PIECE_BYTES = 262_144
"""What it reads at once; memory is held for one of them."""


class Hashing:
    """The digests of one part.

    Args:
        part: What is written; it is read back.
        names: The algorithms.
        later: Has the follower called on another thread; ``None``: each piece is hashed by the thread that wrote it, if
            it is the next one.
    """

    def __init__(
        self, part: Part | Held, names: Iterable[str], later: Callable[[Callable[[], None]], object] | None
    ) -> None:
        self._part = part
        names = tuple(names)
        self._none = not names
        self._hasher = Hasher(names)
        self._later = later
        self._at = 0  # all before is hashed
        self._turn = threading.Lock()  # who has it hashes
        self._called = False

    def wrote(self, at: int, data: bytes) -> None:
        """The piece has just been written there."""
        if self._none:
            return
        if self._later is not None:
            if self._part.front - self._at >= STRIDE_BYTES and not self._called:
                self._called = True
                self._later(self._follow)
        elif at == self._at and self._turn.acquire(blocking=False):
            try:
                if at == self._at:
                    self._hasher.update(data)
                    self._at += len(data)
            finally:
                self._turn.release()

    def _follow(self) -> None:
        try:
            self._catch_up()
        finally:
            self._called = False

    def _catch_up(self) -> None:
        with self._turn:
            front = self._part.front
            while self._at < front:
                data = self._part.read(self._at, min(PIECE_BYTES, front - self._at))
                if not data:
                    return  # the part is being given up, or somebody cut it: `Part.finish` looks at its size
                self._hasher.update(data)
                self._at += len(data)

    def digests(self) -> dict[str, str]:
        """Of all that is there, by algorithm; for when nothing more is written.

        Raises:
            DiskFailed: It cannot be read back.
        """
        if not self._none:
            self._catch_up()
        return self._hasher.digests()
