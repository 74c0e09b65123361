"""Large arrays through real worker processes: what is given is never changed, and no memory is kept for nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import large_work as work
import pytest

import whichpool
from whichpool._pools import fleet
from whichpool._worker import arena

np = pytest.importorskip("numpy")
MB = 1_000_000


def shared_bytes():
    """Memory of all boards and arenas that this process has open."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "whichpool-board" in os.readlink(f"/proc/self/fd/{fd}"):
                stat = os.stat(f"/proc/self/fd/{fd}")
                found[stat.st_ino] = stat.st_blocks * 512
        except OSError:
            continue
    return sum(found.values())


@pytest.fixture
def new_workers():
    """No worker of an earlier test, and none of this one left with its memory."""
    fleet.close()
    yield
    fleet.close()


@pytest.fixture
def small_arenas(monkeypatch):
    monkeypatch.setattr(arena, "ARENA_BYTES", 4 << 20)
    fleet.close()
    yield
    fleet.close()


def arrays(n, size=50_000):
    return [np.full(size, x, dtype=float) for x in range(n)]


# --- what is given is never changed -------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [(1, 1), (2, 2)])
def test_kept_arguments_do_not_change_over_hundreds_of_calls(plan, new_workers):
    for call in range(6):
        changed = whichpool.map(work.keep_each_7th, arrays(100), plan=plan, shared="ok")
        assert sum(changed) == 0, call


@pytest.mark.parametrize("plan", [(1, 1), (1, 4), (2, 2)])
def test_kept_results_do_not_change(plan, new_workers):
    kept = []
    for call in range(20):
        results = whichpool.map(work.filled, [call * 10 + x for x in range(10)], plan=plan)
        kept += [(call * 10 + x, results[x][:100], results[x].T) for x in (2, 7)]
        del results
    for value, part, whole in kept:
        assert (part == value).all()
        assert (whole == value).all()


@pytest.mark.parametrize("plan", [(1, 1), (1, 4), (2, 2)])
def test_arguments_and_results_can_be_written_unless_they_could_not(plan):
    fixed = np.zeros(50_000)
    fixed.flags.writeable = False
    for writable, result in whichpool.map(work.write_if_i_may, [*arrays(10), fixed], plan=plan, shared="ok"):
        assert writable == result.flags.writeable
        if writable:
            assert (result == -1).all()
            result[:] = 5
    assert (fixed == 0).all()


def test_results_survive_their_worker_and_the_fleet(new_workers):
    results = whichpool.map(work.filled, range(8), plan=(2, 1))
    fleet.close()
    again = whichpool.map(work.filled, range(100, 108), plan=(2, 1))
    for x in range(8):
        assert (results[x] == x).all()
        assert (again[x] == x + 100).all()
        results[x][:] = 1
    del results
    fleet.close()
    gc.collect()
    assert shared_bytes() >= again[0].nbytes * 8
    assert (again[7] == 107).all()


@pytest.mark.parametrize("plan", [(1, 1), (2, 2)])
def test_a_worker_killed_with_blocks_in_its_hands_costs_its_item_only(plan, new_workers):
    items = arrays(40)
    results = whichpool.map(work.die_at_13, items, plan=plan, on_error="return")
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [13]
    assert all((r == x + 1).all() for x, r in enumerate(results) if x != 13)
    assert all((item == x).all() for x, item in enumerate(items))


@pytest.mark.parametrize("plan", [(1, 1), (1, 4)])
def test_an_arena_that_is_too_small_is_no_hindrance(plan, small_arenas):
    items = [*arrays(30), np.full(2_000_000, 77.0), *arrays(5)]
    for _ in range(3):
        results = whichpool.map(work.plus_one, items, plan=plan)
        for item, result in zip(items, results, strict=True):
            assert (result == item[0] + 1).all()
            assert result.shape == item.shape


def test_without_shared_memory_all_goes_through_the_socket(monkeypatch, new_workers):
    real = arena.mmap.mmap

    def refuse(fd, size, *args, **kwargs):
        if size > arena.BOARD_BYTES:
            raise OSError(12, "Cannot allocate memory")
        return real(fd, size, *args, **kwargs)

    monkeypatch.setattr(arena.mmap, "mmap", refuse)
    results = whichpool.map(work.plus_one, arrays(20), plan=(2, 1))
    assert all((r == x + 1).all() for x, r in enumerate(results))


@pytest.mark.parametrize("where", [0, 1 << 20, 1 << 62, (1 << 64) - 32_768])
def test_a_frame_that_names_no_block_ends_that_worker_only(where, new_workers):
    results = whichpool.map(work.Names(where), range(20), plan=(1, 1), on_error="return")
    failed = [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)]
    assert set(failed) <= {9}
    assert [r for x, r in enumerate(results) if x not in failed] == [x for x in range(20) if x not in failed]


# --- and no memory is kept for nothing ----------------------------------------------------------------------


def blocks_in_use():
    """Of the one idle worker: the parent's two counts, and the worker's own; once each side has told the other."""
    for _ in range(2):  # what is owed goes with the next message
        ((live, owed),) = whichpool.map(work.blocks_of_this_worker, [0], plan=(1, 1))
    gc.collect()
    (worker,) = fleet._fleet.idle
    return worker.shared.receiver.live, worker.shared.sender.taken, live, owed


def test_not_one_block_is_lost_over_ten_thousand_calls(new_workers):
    """The books are exact, unlike what a process takes of the memory: a single block would be seen."""
    item = np.full(5_000, 3.0)
    assert blocks_in_use() == (0, 0, 0, 0)
    most = []
    for _ in range(5):
        results = whichpool.imap(work.plus_one, (item for _ in range(2000)), plan=(1, 1))
        assert all(result[-1] == 4 for result in results)
        most.append(shared_bytes())
        del results
        assert blocks_in_use() == (0, 0, 0, 0)
    with whichpool.Pool(plan=(1, 1)) as pool:
        for _ in range(50):
            assert pool.map(work.plus_one, [item])[0][-1] == 4
        most.append(shared_bytes())
    assert blocks_in_use() == (0, 0, 0, 0)
    # How much depends on how far the consumer is behind: 64 MB at the most (`LOOK_AHEAD_BYTES`); 800 MB went by.
    assert max(most) < 100 * MB, most


def test_memory_of_a_burst_is_given_back_when_the_worker_is_idle(new_workers, condition, monkeypatch):
    monkeypatch.setattr(arena, "TRIM_AFTER_S", 0.25)
    kept = whichpool.map(work.plus_one, arrays(100, size=100_000), plan=(1, 1))
    assert shared_bytes() > 60 * MB
    assert condition(lambda: shared_bytes() <= 100 * MB)  # the items' part; the results are in use
    del kept[3:]
    assert condition(lambda: shared_bytes() < 10 * MB)
    assert [r[0] for r in kept] == [1, 2, 3]
    assert whichpool.map(work.plus_one, arrays(2), plan=(1, 1))[1][-1] == 2


@pytest.mark.parametrize("place", ["builtins", "sys", "__main__", "numpy"])
def test_results_that_live_to_the_end_of_the_program_end_quietly(place):
    script = (
        f"import sys, whichpool, numpy, large_work as work, {place} as late\n"
        "late.kept = whichpool.map(work.filled, range(4), plan=(2, 1))\n"
        "loop = [late.kept]; loop.append(loop)\n"
        "print(late.kept[3][0, 0])\n"
    )
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3.0\n", "")


# --- bytes, and files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [(1, 1), (2, 2)])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_both_ways(kind, plan, new_workers):
    items = [kind(os.urandom(300_000)) for _ in range(12)]
    for _ in range(2):
        assert whichpool.map(work.echo, items, plan=plan) == items
    assert whichpool.map(work.echo, [(1, {"k": x}) for x in items], plan=plan) == [
        (1, {"k": x}) for x in items
    ]


def test_a_mapped_file_is_opened_by_name_in_the_worker(tmp_path, new_workers):
    path = tmp_path / "numbers"
    path.write_bytes(np.arange(100_000, dtype=float).tobytes())
    array = np.memmap(path, float, "r")
    for part in (array, array[10_000:60_000]):
        ((kind, name, mode, total),) = whichpool.map(work.about, [part], plan=(1, 1))
        assert (kind, name, mode) == ("memmap", str(path), "r")
        assert total == float(part.sum())
    assert shared_bytes() < MB


# --- what a function captures -------------------------------------------------------------------------------


def test_a_captured_array_is_one_memory_for_all_workers_and_each_ones_own_to_write(new_workers):
    array = np.ones(1_000_000)
    results = whichpool.map(work.Sums(array), range(40), plan=(2, 1), shared="ok")
    assert {total for total, _ in results} == {999_999.0}
    assert array[0] == 1
    assert shared_bytes() < MB
    assert not [fd for fd in os.listdir("/proc/self/fd") if "luggage" in link_of(fd)]


def test_bytes_in_a_closure(new_workers):
    data = os.urandom(3 * MB)
    assert whichpool.map(lambda x: data[x], range(50), plan=(2, 1)) == list(data[:50])


def link_of(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
