"""Results one by one, as `imap` gives them."""

from __future__ import annotations

from _collections_abc import Iterator  # what `collections.abc` is made of, without `collections`

from whichpool._worker.calls import NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, TypeVar

    from whichpool._records import RunReport
    from whichpool._run.run import Run
    from whichpool._run.sinks import StreamSink

    R = TypeVar("R")


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
        try:
            run.keys.listen()
            there_is_one = self._wait()
            run.keys.leave(tell=True)
        except BaseException as error:
            run.abort(error)
            raise
        if not there_is_one:
            raise StopIteration

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
