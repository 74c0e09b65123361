"""``whichpool process``: a function over a dataset, into an output or to a value."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.endings import IO_FAILED, USAGE, Ending, raised_by_function
from whichpool.cli.output import whole_file
from whichpool.cli.standard import OUTPUT, not_written
from whichpool.cli.talk import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from whichpool.dataset.records import Progress

__all__ = ["condition", "lines", "process_dataset"]

# Seconds between two lines where there is no terminal; as for `whichpool get`.
LINES_S = 5.0

_CONDITION = re.compile(r"\s*(?P<name>.+?)\s*(?P<operator>==|!=|<=|>=|<|>|=)\s*(?P<value>.+?)\s*", re.DOTALL)


def condition(text: str) -> tuple[str, str, Any]:
    """``distance >= 500`` as ``("distance", ">=", 500)``; the value is JSON, or a text as it stands.

    Raises:
        ValueError: It has no comparison.

    >>> condition("origin == JFK"), condition("distance>=500")
    (('origin', '==', 'JFK'), ('distance', '>=', 500))
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no condition such as 'distance >= 500'")
    try:
        value = json.loads(found["value"])
    except ValueError:
        value = found["value"]
    return found["name"], "==" if found["operator"] == "=" else found["operator"], value


def process_dataset(
    sources: tuple[str, ...],
    fn: Callable[..., Any],
    combine: Callable[[Any, Any], Any] | None,
    path: str | None,
    *,
    quiet: bool,
    progress: bool,
    stdout: TextIO,
    options: dict[str, Any],
) -> None:
    """Run ``whichpool.process``; write the value, where there is one, as JSON.

    Args:
        sources: What the input is.
        fn: The function.
        combine: As for ``whichpool.process``.
        path: The output; with ``combine``, the file of the value; ``None``: standard output.
        quiet: Say nothing but errors.
        progress: Whether it may be said how far it is.
        stdout: Standard output, for the value only.
        options: Passed on.

    Raises:
        Ending: Code 1 where the function raised, 2 where something is asked that cannot be, 3 where something cannot
            be read or written.
    """
    from whichpool.dataset.failures import BadOutput, DatasetError

    with ExitStack() as stack:
        value_file = (
            stack.enter_context(whole_file(path)) if path is not None and combine is not None else None
        )
        tell = stack.enter_context(_progress()) if progress and not quiet else False
        try:
            report = whichpool.process(
                sources[0] if len(sources) == 1 else list(sources),
                fn,
                path if combine is None else None,
                combine,
                progress=tell,
                **options,
            )
        except BadOutput as error:
            raise Ending(USAGE, str(error)) from error
        except (DatasetError, OSError) as error:
            notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
            raise Ending(IO_FAILED, str(error) + notes) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise raised_by_function(error) from error
        if combine is not None and not options.get("why_rerun"):
            line = _as_json(report.value)
            if value_file is not None:
                value_file.write(line + "\n")
            else:
                _print(stdout, line)
    if options.get("why_rerun") or not quiet:
        say(str(report))


@contextmanager
def _progress() -> Iterator[Callable[[Progress], object]]:
    """A bar on a terminal; else a line every few seconds."""
    from whichpool.dataset.progress import bar

    if sys.stderr.isatty():
        with bar() as tell:
            yield tell
    else:
        yield lines()


def lines(every_s: float = LINES_S) -> Callable[[Progress], None]:
    """What says how far it is, a line every few seconds, and nothing of a run that is over before.

    Args:
        every_s: Seconds between two lines.
    """
    from whichpool.dataset.progress import in_words

    said_s = 0.0

    def tell(seen: Progress) -> None:
        nonlocal said_s
        if seen.elapsed_s - said_s >= every_s and seen.splits < seen.splits_total:
            said_s = seen.elapsed_s
            say(in_words(seen))

    return tell


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        if hasattr(value, "item"):  # a number of NumPy's
            return _as_json(value.item())
        raise Ending(
            IO_FAILED,
            f"the combined value, of type {type(value).__name__}, cannot be written as JSON: {error}",
        ) from error


def _print(stdout: TextIO, text: str) -> None:
    try:
        stdout.write(text + "\n")
        stdout.flush()
    except OSError as error:
        raise not_written(OUTPUT, error) from error
