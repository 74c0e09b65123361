"""Frames on a stream socket: what parent and worker say to each other.

A frame is a header, the lengths of its buffers, a body (usually a pickle), and the buffers, which pickle protocol 5
leaves out of the body so that a large array is never copied into a larger one:

    header   u8 kind | u8 magic | u16 number of buffers | u32 number | u64 body length
    entries  u64 where, u64 length; one for each buffer
    body, buffers

A buffer whose entry says where it is in the memory that both sides share (see `arena`) is not in the stream.

What `number` and the body mean for each kind stands beside the kind's name below.
"""

from __future__ import annotations

import _pickle as pickle
import _socket as socket
import os
from struct import Struct
from struct import error as StructError
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .arena import Block, Receiver

# parent -> worker
SETUP = 1  # body: dict of what the worker's surroundings should be (cwd, path, argv, env, threads)
LOAD = 2  # number: job; body: the pickled job
BATCH = 3  # number: batch; body: the index of the first item, the job, then the pickled list of items
FORGET = 4  # number: job
BYE = 5
LUGGAGE = 6  # comes with a descriptor: of memory in which buffers of the next LOAD are
# worker -> parent
READY = 16  # number: pid; body: not empty if it sees the shared memory
DONE = 17  # number: batch; body: DONE_HEAD, then the pickled results
LOST = 18  # number: job; body: why the job could not be loaded, as a packed error
TALK = 19  # number: one of the kinds below; body: the text (UTF-8, lone surrogates let pass), the bytes, or a pickle

# What is said in a frame of talk.
OUT_TEXT, ERR_TEXT, OUT_BYTES, ERR_BYTES, RECORD, WARNING = 1, 2, 3, 4, 5, 6
# both ways
FREED = 32  # body: u64 each, where the blocks of shared memory are that the other side can use again

BATCH_HEAD = Struct("<qI")  # index of the first item, job
# items run, items handed back unrun; seconds: wall, CPU of the thread, CPU of the process, unpickle + pickle.
# The wall time is without what the thread spent ready to run but without a core.
DONE_HEAD = Struct("<IIdddd")

_HEADER = Struct("<BBHIQ")
_MAGIC = 0xA7
_ENTRY = Struct("<QQ")  # 0, or where in the shared memory; length
_IN_LUGGAGE = 1 << 63  # added to where it is in the luggage, not in the shared memory

# A buffer smaller than this is cheaper inside the pickle than as an entry of its own (two more system-call vectors
# and an allocation, about 2 us); at 32 KiB copying it costs about the same. A guess within a factor of two.
OUT_OF_BAND_BYTES = 32_768
# sendmsg takes at most IOV_MAX (1,024 on Linux) vectors.
MAX_BUFFERS = 1_000
# One read from the socket takes at most this; large frames are read straight into their own memory instead. Of 131,072
# and more glibc maps the memory anew for each read: 15.6 us in place of 2.4 (2-core Linux, 2026).
_CHUNK_BYTES = 65_536
# Room for one descriptor beside what is read, and how it is taken: not to be inherited by what the worker starts.
_ONE_FD = getattr(socket, "CMSG_SPACE", lambda _: 0)(4)
MSG_CMSG_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
# No frame is larger than this machine's memory; a length beyond it means that the stream is broken.
try:
    _MAX_FRAME_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
except (AttributeError, ValueError, OSError):
    _MAX_FRAME_BYTES = 1 << 40


# From this size on a frame's memory is had page by page; below it, memory that was used before is quicker. A guess.
_LAZY_BYTES = 1 << 26
try:
    from mmap import MAP_ANONYMOUS, MAP_PRIVATE  # not shared: the caller's arrays are no forked child's

    _PRIVATE = MAP_ANONYMOUS | MAP_PRIVATE
except ImportError:
    _PRIVATE = 0


class BrokenFrame(Exception):
    """The bytes on the stream are not a frame."""


def dumps(obj: object, dumper: Callable[..., bytes] = pickle.dumps) -> tuple[bytes, list[memoryview]]:
    """Pickle ``obj``; large contiguous buffers are returned beside the pickle, not copied into it."""
    buffers: list[memoryview] = []

    def keep_out(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < OUT_OF_BAND_BYTES or len(buffers) >= MAX_BUFFERS:
            return True  # true: pickle puts it in the body
        buffers.append(view)
        return False

    return dumper(obj, protocol=5, buffer_callback=keep_out), buffers


def frame(
    kind: int,
    number: int,
    body: bytes,
    buffers: Sequence[memoryview | Block] | None = None,
    head: bytes = b"",
) -> list[Any]:
    """The vectors of one frame, ready for ``sendmsg``; ``head`` goes before the body, as part of it."""
    if not buffers:
        return [_HEADER.pack(kind, _MAGIC, 0, number, len(head) + len(body)) + head, body]
    entries = b"".join([_ENTRY.pack(getattr(buffer, "offset", 0), buffer.nbytes) for buffer in buffers])
    header = _HEADER.pack(kind, _MAGIC, len(buffers), number, len(head) + len(body))
    inline = [buffer for buffer in buffers if type(buffer) is memoryview]
    return [header + entries + head, body, *inline]


def send_all(sock: socket.socket, vectors: list[Any]) -> None:
    """Send one frame on a blocking socket, whole."""
    sent = sock.sendmsg(vectors)
    views = None
    while True:
        if views is None:
            if sent == sum([len(v) if isinstance(v, bytes) else v.nbytes for v in vectors]):
                return
            views = [memoryview(v).cast("B") for v in vectors if len(v)]
        views = advance(views, sent)
        if not views:
            return
        sent = sock.sendmsg(views[:MAX_BUFFERS])


def advance(views: list[memoryview], sent: int) -> list[memoryview]:
    """What remains of ``views`` after ``sent`` bytes went out."""
    for i, view in enumerate(views):
        if sent < view.nbytes:
            return [view[sent:], *views[i + 1 :]]
        sent -= view.nbytes
    return []


def _room_for(sizes: list[int]) -> list[Any]:
    """Memory for the parts of a frame.

    A `bytearray` is written to at once, all of it. So that a broken length takes no memory that never comes to be
    filled, large frames get pages that the system provides as they are written to.

    Raises:
        BrokenFrame: So much cannot be had.
    """
    total = sum(sizes)
    try:
        if total < _LAZY_BYTES or not _PRIVATE:
            return [bytearray(size) for size in sizes]
        from mmap import mmap

        return [
            bytearray(size) if size < OUT_OF_BAND_BYTES else mmap(-1, size, flags=_PRIVATE) for size in sizes
        ]
    except (MemoryError, OSError, OverflowError) as error:
        raise BrokenFrame(f"a frame of {total:,} bytes, for which there is no memory") from error


class Frame:
    """One frame as it arrived. ``body`` and ``buffers`` are this frame's own memory; buffers are writable.

    ``received_bytes``: of the buffers, those that came through the socket.
    """

    __slots__ = ("body", "buffers", "kind", "number", "received_bytes")

    def __init__(self, kind: int, number: int, body: memoryview, buffers: list[Any]) -> None:
        self.kind = kind
        self.number = number
        self.body = body
        self.buffers = buffers
        self.received_bytes = 0

    def load(self, offset: int = 0) -> Any:
        """Unpickle the body from ``offset`` on."""
        return pickle.loads(self.body[offset:], buffers=self.buffers)


class InLuggage:
    """A buffer that is not sent but named: where it is in the luggage."""

    __slots__ = ("nbytes", "offset")

    def __init__(self, at: int, nbytes: int) -> None:
        self.offset = _IN_LUGGAGE | at
        self.nbytes = nbytes


class Inbox:
    """Cuts a byte stream into frames. Large frames are received straight into the memory that they will keep.

    ``luggage``: whether descriptors may come with it.
    """

    def __init__(self, sock: socket.socket, luggage: bool = False) -> None:
        self._sock = sock
        self._receive = self._with_descriptors if luggage else sock.recv
        self._descriptors: list[int] = []
        self._luggage: memoryview | None = None  # of the next LOAD
        self._loose = b""  # received, and cut up to `_at`: taking each frame off would copy the rest for each
        self._at = 0
        self._frame: Frame | None = None  # the large frame that is being filled
        self._holes: list[memoryview] = []  # what is missing of it, in stream order
        self.blocks: Receiver | None = None  # of the shared memory, if frames may name blocks of it

    def receive(self) -> bool:
        """One read from the socket. Returns False at the end of the stream.

        Raises:
            BlockingIOError: Nothing is there, on a non-blocking socket.
            OSError: The connection was reset.
        """
        if self._holes:
            hole = self._holes[0]
            got = self._sock.recv_into(hole)
            if got == hole.nbytes:
                del self._holes[0]
            else:
                self._holes[0] = hole[got:]
            return got > 0
        data = self._receive(_CHUNK_BYTES)
        rest = self._loose[self._at :]
        self._loose, self._at = rest + data if rest else data, 0
        return bool(data)

    def _with_descriptors(self, size: int) -> bytes:
        data, extra, _, _ = self._sock.recvmsg(size, _ONE_FD, MSG_CMSG_CLOEXEC)
        if extra:
            self._descriptors += [int.from_bytes(raw[:4], byteorder) for _, _, raw in extra]
        return data

    def _open_luggage(self) -> None:
        """A private view of it: what is written there is written for this process alone."""
        import mmap

        fd = self._descriptors.pop(0)
        try:
            access = mmap.PROT_READ | mmap.PROT_WRITE
            self._luggage = memoryview(mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=access))
        finally:
            os.close(fd)

    def frames(self) -> Iterator[Frame]:
        """The frames that are whole now.

        Raises:
            BrokenFrame: The stream does not hold frames.
        """
        while True:
            if self._frame is not None:
                if self._holes:
                    return
                whole, self._frame = self._frame, None
                yield whole
            loose, at = self._loose, self._at
            if len(loose) - at < _HEADER.size:
                return
            kind, magic, n_buffers, number, n_body = _HEADER.unpack_from(loose, at)
            if magic != _MAGIC or n_body > _MAX_FRAME_BYTES or n_buffers > MAX_BUFFERS:
                raise BrokenFrame(f"not a frame: {bytes(loose[at : at + 16])!r}")
            start = _HEADER.size + n_buffers * _ENTRY.size
            if len(loose) < at + start:
                return
            if not n_buffers and len(loose) >= at + start + n_body:
                self._at = at + start + n_body
                if kind == LUGGAGE and self._descriptors:
                    self._open_luggage()
                    continue
                yield Frame(kind, number, memoryview(loose)[at + start : self._at], [])
                continue
            self._loose, self._at = loose[at:], 0
            self._open(kind, number, n_body, n_buffers, start)

    def _open(self, kind: int, number: int, n_body: int, n_buffers: int, start: int) -> None:
        """Make room for a frame of which only a part is here."""
        entries = list(_ENTRY.iter_unpack(self._loose[_HEADER.size : start]))
        inline = [size for where, size in entries if not where]
        if n_body + sum(inline) > _MAX_FRAME_BYTES:
            raise BrokenFrame(f"a frame of {n_body + sum(inline):,} bytes")
        parts = _room_for([n_body, *inline])
        received = iter(parts[1:])
        buffers = [self._block(where, size) if where else next(received) for where, size in entries]
        loose = memoryview(self._loose)[start:]
        self._holes = []
        for part in parts:
            have = min(len(loose), len(part))
            part[:have] = loose[:have]
            loose = loose[have:]
            if have < len(part):
                self._holes.append(memoryview(part)[have:])
        self._loose = bytes(loose)
        self._frame = Frame(kind, number, memoryview(parts[0]), buffers)
        self._frame.received_bytes = sum(inline)
        if kind == LOAD:
            self._luggage = None

    def _block(self, where: int, size: int) -> memoryview:
        if where >= _IN_LUGGAGE and self._luggage is not None:
            at = where - _IN_LUGGAGE
            return self._luggage[at : at + size]
        if self.blocks is None:
            raise BrokenFrame("a block of memory that is not shared")
        try:
            return self.blocks.view(where, size)
        except ValueError as error:
            raise BrokenFrame(str(error)) from error


__all__ = [
    "BATCH",
    "BATCH_HEAD",
    "BYE",
    "DONE",
    "DONE_HEAD",
    "ERR_BYTES",
    "ERR_TEXT",
    "FORGET",
    "FREED",
    "LOAD",
    "LOST",
    "LUGGAGE",
    "OUT_BYTES",
    "OUT_TEXT",
    "READY",
    "RECORD",
    "SETUP",
    "TALK",
    "WARNING",
    "BrokenFrame",
    "Frame",
    "InLuggage",
    "Inbox",
    "StructError",
    "advance",
    "dumps",
    "frame",
    "send_all",
]
