"""The governor does what the conductor says: a switch that was decided is made, or what forbids it is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

import whichpool
from whichpool import Plan
from whichpool._choose.conductor import Conductor
from whichpool._choose.records import Switch
from whichpool._measure import gil
from whichpool._measure.profile import Profile
from whichpool._pools import fleet
from whichpool._pools.threads import Threads
from whichpool._run import fixed, lazy, listen


def spin_ms(ms: float) -> float:
    start = time.thread_time()
    while time.thread_time() - start < ms / 1000:
        pass
    return ms


@pytest.fixture
def decided(monkeypatch):
    switches = []
    step = Conductor.step

    def watched(self, view):
        actions = step(self, view)
        switches.extend(action.plan for action in actions if isinstance(action, Switch))
        return actions

    monkeypatch.setattr(Conductor, "step", watched)
    return switches


@pytest.mark.parametrize(
    "durations_ms",
    [[2.0] * 150, [30.0] * 16, [2.0, 60.0, 3.0, 120.0, 2.0, 40.0] * 3, [150.0, *[3.0] * 80]],
    ids=["short", "long", "uneven", "slow first"],
)
def test_every_switch_that_was_decided_was_made(decided, durations_ms):
    results = whichpool.map(spin_ms, durations_ms)
    assert results == durations_ms
    assert [step.plan for step in results.report.steps[1:]] == decided


def test_a_switch_is_decided_only_after_a_whole_call_was_looked_at(decided):
    """Between the two looks at what the function may write, a call begins and ends: what it writes is seen first."""

    class Model:
        calls = 0

    setters = {"write": lambda x: setattr(Model, "calls", Model.calls + x)}

    def fn(x):
        setters["write"](1)  # by a way that reading the code does not follow
        return spin_ms(x)

    results = whichpool.map(fn, [5.0] * 60)
    assert results == [5.0] * 60
    assert Model.calls == 60
    assert results.report.plan == whichpool.Plan.LOOP
    assert decided == []


class Script:
    """Switches as it is told to, in the place of the conductor: (items done, plan), one after another."""

    def __init__(self, monkeypatch, *switches):
        self.left = list(switches)
        monkeypatch.setattr(Conductor, "step", lambda conductor, view: self.step(view))

    def step(self, view):
        if self.left and view.done >= self.left[0][0] and view.demand is not None:
            return (Switch(Plan(*self.left.pop(0)[1]), "the script says so"),)
        return ()


def nap_now_and_then(x):
    time.sleep(0.02 if x % 97 == 96 else 0.00005)
    return x


@pytest.mark.parametrize("threads_that_start", [0, 1, 2, 1 << 30])
def test_imap_is_in_order_when_a_loop_of_short_calls_follows_threads(
    monkeypatch, thread_limit, threads_that_start
):
    thread_limit.left, thread_limit.pools_only = threads_that_start, True
    Script(monkeypatch, (20, (0, 4)), (500, (0, 1)), (900, (0, 3)), (1_500, (0, 1)))
    assert list(whichpool.imap(nap_now_and_then, iter(range(3_000)))) == list(range(3_000))


def test_imap_waits_for_calls_elsewhere_without_using_the_core(monkeypatch):
    """Back in the loop, with nothing left to take: what is in progress on a thread ends without it."""
    Script(monkeypatch, (20, (0, 4)), (90, (0, 1)))
    before = time.thread_time()

    def fn(x):
        time.sleep(0.5 if x == 99 else 0.003)
        return x

    assert list(whichpool.imap(fn, iter(range(100)))) == list(range(100))
    assert time.thread_time() - before < 0.25


def spin_and_say_where(x):
    spin_ms(10)
    return os.getpid()


@pytest.mark.parametrize("options", [{}, {"max_items_per_worker": 1_000}])
def test_the_callers_process_is_one_of_the_two_unless_workers_are_renewed(monkeypatch, options):
    Script(monkeypatch, (5, (2, 1)))
    pids = whichpool.map(spin_and_say_where, range(60), **options)
    assert len(set(pids)) == (3 if options else 2)
    late = pids[30:]
    assert (os.getpid() in late) == (not options)
    assert len(set(late)) == 2


def test_the_callers_item_that_fails_beside_workers_is_the_earliest(monkeypatch):
    Script(monkeypatch, (5, (2, 1)))
    me = os.getpid()

    def fn(x):
        spin_ms(5)
        if x >= 20 and os.getpid() == me:
            raise ValueError(x)
        return os.getpid()

    with pytest.raises(ValueError, match=r"\d+") as caught:
        whichpool.map(fn, range(100))
    assert f"item {caught.value.args[0]}" in "".join(caught.value.__notes__)


def test_the_consumer_of_imap_is_one_of_the_two(monkeypatch):
    Script(monkeypatch, (5, (2, 1)))
    late = [*whichpool.imap(spin_and_say_where, range(60))][30:]
    assert os.getpid() in late
    assert len(set(late)) == 2


def test_where_the_consumer_of_imap_waits_elsewhere_a_worker_takes_its_place(monkeypatch):
    Script(monkeypatch, (5, (2, 1)))
    pids = []
    with whichpool.imap(spin_and_say_where, range(120)) as results:
        for index, pid in enumerate(results):
            pids.append(pid)
            if index > 20:
                time.sleep(0.02)  # it writes to a slow disk, say
        steps = results.report.steps
    assert os.getpid() not in pids[90:]
    assert len(set(pids[90:])) == 2
    assert [step.plan for step in steps[1:]] == [Plan(2, 1)] * 2
    assert "waits elsewhere" in steps[-1].reason


def test_a_consumer_of_imap_that_computes_does_not_wait_elsewhere(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(lazy, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(lazy, "thread_time", lambda: clock[0] / 2)
    results = whichpool.imap(spin_short, range(9), plan="loop")
    run = results._run
    run.began = 0.0
    for _ in range(9):
        next(results)
        clock[0] += 1.0
        assert not run.joins  # half of the time it waits
    monkeypatch.setattr(lazy, "thread_time", lambda: clock[0])
    results = whichpool.imap(spin_short, range(9), plan="loop")
    run = results._run
    run.began = clock[0]
    for _ in range(9):
        next(results)
        clock[0] += 1.0
        run.caller_cpu = lambda: clock[0]
        assert run.joins
    run.caller_cpu = lambda: clock[0] - 5.0  # and has by now been away for long, without computing
    assert not run.joins


def test_imap_stays_in_order_and_bounded_where_the_caller_joins(monkeypatch):
    Script(monkeypatch, (20, (2, 1)), (200, (0, 1)), (400, (2, 1)))
    taken = 0

    def items():
        nonlocal taken
        for x in range(1_000):
            taken += 1
            yield x

    ahead = []
    for index, value in enumerate(whichpool.imap(spin_short, items())):
        assert value == index
        ahead.append(taken - index)
    assert index == 999
    assert max(ahead) < 300


def spin_short(x):
    spin_ms(0.5)
    return x


def test_a_first_call_that_imports_is_seen_to(monkeypatch, tmp_path):
    """Also what is imported by what it imports; and no more once it computes."""
    (tmp_path / "slow_to_import.py").write_text("import slower_to_import")
    (tmp_path / "slower_to_import.py").write_text(
        "import time\nstart = time.thread_time()\nwhile time.thread_time() - start < 0.2:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []

    def step(conductor, view):
        if not view.demand or not view.demand.samples:
            seen.append((view.oldest_s, view.importing_s))
        return ()

    monkeypatch.setattr(Conductor, "step", step)

    def fn(x):
        import slow_to_import  # noqa: F401

        return spin_ms(200)

    whichpool.map(fn, range(3), plan="auto", shared="ok")  # the first is what it is about
    sys.modules.pop("slow_to_import")
    sys.modules.pop("slower_to_import")
    seen = [(oldest, importing) for oldest, importing in seen if oldest]
    assert any(importing == oldest for oldest, importing in seen)
    last_oldest, last_importing = seen[-1]
    assert 0.1 < last_importing < last_oldest - 0.1


def test_a_run_while_its_own_module_is_imported_is_no_import(monkeypatch, tmp_path):
    (tmp_path / "runs_on_import.py").write_text(
        "import time, whichpool\n"
        "def fn(x):\n    start = time.thread_time()\n    while time.thread_time() - start < 0.4:\n        pass\n"
        "whichpool.map(fn, range(2))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []
    monkeypatch.setattr(Conductor, "step", lambda conductor, view: seen.append(view) or ())
    import runs_on_import  # noqa: F401

    sys.modules.pop("runs_on_import")
    in_the_first = [view for view in seen if view.oldest_s and not view.done]
    assert in_the_first
    assert not any(view.importing_s for view in in_the_first)


def nap_5_ms(x):
    time.sleep(0.005)
    return x


def test_submitted_calls_stay_with_the_workers_if_no_thread_can_be_started(monkeypatch, thread_limit):
    thread_limit.pools_only = True
    script = Script(monkeypatch, (3, (1, 1)), (50, (0, 1)))
    step = script.step

    def watched(view):
        if view.plan.processes:
            thread_limit.left = 0
        return step(view)

    script.step = watched
    with whichpool.Pool() as pool:
        futures = [pool.submit(nap_5_ms, x) for x in range(200)]
        assert [future.result(30) for future in futures] == list(range(200))
        assert pool.report.plan.processes == 1


def burn(seconds):
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        pass


def burning(items, seconds):
    for item in items:
        burn(seconds)
        yield item


@pytest.mark.parametrize("foreign_s", [0.0, 0.005, 0.030])
@pytest.mark.parametrize("where", ["consumer", "iterable"])
def test_what_the_caller_does_between_the_calls_is_not_the_functions(monkeypatch, where, foreign_s):
    Script(monkeypatch)  # it stays a loop
    if where == "consumer":
        results = whichpool.imap(nap_5_ms, list(range(40)))
        for _ in results:
            burn(foreign_s)
    else:
        results = whichpool.map(nap_5_ms, burning(range(40), foreign_s))
    demand = results.report.demand
    assert 0.004 < demand.wait_s < 0.02
    assert demand.gil_s + demand.free_s < 0.002


def test_quick_switching_ends_in_a_child_that_the_function_forks(monkeypatch):
    Script(monkeypatch)
    give_up = time.monotonic() + 30
    while gil._quick_users:  # of a run that was over before its governor had noticed
        assert time.monotonic() < give_up
        os.sched_yield()
    before = sys.getswitchinterval()
    reading, writing = os.pipe()

    def fn(x):
        burn(0.003)
        if x % 5 == 4:
            child = os.fork()
            if child == 0:
                os.write(writing, b"%f\n" % sys.getswitchinterval())
                os._exit(0)
            os.waitpid(child, 0)
        return x

    try:
        whichpool.map(fn, range(60), shared="ok")
        seen = os.read(reading, 4_096).split()
    finally:
        os.close(reading)
        os.close(writing)
    assert len(seen) == 12
    assert {float(interval) for interval in seen} == {before}


def test_the_gil_does_not_change_hands_quickly_while_threads_are_started(monkeypatch):
    """Those that are up would take it from whoever starts the others."""
    Script(monkeypatch, (3, (0, 8)))
    resize, seen = Threads.resize, []

    def watched(threads, wanted):
        seen.append(sys.getswitchinterval())
        resize(threads, wanted)

    monkeypatch.setattr(Threads, "resize", watched)
    usual = sys.getswitchinterval()
    whichpool.map(nap_5_ms, range(60))
    assert seen
    assert all(interval == pytest.approx(usual) for interval in seen), seen
    assert usual > gil.QUICK_S


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        ({}, True),
        ({"call_s": 0.001}, False),  # little work ahead
        ({"cores": "1"}, False),
        ({"nested": "1"}, False),
        ({"limit": 1}, False),
        ({"only_watch": True}, False),
        ({"is_open": False}, False),
    ],
    ids=lambda value: str(value),
)
def test_the_fork_server_starts_early_only_where_workers_are_likely(monkeypatch, changes, starts):
    monkeypatch.setenv("WHICHPOOL_CORES", changes.get("cores", "2"))
    monkeypatch.setenv("WHICHPOOL_WORKER", changes.get("nested", "0"))
    run = SimpleNamespace(
        work=SimpleNamespace(is_open=lambda: changes.get("is_open", True), remaining=100),
        options=SimpleNamespace(most=changes.get("limit")),
        only_watch=changes.get("only_watch", False),
        profile=SimpleNamespace(call_s=changes.get("call_s", 0.010)),
        runner=None,
    )
    started = []

    def start_server():
        started.append(True)
        raise OSError(24, "Too many open files")  # nobody asked for it, so nobody hears of it

    monkeypatch.setattr(fleet, "start_server", start_server)
    listen._start_early(run)
    assert bool(started) is starts


@pytest.mark.parametrize(("share", "asked"), [(0.1, False), (1.0, True)])
def test_calls_that_leave_the_gil_are_not_held_up_by_the_loading(monkeypatch, share, asked):
    monkeypatch.delitem(sys.modules, "whichpool._run.govern")
    chores = []

    class Run(SimpleNamespace):
        def __setattr__(self, name, value):
            chores.append((name, value is not None))
            super().__setattr__(name, value)

    profile = Profile()
    profile.add_local(1, 0.010, 0.010, None)
    profile.heart = SimpleNamespace(share=share)
    work = SimpleNamespace(is_open=lambda: False)
    monkeypatch.setattr(listen, "NEEDED", ())
    monkeypatch.setattr(listen, "CHORE_WAIT_S", 0.0)
    listen.wake(Run(apart=False, profile=profile, seen_waiting=False, work=work))
    assert (("chore", True) in chores) is asked


@pytest.mark.parametrize(
    ("age_s", "forked", "idle", "shows"),
    [
        (None, False, 0, "first_worker_s"),
        (0.010, False, 0, "first_worker_s"),  # it still starts
        (0.300, False, 0, None),  # it may be up, or not
        (0.300, True, 0, "worker_s"),
        (0.300, True, 2, None),
    ],
)
def test_what_a_start_says_of_the_start_costs(monkeypatch, age_s, forked, idle, shows):
    recorded = {}
    monkeypatch.setattr(fixed.costs, "load", lambda: SimpleNamespace(first_worker_s=0.1))
    monkeypatch.setattr(fixed.costs, "record", recorded.update)
    monkeypatch.setattr(fleet, "server_age_s", lambda: age_s)
    monkeypatch.setattr(fleet, "has_forked", lambda: forked)
    monkeypatch.setattr(fleet, "idle_count", lambda: idle)
    plan = fixed.Fixed(SimpleNamespace(crew=SimpleNamespace(ready=1)), (2, 1))
    plan._note_asked()
    plan.note_start()
    assert list(recorded) == ([shows] if shows else [])
    assert all(seconds >= (age_s or 0.0) for seconds in recorded.values() if shows == "first_worker_s")


def test_the_main_thread_is_the_programs_if_threading_comes_with_the_first_map():
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import time, whichpool\n"
        "assert 'threading' not in sys.modules\n"
        "whichpool.map(time.sleep, [0.002] * 200)\n"
        "import threading; print(threading.current_thread() is threading.main_thread())\n"
    )
    # Without site nothing that an environment loads by itself can bring threading.
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_news_of_workers_is_no_reason_to_decide_anew(monkeypatch):
    """The conductor names the time of its next step; results that arrive before it, one a batch, cost no decision."""
    wanted_s = 0.030
    asked: list[tuple[float, int]] = []  # when, and the worker processes in force

    def step(self, view):
        asked.append((view.now_s, view.plan.processes))
        return () if view.plan.processes else (Switch(Plan(2, 1), "told to"),)

    monkeypatch.setattr(Conductor, "step", step)
    monkeypatch.setattr(Conductor, "next_step_s", lambda self: wanted_s)
    whichpool.map(spin_ms, [6.0] * 4, plan="processes")  # what the workers must load is no news
    results = whichpool.map(spin_ms, [6.0] * 100)
    assert results == [6.0] * 100
    waited_s = [after[0] - before[0] for before, after in pairwise(asked) if before[1] and after[1]]
    assert waited_s
    assert min(waited_s) >= 0.9 * wanted_s
