"""Reports as they come out of a run, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from whichpool import Demand, Hazard, Host, Plan, PlanRow, RunReport, StartCosts, Step, Verdict

HOST = Host(
    cores=2.0,
    machine_cores=8,
    affinity_cores=8,
    quota_cores=2.0,
    memory_free_bytes=5_200_000_000,
    worker_bytes=28_000_000,
    python="CPython 3.11.7",
    platform="linux x86_64",
    start=StartCosts(measured=True),
)
MIXED = Plan(2, 8)
VERDICT = Verdict(
    plan=MIXED,
    reason="an item waits 15 ms and holds the GIL for 5 ms: two GILs, eight threads each, fill the cores",
    rows=(
        PlanRow(MIXED, 400.0, "the cores are full", 2.5, 390.0),
        PlanRow(Plan(0, 32), 198.0, "one GIL is full", 5.05),
        PlanRow(Plan.LOOP, 50.0, "the worker is busy", 20.0, 49.4),
        PlanRow(Plan(2, 1), None, "", None, why_not="the captured lock `guard` cannot be pickled"),
    ),
    runner_up=Plan(0, 32),
    margin=2.02,
)
HAZARD = Hazard(
    kind="writes",
    name="stats.hits",
    where="work.py:12",
    why="is written by every call",
    advice="Return the value, and add up what map gives.",
    rules_out=frozenset({"threads", "processes"}),
)


def report(**changes: Any) -> RunReport:
    """A run of 1,000 items on 2 processes x 8 threads, with everything measured, but for the changes."""
    fields: dict[str, Any] = {
        "function": "load_and_parse",
        "items": 1000,
        "failures": 0,
        "wall_s": 2.61,
        "plan": MIXED,
        "steps": (Step(0.0, Plan.LOOP, "every run begins as the loop"), Step(0.031, MIXED, "it waits")),
        "demand": Demand(0.0151, 0.005, 0.0002, 0.0001, 0.00012, 12_000.0, 1.0, 37, 0.31),
        "verdict": VERDICT,
        "hazards": (),
        "host": HOST,
        "loop_s": 20.3,
        "notes": (),
    }
    return RunReport(**{**fields, **changes})
