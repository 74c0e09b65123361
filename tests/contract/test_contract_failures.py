"""The exceptions are the loop's: that of the earliest failing item, which says where it happened."""

from __future__ import annotations

import itertools
import threading
import traceback

import pytest
from contract_work import (
    HoldsALock,
    Noted,
    Stop,
    TwoArguments,
    dies,
    fails_at_5,
    fails_late_and_early,
    fails_with_cause,
    generator_result,
    holds_a_lock,
    interrupts,
    is_killed,
    leaves,
    lock_result,
    odd_fail,
    show,
    square,
    stop_iteration,
    stops,
    two_arguments,
)

import whichpool


def notes(error):
    return "\n".join(getattr(error, "__notes__", []))


def test_the_exception_and_its_note(plan):
    with pytest.raises(ValueError, match="five is too much: 5") as caught:
        whichpool.map(fails_at_5, range(20), plan=plan)
    assert type(caught.value) is ValueError
    assert "5" in notes(caught.value)


def test_the_note_has_the_index_and_a_short_repr_of_the_item(plan):
    items = ["a" * 10_000 + str(i) for i in range(6)] + ["the culprit"]

    def fn(text):
        if text == "the culprit":
            raise LookupError("found it")
        return text

    with pytest.raises(LookupError, match="found it") as caught:
        whichpool.map(fn, items, plan=plan)
    assert "6" in notes(caught.value)
    assert "the culprit" in notes(caught.value)
    long = ["x" * 1_000_000]
    with pytest.raises(ZeroDivisionError) as caught:
        whichpool.map(lambda text: 1 / 0, long, plan=plan)
    assert len(notes(caught.value)) < 2000


def test_an_item_whose_repr_fails_does_not_hide_the_exception(plan):
    class Hostile:
        def __repr__(self):
            raise RuntimeError("no repr")

    def fn(_):
        raise ValueError("the real one")

    with pytest.raises(ValueError, match="the real one"):
        whichpool.map(fn, [Hostile()], plan=plan)


def test_the_earliest_failing_item_wins(plan):
    with pytest.raises(KeyError, match="three"):
        whichpool.map(fails_late_and_early, range(20), plan=plan)


def test_the_earliest_wins_however_many_fail(plan):
    with pytest.raises(ValueError, match=r"odd: 1(\n|$)"):
        whichpool.map(odd_fail, range(500), plan=plan)


def test_nothing_starts_after_the_exception_is_out(plan, tmp_path):
    noted = Noted(str(tmp_path / "ran"), fail_at=30, pause_s=0.001)
    with pytest.raises(ValueError, match="item 30 is bad"):
        whichpool.map(noted, range(10_000), plan=plan)
    ran = noted.ran()
    assert set(range(31)) <= set(ran)
    assert len(ran) == len(set(ran)) < 5000
    whichpool.map(square, range(50), plan=plan)  # the same workers have been busy with something else
    assert noted.ran() == ran


def test_a_failure_ends_an_endless_iterable(plan):
    with pytest.raises(ValueError, match="five"):
        whichpool.map(fails_at_5, itertools.count(), plan=plan)


def test_the_remote_traceback_is_the_cause(process_plan):
    with pytest.raises(ValueError, match="five") as caught:
        whichpool.map(fails_at_5, range(20), plan=process_plan)
    cause = caught.value.__cause__
    assert isinstance(cause, whichpool.RemoteTraceback)
    assert "fails_at_5" in str(cause)
    assert "contract_work.py" in "".join(traceback.format_exception(caught.value))


def test_the_traceback_shows_the_users_function(plan):
    with pytest.raises(ValueError, match="five") as caught:
        whichpool.map(fails_at_5, range(20), plan=plan)
    assert "raise ValueError(f" in "".join(traceback.format_exception(caught.value))


def test_the_exceptions_own_cause_is_not_lost(plan):
    with pytest.raises(ValueError, match="the table is empty") as caught:
        whichpool.map(fails_with_cause, ["key"], plan=plan)
    assert "KeyError" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("fn", "kind", "text"),
    [(two_arguments, TwoArguments, "does not come back"), (holds_a_lock, HoldsALock, "does not travel")],
    ids=["cannot be unpickled", "cannot be pickled"],
)
def test_exceptions_that_cannot_travel_arrive_as_a_stand_in(fn, kind, text, plan):
    with pytest.raises((kind, whichpool.RemoteError), match=text) as caught:
        whichpool.map(fn, range(20), plan=plan)
    assert "4" in notes(caught.value)
    if plan in ("processes", (2, 2)):
        assert type(caught.value) is whichpool.RemoteError
        assert kind.__name__ in caught.value.type_name
        assert text in caught.value.text
        assert fn.__name__ in str(caught.value.__cause__)
    if plan in ("loop", "threads"):
        assert type(caught.value) is kind


def test_an_exception_of_a_class_made_here_keeps_its_class(plan):
    class Mine(Exception):
        pass

    def fn(x):
        raise Mine(x)

    with pytest.raises(Mine) as caught:
        whichpool.map(fn, [1], plan=plan)
    assert caught.value.args == (1,)


def test_the_pool_goes_on_after_a_failure(plan):
    with whichpool.Pool(plan=plan) as pool:
        for _ in range(3):
            with pytest.raises(ValueError, match="five"):
                pool.map(fails_at_5, range(20))
            assert pool.map(square, range(10)) == [x * x for x in range(10)]


# --- what is not an Exception -------------------------------------------------------------------------------


def test_sys_exit(plan):
    with pytest.raises(SystemExit) as caught:
        whichpool.map(leaves, range(20), plan=plan)
    assert caught.value.code == 5


def test_a_base_exception(plan):
    with pytest.raises(Stop, match="enough"):
        whichpool.map(stops, range(20), plan=plan)
    assert whichpool.map(square, range(10), plan=plan) == [x * x for x in range(10)]


def test_a_keyboard_interrupt_raised_by_the_function(plan):
    with pytest.raises(KeyboardInterrupt):
        whichpool.map(interrupts, range(20), plan=plan)
    assert whichpool.map(square, range(10), plan=plan) == [x * x for x in range(10)]


def test_stop_iteration_does_not_end_the_results_quietly(plan):
    with pytest.raises(StopIteration, match="no more"):
        whichpool.map(stop_iteration, range(20), plan=plan)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they come"])
def test_stop_iteration_does_not_end_imap_quietly(plan, ordered):
    def collect():
        got = []
        for r in whichpool.imap(stop_iteration, range(20), plan=plan, ordered=ordered):
            got.append(r)
        return got

    with pytest.raises(RuntimeError) as caught:
        collect()
    assert "no more" in "".join(traceback.format_exception(caught.value))


# --- on_error="return" --------------------------------------------------------------------------------------


def test_failures_in_place(plan):
    results = whichpool.map(odd_fail, range(50), plan=plan, on_error="return")
    assert len(results) == 50
    assert results.report.failures == 25
    assert results.report.items == 50
    for index, result in enumerate(results):
        if index % 2:
            assert isinstance(result, whichpool.Failure)
            assert not result
            assert result.index == index
            assert result.item == repr(index)
            assert type(result.error) is ValueError
            assert result.error.args == (f"odd: {index}",)
            assert "odd_fail" in result.traceback
        else:
            assert result == index


def test_failures_in_place_from_imap(plan):
    results = list(whichpool.imap(odd_fail, range(50), plan=plan, on_error="return"))
    assert [r.index if isinstance(r, whichpool.Failure) else r for r in results] == list(range(50))


def test_a_failure_that_cannot_travel(plan):
    failure = whichpool.map(holds_a_lock, range(6), plan=plan, on_error="return")[4]
    assert isinstance(failure, whichpool.Failure)
    assert isinstance(failure.error, HoldsALock | whichpool.RemoteError)


def test_all_fail(plan):
    results = whichpool.map(lambda x: 1 / 0, range(30), plan=plan, on_error="return")
    assert all(type(r.error) is ZeroDivisionError for r in results)


# --- what cannot travel -------------------------------------------------------------------------------------


def with_a_lock():
    return [0, 1, 2, threading.Lock(), 4, 5]


@pytest.mark.parametrize("plan", ["loop", "threads", "auto"])
def test_an_item_that_cannot_be_pickled_needs_no_pickling_here(plan):
    assert whichpool.map(show, with_a_lock(), plan=plan) == ["int", "int", "int", "lock", "int", "int"]


def test_an_item_that_cannot_be_pickled(process_plan):
    with pytest.raises(whichpool.CannotTravel, match="lock") as caught:
        whichpool.map(show, with_a_lock(), plan=process_plan)
    assert "3" in str(caught.value) + notes(caught.value)
    assert isinstance(caught.value, TypeError)


def test_an_item_that_cannot_be_pickled_in_place(process_plan):
    results = whichpool.map(show, with_a_lock(), plan=process_plan, on_error="return")
    assert isinstance(results[3].error, whichpool.CannotTravel)
    assert results[:3] + results[4:] == ["int"] * 5


def test_a_result_that_cannot_be_pickled(process_plan):
    with pytest.raises(whichpool.CannotTravel, match="lock") as caught:
        whichpool.map(lock_result, range(20), plan=process_plan)
    assert "4" in str(caught.value) + notes(caught.value)
    results = whichpool.map(lock_result, range(20), plan=process_plan, on_error="return")
    assert isinstance(results[4].error, whichpool.CannotTravel)
    assert results[:4] + results[5:] == [x for x in range(20) if x != 4]


def test_a_result_that_is_a_generator(process_plan):
    with pytest.raises(whichpool.CannotTravel, match="generator"):
        whichpool.map(generator_result, range(3), plan=process_plan)


@pytest.mark.parametrize("plan", ["loop", "threads", "auto"])
def test_a_result_that_is_a_generator_needs_no_pickling_here(plan):
    assert [list(r) for r in whichpool.map(generator_result, range(3), plan=plan)] == [[], [0], [0, 1]]


def test_a_function_that_cannot_travel(process_plan):
    lock = threading.Lock()

    def fn(x):
        with lock:
            return x

    with pytest.raises(whichpool.CannotTravel, match="lock"):
        whichpool.map(fn, range(5), plan=process_plan)
    with open(__file__) as file, pytest.raises(whichpool.CannotTravel, match=r"file|TextIOWrapper"):
        whichpool.map(lambda x: file.name, range(5), plan=process_plan)


def test_an_object_that_fails_while_it_is_pickled(process_plan):
    class Grumpy:
        def __reduce__(self):
            raise ZeroDivisionError("not today")

    with pytest.raises((whichpool.CannotTravel, ZeroDivisionError)) as caught:
        whichpool.map(show, [1, Grumpy()], plan=process_plan)
    assert "not today" in "".join(traceback.format_exception(caught.value))
    assert "1" in str(caught.value) + notes(caught.value)


# --- the iterable fails -------------------------------------------------------------------------------------


def breaks_after(n):
    yield from range(n)
    raise OSError("the source broke")


def test_an_iterable_that_raises_keeps_what_was_done(plan):
    with pytest.raises(OSError, match="the source broke") as caught:
        whichpool.map(square, breaks_after(25), plan=plan)
    saved = whichpool.salvage(caught.value)
    assert list(saved) == [x * x for x in range(25)]
    assert saved.report.items == 25


def test_a_failing_item_keeps_what_was_done(plan):
    with pytest.raises(ValueError, match="five") as caught:
        whichpool.map(fails_at_5, range(20), plan=plan)
    assert list(whichpool.salvage(caught.value))[:5] == [0, 1, 2, 3, 4]


def test_an_iterable_that_raises_at_once(plan):
    with pytest.raises(OSError, match="the source broke"):
        whichpool.map(square, breaks_after(0), plan=plan)


def test_an_iterable_that_raises_under_imap(plan):
    got = []
    with pytest.raises(OSError, match="the source broke"):  # noqa: PT012  # what came before it is looked at too
        for r in whichpool.imap(square, breaks_after(25), plan=plan):
            got.append(r)
    assert got == [x * x for x in range(25)]


def test_nothing_to_salvage():
    assert whichpool.salvage(ValueError("from elsewhere")) is None


# --- workers that die ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "code", "word"), [(dies, 3, "3"), (is_killed, -9, "SIGKILL")], ids=["os._exit", "SIGKILL"]
)
def test_a_worker_that_dies_names_its_item(fn, code, word):
    with pytest.raises(whichpool.WorkerDied) as caught:
        whichpool.map(fn, range(20), plan="processes")
    assert caught.value.index == 7
    assert caught.value.exitcode == code
    assert "7" in str(caught.value) + notes(caught.value)
    assert word in str(caught.value)


def test_a_worker_with_threads_that_dies_names_an_item_it_was_running():
    with pytest.raises(whichpool.WorkerDied) as caught:
        whichpool.map(dies, range(20), plan=(2, 2))
    assert abs(caught.value.index - 7) <= 20
    assert caught.value.exitcode == 3


def test_the_other_items_of_a_dead_worker_run_elsewhere():
    results = whichpool.map(dies, range(20), plan="processes", on_error="return")
    assert isinstance(results[7].error, whichpool.WorkerDied)
    assert results[7].error.index == 7
    assert results[:7] + results[8:] == [x for x in range(20) if x != 7]


def test_at_most_what_a_dead_worker_was_running_is_lost():
    results = whichpool.map(dies, range(20), plan=(2, 2), on_error="return")
    lost = [i for i, r in enumerate(results) if isinstance(r, whichpool.Failure)]
    assert 7 in lost
    assert len(lost) <= 2
    assert all(isinstance(results[i].error, whichpool.WorkerDied) for i in lost)
    assert [r for i, r in enumerate(results) if i not in lost] == [i for i in range(20) if i not in lost]


def test_the_pool_goes_on_after_a_death(process_plan):
    with whichpool.Pool(plan=process_plan) as pool:
        for _ in range(2):
            with pytest.raises(whichpool.WorkerDied):
                pool.map(dies, range(20))
            assert pool.map(square, range(50)) == [x * x for x in range(50)]


def test_many_deaths(tmp_path):
    """Every item kills its worker; each is named, and it comes to an end."""
    import os

    def always(x):
        os._exit(1)

    results = whichpool.map(always, range(6), plan="processes", on_error="return")
    assert [r.index for r in results] == list(range(6))
    assert all(isinstance(r.error, whichpool.WorkerDied | whichpool.WorkerLost) for r in results)
