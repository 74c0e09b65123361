"""The results are the loop's: the same values in the same order, each item once."""

from __future__ import annotations

import contextvars
import decimal
import functools
import importlib.util
import itertools
import os
import sys
import threading
import time

import contract_work
import pytest
from contract_work import (
    Asked,
    Crowd,
    Meet,
    Noted,
    Point,
    Scaled,
    add,
    busy,
    by_scale,
    deep,
    moved,
    myself,
    seeded_inside,
    sleepy,
    square,
    third,
    three,
    uneven,
    where,
)

import whichpool


def test_the_results_are_a_list_in_order(plan):
    results = whichpool.map(square, range(100), plan=plan)
    assert results == [x * x for x in range(100)]
    assert isinstance(results, list)
    assert isinstance(results, whichpool.Results)


def test_items_that_end_out_of_order_come_back_in_order(plan):
    assert whichpool.map(uneven, range(60), plan=plan) == list(range(60))


def test_many_tiny_items(plan):
    assert whichpool.map(square, range(30_000), plan=plan) == [x * x for x in range(30_000)]


def test_each_item_runs_once(plan, tmp_path):
    noted = Noted(str(tmp_path / "ran"))
    whichpool.map(noted, range(300), plan=plan)
    assert sorted(noted.ran()) == list(range(300))


def test_one_item(plan):
    assert whichpool.map(square, [7], plan=plan) == [49]


def test_zero_items(plan):
    results = whichpool.map(square, [], plan=plan)
    assert results == []
    assert results.report.items == 0
    assert list(whichpool.imap(square, iter(()), plan=plan)) == []


def test_zero_items_start_nothing(script):
    done = script(
        """
        import os, threading, whichpool
        for plan in ["loop", "threads", "processes", (2, 2), "auto"]:
            assert whichpool.map(abs, [], plan=plan) == []
            assert whichpool.map(abs, iter(()), plan=plan) == []
        parents = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parents.append(int(open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[1]))
                except OSError:
                    pass
        print(threading.active_count(), parents.count(os.getpid()))
        """
    ).run()
    assert done.stdout.split() == ["1", "0"]


def test_several_iterables(plan):
    assert whichpool.map(add, [1, 2, 3], [10, 20, 30], plan=plan) == [11, 22, 33]


def test_the_shortest_iterable_ends_the_work(plan):
    results = whichpool.map(three, range(50), "abcdefg", itertools.count(100), plan=plan)
    assert results == list(zip(range(50), "abcdefg", itertools.count(100)))  # as builtins.map


@pytest.mark.parametrize(
    "items",
    [
        (3, 1, 2),
        {3: "a", 1: "b"},
        range(5),
        "word",
        b"bytes",
        iter([1, 2, 3]),
        {5, 6},
    ],
    ids=["tuple", "dict", "range", "str", "bytes", "iterator", "set"],
)
def test_any_iterable(items, plan):
    copies = list(items) if not hasattr(items, "__next__") else [1, 2, 3]
    source = iter(copies) if hasattr(items, "__next__") else items
    assert whichpool.map(lambda x: (x, x), source, plan=plan) == [(x, x) for x in copies]


class Growing:
    """Each item below ``most`` puts the next ``step`` ones at the end of the list that is being worked off."""

    def __init__(self, most, step=1, nap_s=0.0):
        self.todo, self.most, self.step, self.nap_s = [0], most, step, nap_s
        self._lock = threading.Lock()

    def __call__(self, x):
        time.sleep(self.nap_s)
        with self._lock:
            for _ in range(self.step):
                if len(self.todo) < self.most:
                    self.todo.append(len(self.todo))
        return x


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("plan", ["auto", "loop", (0, 4)])
@pytest.mark.parametrize("nap_s", [0.0, 0.001])
def test_a_list_that_grows_while_it_is_worked_off(plan, step, nap_s):
    """A crawl: the loop goes on to what is appended."""
    shared = "ok" if plan == (0, 4) else "guard"
    for call in (whichpool.map, lambda *args, **kwargs: list(whichpool.imap(*args, **kwargs))):
        fn = Growing(200, step, nap_s)
        assert call(fn, fn.todo, plan=plan, shared=shared) == list(range(200))
    fn = Growing(200, step, nap_s)
    assert whichpool.map_reduce(fn, fn.todo, add, plan=plan, shared=shared) == sum(range(200))
    fn = Growing(50, step, nap_s)
    assert whichpool.map(lambda x, y: fn(x), fn.todo, [9] * 30, plan=plan, shared=shared) == list(range(30))


@pytest.mark.parametrize("plan", ["auto", "loop", (0, 4)])
def test_a_list_that_shrinks_while_it_is_worked_off(plan):
    todo = list(range(10_000))

    def fn(x):
        time.sleep(0.0005)
        del todo[20:]
        return x

    results = whichpool.map(fn, todo, plan=plan, shared="ok" if plan == (0, 4) else "guard")
    assert results[:20] == list(range(20))
    assert len(results) < 40  # what had been taken before it shrank


def test_items_that_look_like_nothing(plan):
    """None, exceptions, tuples and empty things are items and results like any other."""
    items = [
        None,
        (),
        [],
        {},
        False,
        ValueError("an item"),
        StopIteration(),
        Ellipsis,
        NotImplemented,
        b"",
        float("nan"),
    ]
    results = whichpool.map(lambda x: x, items, plan=plan)
    assert [repr(r) for r in results] == [repr(x) for x in items]


def test_a_function_that_returns_itself(plan):
    assert whichpool.map(myself, range(3), plan=plan) == [myself] * 3


def test_a_closure_that_returns_itself(plan):
    def me(_):
        return me

    results = whichpool.map(me, range(3), plan=plan)
    assert all(callable(r) and callable(r(0)) for r in results)


# --- callables ----------------------------------------------------------------------------------------------


def test_lambda_and_closure(plan):
    offset = 1000

    def shifted(x):
        return x + offset

    assert whichpool.map(lambda x: x + offset, range(20), plan=plan) == list(range(1000, 1020))
    assert whichpool.map(shifted, range(20), plan=plan) == list(range(1000, 1020))


def test_a_recursive_closure(plan):
    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)

    assert whichpool.map(fact, [5, 6], plan=plan) == [120, 720]


def test_bound_methods_and_callable_objects(plan):
    scaled = Scaled(3)
    assert whichpool.map(scaled.times, range(10), plan=plan) == [3 * x for x in range(10)]
    assert whichpool.map(scaled, range(10), plan=plan) == [3 * x for x in range(10)]
    assert whichpool.map(Scaled.plain, range(10), plan=plan) == list(range(1, 11))
    assert whichpool.map(Scaled.named, range(2), plan=plan) == ["Scaled 0", "Scaled 1"]


def test_partials(plan):
    assert whichpool.map(functools.partial(add, 5), range(10), plan=plan) == list(range(5, 15))
    assert whichpool.map(functools.partial(three, c="z"), [1], [2], plan=plan) == [(1, 2, "z")]


def test_builtins_types_and_methods_of_builtins(plan):
    assert whichpool.map(abs, [-1, 2], plan=plan) == [1, 2]
    assert whichpool.map(int, ["1", "22"], plan=plan) == [1, 22]
    assert whichpool.map(str.upper, ["a", "b"], plan=plan) == ["A", "B"]
    assert whichpool.map(", ".join, [["a", "b"], ["c"]], plan=plan) == ["a, b", "c"]
    assert whichpool.map(Point, [1, 2], plan=plan) == [Point(1), Point(2)]
    assert whichpool.map(max, [1, 5], [4, 2], plan=plan) == [4, 5]


def test_a_cached_function(plan):
    @functools.cache
    def slow(x):
        return x * 2

    assert whichpool.map(slow, [1, 2, 1, 2], plan=plan) == [2, 4, 2, 4]


def test_a_decorated_function(plan):
    def twice(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return [fn(*args), fn(*args)]

        return wrapper

    @twice
    def inner(x):
        return x + 1

    assert whichpool.map(inner, [1, 2], plan=plan) == [[2, 2], [3, 3]]


def test_instances_keep_their_class(plan):
    results = whichpool.map(moved, [Point(1), Point(2)], plan=plan)
    assert results == [Point(2), Point(3)]
    assert all(type(r) is Point for r in results)


def test_instances_of_a_class_made_here_keep_their_class(plan):
    class Here:
        def __init__(self, x):
            self.x = x

    def bump(here):
        return Here(here.x + 1)

    results = whichpool.map(bump, [Here(1), Here(2)], plan=plan)
    assert [r.x for r in results] == [2, 3]
    assert all(isinstance(r, Here) for r in results)


# --- what ran -----------------------------------------------------------------------------------------------


def test_a_forced_plan_is_what_runs():
    def kinds(plan, n=40):
        results = whichpool.map(where, range(n), plan=plan)
        return results.report.plan, {p for p, _ in results}, set(results)

    here = os.getpid()
    plan, processes, _ = kinds("loop")
    assert plan == whichpool.Plan(0, 1)
    assert processes == {here}
    plan, processes, workers = kinds("threads")
    assert plan.kind == "threads"
    assert processes == {here}
    assert 2 <= len(workers) <= plan.threads
    plan, processes, _ = kinds("processes")
    assert plan.kind == "processes"
    assert here not in processes
    assert len(processes) <= plan.processes
    plan, processes, workers = kinds((2, 2))
    assert plan == whichpool.Plan(2, 2)
    assert here not in processes
    assert len(processes) == 2
    assert 3 <= len(workers) <= 4


def test_a_loop_runs_in_the_callers_thread():
    assert set(whichpool.map(where, range(5), plan="loop")) == {(os.getpid(), threading.get_ident())}


@pytest.mark.parametrize(("plan", "at_once"), [("threads", 2), ((2, 1), 2), ((2, 2), 4), ((1, 3), 3)])
def test_items_run_at_the_same_moment(plan, at_once, tmp_path):
    meet = Meet(str(tmp_path), at_once)
    assert whichpool.map(meet, range(at_once), plan=plan) == list(range(at_once))


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_in_progress_than_the_limit(plan, limit, tmp_path):
    assert max(whichpool.map(Crowd(str(tmp_path)), range(80), plan=plan, limit=limit)) <= limit


def test_the_report(plan):
    results = whichpool.map(square, range(200), plan=plan)
    report = results.report
    assert report.items == 200
    assert report.failures == 0
    assert report.wall_s > 0
    assert "square" in report.function
    assert report.verdict.reason
    assert report.host.cores > 0
    assert report.steps[0].at_s >= 0
    assert "square" in str(report)


def test_progress(plan):
    calls = []

    def note(done, total):
        calls.append((done, total, threading.get_ident()))

    whichpool.map(uneven, range(80), plan=plan, progress=note)
    assert calls
    done = [d for d, _, _ in calls]
    assert done == sorted(done)
    assert done[-1] == 80
    assert {t for _, t, _ in calls} == {80}
    assert {i for _, _, i in calls} == {threading.get_ident()}


def test_progress_of_unknown_length(plan):
    totals = set()
    whichpool.map(uneven, (x for x in range(80)), plan=plan, progress=lambda done, total: totals.add(total))
    assert totals  # the number may turn out while it runs, once the source has come to its end
    assert totals <= {None, 80}


def test_an_error_in_progress_reaches_the_caller(plan):
    def broken(done, total):
        raise RuntimeError("the bar is broken")

    with pytest.raises(RuntimeError, match="the bar is broken"):
        whichpool.map(uneven, range(100), plan=plan, progress=broken)


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_runs_a_bounded_sample(tmp_path):
    noted = Noted(str(tmp_path / "ran"), pause_s=0.002)
    report = whichpool.explain(noted, itertools.count(), budget_s=0.2)
    assert isinstance(report, whichpool.RunReport)
    ran = noted.ran()
    assert 1 <= len(ran) == len(set(ran)) < 2000
    assert report.verdict.rows
    assert report.demand is not None
    assert report.demand.wait_s == pytest.approx(0.002, rel=3)


def test_explain_of_few_items():
    report = whichpool.explain(square, [1, 2, 3])
    assert report.items == 3
    # On a machine that takes its core away, a call of a microsecond may be seen to have waited for milliseconds.
    if report.demand.wait_s < 0.001:
        assert str(report.verdict.plan) == "loop"


def test_explain_of_nothing():
    assert whichpool.explain(square, []).items == 0


variable = contextvars.ContextVar("variable", default="unset")


def seen(x):
    time.sleep(0.005)
    return variable.get()


unpicklable = contextvars.ContextVar("unpicklable", default=None)


def test_context_variables_are_the_callers(plan):
    token, other = variable.set("the caller's"), unpicklable.set(threading.Lock())
    try:
        results = whichpool.map(seen, range(40), plan=plan)
    finally:
        variable.reset(token)
        unpicklable.reset(other)
    assert set(results) == {"the caller's"}
    assert set(whichpool.map(seen, range(10), plan=plan)) == {"unset"}


def test_context_variables_reach_threads_of_the_measured_plan():
    token = variable.set("the caller's")
    try:
        results = whichpool.map(seen, range(60))
    finally:
        variable.reset(token)
    assert set(results) == {"the caller's"}
    assert results.report.plan.workers > 1


def test_the_decimal_context_is_the_callers(plan):
    with decimal.localcontext() as context:
        context.prec = 5
        assert whichpool.map(third, range(30), plan=plan) == ["0.33333"] * 30


def test_the_recursion_limit_is_the_callers(plan):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + 2000)
    try:
        assert whichpool.map(deep, [before + 500] * 20, plan=plan) == [before + 500] * 20
    finally:
        sys.setrecursionlimit(before)


def test_a_seeded_map_inside_a_seeded_map(plan):
    expected = whichpool.map(seeded_inside, range(3), plan="loop", seed=7)
    assert whichpool.map(seeded_inside, range(3), plan=plan, seed=7) == expected
    assert expected[0][0] == whichpool.map(seeded_inside, range(1), seed=7)[0][0]


def test_objects_are_not_asked_for_what_the_caller_did_not_ask(plan):
    """An object may answer to any name with code of its own."""
    Asked.asked = 0
    assert whichpool.map(sleepy, [Asked() for _ in range(40)], plan=plan) == [0] * 40
    assert Asked.asked == 0


def test_a_function_that_loads_only_here_runs_here_on_the_measured_plan(tmp_path):
    """A module that was loaded from a file has no name under which a worker could import it."""
    (tmp_path / "loaded_from_a_file.py").write_text(
        "from contract_work import busy\ndef fn(x):\n    return busy(x)\n"
    )
    spec = importlib.util.spec_from_file_location("loaded_from_a_file", tmp_path / "loaded_from_a_file.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["loaded_from_a_file"] = module
    try:
        spec.loader.exec_module(module)
        results = whichpool.map(module.fn, range(400))
        assert results == [busy(x) for x in range(400)]
        with pytest.raises(whichpool.CannotTravel, match="loaded_from_a_file"):
            whichpool.map(module.fn, range(3), plan="processes")
    finally:
        del sys.modules["loaded_from_a_file"]


def test_what_the_program_sets_in_a_module_is_seen(plan, monkeypatch):
    for scale in (10, 1, 3):
        monkeypatch.setattr(contract_work, "SCALE", scale)
        assert whichpool.map(by_scale, range(30), plan=plan) == [x * scale for x in range(30)]
    monkeypatch.setitem(contract_work.TABLE, "b", 5)
    assert whichpool.map(by_scale, range(30), plan=plan) == [x * 3 + 5 for x in range(30)]
