"""`whichpool.Executor`: the pool with the face of the standard library."""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import Executor as StandardExecutor
from weakref import WeakSet

from whichpool._pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import ParamSpec, TypeVar, Unpack

    from whichpool._records import RunReport
    from whichpool._run.options import AnyOptions

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Executor"]

_executors: WeakSet[Executor] = WeakSet()


def _at_exit() -> None:
    """The program has ended: as the standard's executors do, run what was submitted to those that are still open."""
    for executor in list(_executors):
        executor.shutdown()


# Before daemon threads and workers are ended, unlike `atexit`; it is what `concurrent.futures` uses.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)


class Executor(StandardExecutor):
    """A `Pool` as a `concurrent.futures.Executor`, for code that wants one.

    Args:
        **options: See `whichpool.map`; whatever ``on_error`` says, an executor's futures raise.

    Raises:
        PlanError: An option that cannot be.

    >>> with Executor(plan="threads") as executor:
    ...     list(executor.map(pow, [2, 3], [5, 2]))
    [32, 9]
    """

    def __init__(self, **options: Unpack[AnyOptions]) -> None:
        if options.get("journal") is not None:
            from whichpool.errors import PlanError

            raise PlanError("journal= is for map, imap and map_reduce: an executor's calls are single ones")
        self._pool = Pool(**options)
        _executors.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have one call made.

        Raises:
            RuntimeError: After `shutdown`.
        """
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except RuntimeError as error:
            raise RuntimeError("cannot schedule new futures after shutdown") from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; with ``wait``, return when all has ended."""
        self._pool.close(wait=wait, cancel=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        """As the standard's: wait for all that was submitted. After Ctrl-C and the like, drop what has not begun."""
        self.shutdown(cancel_futures=kind is not None and not issubclass(kind, Exception))

    @property
    def report(self) -> RunReport | None:
        """How the calls run, and why; ``None`` before the first one."""
        return self._pool.report

    def __repr__(self) -> str:
        return f"<whichpool.Executor {self._pool!r}>"
