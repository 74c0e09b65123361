"""Functions that the tests of deaths map; workers import this, and nothing else of the suite."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import stat
import sys
import threading
import time

CHILD_S = 5.0
"""A child that outlives its worker lives so long; nobody may wait for it."""


class Told:
    """Says in a file when an item starts and when it ends, and where; its value is a tuple of its index."""

    def __init__(self, path, work_s, cpu=False):
        self.path, self.work_s, self.cpu = path, work_s, cpu

    def __call__(self, x):
        self._tell("started", x)
        if self.cpu:
            end = time.perf_counter() + self.work_s
            while time.perf_counter() < end:
                sum(range(50))
        else:
            time.sleep(self.work_s * (x % 3))
        self._tell("ended", x)
        return (x,)

    def _tell(self, what, x):
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, f"{what} {x} {os.getpid()}\n".encode())
        finally:
            os.close(fd)

    def told(self):
        """(what, item, pid), in the order in which it happened."""
        try:
            with open(self.path) as file:
                lines = file.read().split("\n")[:-1]
        except FileNotFoundError:
            return []
        return [(what, int(x), int(pid)) for what, x, pid in map(str.split, lines)]


class Ends:
    """Item ``at`` ends its process, or tries to, in one of the ways below."""

    def __init__(self, how, at):
        self.how, self.at = how, at

    def __call__(self, x):
        if x == self.at:
            globals()[self.how]()
        return x


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def is_asked_to_end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def segfaults():
    ctypes.string_at(0)


def aborts():
    os.abort()


def exits():
    os._exit(3)


def exits_well():
    os._exit(0)


def exits_from_a_thread():
    threading.Thread(target=os._exit, args=(5,)).start()
    time.sleep(60)


def overflows_the_stack():
    sys.setrecursionlimit(10**8)

    def deeper(x):
        return list(map(deeper, [x]))

    threading.stack_size(
        1 << 16
    )  # Python's own bound on calls from C, which it has since 3.12, is beyond this
    thread = threading.Thread(target=deeper, args=(1,))
    thread.start()
    thread.join()


def closes_all_descriptors():
    os.closerange(0, 4096)


def closes_all_descriptors_and_stays():
    os.closerange(0, 4096)
    time.sleep(1.0)  # the work of this item, which goes on without knowing


def another_file_takes_the_place_of_the_socket():
    for fd in _sockets():
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fd)
        os.close(null)


def writes_garbage_to_the_socket():
    garbage = random.Random(1).randbytes(1000)
    for fd in _sockets():
        os.write(fd, garbage)


def _sockets():
    found = []
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
        except OSError:
            pass
    return found


def leaves_a_child_that_lives_on():
    if not os.fork():
        time.sleep(CHILD_S)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def comes_back_twice():
    os.fork()


class ForksAndTells:
    """Writes down each item that is run, by whatever process; one item forks, and its child comes back too."""

    def __init__(self, path, fork_at):
        self.path, self.fork_at = path, fork_at

    def __call__(self, x):
        self.tell(f"{x}")
        if x == self.fork_at and os.fork() == 0:
            self.tell(f"child {os.getpid()}")
        return x

    def tell(self, line):
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode() + b"\n")
        os.close(file)


def writes_garbage_to_stdout():
    os.write(1, b"\xa7\x11\0\xff" * 100)


HANGS = -1
over = threading.Event()
"""What hangs on a thread ends when this is set; a worker process is never told."""


def half(x):
    if x == HANGS:
        over.wait(3600)
    if x % 7 == 3:
        raise ValueError(x)
    return x / 2


class PicklesOnce:
    """Travels when it is tried alone, which is the third time, and not with the others before and after that."""

    def __init__(self):
        self.times = 0

    def __reduce__(self):
        self.times += 1
        if self.times != 3:
            raise ValueError("not now")
        return int, (1,)


def result_that_fails_to_pickle_in_the_end(x):
    return PicklesOnce() if x == 7 else x
