"""Fifos to meet worker processes at, and a look at whether processes are gone."""

from __future__ import annotations

import os
import select
import threading
import time

import pytest

PATIENCE_S = 30.0


class Meeting:
    """Items tell at ``here``, and wait for a byte at ``leave``."""

    def __init__(self, folder):
        self.here, self.leave = str(folder / "here"), str(folder / "leave")
        os.mkfifo(self.here)
        os.mkfifo(self.leave)
        self.fds = [os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (self.here, self.leave)]
        self.text = ""

    def heard(self, lines):
        """The first so many lines that items told, each a list of numbers."""
        deadline = time.monotonic() + PATIENCE_S
        while self.text.count("\n") < lines:
            left = deadline - time.monotonic()
            assert left > 0, f"heard no more than {self.text!r}"
            if select.select([self.fds[0]], [], [], left)[0]:
                self.text += os.read(self.fds[0], 4096).decode()
        return [[int(word) for word in line.split()] for line in self.text.splitlines()]

    def give(self, number):
        os.write(self.fds[1], b"!" * number)

    def close(self):
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def meeting(tmp_path):
    made = Meeting(tmp_path)
    yield made
    made.close()


class Beside:
    """A call on a thread of its own; what it returned or raised."""

    def __init__(self, fn):
        self.value = self.error = None
        self.fn = fn
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            self.value = self.fn()
        except BaseException as error:
            self.error = error

    def result(self):
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def beside():
    return Beside


def process_is_gone(pid, within_s):
    """Whether a process (anybody's) ends in time; an unreaped one has ended."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        if time.monotonic() > deadline:
            return False
        pause.wait(0.005)


@pytest.fixture
def gone():
    return process_is_gone


@pytest.fixture
def condition():
    """Whether something comes true in time."""

    def comes_true(is_so, within_s=PATIENCE_S):
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while not is_so():
            if time.monotonic() > deadline:
                return False
            pause.wait(0.01)
        return True

    return comes_true
