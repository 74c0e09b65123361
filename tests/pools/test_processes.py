"""Real worker processes that die, babble and send large things, with the other items none the worse."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import threading

import pools_work as work
import pytest

import whichpool
from whichpool._worker import launch

KILLED = -signal.SIGKILL


# --- killed from outside ------------------------------------------------------------------------------------


def test_killed_while_idle(gone):
    """Between two calls: the next one neither fails nor hangs, and has the workers it wants."""
    assert whichpool.map(work.echo, range(20), plan=(2, 1)) == list(range(20))
    from whichpool._pools import fleet

    before = fleet.status()["idle"]
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    for pid in before:
        assert gone(pid, 10)
    pids = set(whichpool.map(work.pid_of, range(40), plan=(2, 1)))
    assert pids.isdisjoint(before)


def test_killed_while_it_runs_an_item(meeting, beside):
    call = beside(
        lambda: whichpool.map(
            work.HeldItem(meeting.here, meeting.leave, 5), range(40), plan=(2, 1), on_error="return"
        )
    )
    ((item, pid),) = meeting.heard(1)
    assert item == 5
    os.kill(pid, signal.SIGKILL)
    results = call.result()
    assert [r for r in results if not isinstance(r, whichpool.Failure)] == [x for x in range(40) if x != 5]
    error = results[5].error
    assert isinstance(error, whichpool.WorkerDied)
    assert (error.index, error.exitcode) == (5, KILLED)
    assert "item 5" in str(error)
    assert "SIGKILL" in str(error)
    assert any("replaced" in note for note in results.report.notes)


def test_killed_while_it_runs_an_item_raises(meeting, beside):
    call = beside(
        lambda: whichpool.map(work.HeldItem(meeting.here, meeting.leave, 5), range(40), plan=(2, 1))
    )
    ((_, pid),) = meeting.heard(1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(whichpool.WorkerDied) as caught:
        call.result()
    assert caught.value.index == 5
    assert whichpool.salvage(caught.value) == [0, 1, 2, 3, 4]


def test_all_workers_killed_at_once(meeting, beside):
    call = beside(
        lambda: whichpool.map(
            work.HeldItems(meeting.here, meeting.leave), range(8), plan=(2, 1), on_error="return"
        )
    )
    lines = meeting.heard(2)
    for _, pid in lines:
        os.kill(pid, signal.SIGKILL)
    meeting.give(6)
    results = call.result()
    dead = {item for item, _ in lines}
    assert {x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)} == dead
    assert [r for r in results if not isinstance(r, whichpool.Failure)] == [
        x for x in range(8) if x not in dead
    ]


# --- two threads in each, one item that kills ---------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 4])
def test_only_the_item_that_kills_fails_however_many_ran_beside_it(threads):
    results = whichpool.map(work.KillsAt(17), range(40), plan=(2, threads), on_error="return")
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [17]
    assert [r for x, r in enumerate(results) if x != 17] == [x for x in range(40) if x != 17]
    assert results[17].error.index == 17


@pytest.mark.parametrize("plan", [(1, 1), (2, 1), (2, 2)])
def test_many_killers_are_many_failures_not_a_lost_crew(plan):
    killers = range(0, 30, 2)
    results = whichpool.map(work.KillsAt(*killers), range(30), plan=plan, on_error="return")
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == list(killers)
    assert all(results[x].error.index == x for x in killers)
    assert [results[x] for x in range(1, 30, 2)] == list(range(1, 30, 2))


def test_every_item_kills():
    results = whichpool.map(work.KillsAt(*range(12)), range(12), plan=(2, 1), on_error="return")
    assert [r.error.index for r in results] == list(range(12))


def test_an_item_that_kills_where_it_arrives_is_named(beside):
    items = [1, 2, work.KillsOnArrival(os.getpid()), 4]
    call = beside(lambda: whichpool.map(work.echo, items, plan=(2, 1), on_error="return"))
    results = call.result()
    assert [results[0], results[1], results[3]] == [1, 2, 4]
    assert isinstance(results[2], whichpool.Failure)
    assert isinstance(results[2].error, whichpool.WorkerDied)
    assert results[2].error.index == 2


# --- what loads in one process and not in the other ---------------------------------------------------------


@pytest.mark.parametrize("plan", [(2, 1), (2, 2)])
def test_an_item_that_cannot_be_unpickled_there_fails_alone_and_runs_nothing_twice(plan, tmp_path):
    items = [work.OnlyThere(x, os.getpid() if x in (3, 17) else 0) for x in range(30)]
    ran = work.Notes(str(tmp_path / "ran"))
    results = whichpool.map(ran, items, plan=plan, on_error="return")
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [3, 17]
    assert [r for x, r in enumerate(results) if x not in (3, 17)] == [
        x for x in range(30) if x not in (3, 17)
    ]
    assert isinstance(results[3].error, whichpool.CannotTravel)
    assert "item 3" in str(results[3].error)
    assert "not here" in str(results[3].error)
    assert sorted(ran.told()) == [x for x in range(30) if x not in (3, 17)]


@pytest.mark.parametrize("plan", [(2, 1), (2, 2)])
def test_a_result_that_cannot_be_unpickled_here_fails_alone_and_nothing_runs_twice(plan, tmp_path):
    ran = work.Notes(str(tmp_path / "ran"), hidden=(4, 9), home=os.getpid())
    items = [work.OnlyThere(x, 0) for x in range(30)]
    results = whichpool.map(ran, items, plan=plan, on_error="return")
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [4, 9]
    assert [r for x, r in enumerate(results) if x not in (4, 9)] == [x for x in range(30) if x not in (4, 9)]
    assert "cannot be unpickled" in str(results[4].error)
    assert "not here" in str(results[4].error)
    assert sorted(ran.told()) == list(range(30))


# --- large things in both directions ------------------------------------------------------------------------


def test_large_items_and_large_results_at_once_do_not_lock_up(beside):
    """Parent and worker both have more to send than a socket holds, to each other."""
    items = [bytes([x]) * 16_000_000 for x in range(6)]
    call = beside(lambda: whichpool.map(work.echo, items, plan=(2, 1)))
    assert [(len(r), r[0], r[-1]) for r in call.result()] == [(16_000_000, x, x) for x in range(6)]


def test_large_arrays_through_threads_of_workers(beside):
    np = pytest.importorskip("numpy")
    items = [np.full(2_000_000, float(x)) for x in range(6)]
    results = beside(lambda: whichpool.map(work.echo, items, plan=(2, 2))).result()
    for x, array in enumerate(results):
        assert array.shape == (2_000_000,)
        assert (array == x).all()
        array[0] = -1  # the caller's own memory, to write as the loop's
    assert items[0][0] == 0


def test_killed_during_large_transfers(beside):
    results = beside(
        lambda: whichpool.map(work.grow_and_die_at_3, range(8), plan=(2, 1), on_error="return")
    ).result()
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [3]
    assert [r[0] for x, r in enumerate(results) if x != 3] == [0, 1, 2, 4, 5, 6, 7]
    items = [bytes([x]) * 16_000_000 for x in range(6)]
    results = beside(lambda: whichpool.map(work.die_on_large, items, plan=(2, 2), on_error="return")).result()
    assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [3]
    assert [r[0] for x, r in enumerate(results) if x != 3] == [0, 1, 2, 4, 5]


def test_a_worker_that_is_stopped_and_then_killed_while_it_is_sent_a_large_item(meeting, beside):
    """The parent's outbox is half sent when the reader dies."""
    items = [b"x"] * 3 + [bytes(16_000_000)] * 3
    held = work.HeldItems(meeting.here, meeting.leave)

    def call():
        return list(whichpool.map(lambda x: len(x) if held(0) == 0 else None, items, plan=(1, 2)))

    running = beside(call)
    lines = meeting.heard(2)
    pid = lines[0][1]
    os.kill(pid, signal.SIGSTOP)
    meeting.give(2)
    os.kill(pid, signal.SIGKILL)
    # Whatever was in its hands runs again alone, or fails by name; nobody hangs.
    meeting.give(20)
    try:
        assert running.result() == [len(item) for item in items]
    except whichpool.WorkerDied as died:
        blamed = died.index
    else:
        blamed = 0
    assert blamed in (0, 1)


# --- garbage where messages should be -----------------------------------------------------------------------


def test_garbage_ends_that_worker_only(beside):
    garbage = b"\0" * 64
    results = beside(
        lambda: whichpool.map(work.Writes(9, garbage), range(40), plan=(2, 1), on_error="return")
    ).result()
    failed = [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)]
    assert set(failed) <= {9}
    assert [r for x, r in enumerate(results) if x not in failed] == [x for x in range(40) if x not in failed]


def header(kind, buffers=0, number=1, body=0):
    return struct.pack("<BBHIQ", kind, 0xA7, buffers, number, body)


DONE, LOST = 17, 18
BROKEN = {
    "a half header": header(DONE)[:7],
    "an answer to no batch": header(DONE, number=999_999),
    "an answer without a head": header(DONE, number=1),
    "an answer with half a pickle": header(DONE, number=1, body=50)
    + bytes(40)
    + b"\x80\x05]q\x00"
    + b"\0" * 5,
    "an answer with no pickle": header(DONE, number=1, body=40) + bytes(40),
    "an answer of another shape": header(DONE, number=1, body=43) + bytes(40) + b"\x80\x05N.\0\0"[:3],
    "an answer that is None": header(DONE, number=1, body=44) + bytes(40) + b"\x80\x05N.",
    "a loss with no pickle": header(LOST),
    "a length beyond all memory": header(DONE, number=1, body=1 << 40),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_messages_end_the_item_or_the_worker_not_the_run(what, beside):
    """Item 0 is batch 1 of its crew: it runs while the babble about it arrives."""
    call = beside(
        lambda: whichpool.map(work.Writes(0, BROKEN[what]), range(30), plan=(1, 1), on_error="return")
    )
    results = call.result()
    failed = [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)]
    assert set(failed) <= {0}
    assert [r for x, r in enumerate(results) if x not in failed] == [x for x in range(30) if x not in failed]


TALK = 19
BROKEN_TALK = {
    "of no kind": (0, b"hello\n"),
    "of a kind that there is not": (7, b"hello\n"),
    "text that is none": (1, b"\xff\xff\n"),
    "a record with no pickle": (5, b"no pickle"),
    "a record that is None": (5, pickle.dumps(None)),
    "a record without its fields": (5, pickle.dumps((False, None, {"name": "a"}, {}))),
    "a record that runs something": (5, pickle.dumps((False, None, {"name": work.RunsWhenLoaded()}, {}))),
    "a warning of another shape": (6, pickle.dumps(("text", "builtins"))),
    "a warning that runs something": (6, pickle.dumps(work.RunsWhenLoaded())),
}


@pytest.mark.parametrize("what", BROKEN_TALK)
def test_broken_talk_ends_the_worker_not_the_run(what, beside, capsys, caplog):
    kind, body = BROKEN_TALK[what]
    data = header(TALK, number=kind, body=len(body)) + body
    results = beside(
        lambda: whichpool.map(work.Writes(0, data), range(30), plan=(1, 1), on_error="return")
    ).result()
    assert isinstance(results[0].error, whichpool.WorkerDied)
    assert results[1:] == list(range(1, 30))
    assert any("what is no message" in note for note in results.report.notes)
    assert not work.RunsWhenLoaded.ran
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


# --- many at once -------------------------------------------------------------------------------------------


def test_many_maps_at_once_from_many_threads(beside):
    calls = [
        beside(lambda k=k: whichpool.map(work.KillsAt(k + 5), range(30), plan=(2, 1), on_error="return"))
        for k in range(4)
    ] + [beside(lambda: whichpool.map(work.echo, range(200), plan=(2, 2))) for _ in range(4)]
    for k, call in enumerate(calls[:4]):
        results = call.result()
        assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [k + 5]
    for call in calls[4:]:
        assert call.result() == list(range(200))
    assert not [t for t in threading.enumerate() if t.name.startswith("whichpool")]


def test_a_worker_that_was_killed_has_not_closed_its_socket_however_late_the_news_are(monkeypatch):
    kill = launch.ForkServer.kill

    def ask_and_continue(server, token):
        kill(server, token)
        os.kill(server.pid, signal.SIGCONT)

    monkeypatch.setattr(launch.ForkServer, "kill", ask_and_continue)
    results = whichpool.map(work.stop_the_server_and_die_at_3, range(9), plan=(1, 1), on_error="return")
    assert [x for x, r in enumerate(results) if r != x] == [3]
    assert "was killed by SIGKILL while it ran item 3" in str(results[3].error)
