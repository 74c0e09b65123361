"""What an earlier run has left is believed as long as nothing speaks against it, and not for long."""

from __future__ import annotations

import time
from functools import partial

import pytest

import whichpool
from whichpool import Demand
from whichpool._choose.conductor import Conductor
from whichpool._run import earlier
from whichpool._run.earlier import AS_IF_CALLS, ENOUGH_CALLS, Earlier, recall, remember


def demand(wait_s=0.0, gil_s=0.0, *, samples=20, spread=0.0, **more):
    return Demand(wait_s=wait_s, gil_s=gil_s, free_s=0.0, samples=samples, spread=spread, **more)


MIXED = demand(0.015, 0.005, ship_s=0.0001)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(earlier, "_known", {})


def test_a_call_that_has_just_begun_says_nothing_yet():
    seen = demand(0.0004, samples=0)
    assert Earlier(MIXED).complete(seen) is seen
    assert Earlier(MIXED).complete(None) is None


def test_a_call_that_does_as_it_did_is_taken_for_all_of_it():
    found = Earlier(MIXED).complete(demand(0.0011, samples=0))
    assert (found.wait_s, found.gil_s, found.ship_s) == (0.015, 0.005, 0.0001)
    assert found.samples == AS_IF_CALLS


def test_what_is_measured_anew_of_shipping_is_taken():
    found = Earlier(MIXED).complete(demand(0.0011, samples=0, ship_s=0.5, payload_bytes=7.0))
    assert (found.ship_s, found.payload_bytes) == (0.5, 7.0)


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        (demand(0.010), demand(0.0, 0.0012, samples=0)),  # it waited, and computes
        (demand(0.0, 0.010), demand(0.0012, 0.0, samples=0)),  # it computed, and waits
        (demand(0.010), demand(0.030, samples=0)),  # it takes much longer
        (demand(0.010), demand(0.0001, samples=1)),  # it is over much sooner
        (MIXED, demand(0.0, 0.020, samples=2)),
    ],
)
def test_what_speaks_against_it_ends_it_for_good(known, seen):
    believed = Earlier(known)
    assert believed.complete(seen) is seen
    assert believed.call_s is None
    fits = demand(known.wait_s / 2, known.gil_s / 2, samples=0)
    assert believed.complete(fits) is fits


def test_a_call_that_waits_for_the_gil_while_the_plan_is_looked_for_agrees():
    seen = demand(0.0015, 0.0015, samples=0)
    assert Earlier(demand(0.0, 0.010)).complete(seen).gil_s == 0.010


def test_uneven_calls_may_differ_by_more():
    seen = demand(0.0, 0.050, samples=1)
    assert Earlier(demand(0.0, 0.010)).complete(seen) is seen
    assert Earlier(demand(0.0, 0.010, spread=3.0)).complete(seen).gil_s == 0.010


def test_a_run_soon_speaks_for_itself():
    believed = Earlier(MIXED)
    assert believed.complete(demand(0.015, 0.004, samples=ENOUGH_CALLS - 1)).gil_s == 0.005
    assert believed.complete(demand(0.015, 0.004, samples=ENOUGH_CALLS)).gil_s == 0.004


class Model:
    def method(self, x):
        return x

    def __call__(self, x):
        return x


def test_what_counts_as_the_same_function():
    def made(n):
        return lambda x: x + n

    remember(made(1), MIXED)
    assert recall(made(2)).call_s == pytest.approx(0.020)
    assert recall(partial(made(3), 1)) is not None
    assert recall(lambda x: x) is None
    remember(Model().method, MIXED)
    assert recall(Model().method) is not None
    remember(time.sleep, MIXED)
    assert recall(time.sleep) is not None


def test_what_may_stand_for_any_work_is_not_remembered():
    held = []
    for fn in (Model(), held.append, Model):
        remember(fn, MIXED)
        assert recall(fn) is None


def test_a_little_waiting_is_not_remembered():
    """It may have been for the GIL."""
    remember(len, demand(0.001, 0.009))
    assert recall(len).complete(demand(0.0, 0.0011, samples=0)).wait_s == 0.0
    remember(len, demand(0.004, 0.006))
    assert recall(len).complete(demand(0.0, 0.0011, samples=0)).wait_s == 0.004


def test_few_calls_are_not_remembered():
    remember(len, demand(0.1, samples=ENOUGH_CALLS - 1))
    remember(len, None)
    assert recall(len) is None


def test_the_one_that_was_not_seen_for_longest_is_forgotten(monkeypatch):
    monkeypatch.setattr(earlier, "MOST_FUNCTIONS", 2)
    remember(len, MIXED)
    remember(abs, MIXED)
    remember(len, MIXED)
    remember(min, MIXED)
    assert recall(abs) is None
    assert recall(len) is not None
    assert recall(min) is not None


def nap_then_spin(x):
    time.sleep(0.030)
    end = time.thread_time() + 0.010
    while time.thread_time() < end:
        pass
    return x


def first_demand(monkeypatch, fn, items):
    """What the conductor is first told in a run."""
    seen = []
    step = Conductor.step

    def watched(self, view):
        if view.demand is not None:
            seen.append(view.demand)
        return step(self, view)

    with monkeypatch.context() as patched:
        patched.setattr(Conductor, "step", watched)
        assert whichpool.map(fn, items) == list(items)
    return seen[0]


def test_the_next_run_knows_that_what_waits_first_computes_later(monkeypatch):
    assert first_demand(monkeypatch, nap_then_spin, range(40)).samples != AS_IF_CALLS
    found = first_demand(monkeypatch, nap_then_spin, range(40))
    assert found.samples == AS_IF_CALLS
    assert found.gil_s + found.free_s > 0.004


def test_the_report_counts_what_was_seen_in_its_own_run():
    whichpool.map(nap_then_spin, range(20))
    report = whichpool.map(nap_then_spin, range(2)).report
    assert report.demand is None or report.demand.samples <= 2


def test_a_sample_that_explains_is_of_now(monkeypatch):
    remember(nap_then_spin, demand(1.0, 1.0))
    report = whichpool.explain(nap_then_spin, range(8))
    assert report.demand.call_s < 0.5
