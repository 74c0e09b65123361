"""The real conductor in a simulated engine, on random workloads: its regret, its promise, and the simulator itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from random_workloads import workload
from simulate import Outcome, least_s, play, quantile
from virtual_engine import Engine, Unit, Workload

from whichpool._records import Host, Plan

# No clock, no thread, no I/O, no dice but `random.Random(seed)`: sums of floats, and what is larger.
pytestmark = pytest.mark.once("virtual time: pure arithmetic")

# A seeded part of what `python tests/choose/simulate.py --runs 10000` plays; its figures stand in docs/choosing.md.
RUNS = 100
# 95 % of those runs stay below this regret, and below the second one against the best plan begun once anything can be
# known: what was reached (1.72 and 1.25), so that a change for the worse is seen.
TAIL = 1.75
TAIL_ONCE_KNOWN = 1.27


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [play(seed) for seed in range(RUNS)]


def test_the_median_regret_is_small(outcomes: list[Outcome]) -> None:
    assert quantile([outcome.regret for outcome in outcomes], 0.5) <= 1.05


def test_regret_in_the_tail_does_not_grow(outcomes: list[Outcome]) -> None:
    # Aimed at: 1.25. Reached on all seeds: see docs/choosing.md, which says what the rest is made of.
    assert quantile([outcome.regret for outcome in outcomes], 0.95) <= TAIL
    assert quantile([outcome.regret_once_known for outcome in outcomes], 0.95) <= TAIL_ONCE_KNOWN


def test_it_is_not_slower_than_the_loop(outcomes: list[Outcome]) -> None:
    assert [outcome for outcome in outcomes if outcome.over_loop_s > 0] == []


# A slow first call; a mean that one long call moved; tiny calls whose shipping decides.
@pytest.mark.parametrize("seed", [328, 542, 2188, 2329, 6865, 7093, 9389])
def test_what_once_was_slower_than_the_loop_is_not(seed: int) -> None:
    drawn = workload(seed)
    assert Engine(drawn).run().seconds <= 1.05 * drawn.loop_s + 0.005


def test_it_does_not_oscillate(outcomes: list[Outcome]) -> None:
    assert max(outcome.switches for outcome in outcomes) <= 30


def work(unit: Unit, number: int, cores: int, **truth: object) -> Workload:
    host = Host(cores=float(cores), machine_cores=cores)
    return replace(Workload("by hand", (unit,) * number, host, seed=1), **truth)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("unit", "plan", "seconds"),
    [
        (Unit(0.1, 0.0, 0.0), Plan(0, 8), 0.2),  # waits side by side
        (Unit(0.0, 0.1, 0.0), Plan(0, 8), 1.6),  # one GIL
        (Unit(0.0, 0.0, 0.1), Plan(0, 8), 0.8),  # two cores
        (Unit(0.0, 0.1, 0.0), Plan.LOOP, 1.6),
        (Unit(0.0, 0.1, 0.0), Plan(2, 1), 0.8 + 0.0825),  # two GILs, after the start
        (Unit(0.1, 0.1, 0.0), Plan(2, 8), 0.9 + 0.0825),  # the cores, and one wait
    ],
)
def test_the_simulator_agrees_with_arithmetic(unit: Unit, plan: Plan, seconds: float) -> None:
    assert Engine(work(unit, 16, 2), plan).run().seconds == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("seed", range(0, 48, 5))
def test_no_fixed_plan_beats_its_bounds_in_the_simulator(seed: int) -> None:
    drawn = replace(workload(seed), deaths=0.0)
    for plan in (Plan.LOOP, Plan(0, 4), Plan(2, 1), Plan(2, 4)):
        assert Engine(drawn, plan).run().seconds >= least_s(drawn, plan) * (1 - 1e-6)


def test_a_run_is_its_seed() -> None:
    assert play(3) == play(3)


@pytest.mark.parametrize("seed", range(8, 8 + 12 * 6, 12))
def test_items_survive_dying_workers(seed: int) -> None:
    drawn = replace(workload(seed), deaths=0.2)
    assert drawn.name == "dying workers"
    assert Engine(drawn).run().finished == len(drawn.units)


def test_pure_waiting_starts_no_process_in_any_engine() -> None:
    for cores in (1, 2, 8, 64):
        result = Engine(work(Unit(0.05, 0.0, 0.0), 300, cores)).run()
        assert result.asked == []
        assert {plan.kind for _, plan, _ in result.steps} == {"threads"}
