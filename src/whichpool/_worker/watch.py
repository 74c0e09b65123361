"""Cheap fingerprints of what a function can write and others can see.

    Watch(fn)  ->  look()  ->  ... calls of fn ...  ->  look()  ->  changed(before, after)

Used in the parent around the first items, and in each worker process after every batch. It imports little, never
raises, and never runs user code: containers are read through the methods of their builtin base, objects through
their ``__dict__`` and slots, so no ``__eq__``, ``__hash__``, ``__len__`` or property of a user's class is called.
Marks hold numbers and strings only, so nothing is kept alive that ``fn`` does not keep alive itself.

A fingerprint is a bounded sample: a change that it misses is possible, a change that it reports is real.
"""

from __future__ import annotations

import builtins
from _collections import deque  # type: ignore[import-not-found]  # `collections` loads much more
from _functools import partial  # type: ignore[import-not-found]
from itertools import islice
from types import (
    BuiltinMethodType,
    CellType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

from .objects import (
    ARRAY_BYTES,
    CACHED,
    MISSING,
    SCALARS,
    array_mark,
    cached_values,
    cell_value,
    consumed,
    frame_mark,
    implementations,
    is_class,
    is_user_code,
    is_user_type,
    isinstance_of,
    lookup,
    loose,
    names_of,
    namespace,
    numpy_array,
    slots,
    top_module,
    type_dict,
    type_mro,
    type_name,
    unwrap,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    Marks: TypeAlias = dict[str, object]

__all__ = [
    "MISSING",
    "Watch",
    "cell_value",
    "is_class",
    "is_user_code",
    "is_user_type",
    "isinstance_of",
    "item_changed",
    "item_look",
    "lookup",
    "loose",
    "names_of",
    "namespace",
    "slots",
    "type_dict",
    "type_mro",
    "type_name",
    "unwrap",
]

FOLLOW_DEPTH = 4
"""Calls from user function to user function that are followed. A guess: deeper state is rare, each level costs."""
MARKS_MAX = 300
"""Entries in one fingerprint: 3 us each at worst, so that it ends within 1 ms (2-core Linux, CPython 3.11)."""
SAMPLE_ALL = 48
"""Containers up to this many elements are read whole; of longer ones this many are sampled."""
SAMPLE_FEW = 6
"""The same once a fingerprint has `FULL_MARKS` entries, so that it stays bounded for a function that names a lot."""
FULL_MARKS = 24
"""Entries that are sampled at `SAMPLE_ALL`: a full sample of lists in a list takes about 30 us (same machine)."""
DEPTH = 2
"""Levels of attributes below a captured object that are watched."""

_NONE = 0  # the mark of None; all other marks are tuples
_CUT = "\0cut"  # key that says: the budget was spent, so a missing key means nothing
_SPECIAL = ("__init__", "__new__", "__call__", "__enter__", "__exit__", "__iter__", "__next__", "__getitem__")


def _small(value: Any, deep: bool = True) -> object:
    """A mark of one value: its value if it is a scalar, else identity, and for builtin containers the size."""
    if value is None:
        return _NONE
    kind = type(value)
    if kind in SCALARS:
        if kind is str or kind is bytes:
            return (kind.__name__, len(value), hash(value))
        if kind is float:
            return ("float", value if value == value else "nan")
        return (kind.__name__, value if kind is not int or -(1 << 64) < value < 1 << 64 else hash(value))
    if kind is list or kind is tuple:
        return (id(value), len(value), tuple([_small(v, False) for v in value[:8]]) if deep else 0)
    if kind is dict:
        return (
            id(value),
            len(value),
            tuple([_small(v, False) for v in islice(value.values(), 8)]) if deep else 0,
        )
    if kind is set or kind is deque or kind is bytearray:
        return (id(value), len(value))
    return (id(value),)


def _sampled(size: int, part: Callable[[slice], Iterable[Any]], limit: int) -> tuple[object, ...]:
    """Marks of a list's elements: all, or the first, the last and some between."""
    deep = limit == SAMPLE_ALL
    if size <= limit:
        return tuple([_small(v, deep) for v in part(slice(None))])
    third = limit // 3
    between = slice(third, size - third, max(1, size // third))
    return tuple([_small(v, deep) for s in (slice(0, third), between, slice(-third, None)) for v in part(s)])


def _contents(value: Any, limit: int) -> tuple[str, object] | None:
    """The suffix under which contents are reported, and their mark; ``None``: nothing in there is watched."""
    kind = type(value)
    mro = type_mro(kind)
    deep = limit == SAMPLE_ALL
    if dict in mro:
        size, items = dict.__len__(value), dict.items(value)
        ends = () if size <= limit else (islice(items, limit // 2), islice(reversed(items), limit // 2))
        pairs = [p for end in ends for p in end] if ends else list(items)
        return "[...]", ("dict", limit, size, tuple([(_small(k, False), _small(v, deep)) for k, v in pairs]))
    if list in mro:
        size = list.__len__(value)
        return "\0", ("list", limit, size, _sampled(size, lambda s: list.__getitem__(value, s), limit))
    if set in mro:
        some = islice(set.__iter__(value), limit)
        return "\0", ("set", limit, set.__len__(value), tuple([_small(v, deep) for v in some]))
    if deque in mro:
        outer = [*islice(deque.__iter__(value), limit // 3), *islice(deque.__reversed__(value), limit // 3)]
        return "\0", ("deque", limit, deque.__len__(value), tuple([_small(v, deep) for v in outer]))
    if bytearray in mro:
        size = bytearray.__len__(value)
        step = max(1, size // ARRAY_BYTES)
        return "\0", ("bytes", 0, size, hash(bytes(bytearray.__getitem__(value, slice(None, None, step)))))
    if tuple in mro:
        parts = [v for v in islice(tuple.__iter__(value), limit) if type(v) not in SCALARS]
        return ("[...]", ("tuple", limit, 0, tuple([_small(v, deep) for v in parts]))) if parts else None
    if numpy_array(kind):
        return "[...]", array_mark(value)
    home, name = top_module(kind), type_name(kind)
    if home == "array" and name == "array":
        step = max(1, len(value) * value.itemsize // ARRAY_BYTES)
        return "\0", ("arr", 0, len(value), hash(value[::step].tobytes()))
    if home == "_io" and name in ("StringIO", "BytesIO"):
        return "\0", consumed(value)
    if home == "os" and name == "_Environ":
        return _contents(value.__dict__["_data"], limit)
    if home == "pandas" and name in ("DataFrame", "Series"):
        return "[...]", frame_mark(value)
    if home == "torch" and name in ("Tensor", "Parameter"):
        return "[...]", ("tensor", 0, value._version)  # torch counts in-place operations itself
    return None


def _mark(out: Marks, name: str, value: Any, depth: int) -> None:
    """Enter a value, its contents and, for objects of user classes, its attributes."""
    if len(out) >= MARKS_MAX:
        out[_CUT] = 1
        return
    kind = type(value)
    if value is None or kind in SCALARS:
        out[name] = _small(value)
        return
    out[name] = (id(value),)
    try:
        found = _contents(value, SAMPLE_ALL if len(out) < FULL_MARKS else SAMPLE_FEW)
    except Exception:
        found = None  # changed by another thread while being read, or a version with other insides
    if found is not None:
        out[name + found[0]] = found[1]
    if kind is FunctionType:
        for key, attribute in tuple(value.__dict__.items()):
            if type(key) is str and key[:2] != "__":
                _mark(out, f"{name}.{key}", attribute, 0)
    elif kind is CACHED:
        for part in cached_values(value) if depth > 0 else ():
            _mark(out, f"{name}()\0#{id(part)}", part, depth - 1)
    elif kind is MethodType or kind is BuiltinMethodType:
        if type(value.__self__) is not ModuleType:
            _mark(out, name, value.__self__, depth)
    elif kind is partial and depth >= 0:
        _, _, args, kwargs = unwrap(value)
        for key, part in (*enumerate(args), *kwargs.items()):
            _mark(out, f"{name}({key})", part, depth - 1)
    elif is_class(value):
        if is_user_type(value) and top_module(type(value)) != "enum":
            _class(out, name, value)
    elif depth > 0 and is_user_type(kind):
        for key, attribute in tuple((namespace(value) or {}).items()):
            if type(key) is str:
                _mark(out, f"{name}.{key}", attribute, depth - 1)
        for key, attribute in slots(value):
            _mark(out, f"{name}.{key}", attribute, depth - 1)


_NOT_DATA = (FunctionType, staticmethod, classmethod, property, MemberDescriptorType, GetSetDescriptorType)


def _class(out: Marks, name: str, value: type) -> None:
    for key, attribute in tuple(type_dict(value).items()):
        if type(key) is str and key[:2] != "__" and not isinstance_of(attribute, type):
            kind = type(attribute)
            if kind not in _NOT_DATA and type_name(kind) != "_abc_data":
                _mark(out, f"{name}.{key}", attribute, 0)


def _comparable(old: Any, new: Any) -> bool:
    """Whether two marks of contents were sampled alike, or differ in size at least."""
    if len(old) < 3 or len(new) < 3 or type(old[1]) is not int or old[0] != new[0]:
        return True
    return bool(old[1] == new[1] or old[2] != new[2])


def _differences(before: Marks, after: Marks) -> list[str]:
    """Names whose marks differ. Absent or None -> a value is how lazy initialisation looks, and does not count."""
    found: list[str] = []
    for key, mark in after.items():
        old = before.get(key)
        if old is not None and old != _NONE and old != mark and key != _CUT and _comparable(old, mark):
            found.append(key)
    if _CUT not in before and _CUT not in after:
        found.extend(key for key in before if key not in after and "\0#" not in key)
    names: dict[str, None] = {}
    for key in sorted(found, key=len):
        if not any(key.startswith(n) and key[len(n)] in ".[\0" for n in found if len(n) < len(key)):
            head, _, tail = key.partition("\0#")  # which of the values that a cache keeps
            names[(head + tail.lstrip("0123456789")).replace("\0", "")] = None
    return list(names)


class Watch:
    """Watches what calls of a function leave behind.

    Args:
        fn: What is called for each item.
        ignore: Names that may change (set once behind a test of themselves, found by reading the code).
    """

    __slots__ = ("_fn", "_ignore", "_places", "_seen")

    def __init__(self, fn: object, ignore: frozenset[str] = frozenset()) -> None:
        self._fn = fn
        self._ignore = frozenset(map(loose, ignore)) | ignore
        # (name, where it is, key there): a dict and its key, a cell, or (None, the value) for what fn itself holds.
        self._places: dict[str, tuple[Any, Any]] = {}
        self._seen: set[int] = set()
        try:
            self._callable(fn, "self", FOLLOW_DEPTH)
        except Exception:
            self._places.clear()  # a callable beyond understanding: nothing is watched rather than a crash
        self._seen.clear()

    def look(self) -> Marks:
        """A fingerprint of everything the function can write that others can see; compare with `changed`."""
        out: Marks = {}
        for name, (place, key) in self._places.items():
            if place is None:
                value = key
            elif type(place) is CellType:
                value = cell_value(place)
            else:
                value = place.get(key, MISSING)
            if value is not MISSING:
                try:
                    _mark(out, name, value, DEPTH)
                except Exception:
                    out[_CUT] = 1
        return out

    def changed(self, before: Marks, after: Marks) -> list[str]:
        """The names, as the user wrote them, of what differs between two looks; empty if nothing does."""
        names = _differences(before, after)
        names = [n for n in names if n not in self._ignore and loose(n) not in self._ignore]
        if not names or not self._ignore:
            return names
        parts = [n.rpartition(".") for n in self._ignore]
        same = {(before[owner], part) for owner, _, part in parts if owner in before}
        return [n for n in names if (before.get(n.rpartition(".")[0]), n.rpartition(".")[2]) not in same]

    def _callable(self, fn: object, self_name: str, depth: int) -> None:
        inner, owner, args, kwargs = unwrap(fn)
        if type(inner) is FunctionType:
            if owner is not MISSING:
                names = inner.__code__.co_varnames[:1]
                self._add(names[0] if names else self_name, None, owner)
            names = inner.__code__.co_varnames[owner is not MISSING :]
            for at, value in enumerate(args):
                self._add(names[at] if at < len(names) else f"argument {at + 1}", None, value)
            for name, value in kwargs.items():
                self._add(name, None, value)  # before the defaults that these replace
            for part in (inner, *implementations(inner)):
                if is_user_code(part.__code__.co_filename):
                    self._function(part, depth)
        elif is_class(inner):
            self._class(inner, frozenset(), depth)
        elif type(inner) is BuiltinMethodType and type(inner.__self__) is not ModuleType:
            self._add(type_name(type(inner.__self__)), None, inner.__self__)

    def _add(self, name: str, place: Any, key: Any) -> None:
        self._places.setdefault(name, (place, key))

    def _function(self, fn: FunctionType, depth: int) -> None:
        code = fn.__code__
        if id(fn) in self._seen or depth < 0:
            return
        self._seen.add(id(fn))
        names, attributes = names_of(code)
        space = fn.__globals__
        for name in names:
            if name[:2] == "__":
                continue
            value = space.get(name, MISSING)
            if value is MISSING and name in builtins.__dict__:
                continue
            if type(value) is ModuleType:
                self._module(name, value, attributes, depth)
            else:
                self._add(name, space, name)
                self._follow(value, attributes, depth - 1)
        for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
            value = cell_value(cell)
            if name != "__class__":
                self._add(name, cell, None)
                self._follow(value, attributes, depth - 1)
        count = code.co_argcount
        for name, value in zip(
            reversed(code.co_varnames[:count]), reversed(fn.__defaults__ or ()), strict=False
        ):
            self._add(name, None, value)
        for name, value in (fn.__kwdefaults__ or {}).items():
            self._add(name, None, value)

    def _module(self, name: str, module: ModuleType, attributes: frozenset[str], depth: int) -> None:
        space = module.__dict__
        file = space.get("__file__")
        if type(file) is not str or not is_user_code(file):
            return
        for key in attributes:
            value = space.get(key, MISSING)
            if value is not MISSING and type(value) is not ModuleType and key[:2] != "__":
                self._add(f"{name}.{key}", space, key)
                self._follow(value, attributes, depth - 1)

    def _follow(self, value: object, attributes: frozenset[str], depth: int) -> None:
        """Watch what a captured callable or object of the user's would write in turn."""
        kind = type(value)
        if depth < 0 or value is None or kind in SCALARS:
            return
        if kind is FunctionType or kind is MethodType or kind is partial or kind is CACHED:
            inner, _, _, _ = unwrap(value)
            for part in (inner, *implementations(inner)) if type(inner) is FunctionType else ():
                if is_user_code(part.__code__.co_filename):
                    self._function(part, depth)
        elif is_class(value):
            self._class(value, attributes, depth)
        else:
            self._class(kind, attributes, depth)

    def _class(self, kind: type, attributes: frozenset[str], depth: int) -> None:
        if depth < 0 or id(kind) in self._seen:
            return
        self._seen.add(id(kind))
        for base in type_mro(kind):
            if base is object or not is_user_type(base):
                continue
            space = type_dict(base)
            for name in (*_SPECIAL, *attributes):
                method = space.get(name)
                if type(method) is staticmethod or type(method) is classmethod:
                    method = method.__func__
                elif type(method) is property:
                    method = method.fget
                if type(method) is FunctionType and is_user_code(method.__code__.co_filename):
                    self._function(method, depth - 1)


def item_look(item: object) -> Marks | None:
    """A fingerprint of an item, to find out whether the function changes it.

    Returns:
        ``None`` for what cannot be changed, and for objects of installed packages (what they keep for themselves
        is theirs). Iterators and files count as changed once something was taken from them.
    """
    kind = type(item)
    if item is None or kind in SCALARS:
        return None
    out: Marks = {}
    try:
        _mark(out, "item", item, DEPTH)
        _position(out, "item", item)
        if kind is tuple:
            pair: Any = item
            out.pop("item[...]", None)  # each part says more by itself
            for at, part in enumerate(pair[:8]):
                _mark(out, f"item[{at}]", part, 1)
                _position(out, f"item[{at}]", part)
    except Exception:
        return None
    return out if len(out) > 1 else None


def _position(out: Marks, name: str, value: object) -> None:
    position = consumed(value)
    if position is not None:
        out[name + "\0"] = position


def item_changed(before: Marks | None, after: Marks | None) -> list[str]:
    """The names of what differs between two looks at one item: ``item``, ``item[...]``, ``item.count``."""
    return _differences(before, after) if before and after else []
