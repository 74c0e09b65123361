"""Pickling by value: what lives in the main script, or has no importable name, travels as it is.

cloudpickle does all of it but one common thing: a function under `functools.cache` or `lru_cache` pickles itself by
name. Its wrapped function travels here instead, and gets an empty cache of its own on the other side. And large bytes
that a function has captured, or finds among its globals, stay out of the pickle.
"""

from __future__ import annotations

import functools
import io
import sys
from types import CellType, FunctionType

import cloudpickle

from .apart import Wrapped, is_large

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["dumps", "dumps_loosely"]

_CACHED = type(functools.cache(abs))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no type hints
    wrapped: Wrapped

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is _CACHED and not _found_by_name(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters(), dict(obj.__dict__))
        if type(obj) is CellType:
            try:
                value: Any = obj.cell_contents
            except ValueError:
                value = None  # not set yet
            if is_large(value):
                return CellType, (self.wrapped(value),)
        reduced = super().reducer_override(obj)
        if type(obj) is FunctionType and reduced is not NotImplemented:
            _loosen_globals(reduced, self.wrapped)
        return reduced


class _LoosePickler(_Pickler):
    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        return self.wrapped.reduction(obj) if reduced is NotImplemented else reduced


def _loosen_globals(reduced: Any, wrapped: Wrapped) -> None:
    """Of the globals that a function of the main script names, and that travel with it."""
    try:
        names = reduced[2][1]["__globals__"]
    except (IndexError, KeyError, TypeError):
        return  # another version of cloudpickle: they stay in the pickle
    for name, value in names.items():
        names[name] = wrapped(value)


def _found_by_name(obj: Any) -> bool:
    if obj.__module__ == "__main__":
        return False
    found: Any = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _cached(fn: Callable[..., Any], how: dict[str, Any], attributes: dict[str, Any]) -> Any:
    made = functools.lru_cache(**how)(fn)
    made.__dict__.update(attributes)
    return made


def dumps(obj: object, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """As `pickle.dumps`, by value where by reference will not do.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    return _dumps(_Pickler, obj, protocol, buffer_callback)


def dumps_loosely(
    obj: object, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None
) -> bytes:
    """As `dumps`, with large bytes in attributes and in arguments of a `partial` out of band as well.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    return _dumps(_LoosePickler, obj, protocol, buffer_callback)


def _dumps(
    kind: type[_Pickler], obj: object, protocol: int, buffer_callback: Callable[[Any], Any] | None
) -> bytes:
    with io.BytesIO() as file:
        pickler = kind(file, protocol=protocol, buffer_callback=buffer_callback)
        pickler.wrapped = Wrapped()
        pickler.dump(obj)
        return file.getvalue()
