"""``whichpool map`` and ``whichpool explain``: a function and items, both from the command line."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.endings import FAILED, USAGE, Ending, raised_by_function
from whichpool.cli.output import Writer, is_special, whole_file
from whichpool.cli.standard import OUTPUT, not_written
from whichpool.cli.standard import output as standard_output
from whichpool.cli.talk import progress, say, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from whichpool import RunReport

__all__ = ["Output", "explain_items", "map_items"]


@dataclass(frozen=True, slots=True)
class Output:
    """Where results and talk go."""

    path: str | None = None
    """The file of the results; ``None`` or ``-``: standard output."""
    report: str | None = None
    """The file of the RunReport as JSON; ``-``: standard output."""
    as_text: bool = False
    """``str(result)`` instead of JSON."""
    progress: bool = True
    """A bar, where standard error is a terminal."""
    quiet: bool = False
    """No bar and no summary; errors are still said."""

    @property
    def on_stdout(self) -> bool:
        """Whether the results go to standard output."""
        return self.path is None or self.path == "-"

    def check(self) -> None:
        """Whether results and report can go where they should.

        Raises:
            Ending: With code 2 where both go to the same place, with 3 where standard output is closed.
        """
        if self.report == "-" and self.on_stdout:
            raise Ending(
                USAGE,
                "results and report cannot both go to standard output: give -o or a file for --report",
            )
        if self.report == "-" or self.on_stdout:
            standard_output()
        if self.path is None or self.report is None or self.report == "-" or self.on_stdout:
            return
        place = os.path.realpath(self.path)
        if place == os.path.realpath(self.report) and not is_special(place):
            raise Ending(USAGE, f"-o and --report cannot both be {self.path}: give two files")


def map_items(
    fn: Callable[..., Any],
    items: Iterable[Any],
    output: Output,
    options: dict[str, Any],
    stdout: TextIO,
) -> None:
    """Run ``whichpool.imap`` and write what comes, in order and as it comes.

    Args:
        fn: The function.
        items: Its arguments, one at a time.
        output: Where results and talk go.
        options: Passed on to it: `whichpool.imap` says what they are.
        stdout: Standard output, for results only.

    Raises:
        Ending: Code 1 where the function raised or items failed, 3 where something cannot be read or written.
    """
    with ExitStack() as stack:
        report_file = _report_file(stack, output)
        stream, name = _result_file(stack, output, stdout)
        busy = output.on_stdout and stream.isatty()
        tick = stack.enter_context(progress(wanted=output.progress and not output.quiet, busy_stdout=busy))
        # A regular file is written in blocks; a terminal or a pipe has someone waiting at the other end.
        writer = Writer(stream, name, as_text=output.as_text, flush=output.on_stdout and _is_watched(stream))
        results = _started(fn, items, tick, options)
        try:
            for index, result in enumerate(_results(results)):
                writer.write(index, result)
            writer.flush()
        finally:
            # Ends the workers now, also where the loop was left early; the report is complete after it.
            results.close()
            report: RunReport = results.report
            if report_file is not None:
                _write_report(report_file, report)
    if output.report == "-":
        _print_report(stdout, report)
    if not output.quiet:
        say(summary(report))
    if writer.first_failure is not None:
        first = writer.first_failure
        raise Ending(
            FAILED,
            f"{writer.failures:,} of {report.items:,} items failed; the first is item {first.index} "
            f"({first.item}): {type(first.error).__qualname__}: {first.error}",
        )


def explain_items(
    fn: Callable[..., Any],
    items: Iterable[Any],
    output: Output,
    options: dict[str, Any],
    budget_s: float,
    stdout: TextIO,
) -> None:
    """Run ``whichpool.explain`` and print what it found.

    Args:
        fn: The function.
        items: Its arguments; only as many are taken as the sample needs.
        output: ``report`` gets JSON; with ``-``, instead of the text.
        options: Passed on.
        budget_s: Seconds that the sample may take.
        stdout: Standard output, for the report only.

    Raises:
        Ending: Code 1 where the function raised, 3 where something cannot be read or written.
    """
    from whichpool.report import refusal, text

    with ExitStack() as stack:
        report_file = _report_file(stack, output)
        try:
            report = whichpool.explain(fn, items, budget_s=budget_s, **options)
        except (Ending, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise raised_by_function(error) from error
        if output.report == "-":
            _print_report(stdout, report)
        else:
            _print(stdout, text(report))
        if report_file is not None:
            _write_report(report_file, report)
    if not output.quiet and output.report != "-":
        where, refused = _preposition(report.verdict.plan), refusal(report)
        say(f"would run it {where}" if refused is None else f"would refuse to run it {where}: {refused}")


def _preposition(plan: whichpool.Plan) -> str:
    return "in the loop" if plan.kind == "loop" else f"on {plan}"


def _started(
    fn: Callable[..., Any],
    items: Iterable[Any],
    tick: Callable[[int, int | None], None] | bool,
    options: dict[str, Any],
) -> Any:
    try:
        return whichpool.imap(fn, items, ordered=True, progress=tick, **options)
    except Exception as error:
        raise raised_by_function(error) from error


def _results(results: Iterator[Any]) -> Iterator[Any]:
    """The results; what comes out of the function is told apart from what goes wrong in writing them."""
    while True:
        try:
            result = next(results)
        except StopIteration:
            return
        except (Ending, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise raised_by_function(error) from error
        yield result


def _report_file(stack: ExitStack, output: Output) -> TextIO | None:
    """Opened before the work starts, so that a path that cannot be written is known at once."""
    if output.report is None or output.report == "-":
        return None
    return stack.enter_context(whole_file(output.report))


def _result_file(stack: ExitStack, output: Output, stdout: TextIO) -> tuple[TextIO, str]:
    if output.path is None or output.path == "-":
        return stdout, OUTPUT
    return stack.enter_context(whole_file(output.path)), output.path


def _write_report(file: TextIO, report: RunReport) -> None:
    from whichpool.report import to_json

    file.write(to_json(report) + "\n")


def _print_report(stdout: TextIO, report: RunReport) -> None:
    from whichpool.report import to_json

    _print(stdout, to_json(report))


def _print(stdout: TextIO, text: str) -> None:
    try:
        stdout.write(text + "\n")
        stdout.flush()
    except OSError as error:
        raise not_written(OUTPUT, error) from error


def _is_watched(stream: TextIO) -> bool:
    import stat

    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False
