"""What the program has set in modules reaches workers, as far as it is plain data."""

from __future__ import annotations

import pickle
import sys
import threading
import types
from functools import partial

import pytest

from whichpool._worker.state import MOST_PARTS, module_state, set_module_state

SOURCE = """
import math
LIMIT = 3
TABLE = {"a": [1, 2]}
LOCK = None
UNUSED = 5
def inner(x):
    return x + LIMIT
def outer(x):
    def deep():
        return TABLE
    return inner(x), deep(), LOCK, math.pi
def decorated(fn):
    def wrapper(x):
        return fn(x)
    return wrapper
wrapped = decorated(inner)
class Called:
    def __call__(self, x):
        return TABLE
    def method(self, x):
        return LIMIT
"""


@pytest.fixture
def module():
    made = types.ModuleType("module_with_state")
    exec(SOURCE, vars(made))
    sys.modules["module_with_state"] = made
    yield made
    del sys.modules["module_with_state"]


def read(*functions):
    state = module_state(*functions)
    return {} if state is None else {name: value for _, name, value in pickle.loads(state)}


def test_what_is_read_is_sent_and_nothing_else(module):
    module.LOCK = threading.Lock()
    assert read(module.outer) == {"LIMIT": 3, "TABLE": {"a": [1, 2]}}
    module.LOCK = None
    assert read(module.outer) == {"LIMIT": 3, "TABLE": {"a": [1, 2]}, "LOCK": None}
    assert read(module.inner) == {"LIMIT": 3}


def test_through_what_wraps_a_function(module):
    for fn in [module.wrapped, partial(partial(module.inner)), module.Called().method, module.Called]:
        assert read(fn)["LIMIT"] == 3
    assert read(module.Called()) == {"TABLE": {"a": [1, 2]}}
    assert read(abs, None, 3) == {}


def test_through_a_module_that_is_named(module):
    space = {"__name__": "__main__", "module_with_state": module, "OWN": 7}
    exec("def fn(x): return module_with_state.LIMIT * OWN", space)
    assert read(space["fn"]) == {"LIMIT": 3}  # what lives in __main__ travels with the function


@pytest.mark.parametrize(
    "value",
    [object(), {"a": object()}, list(range(MOST_PARTS + 1)), "x" * 1_000_000, threading.Lock(), pytest],
)
def test_what_is_no_plain_data_or_too_much_of_it_stays(module, value):
    module.LIMIT = value
    assert read(module.inner) == {}


def test_it_is_set_in_place_where_others_may_hold_it(module):
    module.TABLE["a"].append(3)
    module.LIMIT = 9
    state = module_state(module.outer)
    module.TABLE, module.LIMIT = held, _ = {"a": [1, 2]}, 3
    set_module_state(state)
    assert module.TABLE is held
    assert (module.TABLE, module.LIMIT) == ({"a": [1, 2, 3]}, 9)


def test_true_is_not_one(module):
    module.LIMIT = True
    state = module_state(module.inner)
    module.LIMIT = 1
    set_module_state(state)
    assert module.LIMIT is True


def test_a_module_that_is_not_loaded_is_left_alone():
    set_module_state(pickle.dumps([("no_such_module", "NAME", 1)]))
    assert "no_such_module" not in sys.modules


def test_what_changes_while_it_is_read_is_left_out(module):
    table = {i: i for i in range(100)}
    module.TABLE = table
    stop = threading.Event()

    def change():
        i = 100
        while not stop.is_set():
            table[i] = i
            del table[i - 100]
            i += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            read(module.Called())
    finally:
        stop.set()
        thread.join()
