"""The four bounds, the words for what limits, and the queueing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._choose.bounds import bounds, limit_in_words, load, rate, size_in_words
from whichpool._records import Demand, Host, Plan

MIXED = Demand(wait_s=0.015, gil_s=0.005, free_s=0.0, ship_s=0.0, land_s=0.0, samples=10)


def host(cores: float, *, gil: bool = True) -> Host:
    return Host(cores=cores, machine_cores=int(cores), gil=gil)


def bound(demand: Demand, cores: float, plan: Plan, *, gil: bool = True) -> float:
    asks = load(demand, processes=plan.processes > 0)
    return bounds(asks, host(cores, gil=gil), plan).least


@pytest.mark.parametrize(
    ("plan", "per_s", "words"),
    [
        (Plan.LOOP, 50, "it only waits"),
        (Plan(0, 64), 200, "one GIL is full"),
        (Plan(2, 1), 100, "the workers only wait"),
        (Plan(2, 8), 400, "the cores are full"),
    ],
)
def test_the_worked_example_of_the_design(plan: Plan, per_s: float, words: str) -> None:
    assert bound(MIXED, 2, plan) == pytest.approx(per_s)
    assert limit_in_words(MIXED, host(2), plan) == words


def test_a_free_threaded_build_has_no_gil_bound() -> None:
    assert bound(MIXED, 2, Plan(0, 64), gil=False) == pytest.approx(400)


def test_shipping_bounds_processes_only() -> None:
    heavy = Demand(0.0, 0.010, 0.0, ship_s=0.020, land_s=0.005, payload_bytes=16e6, samples=5)
    assert bound(heavy, 64, Plan(32, 1)) == pytest.approx(50)
    assert limit_in_words(heavy, host(64), Plan(32, 1)) == "shipping 16 MB an item"
    assert bound(heavy, 64, Plan.LOOP) == pytest.approx(100)


def test_native_threads_are_not_multiplied() -> None:
    blas = Demand(0.0, 0.0, 0.010, native=4.0, samples=5)
    assert bound(blas, 4, Plan(0, 4)) == pytest.approx(100)
    assert limit_in_words(blas, host(4), Plan(0, 4)) == "the cores are full"


def test_limit_is_named_where_it_limits() -> None:
    waits = Demand(0.1, 0.0, 0.0, samples=5)
    assert limit_in_words(waits, host(4), Plan(0, 3), 3) == "limit=3 calls at once"


@pytest.mark.parametrize(
    ("size", "words"), [(80, "80 bytes"), (1500, "1.5 kB"), (16e6, "16 MB"), (2e9, "2 GB")]
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert size_in_words(size) == words


seconds = st.one_of(st.just(0.0), st.floats(1e-7, 10.0))
demands = st.builds(
    Demand, wait_s=seconds, gil_s=seconds, free_s=seconds, ship_s=seconds, land_s=seconds, samples=st.just(9)
).filter(lambda demand: demand.call_s > 0)
plans = st.builds(Plan, st.integers(0, 64), st.integers(1, 64))
cores = st.floats(1.0, 1000.0)


@given(demands, plans, cores, st.booleans())
def test_what_is_expected_never_exceeds_the_bounds(
    demand: Demand, plan: Plan, number: float, gil: bool
) -> None:
    asks = load(demand, processes=plan.processes > 0)
    machine = host(number, gil=gil)
    assert rate(asks, machine, plan) <= bounds(asks, machine, plan).least * (1 + 1e-9)


@given(demands, plans, cores, st.floats(1.0, 4.0))
def test_more_cores_are_never_slower(demand: Demand, plan: Plan, number: float, factor: float) -> None:
    asks = load(demand, processes=plan.processes > 0)
    assert rate(asks, host(number * factor), plan) >= rate(asks, host(number), plan) * (1 - 1e-9)


@given(demands, cores)
def test_one_worker_alone_queues_for_nothing(demand: Demand, number: float) -> None:
    assert rate(load(demand, processes=False), host(number), Plan.LOOP) == pytest.approx(1 / demand.call_s)
