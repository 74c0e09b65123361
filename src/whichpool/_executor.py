"""`whichpool.Executor`: the pool with the face of the standard library."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor as StandardExecutor
from itertools import islice

from whichpool._pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import Any, ParamSpec, TypeVar, Unpack

    from whichpool._records import RunReport
    from whichpool._run.options import AnyOptions

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Executor"]


class Executor(StandardExecutor):
    """A `Pool` as a `concurrent.futures.Executor`, for code that wants one.

    What was submitted is done, also after the last reference to the executor is gone, and before the program ends.

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

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have one call made.

        Raises:
            RuntimeError: After `shutdown`, or while the program ends.
        """
        if self._pool._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except RuntimeError as error:
            if self._pool._closed:
                raise RuntimeError("cannot schedule new futures after shutdown") from error
            raise

    def map(
        self,
        fn: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of ``fn(*args)`` for the items of the iterables, in order, each as a call of its own.

        Args:
            fn: As for `submit`.
            *iterables: As for the built-in `map`. All that they give is submitted at once, unless there is a buffer.
            timeout: Seconds from now, after which a result that is asked for and not there is a `TimeoutError`.
            chunksize: Accepted, as by the standard's executors; how many calls are sent together is measured.
            buffersize: So many calls at most are submitted whose results have not been asked for; the iterables are
                taken from as results are. As in Python 3.14, on every Python. ``None``: no bound.

        Raises:
            TypeError: ``buffersize`` is no whole number.
            ValueError: It is below 1.
        """
        from time import monotonic

        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize must be an integer or None, not {buffersize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or above 0, not {buffersize}")
        until = None if timeout is None else monotonic() + timeout
        calls = zip(*iterables, strict=False)
        futures: deque[Future[T]] = deque()
        try:
            for args in islice(calls, buffersize):
                futures.append(self.submit(fn, *args))
        except BaseException:
            _cancel(futures)  # nobody will ever ask for them
            raise

        def results() -> Iterator[T]:
            try:
                while futures:
                    future = futures.popleft()
                    try:
                        result = future.result(None if until is None else until - monotonic())
                    finally:
                        future.cancel()  # if it was not there in time
                        del future  # its exception holds this frame
                    if buffersize is not None:
                        for args in islice(calls, 1):
                            futures.append(self.submit(fn, *args))
                    yield result
                    del result  # it is the consumer's
            finally:
                _cancel(futures)

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; with ``wait``, return when all has ended.

        In a call that runs on a thread of the executor, and in a future's callback, it does not wait: it would for
        itself.
        """
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


def _cancel(futures: deque[Future[Any]]) -> None:
    while futures:
        futures.popleft().cancel()
