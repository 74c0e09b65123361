"""What the pickler would copy into the pickle though it is large: ``bytes``, ``bytearray``, arrays that are files.

The C pickler asks nobody about these, so they are wrapped before it comes: the top level of a batch, and two levels of
containers in it (an item's arguments, and what is in one of them). A batch is looked through if its first item is
large bytes, or the one before held any, or its pickle has turned out large; that one is then made again.
A function whose pickle is large is looked through by a pickler of its own: it is made once a run.
"""

from __future__ import annotations

import _pickle as pickle
import copyreg
import io
import os
import sys
from functools import partial

from .wire import OUT_OF_BAND_BYTES, dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Apart", "Loose", "Wrapped", "dumps_loosely", "is_large"]

# A container with more elements than this is taken to hold small things. A guess.
LONG = 64
# A pickle with fewer bytes than this for each item is not looked through: a look costs 30 ns an item, copying so
# many bytes about 100.
LOOK_BYTES = 1024
_BYTES = frozenset([bytes, bytearray])


class Loose:
    """``bytes`` or ``bytearray`` whose content stays out of the pickle. Arrives as what it was, a copy of its own."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self.value), (pickle.PickleBuffer(self.value),)


class Named:
    """An array that is part of a file: travels as the name of the file, and where in it."""

    __slots__ = ("how",)

    def __init__(self, how: tuple[Any, ...]) -> None:
        self.how = how

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return open_array, self.how


def open_array(path: str, dtype: Any, mode: str, offset: int, shape: tuple[int, ...], order: Any) -> Any:
    """The array on the other side; the first moment at which NumPy may be loaded for it."""
    import numpy as np

    return np.memmap(path, dtype, mode, offset, shape, order)  # type: ignore[call-overload]


class Apart:
    """Pickles batches; learns whether they hold large things. ``by_name``: arrays that are files travel by name."""

    __slots__ = ("_by_name", "_found")

    def __init__(self, by_name: bool = False) -> None:
        self._by_name = by_name
        self._found = False

    def dumps(
        self, items: list[Any], dumper: Callable[..., bytes] = pickle.dumps, rest: tuple[Any, ...] = ()
    ) -> tuple[bytes, list[memoryview]]:
        """As `wire.dumps`: of the items, or of a tuple of them and the ``rest``.

        Raises:
            Exception: Something cannot be pickled; whatever pickling raised.
        """
        loose = items
        if self._found or (items and type(items[0]) in _BYTES):
            loose = self._loosened(items)
            self._found = loose is not items
        body, buffers = dumps((loose, *rest) if rest else loose, dumper)
        if len(body) >= OUT_OF_BAND_BYTES and loose is items and len(body) >= LOOK_BYTES * len(items):
            loose = self._loosened(items)
            if loose is not items:
                self._found = True
                body, buffers = dumps((loose, *rest) if rest else loose, dumper)
        return body, buffers

    def _loosened(self, items: list[Any]) -> list[Any]:
        """The items, with what is large in wrappers; the same list if there is nothing to wrap."""
        memmap: Any = getattr(sys.modules.get("numpy"), "memmap", None) if self._by_name else None
        known: dict[int, Any] = {}  # what was one object before is one afterwards

        def look(value: Any, depth: int) -> Any:
            kind = type(value)
            if kind is bytes or kind is bytearray:
                if len(value) < OUT_OF_BAND_BYTES:
                    return value
                return known.setdefault(id(value), Loose(value))
            if kind is tuple or kind is list or kind is dict:
                if not depth or not 0 < len(value) <= LONG:
                    return value
                if id(value) in known:
                    return known[id(value)]
                parts = list(value.values()) if kind is dict else value
                looked = [look(part, depth - 1) for part in parts]
                made = value
                if any(new is not old for new, old in zip(looked, parts, strict=True)):
                    made = dict(zip(value, looked, strict=True)) if kind is dict else kind(looked)
                known[id(value)] = made
                return made
            if memmap is not None and kind is memmap and value.nbytes >= OUT_OF_BAND_BYTES:
                if id(value) not in known:
                    how = _place_in_file(value)
                    known[id(value)] = value if how is None else Named(how)
                return known[id(value)]
            return value

        looked = [look(item, 2) for item in items]
        return looked if any(new is not old for new, old in zip(looked, items, strict=True)) else items


class Wrapped:
    """What one pickler has in wrappers: what was one object before is one afterwards."""

    def __init__(self) -> None:
        self._known: dict[int, Loose] = {}

    def __call__(self, value: Any) -> Any:
        """The value, in a wrapper if it is large bytes."""
        return self._known.setdefault(id(value), Loose(value)) if is_large(value) else value

    def reduction(self, obj: Any) -> Any:
        """For `reducer_override`: what an object is made of, its large bytes wrapped; ``NotImplemented``: it has none.

        Looked at are the arguments of a `partial` and the attributes of an instance, not what is in them: a container
        would have to be copied, and may be one that other objects hold too.
        """
        kind = type(obj)
        if isinstance(obj, type) or kind in copyreg.dispatch_table:
            return NotImplemented
        if kind is partial:
            held = [*obj.args, *obj.keywords.values()]
        else:
            try:
                held = [*object.__getattribute__(obj, "__dict__").values()]
            except AttributeError:
                return NotImplemented
        if not any(map(is_large, held)):
            return NotImplemented
        reduced = obj.__reduce_ex__(5)
        if type(reduced) is not tuple or len(reduced) < 3:
            return reduced
        state = reduced[2]
        if kind is partial:
            fn, args, keywords, attributes = state
            state = fn, tuple(map(self, args)), {name: self(keywords[name]) for name in keywords}, attributes
        elif type(state) is dict:
            state = {name: self(value) for name, value in state.items()}
        return (*reduced[:2], state, *reduced[3:])


def is_large(value: Any) -> bool:
    """Whether these are bytes that the C pickler would copy, and there are many."""
    return type(value) in _BYTES and len(value) >= OUT_OF_BAND_BYTES


class _Pickler(pickle.Pickler):
    wrapped: Wrapped

    def reducer_override(self, obj: Any) -> Any:
        return self.wrapped.reduction(obj)


def dumps_loosely(
    obj: object, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None
) -> bytes:
    """As `pickle.dumps`, with what `Wrapped` finds out of band.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    with io.BytesIO() as file:
        pickler = _Pickler(file, protocol, buffer_callback=buffer_callback)
        pickler.wrapped = Wrapped()
        pickler.dump(obj)
        return file.getvalue()


# So many bytes at both ends of an array are compared with the file of its name.
_SAMPLE_BYTES = 4096


def _place_in_file(array: Any) -> tuple[Any, ...] | None:
    """How to open the array by name; ``None``: it must travel by value.

    A copy-on-write map may have been written, which its file does not show. The file of that name may be another one
    by now, or gone. A view with gaps is not what a new map could be.
    """
    try:
        import mmap

        whole, path, mode = array._mmap, array.filename, array.mode
        order = "C" if array.flags.c_contiguous else "F" if array.flags.f_contiguous else None
        if type(whole) is not mmap.mmap or path is None or order is None or array.dtype.hasobject:
            return None
        if mode not in ("r", "r+", "w+"):
            return None
        mode = "r" if mode == "r" or not array.flags.writeable else "r+"
        numpy = sys.modules["numpy"]
        base = numpy.frombuffer(whole, dtype="u1").__array_interface__["data"][0]
        # `offset` is that of the map that this is a view of; the map itself begins at a multiple of the granularity.
        begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        within = array.__array_interface__["data"][0] - base
        if not 0 <= within <= len(whole) - array.nbytes:
            return None
        offset, path = begin + within, os.path.abspath(path)
        with open(path, "rb" if mode == "r" else "r+b", buffering=0) as file:
            for at in (within, within + array.nbytes - _SAMPLE_BYTES):
                file.seek(begin + at)
                if file.read(_SAMPLE_BYTES) != whole[at : at + _SAMPLE_BYTES]:
                    return None
        return path, array.dtype, mode, offset, array.shape, order
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
