"""Results one by one, as `imap` gives them."""

from __future__ import annotations

from _collections_abc import Iterator  # what `collections.abc` is made of, without `collections`
from time import perf_counter

from whichpool._worker.calls import NOTHING

try:
    from time import thread_time
except ImportError:  # pragma: no cover  (no per-thread CPU clock on this platform)
    from time import process_time as thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self, TypeVar

    from whichpool._records import RunReport
    from whichpool._run.run import Run
    from whichpool._run.sinks import StreamSink

    R = TypeVar("R")

# Who has waited elsewhere for more than this share of the time is not counted on to run items beside worker processes:
# with one worker half of it would be lost. A consumer that computes takes a core in any case. A guess.
ABSENT_SHARE = 0.1


class Whereabouts:
    """Where the consumer is. Not the iterator itself: the run holds on to this, and must not keep that alive."""

    __slots__ = ("_gone", "_waited_s")

    def __init__(self) -> None:
        self._gone: tuple[float, float] | None = None  # since when it is elsewhere, with its CPU clock then
        self._waited_s = 0.0  # elsewhere

    def goes(self) -> None:
        """It has a result."""
        self._gone = perf_counter(), thread_time()

    def comes(self) -> None:
        """It wants the next one."""
        if self._gone is not None:
            (since, cpu), self._gone = self._gone, None
            self._waited_s += max(perf_counter() - since - (thread_time() - cpu), 0.0)

    def is_absent(self, began: float, cpu: Callable[[], float] | None) -> bool:
        """Whether it waits elsewhere too much of the time, since then, to run items beside worker processes.

        Args:
            began: When the run did.
            cpu: The clock of the consumer's CPU, for any thread to read; ``None``: there is none.
        """
        gone, waited_s = self._gone, self._waited_s
        now = perf_counter()
        if gone is not None:
            waited_s += max(now - gone[0] - (cpu() - gone[1] if cpu is not None else 0.0), 0.0)
        return waited_s > ABSENT_SHARE * (now - began)


class Lazy(Iterator["R"]):
    """The results of `imap`, one after the other. Close it, or use it up; a ``with`` block does so too.

    Attributes:
        report: What ran, and why; while it runs, as it stands.
    """

    def __init__(self, run: Run, sink: StreamSink) -> None:
        self._run = run
        self._ready = sink.ready
        self._begun = False
        self._streak: Iterator[Any] | None = None
        self._whereabouts = Whereabouts()
        run.absent = self._whereabouts.is_absent

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        ready = self._ready
        while True:
            if self._streak is not None:
                try:
                    given: Any = next(self._streak, NOTHING)
                except BaseException as error:
                    self._run.abort(error)
                    raise
                if given is not NOTHING:
                    return given  # type: ignore[no-any-return]
                self._streak = None
            if not ready:
                self._fill()
            if self._streak is None:
                break
        value: R = ready.popleft()
        if self._run.work.pace.starved:
            self._run.work.consumed()
        return value

    def _fill(self) -> None:
        """Return when a result is there.

        Raises:
            StopIteration: There are no more.
        """
        run = self._run
        self._whereabouts.comes()
        try:
            run.keys.listen()
            there_is_one = self._wait()
            run.keys.leave(tell=True)
        except BaseException as error:
            run.abort(error)
            raise
        if not there_is_one:
            raise StopIteration
        self._whereabouts.goes()

    def _wait(self) -> bool:
        """Run items, or wait while others do, until a result is there; False: there are no more."""
        run, ready = self._run, self._ready
        work = run.work
        if not self._begun:
            self._begun = True
            run.start()
        while not ready:
            if not work.is_open():
                if ready:
                    break
                run.finish()
                try:
                    run.raise_error()
                except StopIteration as error:
                    # As in a generator (PEP 479): it must not look like the end of the results.
                    raise RuntimeError("the function raised StopIteration") from error
                return False
            if run.may_go_through():
                self._streak = run.streak()
                break
            if not run.help(once=True) and not ready and work.is_open():
                work.caller_signal.wait(run.progress_due())
            run.keys.check()
            run.tell()
        return True

    def close(self) -> None:
        """Drop what has not been asked for; worker processes that are still at it are ended."""
        self._streak = None
        self._run.abort()
        self._ready.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._begun:
            self._run.abort()

    @property
    def report(self) -> RunReport:
        """What ran, and why."""
        return self._run.report()
