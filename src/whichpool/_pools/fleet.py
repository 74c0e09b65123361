"""The worker processes of this interpreter, shared by every call and every Pool.

A run leases workers and gives them back; idle workers wait here for the next run, and end by themselves after a minute.
Nothing here runs in the background: a worker that ended while it was idle is noticed when it is next wanted.
"""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import sys
import threading
from collections import deque
from time import perf_counter

from whichpool._host.ending import undisturbed
from whichpool._host.memory import resident_bytes
from whichpool._pools.base import CannotStart
from whichpool._pools.hearing import surroundings
from whichpool._pools.shared import Shared
from whichpool._worker import arena, wire
from whichpool._worker.arena import BOARD_BYTES
from whichpool._worker.launch import STATUS_WAIT_S, ForkServer, NoServer
from whichpool._worker.main import CANCEL_SLOT, HANDLING, LOADING

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import Any

__all__ = ["CannotStart", "Worker", "close", "lease", "preload", "status"]

# What OpenMP, OpenBLAS, MKL, Accelerate and numexpr read when they are loaded. The caller's own settings come first.
NATIVE_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

_job_numbers = itertools.count(1)


def new_job_number() -> int:
    """A number no other job of this interpreter has: workers outlive jobs, and must not confuse them."""
    return next(_job_numbers) & 0x7FFFFFFF


class Worker:
    """One worker process as the parent sees it: a non-blocking socket, what is still to be sent, and the board."""

    def __init__(
        self, sock: socket.socket, memory_fd: int, memory: mmap.mmap, server: ForkServer, token: int
    ) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.inbox = wire.Inbox(sock)
        self.board = memoryview(memory)[:BOARD_BYTES].cast("q")
        self.shared = Shared(memory_fd, memory)
        self.server = server
        self.token = token
        self.pid: int | None = None  # until it has said READY
        self.ran = 0  # items, in all runs
        self.resident_bytes: int | None = None  # when it was last looked at, at `looked_at`
        self.looked_at = 0.0
        self.surroundings: dict[str, Any] = {"threads": 1}
        self.stray: list[wire.Frame] = []  # talk that came while it was idle, for the next run to hand on
        self._outbox: deque[list[memoryview]] = deque()
        self._held: list[Any] = []
        self._last_env: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        return f"<worker {self.pid if self.pid is not None else 'starting'}>"

    @property
    def sending(self) -> bool:
        """Whether frames wait for room in the socket."""
        return bool(self._outbox)

    def send_later(self, vectors: list[Any]) -> None:
        """Have a frame sent with the next one: each system call that wakes a sleeping process costs 10 us or more."""
        self._held += vectors

    def send(self, vectors: list[Any]) -> bool:
        """Send a frame, as much as fits now; the rest goes with `flush`. False: the worker is gone."""
        if owed := self.shared.owed():
            vectors = [*wire.frame(wire.FREED, 0, owed), *vectors]
        if self._held:
            vectors, self._held = self._held + vectors, []
        if not self._outbox:
            try:
                sent = self.sock.sendmsg(vectors[: wire.MAX_BUFFERS])
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            size = sum([len(v) if isinstance(v, bytes) else v.nbytes for v in vectors])
            if sent == size:
                return True
            views = wire.advance([memoryview(v).cast("B") for v in vectors if len(v)], sent)
        else:
            views = [memoryview(v).cast("B") for v in vectors if len(v)]
        self._outbox.append(views)
        return True

    def send_fd(self, fd: int) -> bool:
        """Send a descriptor ahead of the next frame; false: there is no room for it now."""
        if self._outbox:
            return False
        try:
            socket.send_fds(self.sock, wire.frame(wire.LUGGAGE, 0, b"")[:1], [fd])
        except OSError:
            return False
        return True

    def flush(self) -> bool:
        """Send what waits and fits. False: the worker is gone."""
        while self._outbox:
            views = self._outbox[0]
            try:
                left = wire.advance(views, self.sock.sendmsg(views[: wire.MAX_BUFFERS]))
            except BlockingIOError:
                return True
            except OSError:
                self._outbox.clear()
                return False
            if left:
                self._outbox[0] = left
            else:
                self._outbox.popleft()
        return True

    def receive(self) -> Iterator[wire.Frame]:
        """The frames that are here now.

        Raises:
            EOFError: The worker has closed its socket: it has ended.
            wire.BrokenFrame: It sent something that is no frame.
        """
        try:
            if not self.inbox.receive():
                raise EOFError
        except BlockingIOError:
            return
        except OSError as error:
            raise EOFError from error
        for frame in self.inbox.frames():
            if frame.kind == wire.READY:
                if self.pid is not None:
                    raise wire.BrokenFrame("it says a second time that it is ready")
                self.server.proven = True
                self.pid = frame.number
                if len(frame.body):
                    self.inbox.blocks = self.shared.start()
            elif frame.kind == wire.FREED:
                self.shared.back(frame.body)
            elif frame.received_bytes:
                self.shared.did_not_fit()
            yield frame

    def set_up(self, threads: int, cores: int, tight: bool = False) -> None:
        """Make its surroundings those of this process now, with so many cores to itself; cheap if they are already.

        ``tight``: what it frees is to go back to the system after each batch.
        """
        wish: dict[str, Any] = {
            "path": list(sys.path),
            "argv": list(getattr(sys, "argv", [])),
            "native": cores,
            "tight": tight,
            "limits": (sys.getrecursionlimit(), sys.get_int_max_str_digits()),
        }
        raw = getattr(os.environ, "_data", None)  # comparing the undecoded table costs 1 us, decoding it 30
        if raw is None or raw != self._last_env or cores != self.surroundings.get("native"):
            self._last_env = dict(raw) if raw is not None else None
            env = dict(os.environ)
            # What runs in the worker finds its share here: a nested call of whichpool, and libraries with threads.
            env.update(WHICHPOOL_WORKER="1", WHICHPOOL_CORES=str(cores))
            for name in NATIVE_LIMITS:
                env.setdefault(name, str(cores))
            wish["env"] = env
        try:
            wish["cwd"] = os.getcwd()
        except OSError:
            pass  # the directory was removed
        wish |= surroundings()
        wish["threads"] = threads
        news = {name: value for name, value in wish.items() if self.surroundings.get(name) != value}
        if news:
            import pickle

            self.surroundings.update(news)
            self.send_later(wire.frame(wire.SETUP, 0, pickle.dumps(news, protocol=5)))

    def running(self) -> list[int]:
        """The indexes of the items that its threads were running when they last wrote it down."""
        return [word for word in self.board[:CANCEL_SLOT].tolist() if word >= 0]

    def handling(self) -> list[int]:
        """The indexes of the first items of batches that it was unpickling, combining or pickling."""
        return [HANDLING - word for word in self.board[:CANCEL_SLOT].tolist() if LOADING < word <= HANDLING]

    def cancel(self, job: int) -> None:
        """Have it start no further item of this job."""
        self.board[CANCEL_SLOT] = job

    def idle_and_alive(self) -> bool:
        """Whether it can be used again: everything sent, everything answered, still there."""
        if self._outbox:
            return False
        try:
            while self.sock.recv(1, socket.MSG_PEEK):
                for frame in self.receive():
                    if frame.kind == wire.TALK:
                        self.stray.append(frame)
                    elif frame.kind != wire.FREED:
                        return False
            return False
        except BlockingIOError:
            return True
        except (OSError, EOFError, wire.BrokenFrame):
            return False

    def kill(self) -> None:
        """End it now, whatever it is doing."""
        self.server.kill(self.token)
        self.close()

    def close(self) -> None:
        """Let go of it. It ends by itself when it is idle."""
        self._outbox.clear()
        self.shared.close()  # before it sees its socket close, and tidies up
        self.sock.close()

    def exit_code(self, wait_s: float = STATUS_WAIT_S) -> int | None:
        """How it ended, or ``None`` if that is not known in time; call it once its socket has closed."""
        code = self.server.exit_code(self.token, wait_s)
        if code is not None:
            self.shared.ended()
        return code


class _Fleet:
    """What of the fleet outlives a run: the server, and the idle workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server: ForkServer | None = None
        self.idle: list[Worker] = []
        self.over = False  # the interpreter is ending
        self.worker_bytes: int | None = None

    def start_server(self) -> ForkServer:
        if self.over:
            raise CannotStart("the interpreter is ending")
        if self.server is not None and not self.server.alive():
            self.close()
        if self.server is None:
            self.server = ForkServer()
        return self.server

    def new_worker(self) -> Worker:
        server = self.start_server()
        ours, theirs = socket.socketpair()
        try:
            fd, memory = arena.create()
            try:
                token = server.fork([theirs.fileno(), fd])
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return Worker(ours, fd, memory, server, token)

    def close(self) -> None:
        for worker in self.idle:
            worker.close()
        self.idle.clear()
        server, self.server = self.server, None
        if server is not None:
            server.close(wait=not self.over)

    def forget(self) -> None:
        """In a forked child: the workers are the parent's."""
        self.lock = threading.Lock()
        for worker in self.idle:
            worker.close()
        self.idle.clear()
        server, self.server = self.server, None
        if server is not None:
            server.forget()


_fleet = _Fleet()
atexit.register(lambda: undisturbed(_end))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _fleet.forget())


def lease(wanted: int) -> list[Worker]:
    """So many workers, idle ones first; new ones may still be starting (`Worker.pid` is ``None`` until READY).

    Raises:
        CannotStart: No process can be started; the text says why.
    """
    workers: list[Worker] = []
    with _fleet.lock:
        while _fleet.idle and len(workers) < wanted:
            worker = _fleet.idle.pop()
            if worker.idle_and_alive():
                worker.shared.lease()
                workers.append(worker)
            else:
                worker.close()
        try:
            while len(workers) < wanted:
                workers.append(_fleet.new_worker())
        except (OSError, NoServer) as error:
            if not workers:
                raise CannotStart(f"a worker process could not be started: {error}") from error
    return workers


def idle_count() -> int:
    """Workers that wait to be used; they may have ended since."""
    return len(_fleet.idle)


def give_back(worker: Worker) -> None:
    """The lease is over, and the worker has nothing in hand."""
    with _fleet.lock:
        if worker.pid is not None and (_fleet.worker_bytes is None):
            resident = resident_bytes(worker.pid)
            _fleet.worker_bytes = resident - worker.shared.held_by(resident) if resident else None
        if worker.server is _fleet.server and worker.pid is not None and worker.idle_and_alive():
            worker.shared.park()
            _fleet.idle.append(worker)
            return
    worker.close()


def dismiss() -> None:
    """End the idle workers: the memory is wanted."""
    with _fleet.lock:
        for worker in _fleet.idle:
            worker.close()
        _fleet.idle.clear()


def preload() -> None:
    """Start the fork server, if need be, and have it load what pickles by value."""
    start_server()
    with _fleet.lock:
        if _fleet.server is not None:
            _fleet.server.preload()


def start_server() -> None:
    """Have the fork server start, if it does not run; it takes a while, in which other things can be done.

    Raises:
        CannotStart: It cannot; the text says why.
    """
    with _fleet.lock:
        try:
            _fleet.start_server()
        except NoServer as error:
            raise CannotStart(str(error)) from error


def status() -> dict[str, Any]:
    """What is there now: the server's pid, and the idle workers' pids."""
    with _fleet.lock:
        server = _fleet.server
        return {
            "server": server.pid if server is not None else None,
            "idle": [worker.pid for worker in _fleet.idle],
        }


def server_age_s() -> float | None:
    """Seconds since the fork server was started, which makes workers cost milliseconds; ``None``: there is none."""
    server = _fleet.server
    return perf_counter() - server.since if server is not None else None


def has_forked() -> bool:
    """Whether a worker of the present fork server has been up."""
    server = _fleet.server
    return server is not None and server.proven


def worker_bytes() -> int | None:
    """Resident size of a worker when it was last given back; ``None``: none has been."""
    return _fleet.worker_bytes


def _end() -> None:
    _fleet.over = True
    close()


def close() -> None:
    """End all workers and their server, now; the next run starts new ones. Runs at interpreter exit."""
    with _fleet.lock:
        _fleet.close()
