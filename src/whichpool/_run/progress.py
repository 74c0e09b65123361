"""Progress, told to a function or drawn on the terminal."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def listener(wish: Any) -> tuple[Callable[[int, int | None], object] | None, Callable[[], object] | None]:
    """Who is told (done, total), and what closes it. ``True`` draws a bar, but only on a terminal."""
    if wish is not True:
        return wish, None
    if not sys.stderr.isatty():
        return None, None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    task = bar.add_task("", total=None)
    bar.start()

    def tell(done: int, total: int | None) -> None:
        bar.update(task, completed=done, total=total)

    return tell, bar.stop
