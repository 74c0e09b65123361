"""Memory that parent and worker share: a board page, and an arena for each direction, through which large buffers go.

    board | control words | marks | "in": parent -> worker | "out": worker -> parent

It is one memfd, mapped once by each side; a page of it exists only once it was touched. Whoever sends in a direction
owns the free blocks of its arena (`Sender`): it copies a buffer into one and names it in a frame. The receiver gives
out views of the block (`Receiver`), and says with a later frame which blocks nobody looks at any more. Until it has
said so, the block and what is in it are the receiver's.
"""

from __future__ import annotations

import mmap
import os
import sys
from _thread import allocate_lock
from collections import deque
from struct import Struct
from sys import getrefcount
from time import perf_counter

from .blocks import GRAIN_BYTES, Blocks, rounded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BOARD_BYTES = 4096
# The words behind the board, which the parent writes: how many bytes the worker's arena may hold; after how many
# milliseconds without work the worker tidies up.
LIMIT_WORD = BOARD_BYTES // 8
TRIM_WORD = LIMIT_WORD + 1
_MARKS_AT = 65_536  # a multiple of every page size that Linux has
# Address space of one arena: more than is in flight to one worker in practice, and of no cost until it is touched.
ARENA_BYTES = 16 << 30
# One mark for each place where a block of the "out" arena may begin.
_ARENAS_AT = _MARKS_AT + ARENA_BYTES // GRAIN_BYTES
# What an arena may hold before anybody has looked at how much memory is left. A guess: a few images, one video frame.
FIRST_LIMIT_BYTES = 64 << 20
# Copied in pieces of this size, about half a millisecond each, between which other threads can have the GIL.
_PIECE_BYTES = 4 << 20
# With no work for so long, memory that is free goes back to the system: by then a loop of calls is over, most likely,
# and having the pages made anew costs ten times the copy (55 ms for 64 MB, measured; 2-core Linux, 2026).
TRIM_AFTER_S = 10.0

_OFFSET = Struct("<Q")


def create(arena_bytes: int | None = None) -> tuple[int, mmap.mmap]:
    """A board, all slots idle, with two arenas if the system has that: its descriptor, and our view of it.

    Raises:
        OSError: Not even a board can be had.
    """
    size, arena_bytes = BOARD_BYTES, ARENA_BYTES if arena_bytes is None else arena_bytes
    if sys.platform == "linux" and sys.maxsize > 1 << 32:
        fd = os.memfd_create("whichpool-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        size = _ARENAS_AT + 2 * arena_bytes
    elif hasattr(os, "memfd_create"):
        fd = os.memfd_create("whichpool-board")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.write(fd, b"\xff" * BOARD_BYTES)  # -1 in every slot
        if size > BOARD_BYTES:
            try:
                os.ftruncate(fd, size)
                memory = _map(fd, size)
                import fcntl

                # Nobody can cut it short, which would end the other side at its next look.
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
                words = memoryview(memory)[: 2 * BOARD_BYTES].cast("Q")
                words[LIMIT_WORD] = FIRST_LIMIT_BYTES
                words[TRIM_WORD] = int(TRIM_AFTER_S * 1000)
                return fd, memory
            except (OSError, ValueError):  # the address space is limited; an old or a strict kernel
                os.ftruncate(fd, BOARD_BYTES)
        return fd, mmap.mmap(fd, BOARD_BYTES)
    except BaseException:
        os.close(fd)
        raise


def attach(fd: int) -> mmap.mmap:
    """The worker's view of it: all, or only the board where that is all that can be had."""
    try:
        return _map(fd, os.fstat(fd).st_size)
    except (OSError, ValueError):
        return mmap.mmap(fd, BOARD_BYTES)


def _map(fd: int, size: int) -> mmap.mmap:
    memory = mmap.mmap(fd, size)
    if has_arenas(memory):
        # A process that crashes would walk all of the address space for its core file.
        memory.madvise(mmap.MADV_DONTDUMP)
    return memory


def has_arenas(memory: mmap.mmap) -> bool:
    """Whether there is more than the board."""
    return len(memory) > BOARD_BYTES


def _layout(memory: mmap.mmap) -> tuple[int, int, int]:
    """Where "in" begins, where "out" begins, and the bytes of each."""
    size = (len(memory) - _ARENAS_AT) // 2
    return _ARENAS_AT, _ARENAS_AT + size, size


class Block:
    """A buffer that is not sent but named: where it is in the shared memory."""

    __slots__ = ("nbytes", "offset")

    def __init__(self, offset: int, nbytes: int) -> None:
        self.offset = offset
        self.nbytes = nbytes


def punch(memory: mmap.mmap, at: int, size: int) -> None:
    """Give pages back to the system; they read as zeros from then on."""
    try:
        memory.madvise(mmap.MADV_REMOVE, at, size)
    except (OSError, ValueError):
        pass  # they stay until the memory goes as a whole


class Sender:
    """One direction, as its sender sees it. For any thread."""

    def __init__(
        self,
        memory: mmap.mmap,
        start: int,
        size: int,
        limit: Callable[[], int],
        more: Callable[[], bool] = lambda: False,
    ) -> None:
        self._memory = memory
        self._view = memoryview(memory)
        self._blocks = Blocks(start, size)
        self._size = size
        self._limit = limit  # how many bytes the arena may hold
        self._more = more  # asked when that is not enough: may it hold more now?
        self._lock = allocate_lock()
        self.marks: memoryview | None = None  # where the receiver notes at once what it will say later
        self.used = False  # since it was last tidied up

    def put(self, buffers: list[memoryview]) -> list[Any]:
        """Copy the buffers into blocks, as many as there is room for; the others stay as they are."""
        return [self._put(buffer) for buffer in buffers]

    def _put(self, buffer: memoryview) -> Block | memoryview:
        size = buffer.nbytes
        if not size:
            return buffer
        at = self._take(size)
        if at is None and self._more():
            at = self._take(size)
        if at is None:
            return buffer
        view = self._view
        for done in range(0, size, _PIECE_BYTES):
            end = min(done + _PIECE_BYTES, size)
            view[at + done : at + end] = buffer[done:end]
        return Block(at, size)

    def _take(self, size: int) -> int | None:
        with self._lock:
            self.used = True
            at = self._blocks.take(size, min(self._limit(), self._size))
            if at is not None and self.marks is not None:
                self.marks[(at - self._blocks.start) // GRAIN_BYTES] = 0
            return at

    def back(self, body: memoryview) -> None:
        """The receiver has no more use for the blocks that it names.

        Raises:
            ValueError: There are no such blocks.
        """
        try:
            with self._lock:
                for (at,) in _OFFSET.iter_unpack(body):
                    self._blocks.give(at)
        except Exception as error:
            raise ValueError(f"no blocks to take back: {error!r}") from error

    def trim(self) -> None:
        """Give the memory of free blocks back to the system, and of those that are marked."""
        with self._lock:
            start = self._blocks.start
            for at, size in self._blocks.join():
                punch(self._memory, at, size)
            self.used = False
            for at, size in self._blocks.taken.items():
                if self.marks is not None and self.marks[(at - start) // GRAIN_BYTES]:
                    punch(self._memory, at, size)
                else:
                    self.used = True

    def clear(self) -> None:
        """Give all of it back to the system; the receiver must be gone."""
        punch(self._memory, self._blocks.start, self._size)

    @property
    def taken(self) -> int:
        """Blocks that the receiver has, or has not yet said to have no more use for."""
        return len(self._blocks.taken)


class Receiver:
    """One direction, as its receiver sees it. For any thread, and for the garbage collector at any moment."""

    def __init__(self, memory: mmap.mmap, start: int, size: int) -> None:
        self._memory = memory
        self._start = start
        self._end = start + size
        self._live: dict[int, int] = {}  # offset -> bytes of the blocks that are looked at
        self._dead: deque[int] = deque()  # ... and no longer, which the sender has not been told
        self._doubtful: deque[Any] = deque()
        self.closed = False
        self.used = False  # since it was last tidied up
        self.marks: memoryview | None = None
        self.parked_at = float("inf")  # since when no run uses it: what is freed then waits long to be told

    def view(self, offset: int, size: int) -> memoryview:
        """The buffer in a block, writable. Whatever is made from it keeps the block.

        Raises:
            ValueError: No block can be there.
        """
        whole = rounded(size)
        if offset % GRAIN_BYTES or not self._start <= offset < offset + whole <= self._end or not size:
            raise ValueError(f"{size:,} bytes at {offset:,}, where no block is")
        if offset in self._live:
            raise ValueError(f"the block at {offset:,} is in use")
        block = _block_type(whole).from_buffer(self._memory, offset)
        self.used = True
        block.at = offset
        block.forks = _forks
        block.home = self
        self._live[offset] = whole
        return memoryview(block).cast("B")[:size]

    def gone(self, block: Any) -> None:
        """Nobody looks at the block any more. Called by its finalizer: no lock may be wanted here."""
        if block.forks != _forks:
            return  # a process that was forked meanwhile may look at it for as long as it likes
        at = block.at
        size = self._live.pop(at, 0)
        if self.closed or perf_counter() - self.parked_at > TRIM_AFTER_S:
            # The worker, which would do it, may have ended.
            punch(self._memory, at, size)
        elif self.marks is not None:
            self.marks[(at - self._start) // GRAIN_BYTES] = 1
        self._dead.append(at)

    def doubt(self, block: Any) -> None:
        """The block is part of a cycle that is being cleared away, and may be looked at by what else is in it."""
        if not self.closed:
            self._doubtful.append(block)

    def owed(self) -> bytes:
        """The blocks to give back to the sender, as the body of a frame; nothing: ``b""``."""
        if self._doubtful:
            self._settle_doubts()
        if not self._dead:
            return b""
        found = []
        try:
            while True:
                found.append(_OFFSET.pack(self._dead.popleft()))
        except IndexError:
            return b"".join(found)

    def _settle_doubts(self) -> None:
        probe = object()
        alone = getrefcount(probe)
        for _ in range(len(self._doubtful)):
            try:
                block = self._doubtful.popleft()
            except IndexError:  # another thread had it
                return
            if getrefcount(block) > alone:
                self._doubtful.append(block)
            else:
                self.gone(block)

    def trim(self) -> None:
        """Give all memory that nobody looks at back to the system. The sender must not be writing."""
        if self._doubtful:
            self._settle_doubts()
        at = self._start
        for live, size in sorted(self._live.copy().items()):
            if live > at:
                punch(self._memory, at, live - at)
            at = live + size
        punch(self._memory, at, self._end - at)
        self.used = bool(self._live)

    def close(self) -> None:
        """The sender is gone: blocks that are looked at stay until they are not; nobody is told."""
        self.closed = True
        self._doubtful.clear()

    @property
    def live(self) -> int:
        """Blocks that somebody looks at."""
        return len(self._live)


_forks = 0  # since this process began; a child's own count differs from its parent's


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_forked, after_in_child=_forked)

_types: dict[int, Any] = {}  # bytes -> type of the blocks of that size
_alone = 0  # references to an object in its finalizer, if the last one has just gone


def _block_type(size: int) -> Any:
    """What stands behind all views of a block: they hold it, and it tells its receiver when the last one is gone.

    A memoryview will not do: those made from it do not hold it, but what it is a view of. A weak reference will not do
    either: that is told before the other objects of a garbage cycle, which may look once more in a `__del__`, or for
    good. So the finalizer counts who else holds the block: nobody if it is freed, somebody in a cycle.
    """
    kind = _types.get(size)
    if kind is None:
        import ctypes

        kind = type("Block", (ctypes.c_ubyte * size,), {"__del__": _end_of_block})
        if not _alone:
            small = type("Probe", (ctypes.c_ubyte * 1,), {"__del__": _end_of_block})
            small().home = None
        _types[size] = kind
    return kind


def _end_of_block(block: Any, ending: Callable[[], bool] = sys.is_finalizing) -> None:
    global _alone
    if ending():
        return  # this module may be half gone, and so is who would be told
    count = getrefcount(block)
    if block.home is None:
        _alone = count
    elif count > _alone:
        block.home.doubt(block)
    else:
        block.home.gone(block)


def parents(memory: mmap.mmap, limit: Callable[[], int], more: Callable[[], bool]) -> tuple[Sender, Receiver]:
    """The parent's ends of both directions."""
    into, out, size = _layout(memory)
    receiver = Receiver(memory, out, size)
    receiver.marks = memoryview(memory)[_MARKS_AT:into]
    return Sender(memory, into, size, limit, more), receiver


class WorkerEnd:
    """The worker's ends of both arenas."""

    def __init__(self, memory: mmap.mmap, fd: int) -> None:
        into, out, size = _layout(memory)
        words = memoryview(memory)[: 2 * BOARD_BYTES].cast("Q")
        self._fd = fd
        self._trim_after_s = words[TRIM_WORD] / 1000
        self.sender = Sender(memory, out, size, lambda: words[LIMIT_WORD])
        self.sender.marks = memoryview(memory)[_MARKS_AT:into]
        self.receiver = Receiver(memory, into, size)

    def wait(self, poller: Any, most_s: float) -> bool:
        """Wait for something to read, at most so long; with nothing to do for a while, tidy up."""
        while self.sender.used or self.receiver.used:
            if poller.poll(self._trim_after_s * 1000):
                return True
            most_s -= self._trim_after_s
            if most_s <= 0:
                return False
            self.trim()
        return bool(poller.poll(most_s * 1000))

    def trim(self) -> None:
        """Give to the system what is free in both arenas; of the parent's only if no run uses this worker."""
        import fcntl

        self.sender.trim()
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        try:
            self.receiver.trim()
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
