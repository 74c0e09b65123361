"""How a command ends: the exit codes, and the one exception that carries them to the top.

0    all done
1    the function raised, or items failed under ``--on-error return``
2    the command line cannot be right
3    items could not be read, or results could not be written
130  Ctrl-C (128 + SIGINT)
143  asked to end (128 + SIGTERM)

``whichpool get`` has further ones, a class of failure each: `whichpool.downloads.failures`.
"""

from __future__ import annotations

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "IO_FAILED",
    "OK",
    "TERMINATED",
    "USAGE",
    "Ending",
    "ReaderGone",
    "raised_by_function",
]

OK = 0
FAILED = 1
USAGE = 2
IO_FAILED = 3
INTERRUPTED = 130
TERMINATED = 143


class Ending(Exception):
    """The command is over: with this code, and with this to say on standard error.

    Attributes:
        code: The exit code.
        message: What happened and what to do; empty: nothing to say.
    """

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ReaderGone(Ending):
    """Who read the results has gone (``| head``): nothing is wrong, and nothing is left to do."""

    def __init__(self) -> None:
        super().__init__(OK)


def raised_by_function(error: BaseException) -> Ending:
    """What the user's function, or whichpool for it, raised; its notes name the item.

    Args:
        error: The exception as it came out of whichpool. The caller raises the ``Ending`` ``from`` it, so
            that ``--debug`` shows it whole.

    Returns:
        An `Ending` with code 1, or 2 where an option was what is wrong.
    """
    import whichpool

    kind = type(error).__qualname__
    said = str(error)
    own = isinstance(error, whichpool.WhichpoolError)
    if own and not isinstance(error, whichpool.RemoteError):
        message = said or kind
    elif isinstance(error, SystemExit):
        message = f"the function called sys.exit({error.code!r})"
    else:
        message = f"{kind}: {said}" if said else kind
    notes = "".join(f"\n  {line}" for note in getattr(error, "__notes__", ()) for line in note.splitlines())
    return Ending(USAGE if isinstance(error, whichpool.PlanError) else FAILED, message + notes)
