from __future__ import annotations

import pytest

from whichpool import Hazard, Host, Plan, RunReport, Verdict
from whichpool.cli.talk import summary


def report(plan: Plan, **changes: object) -> RunReport:
    fields = {"hazards": (), "loop_s": 9.0, "reason": "", **changes}
    verdict = Verdict(plan, str(fields["reason"]))
    return RunReport(
        "f",
        1000,
        0,
        3.0,
        plan,
        (),
        None,
        verdict,
        fields["hazards"],
        Host(2, 2),
        fields["loop_s"],  # type: ignore[arg-type]
    )


def test_a_gain_is_told_only_where_there_was_a_pool_and_a_prediction() -> None:
    mixed = Plan(2, 8)
    assert summary(report(mixed)) == (
        "1,000 items in 3.00 s on 2 processes x 8 threads, 3.0 x as fast as the loop (predicted)"
    )
    assert summary(report(mixed, loop_s=None)) == "1,000 items in 3.00 s on 2 processes x 8 threads"
    assert summary(report(Plan.LOOP)) == "1,000 items in 3.00 s in the loop"


def test_a_pool_that_gained_nothing_does_not_claim_to() -> None:
    slower = summary(report(Plan(0, 5), loop_s=0.001))
    assert slower == "1,000 items in 3.00 s on 5 threads, no faster than the loop (predicted)"


def test_a_long_reason_is_broken_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = summary(report(Plan.LOOP, reason="one word after the other " * 5)).splitlines()
    assert len(said) > 3
    assert max(map(len, said)) <= 40


def test_hazards_are_told_with_their_advice() -> None:
    hazard = Hazard("writes", "total", "work.py:3", "is written", "Return it.", frozenset({"processes"}))
    assert "careful: total (work.py:3) is written. Return it." in summary(
        report(Plan.LOOP, hazards=(hazard,))
    )
