"""A running estimate of what one item asks of the machine."""

from __future__ import annotations

import random

import pytest

from whichpool._measure.profile import BUSY, HALF_LIFE_S, Profile


def test_nothing_is_known_at_first():
    profile = Profile()
    assert profile.demand() is None
    assert profile.call_s is None


def test_waiting_is_what_is_not_cpu():
    profile = Profile()
    for _ in range(10):
        profile.add_local(1, 0.020, 0.005, None)
    demand = profile.demand()
    assert demand.wait_s == pytest.approx(0.015)
    assert demand.gil_s == pytest.approx(0.005)  # nothing was heard at the heartbeat: it may hold the GIL
    assert demand.free_s == pytest.approx(0.0)
    assert demand.samples == 10
    assert profile.call_s == pytest.approx(0.020)


def test_waiting_is_believed_only_of_calls_that_ran_alone():
    profile = Profile()
    profile.add_local(1, 0.010, 0.010, None)
    # Four threads that hold the GIL in turns look as if each waited three quarters of the time.
    for _ in range(10):
        profile.add_local(1, 0.040, 0.010, 0.040)
    assert profile.demand().wait_s == pytest.approx(0.0)
    assert profile.demand().gil_s == pytest.approx(0.010)


def test_threads_that_burn_nothing_together_do_wait():
    profile = Profile()
    for _ in range(5):
        profile.add_local(1, 0.040, 0.001, BUSY * 0.040 / 2)
    assert profile.demand().wait_s == pytest.approx(0.039)


def test_remote_calls_wait_only_if_they_ran_alone():
    alone, together = Profile(), Profile()
    for _ in range(5):
        alone.add_remote(1, 0.020, 0.005, 0.005, 0.0, alone=True)
        together.add_remote(1, 0.020, 0.005, 0.018, 0.0, alone=False)
    assert alone.demand().wait_s == pytest.approx(0.015)
    assert together.demand().wait_s == pytest.approx(0.0)


def test_cpu_is_never_more_than_the_wall():
    profile = Profile()
    profile.add_local(1, 0.010, 0.030, None)
    demand = profile.demand()
    assert demand.call_s == pytest.approx(0.010)
    assert demand.wait_s == 0


def test_the_heartbeat_splits_the_cpu():
    profile = Profile()
    profile.add_local(1, 0.010, 0.010, None)
    for _ in range(20):
        profile.heart.note(0.001, 0.00101, 0.001)
    demand = profile.demand()
    assert demand.free_s == pytest.approx(0.010)
    assert demand.gil_s == 0.0


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5])
def test_the_spread_of_single_calls(spread):
    draw = random.Random(4)
    profile = Profile()
    found = []
    for i in range(600):
        call = 0.010 * (1 + spread * draw.choice((-1, 1)))
        profile.add_local(1, call, call, None)
        if i > 100:
            found.append(profile.demand().spread)
    assert sum(found) / len(found) == pytest.approx(spread, rel=0.25, abs=0.005)
    assert profile.call_s == pytest.approx(0.010, rel=0.4 * spread + 0.01)


def test_the_spread_seen_through_batches():
    draw = random.Random(5)
    profile = Profile()
    found = []
    for i in range(600):
        calls = 25
        total = sum(0.001 * (1 + 0.5 * draw.choice((-1, 1))) for _ in range(calls))
        profile.add_local(calls, total, total, None)
        if i > 100:
            found.append(profile.demand().spread)
    assert sum(found) / len(found) == pytest.approx(0.5, rel=0.3)


def test_the_newest_count_most():
    profile = Profile()
    for _ in range(50):
        profile.add_local(1, 0.001, 0.001, None)
    for _ in range(30):
        profile.add_local(1, HALF_LIFE_S, HALF_LIFE_S, None)
    assert profile.demand().gil_s == pytest.approx(HALF_LIFE_S, rel=0.05)
    assert profile.call_s == pytest.approx(HALF_LIFE_S, rel=0.05)


def test_totals_are_not_forgotten():
    profile = Profile()
    for _ in range(10):
        profile.add_local(3, 0.3, 0.1, None)
        profile.add_remote(2, 0.2, 0.1, 0.1, 0.0, alone=True)
    assert profile.total_calls == 50
    assert profile.total_wall_s == pytest.approx(5.0)


# --- a first call that is still running ---------------------------------------------------------------------


def test_a_running_call_that_waits():
    demand = Profile().demand(0.030, 0.001)
    assert demand.wait_s == pytest.approx(0.029)
    assert demand.samples == 0
    assert demand.spread is None


def test_a_running_call_that_computes():
    profile = Profile()
    for _ in range(10):
        profile.heart.note(0.001, 0.006, 0.005)
    demand = profile.demand(0.030, 0.030)
    assert demand.gil_s == pytest.approx(0.030)
    assert demand.wait_s == pytest.approx(0.0)


def test_a_running_call_without_a_cpu_clock_is_judged_by_lateness():
    waits, holds = Profile(), Profile()
    for _ in range(10):
        waits.heart.note(0.001, 0.00105, None)
        holds.heart.note(0.001, 0.006, None)
    assert waits.demand(0.030, None).wait_s == pytest.approx(0.030)
    assert holds.demand(0.030, None).gil_s == pytest.approx(0.030)


def test_a_finished_call_is_worth_more_than_a_running_one():
    profile = Profile()
    profile.add_local(1, 0.002, 0.002, None)
    assert profile.demand(5.0, 0.0).call_s == pytest.approx(0.002)


def test_waiting_that_was_seen_in_the_first_call_counts_until_some_can_be_believed():
    profile = Profile()
    assert profile.demand(0.006, 0.001).wait_s == pytest.approx(0.005)
    profile.add_local(1, 0.020, 0.004, 0.015)  # others ran beside it: it may have waited for the GIL
    assert profile.demand().wait_s == pytest.approx(0.005)
    profile.add_remote(1, 0.020, 0.004, 0.004, 0.0, alone=True)
    assert profile.demand().wait_s == pytest.approx(0.016)


def test_the_first_calls_whole_waiting_counts_until_some_can_be_believed():
    """Not only what had been seen of it half way."""
    profile = Profile()
    assert profile.demand(0.005, 0.0).wait_s == pytest.approx(0.005)
    profile.add_local(1, 0.010, 0.0, None)  # the first: it may have been slow for once
    profile.add_local(1, 0.012, 0.001, 0.012)  # the next ones ran beside others
    assert profile.demand().wait_s == pytest.approx(0.010)


def test_no_more_waiting_than_calls_that_ended_had_time_for():
    profile = Profile()
    profile.demand(0.006, 0.0)
    profile.add_local(1, 0.006, 0.004, 0.006)
    assert profile.demand().wait_s == pytest.approx(0.002)


# --- messages, and threads of the function's own ------------------------------------------------------------


def test_shipping_and_landing_are_for_one_call():
    profile = Profile()
    profile.add_ship(10, 0.010, 5000)
    profile.add_remote(10, 0.1, 0.1, 0.1, 0.020, alone=True)
    demand = profile.demand()
    assert demand.ship_s == pytest.approx(0.001)
    assert demand.land_s == pytest.approx(0.002)
    assert demand.payload_bytes == pytest.approx(500)
    for _ in range(40):
        profile.add_ship(1, 0.004, None)
    assert profile.demand().ship_s == pytest.approx(0.004, rel=0.01)
    assert profile.demand().payload_bytes == pytest.approx(500)


def test_native_threads():
    profile = Profile()
    profile.add_local(1, 0.1, 0.1, None)
    profile.add_native(0.4, 0.1)
    assert profile.demand().native == pytest.approx(4.0)
    profile.add_native(0.11, 0.1)  # noise
    assert profile.demand().native == 1.0
    profile.add_native(0.4, 0.1)
    profile.add_native(0.001, 0.0001)  # too little to tell
    assert profile.demand().native == pytest.approx(4.0)
