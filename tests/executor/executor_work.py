"""Calls that the tests of `whichpool.Executor` submit; workers import this, and nothing else of the suite."""

from __future__ import annotations

import os
import select
import time


class Gate:
    """Calls tell that they are here, and wait for leave; across threads and processes."""

    def __init__(self, folder):
        self.here, self.leave = str(folder / "gate-here"), str(folder / "gate-leave")
        os.mkfifo(self.here)
        os.mkfifo(self.leave)

    def __call__(self, x):
        self._write(self.here, b"!")
        fd = os.open(self.leave, os.O_RDWR | os.O_NONBLOCK)
        try:
            while True:
                if not select.select([fd], [], [], 30)[0]:
                    raise TimeoutError("nobody gave leave")
                try:
                    os.read(fd, 1)
                    return x
                except BlockingIOError:
                    continue  # another call was quicker
        finally:
            os.close(fd)

    @staticmethod
    def _write(path, data):
        fd = os.open(path, os.O_RDWR)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)


class Keeper:
    """The test's end of a gate; holds the fifos open."""

    def __init__(self, folder):
        self.call = Gate(folder)
        self._fds = [os.open(path, os.O_RDWR) for path in (self.call.here, self.call.leave)]

    def wait_for(self, calls):
        for _ in range(calls):
            assert select.select([self._fds[0]], [], [], 30)[0], "no call came"
            os.read(self._fds[0], 1)

    def open(self, calls):
        os.write(self._fds[1], b"!" * calls)

    def close(self):
        for fd in self._fds:
            os.close(fd)


def square(x):
    return x * x


def slow(x):
    time.sleep(0.005)
    return x


def three(a, b, c):
    return a, b, c


def keywords(*args, **kwargs):
    return args, kwargs


def fails(x):
    raise ValueError(f"no {x}")


class Odd(BaseException):
    pass


def odd(x):
    raise Odd(x)


def leaves(x):
    raise SystemExit(x)


def lock():
    import threading

    return threading.Lock()


class Grumpy:
    """Cannot be pickled, and says so in its own way."""

    def __reduce__(self):
        raise ZeroDivisionError("not today")


def grumpy():
    return Grumpy()


class TwoWords(Exception):
    """Can be pickled and not unpickled."""

    def __init__(self, one, two):
        super().__init__(one + two)


def two_words():
    raise TwoWords("a", "b")


def kind(x):
    return type(x).__name__
