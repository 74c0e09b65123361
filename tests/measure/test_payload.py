"""What it costs to send an item and take its result, measured on the real ones."""

from __future__ import annotations

import functools
import pickle
import threading

import pytest

from whichpool._measure import payload
from whichpool._measure.payload import captured_bytes, measure, pack


def test_small_things_cost_next_to_nothing():
    cost = measure(3, 9, 1e-6)
    assert 1 <= cost.payload_bytes < 200
    assert cost.ship_s > 0
    assert cost.land_s > 0
    assert min(measure(3, 9, 1e-6).ship_s for _ in range(20)) < 0.0005


def test_a_message_is_shared_by_short_calls_only():
    quick = min(measure(3, 9, 0.0).ship_s for _ in range(20))
    slow = min(measure(3, 9, 1.0).ship_s for _ in range(20))
    assert slow - quick == pytest.approx(payload.MESSAGE_S, abs=payload.MESSAGE_S * 0.9)


def test_a_large_array_is_counted_in_full_and_copied_nowhere():
    np = pytest.importorskip("numpy")
    array = np.ones(2_000_000)
    cost = measure(array, 1.0, 0.01)
    assert cost.payload_bytes == pytest.approx(16_000_000, rel=0.001)
    assert cost.ship_s >= 16e6 / payload.SHARED_BYTES_PER_S
    both = measure(array, array, 0.01)
    assert both.payload_bytes == pytest.approx(32_000_000, rel=0.001)
    assert both.land_s >= 16e6 / payload.SHARED_BYTES_PER_S


def test_the_side_that_sends_pays_for_the_copy():
    np = pytest.importorskip("numpy")
    array = np.ones(2_000_000)
    out = [measure(array, 1.0, 0.01) for _ in range(5)]
    back = [measure(1.0, array, 0.01) for _ in range(5)]
    assert min(cost.ship_s for cost in out) > min(cost.land_s for cost in out)
    assert min(cost.land_s for cost in back) > min(cost.ship_s for cost in back)


def test_without_shared_memory_both_sides_pay(monkeypatch):
    np = pytest.importorskip("numpy")
    monkeypatch.setattr(payload, "SHARED_BYTES_PER_S", payload.COPY_BYTES_PER_S)
    cost = measure(np.ones(2_000_000), 1.0, 0.01)
    assert min(cost.ship_s, cost.land_s) >= 16e6 / payload.COPY_BYTES_PER_S


def test_what_is_built_of_many_parts_costs_more_than_its_bytes():
    # Bytes are dominated by copying, a table by pickling; the fastest of several, for a machine may be busy.
    table = [{"a": i, "b": str(i)} for i in range(5000)]
    size = len(pickle.dumps(table))
    parts = min(measure(table, None, 0.01).ship_s for _ in range(5))
    whole = min(measure(b"x" * size, None, 0.01).ship_s for _ in range(5))
    assert parts > whole


def test_what_cannot_travel_says_so():
    with pytest.raises(Exception, match="lock"):
        measure(threading.Lock(), 1, 0.01)
    with pytest.raises(Exception, match="generator"):
        measure(1, (i for i in "ab"), 0.01)


def test_by_value_where_by_name_will_not_do():
    here = 7

    def local(x):
        return x + here

    cost = measure(local, 1, 0.01)
    assert cost.payload_bytes > 50


def test_a_job_is_packed_by_name_where_that_will_do():
    data, by_value = pack(len)
    assert (pickle.loads(data), by_value) == (len, False)
    data, by_value = pack(lambda x: x + 1)
    assert by_value
    assert pickle.loads(data)(2) == 3
    with pytest.raises(TypeError, match="lock"):
        pack(threading.Lock())


class Holder:
    def __init__(self, data):
        self.data = data

    def method(self, x):
        return x

    __call__ = method


def closure_over(data):
    return lambda x: data[x]


@pytest.mark.parametrize(
    "carry",
    [
        closure_over,
        lambda data: functools.partial(max, data),
        lambda data: functools.partial(closure_over(data), 1),
        lambda data: Holder(data).method,
        Holder,
    ],
)
def test_what_a_function_carries_is_estimated(carry):
    assert captured_bytes(carry(b"x" * 1_000_000)) == pytest.approx(1_000_000, rel=0.01)
    assert captured_bytes(carry(b"")) < 1000


def test_functions_that_carry_nothing():
    assert captured_bytes(len) < 10_000
    assert captured_bytes(test_small_things_cost_next_to_nothing) == 0
