"""The report of a run, from what is left of it."""

from __future__ import annotations

from time import perf_counter

from whichpool._choose.conductor import Conductor
from whichpool._choose.records import View
from whichpool._host import look
from whichpool._records import Plan, RunReport, Step
from whichpool._run.listen import WARM_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._records import Hazard
    from whichpool._run.options import PlanWish
    from whichpool._run.run import Run


def report(run: Run, wish: PlanWish | None = None) -> RunReport:
    """What ran, how, and why. The verdict's predictions are for the whole of the work, begun anew.

    ``wish``: the verdict is for this plan, or the best for "auto", whatever ran.
    """
    work = run.work
    plan = Plan(*run.plan)
    asked = run.options.plan if wish is None else wish
    forced: Plan | None = None
    if asked != "auto":
        forced = plan if wish is None else Plan(*run.fixed_plan(wish))
    wall_s = run.wall_s if run.wall_s is not None else perf_counter() - run.began
    demand = run.profile.demand()
    total = work.length if work.length is not None else max(work.done, 1)
    governed = run.governed
    # The verdict of a run that nobody asked a plan for is about the one that ran. `explain` asks what would run; but
    # where the sample was all there is, and over before there was anything to decide, so would be the real run.
    over = wish is None and forced is None
    if wish == "auto" and work.length is not None and work.done >= work.length:
        over = governed is None or (demand is not None and demand.call_s * total < WARM_S)
    host = getattr(governed, "host", None) or look()
    conductor = getattr(governed, "conductor", None) or Conductor(host, limit=run.options.most)
    if governed is None:
        from whichpool._measure.hazards import read

        run.hazards = tuple(read(run.job.fn))
    ruled_out = getattr(governed, "ruled_out", None)
    if ruled_out is None:
        ruled_out = _ruled_out(run.hazards, shared_ok=run.options.shared_ok)
        if plan.processes:
            ruled_out.pop("processes", None)  # it did run there
        elif plan.threads > 1:
            ruled_out.pop("threads", None)
    entered_s = run.steps[-1][0] if run.steps else 0.0
    view = View(
        now_s=wall_s,
        done=work.ran,
        remaining=0 if over else max(total, 1),
        in_progress=0,
        oldest_s=None,
        demand=demand,
        plan=plan,
        plan_age_s=wall_s - entered_s,
        plan_done=work.ran,
        rate_per_s=work.ran / wall_s if wall_s > 0 and len(run.steps) == 1 else None,
        latency_s=None,
        processes="none",
        ready_processes=0,
        joins=run.joins,
        ruled_out=dict(ruled_out),
    )
    verdict = conductor.verdict(view, forced=forced)
    fn = run.job.fn
    name = getattr(fn, "__qualname__", None) or getattr(getattr(fn, "func", None), "__qualname__", None)
    return RunReport(
        function=name or type(fn).__qualname__,
        items=work.done,
        failures=work.failed,
        wall_s=wall_s,
        plan=plan,
        steps=tuple([Step(at_s, Plan(*pair), reason) for at_s, pair, reason in run.steps]),
        demand=demand,
        verdict=verdict,
        hazards=run.hazards,
        host=host,
        loop_s=demand.call_s * work.ran if demand is not None and demand.samples else None,
        attempts=work.again.attempts if work.again is not None else (),
        notes=tuple(run.notes),
        limits=work.reached() if run.options.by_key is not None else (),  # type: ignore[attr-defined]
    )


def _ruled_out(hazards: tuple[Hazard, ...], *, shared_ok: bool) -> dict[str, str]:
    """What the governor would have ruled out, where there was none; see `Governor._rule_out`."""
    found: dict[str, str] = {}
    for hazard in hazards:
        families: set[str] = set(hazard.rules_out)
        if shared_ok and hazard.kind != "cannot_travel":
            families &= {"processes"} if hazard.needs_order else set()
        for family in families:
            found.setdefault(family, str(hazard))
    return found
