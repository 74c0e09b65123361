"""`max_memory` holds for the whole process tree: this process, the fork server, the workers."""

from __future__ import annotations

import os
import time

import pytest

import whichpool
from whichpool._pools import budget, fleet

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="reads /proc")

MB = 1_000_000
_kept: list[bytearray] = []


@pytest.fixture
def room(tree_memory):
    """Makes a limit that leaves so many megabytes beside what is held now, however much that is, and the reserve."""
    return lambda megabytes: int((tree_memory().now() + megabytes * MB) / budget.PLANNED)


@pytest.fixture(autouse=True)
def no_workers():
    """Workers of other tests would count."""
    fleet.close()
    yield
    _kept.clear()


def take(megabytes: int) -> int:
    """Hold so much for a while, and let go of it."""
    held = bytearray(b"x") * (megabytes * MB)
    digest = sum(held[:: len(held) // 1000])
    for _ in range(20):
        digest ^= hash(bytes(held[:MB]))
    return os.getpid() if digest is not None else 0


def keep(megabytes: int) -> int:
    """Hold so much more with each item, for good."""
    _kept.append(bytearray(b"x") * (megabytes * MB))
    return len(_kept)


@pytest.mark.parametrize("kind", ["map", "imap", "map_reduce"])
def test_fewer_workers_are_at_work_than_the_plan_has(kind, room, tree_memory):
    before, limit = tree_memory().now(), room(130)
    with tree_memory() as held:
        if kind == "map_reduce":
            assert whichpool.map_reduce(
                take, [40] * 16, lambda a, b: max(a, b), plan=(4, 1), max_memory=limit
            )
        else:
            pids = list(getattr(whichpool, kind)(take, [40] * 16, plan=(4, 1), max_memory=limit))
            assert len(pids) == 16
            assert len({*pids}) < 4
    assert held.peak <= limit
    assert held.peak > before + 40 * MB  # it was not idle


def test_where_there_is_room_all_of_them_are(room):
    limit = room(2000)
    pids = whichpool.map(take, [40] * 30, plan=(3, 1), max_memory=limit)
    assert len({*pids}) == 3


def test_a_worker_that_has_grown_is_renewed(room, tree_memory):
    limit = room(150)
    with tree_memory() as held:
        results = whichpool.map(keep, [10] * 40, plan=(2, 1), max_memory=limit, shared="ok")
    assert len(results) == 40
    assert held.peak <= limit
    assert max(results) < 14
    assert any("made room under max_memory and was replaced" in note for note in results.report.notes)


def test_items_are_weighed(room, tree_memory):
    items = [1, 60, 1, 1, 60, 1, 60, 1, 1, 1]
    limit = room(160)
    with tree_memory() as held:
        results = whichpool.map(
            take, items, plan=(3, 1), max_memory=whichpool.MemoryLimit(limit, weigh=lambda item: item)
        )
    assert len(results) == len(items)
    assert held.peak <= limit


def test_an_impossible_limit_names_the_figures(room):
    with pytest.raises(
        whichpool.OverMemory, match=r"max_memory is 2 MB.*this process.*MB.*at least"
    ) as caught:
        whichpool.map(take, [1, 1], plan=(2, 1), max_memory="2 MB")
    assert not caught.value.of_item
    limit = room(52)
    # The first ones show what an item takes; the large one is refused before it begins, and the others are done.
    results = whichpool.map(
        take,
        [30, 30, 59, 30],
        plan=(1, 1),
        on_error="return",
        max_memory=whichpool.MemoryLimit(limit, weigh=float),
    )
    assert [isinstance(each, whichpool.Failure) for each in results] == [False, False, True, False]
    assert isinstance(results[2].error, MemoryError)
    assert results[2].error.of_item
    assert "item 2 (59) does not fit" in str(results[2].error)
    assert "is expected to take" in str(results[2].error)


def grow_slowly(steps: int) -> int:
    """Take on 2 MB after the other: what no weight has told."""
    held = []
    for _ in range(steps):
        held.append(bytearray(b"x") * (2 * MB))
        time.sleep(0.02)
    return len(held)


def test_one_that_grows_beyond_what_was_expected_is_ended_before_the_limit_is_passed(room, tree_memory):
    limit = room(120)
    with tree_memory() as held:
        results = whichpool.map(
            grow_slowly, [1, 1, 1, 400, 1, 1], plan=(2, 1), on_error="return", max_memory=limit
        )
    assert [each for each in results if each == 1] == [1] * 5
    assert isinstance(results[3].error, whichpool.OverMemory)
    assert "was ended" in str(results[3].error)
    assert held.peak <= limit


def test_it_is_for_worker_processes():
    with pytest.raises(whichpool.PlanError, match="worker processes"):
        whichpool.map(abs, [1], plan="threads", max_memory="1 GB")
    with pytest.raises(whichpool.PlanError, match="max_memory='much' is no size"):
        whichpool.map(abs, [1], max_memory="much")
    with pytest.raises(whichpool.PlanError, match="weigh"):
        whichpool.map(abs, [1], max_memory=whichpool.MemoryLimit("1 GB", weigh=3))
    assert whichpool.map(abs, [-1, 2], max_memory="1 GB") == [1, 2]
    assert budget.PLANNED < budget.TOO_MUCH < 1
