"""The memory that this process shares with one worker: how much it may hold, and who may tidy it up when.

A run that writes to the memory holds a lock on it until it is over. Else the worker can have the lock, and then gives
what is free back to the system: nobody is writing.
"""

from __future__ import annotations

import os
from time import perf_counter

from whichpool._host.memory import free_bytes
from whichpool._worker import arena, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from typing import Any

__all__ = ["Shared"]

# Each time that an arena is full it may hold so much more: an eighth of the memory that is left. What it may not hold
# goes through the socket, a piece at a time. A guess: eight arenas that grow at once leave a third of it.
SHARE = 8
# How much is left takes 0.2 ms to find out (measured; 2-core Linux, 2026), so it is asked at most this often.
LOOK_S = 0.250


class Shared:
    """This process's ends of both arenas of one worker; where there are none, all goes through the socket."""

    def __init__(self, fd: int, memory: mmap.mmap) -> None:
        self._fd = fd
        self._words = memoryview(memory)[: 2 * arena.BOARD_BYTES].cast("Q")
        self._into_limit = arena.FIRST_LIMIT_BYTES
        self._looked_at = {True: 0.0, False: 0.0}
        self._usable = False
        self._locked = False
        self.sender: arena.Sender | None = None
        self.receiver: arena.Receiver | None = None
        if arena.has_arenas(memory):
            self.sender, self.receiver = arena.parents(memory, lambda: self._into_limit, self._more)
        self.lease()

    def start(self) -> arena.Receiver | None:
        """The worker sees the memory too: from now on it is used. Returns the end that gives out views."""
        self._usable = self.sender is not None
        return self.receiver

    def put(self, buffers: list[memoryview]) -> list[Any]:
        """Copy what fits into the arena; the rest stays as it is."""
        if not self._usable or self.sender is None or not self._take_lock():
            return list(buffers)
        return self.sender.put(buffers)

    def owed(self) -> bytes:
        """The body of the frame that gives blocks back; nothing: ``b""``."""
        return self.receiver.owed() if self.receiver is not None else b""

    def back(self, body: memoryview) -> None:
        """The worker gives blocks back.

        Raises:
            wire.BrokenFrame: It never had them.
        """
        try:
            if self.sender is not None:
                self.sender.back(body)
        except ValueError as error:
            raise wire.BrokenFrame(str(error)) from error

    # -- how much it may hold ------------------------------------------------------------------------------------

    def _more(self) -> bool:
        room = self._room(into=True)
        self._into_limit += room
        return room > 0

    def did_not_fit(self) -> None:
        """The worker sent large buffers through the socket: it may hold more, if there is memory."""
        if self._usable and (room := self._room(into=False)):
            self._words[arena.LIMIT_WORD] += room

    def _room(self, into: bool) -> int:
        now = perf_counter()
        if now - self._looked_at[into] < LOOK_S:
            return 0
        self._looked_at[into] = now
        return (free_bytes() or 0) // SHARE

    def held_by(self, resident_bytes: int) -> int:
        """How much of a worker's resident size this memory is."""
        if self.sender is None or self._fd < 0:
            return 0
        return min(os.fstat(self._fd).st_blocks * 512, resident_bytes // 2)

    # -- whose turn it is ----------------------------------------------------------------------------------------

    def lease(self) -> None:
        """A run uses the worker from now on."""
        receiver = self.receiver
        if receiver is None:
            return
        if perf_counter() - receiver.parked_at > arena.TRIM_AFTER_S:
            # The worker may have tidied up since: what there was room for then says nothing about now.
            self._into_limit = self._words[arena.LIMIT_WORD] = arena.FIRST_LIMIT_BYTES
        receiver.parked_at = float("inf")

    def _take_lock(self) -> bool:
        """Before the first write of a run; false: the worker is tidying up, for some milliseconds."""
        if not self._locked:
            import fcntl

            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            self._locked = True
        return True

    def park(self) -> None:
        """No run uses it now."""
        if self.receiver is not None:
            self.receiver.parked_at = perf_counter()
        if self._locked and self._fd >= 0:
            import fcntl

            fcntl.lockf(self._fd, fcntl.LOCK_UN)
            self._locked = False

    def ended(self) -> None:
        """The worker is no more: nothing of the memory is of use but the results that lie there."""
        if self.sender is not None and self.receiver is not None:
            self._usable = False
            self.sender.clear()
            self.receiver.close()
            self.receiver.trim()

    def close(self) -> None:
        """The worker is not used again. Results that lie in the memory stay what they are."""
        if self.receiver is not None:
            self.receiver.close()
        self._usable = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
