"""A RunReport as plain data, with a schema that programs can rely on.

``null`` always means *not measured* (or, for a bound, *without limit*). Fields are only ever added within one
``version``; a field that goes or changes its meaning raises it. The fields are those of the records, with
their units in their names; ``docs/cli.md`` lists them.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import whichpool

if TYPE_CHECKING:
    from whichpool import Demand, Hazard, Host, LimitReached, Plan, PlanRow, RunReport, Step, Verdict

__all__ = ["SCHEMA", "VERSION", "host_to_dict", "plan_to_dict", "refusal", "to_dict", "to_json"]

SCHEMA = "whichpool.report"
VERSION = 1


def to_dict(report: RunReport) -> dict[str, Any]:
    """The report as dicts, lists, strings, numbers, booleans and ``None`` only.

    Args:
        report: What ``results.report`` or ``whichpool.explain`` gave.

    Returns:
        A new dict; its keys and their order are stable within one ``version``.
    """
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "whichpool": whichpool.__version__,
        "function": report.function,
        "items": report.items,
        "failures": report.failures,
        "wall_s": _number(report.wall_s),
        "loop_s": _number(report.loop_s),
        "plan": plan_to_dict(report.plan),
        "steps": [_step(step) for step in report.steps],
        "demand": None if report.demand is None else _demand(report.demand),
        "verdict": {**_verdict(report.verdict), "refused": refusal(report)},
        "hazards": [_hazard(hazard) for hazard in report.hazards],
        "host": host_to_dict(report.host),
        "attempts": [{"index": index, "attempts": tries} for index, tries in report.attempts],
        "notes": list(report.notes),
        "limits": [_limit(limit) for limit in report.limits],
    }


def to_json(report: RunReport, *, indent: int | None = 2) -> str:
    """`to_dict` as strict JSON (no NaN, no Infinity), without a newline at the end.

    Args:
        report: What ``results.report`` or ``whichpool.explain`` gave.
        indent: Spaces for each level; ``None`` gives one line.
    """
    import json

    return json.dumps(to_dict(report), indent=indent, ensure_ascii=False, allow_nan=False)


def refusal(report: RunReport) -> str | None:
    """Why `whichpool.map` would refuse the plan that `whichpool.explain` was asked about, and what to do.

    Args:
        report: What ``whichpool.explain`` gave.

    Returns:
        ``None`` where it would not, and for the report of a run that did.
    """
    verdict = report.verdict
    if verdict.plan == report.plan:
        return None
    return next((row.why_not for row in verdict.rows if row.plan == verdict.plan), None)


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """A plan: its two numbers, the family, and the words for it."""
    return {"processes": plan.processes, "threads": plan.threads, "kind": plan.kind, "text": str(plan)}


def host_to_dict(host: Host) -> dict[str, Any]:
    """The machine, with its start costs nested under ``start``."""
    return {
        "cores": _number(host.cores),
        "machine_cores": host.machine_cores,
        "affinity_cores": host.affinity_cores,
        "quota_cores": _number(host.quota_cores),
        "override_cores": _number(host.override_cores),
        "memory_free_bytes": host.memory_free_bytes,
        "worker_bytes": host.worker_bytes,
        "gil": host.gil,
        "python": host.python,
        "platform": host.platform,
        "nested": host.nested,
        "start": {
            "thread_s": _number(host.start.thread_s),
            "first_worker_s": _number(host.start.first_worker_s),
            "worker_s": _number(host.start.worker_s),
            "measured": host.start.measured,
        },
    }


def _number(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: a bound without limit is ``None`` too."""
    return value if value is not None and isfinite(value) else None


def _demand(demand: Demand) -> dict[str, Any]:
    return {
        "wait_s": _number(demand.wait_s),
        "gil_s": _number(demand.gil_s),
        "free_s": _number(demand.free_s),
        "ship_s": _number(demand.ship_s),
        "land_s": _number(demand.land_s),
        "payload_bytes": _number(demand.payload_bytes),
        "native": _number(demand.native),
        "samples": demand.samples,
        "spread": _number(demand.spread),
    }


def _step(step: Step) -> dict[str, Any]:
    return {"at_s": _number(step.at_s), "plan": plan_to_dict(step.plan), "reason": step.reason}


def _row(row: PlanRow) -> dict[str, Any]:
    return {
        "plan": plan_to_dict(row.plan),
        "bound_per_s": _number(row.bound_per_s),
        "limit": row.limit,
        "predicted_s": _number(row.predicted_s),
        "measured_per_s": _number(row.measured_per_s),
        "why_not": row.why_not,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "plan": plan_to_dict(verdict.plan),
        "reason": verdict.reason,
        "rows": [_row(row) for row in verdict.rows],
        "runner_up": None if verdict.runner_up is None else plan_to_dict(verdict.runner_up),
        "margin": _number(verdict.margin),
    }


def _limit(limit: LimitReached) -> dict[str, Any]:
    return {
        "key": limit.key,
        "at_once": limit.at_once,
        "items": limit.items,
        "slowed": limit.slowed,
        "paused_s": _number(limit.paused_s),
    }


def _hazard(hazard: Hazard) -> dict[str, Any]:
    return {
        "kind": hazard.kind,
        "name": hazard.name,
        "where": hazard.where,
        "why": hazard.why,
        "advice": hazard.advice,
        "rules_out": sorted(hazard.rules_out),
    }
