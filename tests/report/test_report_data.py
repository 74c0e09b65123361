from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from report_samples import HAZARD, VERDICT, report

import whichpool
from whichpool import Demand, Hazard, Host, Plan, PlanRow, RunReport, StartCosts, Step, Verdict
from whichpool.report import refusal, to_dict, to_json


def keys(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def test_the_schema_is_named_and_has_a_version() -> None:
    data = to_dict(report())
    assert (data["schema"], data["version"]) == ("whichpool.report", 1)
    assert data["whichpool"] == whichpool.__version__


def test_every_field_of_every_record_is_there() -> None:
    data = to_dict(report(hazards=(HAZARD,)))
    assert set(data) == keys(RunReport) | {"schema", "version", "whichpool"}
    assert set(data["demand"]) == keys(Demand)
    assert set(data["verdict"]) == keys(Verdict) | {"refused"}
    assert set(data["verdict"]["rows"][0]) == keys(PlanRow)
    assert set(data["steps"][0]) == keys(Step)
    assert set(data["hazards"][0]) == keys(Hazard)
    assert set(data["host"]) == keys(Host)
    assert set(data["host"]["start"]) == keys(StartCosts)
    assert set(data["plan"]) == keys(Plan) | {"kind", "text"}


def test_json_gives_the_same_data_back() -> None:
    whole = report(hazards=(HAZARD,), notes=("naïve",))
    assert json.loads(to_json(whole)) == to_dict(whole)
    assert "naïve" in to_json(whole)
    assert "\n" not in to_json(whole, indent=None)


def test_values_that_were_not_measured_stay_none() -> None:
    data = to_dict(report(demand=None, loop_s=None, verdict=Verdict(Plan.LOOP, "")))
    assert data["demand"] is None
    assert data["loop_s"] is None
    assert data["verdict"]["runner_up"] is None
    assert data["verdict"]["margin"] is None


@pytest.mark.parametrize("bound", [float("inf"), float("nan"), None])
def test_a_bound_without_limit_is_null_not_infinity(bound: float | None) -> None:
    verdict = Verdict(Plan.LOOP, "", (PlanRow(Plan.LOOP, bound, "", None),))
    assert json.loads(to_json(report(verdict=verdict)))["verdict"]["rows"][0]["bound_per_s"] is None


def test_a_plan_that_would_be_refused_is_told_apart_from_one_that_ran() -> None:
    rows = (PlanRow(Plan.LOOP, 50.0, "", 20.0), PlanRow(Plan(0, 8), 400.0, "", 2.5, why_not="it writes"))
    asked = report(plan=Plan.LOOP, verdict=Verdict(Plan(0, 8), "", rows))
    assert (refusal(asked), to_dict(asked)["verdict"]["refused"]) == ("it writes", "it writes")
    assert to_dict(report(plan=Plan(0, 8), verdict=asked.verdict))["verdict"]["refused"] is None
    assert refusal(report(plan=Plan.LOOP)) is None


def test_sets_come_sorted_so_that_two_runs_can_be_compared() -> None:
    assert to_dict(report(hazards=(HAZARD,)))["hazards"][0]["rules_out"] == ["processes", "threads"]


def test_the_chosen_plan_can_be_read_as_numbers_and_words() -> None:
    assert to_dict(report(verdict=VERDICT))["verdict"]["plan"] == {
        "processes": 2,
        "threads": 8,
        "kind": "mixed",
        "text": "2 processes x 8 threads",
    }
