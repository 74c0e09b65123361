"""A thread that takes from an iterable ahead of the worker processes, so that nobody else waits for it."""

from __future__ import annotations

import threading

from whichpool._pools.base import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from whichpool._run.gate import Gate

__all__ = ["Feeder"]


class Feeder:
    """Takes item by item, about two batches ahead at the most.

    Args:
        items: What to take from; nobody else does from now on, which ``gate`` makes sure of.
        gate: Passed by who takes from the iterable.
        wanted: Whether anything is wanted still.
        news: Called when there is something after somebody found nothing, and at the end.
    """

    def __init__(
        self, items: Iterator[Any], gate: Gate, wanted: Callable[[], bool], news: Callable[[], object]
    ) -> None:
        self.error: BaseException | None = None  # what the iterable raised
        self._items = items
        self._gate = gate
        self._wanted = wanted
        self._news = news
        self._fed: list[Any] = []
        self._most = 1
        self._ended = False
        self._hungry = False
        self._signal = Signal()

    def start(self) -> None:
        """Begin to take.

        Raises:
            RuntimeError: The system starts no more threads.
        """
        threading.Thread(target=self._main, name="whichpool-feeder", daemon=True).start()

    def take(self, most: int, batch: int) -> list[Any]:
        """What is there, ``most`` at the most; the next time about ``batch`` will be wanted. One caller at a time."""
        self._most = batch
        self._hungry = not self._fed
        items = self._fed[:most]
        del self._fed[: len(items)]
        if items:
            self._signal.set()
        return items

    @property
    def over(self) -> bool:
        """Whether all was taken and given."""
        return self._ended and not self._fed

    def go_on(self) -> None:
        """Look again whether anything is wanted."""
        self._signal.set()

    def _main(self) -> None:
        fed = self._fed
        try:
            with self._gate:
                for item in self._items:
                    fed.append(item)
                    if self._hungry:
                        self._hungry = False
                        self._news()
                    while self._wanted() and len(fed) >= 2 * self._most:
                        self._signal.wait()
                    if not self._wanted():
                        return
        except BaseException as error:
            self.error = error
        self._ended = True
        self._news()
