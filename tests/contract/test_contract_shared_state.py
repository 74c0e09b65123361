"""The guard and the seed: what comes back does not depend on the plan."""

from __future__ import annotations

import functools
import itertools
import random
import time

import contract_work
import pytest
from contract_work import (
    Counter,
    adds_up,
    appends,
    draw,
    draw_numpy,
    hides_its_write,
    looks_up,
    remembers,
    slow_square,
    writes_late,
)

import whichpool


@pytest.fixture(autouse=True)
def fresh():
    contract_work.total = 0
    contract_work.seen.clear()
    contract_work.hidden = 0
    contract_work.lazy_table = None


def test_a_global_that_is_added_to():
    results = whichpool.map(adds_up, range(500))
    assert results == list(itertools.accumulate(range(500)))
    assert contract_work.total == sum(range(500))
    assert str(results.report.plan) == "loop"
    assert any("total" in hazard.name for hazard in results.report.hazards)
    assert all(hazard.advice for hazard in results.report.hazards)
    assert "total" in str(results.report)


def test_a_dictionary_that_is_filled():
    results = whichpool.map(remembers, range(300))
    assert results == list(range(1, 301))
    assert len(contract_work.seen) == 300
    assert any("seen" in hazard.name for hazard in results.report.hazards)


def test_a_list_that_is_appended_to():
    got = []

    def fn(x):
        time.sleep(0.002)
        got.append(x)

    results = whichpool.map(fn, range(60))
    assert got == list(range(60))
    assert str(results.report.plan) == "loop"
    assert any("got" in hazard.name for hazard in results.report.hazards)


def test_a_bound_method_of_a_list():
    got = []
    whichpool.map(got.append, range(2000))
    assert got == list(range(2000))


def test_self_is_shared():
    counter = Counter()
    results = whichpool.map(counter.next, range(200))
    assert results == list(range(1, 201))
    assert counter.count == 200
    assert any("count" in hazard.name for hazard in results.report.hazards)


def test_a_nonlocal_and_a_mutable_default():
    n = 0

    def count(x):
        nonlocal n
        n += 1
        return n

    def collect(x, into=[]):  # noqa: B006  # the slip that is looked for
        into.append(x)
        return len(into)

    assert whichpool.map(count, range(100)) == list(range(1, 101))
    assert n == 100
    assert whichpool.map(collect, range(100)) == list(range(1, 101))


def test_the_item_itself_is_written():
    """The loop leaves the caller's own lists longer; so does `auto`."""
    items = [[0] * n for n in range(200)]
    results = whichpool.map(appends, items)
    assert [len(item) for item in items] == [n + 1 for n in range(200)]
    assert all(result is item for result, item in zip(results, items, strict=True))


def test_one_object_may_be_several_items():
    def fn(rows):
        time.sleep(0.002)
        rows.append(1)
        return len(rows)

    results = whichpool.map(fn, [[]] * 100)
    assert results == list(range(1, 101))
    assert str(results.report.plan) == "loop"
    for forced in ("threads", "processes"):
        with pytest.raises(whichpool.SharedWrite, match="rows"):
            whichpool.map(fn, [[]] * 10, plan=forced)


def test_ok_allows_threads_to_change_their_items():
    def fn(rows):
        time.sleep(0.005)
        rows.append(1)
        return len(rows)

    items = [[] for _ in range(60)]
    results = whichpool.map(fn, items, shared="ok")
    assert results == [1] * 60
    assert items == [[1]] * 60
    assert results.report.plan.processes == 0


def test_a_write_behind_a_cache():
    got = []

    @functools.cache
    def fn(x):
        time.sleep(0.002)
        got.append(x)
        return len(got)

    results = whichpool.map(fn, range(100))
    assert results == list(range(1, 101))
    assert got == list(range(100))


def test_a_counter_behind_a_bound_method():
    following = itertools.count().__next__

    def fn(x):
        time.sleep(0.002)
        return following()

    assert whichpool.map(fn, range(100)) == list(range(100))


def test_a_random_generator_that_is_captured():
    rng = random.Random(7)
    expected = [random.Random(7).random() for _ in range(1)]
    results = whichpool.map(lambda x: rng.random(), range(200))
    again = random.Random(7)
    assert results == [again.random() for _ in range(200)]
    assert results[0] == expected[0]
    assert str(results.report.plan) == "loop"


def test_an_iterator_that_is_captured():
    numbers = itertools.count()
    assert whichpool.map(lambda x: next(numbers), range(300)) == list(range(300))


def test_a_write_that_reading_does_not_show():
    """Found by comparing, before the second item; the loop's answer is given."""
    results = whichpool.map(hides_its_write, range(100))
    assert results == list(range(1, 101))
    assert contract_work.hidden == 100


def test_a_write_that_first_shows_late(plan):
    """Never a silently different answer: the loop's, or an error with the name."""
    try:
        results = whichpool.map(writes_late, range(120), plan=plan)
    except whichpool.SharedWrite as error:
        assert "hidden" in str(error)  # noqa: PT017  # either outcome is right, so `pytest.raises` does not fit
    else:
        assert results == [0] * 40 + list(range(40, 120))
        assert contract_work.hidden == 119


def test_ok_means_that_the_caller_vouches_for_it():
    results = whichpool.map(writes_late, range(120), plan="threads", shared="ok")
    assert len(results) == 120
    assert contract_work.hidden >= 40


def test_ok_allows_threads():
    waits = {"n": 0}

    def fn(x):
        waits["n"] += 1
        time.sleep(0.01)
        return x

    guarded = whichpool.map(fn, range(30))
    assert str(guarded.report.plan) == "loop"
    free = whichpool.map(fn, range(100), shared="ok")
    assert free == list(range(100))
    assert free.report.plan.kind != "loop"


def test_everyday_functions_are_not_bound():
    """Waiting is covered by threads although the function caches, logs and sets a global once."""
    import logging

    log = logging.getLogger("whichpool.contract")

    @functools.cache
    def table(n):
        return list(range(n))

    def fn(x):
        log.debug("item %s", x)
        rows = []
        rows.append(table(3)[x % 3])
        time.sleep(0.01)
        return sum(rows) + looks_up(x)

    results = whichpool.map(fn, range(120))
    assert results == [x % 3 + x * x for x in range(120)]
    assert results.report.plan.workers > 1
    assert not [h for h in results.report.hazards if h.kind == "writes" and "threads" in h.rules_out]


def test_what_cannot_travel_rules_out_processes_by_name(tmp_path):
    path = tmp_path / "open"
    path.write_text("text")
    with open(path) as handle:

        def fn(x):
            for _ in range(20_000):
                pass
            return handle.name

        results = whichpool.map(fn, range(100))
    assert set(results) == {str(path)}
    assert results.report.plan.processes == 0
    assert any(
        "handle" in hazard.name and "processes" in hazard.rules_out for hazard in results.report.hazards
    )


# --- randomness ---------------------------------------------------------------------------------------------


def test_the_seed_gives_the_same_numbers_on_every_plan(plan):
    expected = whichpool.map(draw, range(80), seed=7, plan="loop")
    assert whichpool.map(draw, range(80), seed=7, plan=plan) == expected
    assert list(whichpool.imap(draw, range(80), seed=7, plan=plan)) == expected
    assert len(set(expected)) == 80


def test_another_seed_gives_other_numbers(plan):
    assert whichpool.map(draw, range(20), seed=7, plan=plan) != whichpool.map(
        draw, range(20), seed=8, plan=plan
    )


def test_the_seed_reaches_numpy(plan):
    import numpy  # noqa: F401  # loaded here: then it is seeded

    expected = whichpool.map(draw_numpy, range(40), seed=7, plan="loop")
    assert whichpool.map(draw_numpy, range(40), seed=7, plan=plan) == expected
    assert len(set(expected)) == 40


def test_several_draws_in_one_item(plan):
    def several(_):
        return [random.random(), random.randint(0, 10**9), random.gauss(0, 1), random.sample(range(100), 5)]

    assert whichpool.map(several, range(20), seed=3, plan=plan) == whichpool.map(
        several, range(20), seed=3, plan="loop"
    )


def test_draws_around_a_wait(plan):
    """Other threads draw meanwhile."""

    def around(x):
        a = random.random()
        slow_square(x)
        return a, random.random()

    expected = whichpool.map(around, range(30), seed=5, plan="loop")
    assert whichpool.map(around, range(30), seed=5, plan=plan) == expected


def test_workers_share_no_random_state(plan):
    assert len(set(whichpool.map(draw, range(200), plan=plan))) == 200
    with whichpool.Pool(plan=plan) as pool:
        assert not set(pool.map(draw, range(50))) & set(pool.map(draw, range(50)))


def test_the_callers_random_state_is_left_alone(plan):
    random.seed(99)
    expected = random.Random(99).random()
    whichpool.map(draw, range(20), seed=7, plan=plan)
    assert random.random() == expected
