"""Which calls change the object that they are called on, or something that the whole process shares."""

from __future__ import annotations

import sys

from whichpool._worker.watch import MISSING

from ._values import type_names

__all__ = ["FOR_A_WHILE", "changers", "kind_of", "mutable", "mutates", "process_wide", "statement_mutates"]

# What is certain to change an object of unknown type when the call's result is thrown away. Where the result is
# used the same names can be pure (`Tensor.add`, `Index.append`).
_STATEMENTS = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "remove",
        "discard",
        "add",
        "update",
        "setdefault",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "sort",
        "reverse",
        "rotate",
        "move_to_end",
        "subtract",
        "intersection_update",
        "difference_update",
        "symmetric_difference_update",
        "__setitem__",
        "__delitem__",
    ]
)
_ARRAY = frozenset({"fill", "resize", "put", "itemset", "sort", "partition", "setfield", "byteswap"})
_FILE = frozenset({"write", "writelines", "truncate"})
_QUEUE = frozenset({"put", "put_nowait"})
_KINDS: dict[tuple[str, str], tuple[str, frozenset[str]]] = {
    ("collections", "Counter"): ("counter", _STATEMENTS),
    ("builtins", "list"): ("list", _STATEMENTS),
    ("builtins", "dict"): ("dict", _STATEMENTS),
    ("builtins", "set"): ("set", _STATEMENTS),
    ("builtins", "bytearray"): ("list", _STATEMENTS),
    ("collections", "deque"): ("list", _STATEMENTS),
    ("collections", "UserDict"): ("dict", _STATEMENTS),
    ("collections", "UserList"): ("list", _STATEMENTS),
    ("array", "array"): ("list", _STATEMENTS | {"byteswap", "fromlist", "frombytes", "fromfile"}),
    ("numpy", "ndarray"): ("array", _ARRAY),
    ("pandas.core.frame", "DataFrame"): ("frame", frozenset({"insert", "pop", "update"})),
    ("pandas", "DataFrame"): ("frame", frozenset({"insert", "pop", "update"})),
    ("pandas.core.series", "Series"): ("frame", frozenset({"pop", "update"})),
    ("pandas", "Series"): ("frame", frozenset({"pop", "update"})),
    ("queue", "Queue"): ("queue", _QUEUE),
    ("_queue", "SimpleQueue"): ("queue", _QUEUE),
    ("multiprocessing.queues", "Queue"): ("queue", _QUEUE),
    ("_io", "_IOBase"): ("file", _FILE),
    ("_csv", "writer"): ("file", frozenset({"writerow", "writerows"})),
    ("_csv", "Writer"): ("file", frozenset({"writerow", "writerows"})),
    ("csv", "DictWriter"): ("file", frozenset({"writerow", "writerows", "writeheader"})),
    ("os", "_Environ"): ("environment", _STATEMENTS),
    ("xml.etree.ElementTree", "Element"): ("tree", _STATEMENTS | {"set"}),
    **dict.fromkeys(
        [
            ("_hashlib", "HASH"),
            ("_hashlib", "HMAC"),
            ("hmac", "HMAC"),
            ("_blake2", "blake2b"),
            ("_blake2", "blake2s"),
            ("zlib", "Compress"),
            ("zlib", "Decompress"),
            ("_bz2", "BZ2Compressor"),
            ("_bz2", "BZ2Decompressor"),
            ("_lzma", "LZMACompressor"),
            ("_lzma", "LZMADecompressor"),
            ("codecs", "IncrementalDecoder"),
            ("codecs", "IncrementalEncoder"),
        ],
        ("stream", frozenset({"update", "compress", "decompress", "flush", "decode", "encode", "reset"})),
    ),
}

# Functions that change their first argument.
_FIRST = {
    "heapq": "heappush heappop heapify heapreplace heappushpop",
    "bisect": "insort insort_left insort_right",
    "random": "shuffle",
    "numpy": "copyto put place putmask fill_diagonal",
    "numpy.random": "shuffle",
    "xml.etree.ElementTree": "SubElement indent",
    "operator": "setitem delitem iadd ior iand isub ixor iconcat",
}
FOR_A_WHILE = " for a while"
# Functions that change the state of the whole process. What is seeded, redirected or put back before the call ends
# is right in processes that run one call at a time; a change that stays is not the loop's there either.
_PROCESS = {
    "random": {"seed": "reseeds the random state", "setstate": "sets the random state"},
    "numpy.random": {"seed": "reseeds the random state", "set_state": "sets the random state"},
    "os": {"chdir": "changes the working directory", "umask": "changes the umask"},
    "contextlib": {
        "chdir": "changes the working directory" + FOR_A_WHILE,
        "redirect_stdout": "redirects the standard output",
        "redirect_stderr": "redirects the standard error",
    },
    "torch": {"manual_seed": "reseeds the random state"},
    "locale": {"setlocale": "changes the locale"},
    "unittest.mock": {"_patch_dict": "changes a dictionary"},
}


def kind_of(obj: object) -> tuple[str, frozenset[str]] | None:
    """The family of a builtin or well-known mutable type, and the methods that change it."""
    if obj is MISSING or obj is None:
        return None
    if obj is sys.stdout or obj is sys.stderr or obj is sys.__stdout__ or obj is sys.__stderr__:
        return None  # printing is benign
    for name in type_names(type(obj)):
        found = _KINDS.get(name)
        if found is not None:
            return found
    return None


def mutable(obj: object) -> str | None:
    """``list``, ``dict``, ``set``, ``counter``, ``array``, ``frame``, ``queue``, ``file``, ..., or ``None``."""
    found = kind_of(obj)
    return found[0] if found is not None else None


def mutates(obj: object, method: str) -> bool:
    """Whether a method changes the live object that it is looked up on, for types that are known."""
    found = kind_of(obj)
    return found is not None and method in found[1]


def statement_mutates(method: str) -> bool:
    """Whether a method, called for its effect alone, changes whatever it is called on."""
    return method in _STATEMENTS


def changers() -> set[int]:
    """Ids of the functions loaded now that change their first argument: `heapq.heappush`, `random.shuffle`."""
    found: set[int] = set()
    for module, names in _FIRST.items():
        space = sys.modules[module].__dict__ if module in sys.modules else {}
        found.update(id(space[name]) for name in names.split() if name in space)
    return found


def process_wide() -> dict[int, str]:
    """Ids of the functions loaded now that change the state of the whole process -> what they do to it."""
    found: dict[int, str] = {}
    for module, whats in _PROCESS.items():
        space = sys.modules[module].__dict__ if module in sys.modules else {}
        found.update((id(space[name]), what) for name, what in whats.items() if name in space)
    return found
