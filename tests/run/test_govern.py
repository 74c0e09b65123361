"""The governor does what the conductor says: a switch that was decided is made, or what forbids it is known."""

from __future__ import annotations

import time

import pytest

import whichpool
from whichpool._choose.conductor import Conductor
from whichpool._choose.records import Switch


def spin_ms(ms: float) -> float:
    start = time.thread_time()
    while time.thread_time() - start < ms / 1000:
        pass
    return ms


@pytest.fixture
def decided(monkeypatch):
    switches = []
    step = Conductor.step

    def watched(self, view):
        actions = step(self, view)
        switches.extend(action.plan for action in actions if isinstance(action, Switch))
        return actions

    monkeypatch.setattr(Conductor, "step", watched)
    return switches


@pytest.mark.parametrize(
    "durations_ms",
    [[2.0] * 150, [30.0] * 16, [2.0, 60.0, 3.0, 120.0, 2.0, 40.0] * 3, [150.0, *[3.0] * 80]],
    ids=["short", "long", "uneven", "slow first"],
)
def test_every_switch_that_was_decided_was_made(decided, durations_ms):
    results = whichpool.map(spin_ms, durations_ms)
    assert results == durations_ms
    assert [step.plan for step in results.report.steps[1:]] == decided


def test_a_switch_is_decided_only_after_a_whole_call_was_looked_at(decided):
    """Between the two looks at what the function may write, a call begins and ends: what it writes is seen first."""

    class Model:
        calls = 0

    setters = {"write": lambda x: setattr(Model, "calls", Model.calls + x)}

    def fn(x):
        setters["write"](1)  # by a way that reading the code does not follow
        return spin_ms(x)

    results = whichpool.map(fn, [5.0] * 60)
    assert results == [5.0] * 60
    assert Model.calls == 60
    assert results.report.plan == whichpool.Plan.LOOP
    assert decided == []
