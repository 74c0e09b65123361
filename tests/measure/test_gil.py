"""The heartbeat: late beats in which CPU was burnt mean that the GIL is held."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._measure import gil
from whichpool._measure.gil import (
    ALL_LATE,
    BEAT_S,
    HALF_LIFE_S,
    LATE_S,
    LEAST_CPU_S,
    SEEN_S,
    Heart,
    QuickSwitching,
)

ON_TIME = BEAT_S + LATE_S / 2
LATE = BEAT_S + 0.005


def heart(beats):
    made = Heart()
    for took, cpu in beats:
        made.note(BEAT_S, took, cpu)
    return made


def test_nothing_is_known_before_the_first_beat():
    made = Heart()
    assert made.share is None
    assert made.late_share is None
    assert made.beats == 0


def test_code_that_holds_the_gil():
    made = heart([(LATE, 0.005)] * 30)
    assert made.share == 1.0
    assert made.late_share == pytest.approx(1.0)
    assert made.beats == 30


def test_code_that_computes_without_it():
    made = heart([(ON_TIME, BEAT_S)] * 30)
    assert made.share == 0.0
    assert made.late_share == 0.0


def test_waiting_says_nothing_of_the_gil():
    made = heart([(ON_TIME, 0.0)] * 30 + [(ON_TIME, LEAST_CPU_S / 2)] * 10)
    assert made.share is None
    assert made.late_share == 0.0


def test_late_without_cpu_of_what_is_watched_is_somebody_elses():
    made = heart([(LATE, 0.0)] * 10 + [(ON_TIME, 0.001)] * 10)
    assert made.share == 0.0
    assert made.late_share > 0.5


def test_a_third_of_the_cpu_held_it():
    made = heart([(ON_TIME, 0.001), (ON_TIME, 0.001), (BEAT_S + 2 * LATE_S, 0.001)] * 50)
    assert made.share == pytest.approx(1 / 3 / ALL_LATE, rel=0.05)


def test_some_beats_on_time_by_luck_do_not_make_it_free():
    assert heart([(LATE, 0.005)] * 50 + [(ON_TIME, 0.005)] * 5).share == 1.0


def test_two_threads_side_by_side_do_not_hold_it_if_beats_are_late_by_a_moment_only():
    late = BEAT_S + 0.001
    assert heart([(late, 2 * late)] * 30).share == 0.0
    assert heart([(late, late)] * 30).share == 1.0  # one after the other


def test_of_threads_side_by_side_one_at_most_holds_it():
    assert heart([(LATE, 2 * LATE)] * 30).share == pytest.approx(0.5 / ALL_LATE)


def test_a_busy_machine_does_not_hide_that_it_is_held():
    """The beat had no core for most of the time, in which what is watched went on."""
    made = Heart()
    for _ in range(30):
        made.note(BEAT_S, LATE + 0.020, LATE + 0.020, without_core_s=0.020)
    assert made.share == 1.0
    assert made.idle_share((0.0, 0.0), 1.0, 0.0) == 0.0


def test_a_beat_that_had_no_core_is_not_late_for_that():
    made = Heart()
    for _ in range(30):
        made.note(BEAT_S, ON_TIME + 0.020, ON_TIME + 0.020, without_core_s=0.020)
    assert made.share == 0.0


def test_it_forgets():
    made = heart([(LATE, 0.005)] * 100)
    for _ in range(int(6 * HALF_LIFE_S / ON_TIME)):
        made.note(BEAT_S, ON_TIME, ON_TIME)
    assert made.share < 0.1


def test_without_a_cpu_clock_only_lateness_is_known():
    made = heart([(LATE, None)] * 5)
    assert made.share is None
    assert made.late_share == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1))), max_size=50))
def test_shares_are_shares(beats):
    made = heart(beats)
    for share in (made.share, made.late_share):
        assert share is None or 0.0 <= share <= 1.0 + 1e-12


def test_a_beat_with_made_up_clocks(monkeypatch):
    now, burnt, ready = [10.0], [1.0], [0.0]
    monkeypatch.setattr(gil, "perf_counter", lambda: now[0])
    monkeypatch.setattr(gil, "run_delay_clock", lambda: lambda: ready[0])
    made = Heart()

    def sleep(seconds, late=0.0, without_core=0.0, cpu=0.0):
        now[0] += seconds + late + without_core
        ready[0] += without_core
        burnt[0] += cpu
        return False

    def cpu():
        return burnt[0]

    assert made.beat(lambda s: sleep(s, late=0.005, cpu=0.005), cpu) is False
    assert made.share == 1.0
    made = Heart()
    # As late, but because no core was free for it: the kernel says so.
    made.beat(lambda s: sleep(s, without_core=0.005, cpu=0.005), cpu)
    assert made.share == 0.0
    assert made.late_share == 0.0


def test_a_beat_that_is_woken_early_does_not_count():
    made = Heart()
    assert made.beat(lambda s: True, None) is True
    assert made.beats == 0


@given(
    beats=st.integers(12, 60),
    idle=st.floats(0, 1),
    busy_before=st.booleans(),
    without_core=st.floats(0, 0.5),
)
def test_waiting_is_what_the_beats_saw_of_a_call(beats, idle, busy_before, without_core):
    made = heart([(ON_TIME, ON_TIME if busy_before else 0.0)] * 7)  # another call, before this one
    since = made.sums
    for _ in range(beats):
        made.note(BEAT_S, ON_TIME, ON_TIME * (1 - idle))
    took = 2 * beats * ON_TIME  # half of the time it was not watched
    share = made.idle_share(since, took, without_core * took)
    assert share == pytest.approx(max(0.0, idle - without_core), abs=1e-9)


def test_of_a_call_that_was_hardly_watched_nothing_is_said():
    made = heart([(ON_TIME, 0.0)] * 50)
    since = made.sums
    assert made.idle_share(since, 1.0, 0.0) is None
    made.note(BEAT_S, SEEN_S / 2, 0.0)
    assert made.idle_share(since, 1.0, 0.0) is None
    made.note(BEAT_S, SEEN_S, None)  # no clock could be read
    assert made.idle_share(since, 1.0, 0.0) is None
    made.note(BEAT_S, SEEN_S, 0.0)
    assert made.idle_share(since, 1.0, 0.0) == 1.0


@pytest.fixture
def interval():
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def test_quick_switching_is_put_back(interval):
    first, second = QuickSwitching(), QuickSwitching()
    assert sys.getswitchinterval() == pytest.approx(gil.QUICK_S)
    first.end()
    first.end()
    assert sys.getswitchinterval() == pytest.approx(gil.QUICK_S)
    second.end()
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_quick_switching_leaves_what_others_set_meanwhile(interval):
    quick = QuickSwitching()
    sys.setswitchinterval(0.02)
    quick.end()
    assert sys.getswitchinterval() == pytest.approx(0.02)


def test_quick_switching_makes_nothing_slower(interval):
    sys.setswitchinterval(0.0001)
    quick = QuickSwitching()
    assert sys.getswitchinterval() == pytest.approx(0.0001)
    quick.end()
    assert sys.getswitchinterval() == pytest.approx(0.0001)


def test_quick_switching_from_many_threads(interval):
    def use():
        for _ in range(200):
            QuickSwitching().end()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sys.getswitchinterval() == pytest.approx(0.005)
