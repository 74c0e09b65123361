"""The parent's side of starting workers: one fork server per interpreter, asked over a control socket.

Descriptors reach the server in messages (SCM_RIGHTS), so nothing is ever inheritable in the parent, and a program that
the caller starts at the same moment cannot keep a worker's socket open by accident.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from time import perf_counter

from . import server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# How long the parent waits to be told how a worker ended, whose socket has closed. The kernel takes microseconds to
# milliseconds; a core dump can take longer, and then the exit code stays unknown.
STATUS_WAIT_S = 2.0
# Of so many workers that ended it is remembered how, in case somebody asks.
MOST_ENDED = 1_000


# What glibc reads when a process begins. Left alone it gives what is freed at the end of its heap back as soon as that
# is twice the longest block that it has mapped so far, and the next array's pages are cleared by the kernel anew: walks
# of 2 MB drawn with NumPy took 1.1 to 1.3 s on two workers, and 0.73 s with these; batches of pandas 1.29 and 1.18 s
# (`benchmarks.dataset`'s jobs, 2-core Linux, glibc 2.36). Bytes: where it ends up by itself with blocks of 32 MB, so
# that nothing is given back later than it might be in any case. Programs that the function starts do not see them.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"}


class NoServer(Exception):
    """The fork server cannot be started, or has ended; the text says why."""


def interpreter_flags() -> list[str]:
    """The command-line options that make a new interpreter behave as this one.

    Not `-i`, `-v` and the like, which would make workers talk.
    """
    flags = sys.flags
    args = ["-" + "O" * flags.optimize] if flags.optimize else []
    for on, letter in (
        (flags.dont_write_bytecode, "-B"),
        (flags.no_user_site, "-s"),
        (flags.ignore_environment, "-E"),
        (flags.bytes_warning, "-b" * flags.bytes_warning),
    ):
        if on:
            args.append(letter)
    args += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        if name in (
            "dev",
            "utf8",
            "gil",
            "no_debug_ranges",
            "int_max_str_digits",
            "frozen_modules",
            "warn_default_encoding",
        ):
            args.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return args


def environment() -> dict[str, str]:
    """What the server begins with: the caller's, and `MALLOC`, unless the caller has settings of that kind."""
    own = dict(os.environ)
    if any(name.startswith("MALLOC_") for name in own) or "glibc.malloc" in own.get("GLIBC_TUNABLES", ""):
        return own
    return own | MALLOC


class ForkServer:
    """The clean process that forks workers; started at the first request."""

    def __init__(self) -> None:
        if not (hasattr(os, "fork") and hasattr(os, "posix_spawn")):
            raise NoServer(
                f"workers are forked from a clean process, and {sys.platform} cannot fork; threads can be had"
            )
        if not sys.executable:
            raise NoServer(
                "sys.executable is empty: this Python is embedded, and its interpreter is not known"
            )
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            raise NoServer(f"no sockets for a fork server can be had: {error}") from error
        try:
            # dup2 onto a number that the parent has as close-on-exec: free in the child, inheritable only there.
            number = os.dup(theirs.fileno())
        except OSError as error:
            ours.close()
            theirs.close()
            raise NoServer(f"no sockets for a fork server can be had: {error}") from error
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        code = f"import sys; sys.path.append({root!r}); from whichpool._worker.server import main; main({number})"
        argv = [sys.executable, *interpreter_flags(), "-P", "-c", code]
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                argv,
                environment(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), number),
                ],
                setsigmask=[signal.SIGINT],  # until the server has its handler: Ctrl-C reaches it too
            )
        except OSError as error:
            ours.close()
            raise NoServer(f"{sys.executable} could not be started: {error}") from error
        finally:
            os.close(number)
            theirs.close()
        self._control = ours
        self._token = 0
        self._data = b""
        self._preloaded = False
        self.since = perf_counter()
        self.proven = False  # a worker of it has been up
        self.pids: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.killed: set[int] = set()  # tokens of those that were ended here, and had not ended by themselves
        self.owner = os.getpid()
        self._reading = threading.Lock()  # runs on several threads ask how their workers ended

    def fork(self, fds: Sequence[int]) -> int:
        """Ask for a worker with these two descriptors (socket, board); returns its token at once.

        Raises:
            NoServer: The server is gone.
        """
        self._token += 1
        try:
            socket.send_fds(self._control, [server.REQUEST.pack(server.FORK, self._token)], fds)
        except OSError as error:
            raise NoServer(f"the fork server has ended: {error}") from error
        return self._token

    def preload(self) -> None:
        """Have what pickles by value loaded before the next fork, once for all workers."""
        if not self._preloaded:
            self._preloaded = True
            self._ask(server.PRELOAD, 0)

    def kill(self, token: int) -> None:
        """End this worker now. The server does it, because only it knows that the pid is still that worker's."""
        self._ask(server.KILL, token)

    def _ask(self, what: int, token: int) -> None:
        try:
            self._control.sendall(server.REQUEST.pack(what, token))
        except OSError:
            pass  # the server is gone, and its workers with it

    def exit_code(self, token: int, wait_s: float = STATUS_WAIT_S) -> int | None:
        """How a worker ended: its exit code, or minus the signal; ``None`` if nobody can say in time."""
        import time

        deadline = time.monotonic() + wait_s
        while token not in self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            with self._reading:
                if token in self.ended or self._control.fileno() < 0:
                    break  # it is known; or the server was closed meanwhile, and its workers with it
                if self._readable(min(left, 0.050)) and not self._read():
                    break
        return self.ended.pop(token, None)

    def _readable(self, wait_s: float) -> bool:
        from select import POLLIN, poll  # `select` knows no descriptor above 1,023

        poller = poll()
        poller.register(self._control, POLLIN)
        return bool(poller.poll(wait_s * 1000))

    def _read(self) -> bool:
        try:
            data = self._control.recv(4096)
        except OSError:
            data = b""
        self._data += data
        size = server.REPORT.size
        while len(self._data) >= size:
            what, token, value = server.REPORT.unpack_from(self._data)
            self._data = self._data[size:]
            if what == server.BORN:
                self.pids[token] = value
            elif what in (server.DEAD, server.KILLED):
                self.pids.pop(token, None)
                self.ended[token] = value
                if what == server.KILLED:
                    self.killed.add(token)
            else:
                self.ended[token] = 0
        return bool(data)

    def alive(self) -> bool:
        """Whether the server still answers; drains its reports, so that they do not fill the socket."""
        with self._reading:
            while self._readable(0):
                if not self._read():
                    return False
            while len(self.ended) > MOST_ENDED:
                del self.ended[next(iter(self.ended))]  # nobody ever asked
            if len(self.killed) > MOST_ENDED:
                self.killed.clear()
        return True

    def close(self, wait: bool = True) -> None:
        """End the server and every worker; returns when they are gone.

        Without ``wait``, a server that was never asked for a worker is not waited for: one that is still starting would
        hold up the end of the program until it can see that it is over.
        """
        with self._reading:  # nobody may be waiting on a number that the next file to be opened would get
            self._control.close()
        if self.owner == os.getpid() and (wait or self._token):
            try:
                os.waitpid(self.pid, 0)
            except ChildProcessError:
                pass  # the caller's program reaped it, as some servers do with every child

    def forget(self) -> None:
        """In a forked child of the parent: let go of what is the parent's."""
        self._control.close()
