"""Functions that the tests of worker processes map; workers import this, and nothing else of the suite."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import ClassVar


def wait_for_leave(fifo, patience_s=30.0):
    """Return when somebody writes to the fifo."""
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        if not select.select([fd], [], [], patience_s)[0]:
            raise TimeoutError("nobody gave leave")
        os.read(fd, 1)
    finally:
        os.close(fd)


def tell(fifo, text):
    """Write a line to who listens at the fifo."""
    fd = os.open(fifo, os.O_RDWR)  # kept open by the listener too
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


class Meeting:
    """Each item waits until so many workers have one: none is given back before it was up."""

    def __init__(self, folder, workers):
        self.folder, self.workers = folder, workers

    def __call__(self, x):
        (self.folder / str(os.getpid())).touch()
        while len(list(self.folder.iterdir())) < self.workers:
            time.sleep(0.001)
        return x


def pid_of(_):
    time.sleep(0.001)
    return os.getpid()


class HeldItems:
    """Every item tells its index and pid, and waits for leave."""

    def __init__(self, here, leave):
        self.here, self.leave = here, leave

    def __call__(self, x):
        tell(self.here, f"{x} {os.getpid()}")
        wait_for_leave(self.leave)
        return x


class HeldItem(HeldItems):
    """Item ``which`` waits; the others do not."""

    def __init__(self, here, leave, which):
        super().__init__(here, leave)
        self.which = which

    def __call__(self, x):
        return super().__call__(x) if x == self.which else x


def echo(x):
    return x


def grow(x):
    """A large result for a small item."""
    return bytes([x % 256]) * 16_000_000


def grow_and_die_at_3(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes([x % 256]) * 16_000_000


def die_on_large(x):
    if x[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


class KillsAt:
    def __init__(self, *which):
        self.which = frozenset(which)

    def __call__(self, x):
        time.sleep(0.002)
        if x in self.which:
            os.kill(os.getpid(), signal.SIGKILL)
        return x


def stop_the_server_and_die_at_3(x):
    """Nobody can tell the parent how this worker ended until somebody has the server go on."""
    if x == 3:
        os.kill(os.getppid(), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


class KillsOnArrival:
    """Ends the process that unpickles it."""

    def __init__(self, home):
        self.home = home

    def __reduce__(self):
        return _arrive, (self.home,)


def _arrive(home):
    if os.getpid() != home:
        os.kill(os.getpid(), signal.SIGKILL)
    return KillsOnArrival(home)


def own_worker():
    """The engine's object of this worker process, its socket in it."""
    (worker,) = [
        each for each in gc.get_objects() if type(each).__name__ == "Worker" and hasattr(each, "_sock")
    ]
    return worker


class Writes:
    """Item ``which`` writes ``data`` to its worker's socket, where only messages should be."""

    def __init__(self, which, data):
        self.which, self.data = which, data

    def __call__(self, x):
        time.sleep(0.001)
        if x == self.which:
            sock = own_worker()._sock
            with own_worker()._send_lock:
                sock.sendall(self.data)
        return x


class RunsWhenLoaded:
    ran: ClassVar[list[int]] = []

    def __reduce__(self):
        return RunsWhenLoaded.ran.append, (1,)


def surroundings(_):
    time.sleep(0.001)
    return {
        "cwd": os.getcwd(),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "mark": os.environ.get("WHICHPOOL_POOLS_MARK"),
        "cores": os.environ.get("WHICHPOOL_CORES"),
        "worker": os.environ.get("WHICHPOOL_WORKER"),
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "pid": os.getpid(),
    }


def import_it(name):
    return __import__(name).VALUE


def compute(x):
    return sum(i ^ x for i in range(20_000))


def nested_plan(x):
    import whichpool

    waits = whichpool.map(pid_of, range(30))
    computes = whichpool.map(compute, range(100))
    return str(waits.report.plan), set(waits) == {os.getpid()}, str(computes.report.plan)


class OnlyThere:
    """Cannot be unpickled in any process but ``home``, if that is not 0."""

    def __init__(self, x, home):
        self.x, self.home = x, home

    def __reduce__(self):
        return make_only_there, (self.x, self.home)


def make_only_there(x, home):
    if home and os.getpid() != home:
        raise ImportError("not here")
    return OnlyThere(x, home)


class Hidden:
    """Cannot be unpickled in the process ``home``."""

    def __init__(self, home):
        self.home = home

    def __reduce__(self):
        return make_hidden, (self.home,)


def make_hidden(home):
    if os.getpid() == home:
        raise ImportError("not here")
    return Hidden(home)


class Notes:
    """Writes down which items it is called with; the results of ``hidden`` ones cannot be unpickled at home."""

    def __init__(self, path, hidden=(), home=0):
        self.path, self.hidden, self.home = path, hidden, home

    def __call__(self, item):
        with open(self.path, "a") as file:
            file.write(f"{item.x}\n")
        return {"deep": [Hidden(self.home)]} if item.x in self.hidden else item.x

    def told(self):
        with open(self.path) as file:
            return [int(line) for line in file]
