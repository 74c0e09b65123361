"""What a function is, so that a run is taken up again only by the same one: its code, and the code and values it uses.

Looked at are the function, the functions and classes of the program's own modules that it names, directly or through
others, and the plain values that they read: numbers, texts, and lists, tuples, sets and dictionaries of them. Comments
and line numbers do not count. Installed packages, files and the network are not looked at.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import partial
from hashlib import blake2b
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

__all__ = ["code_of"]

# No more functions are followed. A guess; a program that has more is told apart by the first of them.
MOST_FUNCTIONS = 500
# Characters of a value's text that are looked at: beyond it is no setting but data.
MOST_CHARACTERS = 100_000

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_INSTALLED = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
)


def code_of(fn: Any) -> dict[str, str]:
    """Name -> digest, of each function and value that makes ``fn`` what it is."""
    found: dict[str, str] = {}
    left: list[tuple[str, Any]] = [(_name(fn), fn)]
    seen: set[int] = set()
    while left and len(found) < MOST_FUNCTIONS:
        name, thing = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, partial):
            left.append((_name(thing.func), thing.func))
            left += [(f"argument {key} of {_name(thing.func)}", value) for key, value in _arguments(thing)]
        elif isinstance(thing, MethodType):
            left += [(name, thing.__func__), (f"self of {name}", thing.__self__)]
        elif isinstance(thing, FunctionType):
            if wrapped := getattr(thing, "__wrapped__", None):
                left.append((_name(wrapped), wrapped))
            if _is_own(thing.__module__, thing.__code__.co_filename):
                found[name] = _digest(_code(thing.__code__))
                left += _used(name, thing)
        elif isinstance(thing, type):
            if _is_own(thing.__module__):
                left += [(f"{name}.{key}", value) for key, value in _members(thing)]
                left += [(_name(base), base) for base in thing.__bases__ if base is not object]
        elif (text := _text(thing)) is not None:
            found[name] = _digest(text)
        elif _is_own(type(thing).__module__) and not isinstance(thing, ModuleType):
            left.append((_name(type(thing)), type(thing)))
            held = getattr(thing, "__dict__", {})
            left += [(f"{name}.{key}", value) for key, value in held.items()]
    return dict(sorted(found.items()))


def _arguments(made: Any) -> list[tuple[Any, Any]]:
    return [*enumerate(made.args), *made.keywords.items()]


def _members(kind: type) -> list[tuple[str, Any]]:
    members = []
    for key, value in vars(kind).items():
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        if not key.startswith("__") or isinstance(value, FunctionType):
            members.append((key, value))
    return members


def _used(name: str, fn: FunctionType) -> list[tuple[str, Any]]:
    used: list[tuple[str, Any]] = []
    for place, value in enumerate(fn.__defaults__ or ()):
        used.append((f"default {place} of {name}", value))
    for key, value in (fn.__kwdefaults__ or {}).items():
        used.append((f"default {key} of {name}", value))
    for key, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            used.append((f"{key} in {name}", cell.cell_contents))
        except ValueError:
            pass  # not set yet
    names = set(_names(fn.__code__))
    for key in sorted(names & fn.__globals__.keys()):
        value = fn.__globals__[key]
        if isinstance(value, ModuleType):
            if _is_own(value.__name__):
                inner = sorted(names & vars(value).keys())
                used += [(f"{value.__name__}.{each}", vars(value)[each]) for each in inner]
        else:
            plain = not isinstance(value, (FunctionType, type))
            used.append((f"{fn.__module__}.{key}" if plain else _name(value), value))
    return used


def _names(code: CodeType) -> list[str]:
    found = [*code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _names(constant)
    return found


def _code(code: CodeType) -> str:
    constants = [_code(each) if isinstance(each, CodeType) else _text(each) for each in code.co_consts]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return repr((shape, code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def _text(value: Any) -> str | None:
    """The same text for the same plain value in every process; ``None``: it is no plain value."""
    text: str | None
    if value is Ellipsis or isinstance(value, _PLAIN):
        text = repr(value)
    elif isinstance(value, (list, tuple)):
        parts = [_text(each) for each in value]
        text = None if None in parts else f"{type(value).__name__}{parts}"
    elif isinstance(value, (set, frozenset)):
        inner = [_text(each) for each in value]
        text = None if None in inner else f"{type(value).__name__}{sorted(map(str, inner))}"
    elif isinstance(value, dict):
        pairs = [(_text(key), _text(each)) for key, each in value.items()]
        text = None if any(None in pair for pair in pairs) else f"dict{pairs}"
    else:
        return None
    return text and text[:MOST_CHARACTERS]


def _is_own(module: str | None, file: str | None = None) -> bool:
    """Whether it is of the program, and not of an installed package or the standard library."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return False
    if top == "whichpool":
        return False
    place = file or getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return "site-packages" not in place and not any(
        place.startswith(folder) for folder in _INSTALLED if folder
    )


def _name(thing: Any) -> str:
    if isinstance(thing, partial):
        return _name(thing.func)
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
