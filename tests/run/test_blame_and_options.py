"""Which item it was, what had been done, and what the options may be."""

from __future__ import annotations

import pytest

from whichpool._run.blame import blame, describe, remember, salvage
from whichpool._run.options import MOST_PROCESSES, MOST_THREADS, Options, check_plan, length_of
from whichpool._run.progress import listener
from whichpool._run.sinks import ListSink
from whichpool._run.work import Work
from whichpool._worker.calls import Job, short_repr
from whichpool.errors import PlanError, WorkerDied


def failed(error):
    work = Work(Job(str), iter(["x" * 500]), 1, ListSink([]))
    work.put(work.take(1), [], error)
    return work


def test_the_note_is_added_once():
    error = ValueError("bad")
    work = failed(error)
    assert blame(error, work) is error
    blame(error, work)
    (note,) = error.__notes__
    assert "item 0" in note
    assert "xxx" in note
    assert len(note) < 140


def test_a_death_names_its_item_already():
    error = WorkerDied("item 0 ...", 0, 9)
    assert not hasattr(blame(error, failed(error)), "__notes__")


def test_the_iterables_own_error_says_so():
    assert "iterable" in describe(3, None, True)
    assert "item 3" in describe(3, None, True)


def test_what_had_been_done_lives_with_the_exception():
    error = ValueError()
    assert salvage(error) is None
    remember(error, [1, 2])
    assert salvage(error) == [1, 2]


class Sly:
    def __repr__(self):
        raise RuntimeError("no repr")


def test_short_repr_is_short_and_never_fails():
    assert "Sly" in short_repr(Sly())
    for item in ["x" * 1000, list(range(1000)), dict.fromkeys(range(100), "y" * 50), Sly(), b"z" * 500]:
        assert len(short_repr(item)) <= 80


def test_lengths():
    assert length_of(([1, 2], "abc")) == 2
    assert length_of((iter([1]),)) is None
    assert length_of(([1], iter([1]))) is None


@pytest.mark.parametrize("plan", [(0, 1), (2, 8), [1, 1], (MOST_PROCESSES, 1), (0, MOST_THREADS)])
def test_plans_that_are(plan):
    assert check_plan(plan) == tuple(plan)


@pytest.mark.parametrize(
    "plan",
    [
        (0, 0),
        (-1, 1),
        (1, -1),
        (True, 1),
        (1.0, 1),
        (1,),
        (1, 2, 3),
        "process",
        None,
        4,
        (MOST_PROCESSES + 1, 1),
        (0, MOST_THREADS + 1),
        (MOST_PROCESSES, MOST_THREADS),
    ],
)
def test_plans_that_are_not(plan):
    with pytest.raises(PlanError) as caught:
        check_plan(plan)
    assert repr(plan) in str(caught.value)


def test_a_plan_of_a_report_is_a_plan():
    from whichpool import Plan

    assert check_plan(Plan(2, 3)) == (2, 3)


def test_options_given_anew():
    options = Options(plan=(1, 2), limit=3, on_error="return", shared="ok", seed=4)
    again = options.replace(limit=5)
    assert again.as_dict() == {**options.as_dict(), "limit": 5}
    assert options.limit == 3
    with pytest.raises(PlanError):
        options.replace(limit=0)


def test_no_bar_where_there_is_no_terminal(capsys):
    assert listener(True) == (None, None)
    mine = print
    assert listener(mine) == (mine, None)
