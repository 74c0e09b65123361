"""Functions that the contract suite maps. A plain module: worker processes import it, and nothing else of the suite."""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import threading
import time


def square(x):
    return x * x


def add(a, b):
    return a + b


def three(a, b, c):
    return (a, b, c)


def myself(_):
    return myself


def slow_square(x):
    time.sleep(0.002)
    return x * x


def uneven(x):
    """Later items are quicker, so that they end out of order when they run at once."""
    time.sleep(0.02 if x % 7 == 0 else 0.001)
    return x


def busy(x):
    """A few milliseconds of Python that holds the GIL."""
    total = 0
    for i in range(20_000):
        total += i ^ x
    return total


def where(_):
    time.sleep(0.005)
    return os.getpid(), threading.get_ident()


def draw(_):
    return random.random()


def draw_numpy(_):
    import numpy as np

    return float(np.random.random())


# --- failing ------------------------------------------------------------------------------------------------


class TwoArguments(Exception):
    """Pickles, and cannot be unpickled."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


class HoldsALock(Exception):
    """Cannot be pickled."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Stop(BaseException):
    """Not an Exception, as SystemExit and KeyboardInterrupt are not."""


def fails_at_5(x):
    if x == 5:
        raise ValueError(f"five is too much: {x}")
    return x


def fails_late_and_early(x):
    """Item 3 fails after item 5 has failed."""
    if x == 3:
        time.sleep(0.1)
        raise KeyError("three")
    if x == 5:
        raise ValueError("five")
    return x


def fails_with_cause(x):
    try:
        return {}[x]
    except KeyError as error:
        raise ValueError("the table is empty") from error


def two_arguments(x):
    if x == 4:
        raise TwoArguments(17, "does not come back")
    return x


def holds_a_lock(x):
    if x == 4:
        raise HoldsALock("does not travel")
    return x


def stops(x):
    if x == 4:
        raise Stop("enough")
    return x


def stop_iteration(x):
    if x == 4:
        raise StopIteration("no more")
    return x


def leaves(x):
    if x == 4:
        sys.exit(5)
    return x


def interrupts(x):
    if x == 4:
        raise KeyboardInterrupt
    return x


def odd_fail(x):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def dies(x):
    time.sleep(0.001)
    if x == 7:
        os._exit(3)
    return x


def is_killed(x):
    time.sleep(0.001)
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def lock_result(x):
    return threading.Lock() if x == 4 else x


def generator_result(x):
    return (i for i in range(x))


def show(x):
    return type(x).__name__


# --- notes in files: what ran, where every process and thread can write -------------------------------------


def note(path, text):
    """Append a line in one write, which does not mix with others'."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


class Noted:
    """``Noted(path)(x)`` writes down that x ran, and returns its square."""

    def __init__(self, path, fail_at=None, pause_s=0.0):
        self.path = path
        self.fail_at = fail_at
        self.pause_s = pause_s

    def __call__(self, x):
        note(self.path, x)
        if self.pause_s:
            time.sleep(self.pause_s)
        if x == self.fail_at:
            raise ValueError(f"item {x} is bad")
        return x * x

    def ran(self):
        try:
            with open(self.path) as file:
                return [int(line) for line in file]
        except FileNotFoundError:
            return []


class Moody:
    """Squares, and writes down that it ran; fails for x as long as there is a file ``bad-x`` in its folder."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, x):
        note(os.path.join(self.folder, "ran"), x)
        time.sleep(0.001)
        if os.path.exists(os.path.join(self.folder, f"bad-{x}")):
            raise ValueError(f"item {x} is bad")
        return x * x

    def ran(self):
        """What ran since this was last asked."""
        path = os.path.join(self.folder, "ran")
        try:
            with open(path) as file:
                found = [int(line) for line in file]
            os.unlink(path)
        except FileNotFoundError:
            return []
        return sorted(found)

    def bad(self, *xs):
        """From now on these fail, and no others."""
        for name in os.listdir(self.folder):
            if name.startswith("bad-"):
                os.unlink(os.path.join(self.folder, name))
        for x in xs:
            open(os.path.join(self.folder, f"bad-{x}"), "w").close()


class Meet:
    """Items that return only when ``number`` of them are running at the same moment."""

    def __init__(self, folder, number, patience_s=20.0):
        self.folder = folder
        self.number = number
        self.patience_s = patience_s

    def __call__(self, x):
        # Each has a pipe of its own in the folder; the one that completes the company wakes all.
        mine = os.path.join(self.folder, f"{x}.fifo")
        os.mkfifo(mine)
        fd = os.open(mine, os.O_RDWR | os.O_NONBLOCK)
        try:
            note(os.path.join(self.folder, "here"), x)
            with open(os.path.join(self.folder, "here")) as file:
                here = file.read().split()
            if len(here) >= self.number:
                for other in here:
                    other_fd = os.open(os.path.join(self.folder, f"{other}.fifo"), os.O_RDWR | os.O_NONBLOCK)
                    os.write(other_fd, b"!")
                    os.close(other_fd)
            if not select.select([fd], [], [], self.patience_s)[0]:
                raise TimeoutError(f"item {x} waited alone: {here}")
        finally:
            os.close(fd)
        return x


class Crowd:
    """Counts how many items run at the same moment, in a folder that all workers see."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, x):
        mine = os.path.join(self.folder, str(x))
        os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
        time.sleep(0.002)
        number = len(os.listdir(self.folder))
        os.unlink(mine)
        return number


class WaitsForLeave:
    """Item 0 returns only when told to; the others return at once."""

    def __init__(self, fifo, patience_s=20.0):
        self.fifo = fifo
        self.patience_s = patience_s

    def __call__(self, x):
        if x == 0:
            fd = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
            try:
                if not select.select([fd], [], [], self.patience_s)[0]:
                    raise TimeoutError("nobody gave item 0 leave")
            finally:
                os.close(fd)
        return x


# --- kinds of callables -------------------------------------------------------------------------------------


class Scaled:
    """A bound method and a callable object that read what they hold."""

    def __init__(self, factor):
        self.factor = factor

    def times(self, x):
        return self.factor * x

    __call__ = times

    @staticmethod
    def plain(x):
        return x + 1

    @classmethod
    def named(cls, x):
        return f"{cls.__name__} {x}"


class Point:
    """An item that is also a result."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and other.x == self.x

    def __hash__(self):
        return hash(self.x)

    def __repr__(self):
        return f"Point({self.x})"


def moved(point):
    return Point(point.x + 1)


# --- what others can see ------------------------------------------------------------------------------------

total = 0
seen = {}
hidden = 0
lazy_table = None


def adds_up(x):
    global total
    total += x
    return total


def remembers(x):
    seen[x] = x * x
    return len(seen)


def hides_its_write(x):
    """A write that reading the function does not show: the name is put together while it runs."""
    setattr(sys.modules[__name__], "hid" + "den", hidden + 1)
    time.sleep(0.001)
    return hidden


def writes_late(x):
    """Looks harmless for the first 40 items."""
    if x >= 40:
        setattr(sys.modules[__name__], "hid" + "den", x)
    time.sleep(0.001)
    return hidden


def looks_up(x):
    """A global that is set once, behind a test of itself: everyday laziness, and harmless."""
    global lazy_table
    if lazy_table is None:
        lazy_table = {i: i * i for i in range(1000)}
    time.sleep(0.003)
    return lazy_table[x % 1000]


class Counter:
    def __init__(self):
        self.count = 0

    def next(self, x):
        self.count += 1
        return self.count


def appends(item):
    item.append(len(item))
    return item


# --- whichpool inside whichpool -----------------------------------------------------------------------------


def nested(x):
    import whichpool

    inner = whichpool.map(square, range(x, x + 5))
    return list(inner), inner.report.plan.processes, os.getpid()


def nested_failure(x):
    import whichpool

    return list(whichpool.map(fails_at_5, range(x, x + 3)))


def seeded_inside(x):
    """A seeded map in a call of a seeded map."""
    import whichpool

    inner = whichpool.map(draw, range(3), seed=x, plan="threads")
    return inner, random.random()


def third(_):
    from decimal import Decimal

    time.sleep(0.001)
    return str(Decimal(1) / Decimal(3))


def deep(n):
    return 0 if n == 0 else 1 + deep(n - 1)


class Asked:
    """Counts what it is asked for; pickles as a new one."""

    asked = 0

    def __getattr__(self, name):
        if not name.startswith("__"):
            Asked.asked += 1
        raise AttributeError(name)


def sleepy(x):
    time.sleep(0.005)
    return x if isinstance(x, int) else 0


SCALE = 1
TABLE = {"a": 1}


def by_scale(x):
    time.sleep(0.001)
    return _scaled(x) + TABLE.get("b", 0)


def _scaled(x):
    return x * SCALE


class Refused(Exception):
    """There were too many; says for how long to leave it alone."""

    def __init__(self, key, retry_after_s=None):
        super().__init__(key)
        self.retry_after_s = retry_after_s

    def __reduce__(self):
        return Refused, (self.args[0], self.retry_after_s)


def key_of(x):
    return x % 3


class CrowdByKey:
    """As `Crowd`: how many items of the same key, and how many in all, run at the same moment."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, x):
        mine = os.path.join(self.folder, f"{key_of(x)}-{x}")
        os.close(os.open(mine, os.O_CREAT | os.O_EXCL))
        time.sleep(0.002)
        there = os.listdir(self.folder)
        os.unlink(mine)
        return key_of(x), sum(name.startswith(f"{key_of(x)}-") for name in there), len(there)


class RefusedOnce:
    """Item 0 is refused at its first try; tells when each call began."""

    def __init__(self, folder, retry_after_s):
        self.folder, self.retry_after_s = folder, retry_after_s

    def __call__(self, x):
        began = time.monotonic()
        if x == 0:
            try:
                os.close(os.open(os.path.join(self.folder, "tried"), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return x, began
            raise Refused("0", self.retry_after_s)
        time.sleep(0.002)
        return x, began
