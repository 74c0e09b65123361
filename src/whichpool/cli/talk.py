"""What the command line says on standard error: progress on a terminal, and a line or two at the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING

from whichpool.cli.standard import talking
from whichpool.report.prose import SAME
from whichpool.report.units import count, duration, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from whichpool import RunReport

__all__ = ["progress", "say", "summary"]


def say(message: str) -> None:
    """One message on standard error, under the program's name."""
    import click

    with talking():
        click.echo(f"whichpool: {message}", err=True)


@contextmanager
def progress(*, wanted: bool, busy_stdout: bool) -> Iterator[Callable[[int, int | None], None] | bool]:
    """A progress bar on standard error, while the block runs.

    Args:
        wanted: ``False`` for ``--no-progress`` and ``--quiet``.
        busy_stdout: Results scroll by on the same terminal; then they are the progress, and a bar among them
            would only be in the way.

    Yields:
        What ``whichpool.imap(progress=...)`` takes: a callable, or ``False`` where there is no bar.
    """
    if not wanted or busy_stdout or not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # No refresh thread: it would take the GIL ten times a second from the work that is being measured.
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40, complete_style="cyan", finished_style="cyan"),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("whichpool", total=None)

        def update(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, refresh=True)

        yield update


def summary(report: RunReport) -> str:
    """What ran and why in a few lines, and what to be careful of.

    Args:
        report: Of the run that has ended.
    """
    where = "in the loop" if report.plan.kind == "loop" else f"on {report.plan}"
    said = f"{count(report.items, 'item')} in {duration(report.wall_s)} {where}"
    if report.plan.kind != "loop" and report.loop_s and report.wall_s > 0:
        gain = report.loop_s / report.wall_s
        said += f", {ratio(gain)} as fast as" if gain >= SAME else ", no faster than"
        said += " the loop (predicted)"
    below = [report.verdict.reason] if report.verdict.reason else []
    below += [f"careful: {hazard}" for hazard in report.hazards]
    columns = get_terminal_size().columns
    return "\n".join(
        [said, *(fill(line, columns, initial_indent="  ", subsequent_indent="  ") for line in below)]
    )
