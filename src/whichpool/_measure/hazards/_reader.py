"""Follows a function's byte code with what is known about each value, and notes what it writes.

    Reader.function(fn, arguments)  ->  Frame.run()  ->  findings, names set once, functions that were followed

Only what is certain is noted: a value that could be one thing or another is unknown, and writing to something
unknown is not a finding (fingerprints see whether anything changed). A frame is run to a fixed point without
noting anything, then once more, so that what holds on one way only is not taken for certain.
"""

from __future__ import annotations

import builtins
import sys
from _functools import partial  # type: ignore[import-not-found]  # `functools` loads much more
from _weakref import ref
from itertools import islice
from types import BuiltinMethodType, CodeType, FunctionType, MethodDescriptorType, MethodType

from whichpool._worker.objects import CACHED, implementations, inside
from whichpool._worker.watch import (
    MISSING,
    is_class,
    is_user_code,
    is_user_type,
    isinstance_of,
    lookup,
    namespace,
    unwrap,
)

from ._decode import line_at
from ._effects import FOR_A_WHILE, changers, mutable, mutates, process_wide, statement_mutates
from ._frame import Frame
from ._values import TAINTED, UNKNOWN, Value, attribute, display, element, kept, type_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Finding", "Reader"]

FOLLOW_DEPTH = 6
"""Calls from user function to user function that are followed. A guess."""
STEPS_MAX = 6_000
"""Instructions that one reading may look at: about 30 ms (5 us each, 2-core Linux, CPython 3.11)."""
_ALWAYS = ("__setitem__", "__delitem__", "pop", "popleft", "popitem", "setdefault")  # for what they give, too
_GENERATOR = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_SCALAR = (int, float, complex, bool, str, bytes, tuple, frozenset, type(None))


class Finding:
    """One write that others can see."""

    __slots__ = ("code", "how", "name", "offset", "path", "role", "type")

    def __init__(self, path: str, role: str, how: str, kind: str | None, code: CodeType, offset: int) -> None:
        self.path = path
        self.name = display(path)
        self.role = role
        self.how = how
        self.type = kind
        self.code = code
        self.offset = offset

    @property
    def where(self) -> str:
        """``file.py:12``."""
        file = self.code.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
        return f"{file}:{line_at(self.code, self.offset)}"


class Reader:
    """Reads one function and what it calls in the user's own modules.

    Args:
        follow: Levels of calls that are followed.

    Attributes:
        findings: What is written, by name, in the order of the code.
        lazy: Names that are set once behind a test of themselves.
        functions: The functions that were followed, ``fn`` first.
        absent: Modules that a call imports and that are not loaded yet, so their functions could not be read.
        placed: Function -> that by whose name it is reached: implementations of `functools.singledispatch`.
        probed: Containers that are asked for a key before it is set: memo tables made by hand.
        caches: Whether a function under `functools.cache` or ``lru_cache`` is called.
    """

    def __init__(self, follow: int = FOLLOW_DEPTH) -> None:
        self.follow = follow
        self.findings: dict[str, Finding] = {}
        self.lazy: set[str] = set()
        self.hints: dict[str, Any] = {}
        self.functions: dict[int, FunctionType] = {}
        self.placed: dict[int, FunctionType] = {}
        self.absent: set[str] = set()
        self.probed: set[str] = set()
        self.caches = False
        self.steps = STEPS_MAX
        self._changers = changers()
        self._process_wide = process_wide()
        self._known: dict[tuple[object, ...], Value] = {}

    def function(
        self, fn: FunctionType, args: list[Value], kwargs: dict[str, Value], depth: int, emit: bool
    ) -> Value:
        """Read a call of a function; returns what is known of its result."""
        code = fn.__code__
        inner = fn.__dict__.get("__wrapped__")
        if not is_user_code(code.co_filename):
            for part in implementations(fn):
                self.placed[id(part)] = fn
                self.function(part, args, kwargs, depth, emit)
            if type(inner) is FunctionType:  # a decorator of an installed package around the user's function
                return self.function(inner, args, kwargs, depth, emit)
            return TAINTED if any(a.tainted for a in args) else UNKNOWN
        self.functions.setdefault(id(fn), fn)
        free = {}
        for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
            try:
                held = cell.cell_contents
            except ValueError:
                held = MISSING
            free[name] = Value(name, held, "free")
        values = self.bind(fn, args, kwargs)
        return self.code(code, values, free, fn.__globals__, frozenset(free), depth, emit)

    def bind(self, fn: FunctionType, args: list[Value], kwargs: dict[str, Value]) -> dict[str, Value]:
        """Parameter -> value."""
        code = fn.__code__
        count, names = code.co_argcount, code.co_varnames
        defaults = fn.__defaults__ or ()
        bound: dict[str, Value] = {}
        for at, name in enumerate(names[: count + code.co_kwonlyargcount]):
            value = kwargs.get(name)
            if at < count and at < len(args):
                value = args[at]
            if value is None:
                back = at - count + len(defaults)
                default = defaults[back] if at < count and back >= 0 else MISSING
                if at >= count:
                    default = (fn.__kwdefaults__ or {}).get(name, MISSING)
                if default is MISSING:
                    value = UNKNOWN
                elif type(default) in _SCALAR:
                    value = Value(obj=default)
                else:
                    value = Value(name, default, "default")
            elif value.role == "item" and value.path == "item":
                value = Value(name, value.obj, "item", tainted=True)
            bound[name] = value
        if code.co_flags & 0x04:
            bound[names[count + code.co_kwonlyargcount]] = Value(fresh=("args", args[count:]), tainted=True)
        return bound

    def code(
        self,
        code: CodeType,
        values: dict[str, Value],
        free: dict[str, Value],
        space: dict[str, Any],
        shared: frozenset[str],
        depth: int,
        emit: bool,
    ) -> Value:
        """Read one code object with what is known of its variables."""
        key = (id(code), emit, *[(n, *v.key()) for n, v in values.items()], *[v.key() for v in free.values()])
        known = self._known.get(key)
        if known is not None:
            return known
        tainted = TAINTED if any(v.tainted for v in values.values()) else UNKNOWN
        self._known[key] = tainted  # a recursive call meets this
        if depth > self.follow or self.steps <= 0:
            return tainted
        frame = Frame(self, code, values, free, space, shared, depth, emit)
        try:
            result = frame.run()
        except (IndexError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
            return tainted  # byte code of another version: less is known, nothing is claimed
        if code.co_flags & _GENERATOR or result is None:
            result = tainted
        self._known[key] = result
        return result

    def module(self, name: str, wanted: str) -> Value:
        """A module that the call imports.

        Args:
            name: What the import statement gives.
            wanted: What it loads: ``a.b`` where ``a`` is given.
        """
        if wanted not in sys.modules:
            self.absent.add(wanted)
        return Value(name, sys.modules.get(name, MISSING), "global")

    def call(
        self, frame: Frame, callee: Value, args: list[Value], kwargs: dict[str, Value], at: int
    ) -> Value:
        """What a call does and gives."""
        obj, owner = callee.obj, callee.owner
        given = [*args, *kwargs.values()]
        tainted = callee.tainted or any(a.tainted for a in given)
        unknown = TAINTED if tainted else UNKNOWN
        self._keywords(frame, callee, kwargs, at)
        if type(callee.fresh) is tuple and callee.fresh[0] == "code":
            return self._nested(frame, callee, args, kwargs)
        if owner is not None and callee.attr:
            done = self._method(frame, callee, owner, args, kwargs, at)
            if done is not None:
                return done
        if callee.path == "importlib.import_module" and args and type(args[0].obj) is str:
            return self.module(args[0].obj, args[0].obj)
        if obj is MISSING or obj is None:
            return unknown
        kind = type(obj)
        first = args[0] if args else UNKNOWN
        process = self._process_wide.get(id(obj))
        if process and ("dictionary" not in process or first.path or type(first.obj) is str):
            passing = FOR_A_WHILE if frame.entered(at) and FOR_A_WHILE not in process else ""
            frame.note(callee.path, "global", process + passing, None, at)
        if id(obj) in self._changers or (
            callee.attr == "at" and owner is not None and type_names(type(owner.obj))[0] == ("numpy", "ufunc")
        ):
            self._first(frame, first, at)
        if (
            kind is BuiltinMethodType
            or (kind is FunctionType and not is_user_code(obj.__code__.co_filename))
            or (is_class(obj) and not is_user_type(obj))
        ):
            self._handed_on(frame, obj, given, at)
        if kind is CACHED:
            self.caches = True
            plain = Value(callee.path, inside(obj), callee.role, owner=owner, attr=callee.attr)
            return kept(callee, self.call(frame, plain, args, kwargs, at))
        if kind is FunctionType:
            bound = args
            if owner is not None and callee.attr and not self._plain(owner, callee.attr):
                bound = [self._self(owner), *args]
            return self.function(obj, bound, kwargs, frame.depth + 1, frame.emit)
        if is_class(obj):
            return self._class(frame, obj, callee, args, kwargs, at, tainted)
        if kind is MethodType:
            inner, receiver, _, _ = unwrap(obj)
            if type(inner) is FunctionType:
                held = Value(callee.path, receiver, callee.role)
                return self.function(inner, [held, *args], kwargs, frame.depth + 1, frame.emit)
        if kind is BuiltinMethodType:
            receiver = obj.__self__
            if receiver is builtins:
                return self._builtin(frame, obj.__name__, args, kwargs, at, unknown)
            if callee.path and not callee.attr and mutates(receiver, obj.__name__):
                frame.note(callee.path, callee.role, obj.__name__, mutable(receiver), at)
            return unknown
        if kind is MethodDescriptorType and args and args[0].path:  # dict.update(shared, ...)
            if mutates(args[0].obj, obj.__name__):
                frame.note(args[0].path, args[0].role, obj.__name__, mutable(args[0].obj), at)
            return unknown
        made = lookup(kind, "__call__")
        if type(made) is FunctionType and is_user_type(kind):
            return self.function(made, [self._self(callee), *args], kwargs, frame.depth + 1, frame.emit)
        if type_names(kind)[0] == ("functools", "singledispatchmethod") and owner is not None:
            chosen = (namespace(obj) or {}).get("dispatcher")
            if type(chosen) is FunctionType:
                return self.function(chosen, [self._self(owner), *args], kwargs, frame.depth + 1, frame.emit)
        if kind is ref and callee.path:
            return Value(f"{callee.path}()", obj(), callee.role)
        if isinstance_of(obj, partial):
            inner, receiver, bound_args, bound_kwargs = unwrap(obj)
            held_args = [Value("", receiver)] if receiver is not MISSING else []
            names = inner.__code__.co_varnames if type(inner) is FunctionType else ()
            held_args += [Value(n, a, "given") for n, a in zip(names, bound_args, strict=False)]
            kwargs = {**{n: Value(n, a, "given") for n, a in bound_kwargs.items()}, **kwargs}
            if type(inner) is FunctionType:
                return self.function(inner, [*held_args, *args], kwargs, frame.depth + 1, frame.emit)
        return unknown

    def _keywords(self, frame: Frame, callee: Value, kwargs: dict[str, Value], at: int) -> None:
        out = kwargs.get("out")  # NumPy's and PyTorch's convention
        if out is not None and out.path and mutable(out.obj) == "array":
            frame.note(out.path, out.role, "out=", "array", at)
        place = kwargs.get("inplace")
        if place is not None and place.obj is True and not place.path and callee.owner is not None:
            owner = callee.owner
            if owner.path and (owner.role == "item" or mutable(owner.obj) == "frame"):
                frame.note(owner.path, owner.role, "inplace=True", "frame", at)

    def _nested(self, frame: Frame, callee: Value, args: list[Value], kwargs: dict[str, Value]) -> Value:
        _, code, free, shared = callee.fresh
        names = code.co_varnames[: code.co_argcount]
        values = dict.fromkeys(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], UNKNOWN)
        values.update(zip(names, args, strict=False))
        values.update((k, v) for k, v in kwargs.items() if k in values)
        return self.code(code, values, free, frame.space, shared, frame.depth + 1, frame.emit)

    def _plain(self, owner: Value, name: str) -> bool:
        """Whether a function found as an attribute is not bound to its owner: from a module, or a staticmethod."""
        kind: Any = owner.fresh if is_class(owner.fresh) else owner.obj
        if kind is MISSING or kind is None or ("builtins", "module") in type_names(type(kind)):
            return True
        if is_class(kind):
            held = lookup(kind, name)
            # Foo.method(obj): self is passed by hand. Foo().method: bound, unless static.
            return type(held) is staticmethod or (
                type(held) in (FunctionType, CACHED) and owner.fresh is None
            )
        return type(lookup(type(kind), name)) is staticmethod or lookup(type(kind), name) is MISSING

    def _self(self, owner: Value) -> Value:
        return owner if owner.path else Value(fresh=owner.fresh, tainted=owner.tainted)

    def _handed_on(self, frame: Frame, callee: Any, given: list[Value], at: int) -> None:
        """Functions that are passed to one that is not followed, which will call them: ``map(rows.append, ...)``."""
        inner = type(callee) is BuiltinMethodType and callee.__self__ is builtins
        if inner and callee.__name__ not in ("sorted", "min", "max", "iter"):
            return
        for value in given:
            if not value.path:
                continue
            if value.owner is not None and value.attr and mutates(value.owner.obj, value.attr):
                owner = value.owner
                frame.note(owner.path, owner.role, value.attr, mutable(owner.obj), at)
            elif type(value.obj) is BuiltinMethodType and mutates(value.obj.__self__, value.obj.__name__):
                frame.note(value.path, value.role, value.obj.__name__, mutable(value.obj.__self__), at)
            elif type(value.obj) is FunctionType and (inner or callee is map or callee is filter):
                self.function(value.obj, [], {}, frame.depth + 1, frame.emit)

    def _method(
        self,
        frame: Frame,
        callee: Value,
        owner: Value,
        args: list[Value],
        kwargs: dict[str, Value],
        at: int,
    ) -> Value | None:
        """A method call; ``None``: nothing special about it, go on with what the method is."""
        name, obj = callee.attr, owner.obj
        if not owner.path:
            return None
        if obj is None or obj is MISSING:
            obj = self.hints.get(owner.path, obj)
        own = type(lookup(type(obj), name)) is FunctionType and is_user_type(type(obj))
        if not own and mutates(obj, name):
            if mutable(obj) == "environment" and all(
                not v.path and v.obj is not MISSING for v in (*args, *kwargs.values())
            ):
                return UNKNOWN  # a constant put into the environment is the same after every call
            frame.note(owner.path, owner.role, name, mutable(obj), at)
            if name == "setdefault":
                return element(owner, None)
            return UNKNOWN
        if obj is MISSING and owner.role == "item" and name in ("readline", "__next__"):
            frame.note(owner.path, "item", "next", None, at)
            return TAINTED
        certain = name in _ALWAYS or frame.thrown_away(at)
        shared = owner.role == "item" or "()" in owner.path or ".*" in owner.path
        if obj is MISSING and shared and statement_mutates(name) and certain:
            frame.note(owner.path, owner.role, name, None, at)
            return UNKNOWN
        if mutable(obj) in ("dict", "counter"):
            if name == "get":
                self.probed.add(display(owner.path))
                return element(owner, args[0] if args else None)
            if name == "values":
                return Value(
                    owner.path, list(islice(obj.values(), 1)) if type(obj) is dict else MISSING, owner.role
                )
        return None

    def _first(self, frame: Frame, value: Value, at: int) -> None:
        if value.path and (mutable(value.obj) or value.role == "item"):
            frame.note(value.path, value.role, "changed", mutable(value.obj), at)

    def _class(
        self,
        frame: Frame,
        kind: Any,
        callee: Value,
        args: list[Value],
        kwargs: dict[str, Value],
        at: int,
        tainted: bool,
    ) -> Value:
        if kind is super:
            first = next(iter(frame.values.values()), UNKNOWN)
            return Value(fresh=("super", first, frame.free.get("__class__", UNKNOWN).obj))
        made = Value(fresh=kind, tainted=tainted)
        if is_user_type(kind):
            for name, receiver in (("__new__", callee), ("__init__", made)):
                method = lookup(kind, name)
                method = method.__func__ if type(method) is staticmethod else method
                if type(method) is FunctionType:
                    self.function(method, [receiver, *args], kwargs, frame.depth + 1, frame.emit)
        return made

    def _builtin(
        self,
        frame: Frame,
        name: str,
        args: list[Value],
        kwargs: dict[str, Value],
        at: int,
        unknown: Value,
    ) -> Value:
        first = args[0] if args else UNKNOWN
        key = args[1].obj if len(args) > 1 and type(args[1].obj) is str and not args[1].path else None
        if name == "globals":
            return Value("globals()", frame.space, "global")
        if name in ("getattr", "hasattr") and key is not None and first.path:
            found = attribute(first, key)
            return found if name == "getattr" else Value(test=(found.path, False), tainted=first.tainted)
        if name in ("setattr", "delattr") and first.path and len(args) > 1:
            target = f"{first.path}.{key}" if key is not None else f"{first.path}[...]"
            frame.store(target, args[2] if len(args) > 2 else UNKNOWN, first, at, "attribute")
        file = kwargs.get("file")
        if name == "print" and file is not None and mutable(file.obj) == "file":
            frame.note(file.path, file.role, "write", "file", at)
        if name == "next" and first.role == "item":
            frame.note(first.path, "item", "next", None, at)
        if name == "next" and first.path and is_user_type(type(first.obj)):
            return self.call(frame, attribute(first, "__next__"), [], {}, at)
        if name == "vars" and first.path:
            return UNKNOWN
        if (
            name == "iter" and first.path and first.role != "item"
        ):  # of an item: itself, or an iterator of its own
            return Value(first.path, first.obj, first.role, tainted=first.tainted)
        return unknown
