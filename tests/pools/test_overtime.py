"""Which workers are over their time, told from boards and a clock that are made here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from whichpool._host.states import is_stopped
from whichpool._pools import overtime
from whichpool._pools.member import Member
from whichpool._pools.overtime import (
    HANDLING_S,
    STALLED_S,
    STOP_LOOK_S,
    STOPPED_S,
    CallLimit,
    StopWatch,
    look_every_s,
)
from whichpool._worker.main import CANCEL_SLOT, HANDLING, IDLE, LOADING

TIMEOUT_S = 1.0


class Board(list):
    def tolist(self):
        return list(self)

    def __getitem__(self, place):
        return (
            Board(list.__getitem__(self, place))
            if isinstance(place, slice)
            else list.__getitem__(self, place)
        )


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(overtime, "monotonic", lambda: time.now)
    return time


@pytest.fixture
def member():
    one = Member(SimpleNamespace(board=Board([IDLE] * (CANCEL_SLOT + 1)), pid=1234))
    one.batches[7] = None
    return one


def over(limit, member):
    return [word for _, word in limit.over([member])]


def test_a_call_is_over_its_time_when_it_was_seen_for_so_long(clock, member):
    limit = CallLimit(TIMEOUT_S)
    member.worker.board[0] = 42
    assert over(limit, member) == []
    clock.now += TIMEOUT_S
    assert over(limit, member) == []
    clock.now += 0.001
    assert over(limit, member) == [42]


def test_the_next_item_begins_anew(clock, member):
    limit = CallLimit(TIMEOUT_S)
    for item in range(5):
        member.worker.board[0] = item
        assert over(limit, member) == []
        clock.now += 0.9
        assert over(limit, member) == []
    clock.now += 0.2
    assert over(limit, member) == [4]


def test_threads_have_their_time_each(clock, member):
    limit = CallLimit(TIMEOUT_S)
    member.worker.board[1:3] = [10, 11]
    assert over(limit, member) == []
    clock.now += 0.7
    member.worker.board[1] = 12
    assert over(limit, member) == []
    clock.now += 0.7
    assert over(limit, member) == [11]


def test_a_batch_that_is_unpickled_or_pickled_has_longer(clock, member):
    """It may load the modules that its items come from."""
    limit = CallLimit(TIMEOUT_S)
    member.worker.board[0] = HANDLING - 30
    over(limit, member)
    clock.now += TIMEOUT_S + HANDLING_S - 0.1
    assert over(limit, member) == []
    clock.now += 0.2
    assert over(limit, member) == [HANDLING - 30]


def test_loading_the_function_may_take_its_time(clock, member):
    limit = CallLimit(TIMEOUT_S)
    member.worker.board[0] = LOADING
    for _ in range(10):
        assert over(limit, member) == []
        clock.now += 100


def test_one_that_has_work_and_does_nothing_was_stopped(clock, member):
    limit = CallLimit(TIMEOUT_S)
    over(limit, member)
    clock.now += TIMEOUT_S + STALLED_S - 0.1
    assert over(limit, member) == []
    clock.now += 0.2
    assert over(limit, member) == [IDLE]


def test_one_that_has_no_work_or_is_not_up_is_left_alone(clock, member):
    limit = CallLimit(TIMEOUT_S)
    member.batches.clear()
    over(limit, member)
    clock.now += 100
    assert over(limit, member) == []
    member.batches[1] = None
    member.worker.pid = None
    clock.now += 100
    assert over(limit, member) == []


def test_it_is_looked_at_often_enough():
    assert [look_every_s(seconds) for seconds in (1000, 1, 0.1, 0.001)] == [0.05, 0.05, 0.005, 0.001]


@pytest.fixture
def stopped(monkeypatch):
    pids = set()
    monkeypatch.setattr(overtime, "is_stopped", lambda pid: pid in pids)
    return pids


def test_one_that_was_stopped_by_a_signal_is_over_after_a_while(clock, member, stopped):
    watch = StopWatch()
    seen = []
    for _ in range(4):
        clock.now += STOP_LOOK_S
        seen += watch.over([member])
    stopped.add(member.worker.pid)
    clock.now += STOP_LOOK_S
    assert list(watch.over([member])) == seen == []
    clock.now += STOPPED_S - 0.1
    assert list(watch.over([member])) == []
    clock.now += STOP_LOOK_S
    assert list(watch.over([member])) == [member]


def test_one_that_goes_on_or_has_nothing_in_hand_is_left_alone(clock, member, stopped):
    watch = StopWatch()
    for _ in range(10):
        clock.now += 2 * STOP_LOOK_S
        (stopped.discard if member.worker.pid in stopped else stopped.add)(member.worker.pid)
        assert list(watch.over([member])) == []
    member.batches.clear()
    stopped.add(member.worker.pid)
    for _ in range(10):
        clock.now += 2 * STOP_LOOK_S
        assert list(watch.over([member])) == []


@pytest.mark.parametrize(
    ("text", "so"),
    [
        ("7 (a) name) T 1 7 7 0", True),
        ("7 (T) S 1 7 7 0", False),
        ("7 (traced) t 1 7 7 0", False),
        ("", False),
        ("7 (cut", False),
    ],
)
def test_the_kernel_s_word_for_it(tmp_path, text, so):
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/stat").write_text(text)
    assert is_stopped(7, str(tmp_path)) is so
    assert not is_stopped(8, str(tmp_path))
