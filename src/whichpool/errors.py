"""The exceptions that whichpool raises itself. What the caller's function raises is passed on as it is.

WhichpoolError
├── PlanError (ValueError)          an option that cannot be: plan=(0, 0), limit=-1
├── JournalMismatch (ValueError)    the journal is of another function, of other items, or no journal
├── CannotTravel (TypeError)        a function, item or result that cannot be pickled
├── SharedWrite                     a function running concurrently was seen to write what others can see
├── WorkerDied                      a worker process ended while it ran an item
├── ItemTimeout (TimeoutError)      a call took longer than timeout=
├── DeadlineExceeded (TimeoutError) the whole took longer than deadline=
├── WorkerLost                      the worker processes cannot be started, or keep dying
├── RemoteError                     stands in for an exception that could not be pickled
└── MissingExtra (ImportError)      an optional part is not installed

RemoteTraceback                     the ``__cause__`` of an exception from a worker process: its traceback, as text
"""

from __future__ import annotations

__all__ = [
    "CannotTravel",
    "DeadlineExceeded",
    "ItemTimeout",
    "JournalMismatch",
    "MissingExtra",
    "OverMemory",
    "PlanError",
    "RemoteError",
    "RemoteTraceback",
    "SharedWrite",
    "WhichpoolError",
    "WorkerDied",
    "WorkerLost",
]


class WhichpoolError(Exception):
    """Base of all that whichpool raises itself."""

    # So that tracebacks and pickles name what people import.
    __module__ = "whichpool"


class PlanError(WhichpoolError, ValueError):
    """An option has a value that cannot be; the message names it and what is allowed."""


class JournalMismatch(WhichpoolError, ValueError):
    """The file that ``journal`` names is no journal, or has the results of another function or of other items.

    The message says what differs. Nothing is taken from it, and it is left as it is.
    """


class CannotTravel(WhichpoolError, TypeError):
    """A function, an item or a result cannot be pickled, so it cannot go to or come from a process."""


class SharedWrite(WhichpoolError):
    """A function that runs concurrently was seen to write what other calls can see.

    Its results could differ from the loop's, so none are given. The message names what is written.
    """


class WorkerDied(WhichpoolError):
    """A worker process ended while it was running an item.

    Attributes:
        index: The item's position, from 0; ``None`` if no item was running.
        exitcode: The exit code, or minus the signal's number; ``None`` if it could not be learnt.
    """

    def __init__(self, message: str, index: int | None = None, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[str, int | None, int | None]]:
        return type(self), (str(self), self.index, self.exitcode)


class ItemTimeout(WhichpoolError, TimeoutError):
    """A call took longer than ``timeout`` allows.

    Attributes:
        index: The item's position, from 0.
        timeout_s: What was allowed, seconds.
    """

    def __init__(self, message: str, index: int, timeout_s: float) -> None:
        super().__init__(message)
        self.index = index
        self.timeout_s = timeout_s

    def __reduce__(self) -> tuple[type[ItemTimeout], tuple[str, int, float]]:
        return type(self), (str(self), self.index, self.timeout_s)


class DeadlineExceeded(WhichpoolError, TimeoutError):
    """The whole call took longer than ``deadline`` allows; `whichpool.salvage` has what had been done."""


class OverMemory(WhichpoolError, MemoryError):
    """An item takes more memory than ``max_memory`` leaves, also if it runs alone in a fresh worker process.

    Attributes:
        index: The item's position, from 0.
        of_item: It is the item that does not fit; ``False``: not even a worker process without one does.
    """

    def __init__(self, message: str, index: int, of_item: bool = True) -> None:
        super().__init__(message)
        self.index = index
        self.of_item = of_item

    def __reduce__(self) -> tuple[type[OverMemory], tuple[str, int, bool]]:
        return type(self), (str(self), self.index, self.of_item)


class WorkerLost(WhichpoolError):
    """No worker process can be had: they cannot be started, or end before they take an item."""


class RemoteError(WhichpoolError):
    """Stands in for an exception that could not be pickled in a worker process.

    Attributes:
        type_name: The qualified name of the exception's type.
        text: Its ``str``.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name
        self.text = text

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str]]:
        return type(self), (self.type_name, self.text)


class MissingExtra(WhichpoolError, ImportError):
    """An optional part is not installed; the message has the ``pip install`` line."""


class RemoteTraceback(Exception):
    """The traceback of an exception that was raised in a worker process, as text."""

    __module__ = "whichpool"

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""' if self.args else ""
