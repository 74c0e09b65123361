"""Module attributes that the program has set, on their way to a worker, which imports the same modules afresh.

`settings.SCALE = 10` before a map is state that the function reads and pickle does not see. What the function, and the
functions that it calls in the user's own modules, read by name is sent along, as far as it is plain data; the worker
makes it so where its own differs. Other objects are not sent: copying them could cost anything.
"""

from __future__ import annotations

import pickle
import sys
from _functools import partial  # type: ignore[import-not-found]  # `functools` loads much more
from types import CodeType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .calls import ModuleValue

__all__ = ["functions_of", "is_own", "module_state", "read", "set_module_state"]

# No more functions are followed, and no more parts of a value are looked at: beyond it is not settings but data.
MOST_FUNCTIONS = 200
MOST_PARTS = 1_000
MOST_CHARACTERS = 100_000

_ATOMS = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, set, frozenset, dict)


def module_state(*functions: Any) -> bytes | None:
    """The plain values that these functions, and what they call, read from modules by name; pickled; ``None``: none."""
    try:
        state = read(functions)[0]
        return pickle.dumps(state, protocol=5) if state else None
    except RuntimeError:
        return None  # something changed while it was read: the guard has more to say of that


def read(
    functions: tuple[Any, ...], *, main_too: bool = False
) -> tuple[list[ModuleValue], list[FunctionType]]:
    """The plain values that these functions, and what they call, read by name; and all these functions.

    ``main_too``: the main script's values as well. The order is the same in every process.
    """
    found: dict[tuple[str, str], Any] = {}
    left = [inner for fn in functions for inner in functions_of(fn)]
    seen: set[CodeType] = set()
    followed: list[FunctionType] = []
    while left and len(seen) < MOST_FUNCTIONS:
        fn = left.pop()
        if fn.__code__ in seen or not is_own(fn.__globals__.get("__name__")):
            continue
        seen.add(fn.__code__)
        followed.append(fn)
        space = fn.__globals__
        home: str = space["__name__"]
        names = set(_names(fn.__code__))
        for name in sorted(names & space.keys()):
            value = space[name]
            if type(value) is ModuleType:
                if is_own(value.__name__):
                    for attribute in sorted(names & vars(value).keys()):
                        left += _note(found, value.__name__, attribute, vars(value)[attribute])
            elif home == "__main__" and not main_too:
                left += functions_of(value)  # its plain values travel with the function itself
            else:
                left += _note(found, home, name, value)
    return [(module, name, value) for (module, name), value in found.items()], followed


def _note(found: dict[tuple[str, str], Any], module: str, name: str, value: Any) -> list[FunctionType]:
    """Keep a plain value; of anything else, the functions to follow."""
    if _is_plain(value):
        found[module, name] = value
        return []
    return functions_of(value)


def functions_of(value: Any) -> list[FunctionType]:
    """The Python functions behind a callable, or in a class."""
    while type(value) is partial:
        value = value.func
    if type(value) is MethodType:
        value = value.__func__
    if type(value) is FunctionType:
        inner = value.__dict__.get("__wrapped__")
        return [value, *[each for each in (inner, *_cells(value)) if type(each) is FunctionType]]
    if isinstance(value, type):
        return [each for each in vars(value).values() if type(each) is FunctionType]
    call = vars(type(value)).get("__call__")
    return [call] if type(call) is FunctionType else []


def _cells(fn: FunctionType) -> Iterator[Any]:
    for cell in fn.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            pass  # not set yet


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _names(constant)


def is_own(module: Any) -> bool:
    """Whether a program may have set this module's attributes: it is not the standard library's."""
    return isinstance(module, str) and module.partition(".")[0] not in sys.stdlib_module_names


def _is_plain(value: Any) -> bool:
    """Whether it is data through and through, and little of it."""
    left, parts, characters = [value], 0, 0
    while left:
        each = left.pop()
        kind = type(each)
        parts += 1
        if kind in (str, bytes):
            characters += len(each)
        elif kind in _CONTAINERS:
            if len(each) > MOST_PARTS:
                return False
            left += each.values() if kind is dict else each
            if kind is dict:
                left += each
        elif kind not in _ATOMS:
            return False
        if parts > MOST_PARTS or characters > MOST_CHARACTERS:
            return False
    return True


def set_module_state(state: bytes) -> None:
    """Make it so here, in the modules that the job has loaded."""
    for module, name, value in pickle.loads(state):
        space = getattr(sys.modules.get(module), "__dict__", None)
        if space is None:
            continue
        own = space.get(name)
        if type(own) is type(value) and own == value:
            continue
        # What others have imported by name is the same object: changed in place, they see it too.
        if type(own) is type(value) and type(own) in (dict, set):
            own.clear()
            own.update(value)
        elif type(own) is type(value) and type(own) is list:
            own[:] = value
        else:
            space[name] = value
