"""Ranking: what must hold for every Demand and every machine, and a few cases that people know the answer to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._choose.forecast import Forecast, rank
from whichpool._choose.plans import candidates, most_workers, why_not
from whichpool._records import Demand, Host, Plan, StartCosts

pytestmark = pytest.mark.once("pure arithmetic")

times = st.one_of(st.just(0.0), st.floats(1e-6, 2.0))
demands = st.builds(
    Demand,
    wait_s=times,
    gil_s=times,
    free_s=times,
    ship_s=st.floats(1e-6, 0.1),
    land_s=st.floats(1e-6, 0.1),
    samples=st.just(9),
    spread=st.floats(0.0, 2.0),
).filter(lambda demand: demand.call_s > 1e-6)
hosts = st.builds(lambda cores: Host(cores=float(cores), machine_cores=cores), st.integers(1, 1000))
items = st.integers(1, 100_000)


def best(demand: Demand, host: Host, number: float, **options: object) -> Plan:
    return rank(demand, host, number, **options)[0].plan  # type: ignore[arg-type]


@given(demands, hosts, items, st.sets(st.sampled_from(["threads", "processes"])))
def test_an_unavailable_plan_is_never_chosen(demand: Demand, host: Host, number: int, out: set[str]) -> None:
    rows = rank(demand, host, number, ruled_out=dict.fromkeys(out, "writes total"))
    assert rows[0].why_not is None
    assert not (rows[0].plan.threads > 1 and "threads" in out)
    assert not (rows[0].plan.processes and "processes" in out)
    for row in rows:
        assert (row.why_not is not None) == (
            why_not(row.plan, demand, host, dict.fromkeys(out, "x")) is not None
        )


@given(st.floats(1e-4, 10.0), hosts, items, st.floats(0.0, 2.0))
def test_pure_waiting_never_picks_processes(wait_s: float, host: Host, number: int, spread: float) -> None:
    demand = Demand(wait_s, 0.0, 0.0, ship_s=1e-6, land_s=1e-6, samples=9, spread=spread)
    assert best(demand, host, number, ready=host.machine_cores).processes == 0


@given(demands, hosts, items, st.floats(0.01, 100.0))
def test_scaling_all_times_leaves_the_plan_unchanged(
    demand: Demand, host: Host, number: int, factor: float
) -> None:
    scaled = replace(
        demand,
        wait_s=demand.wait_s * factor,
        gil_s=demand.gil_s * factor,
        free_s=demand.free_s * factor,
        ship_s=(demand.ship_s or 0.0) * factor,
        land_s=(demand.land_s or 0.0) * factor,
    )
    start = host.start
    slower = replace(
        host,
        start=StartCosts(start.thread_s * factor, start.first_worker_s * factor, start.worker_s * factor),
    )
    before = rank(demand, host, number)
    after = {row.plan: row.predicted_s for row in rank(scaled, slower, number)}
    assert after.keys() == {row.plan for row in before}
    for row in before:
        assert after[row.plan] == pytest.approx((row.predicted_s or 0.0) * factor)


@given(demands, hosts, items, st.integers(1, 8))
def test_more_cores_never_predict_slower(demand: Demand, host: Host, number: int, factor: int) -> None:
    more = replace(host, cores=host.cores * factor, machine_cores=host.machine_cores * factor)
    for plan in candidates(demand, host, number, most=most_workers(host)):
        fewer_s = Forecast(demand, host, number).seconds(plan)
        assert Forecast(demand, more, number).seconds(plan) <= fewer_s * (1 + 1e-9)


@given(demands, hosts, items, st.integers(1, 64))
def test_limit_is_kept(demand: Demand, host: Host, number: int, limit: int) -> None:
    assert best(demand, host, number, limit=limit).workers <= limit


@given(demands, hosts, items)
def test_the_choice_is_never_predicted_clearly_slower_than_any_other(
    demand: Demand, host: Host, number: int
) -> None:
    rows = rank(demand, host, number)
    assert (rows[0].predicted_s or 0.0) <= min(row.predicted_s or 0.0 for row in rows) * 1.05 * (1 + 1e-9)


SMALL = Host(cores=2.0, machine_cores=2)


@pytest.mark.parametrize(
    ("demand", "number", "kind"),
    [
        (Demand(0.0, 1e-7, 0.0, ship_s=5e-7, land_s=5e-7, samples=9), 200_000, "loop"),
        (Demand(0.0, 0.010, 0.0, ship_s=1e-5, land_s=1e-5, samples=9), 200, "processes"),
        (Demand(0.0, 0.0, 0.020, ship_s=1e-3, land_s=1e-3, samples=9), 100, "threads"),
        (Demand(0.020, 0.0, 0.0, ship_s=1e-5, land_s=1e-5, samples=9), 100, "threads"),
        (Demand(0.015, 0.005, 0.0, ship_s=1e-5, land_s=1e-5, samples=9), 1000, "mixed"),
        (Demand(0.0, 0.010, 0.0, ship_s=0.02, land_s=0.01, payload_bytes=16e6, samples=9), 200, "loop"),
        (Demand(0.0, 1e-5, 0.0, ship_s=1e-6, land_s=1e-6, samples=9), 10, "loop"),
    ],
    ids=["x*x+1", "10 ms Python", "zlib", "sleep", "15+5", "16 MB in", "10 of 10 us"],
)
def test_cases_whose_answer_is_known(demand: Demand, number: int, kind: str) -> None:
    assert best(demand, SMALL, number).kind == kind


def test_processes_that_do_not_fit_in_memory_are_left_out_and_the_row_says_why() -> None:
    host = Host(cores=8.0, machine_cores=8, memory_free_bytes=400_000_000, worker_bytes=150_000_000)
    rows = rank(Demand(0.0, 0.1, 0.0, ship_s=1e-5, land_s=1e-5, samples=9), host, 1000)
    assert rows[0].plan == Plan(2, 1)
    eight = next(row for row in rows if row.plan == Plan(8, 1))
    assert eight.why_not == "8 processes of 150 MB do not fit in the 400 MB left"


def test_a_nested_process_starts_none() -> None:
    rows = rank(Demand(0.0, 0.1, 0.0, samples=9), replace(SMALL, nested=True), 1000)
    assert rows[0].plan == Plan.LOOP
    assert {row.why_not for row in rows if row.plan.processes} == {"this process is itself a worker"}


def test_free_threaded_builds_take_threads_for_python_code() -> None:
    rows = rank(Demand(0.0, 0.010, 0.0, ship_s=1e-5, land_s=1e-5, samples=9), replace(SMALL, gil=False), 200)
    assert rows[0].plan == Plan(0, 2)
