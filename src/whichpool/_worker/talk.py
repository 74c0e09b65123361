"""What is printed in a worker, on its way to the parent: whole lines, each as a frame on the worker's socket.

    print ─→ Stream ─→ Pipe: one unfinished line per thread ─→ Outlet ─→ socket ─→ the parent's sys.stdout

A line is sent once it is whole, before anything that comes later: so it is there when the result of its item is, and
also if the worker is killed right after it. What goes to the descriptors 1 and 2 directly, as from a program that the
function starts, does not come by here. Whoever prints nothing pays one look into an empty dictionary per batch.
"""

from __future__ import annotations

import io
import sys
from _thread import RLock, get_ident
from collections import deque

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any

__all__ = ["Outlet", "Pipe", "Stream", "Talk"]

# A line that is not whole yet is kept back up to so many bytes, then sent in parts: memory must end somewhere, and no
# reader of lines expects a longer one. A guess.
LONGEST_LINE_BYTES = 1 << 20


class Outlet:
    """The socket to the parent, one whole frame after the other.

    A thread may be interrupted in the middle of a frame by code that prints: a finalizer, a signal's handler. What that
    says goes out behind the frame, so the lock is one that its holder may take again.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waiting: deque[list[Any]] = deque()
        self._busy = False
        self.lock = RLock()

    def after_fork(self) -> None:
        """In a child: another thread, which is not here to let go of the lock, may have been sending."""
        self.lock, self._busy = RLock(), False
        self._waiting.clear()

    def send(self, vectors: list[Any]) -> None:
        """Send a frame, after those that were there before."""
        self._waiting.append(vectors)
        while self._waiting:
            with self.lock:
                if self._busy:
                    return  # this thread is sending already, below here
                self._busy = True
                try:
                    while self._waiting:
                        wire.send_all(self._sock, self._waiting.popleft())
                finally:
                    self._busy = False


class Pipe(io.BufferedIOBase):
    """What a stream's bytes go into. Each thread of the worker has a line of its own."""

    def __init__(self, talk: Talk, which: int, original: Any) -> None:
        self._talk = talk
        self._which = which
        self._original = original  # the process's own stream; None: it has none
        self.stream: Stream | None = None
        self.name = ("<stdout>", "<stderr>")[which]
        self.mode = "wb"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The process's own: what a program writes that is started with it."""
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return int(self._original.fileno())

    def isatty(self) -> bool:
        return self._original is not None and bool(self._original.isatty())

    def write(self, data: Any) -> int:
        """Keep the bytes until their line is whole."""
        if self.closed:
            raise ValueError("write to closed file")
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        size = len(data)
        talk = self._talk
        if talk.alone:
            if self._original is not None:
                self._original.buffer.write(data)
                self._original.buffer.flush()
            return size
        # Taken out while it grows: `Talk.finish` may come by on another thread, and takes all or nothing.
        key = get_ident(), self._which
        held = talk.held.pop(key, None) or bytearray()
        cut = data.rfind(b"\n") + 1
        if cut or len(held) + size > LONGEST_LINE_BYTES:
            cut = cut or size
            whole = bytes(held) + data[:cut] if held else data[:cut]
            held, data = bytearray(), data[cut:]
            if data:
                held += data
                talk.held[key] = held
            self.send(whole)
        else:
            held += data
            if held:
                talk.held[key] = held
        return size

    def send(self, data: bytes) -> None:
        """Send these bytes; as text, if they are that in the stream's encoding."""
        stream = self.stream
        kind = (wire.OUT_BYTES, wire.ERR_BYTES)[self._which]
        if stream is not None:
            try:
                text = data.decode(stream.encoding, stream.errors or "strict")
                data = text.encode("utf-8", "surrogatepass")
                kind = (wire.OUT_TEXT, wire.ERR_TEXT)[self._which]
            except UnicodeError:
                pass
        self._talk.say(kind, data)


class Stream(io.TextIOWrapper):
    """``sys.stdout`` or ``sys.stderr`` of a worker."""

    def __init__(self, pipe: Pipe, encoding: str, errors: str) -> None:
        super().__init__(pipe, encoding=encoding, errors=errors, newline="\n", line_buffering=True)
        self.mode = "w"  # type: ignore[misc]  # as the interpreter does with its own
        self.pipe = pipe
        pipe.stream = self

    def write(self, text: str) -> int:
        """As every text stream's. It is encoded here and now, so that it fails as it would in the parent."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.pipe.write(text.encode(self.encoding, self.errors or "strict"))
        return len(text)


class Talk:
    """All that this worker has to say besides results."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.held: dict[tuple[int, int], bytearray] = {}  # (thread, stream) -> the beginning of a line
        # The socket is not for this process: it is a child that the function forked, or at its end.
        self.alone = False
        self._runners: set[int] = set()
        self._streams: list[Stream] = []

    def install(self) -> None:
        """Take the place of the standard streams, and of the last steps of `logging` and `warnings` once loaded."""
        from . import records

        for which, name in enumerate(("stdout", "stderr")):
            found = getattr(sys, name)
            encoding, errors = ("utf-8", None) if found is None else (found.encoding, found.errors)
            stream = Stream(Pipe(self, which, found), encoding, errors or "strict")
            self._streams.append(stream)
            setattr(sys, name, stream)
        records.install(self)

    def after_fork(self) -> None:
        """In a child that the function forks."""
        self.alone = True
        self.held.clear()
        self._outlet.after_fork()

    def say(self, kind: int, body: bytes) -> None:
        """Send one frame of talk. Where nobody listens any more, the item goes on all the same."""
        try:
            self._outlet.send(wire.frame(wire.TALK, kind, body))
        except (BrokenPipeError, ConnectionResetError):
            pass

    def set_up(self, wish: dict[str, Any]) -> None:
        """Be what the caller's streams, logging and warnings are."""
        if "streams" in wish:
            for stream, (encoding, errors) in zip(self._streams, wish["streams"], strict=True):
                if not stream.closed:  # a function that closes it has done so for good, as in every process
                    stream.reconfigure(encoding=encoding, errors=errors)
        if "logging" in wish or "warnings" in wish:
            from . import records

            records.set_up(wish)

    def runs_items(self) -> None:
        """This thread runs batches: its unfinished line ends with its own batch, not with another's."""
        self._runners.add(get_ident())

    def runs_no_more(self) -> None:
        """This thread ends; another may get its number."""
        self._runners.discard(get_ident())

    def finish(self) -> None:
        """The end of a batch: send unfinished lines, of this thread and of threads that the function started."""
        me = get_ident()
        for key in list(self.held):
            thread, which = key
            if thread == me or thread not in self._runners:
                data = self.held.pop(key, None)
                if data:
                    self._streams[which].pipe.send(bytes(data))
