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

from .apart import Loose
from .wire import OUT_OF_BAND_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["dumps"]

_CACHED = type(functools.cache(abs))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no type hints
    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is _CACHED and not _found_by_name(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters(), dict(obj.__dict__))
        if type(obj) is CellType:
            try:
                value: Any = obj.cell_contents
            except ValueError:
                value = None  # not set yet
            if type(value) in (bytes, bytearray) and len(value) >= OUT_OF_BAND_BYTES:
                return CellType, (Loose(value),)
        reduced = super().reducer_override(obj)
        if type(obj) is FunctionType and reduced is not NotImplemented:
            _loosen_globals(reduced)
        return reduced


def _loosen_globals(reduced: Any) -> None:
    """Of the globals that a function of the main script names, and that travel with it."""
    try:
        names = reduced[2][1]["__globals__"]
    except (IndexError, KeyError, TypeError):
        return  # another version of cloudpickle: they stay in the pickle
    for name, value in names.items():
        if type(value) in (bytes, bytearray) and len(value) >= OUT_OF_BAND_BYTES:
            names[name] = Loose(value)


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
    with io.BytesIO() as file:
        _Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(obj)
        return file.getvalue()
