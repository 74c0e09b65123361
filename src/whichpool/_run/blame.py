"""Errors on their way to the caller: which item it was, and what had been done."""

from __future__ import annotations

from whichpool._worker.calls import short_repr
from whichpool.errors import ItemTimeout, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._records import Failure
    from whichpool._run.work import Work


def blame(error: BaseException, work: Work) -> BaseException:
    """The error with a note that names the item."""
    at = work.error_at
    if at is None or work.blamed is None or isinstance(error, (WorkerDied, ItemTimeout)):
        return error
    note = f"whichpool: {work.blamed}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error


def describe(index: int, item: Any, of_items: bool) -> str:
    """One line that names the item."""
    if of_items:
        return f"raised by the iterable, when item {index} was asked for"
    return f"raised by item {index}: {short_repr(item)}"


def failure(index: int, item: Any, error: BaseException, text: str) -> Failure:
    """What stands for a failed item where failures are returned; ``text``: its traceback, if not that of ``error``."""
    from whichpool._records import Failure

    if not text:
        import traceback

        text = "".join(traceback.format_exception(error))
    return Failure(index, short_repr(item), error, text)


def remember(error: BaseException, results: Any) -> None:
    """Keep what had been done with the exception, for `salvage`: it lives as long as the exception does."""
    try:
        error.__dict__[_KEY] = results
    except AttributeError:
        pass  # an exception type without attributes of its own


def salvage(error: BaseException) -> Any:
    """What had been done before ``error`` ended a `map`; ``None`` if it did not end one."""
    return getattr(error, "__dict__", {}).get(_KEY)


_KEY = "_whichpool_results"
