"""Threads of this process. Each takes batches from the hub until there is nothing more, or there are to be fewer."""

from __future__ import annotations

import threading
from _thread import allocate_lock
from functools import partial
from time import monotonic, perf_counter

from whichpool._host import costs
from whichpool._pools.base import LOOK_UP_S, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, Protocol

    from whichpool._pools.base import Batch, Hub

    class Runner(Protocol):
        """What runs a batch on the calling thread, and says how many items the next should have."""

        size: int
        abandoned: bool

        def run(self, batch: Batch) -> None: ...
        def close(self) -> None: ...


# Threads that are not waited for have so long to come to their next look at whether they are still wanted.
FORGET_S = 0.050
# A thread that was started is waited for so long to come up: one whose start was interrupted never does. A guess: on
# a busy machine 63 of them were up within 20 ms.
COME_UP_S = 1.0


class _Soon(threading.Thread):
    """A thread whose `start` does not wait until it is up.

    `threading.Thread.start` does, which hands the GIL over twice for each: 63 threads took 16 to 117 ms beside other
    programs on 2 cores, and calls that compute take the GIL for themselves in between. Without the wait: 1.2 to 2.2.
    """

    def __init__(self, main: Callable[[], None], name: str) -> None:
        super().__init__(target=main, name=name, daemon=True)
        self._up = allocate_lock()  # taken until it is up
        self._up.acquire()

    def start(self) -> None:
        # The event that it waits for. No documented name: where it has another one, `start` waits, as it always does.
        started: Any = getattr(self, "_started", None)
        if started is not None:
            started.wait = lambda *_: True
        try:
            super().start()
        finally:
            if started is not None:
                del started.wait

    def run(self) -> None:
        self._up.release()
        super().run()

    def is_over(self) -> bool:
        """Whether it was up, and is not any more."""
        return not self._up.locked() and not self.is_alive()

    def end_by(self, deadline_s: float) -> None:
        """Wait until it has ended, or the clock says so; one that is not up by then may never be."""
        if self._up.acquire(timeout=max(deadline_s - monotonic(), 0.0)):
            self._up.release()
            self.join(max(deadline_s - monotonic(), 0.0))


class Threads:
    """A number of threads that can be changed at any time.

    Args:
        hub: Where the work comes from.
        runner: Makes what runs a batch, on the thread that will run it.
        context: The caller's, of which each thread has a copy: context variables are what the loop would see.
    """

    def __init__(self, hub: Hub, runner: Callable[[], Runner], context: Context) -> None:
        self._hub = hub
        self._runner = runner
        self._context = context
        self._wanted = 0
        self._threads: list[_Soon] = []
        self._of: dict[Runner, _Soon] = {}
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """Threads that are to run now."""
        return self._wanted

    def resize(self, wanted: int) -> None:
        """Have so many threads, or as many as the system starts. What is in progress on one that is to end is finished.

        Raises:
            RuntimeError: The system starts none at all.
        """
        with self._lock:
            self._wanted = wanted
            self._threads = [thread for thread in self._threads if not thread.is_over()]
            began, before = perf_counter(), len(self._threads)
            for place in range(before, wanted):
                last = (began, wanted - before) if place == wanted - 1 else None
                thread = _Soon(partial(self._context.copy().run, self._main, last), f"whichpool-{place}")
                self._threads.append(thread)
                try:
                    thread.start()
                except RuntimeError:
                    # "can't start new thread": a limit was reached, or the interpreter is ending.
                    self._threads.pop()
                    self._wanted = wanted = len(self._threads)
                    if not wanted:
                        raise
                    break

    def is_here(self) -> bool:
        """Whether the calling thread is one of them."""
        return threading.current_thread() in self._threads

    def _surplus(self) -> bool:
        """Whether this thread should end, because fewer are wanted.

        New ones come here first, and wait until `resize` has started the last of them: the first ones' calls would
        take the GIL from whoever starts the others.
        """
        with self._lock:
            if len(self._threads) <= self._wanted:
                return False
            me = _current()
            if me in self._threads:
                self._threads.remove(me)
            return True

    def _main(self, last: tuple[float, int] | None) -> None:
        """``last``: this is the last of so many whose start began then."""
        if last is not None:
            costs.record(thread_s=(perf_counter() - last[0]) / last[1])
        runner = self._runner()
        self._of[runner] = _current()
        try:
            self._work(self._hub, runner)
        finally:
            self._of.pop(runner, None)
            runner.close()

    def abandon(self, runner: Runner) -> None:
        """The thread of this runner is in a call that nobody waits for any more: another one takes its place."""
        with self._lock:
            thread = self._of.pop(runner, None)
            if thread is not None and thread in self._threads:
                self._threads.remove(thread)
            wanted = self._wanted
        if wanted:
            try:
                self.resize(wanted)
            except RuntimeError as error:  # the system starts no more, and this was the last
                self._hub.fail(error)

    def _work(self, hub: Hub, runner: Runner) -> None:
        signal, me = Signal(), threading.get_ident()
        while not self._surplus():
            batch = hub.take(runner.size)
            if batch is None:
                # Parked first and asked again after: what comes between the two is not missed.
                if not hub.park(signal):
                    return
                batch = hub.take(runner.size)
                if batch is None:
                    signal.wait()
                    continue
            batch.asks_next = me
            runner.run(batch)
            if runner.abandoned:
                return
        hub.nudge()  # a wake-up may have been for this thread, which is one too many now

    def stop(self, wait: bool) -> None:
        """Start nothing more; with ``wait``, return when what was in progress has ended.

        A thread cannot be ended from outside: without ``wait`` its call goes on until it returns, and is forgotten.
        Even so it is given a moment, in which a batch that was just taken begins: nothing starts after this returns.
        """
        with self._lock:
            threads, self._wanted = list(self._threads), 0
        deadline = monotonic() + (COME_UP_S if wait else FORGET_S)
        for thread in threads:
            if thread is threading.current_thread():
                continue
            thread.end_by(deadline)
            while wait and thread.is_alive():
                thread.join(LOOK_UP_S)


def _current() -> _Soon:
    thread = threading.current_thread()
    assert isinstance(thread, _Soon)
    return thread
