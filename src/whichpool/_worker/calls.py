"""What a call means, the same in the parent and in a worker: its seed, its error on the wire, its place in a reduction.

Standard library only, and little of it: the plain loop loads this too, so `pickle` (6 ms) waits until it is wanted.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    PackedError = tuple[bytes | None, str, str, str]
    ContextValue = tuple[str, str, bytes]  # module, name there, pickled value
    ModuleValue = tuple[str, str, Any]  # module, name there, value
    Node = tuple[int, int, Any]  # level, position on that level, value

# The type name under which an error says that the result, not the function, is at fault.
CANNOT_RETURN = "whichpool.CannotTravel"

# How a batch's items become the arguments of the call.
ONE = 0  # fn(item)
STAR = 1  # fn(*item)
FULL = 2  # fn(*item[0], **item[1])


class Job:
    """All that a worker must know to run items of one call of whichpool. Travels once to each worker."""

    __slots__ = ("combine", "context", "fn", "keep_going", "numpy", "seed", "shape", "state", "watch")

    def __init__(
        self,
        fn: Callable[..., Any],
        shape: int = ONE,
        *,
        combine: Callable[[Any, Any], Any] | None = None,
        keep_going: bool = False,
        seed: int | None = None,
        numpy: bool = False,
        watch: frozenset[str] | None = None,
    ) -> None:
        self.fn = fn
        self.shape = shape
        self.combine = combine
        self.keep_going = keep_going  # an item's failure does not end the batch
        self.seed = seed
        self.numpy = numpy  # NumPy's global state is seeded too
        self.watch = watch  # names that may change; None: do not watch at all
        self.state: bytes | None = None  # what the program has set in modules that the function reads
        self.context: list[ContextValue] = []  # context variables of the caller that are not at their default

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        for name, value in zip(self.__slots__, state, strict=True):
            setattr(self, name, value)

    def caller(self) -> Callable[[Any], Any]:
        """``fn`` as a function of one item."""
        fn = self.fn
        if self.shape == ONE:
            return fn
        if self.shape == STAR:
            return lambda item: fn(*item)
        return lambda item: fn(*item[0], **item[1])


def reseed(seed: int, index: int, numpy: bool) -> None:
    """Put the global random generators where item ``index`` finds them on every plan.

    The string form of the seed makes neighbouring indexes unrelated: `random.seed` hashes it with SHA-512.
    """
    import random

    random.seed(f"{seed}/{index}")
    if numpy:
        import numpy as np

        np.random.seed(random.Random(f"{seed}/{index}/numpy").getrandbits(32))


def pack_error(error: BaseException, skip_frames: int = 1) -> PackedError:
    """An exception as (pickle or None, qualified type name, text, traceback as text).

    The pickle is there only if it also loads: many exceptions with an ``__init__`` of their own pickle well and
    cannot be loaded, and would break the reader instead.
    """
    import pickle
    import traceback

    trace = error.__traceback__
    for _ in range(skip_frames):
        trace = trace.tb_next if trace is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        text = f"{type(error).__name__} (its traceback could not be formatted)\n"
    try:
        message = str(error)
    except Exception:
        message = "(its text could not be made)"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        data = dump_anything(error)
        loads = type(pickle.loads(data)) is kind or kind.__module__ == "__main__"
    except BaseException:
        return None, name, message, text
    return data if loads else None, name, message, text


def dump_anything(obj: object) -> bytes:
    """Pickle by reference where the other side can find it, else by value."""
    import pickle

    try:
        data = pickle.dumps(obj, protocol=5)
        if b"__main__" not in data:
            return data
    except Exception:
        pass
    from . import byvalue

    return byvalue.dumps(obj)


class Nothing:
    """Stands where an item failed and was left out of a reduction."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()


class Tree:
    """A reduction whose shape depends on the number of items alone, not on who ran which batch.

    Values sit at the leaves of the binary tree over the indexes 0, 1, 2, ...; a node is combined as soon as both of
    its halves are there. So every plan combines the same pairs, and floats come out the same to the last bit.

    >>> tree = Tree(lambda a, b: a + b)
    >>> for level, place, value in [(0, 2, "c"), (0, 0, "a"), (0, 1, "b")]:
    ...     tree.add(level, place, value)
    >>> tree.total()
    'abc'
    """

    __slots__ = ("_combine", "_nodes")

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self._combine = combine
        self._nodes: dict[tuple[int, int], Any] = {}

    def add(self, level: int, place: int, value: Any) -> None:
        """Put in the node that covers indexes ``place * 2**level`` up to the next such node."""
        nodes = self._nodes
        while (level, place ^ 1) in nodes:
            other = nodes.pop((level, place ^ 1))
            value = self._join(other, value) if place & 1 else self._join(value, other)
            level, place = level + 1, place >> 1
        nodes[level, place] = value

    def _join(self, left: Any, right: Any) -> Any:
        if left is NOTHING:
            return right
        return left if right is NOTHING else self._combine(left, right)

    def nodes(self) -> list[Node]:
        """What is left uncombined, from left to right."""
        return [
            (level, place, value)
            for (level, place), value in sorted(self._nodes.items(), key=lambda n: n[0][1] << n[0][0])
        ]

    def total(self) -> Any:
        """Combine what is left, from left to right; `NOTHING` if there is nothing."""
        result: Any = NOTHING
        for _, _, value in self.nodes():
            result = self._join(result, value)
        return result


def fold(combine: Callable[[Any, Any], Any], nodes: Iterable[Node]) -> Tree:
    """A tree of these nodes."""
    tree = Tree(combine)
    for node in nodes:
        tree.add(*node)
    return tree


def short_repr(item: object, width: int = 80) -> str:
    """A ``repr`` for messages: at most ``width`` characters, and never an exception."""
    import reprlib

    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = width
    try:
        text = brief.repr(item)
    except Exception:
        text = f"<{type(item).__name__}, whose repr fails>"
    return text if len(text) <= width else text[: width - 3] + "..."


def numpy_matters(fn: object) -> bool:
    """Whether ``seed=`` must cover NumPy: it is loaded, or the function names it."""
    if "numpy" in sys.modules:
        return True
    code = getattr(fn, "__code__", None)
    return code is not None and "numpy" in code.co_names
