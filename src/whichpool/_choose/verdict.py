"""The choice in words: one sentence with the numbers that decided it."""

from __future__ import annotations

from whichpool._records import Plan, PlanRow, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from whichpool._records import Demand

__all__ = ["demand_in_words", "no_verdict", "rate_in_words", "seconds_in_words", "verdict"]

# A part of a call below this share of it is left out of the sentence.
WORTH_SAYING = 0.01


def no_verdict(plan: Plan, forced: bool) -> Verdict:
    """The verdict where nothing was measured."""
    reason = (
        f"the caller asked for {plan}" if forced else "the work was over before anything was worth measuring"
    )
    return Verdict(plan, reason, rows=(PlanRow(plan, None, "not measured", None),))


def verdict(
    demand: Demand,
    rows: Sequence[PlanRow],
    chosen: Plan,
    *,
    items: float,
    forced: bool = False,
    over: bool = False,
) -> Verdict:
    """Puts the ranked plans and the one chosen into a record.

    Args:
        demand: What an item asks.
        rows: From `rank`, with a row for the plan chosen.
        chosen: The plan.
        items: What ``predicted_s`` in the rows is for.
        forced: The caller asked for this plan.
        over: The run has ended.
    """
    own = next(row for row in rows if row.plan == chosen)
    others = [row for row in rows if row.plan != chosen and row.why_not is None]
    # Another number of threads is hardly another plan: the runner-up is of another kind where there is one.
    runner_up = next((row for row in others if row.plan.kind != chosen.kind), others[0] if others else None)
    margin = None
    if runner_up is not None and own.predicted_s and runner_up.predicted_s is not None:
        margin = runner_up.predicted_s / own.predicted_s
    choice = f"{chosen}{' (as asked for)' if forced else ''} can do {_reach(own)}"
    parts = [f"{demand_in_words(demand)}: {choice}"]
    best = rows[0]
    left_as_is = over and not forced and margin is not None and margin < 0.95
    if left_as_is and runner_up is not None:
        parts.append(
            f"the work was over before a change to {runner_up.plan} could pay, which can do {_reach(runner_up)}"
        )
    elif forced and best.plan.kind != chosen.kind and margin is not None and margin < 1:
        parts.append(f"{best.plan} could do {_reach(best)}")
    elif runner_up is not None:
        parts.append(f"{runner_up.plan} {_reach(runner_up)}{_start_note(own, runner_up, items)}")
    out = sorted({row.why_not for row in rows if row.why_not is not None and row.plan.kind != chosen.kind})
    for why in out[:2]:
        kinds = {row.plan.kind for row in rows if row.why_not == why}
        parts.append(f"no {_kinds_in_words(kinds)}: {why}")
    return Verdict(
        chosen, "; ".join(parts), tuple(rows), None if runner_up is None else runner_up.plan, margin
    )


def demand_in_words(demand: Demand) -> str:
    """Returns what an item does: ``15 ms waiting + 5 ms holding the GIL an item``."""
    call_s = demand.call_s
    parts = [
        f"{seconds_in_words(seconds)} {doing}"
        for seconds, doing in (
            (demand.wait_s, "waiting"),
            (demand.gil_s, "holding the GIL"),
            (demand.free_s, "computing without the GIL"),
        )
        if seconds > WORTH_SAYING * call_s
    ]
    native = f" on {demand.native:.1f} cores by itself" if demand.native >= 1.5 else ""
    so_far = " so far" if demand.samples == 0 else ""
    return (" + ".join(parts) or "no time to speak of") + native + " an item" + so_far


def seconds_in_words(seconds: float) -> str:
    """Returns a duration as people say it: ``15 ms``, ``0.8 us``, ``2.5 s``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def rate_in_words(per_s: float) -> str:
    """Returns a throughput: ``400 items/s``."""
    return f"{_three_digits(per_s)} items/s"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _reach(row: PlanRow) -> str:
    if row.measured_per_s is not None:
        return f"{rate_in_words(row.measured_per_s)} as measured ({row.limit})"
    return f"at most {rate_in_words(row.bound_per_s or 0.0)} ({row.limit})"


def _start_note(own: PlanRow, other: PlanRow, items: float) -> str:
    """Says that a plan with the higher throughput lost by its start-up, where that is so."""
    if (other.bound_per_s or 0.0) > 1.05 * (own.bound_per_s or 0.0) and items > 0:
        return f", but its start does not pay for {items:,.0f} items"
    return ""


def _kinds_in_words(kinds: Set[str]) -> str:
    if kinds <= {"processes", "mixed"}:
        return "processes"
    return "threads" if kinds <= {"threads", "mixed"} else "threads or processes"
