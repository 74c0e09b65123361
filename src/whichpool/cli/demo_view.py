"""What the demo shows: a table that grows line by line as it is measured, or the same as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.standard import output, printing
from whichpool.report import demand_line
from whichpool.report.units import cores, duration, ratio, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from whichpool.cli.demo import Task, Timing

__all__ = ["Silent", "Table", "bar", "to_dict"]

SCHEMA = "whichpool.demo"
VERSION = 1

# Columns: label, bar, time, and a remark make 80.
_LABEL = 11
_BAR = 32
_TIME = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Silent:
    """Shows nothing; the data come at the end."""

    def begin(self, jobs: Sequence[Task], files: Sequence[Path]) -> None:
        """Nothing."""

    def title(self, task: Task) -> None:
        """Nothing."""

    def loop(self, task: Task, ran_s: float, loop_s: float) -> None:
        """Nothing."""

    def whichpool(self, timing: Timing) -> None:
        """Nothing."""

    def end(self, timings: Sequence[Timing], wall_s: float) -> None:
        """Nothing."""


class Table(Silent):
    """Prints on standard output as the measurements come; colours on a terminal only."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, markup=False, emoji=False)
        self._blocks = self._console.encoding.lower().startswith("utf")
        # The bars use what an ordinary terminal leaves, and no more of a wide one.
        self._bar = max(10, _BAR + min(self._console.width, 100) - 80)

    def begin(self, jobs: Sequence[Task], files: Sequence[Path]) -> None:
        """The head: what machine, what files."""
        host = whichpool.doctor(measure=False)
        self._line()
        self._line(
            (f"whichpool {whichpool.__version__}", "bold"), (f", {host.python}, {cores(host.cores)}", "")
        )
        total = size(sum(path.stat().st_size for path in files))
        self._line((f"Over the source files of its standard library ({len(files):,} files, {total}),", "dim"))
        self._line(("each job on as many of them as this machine does in good time.", "dim"))

    def title(self, task: Task) -> None:
        """The job's name, and what it does."""
        self._line()
        self._line((f"{task.name}  ", "bold"), (f"{task.what}; {len(task.items):,} files", "dim"))

    def loop(self, task: Task, ran_s: float, loop_s: float) -> None:
        """The loop's bar: the whole width, since it is what the other is measured by."""
        remark = f"{len(task.part):,} files run: {duration(ran_s)}"
        self._row("the loop", 1.0, "bright_black", f"~{duration(loop_s)}", (remark, "dim"))

    def whichpool(self, timing: Timing) -> None:
        """whichpool's bar on the loop's scale, the plan, and what decided it."""
        share = timing.whichpool_s / timing.loop_s
        gain = (f"{ratio(timing.speedup)} as fast", "bold green" if timing.speedup > 1 else "")
        self._row("whichpool", share, "cyan", duration(timing.whichpool_s), gain)
        plan = str(timing.report.plan)
        self._line((" " * _LABEL, ""), (plan, "cyan"), (f": {timing.limit}" if timing.limit else "", ""))
        report = timing.report
        if report.plan.kind == "loop":
            # Here it is the other plans that the bounds decided against; the sentence says how.
            self._wrapped(report.verdict.reason)
        elif report.demand is not None:
            self._wrapped(demand_line(report.demand))
        if not timing.equal:
            self._line((" " * _LABEL, ""), ("the results are NOT those of the loop", "bold red"))

    def end(self, timings: Sequence[Timing], wall_s: float) -> None:
        """What holds for all of it."""
        self._line()
        if all(timing.equal for timing in timings):
            self._line(("Where the loop was run, its results and whichpool's are the same.", ""))
        for line in (
            "~ is worked out from the part that was run; the start of workers is counted.",
            f"{duration(wall_s)} in all. For your own: whichpool explain MODULE:FUNCTION ITEMS",
        ):
            self._line((line, "dim"))
        self._line()

    def _row(self, label: str, share: float, style: str, time: str, remark: tuple[str, str]) -> None:
        drawn = bar(share, self._bar, blocks=self._blocks)
        self._line(
            (f"{label:<{_LABEL}}", ""), (f"{drawn:<{self._bar}}", style), (f"{time:>{_TIME}}  ", ""), remark
        )

    def _wrapped(self, sentence: str) -> None:
        from textwrap import wrap

        for line in wrap(sentence, 78 - _LABEL, break_on_hyphens=False):
            self._line((" " * _LABEL, ""), (line, "dim"))

    def _line(self, *parts: tuple[str, str]) -> None:
        from rich.text import Text

        line = Text("  ", no_wrap=True) + Text.assemble(*(part for part in parts if part[0]))
        line.rstrip()
        # Rendered first: rich has a way of its own to end the process where nobody reads.
        with printing():
            with self._console.capture() as captured:
                self._console.print(line, soft_wrap=True)
            output().write(captured.get())


def bar(share: float, width: int, *, blocks: bool) -> str:
    """A bar of so many columns at most.

    Args:
        share: Of the width; more than 1 is drawn as 1, and anything above zero is to be seen.
        width: Columns.
        blocks: Eighths of a column, as Unicode has them, instead of ``#``.

    >>> bar(0.5, 6, blocks=True), bar(0.27, 4, blocks=True), bar(0.01, 8, blocks=False)
    ('███', '█▏', '#')
    """
    eighths = max(1, round(min(max(share, 0.0), 1.0) * width * 8))
    if not blocks:
        return "#" * max(1, round(eighths / 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def to_dict(timings: Sequence[Timing], files: Sequence[Path], wall_s: float) -> dict[str, Any]:
    """What ``--json`` prints; times in seconds."""
    from whichpool.report import host_to_dict, plan_to_dict
    from whichpool.report import to_dict as report_to_dict

    return {
        "schema": SCHEMA,
        "version": VERSION,
        "whichpool": whichpool.__version__,
        "host": host_to_dict(whichpool.doctor(measure=False)),
        "files": len(files),
        "wall_s": wall_s,
        "equal": all(timing.equal for timing in timings),
        "tasks": [
            {
                "name": timing.task.name,
                "what": timing.task.what,
                "items": len(timing.task.items),
                "loop": {"ran": len(timing.task.part), "ran_s": timing.ran_s, "predicted_s": timing.loop_s},
                "whichpool_s": timing.whichpool_s,
                "speedup": timing.speedup,
                "plan": plan_to_dict(timing.report.plan),
                "limit": timing.limit,
                "equal": timing.equal,
                "report": report_to_dict(timing.report),
            }
            for timing in timings
        ],
    }
