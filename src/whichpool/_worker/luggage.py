"""What a function captures and is large: written once, into memory that every worker maps, and none can change.

A worker's map is private: what it writes there is its own copy of the page. The memory is gone when the run has let go
of it and the last worker has forgotten what lies in it.
"""

from __future__ import annotations

import mmap
import os

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Packed", "pack"]

# Less than this goes inside the pickle, so that a small job is sent along with the first batch: it is more than
# `processes.SMALL_JOB_BYTES`.
LEAST_BYTES = 131_072
# Buffers begin at multiples of this, as those of NumPy's own memory do.
_ALIGN = 64


class Packed:
    """A pickled job, and its luggage. Its length is that of both."""

    def __init__(self, body: bytes, fd: int = -1) -> None:
        self._body = body
        self._fd = fd
        self._places: list[tuple[int, int]] = []  # where in the memory each buffer is, and its bytes

    def __len__(self) -> int:
        return len(self._body) + sum([size for _, size in self._places])

    def frame(self, number: int, send_fd: Callable[[int], bool]) -> list[Any]:
        """The frame that loads it; ``send_fd`` sends a descriptor ahead of it, if it can."""
        if not self._places:
            return wire.frame(wire.LOAD, number, self._body)
        if send_fd(self._fd):
            buffers: list[Any] = [wire.InLuggage(at, size) for at, size in self._places]
        else:
            whole = memoryview(mmap.mmap(self._fd, 0, prot=mmap.PROT_READ))
            buffers = [whole[at : at + size] for at, size in self._places]
        return wire.frame(wire.LOAD, number, self._body, buffers)

    def close(self) -> None:
        """Let go of the luggage; the workers keep theirs."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def pack(body: bytes, buffers: list[memoryview]) -> Packed | None:
    """A job pickled as `wire.dumps` does; ``None`` if its buffers cannot be, or need not be, put into luggage."""
    if not buffers:
        return Packed(body)
    if sum([buffer.nbytes for buffer in buffers]) < LEAST_BYTES or not hasattr(os, "memfd_create"):
        return None
    import fcntl

    try:
        fd = os.memfd_create("whichpool-luggage", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    packed = Packed(body, fd)
    try:
        at = 0
        for buffer in buffers:
            packed._places.append((at, buffer.nbytes))
            done = 0
            while done < buffer.nbytes:  # one call writes 2 GiB at most
                done += os.pwrite(fd, buffer[done:], at + done)
            at += -(-buffer.nbytes // _ALIGN) * _ALIGN
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:  # no memory for it, perhaps
        packed.close()
        return None
    return packed
