"""What the reader knows about a value on the stack or in a local variable."""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # the fields of named tuples
from itertools import islice
from types import FunctionType, MemberDescriptorType, ModuleType

from whichpool._worker.objects import numpy_array
from whichpool._worker.watch import MISSING, is_class, lookup, namespace, type_mro, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

    Role: TypeAlias = Literal["", "global", "free", "default", "self", "given", "item"]

__all__ = [
    "KEPT",
    "NULL",
    "TAINTED",
    "UNKNOWN",
    "Value",
    "at_key",
    "attribute",
    "display",
    "element",
    "kept",
    "merge",
]


class Value:
    """One abstract value.

    Attributes:
        path: How to reach it from a name that others see (``stats``, ``self.count``); empty: not shared.
        obj: The live object as it is now, ``MISSING`` if unknown. A constant where the path is empty.
        role: What kind of name the path begins with.
        tainted: Whether it was computed from the item.
        owner: The value that it is an attribute of.
        attr: The name of that attribute.
        fresh: The type of an object made inside the call; for a function made there, its code and closure.
        test: (path, whether truth means that the path is not set yet), for the outcome of a test.
        how: How it was computed, if that helps the advice: ``"+="``.
    """

    __slots__ = ("attr", "fresh", "how", "obj", "owner", "path", "role", "tainted", "test")

    def __init__(
        self,
        path: str = "",
        obj: Any = MISSING,
        role: Role = "",
        *,
        tainted: bool = False,
        owner: Value | None = None,
        attr: str = "",
        fresh: Any = None,
        test: tuple[str, bool] | None = None,
        how: str = "",
    ) -> None:
        self.path = path
        self.obj = obj
        self.role: Role = role
        self.tainted = tainted
        self.owner = owner
        self.attr = attr
        self.fresh = fresh
        self.test = test
        self.how = how

    def same(self, other: Value) -> bool:
        """Whether nothing known tells the two apart."""
        return self is other or (
            self.path == other.path
            and self.obj is other.obj
            and self.tainted == other.tainted
            and self.fresh is other.fresh
            and self.test == other.test
            and self.attr == other.attr
        )

    def key(self) -> tuple[object, ...]:
        """Identifies what a followed function can learn from this as an argument."""
        return (self.path, id(self.obj), self.role, self.tainted, id(self.fresh))


NULL = Value(obj=None)  # the interpreter's NULL beside a callable
KEPT = "kept "
UNKNOWN = Value()
TAINTED = Value(tainted=True)


def merge(one: Value, other: Value) -> Value:
    """What is known where two ways meet: only what holds on both."""
    if one.same(other):
        return one
    if one is NULL or other is NULL:
        return UNKNOWN
    if not (one.tainted or other.tainted):
        # `m = m or load()`, `m if m else load()`: kept, or made anew.
        if one.how == KEPT + other.path or (one.how.startswith(KEPT) and not other.path):
            return one
        if one.path and not other.path:
            return Value(how=KEPT + one.path)
        if other.path and not one.path:
            return Value(how=KEPT + other.path)
    if one.path and other.path and one.role == other.role and _root(one.path) == _root(other.path):
        # `node = node.next` in a loop: one part or another of what the name stands for.
        both = Value(f"{_root(one.path)}.*", role=one.role, tainted=one.tainted or other.tainted)
        return one if both.same(one) else both
    return TAINTED if one.tainted or other.tainted else UNKNOWN


def _root(path: str) -> str:
    """The name that a path begins with."""
    for at, sign in enumerate(path):
        if sign in ".[(":
            return path[:at]
    return path


def display(path: str) -> str:
    """A path as it is reported: ``d['k'][0]`` -> ``d[...]``."""
    name, *parts = path.split("[")
    for part in parts:
        rest = part.partition("]")[2]
        name += rest if name.endswith("[...]") else "[...]" + rest
    return name


def at_key(path: str, key: Value | None) -> str:
    """The path of an element; only constant keys tell one element from another."""
    if key is None or key.path or type(key.obj) not in (str, int):
        return f"{path}[...]"
    text = repr(key.obj)
    return f"{path}[...]" if "[" in text or "]" in text else f"{path}[{text}]"


# Each thread or task sees its own value of these, or they are made to be called from anywhere.
_PRIVATE = {
    ("_thread", "_local"),
    ("_threading_local", "local"),
    ("logging", "Logger"),
    ("logging", "Handler"),
    ("logging", "LoggerAdapter"),
    ("_contextvars", "ContextVar"),
    ("multiprocessing.managers", "BaseProxy"),
}
_module_of = type.__dict__["__module__"].__get__


def type_names(kind: type) -> list[tuple[str, str]]:
    """(module, name) of a class and its bases."""
    return [(_module_of(base), type_name(base)) for base in type_mro(kind)]


def private(obj: object) -> bool:
    """Whether writing to this object is nobody else's business: thread-locals, loggers, proxies of a manager."""
    return obj is not MISSING and not _PRIVATE.isdisjoint(type_names(type(obj)))


def attribute(owner: Value, name: str) -> Value:
    """The attribute of a value, found without running descriptors."""
    obj = owner.obj if owner.path or owner.obj is not MISSING else MISSING
    if owner.fresh is not None and is_class(owner.fresh):
        path = f"{owner.path}.{name}" if owner.path else ""
        return Value(
            path, lookup(owner.fresh, name), owner.role, owner=owner, attr=name, tainted=owner.tainted
        )
    if not owner.path:
        if is_class(owner.obj):  # a builtin class, or one made in the call
            return Value(obj=lookup(owner.obj, name), tainted=owner.tainted)
        return Value(owner=owner, attr=name, tainted=owner.tainted)
    found: Any = MISSING
    if obj is MISSING:
        pass
    elif is_class(obj):
        found = lookup(obj, name)
    elif isinstance_module(obj):
        found = (namespace(obj) or {}).get(name, MISSING)
    else:
        found = lookup(type(obj), name)
        if type(found) is MemberDescriptorType or type(found) is _tuplegetter:
            try:
                found = found.__get__(obj)
            except Exception:
                found = MISSING
        else:
            found = (namespace(obj) or {}).get(name, found)
    if type(found) in (staticmethod, classmethod):
        found = found.__func__
    if private(found):
        return UNKNOWN
    return Value(f"{owner.path}.{name}", found, owner.role, tainted=owner.tainted, owner=owner, attr=name)


def kept(callee: Value, result: Value) -> Value:
    """What `functools.cache` gives: an object that all calls get alike."""
    if result.path or result.obj is not MISSING or not callee.path:
        return result
    kind = result.fresh if is_class(result.fresh) else None
    if kind is not None and not _PRIVATE.isdisjoint(type_names(kind)):
        return UNKNOWN
    held = kind() if kind in (list, dict, set) else MISSING
    fresh = None if held is not MISSING else kind
    return Value(f"{callee.path}()", held, "global", tainted=result.tainted, fresh=fresh)


def isinstance_module(obj: object) -> bool:
    """Whether this is a module."""
    return ModuleType in type_mro(type(obj))


def element(container: Value, key: Value | None) -> Value:
    """An element of a value; for an unknown key any element stands for all. Copies are not parts."""
    if not container.path:
        return Value(tainted=container.tainted)
    obj, path = container.obj, container.path
    known = key is not None and not key.path and type(key.obj) in (str, int)
    exact = at_key(path, key)
    kind = type(obj)
    found: Any = MISSING
    if kind is dict:
        found = obj.get(key.obj, MISSING) if known and key is not None else next(iter(obj.values()), MISSING)
    elif kind is list or kind is tuple:
        if key is not None and (key.fresh is slice or type(key.obj) is slice):
            return Value(tainted=container.tainted)  # slicing copies
        found = obj[0] if obj else MISSING
        if known and key is not None and type(key.obj) is int and -len(obj) <= key.obj < len(obj):
            found = obj[key.obj]
    elif numpy_array(kind) and key is not None and (obj.ndim > 1 or key.fresh is slice):
        if key.fresh is not slice and (not known or type(key.obj) is not int):
            return Value(tainted=container.tainted)  # a mask or a list of places: a copy
        found = obj[:0]  # a row or a slice is a view: to write there is to write here
    elif ("collections", "defaultdict") in type_names(kind):
        values = list(islice(dict.values(obj), 1))
        factory = obj.default_factory
        found = values[0] if values else factory() if factory in (list, dict, set) else MISSING
    elif not known:
        # A mask or a list of columns gives a copy; whether a class of the user's does is not known.
        return Value(tainted=container.tainted)
    if type(found) is FunctionType or private(found):
        return Value(obj=found, tainted=container.tainted)
    return Value(exact, found, container.role, tainted=container.tainted)
