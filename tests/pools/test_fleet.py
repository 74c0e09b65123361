"""Workers between calls: kept, told the caller's surroundings, replaced when they ended, gone with the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import pools_work as work
import pytest

import whichpool
from whichpool._pools import fleet


def test_the_next_call_has_the_same_workers():
    first = set(whichpool.map(work.pid_of, range(40), plan=(2, 1)))
    waiting = set(fleet.status()["idle"])
    second = set(whichpool.map(work.pid_of, range(40), plan=(2, 1)))
    assert first <= waiting
    assert second <= waiting


def test_a_larger_plan_keeps_those_there_are(tmp_path):
    fleet.close()
    first = set(whichpool.map(work.pid_of, range(40), plan=(1, 1)))
    assert len(first) == 1
    whichpool.map(work.Meeting(tmp_path, 3), range(40), plan=(3, 1))
    now = set(fleet.status()["idle"])
    assert first <= now
    assert len(now) == 3


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="no /proc here")
def test_an_idle_worker_takes_less_than_ten_megabytes(tmp_path):
    """Its own memory, and its part of what it shares with the others and with the server."""
    fleet.close()
    whichpool.map(work.Meeting(tmp_path, 2), range(40), plan=(2, 1))
    for pid in fleet.status()["idle"]:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        assert next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) < 10_000


def test_close_ends_all_and_the_next_call_starts_anew(gone):
    whichpool.map(work.pid_of, range(4), plan=(2, 1))
    status = fleet.status()
    fleet.close()
    assert all(gone(pid, 10) for pid in [status["server"], *status["idle"]])
    assert fleet.status() == {"server": None, "idle": []}
    assert whichpool.map(work.echo, [1], plan=(1, 1)) == [1]


def test_a_server_that_was_killed_is_replaced(gone):
    whichpool.map(work.pid_of, range(4), plan=(1, 1))
    status = fleet.status()
    os.kill(status["server"], signal.SIGKILL)
    for pid in status["idle"]:
        os.kill(pid, signal.SIGKILL)
        assert gone(pid, 10)
    assert gone(status["server"], 10)
    assert whichpool.map(work.echo, range(10), plan=(2, 1)) == list(range(10))
    assert fleet.status()["server"] != status["server"]


def test_who_asks_how_a_worker_ended_is_not_in_the_way_of_the_end():
    """Ctrl-C may leave a run behind that still asks while the interpreter ends the fleet."""
    whichpool.map(work.pid_of, range(4), plan=(1, 1))
    server = fleet._fleet.server
    asking, told = threading.Event(), []

    def ask():
        asking.set()
        told.append(server.exit_code(10_000, 30))

    thread = threading.Thread(target=ask)
    thread.start()
    assert asking.wait(10)
    fleet.close()
    thread.join(10)
    assert told == [None]
    assert server.exit_code(10_000, 30) is None


def test_a_program_with_more_files_open_than_select_knows():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2_000
    if hard not in (resource.RLIM_INFINITY, -1) and hard < wanted:
        pytest.skip("this user may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    held = []
    fleet.close()
    try:
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
        assert whichpool.map(work.echo, range(40), plan=(2, 2)) == list(range(40))
        assert fleet._fleet.server._control.fileno() > 1_023
        with pytest.raises(whichpool.WorkerDied, match="SIGKILL"):
            whichpool.map(work.grow_and_die_at_3, [3], plan=(1, 1))
        assert whichpool.map(work.echo, range(40), plan=(2, 2)) == list(range(40))
        fleet.close()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- surroundings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [(1, 1), (1, 2)])
def test_changes_of_the_caller_reach_workers_that_are_reused(plan, tmp_path, monkeypatch):
    before = whichpool.map(work.surroundings, range(3), plan=plan)
    module = tmp_path / "whichpool_pools_made_later.py"
    module.write_text("VALUE = 42\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHICHPOOL_POOLS_MARK", "set")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["other", "--flag"])
    after = whichpool.map(work.surroundings, range(3), plan=plan)
    assert {s["pid"] for s in after} == {s["pid"] for s in before}
    for s in after:
        assert s["cwd"] == str(tmp_path)
        assert s["mark"] == "set"
        assert s["path"][0] == str(tmp_path)
        assert s["argv"] == ["other", "--flag"]
    assert whichpool.map(work.import_it, ["whichpool_pools_made_later"], plan=plan) == [42]
    monkeypatch.undo()
    for s in whichpool.map(work.surroundings, range(3), plan=plan):
        assert s["mark"] is None
        assert s["cwd"] == os.getcwd()


def test_workers_are_told_their_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("whichpool._run.fixed.look", lambda: SimpleNamespace(cores=8.0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for processes, share in [(1, "8"), (2, "4"), (3, "2"), (10, "1"), (1, "8")]:
        seen = whichpool.map(work.surroundings, range(2), plan=(processes, 1))
        assert {(s["cores"], s["omp"], s["worker"]) for s in seen} == {(share, share, "1")}
    assert os.environ.get("WHICHPOOL_WORKER") is None
    fleet.close()


def test_the_callers_own_limit_for_native_threads_comes_first(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {s["omp"] for s in whichpool.map(work.surroundings, range(2), plan=(1, 1))} == {"3"}


def test_nested_calls_start_no_processes():
    for waits, alone, computes in whichpool.map(work.nested_plan, [1, 2], plan=(2, 1)):
        assert "process" not in waits + computes
        assert alone


# --- a fork of the caller -----------------------------------------------------------------------------------


def test_a_fork_of_the_caller_disturbs_nobody():
    pids = set(whichpool.map(work.pid_of, range(20), plan=(2, 1)))
    server = fleet.status()["server"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 3.12: a fork of a process with threads
        child = os.fork()
    if not child:
        code = 1
        try:
            clean = fleet.status() == {"server": None, "idle": []}
            own = set(whichpool.map(work.pid_of, range(10), plan=(1, 1)))
            fleet.close()
            code = 0 if clean and own.isdisjoint(pids) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fleet.status()["server"] == server
    assert set(whichpool.map(work.pid_of, range(20), plan=(2, 1))) <= set(fleet.status()["idle"])
    assert pids & set(fleet.status()["idle"])


# --- the end of the caller ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_caller_that_is_killed_leaves_nobody(how, tmp_path, meeting, gone):
    script = tmp_path / "caller.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        import pools_work as work, whichpool
        if {how!r} == "busy":
            whichpool.map(work.HeldItems({meeting.here!r}, {meeting.leave!r}), range(4), plan=(2, 1))
        else:
            pids = set(whichpool.map(work.pid_of, range(20), plan=(2, 1)))
            for pid in pids:
                work.tell({meeting.here!r}, f"0 {{pid}}")
            work.tell({meeting.here!r}, "0 0")
            work.wait_for_leave({meeting.leave!r})
        """)
    )
    caller = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        lines = meeting.heard(2)
        pids = {pid for _, pid in lines if pid}
        assert pids
        caller.kill()
        caller.wait(30)
        # 1 s on a machine that has a core for it; the rest is for one that has not.
        assert all(gone(pid, 3.0) for pid in pids)
    finally:
        caller.kill()
        caller.wait(30)
