"""The thread beside the caller's: it listens, and goes on as the governor once a decision is worth its cost.

It begins as a bare thread, since most runs are over while it listens. What may run the caller's code (iterables,
callbacks), which may ask which thread it is on, goes on as a proper one.
"""

from __future__ import annotations

import atexit
import os
from _thread import allocate_lock, start_new_thread
from sys import version_info

from whichpool._pools.base import LOOK_UP_S, Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from whichpool._measure.gil import QuickSwitching
    from whichpool._run.run import Run

__all__ = ["Overseer"]


# An aborted run waits so long for a thread that only listens, and so does the end of the program: it has been told to
# end, and is about to. Seconds.
GOING_S = 0.2

_running: set[Overseer] = set()


def _wait_for_all() -> None:
    """At the end of the program: CPython 3.12 can crash if a thread comes to its own end while it is torn down."""
    for overseer in list(_running):
        overseer.stop(GOING_S)
        overseer.wait(GOING_S)


atexit.register(_wait_for_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)


class Overseer:
    """Started at most once in a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ended: Signal | None = None
        self.acting = allocate_lock()  # held by the governor while it brings in workers

    @property
    def at_work(self) -> bool:
        """Whether there is such a thread, so that the caller's need not serve worker processes itself."""
        return self._ended is not None

    def watch(self) -> None:
        """Listen to the loop, and decide about it once that is worth it."""
        self._ended = Signal()
        if version_info < (3, 13):
            # Imported on another thread, it would take that for the program's main thread.
            import threading  # noqa: F401
        _running.add(self)
        try:
            start_new_thread(self._listen, ())
        except RuntimeError as error:  # a limit was reached, or the interpreter is ending
            _running.discard(self)
            self._ended = None
            self._run.notes.append(f"nothing was measured, because no thread could be started: {error}")

    def serve(self, what: Callable[[], object]) -> None:
        """Do this, which serves the worker processes, in place of the caller's thread.

        Raises:
            RuntimeError: The system starts no thread.
        """
        self._ended = Signal()
        try:
            self._go_on_as_thread(what)
        except RuntimeError:
            self._ended = None
            raise

    def _listen(self) -> None:
        worth_it, quick = False, None
        try:
            from whichpool._run.listen import listen

            if self._run.earlier is not None:  # it will not be listened to for long
                from whichpool._measure.gil import QuickSwitching

                quick = QuickSwitching()
            worth_it = listen(self._run)
        except BaseException as error:  # whatever it is, the caller must not wait for ever
            self._run.work.fail(error)
        if worth_it:
            # From here on, and not only for the governor: `threading` alone lets go of the GIL so often while it loads
            # that beside a function that holds it this took a third of a second.
            from whichpool._measure.gil import QuickSwitching

            quickly = quick or QuickSwitching()

            def govern() -> None:
                self._govern(quickly)

            try:
                self._go_on_as_thread(govern)
            except RuntimeError:  # as above; this thread is there
                self._main(govern)
        else:
            if quick is not None:
                quick.end()
            self._run.profile.heart.rest()
            self._end()

    def _end(self) -> None:
        """The last that the thread does."""
        _running.discard(self)
        if self._ended is not None:
            self._ended.set()

    def _go_on_as_thread(self, what: Callable[[], object]) -> None:
        import threading

        threading.Thread(target=self._main, args=(what,), name="whichpool-governor", daemon=True).start()

    def _main(self, what: Callable[[], object]) -> None:
        run = self._run
        try:
            what()
        except BaseException as error:  # as above
            run.work.fail(error)
        finally:
            try:
                if run.aborted:
                    run.stop_crew()
                    run.stop_threads()
                elif run.open_ended:
                    run.stop_crew()  # nobody may be waiting who would do it
            finally:
                self._end()

    def _govern(self, quick: QuickSwitching) -> None:
        from whichpool._run.listen import wake

        run = self._run
        try:
            wake(run)
            from whichpool._run.govern import Governor

            run.governed = governor = Governor(run, quick)
            try:
                governor.govern()
            finally:
                governor.close()
        finally:
            quick.end()

    def wait(self, most_s: float) -> None:
        """Until it has ended, or so long."""
        if self._ended is not None and self in _running:
            self._ended.wait(most_s)

    def stop(self, wait_s: float) -> bool:
        """Have it end, and wait so long for that, or until it has if below 0; returns whether it has."""
        ended, run = self._ended, self._run
        if ended is None:
            return True
        run.stop_signal.set()
        with self.acting:
            if run.crew is None and run.threads is None:
                # It has brought in nobody, and will not any more: it ends by itself.
                if wait_s >= 0:
                    self.wait(min(wait_s, GOING_S))
                return True
        crew = run.crew
        if crew is not None:
            crew.wake()
        if wait_s >= 0:
            return ended.wait(wait_s)
        while not ended.wait(LOOK_UP_S):
            pass
        return True
