"""The fork server: a clean, single-threaded process that forks workers on request and tells how each one ended.

    parent --- control socket ---> server --- fork ---> worker, worker, ...
       \\____________ one socket to each worker ____________/

It is clean because it never ran the caller's code: no threads, no locks held, no half-written buffers to inherit.
When the control socket closes, for whatever reason, the parent is gone, and so are all workers a moment later.

The first worker cannot be there before all that is imported here has been. So here, and in all that this imports, the
C modules behind `pickle`, `signal` and `socket` stand in for these, which bring `enum` and `re` along.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # typeshed has `signal` only
import _socket as socket
import gc
import os
import sys
from select import POLLIN, poll
from struct import Struct

from . import main as worker

# parent -> server: what, token. FORK carries two descriptors: the worker's socket and its board.
REQUEST = Struct("<BxxxI")
FORK, KILL, PRELOAD = 1, 2, 3
# server -> parent: what, token, pid or exit code (minus the signal's number)
REPORT = Struct("<BxxxIq")
BORN, DEAD, FAILED, KILLED = 1, 2, 3, 4  # KILLED: dead, because it was asked for while it still ran
_FD, _FDS = Struct("i"), Struct("2i")

# Workers end by themselves when their sockets close; after this they are killed.
GRACE_S = 0.1
# With no worker left and nothing asked for so long, the server ends.
IDLE_S = 300.0
# The same for one that was never asked for a worker: started while whichpool decided, and not wanted.
UNASKED_S = 10.0


def main(fd: int) -> None:
    """Serve the control socket ``fd`` until it closes. Returns in the server, and in a worker once its work is over."""
    control = socket.socket(fileno=fd)
    # A no-op handler, not SIG_IGN: see worker.run. Blocked until now, by the parent.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, int] = {}  # pid -> token
    killed: set[int] = set()  # tokens
    gc.collect()
    gc.freeze()  # what was loaded so far stays shared between the workers
    asked = False
    poller = poll()  # `select` knows no descriptor above 1,023, and the parent's number is kept here
    poller.register(control, POLLIN)
    poller.register(woken, POLLIN)
    while True:
        readable = {number for number, _ in poller.poll((IDLE_S if asked else UNASKED_S) * 1000)}
        if not readable and not children:
            return
        if woken in readable:
            os.read(woken, 4096)
            _reap(control, children, killed)
        if fd not in readable:
            continue
        try:
            data, fds = _receive(control)
        except ConnectionResetError:
            data, fds = b"", []
        if not data:
            return _end(children)
        what, token = REQUEST.unpack(data)
        if what == KILL:
            _reap(control, children, killed)  # one that has just ended by itself is told as such
            for pid, its in children.items():
                if its == token:
                    killed.add(token)
                    os.kill(pid, signal.SIGKILL)
        elif what == PRELOAD:
            from . import byvalue  # noqa: F401  (so that all workers share it)
        elif what == FORK:
            asked = True
            try:
                pid = os.fork()
            except OSError as error:
                control.sendall(REPORT.pack(FAILED, token, error.errno or 0))
                pid = -1
            if pid == 0:
                return _become_worker(control, (woken, wake), fds)
            for its_fd in fds:
                os.close(its_fd)
            if pid > 0:
                children[pid] = token
                _tell(control, BORN, token, pid)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A request, and the descriptors that came with it."""
    data, beside, _, _ = control.recvmsg(REQUEST.size, socket.CMSG_SPACE(_FDS.size))
    fds = [
        fd
        for level, kind, body in beside
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        for (fd,) in _FD.iter_unpack(body[: len(body) - len(body) % _FD.size])
    ]
    return data, fds


def _tell(control: socket.socket, what: int, token: int, value: int) -> None:
    try:
        control.sendall(REPORT.pack(what, token, value))
    except OSError:
        pass  # the parent is gone; the next read says so


def _reap(control: socket.socket, children: dict[int, int], killed: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        token = children.pop(pid, None)
        if token is not None:
            _tell(control, KILLED if token in killed else DEAD, token, os.waitstatus_to_exitcode(status))
            killed.discard(token)


def _end(children: dict[int, int]) -> None:
    """The parent is gone: workers see their sockets close and end; those that are busy are killed."""
    import time

    deadline = time.monotonic() + GRACE_S
    while children:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            children.pop(pid, None)
        elif time.monotonic() > deadline:
            for each in children:
                os.kill(each, signal.SIGKILL)
            deadline = float("inf")
        else:
            time.sleep(0.002)


def _become_worker(control: socket.socket, wakeup: tuple[int, int], fds: list[int]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in wakeup:
        os.close(fd)
    control.close()
    gc.unfreeze()
    sock_fd, board_fd = fds
    sock = socket.socket(fileno=sock_fd)
    if "random" in sys.modules:
        import random

        random.seed()
    try:
        worker.run(sock, board_fd)
    except BaseException:
        sock.detach()  # left to the kernel: the parent sees it close once there is an exit code
        raise
    sock.close()
