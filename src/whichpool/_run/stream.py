"""Single calls, submitted one by one: an open-ended run whose items are calls, and whose results go to futures.

All calls of a pool are one stream of work: they share its threads, its workers and its measurements. Each is sent with
its own function, so nothing needs to be known of it beforehand.
"""

from __future__ import annotations

import atexit
import os
import threading
from _thread import get_ident, start_new_thread
from collections import deque
from concurrent.futures import Future

from whichpool._pools.base import LOOK_UP_S
from whichpool._records import Failure
from whichpool._run.run import Run
from whichpool._run.sinks import ListSink
from whichpool._run.work import Work
from whichpool._worker.calls import FULL, Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._records import RunReport
    from whichpool._run.options import Options

__all__ = ["Stream"]

# On each thread: the work whose futures, and so their callbacks, it is just telling of what came.
_telling = threading.local()
# Streams with calls that have not ended, also of pools that nobody holds any more.
_unfinished: dict[FutureWork, Run] = {}
_ended = False  # the program has


def _finish_all() -> None:
    """The program has ended: as the standard's executors do, run what was submitted."""
    global _ended
    _ended = True
    for work, run in list(_unfinished.items()):
        work.end()
        _wait(run)


# Before daemon threads and workers are ended, unlike `atexit`; it is what `concurrent.futures` uses.
try:
    getattr(threading, "_register_atexit", atexit.register)(_finish_all)
except RuntimeError:
    _ended = True
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unfinished.clear)  # they are the parent's


def _wait(run: Run) -> None:
    """Until all calls have ended, and whatever they ran on is put away."""
    try:
        run.keys.listen()
        while run.work.is_open():
            run.work.caller_signal.wait(LOOK_UP_S)
            run.keys.check()
    except BaseException:
        run.keys.leave(tell=False)
        raise
    run.finish()


def call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One submitted call, as the job of a stream sees it."""
    return fn(*args, **kwargs)


class FutureWork(Work):
    """Work whose items arrive while it runs, and whose results go to futures."""

    def __init__(self, job: Job, **options: Any) -> None:
        super().__init__(job, iter(()), None, ListSink([]), return_failures=True, **options)
        self._waiting: deque[tuple[Future[Any], tuple[Any, ...]]] = deque()
        self._futures: dict[int, Future[Any]] = {}
        self._settled: deque[tuple[Future[Any], Any]] = deque()
        self._closing = False
        self._tellers = 0  # threads that run callbacks
        self._arrivals = threading.Lock()

    def add(self, future: Future[Any], item: tuple[Any, ...]) -> bool:
        """One more call; False: none is taken any more."""
        with self._lock:
            if self._closing or not self.is_open():
                return False
            self._waiting.append((future, item))
            if self._parked:
                self._wake(1)
        if self.on_arrival is not None:
            self.on_arrival()
        return True

    def end(self) -> None:
        """No more calls will be added."""
        with self._lock:
            self._end()

    def end_soon(self) -> None:
        """As `end`, for a finalizer, which may run on a thread that is just inside this object."""
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()
            return
        try:
            start_new_thread(self.end, ())
        except RuntimeError:
            pass  # the interpreter is ending, which ends it too

    def _end(self) -> None:
        self._closing = True
        if not self._waiting:
            self.exhausted = True
        self._settle()
        self._wake()

    def cancel_waiting(self) -> None:
        """Drop the calls that have not begun."""
        while self._waiting:
            try:
                future, _ = self._waiting.popleft()
            except IndexError:
                return
            future.cancel()
            future.set_running_or_notify_cancel()

    def _pull(self, most: int) -> tuple[list[Any], BaseException | None]:
        items: list[Any] = []
        while len(items) < most:
            try:
                future, item = self._waiting.popleft()
            except IndexError:
                break
            if future.set_running_or_notify_cancel():
                self._futures[self.taken + len(items)] = future
                items.append(item)
        self._dry = self._closing and not self._waiting
        return items, None

    def take(self, most: int) -> Batch | None:
        """As `Work.take`."""
        batch = super().take(most)
        if batch is None and self.error is not None:
            self._give_up(self.error)  # what was just being taken when the stream failed
        return batch

    def take_without_waiting(self, most: int) -> Batch | None:
        """As `take`, which here never waits."""
        return self.take(most)

    def put(self, batch: Batch, values: list[Any], error: BaseException | None = None, **more: Any) -> None:
        """As `Work.put`; whatever a call raises is its future's, even what would end a loop."""
        with self._arrivals:
            for offset, value in enumerate(values):
                self._note(batch.start + offset, value)
        self._tell()
        if error is not None and self.try_again(batch, [None] * len(values), error):
            self.sink.forget()  # type: ignore[union-attr]  # a stream's is a ListSink
            return
        if error is not None:
            at = batch.start + len(values)
            with self._arrivals:
                self._note(at, Failure(at, "", error))
            more["unrun"] = len(batch) - len(values) - 1
            values = [*values, None]
        self._sink_nothing(batch, values, **more)
        self._tell()

    def _note(self, index: int, value: Any) -> None:
        future = self._futures.pop(index, None)
        if future is not None:  # else the stream has failed as a whole meanwhile
            self._settled.append((future, value))

    def _tell(self) -> None:
        """Give the futures what has come. Outside all locks: a callback may submit again."""
        outer, _telling.work = getattr(_telling, "work", None), self
        with self._arrivals:
            self._tellers += 1
        try:
            while True:
                try:
                    future, value = self._settled.popleft()
                except IndexError:
                    return
                if isinstance(value, Failure):
                    future.set_exception(value.error)
                else:
                    future.set_result(value)
        finally:
            _telling.work = outer
            with self._arrivals:
                self._tellers -= 1
            self._leave()

    def _settle(self) -> None:
        super()._settle()
        self._leave()

    def _leave(self) -> None:
        """Once all is over, callbacks too, the end of the program need not wait for it, nor anybody see the time."""
        if self.finished and not self._tellers and not self._settled:
            run = _unfinished.pop(self, None)
            if run is not None:
                run.stop_clock()

    def _sink_nothing(self, batch: Batch, values: list[Any], unrun: int = 0, nodes: Any = None) -> None:
        sink = self.sink
        super().put(batch, values, unrun=unrun)
        assert isinstance(sink, ListSink)
        sink.forget()

    def fail(self, error: BaseException) -> None:
        """The stream cannot go on: every call that has not ended gets this error."""
        super().fail(error)
        self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        failure = Failure(0, "", error)
        while self._waiting:
            try:
                future, _ = self._waiting.popleft()
            except IndexError:
                break
            if future.set_running_or_notify_cancel():
                self._settled.append((future, failure))
        with self._arrivals:
            self._settled += [(future, failure) for future in self._futures.values()]
            self._futures.clear()
        self._tell()

    @property
    def remaining(self) -> int | None:
        """Calls that have not ended, of those that were submitted so far."""
        return len(self._waiting) + self.in_progress + len(self._returned)


class Stream:
    """The submitted calls of one pool."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._run: Run | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False

    def __del__(self) -> None:
        """Nobody can submit any more: what was submitted is done, and then nothing stays."""
        run = self._run
        if run is not None and not self._closed and self._pid == os.getpid():
            run.work.end_soon()  # type: ignore[attr-defined]  # as above

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """One call."""
        future: Future[Any] = Future()
        item: tuple[Any, ...] = ((fn, args, kwargs), {})
        run = self._run
        if run is None or not run.work.is_open() or self._pid != os.getpid():
            run = self._begin()
        while not run.work.add(future, item):  # type: ignore[attr-defined]  # a stream's work is FutureWork
            run = self._begin()  # that one has just failed as a whole, or been closed
        return future

    def _begin(self) -> Run:
        if self._pid != os.getpid():
            # Forked: the threads and the workers are the parent's, and so are the calls that had not ended.
            self._pid, self._run, self._lock = os.getpid(), None, threading.Lock()
        with self._lock:
            if self._closed or _ended:
                raise RuntimeError("the pool is closed, or the program is ending: it takes no more work")
            if self._run is None or not self._run.work.is_open():
                options = self._options.replace(deadline=None)  # there is no whole that it could be for
                run = Run(call, ((),), options, ListSink([]), caller_helps=False)
                run.job.shape = FULL
                kind: Callable[..., FutureWork] = FutureWork
                if options.by_key is not None:
                    from whichpool._run.admission import keyed

                    kind = keyed(FutureWork)
                run.work = kind(run.job, limit=options.limit, local_is_fine=options.plan == "auto")
                run.usable = getattr(run.work, "usable", None)
                run.open_ended = run.apart = True
                try:
                    run.start()
                except BaseException:
                    run.abort()
                    raise
                self._run = _unfinished[run.work] = run
            return self._run

    def close(self, *, wait: bool, cancel: bool) -> None:
        """Take nothing more; see `Pool.close`."""
        if self._pid == os.getpid():
            with self._lock:  # no run is just beginning
                self._closed = True
        self._closed = True
        run = self._run
        if run is None or self._pid != os.getpid():
            return
        work = run.work
        assert isinstance(work, FutureWork)
        if cancel:
            work.cancel_waiting()
        work.end()
        if not wait or getattr(_telling, "work", None) is work or run.is_here():
            return  # in a call, or in a future's callback: it would wait for itself
        work.caller = get_ident()
        _wait(run)

    def report(self) -> RunReport | None:
        """How the calls run, and why."""
        return self._run.report() if self._run is not None else None
