"""The state machine, step by step, with views written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whichpool._choose import Conductor, Prepare, Switch, View
from whichpool._choose.expect import expected_demand, expected_items, steadied
from whichpool._choose.ledger import Ledger, Progress
from whichpool._choose.limiter import GROWTH, Limiter
from whichpool._choose.plans import hired
from whichpool._records import Demand, Host, Plan

HOST = Host(cores=4.0, machine_cores=4)
PYTHON = Demand(0.0, 0.010, 0.0, ship_s=1e-5, land_s=1e-5, payload_bytes=100, samples=5, spread=0.05)
SLEEP = replace(PYTHON, wait_s=0.010, gil_s=0.0)
ZLIB = replace(PYTHON, gil_s=0.0, free_s=0.010)


def view(demand: Demand | None, **changes: object) -> View:
    now = View(
        now_s=0.05,
        done=5,
        remaining=1000,
        in_progress=1,
        oldest_s=0.005,
        demand=demand,
        plan=Plan.LOOP,
        plan_age_s=0.05,
        plan_done=5,
        rate_per_s=None,
        latency_s=None,
        processes="none",
        ready_processes=0,
        ruled_out={},
    )
    return replace(now, **changes)  # type: ignore[arg-type]


def test_it_listens_while_nothing_is_known() -> None:
    conductor = Conductor(HOST)
    assert conductor.step(view(None, done=0)) == ()
    assert conductor.phase == "listening"
    assert conductor.next_step_s() <= 0.001


def test_python_code_prepares_processes_and_the_loop_goes_on() -> None:
    conductor = Conductor(HOST)
    (action,) = conductor.step(view(PYTHON))
    assert isinstance(action, Prepare)
    assert action.processes == 4
    assert "10 ms holding the GIL an item" in action.reason
    starting = view(PYTHON, now_s=0.06, processes="starting")
    assert conductor.step(starting) == ()  # asked once


def test_workers_are_taken_on_as_they_come_up() -> None:
    conductor = Conductor(HOST)
    conductor.step(view(PYTHON))
    (first,) = conductor.step(view(PYTHON, now_s=0.14, processes="starting", ready_processes=2))
    assert isinstance(first, Switch)
    assert first.plan == Plan(2, 1)
    (then,) = conductor.step(
        view(
            PYTHON,
            now_s=0.16,
            processes="ready",
            ready_processes=4,
            plan=Plan(2, 1),
            plan_age_s=0.02,
            plan_done=2,
        )
    )
    assert isinstance(then, Switch)
    assert then.plan == Plan(4, 1)


def test_where_the_caller_joins_one_worker_less_is_started() -> None:
    conductor = Conductor(HOST)
    (asked,) = conductor.step(view(PYTHON, joins=True))
    assert isinstance(asked, Prepare)
    assert asked.processes == 3
    (first,) = conductor.step(view(PYTHON, now_s=0.14, processes="starting", ready_processes=1, joins=True))
    assert isinstance(first, Switch)
    assert first.plan == Plan(2, 1)
    in_force = {"plan": Plan(2, 1), "plan_age_s": 0.02, "plan_done": 2, "joins": True}
    (then,) = conductor.step(view(PYTHON, now_s=0.16, processes="ready", ready_processes=3, **in_force))
    assert isinstance(then, Switch)
    assert then.plan == Plan(4, 1)


@pytest.mark.parametrize(
    ("plan", "workers"),
    [(Plan(2, 1), 1), (Plan(8, 1), 7), (Plan(9, 1), 9), (Plan(2, 2), 2), (Plan.LOOP, 0), (Plan(0, 4), 0)],
)
def test_the_caller_is_one_of_a_few_processes_of_one_thread_each(plan: Plan, workers: int) -> None:
    assert hired(plan, joins=True) == workers
    assert hired(plan, joins=False) == plan.processes


@pytest.mark.parametrize(
    ("remaining", "importing_s", "joins", "begins"),
    [
        (100, 0.0, True, True),
        (100, 0.1, True, False),  # 0.1 s since it was last seen importing
        (
            100,
            0.0,
            False,
            False,
        ),  # the loop would stand still while workers do again what is slow the first time
        (10, 0.0, True, False),  # few items: soon over in the loop, if only the first is slow
    ],
)
def test_workers_begin_beside_a_long_first_call(
    remaining: int, importing_s: float, joins: bool, begins: bool
) -> None:
    conductor = Conductor(HOST)
    so_far = replace(PYTHON, gil_s=0.2, samples=0, spread=None)
    now = view(so_far, now_s=0.2, done=0, oldest_s=0.2, plan_done=0, plan_age_s=0.2, remaining=remaining)
    now = replace(now, processes="ready", ready_processes=4, joins=joins, importing_s=importing_s)
    switches = [action for action in conductor.step(now) if isinstance(action, Switch)]
    assert [switch.plan.processes > 0 for switch in switches] == [True] * begins


def test_waiting_takes_threads_and_no_process() -> None:
    actions = Conductor(HOST).step(view(SLEEP))
    assert [type(action) for action in actions] == [Switch]
    assert actions[0].plan.processes == 0  # type: ignore[union-attr]
    assert actions[0].plan.threads >= 32  # type: ignore[union-attr]


def test_computing_without_the_gil_takes_threads_up_to_the_cores() -> None:
    (action,) = Conductor(HOST).step(view(ZLIB))
    assert isinstance(action, Switch)
    assert action.plan == Plan(0, 4)


def test_threads_that_bring_nothing_are_given_up() -> None:
    conductor = Conductor(HOST)
    plan = Plan(0, 4)
    conductor.step(view(ZLIB))
    actions: list[object] = []
    for tick in range(1, 80):  # 50 items a second, where the loop makes 100
        seconds = 0.05 * tick
        done = int(50 * seconds)
        actions += conductor.step(
            view(
                ZLIB,
                now_s=0.05 + seconds,
                done=5 + done,
                remaining=1000 - done,
                in_progress=4,
                plan=plan,
                plan_age_s=seconds,
                plan_done=done,
                rate_per_s=50.0,
                latency_s=0.08,
                ruled_out={"processes": "no"},
            )
        )
        if actions:
            break
    assert isinstance(actions[0], Switch)
    assert actions[0].plan == Plan.LOOP


@pytest.mark.parametrize("out", [{"threads"}, {"processes"}, {"threads", "processes"}])
@pytest.mark.parametrize("demand", [PYTHON, SLEEP, ZLIB, replace(PYTHON, wait_s=0.03)])
def test_what_is_ruled_out_is_never_done(out: set[str], demand: Demand) -> None:
    conductor = Conductor(HOST)
    ruled_out = dict.fromkeys(out, "writes total")
    for ready in (0, 4):
        for action in conductor.step(
            view(demand, ruled_out=ruled_out, ready_processes=ready, processes="ready" if ready else "none")
        ):
            plan = action.plan if isinstance(action, Switch) else Plan(action.processes, 1)
            assert not (plan.processes and "processes" in out)
            assert not (plan.threads > 1 and "threads" in out)


def test_a_plan_that_comes_to_be_ruled_out_is_left_at_once() -> None:
    late = view(SLEEP, plan=Plan(0, 32), plan_done=64, plan_age_s=0.1, ruled_out={"threads": "writes total"})
    switches = [action for action in Conductor(HOST).step(late) if isinstance(action, Switch)]
    assert [switch.plan for switch in switches] == [Plan.LOOP]
    assert switches[0].reason == "writes total"


def test_failed_processes_are_not_asked_for_again() -> None:
    conductor = Conductor(HOST)
    failed = view(PYTHON, processes="failed")
    assert conductor.step(failed) == ()
    rows = conductor.verdict(failed).rows
    assert {row.why_not for row in rows if row.plan.processes} == {"worker processes could not be started"}


def test_processes_begin_nothing_while_the_very_first_call_computes() -> None:
    conductor = Conductor(HOST)
    so_far = replace(PYTHON, samples=0)
    first = view(so_far, now_s=0.3, done=0, oldest_s=0.3, processes="ready", ready_processes=4)
    few = replace(first, remaining=9)
    assert [action for action in conductor.step(few) if isinstance(action, Switch)] == []
    few = replace(few, now_s=0.5, oldest_s=0.5, plan_age_s=0.5)
    assert [action.plan.processes for action in conductor.step(few) if isinstance(action, Switch)] == [4]


def test_where_many_items_are_left_a_first_call_is_waited_for_longer_but_not_for_ever() -> None:
    conductor = Conductor(HOST)
    so_far = replace(PYTHON, samples=0)
    first = view(so_far, now_s=1.0, done=0, oldest_s=1.0, processes="ready", ready_processes=4)
    assert [action for action in conductor.step(first) if isinstance(action, Switch)] == []
    for_long = replace(first, now_s=10.0, oldest_s=10.0, plan_age_s=10.0)
    assert [action.plan.processes for action in conductor.step(for_long) if isinstance(action, Switch)] == [4]


def test_the_second_call_is_waited_for_where_processes_are_ready() -> None:
    conductor = Conductor(HOST)
    one = replace(PYTHON, gil_s=0.3, samples=1, spread=None)
    second = view(one, now_s=0.31, done=1, oldest_s=0.01, processes="ready", ready_processes=4)
    switches = [action.plan for action in conductor.step(second) if isinstance(action, Switch)]
    assert [plan for plan in switches if not plan.processes] == []


def test_one_long_call_of_many_in_the_loop_is_an_exception() -> None:
    usual = view(replace(PYTHON, samples=10_000), done=10_000, plan_done=10_000, oldest_s=0.25)
    expected = expected_demand(usual, HOST)
    assert expected is not None
    assert expected.call_s < 1.8 * PYTHON.call_s


def test_uneven_calls_are_judged_by_all_that_the_loop_did() -> None:
    recent = replace(PYTHON, gil_s=0.03, samples=100, spread=2.5)
    seen = view(recent, done=100, plan_done=100, plan_age_s=1.0)
    assert steadied(recent, seen).call_s == pytest.approx(0.01)
    even = replace(recent, spread=0.1)
    assert steadied(even, seen) is even  # that is a change of the work


def test_a_running_first_call_is_expected_to_take_as_long_again() -> None:
    so_far = replace(PYTHON, gil_s=0.03, samples=0)
    running = view(so_far, done=0, oldest_s=0.03, remaining=8)
    expected = expected_demand(running, HOST)
    assert expected is not None
    assert expected.call_s == pytest.approx(0.06)


def test_a_single_slow_first_call_is_not_the_rule() -> None:
    one = view(replace(PYTHON, gil_s=1.0, samples=1), done=1, oldest_s=0.001)
    expected = expected_demand(one, HOST)
    assert expected is not None
    assert expected.call_s == pytest.approx(0.002)
    few = view(replace(PYTHON, gil_s=0.251, samples=4, spread=1.725), done=4)
    expected = expected_demand(few, HOST)
    assert expected is not None
    assert expected.call_s < 0.05


def test_unknown_length_assumes_as_much_again() -> None:
    hoped, sure = expected_items(view(PYTHON, remaining=None, done=20, in_progress=2), HOST)
    assert sure == 22
    assert hoped > sure  # for what costs little


def test_nothing_is_done_about_the_last_items() -> None:
    assert Conductor(HOST).step(view(SLEEP, remaining=1)) == ()


def test_the_limiter_grows_while_latency_does_not_and_stays_where_nothing_is_gained() -> None:
    limiter = Limiter(32)
    limiter.observe(32, 64, 3000.0, 3300.0, 0.0101, 0.010)
    assert limiter.allowed == 32 * GROWTH
    limiter.observe(128, 300, 3000.0, 3100.0, 0.043, 0.010)
    assert limiter.allowed == 32
    limiter.observe(32, 300, 3000.0, 3100.0, 0.010, 0.010)
    assert limiter.allowed == 32  # tried once
    limiter.reset()
    limiter.observe(32, 20, 3000.0, 3100.0, 0.010, 0.010)
    assert limiter.allowed == 32  # not a round of calls yet


def test_the_ledger_believes_what_is_certain_only() -> None:
    ledger = Ledger()
    ledger.note(Plan(0, 4), Progress(1.0, 90, 86.0, 410.0), 400.0, 0.0, waits=False)
    assert ledger.correct(Plan(0, 4), 400.0) == pytest.approx(400.0)
    ledger.note(Plan(0, 4), Progress(1.0, 100, 96.0, 104.0), 400.0, 0.0, waits=False)
    assert ledger.correct(Plan(0, 4), 400.0) < 130
    assert ledger.correct(Plan(0, 8), 800.0) <= 104.0
    assert ledger.correct(Plan(4, 1), 400.0) == 400.0


def test_a_full_gil_proves_how_long_it_is_held_at_most() -> None:
    ledger = Ledger()
    ledger.note(Plan(0, 64), Progress(1.0, 30_000, 30_000.0, 30_064.0), 20_000.0, 0.0, waits=False)
    found = ledger.reconcile(Demand(0.0, 5e-5, 1e-3, samples=9))
    assert found.gil_s == pytest.approx(1 / 30_000)
    assert found.call_s == pytest.approx(1.05e-3)


def test_the_verdict_says_why_with_numbers() -> None:
    demand = replace(PYTHON, wait_s=0.015, gil_s=0.005)
    host = Host(cores=2.0, machine_cores=2)
    verdict = Conductor(host).verdict(view(demand))
    assert verdict.plan.kind == "mixed"
    assert verdict.runner_up is not None
    assert verdict.runner_up.kind != "mixed"
    assert verdict.margin is not None
    assert verdict.margin > 1.5
    assert "15 ms waiting + 5 ms holding the GIL an item" in verdict.reason
    assert "the cores are full" in verdict.reason
    kinds = {row.plan.kind for row in verdict.rows}
    assert kinds == {"loop", "threads", "processes", "mixed"}


def test_the_verdict_of_a_forced_plan_names_it_and_what_would_be_better() -> None:
    verdict = Conductor(HOST).verdict(view(PYTHON), forced=Plan(0, 7))
    assert verdict.plan == Plan(0, 7)
    assert "7 threads (as asked for) can do" in verdict.reason
    assert "4 processes could do" in verdict.reason


def test_the_verdict_before_anything_is_known() -> None:
    verdict = Conductor(HOST).verdict(view(None, done=1, remaining=0))
    assert verdict.plan == Plan.LOOP
    assert verdict.rows[0].limit == "not measured"


def test_long_calls_of_late_do_not_turn_python_into_computing_without_the_gil() -> None:
    """The newest calls are longer than those that were counted: no reason to believe that they left the GIL free."""
    ledger = Ledger()
    ledger.note(
        Plan(2, 1), Progress(0.3, 20, 60.0, 70.0), 63.0, 0.0, waits=False
    )  # so 33 ms under the GIL at most
    lately = replace(PYTHON, gil_s=0.100)
    assert ledger.reconcile(lately).gil_s >= 0.075
    assert ledger.reconcile(lately).call_s == pytest.approx(lately.call_s)
    a_little = replace(PYTHON, gil_s=0.036)
    assert ledger.reconcile(a_little).gil_s == pytest.approx(2 / 60)
