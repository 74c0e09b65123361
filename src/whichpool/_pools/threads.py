"""Threads of this process. Each takes batches from the hub until there is nothing more, or there are to be fewer."""

from __future__ import annotations

import threading
from time import monotonic, perf_counter

from whichpool._host import costs
from whichpool._pools.base import LOOK_UP_S, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Protocol

    from whichpool._pools.base import Batch, Hub

    class Runner(Protocol):
        """What runs a batch on the calling thread, and says how many items the next should have."""

        size: int
        abandoned: bool

        def run(self, batch: Batch) -> None: ...
        def close(self) -> None: ...


# Threads that are not waited for have so long to come to their next look at whether they are still wanted.
FORGET_S = 0.050


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
        self._threads: list[threading.Thread] = []
        self._of: dict[Runner, threading.Thread] = {}
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
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            began, before = perf_counter(), len(self._threads)
            for place in range(before, wanted):
                run = self._context.copy().run
                thread = threading.Thread(
                    target=run, args=(self._main,), name=f"whichpool-{place}", daemon=True
                )
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
        if wanted > before:
            costs.record(thread_s=(perf_counter() - began) / (wanted - before))

    def is_here(self) -> bool:
        """Whether the calling thread is one of them."""
        return threading.current_thread() in self._threads

    def _surplus(self) -> bool:
        """Whether this thread should end, because fewer are wanted.

        New ones come here first, and wait until `resize` has started the last of them. If they began at once, with
        calls that compute, whoever starts the others would wait for the GIL at each: 64 threads took up to 0.8 s.
        """
        with self._lock:
            if len(self._threads) <= self._wanted:
                return False
            me = threading.current_thread()
            if me in self._threads:
                self._threads.remove(me)
            return True

    def _main(self) -> None:
        runner = self._runner()
        self._of[runner] = threading.current_thread()
        try:
            self._work(self._hub, runner)
        finally:
            self._of.pop(runner, None)
            runner.close()

    def abandon(self, runner: Runner) -> None:
        """The thread of this runner is in a call that nobody waits for any more: another one takes its place."""
        with self._lock:
            thread = self._of.pop(runner, None)
            if thread in self._threads:
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
        deadline = monotonic() + FORGET_S
        for thread in threads:
            if thread is threading.current_thread():
                continue
            while wait and thread.is_alive():
                thread.join(LOOK_UP_S)
            if not wait:
                try:
                    thread.join(max(deadline - monotonic(), 0.0))
                except RuntimeError:
                    pass  # whoever started it was interrupted: if it comes up, it finds that it is one too many
