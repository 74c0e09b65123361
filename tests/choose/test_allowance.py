"""How many calls a key may have: found in virtual time, with servers of which the capacity is known."""

from __future__ import annotations

from heapq import heappop, heappush

import pytest
from virtual_server import server

from whichpool._choose.allowance import Allowance
from whichpool._choose.conductor import Conductor
from whichpool._choose.records import View
from whichpool._records import Demand, Host, Plan

pytestmark = pytest.mark.once("virtual time: pure arithmetic")

SECONDS_TO_FIND = 60.0
SECONDS = 120.0


def uneven(random):
    """Most are small; one in a hundred is 30 times the median."""
    return random.lognormvariate(0, 1.5)


def found(one):
    """The mean level after it had time to find it."""
    one.run(SECONDS_TO_FIND)
    one.run(SECONDS)
    return one.mean_level(SECONDS_TO_FIND)


@pytest.mark.parametrize("capacity", [1, 3, 6, 10, 20, 40])
@pytest.mark.parametrize("shared", [False, True])
def test_it_finds_the_capacity_and_does_not_stay_beyond(capacity, shared):
    level = found(server(capacity, shared=shared))
    assert level == pytest.approx(capacity, rel=0.2, abs=0.35)


def test_it_grows_to_its_bound_where_nothing_else_holds_it():
    one = server(1000, most=64)
    one.run(5)
    assert one.allowance.level == 64
    assert found(server(1000, most=64)) > 0.95 * 64


@pytest.mark.parametrize("refuses_above", [5, 10, 20])
def test_refusals_keep_it_below_what_is_refused(refuses_above):
    one = server(1000, refuses_above=refuses_above)
    assert found(one) == pytest.approx(refuses_above, rel=0.2)
    assert one.refused < 0.03 * one.done


def test_a_burst_of_refusals_halves_once():
    one = Allowance(16, 32)
    for _ in range(16):
        one.begin()
    for _ in range(10):
        one.too_much(2.0, 1.0)
        one.leave()
    assert (one.level, one.slowed) == (8, 1)
    one.begin()
    one.too_much(4.0, 3.0)
    assert (one.level, one.slowed) == (4, 2)


def test_it_never_falls_below_one():
    one = Allowance(2, 8)
    for now in range(20):
        one.begin()
        one.too_much(now + 1.0, now + 0.5)
        one.leave()
    assert one.level == 1
    assert one.room(100.0) == 1


@pytest.mark.parametrize("per_s", [2.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_sizes_that_vary_do_not_make_it_shrink(per_s, seed):
    one = server(1000, first=16, most=16, sizes=uneven, per_s=per_s, seed=seed)
    assert found(one) > 0.8 * 16


def test_sizes_that_vary_do_not_hide_the_capacity():
    levels = [found(server(10, sizes=uneven, per_s=2.0, seed=seed)) for seed in range(3)]
    assert sorted(levels)[1] == pytest.approx(10, rel=0.2)


def test_a_server_that_has_more_to_give_later_is_noticed():
    one = server(4)
    one.run(60)
    before = one.allowance.level
    one.capacity = 16
    one.run(120)
    assert before <= 5
    assert one.mean_level(120) == pytest.approx(16, rel=0.2)


def test_a_server_that_has_less_is_noticed():
    one = server(16, shared=True)
    one.run(60)
    one.capacity = 4
    one.run(300)
    assert one.mean_level(260) <= 6


def test_few_calls_in_progress_say_nothing():
    """Where something else holds the calls back, it stays where it is."""
    one = Allowance(8, 64)
    for at in range(200):
        one.begin()
        one.did(at + 0.5, float(at))
        one.leave()
    assert one.level == 8


def test_fixed():
    one = Allowance(3, 3, fixed=True)
    for at in range(200):
        one.begin()
        one.did(at + 0.5, float(at))
        one.too_much(at + 0.5, float(at))
        one.leave()
    assert (one.level, one.slowed) == (3, 0)


def test_a_pause():
    one = Allowance(4, 8)
    assert one.pause(10.0, 2.0)
    assert not one.pause(10.5, 1.0), "it ends before the one that there is"
    assert one.pause(11.0, 2.0)
    assert (one.room(12.9), one.room(13.0)) == (0, 4)
    assert one.paused_s == pytest.approx(3.0)


def test_the_conductor_follows_a_limit_that_rises():
    """What more threads brought while there was no room for them does not count later."""
    conductor = Conductor(Host(cores=2, machine_cores=2))
    demand = Demand(wait_s=0.05, gil_s=0.0001, free_s=0.0, samples=50, spread=0.1)

    def run(usable, plan, since, until):
        for step in range(int(since * 20), int(until * 20)):
            now, rate = step / 20, min(usable, plan.workers) / 0.05
            view = View(
                now_s=now, done=int(rate * now), remaining=100_000, in_progress=plan.workers, oldest_s=0.05,
                demand=demand, plan=plan, plan_age_s=now - since, plan_done=int(rate * (now - since)),
                rate_per_s=rate, latency_s=0.05, processes="none", ready_processes=0, ruled_out={}, usable=usable,
            )  # fmt: skip
            for action in conductor.step(view):
                plan = getattr(action, "plan", plan)
        return plan

    plan = run(4, Plan(0, 1), 0.0, 2.0)
    assert plan == Plan(0, 4)
    plan = run(8, plan, 2.0, 4.0)
    assert plan == Plan(0, 8)
    plan = run(5, plan, 4.0, 6.0)  # fewer are of use now, and more later
    assert run(64, plan, 6.0, 9.0).threads > 32


class Busy:
    """Calls of a process whose threads share one core: each needs so much of it, and waits besides."""

    def __init__(self, cpu_s, wait_s, first=8, most=64):
        self.allowance = Allowance(first, most)
        self.cpu_s, self.wait_s = cpu_s, wait_s

    def run(self, calls):
        """One after the other, each begun when the one of its place had ended. Seconds."""
        now = cpu = 0.0
        while calls > 0:
            level = self.allowance.level
            for _ in range(level):
                self.allowance.begin()
            took = max(self.cpu_s * level, self.cpu_s + self.wait_s)
            for number in range(level):
                cpu += self.cpu_s
                at = now + took * (number + 1) / level
                self.allowance.did(at, at - took, 1.0, cpu)
            for _ in range(level):
                self.allowance.leave()
            now += took
            calls -= level
        return now


def test_where_the_process_is_full_fewer_are_tried_first():
    one = Busy(cpu_s=0.000_2, wait_s=0.000_05)
    one.run(500)
    assert one.allowance.settled <= 3


def test_where_the_calls_wait_the_level_doubles_each_round_trip():
    one = Busy(cpu_s=0.000_2, wait_s=0.020)
    assert one.run(2 * (8 + 16 + 32 + 64)) < 0.25
    assert one.allowance.level == 64


def test_calls_that_make_connections_do_not_keep_it_low():
    """The first call on each connection is three times as long; there are as many as the first level needs."""
    one = Allowance(8, 64)
    waiting, idle, now = [], 8, 0.0
    while now < 1.0:
        while one.room(now) > 0:
            one.begin()
            heappush(waiting, (now + (0.020 if idle > 0 else 0.060), len(waiting), now))
            idle = max(idle - 1, 0)
        now, _, began = heappop(waiting)
        idle += 1
        one.did(now, began)
        one.leave()
    assert one.settled == 64


def test_a_start_that_takes_cpu_does_not_keep_it_low():
    one = Busy(cpu_s=0.000_2, wait_s=0.020)
    one.cpu_s = 0.004  # while modules are loaded, say
    one.run(8)
    one.cpu_s = 0.000_2
    one.run(200)
    assert one.allowance.level == 64
