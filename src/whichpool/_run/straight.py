"""The loop's own way through an iterable of unknown length: nothing is taken before what came earlier has been run.

A part of `Work` (it is its base class, and uses its locks and its books), in a file of its own.
"""

from __future__ import annotations

from itertools import islice

from whichpool._pools.base import Batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Iterator
    from typing import Any

    from whichpool._run.feeder import Feeder
    from whichpool._run.gate import Gate
    from whichpool._run.sinks import ListSink, StreamSink, TreeSink

__all__ = ["Straight"]


class Straight:
    """See the module's text."""

    if TYPE_CHECKING:
        length: int | None
        sink: ListSink | StreamSink | TreeSink
        taken: int
        done: int
        exhausted: bool
        error: BaseException | None
        _items: Iterator[Any]
        _limit: int | None
        _running: dict[int, Batch]
        _returned: list[Batch]
        _local: list[Batch]
        _feeder: Feeder | None
        _lock: LockType
        _gate: Gate

        def put(
            self, batch: Batch, values: list[Any], error: BaseException | None = None, *, unrun: int = 0
        ) -> None: ...
        def _started(self, batch: Batch) -> Batch: ...
        def _stop(self, at: int, error: BaseException, item: Any = None, of_items: bool = False) -> None: ...
        def _settle(self) -> None: ...

    def run_through(self, most: int, call: Callable[[Any], Any]) -> int:
        """Take an item, run it, take the next, as the loop does, so many times at the most; returns how many.

        For the loop over an iterable of unknown length: nothing is taken before what came before it has been run.
        """
        values: list[Any] = []
        items: list[Any] = []
        error: BaseException | None = None

        def noted() -> Iterator[Any]:
            for item in islice(self._items, most):
                items.append(item)
                yield item

        with self._gate:
            if self._feeder is not None:  # it came, and has taken all, while the lock was waited for
                return 0
            try:
                values.extend(map(call, noted()))
            except BaseException as raised:
                error = raised
            with self._lock:
                batch = self._started(Batch(self.taken, items))
                self.taken += len(items)
                if isinstance(error, KeyboardInterrupt):
                    pass
                elif error is not None and len(items) == len(values):
                    self._stop(self.taken, error, of_items=True)
                    error = None
                elif error is None and len(values) < len(items):
                    error = StopIteration(
                        "whichpool: the function raised StopIteration; what it carried is lost"
                    )
                elif error is None and len(items) < most:
                    self.exhausted = True
        if isinstance(error, KeyboardInterrupt):
            self.put(batch, values, unrun=len(items) - len(values))
            raise error
        self.put(batch, values, error)
        return len(items)

    def streak(self, most: int, call: Callable[[Any], Any], timed: Callable[[Any], Any]) -> Iterator[Any]:
        """As `run_through`, but each result is given to the consumer before the next item is taken.

        ``timed`` is ``call`` with a clock, for the first item: what the consumer does in between must not be measured.
        Gives nothing while earlier items are elsewhere: their results come first.
        """
        count = 0
        error: BaseException | None = None
        of_items, item = True, None
        with self._gate:
            with self._lock:
                if (
                    self._feeder is not None
                    or self._running
                    or self._returned
                    or self._local
                    or self.sink.waiting
                ):
                    return
            try:
                run = timed
                for item in islice(self._items, most):
                    of_items = False
                    value = run(item)
                    run = call
                    of_items = True
                    count += 1
                    yield value
                self.exhausted = count < most
            except GeneratorExit:
                raise
            except KeyboardInterrupt:
                raise
            except BaseException as raised:
                error = raised
            finally:
                with self._lock:
                    self.sink.skip(count)  # type: ignore[union-attr]  # only a stream has streaks
                    self.taken += count
                    self.done += count
        with self._lock:
            if error is not None and not of_items:
                batch = self._started(Batch(self.taken, [item]))
                self.taken += 1
            elif error is not None:
                self._stop(self.taken, error, of_items=True)
            self._settle()
        if error is not None and not of_items:
            self.put(batch, [], error)

    @property
    def goes_through(self) -> bool:
        """Whether `run_through` or `streak` is how the loop should go on: nothing is elsewhere, nothing limits it."""
        return (
            self.length is None
            and self._feeder is None
            and not self._running
            and not self._returned
            and self._limit is None
            and not self.exhausted
            and self.error is None
        )
