"""Bad input is told at once, by name, before anything runs."""

from __future__ import annotations

import pytest
from contract_work import Noted, square

import whichpool

CALLS = {
    "map": lambda fn, items, **options: whichpool.map(fn, items, **options),
    "imap": lambda fn, items, **options: whichpool.imap(fn, items, **options),
    "map_reduce": lambda fn, items, **options: whichpool.map_reduce(fn, items, max, **options),
    "explain": lambda fn, items, **options: whichpool.explain(fn, items, **options),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@pytest.mark.parametrize("fn", [None, 5, "square", [square], {}], ids=repr)
def test_fn_not_callable(call, fn, plan):
    with pytest.raises(TypeError, match=r"callable|function"):
        call(fn, [1, 2], plan=plan)


def test_a_call_in_place_of_a_function_gets_a_hint():
    """The usual slip: `map(f(x), xs)`."""
    with pytest.raises(TypeError, match="4"):
        whichpool.map(square(2), [1, 2])


@pytest.mark.parametrize("items", [None, 5, object(), square], ids=["None", "int", "object", "function"])
def test_items_not_iterable(call, items, plan):
    with pytest.raises(TypeError, match="itera"):
        call(square, items, plan=plan)


def test_it_says_which_of_several_is_not_iterable(plan):
    with pytest.raises(TypeError, match="int"):
        whichpool.map(max, [1, 2], 5, plan=plan)


def test_no_items_at_all():
    with pytest.raises(TypeError):
        whichpool.map(square)
    with pytest.raises(TypeError):
        whichpool.imap(square)
    with pytest.raises(TypeError):
        whichpool.map()


BAD_PLANS = [
    "fast",
    "Loop",
    "",
    0,
    4,
    -1,
    3.5,
    (),
    (1,),
    (1, 2, 3),
    (0, 0),
    (0, -1),
    (-1, 2),
    (2, 0),
    (2, -3),
    (1.5, 2),
    ("2", 2),
    (2, None),
    (1_000_000, 1),
    (1, 1_000_000),
    (100_000, 100_000),
    object(),
]


@pytest.mark.parametrize("bad", BAD_PLANS, ids=lambda bad: "object" if type(bad) is object else repr(bad))
def test_a_plan_that_is_not_one(call, bad, tmp_path):
    noted = Noted(str(tmp_path / "ran"))
    with pytest.raises(whichpool.PlanError, match="plan") as caught:
        call(noted, [1, 2], plan=bad)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, whichpool.WhichpoolError)
    assert noted.ran() == []
    with pytest.raises(whichpool.PlanError, match="plan"):
        whichpool.Pool(plan=bad)


def test_the_message_says_what_is_allowed():
    with pytest.raises(whichpool.PlanError) as caught:
        whichpool.map(square, [1], plan="fast")
    for word in ["fast", "auto", "loop", "threads", "processes"]:
        assert word in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", (1,)], ids=repr)
def test_a_bad_limit(call, limit):
    with pytest.raises(whichpool.PlanError, match="limit"):
        call(square, [1, 2], limit=limit)


@pytest.mark.parametrize("value", ["ignore", "", 1, True, None], ids=repr)
def test_a_bad_on_error(call, value):
    with pytest.raises(whichpool.PlanError, match="on_error"):
        call(square, [1, 2], on_error=value)


@pytest.mark.parametrize("value", ["maybe", "", 1, True, None], ids=repr)
def test_a_bad_shared(call, value):
    with pytest.raises(whichpool.PlanError, match="shared"):
        call(square, [1, 2], shared=value)


@pytest.mark.parametrize("value", ["yes", 5, [1]], ids=repr)
def test_a_bad_progress(call, value):
    with pytest.raises((whichpool.PlanError, TypeError), match="progress"):
        call(square, [1, 2], progress=value)


def test_an_option_that_does_not_exist(call):
    with pytest.raises(TypeError, match="workers"):
        call(square, [1, 2], workers=3)


def test_options_are_not_positional():
    with pytest.raises(TypeError):
        whichpool.map(square, [1, 2], "loop", 5)  # read as items: a str is iterable, 5 is not


def test_bad_options_of_a_pool():
    for options in [{"limit": 0}, {"on_error": "ignore"}, {"shared": "maybe"}]:
        with pytest.raises(whichpool.PlanError):
            whichpool.Pool(**options)
        with pytest.raises(whichpool.PlanError):
            whichpool.Executor(**options)


def test_a_bad_budget():
    with pytest.raises((whichpool.PlanError, TypeError), match="budget"):
        whichpool.explain(square, [1], budget_s=-1)
