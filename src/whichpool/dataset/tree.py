"""Values of splits become one, in an order that depends on the number of splits alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Tree"]


class Tree:
    """As `whichpool.map_reduce` combines, for values that come one by one, in any order.

    They are the leaves of a binary tree over 0, 1, 2, ...; two neighbours are combined as soon as both are there. So
    the same pairs are combined whoever was first, floats come out the same to the last bit, and what waits for its
    neighbour is little: about the logarithm of their number, and as many as are out of turn.

    >>> tree = Tree(lambda a, b: f"({a}{b})")
    >>> for place in (2, 0, 4, 1, 3):
    ...     tree.add(place, "abcde"[place])
    >>> tree.total()
    '(((ab)(cd))e)'
    """

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self._combine = combine
        self._nodes: dict[tuple[int, int], Any] = {}

    def add(self, place: int, value: Any) -> None:
        """One more.

        Args:
            place: Its number among all.
            value: What is combined.
        """
        height = 0
        while (height, place ^ 1) in self._nodes:
            other = self._nodes.pop((height, place ^ 1))
            value = self._combine(other, value) if place & 1 else self._combine(value, other)
            height, place = height + 1, place >> 1
        self._nodes[height, place] = value

    def total(self, default: Any = None) -> Any:
        """All of them as one; ``default`` if there are none."""
        left = sorted(self._nodes.items(), key=lambda node: node[0][1] << node[0][0])
        if not left:
            return default
        value = left[0][1]
        for _, other in left[1:]:
            value = self._combine(value, other)
        return value
