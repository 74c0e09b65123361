"""`Pool`: options that are kept, and single calls."""

from __future__ import annotations

from _thread import allocate_lock

from whichpool import _api
from whichpool._run.options import Options, check_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any, ParamSpec, Self, TypeVar, Unpack

    from whichpool._records import RunReport
    from whichpool._run.options import AnyOptions
    from whichpool._run.stream import Stream

    P = ParamSpec("P")
    R = TypeVar("R")


class Pool:
    """Keeps options, and takes single calls; ``with`` ends it.

    Worker processes belong to the interpreter, not to a pool: every call and every pool finds those that are idle.
    What was submitted is done, also where the pool is not closed: after its last reference is gone, or when the program
    ends.

    Args:
        **options: Those of every call made through the pool, unless the call has its own; see `map`.

    Raises:
        PlanError: An option that cannot be.

    >>> with Pool(plan="threads") as pool:
    ...     pool.map(abs, [-1, 2]), pool.submit(pow, 2, 5).result()
    ([1, 2], 32)
    """

    def __init__(self, **options: Unpack[AnyOptions]) -> None:
        self._options = Options(**options)
        self._futures: Stream | None = None
        self._closed = False
        self._lock = allocate_lock()

    if TYPE_CHECKING:
        # To a type checker the methods are the functions of the same name, options and all.
        map = staticmethod(_api.map)
        imap = staticmethod(_api.imap)
        map_reduce = staticmethod(_api.map_reduce)
        explain = staticmethod(_api.explain)
    else:

        def map(self, fn, /, *iterables, **options):
            """As `whichpool.map`, with the pool's options."""
            return _api.map(fn, *iterables, **self._with(options))

        def imap(self, fn, /, *iterables, **options):
            """As `whichpool.imap`, with the pool's options."""
            return _api.imap(fn, *iterables, **self._with(options))

        def map_reduce(self, fn, items, combine, /, **options):
            """As `whichpool.map_reduce`, with the pool's options."""
            return _api.map_reduce(fn, items, combine, **self._with(options))

        def explain(self, fn, /, *iterables, **options):
            """As `whichpool.explain`, with the pool's options."""
            return _api.explain(fn, *iterables, **self._with(options))

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        self._check_open()
        return {**self._options.as_dict(), **options}

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have one call made; its result, or its exception, comes with the future.

        Args:
            fn: As for `map`.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            RuntimeError: The pool is closed.
            TypeError: ``fn`` is not callable.
        """
        self._check_open()
        check_call(fn, ((),))
        if self._options.journal is not None:
            from whichpool.errors import PlanError

            raise PlanError(
                "journal= is for map, imap and map_reduce: single calls have no place by which to know them"
            )
        futures = self._futures
        if futures is None:
            from whichpool._run.stream import Stream

            with self._lock:
                futures = self._futures
                if futures is None:
                    self._futures = futures = Stream(self._options)
        return futures.submit(fn, args, kwargs)

    def close(self, *, wait: bool = True, cancel: bool = False) -> None:
        """Take nothing more. Calling it again does nothing.

        Args:
            wait: Return when every call that was submitted has ended.
            cancel: Drop the calls that have not begun.
        """
        self._closed = True
        if self._futures is not None:
            self._futures.close(wait=wait, cancel=cancel)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        self.close(cancel=kind is not None)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the pool is closed: it takes no more work")

    @property
    def report(self) -> RunReport | None:
        """How submitted calls run, and why; ``None`` before the first one."""
        return self._futures.report() if self._futures is not None else None
