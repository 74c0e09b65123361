"""Fingerprints that are the same in another process: of items, and of a function with what it captures and calls.

A fingerprint is a digest of a pickle that is made so as not to depend on the process: sets in the order of their
elements' digests, functions by their code and what they hold (not by file and line), nothing by identity. What pickles
by its memory address or the time of day has another fingerprint each time, and what cannot be pickled has none.
"""

from __future__ import annotations

import pickle
import sys
from functools import cache, partial
from hashlib import blake2b
from os.path import sep
from types import CodeType, FunctionType, MethodType, ModuleType

from whichpool._worker.state import functions_of, is_own, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["fingerprint", "of_function"]

# Bytes of a digest: two different items in 2**64 share one by chance.
DIGEST_BYTES = 16
# Without a memo what is shared is written each time, so that equal values give equal bytes; nested sharing could make
# that endless. A value that comes to more bytes than this is written with the memo. A guess.
MOST_UNSHARED_BYTES = 16_000_000
# The opcodes that begin a set and a frozenset in a pickle. As part of other data they cost a second look, no more.
SET_OPCODES = (pickle.EMPTY_SET, pickle.FROZENSET)

# Folders that installed packages are in.
INSTALLED = {"site-packages", "dist-packages"}

_CACHED = type(cache(abs))


class _TooLong(Exception):
    """More bytes than may be written without a memo."""


class _Hashed:
    """A file to write to, of which only the digest is kept."""

    def __init__(self, most: int | None) -> None:
        self.hash = blake2b(digest_size=DIGEST_BYTES)
        self.has_sets = False
        self._left = most

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        if self._left is not None:
            self._left -= len(view)
            if self._left < 0:
                raise _TooLong
        self.hash.update(view)
        if not self.has_sets:
            text = data if isinstance(data, bytes) else bytes(view)
            self.has_sets = any(opcode in text for opcode in SET_OPCODES)


class _Stable(pickle.Pickler):
    """Pickles what is the program's own by what it is, and not by where it is."""

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is FunctionType:
            if not is_own(obj.__module__):
                return NotImplemented
            held = (obj.__defaults__, obj.__kwdefaults__, [value for _, value in _cells(obj)])
            return bytes, (_name(obj).encode() + _code_digest(obj.__code__),), held
        if kind is ModuleType:
            return bytes, (obj.__name__.encode(),)
        if kind is _CACHED:
            return bytes, (b"cached",), obj.__wrapped__
        if isinstance(obj, type):
            if "<locals>" not in obj.__qualname__:
                return NotImplemented
            methods = [value for _, value in sorted(vars(obj).items()) if type(value) is FunctionType]
            return bytes, (_name(obj).encode() + b"".join([_code_digest(one.__code__) for one in methods]),)
        if isinstance(obj, (set, frozenset)):
            return bytes, (_set_digest(obj),), (kind, getattr(obj, "__dict__", None))
        return NotImplemented


class _Sorting(_Stable):
    """As that, with sets in an order of their own; it is asked about each part of the value, which takes time."""

    def persistent_id(self, obj: Any) -> Any:
        return (type(obj).__name__, _set_digest(obj)) if type(obj) in (set, frozenset) else None


def fingerprint(value: object) -> bytes:
    """Its digest.

    Raises:
        Exception: It cannot be pickled; whatever pickling raised.
    """
    try:
        return _digest(value, fast=True)
    except (_TooLong, ValueError, RecursionError):  # it is large, or contains itself
        return _digest(value, fast=False)


def _digest(value: object, *, fast: bool) -> bytes:
    most = MOST_UNSHARED_BYTES if fast else None
    for pickler in (_Stable, _Sorting):
        file = _Hashed(most)
        made = pickler(file, protocol=5)
        made.fast = fast
        made.dump(value)
        if not file.has_sets:
            break
    return file.hash.digest()


def _set_digest(value: Any) -> bytes:
    return b"".join(sorted([fingerprint(each) for each in value]))


def _code_digest(code: CodeType) -> bytes:
    """Of what it does: not of where it stands in which file."""
    found = blake2b(digest_size=DIGEST_BYTES)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    found.update(fingerprint((counts, names, code.co_code, code.co_exceptiontable)))
    for constant in code.co_consts:
        found.update(_code_digest(constant) if type(constant) is CodeType else fingerprint(constant))
    return found.digest()


def _cells(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:
            yield name, None  # not set yet


def _is_users(module: str | None) -> bool:
    """Whether it is of the program, and not installed: caches and counters of libraries change by themselves."""
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return (
        is_own(module)
        and (module or "").partition(".")[0] != "whichpool"
        and not INSTALLED & {*file.split(sep)}
    )


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def of_function(fn: Any) -> dict[str, Any]:
    """What a function is: its ``name``, the ``code`` of it and of what it calls, and the ``values`` that it holds.

    Values that cannot be pickled stand there by their type.
    """
    values: dict[str, str] = {}

    def note(name: str, value: object) -> None:
        try:
            values[name] = fingerprint(value).hex()
        except Exception:
            values[name] = f"a {_name(type(value))}"

    while type(fn) is partial:
        for place, value in enumerate(fn.args):
            note(f"argument {place} of the partial", value)
        for name, value in fn.keywords.items():
            note(f"argument {name} of the partial", value)
        fn = fn.func
    roots, owner = [fn], None
    if type(fn) is MethodType:
        owner = fn.__self__
    elif type(fn) is not FunctionType and not isinstance(fn, type) and is_own(type(fn).__module__):
        owner = fn
    if owner is not None:
        note("self", owner)
        kind = owner if isinstance(owner, type) else type(owner)
        roots += [base for base in kind.__mro__ if is_own(base.__module__)]
    name = _name(fn) if owner is not fn else _name(type(fn))
    plain, functions = read(tuple(roots), main_too=True)
    codes: dict[str, list[str]] = {}
    for function in [*functions_of(fn), *[one for one in functions if _is_users(one.__module__)]]:
        digest = _code_digest(function.__code__).hex()
        if digest in codes.setdefault(_name(function), []):
            continue
        codes[_name(function)].append(digest)
        for place, value in enumerate(function.__defaults__ or ()):
            note(f"default {place} of {_name(function)}", value)
        for key, value in (function.__kwdefaults__ or {}).items():
            note(f"default {key} of {_name(function)}", value)
        for key, value in _cells(function):
            note(f"{key} in {_name(function)}", value)
    for module, key, value in plain:
        if _is_users(module):
            note(f"{module}.{key}", value)
    code = {key: "".join(sorted(digests)) for key, digests in codes.items()}
    return {"name": name, "code": code, "values": values}
