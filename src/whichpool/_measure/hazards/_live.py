"""What a function captures that cannot travel, must not be used by two threads, or gives a next value."""

from __future__ import annotations

import sys
from _functools import partial  # type: ignore[import-not-found]  # `functools` loads much more
from itertools import islice
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)

from whichpool._worker.objects import CACHED, cached_values, inside
from whichpool._worker.watch import (
    MISSING,
    cell_value,
    is_class,
    is_user_code,
    is_user_type,
    lookup,
    names_of,
    namespace,
    slots,
    unwrap,
)

from ._values import type_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["Captured", "Trouble", "captured", "trouble"]

_SCALARS = (int, float, complex, bool, str, bytes, type(None), CodeType)

# What it is, and whether another process makes its own by importing the module it is a global of.
_NO_TRAVEL: dict[tuple[str, str], tuple[str, bool]] = {
    ("_io", "_IOBase"): ("open file", False),
    ("builtins", "generator"): ("generator", False),
    ("builtins", "coroutine"): ("coroutine", False),
    ("builtins", "async_generator"): ("generator", False),
    ("builtins", "frame"): ("frame", True),
    ("builtins", "traceback"): ("traceback", True),
    ("builtins", "memoryview"): ("memory view", True),
    ("_csv", "reader"): ("csv reader", False),
    ("_csv", "Reader"): ("csv reader", False),
    ("_csv", "writer"): ("csv writer", False),
    ("_csv", "Writer"): ("csv writer", False),
    ("csv", "DictReader"): ("csv reader", False),
    ("csv", "DictWriter"): ("csv writer", False),
    ("_thread", "lock"): ("lock", True),
    ("_thread", "RLock"): ("lock", True),
    ("threading", "_RLock"): ("lock", True),
    ("_thread", "_local"): ("thread-local", True),
    ("threading", "Condition"): ("condition", True),
    ("threading", "Event"): ("event", True),
    ("threading", "Semaphore"): ("semaphore", True),
    ("threading", "Barrier"): ("barrier", True),
    ("threading", "Thread"): ("thread", True),
    ("queue", "Queue"): ("queue", False),
    ("_queue", "SimpleQueue"): ("queue", False),
    ("multiprocessing.queues", "Queue"): ("queue", False),
    ("multiprocessing.queues", "SimpleQueue"): ("queue", False),
    ("multiprocessing.pool", "Pool"): ("pool", True),
    ("multiprocessing.synchronize", "SemLock"): ("lock", True),
    ("_socket", "socket"): ("socket", True),
    ("select", "poll"): ("poll object", True),
    ("select", "epoll"): ("poll object", True),
    ("mmap", "mmap"): ("memory map", True),
    ("subprocess", "Popen"): ("running program", True),
    ("concurrent.futures._base", "Executor"): ("executor", True),
    ("concurrent.futures._base", "Future"): ("future", True),
    ("asyncio.events", "AbstractEventLoop"): ("event loop", True),
    ("asyncio.base_events", "BaseEventLoop"): ("event loop", True),
    ("zipfile", "ZipFile"): ("open archive", False),
    ("tarfile", "TarFile"): ("open archive", False),
    ("http.client", "HTTPConnection"): ("connection", True),
    ("sqlite3", "Connection"): ("database connection", True),
    ("sqlite3", "Cursor"): ("database cursor", True),
    ("psycopg", "Connection"): ("database connection", True),
    ("psycopg2.extensions", "connection"): ("database connection", True),
    ("psycopg2.extensions", "cursor"): ("database cursor", True),
    ("pymysql.connections", "Connection"): ("database connection", True),
    ("pymysql.cursors", "Cursor"): ("database cursor", True),
    ("pymongo.mongo_client", "MongoClient"): ("database client", True),
    ("sqlalchemy.engine.base", "Engine"): ("database engine", True),
    ("sqlalchemy.engine.base", "Connection"): ("database connection", True),
    ("duckdb", "DuckDBPyConnection"): ("database connection", True),
    ("h5py._hl.files", "File"): ("open file", True),
    ("h5py._hl.dataset", "Dataset"): ("open dataset", True),
}
_NOT_THREAD_SAFE: dict[tuple[str, str], str] = {
    ("_io", "_IOBase"): "has one position that all threads would move",
    ("builtins", "generator"): "can be run by one thread at a time",
    ("_csv", "reader"): "has one position that all threads would move",
    ("_csv", "Reader"): "has one position that all threads would move",
    ("_csv", "writer"): "writes to one file without a lock",
    ("_csv", "Writer"): "writes to one file without a lock",
    ("csv", "DictReader"): "has one position that all threads would move",
    ("csv", "DictWriter"): "writes to one file without a lock",
    ("zipfile", "ZipFile"): "has one position that all threads would move",
    ("tarfile", "TarFile"): "has one position that all threads would move",
    ("http.client", "HTTPConnection"): "handles one request at a time",
    ("sqlite3", "Connection"): "belongs to the thread that made it",
    ("sqlite3", "Cursor"): "belongs to the thread that made it",
    ("psycopg2.extensions", "cursor"): "holds the result of one query at a time",
    ("pymysql.connections", "Connection"): "handles one query at a time",
    ("pymysql.cursors", "Cursor"): "holds the result of one query at a time",
    ("sqlalchemy.engine.base", "Connection"): "handles one query at a time",
    ("sqlalchemy.orm.session", "Session"): "handles one query at a time",
    ("duckdb", "DuckDBPyConnection"): "handles one query at a time",
}
_RANDOM = {
    ("random", "Random"),
    ("numpy.random._generator", "Generator"),
    ("numpy.random.mtrand", "RandomState"),
    ("torch._C", "Generator"),
    ("torch", "Generator"),
    ("faker.proxy", "Faker"),
}
_ITERATORS = frozenset(
    [
        "count",
        "cycle",
        "repeat",
        "chain",
        "islice",
        "accumulate",
        "batched",
        "combinations",
        "permutations",
        "product",
        "starmap",
        "takewhile",
        "dropwhile",
        "groupby",
        "zip_longest",
        "compress",
        "pairwise",
        "filterfalse",
        "_tee",
        "map",
        "filter",
        "zip",
        "enumerate",
        "reversed",
        "generator",
        "list_iterator",
        "tuple_iterator",
        "set_iterator",
        "dict_keyiterator",
        "dict_itemiterator",
        "dict_valueiterator",
        "str_iterator",
        "str_ascii_iterator",
        "bytes_iterator",
        "range_iterator",
        "longrange_iterator",
        "callable_iterator",
        "iterator",
        "list_reverseiterator",
        "bytearray_iterator",
        "async_generator",
    ]
)


class Captured:
    """One thing that a function captures.

    Attributes:
        name: As the user wrote it.
        obj: The live object.
        travels: Whether it is pickled with the function (a global of an importable module is not).
        used: Whether the function names it, or it only hangs on something that the function names.
        function: The code that captures it, for its place in the source.
    """

    __slots__ = ("function", "name", "obj", "travels", "used")

    def __init__(
        self, name: str, obj: object, travels: bool, used: bool, function: FunctionType | None
    ) -> None:
        self.name, self.obj, self.travels, self.used, self.function = name, obj, travels, used, function


class Trouble:
    """What is the matter with a captured object: words, or ``None`` where nothing is."""

    __slots__ = ("draws", "no_travel", "unsafe")

    def __init__(self, draws: str | None, no_travel: str | None, unsafe: str | None) -> None:
        self.draws, self.no_travel, self.unsafe = draws, no_travel, unsafe


def _module_state(obj: object) -> bool:
    """Whether this is the random state behind a module's own functions, of which any order of values is as good."""
    random = sys.modules.get("random")
    numpy = sys.modules.get("numpy.random.mtrand") or sys.modules.get("numpy.random")
    return (random is not None and obj is random.__dict__.get("_inst")) or (
        numpy is not None and obj is numpy.__dict__.get("_rand")
    )


def trouble(found: Captured) -> Trouble | None:
    """Look a captured object's type up; ``None``: it is harmless."""
    obj = found.obj
    kind = type(obj)
    if kind in _SCALARS or kind is FunctionType:
        return None
    if kind is ModuleType:
        if found.used and obj is sys.modules.get("matplotlib.pyplot"):
            return Trouble(None, None, "keeps one current figure for all threads")
        return None
    std = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
    if any(obj is s for s in std):
        return None
    draws = no_travel = unsafe = None
    for name in type_names(kind):
        if name in _RANDOM and ("random", "SystemRandom") not in type_names(kind) and not _module_state(obj):
            draws = "random generator"
        label = _NO_TRAVEL.get(name)
        if label is not None and no_travel is None and (found.travels or not label[1]):
            no_travel = label[0]
        unsafe = unsafe or _NOT_THREAD_SAFE.get(name)
    home, own_name = type_names(kind)[0]
    if home in ("builtins", "itertools") and own_name in _ITERATORS:
        draws = "generator" if "generator" in own_name else "iterator"
    in_memory = ("_io", "StringIO") in type_names(kind) or ("_io", "BytesIO") in type_names(kind)
    if in_memory:
        no_travel = None  # pickles with its contents
    if not found.used:
        draws = unsafe = None
    return Trouble(draws, no_travel, unsafe) if draws or no_travel or unsafe else None


def by_value(fn: FunctionType) -> bool:
    """Whether pickling takes the function's globals along, because it cannot be imported by name."""
    module = sys.modules.get(fn.__module__) if type(fn.__module__) is str else None
    if module is None or fn.__module__ == "__main__" or type(module) is not ModuleType:
        return True
    found: Any = module
    for part in fn.__qualname__.split("."):
        found = (
            (namespace(found) or {}).get(part, MISSING) if found is module else _class_attribute(found, part)
        )
    if type(found) in (staticmethod, classmethod):
        found = found.__func__
    return (inside(found) if type(found) is CACHED else found) is not fn


def _class_attribute(kind: Any, name: str) -> Any:
    return lookup(kind, name) if is_class(kind) else MISSING


def captured(
    functions: list[FunctionType], held: list[tuple[str, object]], placed: dict[int, FunctionType]
) -> Iterator[Captured]:
    """Everything that these functions capture, one level into containers and two into objects.

    Args:
        functions: The function and those of the user's that it calls.
        held: Names and objects that go with every call: ``self``, the arguments of partials.
        placed: Function -> that by whose name it is reached, if not its own.
    """
    attributes: set[str] = set()
    for fn in functions:
        attributes |= names_of(fn.__code__)[1]
    seen: set[int] = set()
    first = functions[0] if functions else None
    for name, obj in held:
        yield from _spread(name, obj, True, True, first, attributes, 2, seen)
    for fn in functions:
        carried = by_value(placed.get(id(fn), fn))
        for name in names_of(fn.__code__)[0]:
            obj = fn.__globals__.get(name, MISSING)
            if obj is not MISSING:
                yield from _spread(name, obj, carried, True, fn, attributes, 2, seen)
                if type(obj) is ModuleType:
                    yield from _of_module(name, obj, fn, attributes, seen)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
            yield from _spread(name, cell_value(cell), True, True, fn, attributes, 2, seen)
        names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
        for name, obj in zip(reversed(names), reversed(fn.__defaults__ or ()), strict=False):
            yield from _spread(name, obj, carried, True, fn, attributes, 2, seen)
        for name, obj in (fn.__kwdefaults__ or {}).items():
            yield from _spread(name, obj, carried, True, fn, attributes, 2, seen)


def _of_module(
    name: str, module: ModuleType, fn: FunctionType, attributes: set[str], seen: set[int]
) -> Iterator[Captured]:
    """Data of the user's modules that is reached by attribute; it does not travel with the function."""
    file = module.__dict__.get("__file__")
    if type(file) is str and is_user_code(file):
        for key in sorted(attributes & module.__dict__.keys()):
            if type(module.__dict__[key]) is not ModuleType:
                yield from _spread(
                    f"{name}.{key}", module.__dict__[key], False, True, fn, attributes, 0, seen
                )


def _spread(
    name: str,
    obj: Any,
    travels: bool,
    used: bool,
    fn: FunctionType | None,
    attributes: set[str],
    depth: int,
    seen: set[int],
) -> Iterator[Captured]:
    kind = type(obj)
    if kind in _SCALARS or id(obj) in seen or obj is MISSING:
        return
    seen.add(id(obj))
    found = Captured(name, obj, travels, used, fn)
    yield found
    if depth <= 0 or trouble(found) is not None or kind is FunctionType or kind is ModuleType:
        return
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        for part in list(islice(obj, 8)):
            yield from _spread(f"{name}[...]", part, travels, used, fn, attributes, 0, seen)
    elif kind is dict:
        for part in list(islice(obj.values(), 8)):
            yield from _spread(f"{name}[...]", part, travels, used, fn, attributes, 0, seen)
    elif kind is CACHED:
        for part in cached_values(obj)[:8]:  # kept by each process for itself, and shared by its threads
            yield from _spread(f"{name}()", part, False, used, fn, attributes, 0, seen)
    elif kind is partial or kind is MethodType or kind is BuiltinMethodType or kind is MethodWrapperType:
        inner, owner, args, keywords = unwrap(obj)
        if kind is BuiltinMethodType or kind is MethodWrapperType:
            owner = obj.__self__
        elif kind is partial and type(inner) in (BuiltinMethodType, MethodWrapperType):
            args = (inner, *args)
        for part in (owner, *args, *keywords.values()):
            if type(part) is not ModuleType:
                yield from _spread(name, part, travels, used, fn, attributes, depth - 1, seen)
    elif is_class(obj):
        return
    elif _plainly_pickled(kind):
        own = is_user_type(kind)
        space = namespace(obj) or {}
        for key, part in [*list(space.items())[:64], *slots(obj)]:
            if type(key) is str:
                named = own and used and key in attributes
                yield from _spread(f"{name}.{key}", part, travels, named, fn, attributes, depth - 1, seen)


def _plainly_pickled(kind: type) -> bool:
    """Whether pickle would take the object's attributes one by one."""
    if any(lookup(kind, n) is not lookup(object, n) for n in ("__reduce__", "__reduce_ex__", "__getstate__")):
        return False
    copyreg = sys.modules.get("copyreg")
    return copyreg is None or kind not in copyreg.dispatch_table
