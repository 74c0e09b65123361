"""Single calls, submitted one by one: an open-ended run whose items are calls, and whose results go to futures.

All calls of a pool are one stream of work: they share its threads, its workers and its measurements. Each is sent with
its own function, so nothing needs to be known of it beforehand.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from os import getpid
from threading import Lock, get_ident

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
        self._arrivals = Lock()

    def add(self, future: Future[Any], item: tuple[Any, ...]) -> None:
        """One more call."""
        self._waiting.append((future, item))
        if self._parked:
            with self._lock:
                self._wake(1)
        if self.on_arrival is not None:
            self.on_arrival()

    def end(self) -> None:
        """No more calls will be added."""
        self._closing = True
        with self._lock:
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

    def take_without_waiting(self, most: int) -> Batch | None:
        """As `take`, which here never waits."""
        return self.take(most)

    def put(self, batch: Batch, values: list[Any], error: BaseException | None = None, **more: Any) -> None:
        """As `Work.put`; whatever a call raises is its future's, even what would end a loop."""
        with self._arrivals:
            for offset, value in enumerate(values):
                self._settled.append((self._futures.pop(batch.start + offset), value))
        self._deliver()
        if error is not None and self.try_again(batch, [None] * len(values), error):
            self.sink.forget()  # type: ignore[union-attr]  # a stream's is a ListSink
            return
        if error is not None:
            at = batch.start + len(values)
            failure = Failure(at, "", error)
            with self._arrivals:
                self._settled.append((self._futures.pop(at), failure))
            more["unrun"] = len(batch) - len(values) - 1
            values = [*values, None]
        self._sink_nothing(batch, values, **more)
        self._deliver()

    def _deliver(self) -> None:
        while True:
            try:
                future, value = self._settled.popleft()
            except IndexError:
                return
            # Outside all locks: a callback may submit again.
            if isinstance(value, Failure):
                future.set_exception(value.error)
            else:
                future.set_result(value)

    def _sink_nothing(self, batch: Batch, values: list[Any], unrun: int = 0, nodes: Any = None) -> None:
        sink = self.sink
        super().put(batch, values, unrun=unrun)
        assert isinstance(sink, ListSink)
        sink.forget()

    def fail(self, error: BaseException) -> None:
        """The stream cannot go on: every call that has not ended gets this error."""
        super().fail(error)
        self.cancel_waiting()
        while self._futures:
            try:
                _, future = self._futures.popitem()
            except KeyError:
                return
            future.set_exception(error)

    @property
    def remaining(self) -> int | None:
        """Calls that have not ended, of those that were submitted so far."""
        return len(self._waiting) + self.in_progress


class Stream:
    """The submitted calls of one pool."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._run: Run | None = None
        self._lock = Lock()
        self._pid = getpid()

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """One call."""
        future: Future[Any] = Future()
        run = self._run
        if run is None or not run.work.is_open() or self._pid != getpid():
            run = self._begin()
        run.work.add(future, ((fn, args, kwargs), {}))  # type: ignore[attr-defined]  # a stream's work is FutureWork
        return future

    def _begin(self) -> Run:
        if self._pid != getpid():
            # Forked: the threads and the workers are the parent's, and so are the calls that had not ended.
            self._pid, self._run, self._lock = getpid(), None, Lock()
        with self._lock:
            if self._run is None or not self._run.work.is_open():
                options = self._options.replace(deadline=None)  # there is no whole that it could be for
                run = Run(call, ((),), options, ListSink([]), caller_helps=False)
                run.job.shape = FULL
                run.work = FutureWork(run.job, limit=options.limit, local_is_fine=options.plan == "auto")
                run.open_ended = run.apart = True
                try:
                    run.start()
                except BaseException:
                    run.abort()
                    raise
                self._run = run
            return self._run

    def close(self, *, wait: bool, cancel: bool) -> None:
        """Take nothing more; see `Pool.close`."""
        run = self._run
        if run is None or self._pid != getpid():
            return
        work = run.work
        assert isinstance(work, FutureWork)
        if cancel:
            work.cancel_waiting()
        work.end()
        if wait and work.caller != get_ident():
            work.caller = get_ident()
        if wait:
            try:
                run.keys.listen()
                while work.is_open():
                    work.caller_signal.wait(LOOK_UP_S)
                    run.keys.check()
            except BaseException:
                run.keys.leave(tell=False)
                raise
            run.finish()

    def report(self) -> RunReport | None:
        """How the calls run, and why."""
        return self._run.report() if self._run is not None else None
