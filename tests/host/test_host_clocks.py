"""The CPU clock of another thread: it runs while that thread computes, stands while it waits, outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from whichpool._host import clocks

needs_clock = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="this system cannot read another thread's CPU clock"
)


class Other:
    """A thread that computes for some CPU time when told to, and waits otherwise."""

    def __init__(self) -> None:
        self.go, self.done, self.end = threading.Event(), threading.Event(), False
        self.used_s = 0.0
        self.clock: Callable[[], float] | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.compute()

    def _run(self) -> None:
        self.clock = clocks.own_cpu_clock()
        while True:
            self.go.wait()
            self.go.clear()
            if self.end:
                return
            start = time.thread_time()
            while time.thread_time() - start < 0.02:
                pass
            self.used_s = time.thread_time()
            self.done.set()

    def compute(self) -> None:
        self.done.clear()
        self.go.set()
        assert self.done.wait(30)

    def stop(self) -> None:
        self.end = True
        self.go.set()
        self.thread.join(30)


def wait_for_the_kernel(thread: threading.Thread) -> None:
    """A joined thread has left Python; the kernel's thread may still compute its last microseconds."""
    task, give_up = f"/proc/self/task/{thread.native_id}", time.monotonic() + 30
    while os.path.exists(task):
        assert time.monotonic() < give_up
        os.sched_yield()


@pytest.fixture
def other() -> Iterator[Other]:
    other = Other()
    yield other
    other.stop()
    assert not other.thread.is_alive()


@needs_clock
def test_it_runs_while_the_other_thread_computes(other: Other) -> None:
    read = other.clock
    assert read is not None
    before = read()
    other.compute()
    assert read() - before >= 0.02
    assert read() >= other.used_s


@needs_clock
def test_it_stands_while_this_thread_computes(other: Other) -> None:
    read = other.clock
    assert read is not None
    other.compute()
    before, start = read(), time.thread_time()
    while time.thread_time() - start < 0.05:
        pass
    assert read() - before < 0.01  # it only goes back to waiting


@needs_clock
def test_it_stays_where_it_was_when_the_thread_has_ended(other: Other) -> None:
    read = other.clock
    assert read is not None
    other.compute()
    last = read()
    other.stop()
    wait_for_the_kernel(other.thread)
    assert last <= read() <= last + 0.02
    assert read() == read()


@needs_clock
def test_it_never_goes_backwards_nor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[float | None] = [1.0, 2.0, 0.5, None, 3.0, None]

    def clock_gettime(clock_id: int) -> float:
        reading = readings.pop(0)
        if reading is None:
            raise OSError(22, "Invalid argument")
        return reading

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    read = clocks.own_cpu_clock()
    assert read is not None
    assert [read() for _ in range(5)] == [2.0, 2.0, 2.0, 3.0, 3.0]


@needs_clock
def test_a_clock_that_fails_at_once_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(clock_id: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", refuse)
    assert clocks.own_cpu_clock() is None


@needs_clock
def test_it_agrees_with_the_threads_own_clock() -> None:
    read = clocks.own_cpu_clock()
    assert read is not None
    first, own, last = read(), time.thread_time(), read()
    assert first <= own <= last


def test_systems_without_such_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)
    assert clocks.own_cpu_clock() is None


def test_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clocks.thread_clock_tick_s() > 0
    monkeypatch.setattr(clocks, "_OS", "linux")
    assert clocks.thread_clock_tick_s() == time.get_clock_info("thread_time").resolution
    monkeypatch.setattr(clocks, "_OS", "win32")
    assert clocks.thread_clock_tick_s() >= 0.015625


def test_its_import_loads_nothing_else() -> None:
    program = "before = set(sys.modules); import whichpool._host.clocks; print(*set(sys.modules) - before)"
    # -S: without site nothing that an environment loads by itself can hide an import; os it always loads.
    command = [sys.executable, "-S", "-c", f"import os, sys; sys.path[:] = {sys.path!r}; {program}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert set(loaded) <= {"whichpool", "whichpool._host", "whichpool._host.clocks", "__future__", "time"}
