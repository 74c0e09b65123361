"""`map_reduce` combines in a fixed order: the same value on every plan, to the last bit."""

from __future__ import annotations

import operator
import random

import pytest
from contract_work import fails_at_5, square

import whichpool


def test_the_value(plan):
    assert whichpool.map_reduce(square, range(1000), operator.add, plan=plan) == sum(
        x * x for x in range(1000)
    )


def test_the_order_is_the_items(plan):
    """Joining strings is associative and not commutative."""
    expected = "".join(f"{x}," for x in range(500))
    assert whichpool.map_reduce(lambda x: f"{x},", range(500), operator.add, plan=plan) == expected


def test_floats_to_the_last_bit(plan):
    rng = random.Random(20261122)
    numbers = [rng.uniform(-1, 1) * 10 ** rng.randint(-12, 12) for _ in range(3000)]
    expected = whichpool.map_reduce(float, numbers, operator.add, plan="loop")
    for _ in range(2):
        assert whichpool.map_reduce(float, numbers, operator.add, plan=plan).hex() == expected.hex()


def test_an_initial_value(plan):
    assert whichpool.map_reduce(lambda x: [x], range(40), operator.add, initial=["first"], plan=plan) == [
        "first",
        *range(40),
    ]


def test_the_initial_value_is_not_changed(plan):
    initial = [0]

    def extend(a, b):
        a.extend(b)
        return a

    got = whichpool.map_reduce(lambda x: [x], range(1, 40), extend, initial=initial, plan=plan)
    assert got == list(range(40))
    assert initial in (
        [0],
        got,
    )  # as functools.reduce: `combine` may change what it is given, whole or not at all


def test_nothing_to_reduce(plan):
    assert whichpool.map_reduce(square, [], operator.add, initial=7, plan=plan) == 7
    assert whichpool.map_reduce(square, [], operator.add, initial=None, plan=plan) is None
    with pytest.raises((TypeError, ValueError), match=r"empty|no items|initial"):
        whichpool.map_reduce(square, [], operator.add, plan=plan)


def test_one_item_is_not_combined(plan):
    def never(a, b):
        raise AssertionError("there is nothing to combine")

    assert whichpool.map_reduce(square, [3], never, plan=plan) == 9


def test_a_failing_item(plan):
    with pytest.raises(ValueError, match="five"):
        whichpool.map_reduce(fails_at_5, range(20), operator.add, plan=plan)


def test_a_failing_combine(plan):
    def never(a, b):
        raise LookupError("cannot combine")

    with pytest.raises(LookupError, match="cannot combine"):
        whichpool.map_reduce(square, range(20), never, plan=plan)


def test_combine_may_be_a_closure(plan):
    scale = 2
    got = whichpool.map_reduce(lambda x: {x % 3: scale}, range(30), lambda a, b: merge(a, b), plan=plan)
    assert got == {0: 20, 1: 20, 2: 20}


def merge(a, b):
    return {key: a.get(key, 0) + b.get(key, 0) for key in {**a, **b}}


def test_combine_not_callable():
    with pytest.raises(TypeError, match="combine"):
        whichpool.map_reduce(square, range(3), 5)


def test_the_report_is_given_to_who_asks(plan):
    kept = []
    value = whichpool.map_reduce(square, range(300), operator.add, initial=1, plan=plan, report=kept.append)
    assert value == 1 + sum(x * x for x in range(300))
    (report,) = kept
    assert report.items == 300
    assert report.verdict.reason
    if plan == "loop":
        assert str(report.plan) == "loop"
    elif plan != "auto":
        assert report.plan.kind == {"threads": "threads", "processes": "processes"}.get(
            plan, report.plan.kind
        )
        assert report.plan.kind != "loop"


def test_the_report_of_nothing():
    kept = []
    assert whichpool.map_reduce(square, [], operator.add, initial=7, report=kept.append) == 7
    assert [report.items for report in kept] == [0]


def test_no_report_of_what_failed():
    kept = []
    with pytest.raises(ValueError, match="five"):
        whichpool.map_reduce(fails_at_5, range(20), operator.add, plan="loop", report=kept.append)
    assert kept == []


def test_a_pool_gives_the_report_as_well():
    kept = []
    with whichpool.Pool(plan="loop") as pool:
        assert pool.map_reduce(square, range(3), operator.add, report=kept.append) == 5
    assert kept[0].items == 3


def test_a_report_that_cannot_be_called():
    with pytest.raises(TypeError, match="report"):
        whichpool.map_reduce(square, range(3), operator.add, report=True)
