"""A RunReport as plain text: what ran, what an item asks for, the plans, and what to be careful of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whichpool.report.data import refusal
from whichpool.report.units import NOT_MEASURED, cores, count, duration, rate, ratio, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from whichpool import Demand, Hazard, Host, LimitReached, Plan, PlanRow, RunReport, Step, Verdict

__all__ = ["demand_line", "host_line", "text"]

# Columns. 80 is what a terminal, a log and a mail can be trusted to show.
_WIDTH = 80
_INDENT = "  "
# Columns of the longest bar of the Demand: leaves the labels and numbers beside it within the width.
_BAR = 30
# A column of words narrower than this is no pleasure to read; then they go below, this far in.
_NARROWEST = 20
_BELOW = 6
# So many of the items that were tried again are named.
_NAMED = 10
# So many keys are named with what their limits reached.
_KEYS = 5
# A speed-up below this is within the noise of two runs of the same loop (a guess); it is not called faster.
SAME = 1.03


def text(report: RunReport) -> str:
    """The whole report as plain text.

    Args:
        report: What ``results.report`` or ``whichpool.explain`` gave.

    Returns:
        Lines of at most 80 columns (longer only where there is no space to break at), without a newline at
        the end. No colours and no control characters of its own.
    """
    blocks = [
        _headline(report),
        _demand(report.demand),
        _why(report),
        _steps(report.steps),
        _rows(report.verdict, refused=refusal(report) is not None),
        _hazards(report.hazards),
        _attempts(report.attempts),
        _limits(report.limits),
        _notes(report.notes),
        _wrap(f"Machine: {host_line(report.host)}", _INDENT),
    ]
    return "\n\n".join("\n".join(lines) for lines in (list(block) for block in blocks) if lines)


def demand_line(demand: Demand) -> str:
    """What an item does, in one line: what is under a fiftieth of the call is left out.

    >>> from whichpool import Demand
    >>> demand_line(Demand(wait_s=0.015, gil_s=0.005, free_s=0.0001))
    'an item waits 15.0 ms, holds the GIL 5.00 ms'
    """
    parts = (
        ("waits", demand.wait_s),
        ("holds the GIL", demand.gil_s),
        ("computes without the GIL", demand.free_s),
    )
    told = [f"{does} {duration(s)}" for does, s in parts if s > 0 and s >= demand.call_s / 50]
    return f"an item {', '.join(told)}" if told else "an item takes no time to speak of"


def host_line(host: Host) -> str:
    """The machine in one line: interpreter, platform, cores, GIL and memory."""
    limits = [
        f"{cores(limit)} by {name}"
        for name, limit in (
            ("affinity", host.affinity_cores),
            ("quota", host.quota_cores),
            ("WHICHPOOL_CORES", host.override_cores),
        )
        if limit is not None and limit < host.machine_cores
    ]
    usable = cores(host.cores)
    if host.cores != host.machine_cores:
        usable += f" of {host.machine_cores}"
    if limits:
        usable += f" ({', '.join(limits)})"
    facts = [host.python, host.platform, usable, "a GIL" if host.gil else "no GIL"]
    if host.memory_free_bytes is not None:
        facts.append(f"{size(host.memory_free_bytes)} free")
    if host.nested:
        facts.append("inside a worker")
    return ", ".join(fact for fact in facts if fact)


def _headline(report: RunReport) -> Iterator[str]:
    ran = f"{report.function}: {count(report.items, 'item')} in {duration(report.wall_s)}, {_article(report)}"
    yield from _wrap(ran, "")
    if report.loop_s and report.wall_s > 0:
        gain = report.loop_s / report.wall_s
        predicted = f"the loop, which would take {duration(report.loop_s)} (predicted)"
        if gain >= SAME:
            yield f"{_INDENT}{ratio(gain)} as fast as {predicted}"
        elif report.plan.kind != "loop" or len(report.steps) > 1:
            yield f"{_INDENT}no faster than {predicted}"
    if report.failures:
        yield f"{_INDENT}{report.failures:,} of {report.items:,} failed"


def _article(report: RunReport) -> str:
    """``in the loop`` or ``on 8 threads``."""
    return "in the loop" if report.plan.kind == "loop" else f"on {report.plan}"


def _demand(demand: Demand | None) -> Iterator[str]:
    if demand is None:
        return
    spread = "" if demand.spread is None else f", {_spread(demand.spread)}"
    basis = f"{count(demand.samples, 'call')} measured" if demand.samples else "read off a call still running"
    yield f"One item takes {duration(demand.call_s)} by itself ({basis}{spread}):"
    parts = (
        ("waits", demand.wait_s),
        ("holds the GIL", demand.gil_s),
        ("computes without it", demand.free_s),
    )
    longest = max(seconds for _, seconds in parts)
    for label, seconds in parts:
        bar = "#" * round(_BAR * seconds / longest) if longest > 0 else ""
        yield f"{_INDENT}{label:<20}{duration(seconds):>9}  {bar}".rstrip()
    if demand.ship_s is not None or demand.land_s is not None or demand.payload_bytes is not None:
        to_process = [
            f"{duration(demand.ship_s)} here",
            f"{duration(demand.land_s)} there",
            f"{size(demand.payload_bytes)} in all",
        ]
        known = [part for part in to_process if not part.startswith(NOT_MEASURED + " ")]
        yield f"{_INDENT}to a process and back: {', '.join(known)}"
    # Below this the difference between the two CPU clocks is their resolution, not a second thread (a guess).
    if demand.native >= 1.2:
        yield f"{_INDENT}starts threads of its own: one call keeps {cores(demand.native)} busy"


def _spread(spread: float) -> str:
    """Beyond the mean itself a percentage says no more than this."""
    return f"+/- {spread:.0%}" if spread <= 1 else "very uneven"


def _why(report: RunReport) -> Iterator[str]:
    verdict = report.verdict
    refused = refusal(report)
    if refused is not None:
        yield from _wrap(f"Refused: map would not run this on {verdict.plan}.", _INDENT)
        yield from _wrap(f"Why: {refused}", _INDENT)
        return
    if verdict.plan != report.plan:
        best = not verdict.rows or verdict.rows[0].plan == verdict.plan
        yield f"{'Best plan for this work' if best else 'The plan that was asked for'}: {verdict.plan}"
    if verdict.reason:
        yield from _wrap(f"Why: {verdict.reason}", _INDENT)


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    # One step says only where the run began; the headline has said so already.
    if len(steps) < 2:
        return
    yield "How it went:"
    at_width = max(len(duration(step.at_s)) for step in steps)
    plan_width = max(len(str(step.plan)) for step in steps)
    for step in steps:
        head = f"{_INDENT}{duration(step.at_s):>{at_width}}  {step.plan!s:<{plan_width}}  "
        yield from _beside(head, step.reason)


def _rows(verdict: Verdict, *, refused: bool) -> Iterator[str]:
    if not verdict.rows:
        return
    available = [row for row in verdict.rows if row.why_not is None]
    width = max(len(str(row.plan)) for row in verdict.rows)
    if available:
        cells = [("", "at most", "predicted", "measured", "limit"), *map(_cells, available)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        widths[0] = width
        yield "Plans, the best first (at most: what nothing can exceed, starting not counted):"
        for row, (plan, *figures, limit) in zip([None, *available], cells, strict=True):
            mark = "> " if row is not None and row.plan == verdict.plan else _INDENT
            numbers = "".join(f"  {figure:>{w}}" for figure, w in zip(figures, widths[1:], strict=False))
            head = f"{mark}{plan:<{width}}{numbers}  "
            yield from _beside(head, limit)
    # Of a plan that is refused all has been said already.
    ruled_out = [row for row in verdict.rows if row.why_not is not None]
    ruled_out = [row for row in ruled_out if not (refused and row.plan == verdict.plan)]
    if ruled_out:
        yield "Not available:"
    # One hazard often rules out a dozen plans: it is said once for all of them.
    for why in dict.fromkeys(row.why_not for row in ruled_out):
        plans = [row.plan for row in ruled_out if row.why_not == why]
        if len(plans) == 1:
            yield from _beside(f"{_INDENT}{plans[0]!s:<{width}}  ", str(why))
        else:
            yield from _wrap(f"{_INDENT}{_together(plans)}:", _INDENT)
            yield from _wrap(" " * _BELOW + str(why), " " * _BELOW)
    if verdict.runner_up is not None:
        margin = "" if verdict.margin is None else f", {ratio(verdict.margin)} the time"
        yield f"Runner-up: {verdict.runner_up}{margin}"


def _together(plans: Sequence[Plan]) -> str:
    """``2, 4 and 8 threads, 2 processes, 2 processes x 4 threads``."""
    named = []
    for kind in ("loop", "threads", "processes", "mixed"):
        alike = sorted(plan for plan in plans if plan.kind == kind)
        if kind in ("threads", "processes") and len(alike) > 1:
            *numbers, last = [str(plan.workers) for plan in alike[:-1]] + [str(alike[-1])]
            named.append(f"{', '.join(numbers)} and {last}")
        else:
            named += map(str, alike)
    return ", ".join(named)


def _cells(row: PlanRow) -> tuple[str, str, str, str, str]:
    return (
        str(row.plan),
        rate(row.bound_per_s),
        duration(row.predicted_s),
        rate(row.measured_per_s),
        row.limit,
    )


def _hazards(hazards: Sequence[Hazard]) -> Iterator[str]:
    if not hazards:
        return
    yield "Careful:"
    for hazard in hazards:
        yield from _wrap(f"{_INDENT}{hazard.name} ({hazard.where}) {hazard.why}.", _INDENT * 2)
        if hazard.advice:
            yield from _wrap(f"{_INDENT * 2}{hazard.advice}", _INDENT * 2)
        if hazard.rules_out:
            yield f"{_INDENT * 2}Rules out {' and '.join(sorted(hazard.rules_out, reverse=True))}."


def _attempts(attempts: Sequence[tuple[int, int]]) -> Iterator[str]:
    if not attempts:
        return
    most = max(tries for _, tries in attempts)
    named = ", ".join([f"{index}" for index, _ in attempts[:_NAMED]])
    more = ", ..." if len(attempts) > _NAMED else ""
    yield from _wrap(
        f"Tried again: {len(attempts):,} items ({named}{more}), up to {most} times each.", _INDENT
    )


def _limits(limits: Sequence[LimitReached]) -> Iterator[str]:
    if not limits:
        return
    told = []
    for limit in limits[:_KEYS]:
        more = [f"slowed {limit.slowed:,} times"] if limit.slowed else []
        more += [f"paused {duration(limit.paused_s)}"] if limit.paused_s else []
        about = f" ({', '.join(more)})" if more else ""
        told.append(f"{limit.at_once} at once{'' if limit.key is None else f' for {limit.key}'}{about}")
    if len(limits) > _KEYS:
        told.append("and others")
    yield from _wrap(f"Limits reached: {', '.join(told)}", _INDENT)


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if not notes:
        return
    yield "Notes:"
    for note in notes:
        yield from _wrap(f"{_INDENT}- {note}", _INDENT * 2)


def _beside(head: str, words: str) -> list[str]:
    """The words in a column to the right of the head; below it, where they would have no room there."""
    if len(head) <= _WIDTH - _NARROWEST:
        return _wrap(head + words, " " * len(head))
    return [head.rstrip(), *_wrap(" " * _BELOW + words, " " * _BELOW)] if words else [head.rstrip()]


def _wrap(line: str, indent: str) -> list[str]:
    """Break at spaces to the width, indenting what follows; runs of spaces inside are kept."""
    from textwrap import wrap

    return wrap(
        line,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=True,
    ) or [""]
