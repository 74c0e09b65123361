"""Unpickle what can be unpickled: one result whose class does not load must not cost the results beside it.

Only loaded when the fast way has failed. It is the standard library's unpickler in Python, whose steps can be replaced.
"""

from __future__ import annotations

import io
import pickle
from gc import get_referents
from traceback import format_exception
from types import BuiltinFunctionType, FunctionType, ModuleType

from whichpool._worker.calls import CANNOT_RETURN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from whichpool._worker import wire

__all__ = ["readable_part"]


class _Unreadable:
    """Stands where an object could not be made; takes whatever would have been put into that object."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def _ignore(self, *_: object) -> None:
        pass

    __setitem__ = __setstate__ = append = extend = add = update = _ignore


class _Missing:
    """Stands for a class or function that cannot be found."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> _Unreadable:
        return _Unreadable(self.error)


_Python: Any = vars(pickle)["_Unpickler"]  # private by name, but there since Python 3.0


class _Lenient(_Python):  # type: ignore[misc]  # its base has no types
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except Exception as error:
            return _Missing(error)

    def _load_reduce(self) -> None:
        arguments, make = self.stack.pop(), self.stack.pop()
        self._made(make, lambda: make(*arguments))

    def _load_newobj(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        self._made(cls, lambda: cls.__new__(cls, *arguments))

    def _load_newobj_ex(self) -> None:
        keywords, arguments, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._made(cls, lambda: cls.__new__(cls, *arguments, **keywords))

    def _load_build(self) -> None:
        made = self.stack[-1]
        try:
            _Python.load_build(self)
        except Exception as error:
            # The object is half made, and others may hold it: it must not be found whole.
            self.stack[-1] = _Unreadable(error)
            self.half_made.append(made)

    def _made(self, maker: Any, make: Callable[[], Any]) -> None:
        try:
            self.append(maker() if isinstance(maker, _Missing) else make())
        except Exception as error:
            self.append(_Unreadable(error))

    dispatch: ClassVar[dict[int, Any]] = dict(_Python.dispatch)
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _load_newobj_ex
    dispatch[pickle.BUILD[0]] = _load_build


def readable_part(frame: wire.Frame, offset: int) -> Any:
    """A worker's answer, with an error in place of each result that cannot be unpickled.

    Raises:
        Exception: It is no pickle.
    """
    reader = _Lenient(io.BytesIO(frame.body[offset:]), buffers=frame.buffers)
    reader.half_made = []
    values, errors, wrote = reader.load()
    broken = {id(each) for each in reader.half_made}
    for at, value in enumerate(values):
        error = _first_error(value, broken)
        if error is not None:
            values[at] = None
            what = f"it was pickled, but cannot be unpickled in the calling process: {type(error).__name__}: {error}"
            errors.setdefault(at, (None, CANNOT_RETURN, what, "".join(format_exception(error))))
    return values, errors, wrote


def _first_error(value: object, broken: set[int]) -> Exception | None:
    """The error of the first object that could not be made, of those that the value is made of."""
    seen: set[int] = set()
    left = [value]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            continue
        seen.add(id(each))
        if isinstance(each, (_Unreadable, _Missing)):
            return each.error
        if id(each) in broken:
            return ValueError(f"its state could not be set, of type {type(each).__name__}")
        left += get_referents(each)
    return None
