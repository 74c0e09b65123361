"""Threads of this process: more of them, fewer of them, none."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from whichpool._pools.threads import Threads
from whichpool._run.sinks import ListSink
from whichpool._run.work import Work
from whichpool._worker.calls import Job

PATIENCE_S = 30


class Gate:
    """A function whose calls wait for leave; says how many are in it."""

    def __init__(self):
        self.inside = 0
        self.changed = threading.Condition()
        self.leave = 0

    def __call__(self, x):
        with self.changed:
            self.inside += 1
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.leave > 0, PATIENCE_S)
            self.leave -= 1
            self.inside -= 1
            self.changed.notify_all()
        return x, threading.current_thread().name

    def wait_for(self, inside):
        with self.changed:
            assert self.changed.wait_for(lambda: self.inside == inside, PATIENCE_S), self.inside

    def give(self, number):
        with self.changed:
            self.leave += number
            self.changed.notify_all()


class PlainRunner:
    """Runs a batch, one item each; writes down that it was closed."""

    size = 1
    abandoned = False

    def __init__(self, work, closed):
        self.work, self.closed = work, closed

    def run(self, batch):
        self.work.put(batch, [self.work.job.fn(item) for item in batch.items])

    def close(self):
        self.closed.append(threading.current_thread())


def eventually(holds):
    """Whether it comes to hold within the patience of these tests; looked at every few milliseconds."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.005)
    return True


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def made(gate):
    """(work, threads, runners that were closed)"""
    work = Work(Job(gate), iter(range(100)), 100, ListSink([]))
    closed = []
    threads = Threads(work, lambda: PlainRunner(work, closed), contextvars.copy_context())
    yield work, threads, closed
    work.close()
    gate.give(1000)
    threads.stop(wait=True)


def test_more_threads_then_fewer(gate, made):
    work, threads, closed = made
    threads.resize(2)
    gate.wait_for(2)
    threads.resize(5)
    gate.wait_for(5)
    assert threads.count == 5
    threads.resize(1)
    gate.give(5)  # what was in progress is finished; one goes on
    assert eventually(lambda: len(closed) == 4 and work.done == 5 and work.in_progress == 1)
    for thread in list(closed):
        thread.join(PATIENCE_S)
    assert work.done == 5
    assert work.in_progress == 1


def test_fewer_then_more_again_at_once(gate, made):
    work, threads, _ = made
    threads.resize(4)
    gate.wait_for(4)
    threads.resize(1)
    threads.resize(3)
    gate.give(4)
    gate.wait_for(3)
    assert work.in_progress == 3


def test_none_and_some_again(gate, made):
    work, threads, closed = made
    threads.resize(2)
    gate.wait_for(2)
    ended = [t for t in threading.enumerate() if t.name.startswith("whichpool-")]
    threads.resize(0)
    gate.give(2)
    for thread in ended:
        thread.join(PATIENCE_S)
    assert work.done == 2
    assert len(closed) == 2
    threads.resize(2)
    gate.wait_for(2)


def test_all_is_done_and_all_threads_are_gone(gate, made):
    work, threads, closed = made
    gate.give(100)
    threads.resize(6)
    threads.stop(wait=False)  # fewer are wanted: none
    threads.resize(6)
    assert work.caller_signal.wait(PATIENCE_S)
    threads.stop(wait=True)
    assert [x for x, _ in work.sink.values] == list(range(100))
    assert not any(thread.is_alive() for thread in closed)


def test_stop_waits_for_what_is_in_progress(gate, made):
    work, threads, _ = made
    threads.resize(2)
    gate.wait_for(2)
    stopper = threading.Thread(target=threads.stop, args=(True,))
    stopper.start()
    gate.give(2)
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive()
    assert work.done == 2
    assert gate.inside == 0


def test_idle_threads_wake_for_what_comes_back(gate, made):
    work, threads, _ = made
    held = work.take(100)
    work.take(1)
    threads.resize(3)
    work.give_back(held)
    gate.wait_for(3)


def test_threads_see_the_callers_context(made):
    work, _, closed = made
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Looks(PlainRunner):
        def run(self, batch):
            seen.append(variable.get())
            variable.set("changed")  # in its own copy
            self.work.put(batch, [None] * len(batch.items))

    variable.set("the caller's")
    threads = Threads(work, lambda: Looks(work, closed), contextvars.copy_context())
    threads.resize(1)
    assert work.caller_signal.wait(PATIENCE_S)
    threads.stop(wait=True)
    assert seen == ["the caller's"] + ["changed"] * 99
    assert variable.get() == "the caller's"


@pytest.mark.parametrize("wait", [False, True])
def test_a_start_that_was_interrupted_is_no_thread_to_wait_for(monkeypatch, wait):
    """Ctrl-C in the midst of `Thread.start`."""
    monkeypatch.setattr("whichpool._pools.threads.COME_UP_S", 0.010)
    gate = Gate()
    work = Work(Job(gate), iter(range(9)), 9, ListSink([]))
    threads = Threads(work, lambda: PlainRunner(work, []), contextvars.copy_context())
    start, started = threading.Thread.start, []

    def interrupted(thread):
        if len(started) == 2:
            raise KeyboardInterrupt
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.resize(4)
    gate.wait_for(2)
    gate.give(9)
    work.close()
    threads.stop(wait=wait)
    for thread in started:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_starting_them_does_not_wait_until_they_are_up(monkeypatch):
    """Two handovers of the GIL for each: on a busy machine a tenth of a second for 63."""
    held = threading.Lock()
    boot = threading.Thread._bootstrap

    def slow(thread):
        with held:
            pass
        boot(thread)

    gate = Gate()
    work = Work(Job(gate), iter(range(9)), 9, ListSink([]))
    threads = Threads(work, lambda: PlainRunner(work, []), contextvars.copy_context())
    monkeypatch.setattr(threading.Thread, "_bootstrap", slow)
    with held:
        threads.resize(3)
        assert threads.count == 3
    gate.wait_for(3)
    gate.give(9)
    threads.stop(wait=True)


def test_one_that_comes_up_late_is_still_waited_for(monkeypatch):
    held = threading.Event()
    boot = threading.Thread._bootstrap

    def slow(thread):
        held.wait(PATIENCE_S)
        boot(thread)

    closed = []
    work = Work(Job(str), iter(range(9)), 9, ListSink([]))
    threads = Threads(work, lambda: PlainRunner(work, closed), contextvars.copy_context())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "_bootstrap", slow)
        threads.resize(2)
    stopper = threading.Thread(target=threads.stop, args=(True,))
    stopper.start()
    held.set()
    stopper.join(PATIENCE_S)
    assert len(closed) == 2
    assert not any(thread.is_alive() for thread in closed)


def test_none_begins_before_the_last_of_them_is_started(monkeypatch):
    """Else their calls would take the GIL from whoever starts the others."""
    gate = Gate()
    work = Work(Job(gate), iter(range(9)), 9, ListSink([]))
    threads = Threads(work, lambda: PlainRunner(work, []), contextvars.copy_context())
    start, begun = threading.Thread.start, []

    def watched(thread):
        start(thread)
        begun.append(work.taken)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", watched)
        threads.resize(3)
    assert begun == [0, 0, 0]
    gate.wait_for(3)
    gate.give(9)
    threads.stop(wait=True)
