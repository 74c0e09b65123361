"""The guard: finds out whether a function may run beside itself, and whether it can go to another process.

    fn  ->  Reader (byte code)          clear writes, names set once
        ->  captured (live objects)     random states, iterators, open files, locks, connections
        ->  Watch (fingerprints)        what did change while the first items ran
        =   Hazards

What is decided, where it could be argued about:

- A write inside ``with lock:`` is still a write. No thread would break it, but its order is not the loop's, and
  a worker process would write a copy.
- A table of known values filled by hand is a write: the results would be right, but a worker's table is lost.
  `functools.cache` says the same and is benign.
- A constant put into a setting of an installed module (``os.environ["X"] = "1"``) is the same after every call, so
  it is benign.
- The functions of the modules `random` and `numpy.random` draw on hidden state, but no particular stream was
  asked for, so any is as good. Reseeding it in the call is a write that rules out threads.
- A changed item keeps the loop: a process would change a copy, and one object may be passed as several items, so
  threads are no better. To take something from an iterator or a file is to change it.
- What a call changes for the whole process (the working directory, the environment) stays for the items after it, so
  processes are no better than threads; what it puts back in a ``with`` rules out threads alone.
"""

from __future__ import annotations

import sys
from types import BuiltinMethodType, FunctionType, MethodWrapperType, ModuleType

from whichpool._worker.objects import registry
from whichpool._worker.watch import (
    MISSING,
    Watch,
    is_class,
    is_user_code,
    is_user_type,
    item_changed,
    item_look,
    lookup,
    loose,
    type_name,
    unwrap,
)

from ._effects import kind_of
from ._live import captured, trouble
from ._reader import Finding, Reader
from ._values import Value, display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._records import Hazard

__all__ = ["Guard", "read"]


def read(fn: object) -> tuple[Hazard, ...]:
    """What the code of a function, and what it captures, say against running it concurrently.

    Args:
        fn: Anything callable; functions of installed packages and of C are taken to be harmless.

    Returns:
        One record for each name and kind; empty if nothing is known against it. Never raises.
    """
    return Guard(fn).read()


MOST_BUILTINS = 256
_builtins: dict[object, tuple[Hazard, ...]] = {}


class Guard:
    """What is known against running one function concurrently.

    Args:
        fn: What is called for each item.
    """

    __slots__ = ("_absent", "_before", "_fn", "_hazards", "_ignore", "_watch")

    def __init__(self, fn: object) -> None:
        self._fn = fn
        self._hazards: tuple[Hazard, ...] | None = None
        self._absent: set[str] = set()
        self._ignore: frozenset[str] = frozenset()
        self._watch: Watch | None = None
        self._before: Any = None

    @property
    def ignore(self) -> frozenset[str]:
        """Names that may change: set once behind a test of themselves. For `Watch` in the workers."""
        self.read()
        return self._ignore

    def read(self) -> tuple[Hazard, ...]:
        """The hazards that the code and the captured objects show; read once."""
        if self._hazards is None:
            try:
                self._hazards = self._read()
            except Exception:  # reading is a help; a callable beyond understanding must still be mapped
                self._hazards = ()
        return self._hazards

    def before(self) -> None:
        """Take a fingerprint; call before an item is run."""
        if self._watch is None:
            self._watch = Watch(self._fn, self.ignore)
        self._before = self._watch.look()

    def after(self) -> tuple[Hazard, ...]:
        """What has changed since `before`, as hazards; a write that was read off the code comes as it was read."""
        if self._watch is None or self._before is None:
            return ()
        loaded = self._loaded()
        names = self._watch.changed(self._before, self._watch.look())
        if not names:
            return loaded
        from ._words import about_change

        known = {loose(h.name): h for h in self.read() if h.needs_order}
        where = self._where()
        seen = (known.get(loose(name)) or about_change(name, where) for name in names)
        return tuple(dict.fromkeys((*seen, *loaded)))

    def _loaded(self) -> tuple[Hazard, ...]:
        """What else is read once the user's modules that the function imports are there."""
        names = [name for name in self._absent if name in sys.modules]
        self._absent.difference_update(names)
        files = [getattr(sys.modules[name], "__file__", None) for name in names]
        if not any(type(file) is str and is_user_code(file) for file in files):
            return ()
        known, self._hazards = self._hazards or (), None
        more = tuple(hazard for hazard in self.read() if hazard not in known)
        self._hazards = (*known, *more)
        return more

    def item_before(self, item: object) -> object:
        """A fingerprint of an item, for `item_after`; ``None``: nothing about it could be changed."""
        return item_look(item)

    def item_after(self, item: object, before: object) -> Hazard | None:
        """Whether the call changed the item.

        Args:
            item: The item that was run.
            before: What `item_before` gave for it.
        """
        if before is None:
            return None
        now: Any = item_look(item)
        names = item_changed(before, now)  # type: ignore[arg-type]
        if not names:
            return None
        from ._words import about_change

        return about_change(names[0], self._where())

    def _where(self) -> str:
        inner: Any = unwrap(self._fn)[0]
        if type(inner) is FunctionType and registry(inner) is not None:
            inner = inner.__dict__.get("__wrapped__")
        if type(inner) is FunctionType:
            file = inner.__code__.co_filename.replace("\\", "/").rsplit("/", 1)[-1]
            return f"{file}:{inner.__code__.co_firstlineno}"
        return type(self._fn).__name__

    def _read(self) -> tuple[Hazard, ...]:
        fn = self._fn
        if type(fn) is not BuiltinMethodType or type(fn.__self__) is not ModuleType:
            return self._read_anew()
        # What a function of a C module does is known by its name alone, and does not change.
        hazards = _builtins.get(fn)
        if hazards is None:
            hazards = self._read_anew()
            if len(_builtins) < MOST_BUILTINS:
                _builtins[fn] = hazards
        return hazards

    def _read_anew(self) -> tuple[Hazard, ...]:
        inner, owner, given, keywords = unwrap(self._fn)
        reader = Reader()
        held: list[tuple[str, object]] = []
        where: str | None = None
        if type(inner) is FunctionType:
            held = _function(reader, inner, owner, given, keywords)
            if reader.steps <= 0:  # a lot of code: what the function does itself counts most
                reader = Reader(follow=1)
                held = _function(reader, inner, owner, given, keywords)
        elif is_class(inner):
            if is_user_type(inner):
                _class(reader, inner)
        elif type(inner) is BuiltinMethodType:
            held, where = _builtin_method(reader, inner)
        else:
            receiver = inner.__self__ if type(inner) is MethodWrapperType else None
            held = [(type(receiver).__name__, receiver)] if receiver is not None else []
        held += [
            (f"argument {at + 1}", value) for at, value in enumerate(given) if type(inner) is not FunctionType
        ]
        self._ignore = _set_once(reader)
        self._absent = reader.absent
        found = [
            (f, loose(f.name) in reader.probed and f.how in ("subscript", "setdefault"))
            for f in reader.findings.values()
        ]
        troubles = [
            (c, what)
            for c in captured(list(reader.functions.values()), held, reader.placed)
            if (what := trouble(c)) is not None
        ]
        if not found and not troubles:
            return ()
        from ._words import about_captured, about_write

        hazards = [about_write(f, memo) for f, memo in found]
        hazards += [h for c, what in troubles for h in about_captured(c, what)]
        if where is not None:
            from whichpool._record import replace

            hazards = [replace(h, where=where) for h in hazards]
        unique: dict[tuple[str, str], Hazard] = {}
        for hazard in hazards:
            unique.setdefault((hazard.kind, hazard.name), hazard)
        return tuple(unique.values())


def _set_once(reader: Reader) -> frozenset[str]:
    written = {loose(f.name) for f in reader.findings.values()}
    return frozenset(name for name in map(display, reader.lazy) if loose(name) not in written)


def _function(
    reader: Reader, fn: FunctionType, owner: object, given: tuple[Any, ...], keywords: dict[str, Any]
) -> list[tuple[str, object]]:
    """Read a Python function; returns what goes with every call of it."""
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount]
    held: list[tuple[str, object]] = []
    args: list[Value] = []
    if registry(fn) is not None:  # functools.singledispatch: the items say which of its functions is called
        reader.function(fn, [Value("item", MISSING, "item", tainted=True)], {}, 0, True)
        return []
    if not is_user_code(code.co_filename):  # a bound method of a class of the standard library: queue.put
        kind = "" if owner is MISSING else type(owner).__name__
        family = kind_of(owner) if kind else None
        if family is not None and fn.__name__ in family[1]:
            reader.findings[kind] = Finding(
                f"{kind}.{fn.__name__}", "global", fn.__name__, family[0], code, 0
            )
        held = [(f"argument {at + 1}", value) for at, value in enumerate(given)] + list(keywords.items())
        return [(kind, owner), *held] if kind else held
    if owner is not MISSING:
        name = type_name(owner) if is_class(owner) else names[0] if names else "self"
        held.append((name, owner))
        args.append(Value(name, owner, "self"))
    for value in given:
        name = names[len(args)] if len(args) < len(names) else f"argument {len(args)}"
        held.append((name, value))
        args.append(Value(name, value, "given"))
    held += keywords.items()
    named = {name: Value(name, value, "given") for name, value in keywords.items()}
    first = len(args)
    required = len(names) - len(fn.__defaults__ or ())
    for at in range(first, max(len(names), first + 1)):
        if at >= len(names) and not code.co_flags & 0x04:
            break
        name = names[at] if at < len(names) else "item"
        # The first parameter takes the item; those without a default take the items of further iterables.
        if name not in named and (at == first or at < required):
            args.append(Value(name, MISSING, "item", tainted=True))
        else:
            break
    reader.function(fn, args, named, 0, True)
    return held


def _class(reader: Reader, kind: type) -> None:
    """A class is called for each item: its instance is new, what its methods write elsewhere is not."""
    for name, receiver in (
        ("__new__", Value(kind.__name__, kind, "global")),
        ("__init__", Value(fresh=kind)),
    ):
        method = lookup(kind, name)
        method = method.__func__ if type(method) is staticmethod else method
        if type(method) is FunctionType:
            reader.function(method, [receiver, Value("item", MISSING, "item", tainted=True)], {}, 0, True)


def _builtin_method(reader: Reader, method: Any) -> tuple[list[tuple[str, object]], str | None]:
    """A bound method of a builtin object: `results.append`, `rng.random`."""
    receiver, name = method.__self__, method.__name__
    kind = type(receiver).__name__
    family = kind_of(receiver)
    if family is not None and name in family[1]:
        code = (lambda: None).__code__  # a place to stand for a function without code
        reader.findings[kind] = Finding(f"{kind}.{name}", "global", name, family[0], code, 0)
    return [(kind, receiver)], f"{kind}.{name}"
