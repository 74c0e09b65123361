"""Looking at objects from outside: what they hold, whose code they are. No user code is ever run.

``type.__dict__`` getters are used throughout, because ``obj.__class__``, ``isinstance`` and plain attribute access
can all be answered by methods of the object's own.
"""

from __future__ import annotations

import os
import sys
from _functools import (  # type: ignore[import-not-found]  # `functools` loads much more
    _lru_cache_wrapper,
    partial,
)
from itertools import count, islice
from opcode import opmap
from types import (
    CellType,
    CodeType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeGuard

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()

CACHED: Any = _lru_cache_wrapper
"""The type of what `functools.cache` and ``lru_cache`` make."""
type_dict: Callable[[type], dict[str, Any]] = type.__dict__["__dict__"].__get__
type_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__

_module_of: Callable[[type], str] = type.__dict__["__module__"].__get__
type_name: Callable[[type], str] = type.__dict__["__name__"].__get__
_PARTS: dict[str, Any] = dict(type_dict(partial))  # its members, read so that no subclass is asked
_STDLIB = os.path.dirname(os.__file__) + os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LOAD_GLOBAL = opmap.get("LOAD_GLOBAL", -1)
_GLOBAL_NAMES = {opmap.get(n, -1) for n in ("STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME")}
_EXTENDED = opmap.get("EXTENDED_ARG", -1)
SCALARS = frozenset({int, float, bool, complex, str, bytes})


def is_user_code(filename: str) -> bool:
    """Whether code from this file is the user's own, not the standard library's, a package's or whichpool's."""
    if filename[:1] == "<":
        return not filename.startswith("<frozen")
    return not (
        filename.startswith((_STDLIB, _OWN)) or "site-packages" in filename or "dist-packages" in filename
    )


def is_user_type(kind: type) -> bool:
    """Whether a class was written in the user's own modules."""
    name = type_dict(kind).get("__module__")
    if name == "__main__":
        return True
    if type(name) is not str or name in sys.builtin_module_names:
        return False
    module = sys.modules.get(name)
    file = module.__dict__.get("__file__") if type(module) is ModuleType else None
    # No file: a class that came by value, or from a notebook.
    return is_user_code(file) if type(file) is str else module is None or name not in sys.stdlib_module_names


def unwrap(fn: object) -> tuple[object, object, tuple[Any, ...], dict[str, Any]]:
    """Take apart what can be called: partials, bound methods, callable objects, decorators of packages.

    Returns:
        The function (or whatever is left), the object it is bound to (``MISSING``: none), and the positional
        and keyword arguments that partials supply.
    """
    owner: object = MISSING
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    for _ in range(16):
        if isinstance_of(fn, partial):
            part: Any = fn
            args = _PARTS["args"].__get__(part) + args
            kwargs = {**_PARTS["keywords"].__get__(part), **kwargs}
            fn = _PARTS["func"].__get__(part)
        elif type(fn) is MethodType:
            method: Any = fn
            fn, owner = method.__func__, method.__self__
        elif type(fn) is FunctionType:
            inner = fn.__dict__.get("__wrapped__")
            if inner is None or is_user_code(fn.__code__.co_filename) or registry(fn) is not None:
                break
            fn = inner
        elif type(fn) is CACHED:
            fn = inside(fn)
        elif owner is not MISSING or is_class(fn):
            break
        else:
            call = lookup(type(fn), "__call__")
            if type(call) is not FunctionType:
                break
            fn, owner = call, fn
    return fn, owner, args, kwargs


def inside(cached: object) -> object:
    """The function within `functools.cache` or ``lru_cache``."""
    return (namespace(cached) or {}).get("__wrapped__")


def registry(fn: FunctionType) -> dict[type, Any] | None:
    """Type -> implementation, if this was made by `functools.singledispatch`."""
    space = fn.__dict__
    found = space.get("registry") if "dispatch" in space else None
    return dict(found) if type(found) is MappingProxyType else None


def implementations(fn: FunctionType) -> list[FunctionType]:
    """The user's functions that one of `functools.singledispatch` may call."""
    found = registry(fn)
    if found is None or is_user_code(fn.__code__.co_filename):
        return []
    plain = [unwrap(part)[0] for part in list(found.values())[:32]]
    return [part for part in plain if type(part) is FunctionType and is_user_code(part.__code__.co_filename)]


def isinstance_of(value: object, kind: type) -> bool:
    """``isinstance`` without ``__class__`` properties."""
    return kind in type_mro(type(value))


def is_class(value: object) -> TypeGuard[type]:
    """Whether a value is a class, without asking its ``__class__``."""
    return type in type_mro(type(value))


def lookup(kind: type, name: str) -> Any:
    """What a class's namespace holds under a name; no descriptor is run. ``MISSING`` if nothing."""
    for base in type_mro(kind):
        found = type_dict(base).get(name, MISSING)
        if found is not MISSING:
            return found
    return MISSING


def namespace(value: object) -> dict[str, Any] | None:
    """The real ``__dict__`` of an object; ``None`` if it has none."""
    kind = type(value)
    if isinstance_of(value, ModuleType):
        descriptor: Any = lookup(ModuleType, "__dict__")
    else:
        descriptor = lookup(kind, "__dict__")
    if type(descriptor) not in (MemberDescriptorType, GetSetDescriptorType):
        return None
    try:
        found: Any = descriptor.__get__(value, kind)
    except Exception:
        return None
    return found if type(found) is dict else None


def slots(value: object) -> Iterator[tuple[str, Any]]:
    """Names and values of an object's ``__slots__``, as far as they are set."""
    for base in type_mro(type(value)):
        if "__slots__" in (space := type_dict(base)):
            for name, member in tuple(space.items()):
                if type(member) is MemberDescriptorType:
                    try:
                        yield name, member.__get__(value, base)
                    except AttributeError:
                        continue


def cell_value(cell: CellType) -> Any:
    """What a closure cell holds; ``MISSING`` while it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def loose(name: str) -> str:
    """A name without its subscripts, to tell whether two reports are about the same thing."""
    return name.replace("[...]", "")


KNOWN_MAX = 1000
"""Code objects whose names are kept: a bound on memory for programs that make code all day."""
_known_names: dict[int, tuple[CodeType, tuple[str, ...], frozenset[str]]] = {}


def names_of(code: CodeType) -> tuple[tuple[str, ...], frozenset[str]]:
    """The globals that a code object and those inside it name, and every attribute name in them."""
    known = _known_names.get(id(code))
    if known is not None:
        return known[1], known[2]
    found: dict[str, None] = {}
    attributes = set(code.co_names)
    raw, names, extended = code.co_code, code.co_names, 0
    for at in range(0, len(raw), 2):
        op, arg = raw[at], raw[at + 1] | extended
        if op == _EXTENDED:
            extended = arg << 8
            continue
        extended = 0
        if op == _LOAD_GLOBAL:
            arg >>= 1  # the lowest bit says whether a NULL is pushed (3.11 and later)
        elif op not in _GLOBAL_NAMES:
            continue
        if arg < len(names):
            found[names[arg]] = None
    for const in code.co_consts:
        if type(const) is CodeType:
            inner, inner_attributes = names_of(const)
            found.update(dict.fromkeys(inner))
            attributes |= inner_attributes
    if len(_known_names) >= KNOWN_MAX:
        _known_names.clear()
    result = (tuple(found), frozenset(attributes))
    _known_names[id(code)] = (code, *result)  # holds the code, so its id stays its own
    return result


def top_module(kind: type) -> str:
    """The first part of the name of the module that a class says it is from."""
    name = type_dict(kind).get("__module__")
    if name is None:  # a class of C: its full name says it
        name = _module_of(kind)
    return name.partition(".")[0] if type(name) is str else ""


ARRAY_BYTES = 4096
"""Bytes of an array that enter its checksum: hashing them takes about 4 us (measured, same machine)."""

CACHED_MOST = 1024
"""Sizes of ``lru_cache`` up to which its values are looked at: finding them takes 30 us at worst. A guess."""
_NOT_KEPT = {*SCALARS, tuple, type(None), FunctionType, object}
_looks = count()


def array_mark(value: Any) -> object:
    """A strided checksum of a NumPy array."""
    if value.dtype.hasobject:
        return ("array", 0, value.shape)
    if value.nbytes <= ARRAY_BYTES:
        return ("array", 0, value.shape, hash(value.tobytes()))
    count = max(1, ARRAY_BYTES // value.itemsize)
    if value.flags.c_contiguous:
        sample = value.reshape(-1)[:: max(1, value.size // count)]
    else:
        side = max(1, int(count ** (1 / value.ndim)))
        sample = value[tuple([slice(None, None, max(1, n // side)) for n in value.shape])]
    return ("array", 0, value.shape, hash(sample.tobytes()))


def frame_mark(value: Any) -> object:
    """Shape, columns and a few columns' checksums of a pandas DataFrame or Series."""
    manager = value.__dict__["_mgr"]
    shape = tuple(manager.shape)
    columns: list[object] = []
    if len(shape) == 2:
        for at in range(min(shape[0], 8)):
            column = manager.iget_values(at)
            columns.append(array_mark(column) if numpy_array(type(column)) else 0)
    else:
        column = manager.internal_values()
        columns.append(array_mark(column) if numpy_array(type(column)) else 0)
    return ("frame", 0, shape, id(manager.axes[0]), tuple(columns))


def numpy_array(kind: type) -> bool:
    """Whether a class is NumPy's array, or one of NumPy's own kinds of it."""
    numpy = sys.modules.get("numpy")
    array = numpy.__dict__.get("ndarray") if numpy is not None else None
    # Subclasses of others could run code of theirs when sampled.
    return array is not None and (kind is array or (array in type_mro(kind) and top_module(kind) == "numpy"))


def cached_values(cached: Any) -> list[Any]:
    """Some of the values that `functools.cache` keeps; none once it gives values up for others."""
    _, _, most, held = CACHED.cache_info(cached)
    if not held or (most is not None and not held < most <= CACHED_MOST):
        return []
    import gc  # built in

    space = namespace(cached)
    parts = [part for part in gc.get_referents(cached) if part is not space]
    if most is None:
        table = next((part for part in parts if type(part) is dict), {})
        parts = list(islice(table.values(), 8))
    else:  # keys and values; keys are scalars and tuples
        parts = [part for part in parts if type(part) is not dict or len(part) != held][: 3 * 8]
    return [part for part in parts if type(part) not in _NOT_KEPT and not is_class(part)]


def consumed(value: Any) -> object | None:
    """How far an iterator or a file has been read, as a mark that differs once it has been; ``None``: neither."""
    kind = type(value)
    if kind is GeneratorType:
        frame = value.gi_frame
        return ("generator", -9 if frame is None else frame.f_lasti)
    home = top_module(kind)
    if home in ("builtins", "itertools") and lookup(kind, "__next__") is not MISSING:
        hint = lookup(kind, "__length_hint__")
        # Those that do not say how much is left are given out to be used up.
        return ("left", next(_looks) if hint is MISSING else hint(value))
    if home == "_io":
        value = value.buffer if type_name(kind) == "TextIOWrapper" else value
        return ("at", -1 if value.closed else value.tell())
    return None
