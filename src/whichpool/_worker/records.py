"""`logging` and `warnings` in a worker: made to the caller's wishes here, handled by the caller's handlers there.

Each is changed in one place: `logging` where a record goes to the handlers, `warnings` where a warning is shown.
`warnings` is small; `logging` is not, and so it is changed only once the function's own imports load it.
"""

from __future__ import annotations

import _pickle as pickle
import builtins
import os
import sys
import warnings

from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from .talk import Talk

    # action, message, category (module, name), module, line; message and module as (pattern, flags), text or None
    # so many modules; handlers; logger -> level, disabled
    Before = tuple[int, set[int], dict[str, tuple[int, bool]]]

    Filter = tuple[str, Any, tuple[str, str], Any, int]

__all__ = ["install", "loaded", "loading", "set_up"]

_PLAIN = (str, int, float, bool, type(None))

_talk: Talk | None = None
_logging: dict[str, Any] | None = None  # what the caller's logging is like, as far as is known
_filters: list[Any] | None = None  # the caller's warning filters, as they were set here
_ours: Any = None  # stands on every logger that has handlers in the parent
_silent: set[int] = set()  # ids of handlers that the program set up itself; the parent has made the same ones
_kept: list[Any] = []  # these handlers, so that the ids stay theirs


class _Finder:
    """First on ``sys.meta_path``: notices the import of a module, and has something done right after it."""

    def __init__(self, wanted: dict[str, Callable[[], None]]) -> None:
        self._wanted = wanted

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        after = self._wanted.pop(name, None)
        if after is None:
            return None
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Loader(spec.loader, after)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """A module's own loader, and one step more."""

    def __init__(self, loader: Any, after: Callable[[], None]) -> None:
        self._loader = loader
        self._after = after

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        loader: Any = self._loader
        module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        loader.exec_module(module)
        self._after()


def install(talk: Talk) -> None:
    """Have records and warnings go out through ``talk``."""
    global _talk
    _talk = talk
    warnings.showwarning = _show
    if "logging" in sys.modules:
        _install_logging()
    else:
        sys.meta_path.insert(0, _Finder({"logging": _install_logging}))


def set_up(wish: dict[str, Any]) -> None:
    """Have the levels and the filters of the caller."""
    global _logging
    if "logging" in wish:
        _logging = wish["logging"]
        if "logging" in sys.modules:
            _apply_logging()
    if "warnings" in wish:
        _apply_filters(wish["warnings"])


def loading() -> Before:
    """To be called before a job is loaded; what it gives is for `loaded`."""
    if "logging" not in sys.modules:
        return len(sys.modules), set(), {}
    levels = {name: (logger.level, logger.disabled) for name, logger in _loggers().items()}
    return len(sys.modules), {id(handler) for handler in _handlers()}, levels


def loaded(before: Before) -> None:
    """A job was loaded. Handlers that came with it are the program's own: the parent has them, so here they rest.

    The same holds for levels. What the function has set in calls before stays, as it would in the loop.
    """
    modules, handlers, levels = before
    if len(sys.modules) != modules and "logging" in sys.modules:
        for handler in _handlers():
            if handler is not _ours and id(handler) not in handlers and id(handler) not in _silent:
                _silent.add(id(handler))
                _kept.append(handler)
        _apply_logging(levels)
    # "once" and "default" are once in a run here; whether it was shown before, the parent knows.
    warnings.onceregistry.clear()  # type: ignore[attr-defined]  # documented, and not in typeshed
    _forget_shown()


# -- logging -----------------------------------------------------------------------------------------------------------


def _loggers() -> dict[str, Any]:
    import logging

    found = {
        name: each
        for name, each in list(logging.root.manager.loggerDict.items())
        if isinstance(each, logging.Logger)
    }
    found[""] = logging.root
    return found


def _handlers() -> list[Any]:
    return [handler for logger in _loggers().values() for handler in list(logger.handlers)]


def _install_logging() -> None:
    global _ours
    import logging

    class Elsewhere(logging.Handler):
        """The handlers are in the parent."""

        def createLock(self) -> None:  # the name is logging's
            self.lock = None

        def handle(self, record: logging.LogRecord) -> bool:
            return True

    _ours = Elsewhere()
    logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign]
    _apply_logging()


def _apply_logging(stay: dict[str, tuple[int, bool]] | None = None) -> None:
    """Make it as the caller's; ``stay``: but for loggers whose level and ``disabled`` are these."""
    if _logging is None:
        return
    import logging

    levels, disabled, handled = _logging["levels"], _logging["disabled"], _logging["handled"]
    for name in levels.keys() | handled:
        if name:
            logging.getLogger(name)
    for name, logger in _loggers().items():
        if stay is None or stay.get(name, (logging.NOTSET, False)) != (logger.level, logger.disabled):
            level = levels.get(name, logging.NOTSET)
            if logger.level != level:
                logger.setLevel(level)
            logger.disabled = name in disabled
        if (name in handled) != (_ours in logger.handlers):
            (logger.addHandler if name in handled else logger.removeHandler)(_ours)
    if stay is None and logging.root.manager.disable != _logging["disable"]:
        logging.disable(_logging["disable"])


def _call_handlers(self: Any, record: Any) -> None:
    """In place of `logging.Logger.callHandlers`: handlers that the function added here, then those of the parent."""
    import logging

    found = False
    logger = self
    while logger is not None:
        for handler in logger.handlers:
            if handler is not _ours and id(handler) not in _silent:
                found = True
                if record.levelno >= handler.level:
                    handler.handle(record)
        logger = logger.parent if logger.propagate else None
    if _talk is None or _talk.alone:
        if not found and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
        return
    try:
        body = _pack_record(record, found)
    except Exception:
        _ours.handleError(record)  # its text cannot be made: said on standard error, as every handler does
        return
    _talk.say(wire.RECORD, body)


def _pack_record(record: Any, found: bool) -> bytes:
    """Its text is made here: arguments need not travel."""
    import logging

    fields = dict(record.__dict__)
    fields["msg"] = record.getMessage()
    fields["args"] = None
    info = fields.pop("exc_info", None)
    fields["exc_info"] = None
    if info and not fields.get("exc_text"):
        fields["exc_text"] = logging.Formatter().formatException(info)
    if record.process in (None, os.getpid()):  # else it comes from a worker of this worker
        fields["process"] = os.getpid()
        fields["processName"] = f"whichpool-worker-{os.getpid()}"
    # Code that came by value does not know its file; its module does, in the parent.
    home = _module_at(record.pathname, record.lineno) if record.pathname[:1] == "<" else None
    plain: dict[str, Any] = {}
    others: dict[str, bytes] = {}
    for name, value in fields.items():
        if type(value) in _PLAIN:
            plain[name] = value
        else:
            from .calls import dump_anything

            try:
                others[name] = dump_anything(value)
            except Exception:
                pass  # it stays here
    return pickle.dumps((found, home, plain, others), protocol=5)


# -- warnings ----------------------------------------------------------------------------------------------------------


class _Named(type):
    """The class of stand-ins for a filter's category: known by name, so that no module is loaded for it.

    A category that is not loaded here cannot be raised here; one that is has the name among its bases.
    """

    def __subclasscheck__(cls, other: type) -> bool:
        wanted = cls.__dict__["stands_for"]
        return any((each.__module__, each.__qualname__) == wanted for each in other.__mro__)


def _apply_filters(wish: list[Filter]) -> None:
    global _filters
    made = []
    for action, message, category, module, line in wish:
        try:
            made.append((action, _pattern(message), _category(category), _pattern(module), line))
        except Exception:
            continue  # a pattern that this interpreter does not compile
    warnings.filters[:] = made  # type: ignore[index]
    _filters = made
    _forget_shown()


def _forget_shown() -> None:
    """Have `warnings` forget which ones it has shown: it does so whenever its filters change."""
    with warnings.catch_warnings():
        pass


def _pattern(wish: Any) -> Any:
    if not isinstance(wish, tuple):
        return wish
    import re

    return re.compile(*wish)


def _category(name: tuple[str, str]) -> Any:
    if name[0] == "builtins":
        return vars(builtins)[name[1]]
    return _Named("Category", (Warning,), {"stands_for": name, "__module__": name[0]})


def _show(
    message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """In place of `warnings.showwarning`."""
    if _talk is None or _talk.alone or file is not None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        print(text, end="", file=file if file is not None else sys.stderr)
        return
    own = _filters is not None and list(warnings.filters) != _filters
    module = _module_at(filename, lineno)
    kind = category.__module__, category.__qualname__
    fields = (str(message), *kind, str(filename), int(lineno), module, line, own)
    _talk.say(wire.WARNING, pickle.dumps(fields, protocol=5))


def _module_at(filename: str, lineno: int) -> str | None:
    """The module that the warning is about, which filters may name."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_lineno == lineno and frame.f_code.co_filename == filename:
            name = frame.f_globals.get("__name__")
            return name if isinstance(name, str) else None
        frame = frame.f_back
    return None
