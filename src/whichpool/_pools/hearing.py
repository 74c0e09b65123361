"""What workers say besides results: text for the standard streams, log records, warnings.

It is handed on here as if it had been said here, on the thread that serves the workers, in a copy of the caller's
context: to the objects that are ``sys.stdout`` and ``sys.stderr`` now, to the logger of the record's name, through the
warning filters. A frame is heard before the ones behind it, so what an item says is there before its result is. What
the stream, handler or filter raises ends the run with that error, as it would end the loop.

`surroundings` is the other half: what a worker has to know of the streams, the logging and the filters here.
"""

from __future__ import annotations

import io
import pickle
import socket
import sys
import warnings
from contextvars import Context, copy_context

from whichpool._worker import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._pools.fleet import Worker

__all__ = ["Hearing", "surroundings"]

_PLAIN = (str, int, float, bool, type(None))
# Of a record, what logging itself relies upon.
_TYPES = {"name": str, "msg": str, "levelno": int, "levelname": str, "created": float, "pathname": str}

# Where a warning was shown already, for modules that are not loaded here.
_registries: dict[str, dict[Any, Any]] = {}


class _PlainUnpickler(pickle.Unpickler):
    """Loads texts, numbers and containers of them: no class or function is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in what should be plain data")


def _load(frame: wire.Frame) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(frame.body)).load()
    except Exception as error:
        raise wire.BrokenFrame(f"{type(error).__name__}: {error}") from error


class Hearing:
    """Hands on what the workers of one run say."""

    def __init__(self, fail: Callable[[BaseException], None], context: Context | None = None) -> None:
        """
        Args:
            fail: Ends the run with an error.
            context: The caller's, in a copy of which streams and handlers are called.
        """
        self._fail = fail
        self._context = context if context is not None else copy_context()
        self._early: list[wire.Frame] = []

    def later(self, frames: list[wire.Frame]) -> None:
        """Talk that came while its worker was idle: to be heard before what comes next."""
        self._early += frames
        frames.clear()

    def hear(self, frame: wire.Frame) -> None:
        """Hand on what one frame says.

        Raises:
            BrokenFrame: It is no talk.
        """
        while self._early:
            try:
                self._hear(self._early.pop(0))
            except wire.BrokenFrame:
                pass  # whatever it was, the worker has been in order since
        self._hear(frame)

    def _hear(self, frame: wire.Frame) -> None:
        what = _read(frame)
        try:
            self._context.copy().run(what)
        except Exception as error:
            error.add_note("whichpool: raised here, when what a worker process had said was handed on")
            self._fail(error)

    def last_words(self, worker: Worker) -> None:
        """Hear what a worker has said and nobody has read yet; never waits."""
        try:
            while worker.sock.recv(1, socket.MSG_PEEK):
                for frame in worker.receive():
                    if frame.kind == wire.TALK:
                        self.hear(frame)
        except (OSError, EOFError, wire.BrokenFrame, wire.StructError):
            pass  # there is no more


def _read(frame: wire.Frame) -> Callable[[], None]:
    """What is to be done about a frame.

    Raises:
        BrokenFrame: It is no talk.
    """
    kind = frame.number
    if frame.buffers:
        raise wire.BrokenFrame("talk with buffers")
    if kind in (wire.OUT_TEXT, wire.ERR_TEXT):
        try:
            text = str(frame.body, "utf-8", "surrogatepass")
        except UnicodeError as error:
            raise wire.BrokenFrame(f"text that is none: {error}") from error
        return lambda: _write(kind == wire.OUT_TEXT, text)
    if kind in (wire.OUT_BYTES, wire.ERR_BYTES):
        data = bytes(frame.body)
        return lambda: _write_bytes(kind == wire.OUT_BYTES, data)
    if kind == wire.RECORD:
        record = _read_record(_load(frame))
        return lambda: _handle(*record)
    if kind == wire.WARNING:
        fields = _read_warning(_load(frame))
        return lambda: _warn(*fields)
    raise wire.BrokenFrame(f"talk of kind {kind}")


# -- the streams -------------------------------------------------------------------------------------------------------


def _write(out: bool, text: str) -> None:
    stream = sys.stdout if out else sys.stderr
    if stream is not None:
        stream.write(text)


def _write_bytes(out: bool, data: bytes) -> None:
    stream = sys.stdout if out else sys.stderr
    if stream is None:
        return
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode("utf-8", "backslashreplace"))
        return
    stream.flush()
    buffer.write(data)


# -- log records -------------------------------------------------------------------------------------------------------


def _read_record(made: Any) -> tuple[bool, str | None, dict[str, Any], dict[str, bytes]]:
    if isinstance(made, tuple) and len(made) == 4:
        found, home, plain, others = made
        if (
            isinstance(found, bool)
            and (home is None or isinstance(home, str))
            and isinstance(plain, dict)
            and isinstance(others, dict)
            and all(type(name) is str and type(value) in _PLAIN for name, value in plain.items())
            and all(type(name) is str and type(value) is bytes for name, value in others.items())
            and all(type(plain.get(name)) is kind for name, kind in _TYPES.items())
        ):
            return found, home, plain, others
    raise wire.BrokenFrame("a log record that is none")


def _handle(found: bool, home: str | None, plain: dict[str, Any], others: dict[str, bytes]) -> None:
    """Give the record to the logger that it was made for; ``found``: a handler in the worker has had it."""
    import logging
    import os.path

    logger = logging.getLogger(plain["name"])
    if found and not logger.hasHandlers():
        return  # the last resort is for those whom nobody has heard
    fields: dict[str, Any] = dict(plain)
    for name, data in others.items():
        try:
            fields[name] = pickle.loads(data)
        except Exception:
            pass  # it cannot be loaded here: the record goes without
    if plain["levelname"] == f"Level {plain['levelno']}":
        fields["levelname"] = logging.getLevelName(plain["levelno"])
    fields["args"] = fields["exc_info"] = None  # both are in the texts
    file = _file_of(home)
    if file is not None:
        fields["pathname"], fields["filename"] = file, os.path.basename(file)
        fields["module"] = os.path.splitext(fields["filename"])[0]
    logger.handle(logging.makeLogRecord(fields))


def _file_of(module: str | None) -> str | None:
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file if isinstance(file, str) else None


# -- warnings ----------------------------------------------------------------------------------------------------------


def _read_warning(made: Any) -> tuple[Any, ...]:
    kinds: tuple[Any, ...] = (str, str, str, str, int, (str, type(None)), (str, type(None)), bool)
    if (
        isinstance(made, tuple)
        and len(made) == len(kinds)
        and all(isinstance(part, kind) for part, kind in zip(made, kinds, strict=True))
    ):
        return made
    raise wire.BrokenFrame("a warning that is none")


def _warn(
    text: str,
    home: str,
    name: str,
    filename: str,
    lineno: int,
    module: str | None,
    line: str | None,
    own: bool,
) -> None:
    """Warn as the worker did.

    The worker has the filters of this process, so what is an error here has been raised there, by the item. ``own``:
    the function has changed them for itself, and its own let the warning pass.
    """
    message = _instance(text, home, name)
    if filename[:1] == "<":
        filename = _file_of(module) or filename  # code that came by value does not know its file
    if own:
        warnings.showwarning(message, type(message), filename, lineno, None, line)
        return
    space = getattr(sys.modules.get(module or ""), "__dict__", None)
    if space is not None:
        # The module's own: a warning that the loop has shown for an earlier item is not shown again.
        registry = space.setdefault("__warningregistry__", {})
    else:
        registry = _registries.setdefault(filename, {})
    warnings.warn_explicit(message, type(message), filename, lineno, module, registry)


def _instance(text: str, home: str, name: str) -> Warning:
    try:
        found: Any = sys.modules.get(home)
        if found is None:
            from importlib import import_module

            found = import_module(home)
        for part in name.split("."):
            found = getattr(found, part)
        made = found(text) if issubclass(found, Warning) else None
    except Exception:
        made = None
    return made if isinstance(made, Warning) else UserWarning(f"{home}.{name}: {text}")


# -- what a worker has to know -----------------------------------------------------------------------------------------


def surroundings() -> dict[str, Any]:
    """The streams' encodings, the warning filters; the levels of the loggers, if there are any."""
    wish: dict[str, Any] = {
        "streams": (_encoding(sys.stdout, "strict"), _encoding(sys.stderr, "backslashreplace"))
    }
    wish["warnings"] = _filters()
    if "logging" in sys.modules:
        wish["logging"] = _logging()
    return wish


def _encoding(stream: Any, errors: str) -> tuple[str, str]:
    """How the worker's stream should encode, so that a text that cannot be written fails in the item that writes it."""
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str):
        return "utf-8", "surrogatepass"  # it takes any text, as `io.StringIO` does
    own = getattr(stream, "errors", None)
    try:
        if "\n".encode(encoding) != b"\n":
            return "utf-8", "surrogatepass"  # lines could not be told apart
    except LookupError:
        return "utf-8", "surrogatepass"
    return encoding, own if isinstance(own, str) else errors


def _logging() -> dict[str, Any]:
    import logging

    manager = logging.root.manager
    levels, disabled, handled = {"": int(logging.root.level)}, set(), set()
    if logging.root.handlers:
        handled.add("")
    kind = logging.Logger
    for name, logger in list(manager.loggerDict.items()):
        if isinstance(logger, kind):
            if logger.level:
                levels[name] = int(logger.level)
            if logger.handlers:
                handled.add(name)
            if logger.disabled:
                disabled.add(name)
    return {"levels": levels, "disabled": disabled, "handled": handled, "disable": int(manager.disable)}


def _filters() -> list[Any]:
    found = []
    for action, message, category, module, line in list(warnings.filters):
        kind: Any = category
        try:
            names = kind.__module__, kind.__qualname__
            found.append((str(action), _pattern(message), names, _pattern(module), int(line)))
        except (AttributeError, TypeError, ValueError):
            continue  # it is no filter that `warnings` would make
    return found


def _pattern(wish: Any) -> Any:
    return wish if wish is None or isinstance(wish, str) else (wish.pattern, wish.flags)
