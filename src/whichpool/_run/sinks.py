"""Where results go. The work calls a sink under its lock, once for each batch, in any order."""

from __future__ import annotations

from whichpool._worker.calls import NOTHING, Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any


class ListSink:
    """Results in the order of the items, as a list that grows by whole prefixes."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self._early: dict[int, list[Any]] = {}
        self._next = 0

    def accept(self, start: int, values: list[Any]) -> None:
        if start != self._next:
            self._early[start] = values
            return
        while True:
            self.values.extend(values)
            self._next += len(values)
            if not self._early:
                return
            following = self._early.pop(self._next, None)
            if following is None:
                return
            values = following

    def forget(self) -> None:
        """Let go of what is there; indexes go on."""
        self.values.clear()

    @property
    def waiting(self) -> int:
        """Results that are there and that nobody has taken: none, a list takes them all."""
        return 0


class StreamSink:
    """Results that a consumer takes one by one, in order or as they come."""

    def __init__(self, ordered: bool) -> None:
        from collections import deque  # 1 ms, which a list does not need

        self.ready: deque[Any] = deque()
        self._ordered = ordered
        self._early: dict[int, list[Any]] = {}
        self._next = 0
        self.held = 0  # results that wait for an earlier one

    @property
    def awaited(self) -> int | None:
        """The item for whose result the others wait; ``None``: they wait for none."""
        return self._next if self._ordered else None

    def skip(self, count: int) -> None:
        """So many results were given to the consumer directly."""
        self._next += count

    def accept(self, start: int, values: list[Any]) -> None:
        if not self._ordered:
            self.ready.extend(values)
            return
        if start != self._next:
            self._early[start] = values
            self.held += len(values)
            return
        self.ready.extend(values)
        self._next += len(values)
        while self._early and self._next in self._early:
            values = self._early.pop(self._next)
            self.held -= len(values)
            self.ready.extend(values)
            self._next += len(values)

    @property
    def waiting(self) -> int:
        """Results that are there and that nobody has taken."""
        return len(self.ready) + self.held


class TreeSink:
    """A reduction; see `calls.Tree` for why its result does not depend on the plan."""

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self.tree = Tree(combine)

    def accept(self, start: int, values: list[Any]) -> None:
        for offset, value in enumerate(values):
            self.tree.add(0, start + offset, value)

    def accept_nodes(self, nodes: list[tuple[int, int, Any]]) -> None:
        """What a worker has combined already."""
        for node in nodes:
            self.tree.add(*node)

    @property
    def waiting(self) -> int:
        return 0


__all__ = ["NOTHING", "ListSink", "StreamSink", "TreeSink"]
