"""How many items a batch has: never none, never more than anyone should wait for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._run import sizing
from whichpool._run.sizing import Sizer

times = st.one_of(st.none(), st.just(0.0), st.floats(1e-9, 100.0))


def profile(call_s=None, land_s=None, payload_bytes=None):
    return SimpleNamespace(call_s=call_s, land_s=land_s, payload_bytes=payload_bytes)


@given(
    times, times, st.one_of(st.none(), st.floats(1, 1e12)), st.one_of(st.none(), st.integers(0, 10**9)),
    st.integers(1, 10_000), st.integers(1, 30),
)  # fmt: skip
def test_the_bounds(call_s, land_s, payload, remaining, workers, rounds):
    sizer = Sizer(profile(call_s, land_s, payload))
    largest = 1
    for _ in range(rounds):
        size = sizer.next(remaining, workers)
        assert 1 <= size <= sizing.MOST_ITEMS
        assert size <= largest * sizing.GROWTH
        if call_s:
            assert size == 1 or size * call_s <= sizing.BATCH_S * (1 + 1e-9)
        if payload:
            assert size == 1 or size * payload <= sizing.MOST_BYTES
        if remaining is not None:
            assert size == 1 or (size - 1) * sizing.SHARES * workers < remaining
        largest = max(largest, size)


def test_one_item_until_something_is_known():
    sizer = Sizer(profile())
    assert [sizer.next(10**6, 2) for _ in range(3)] == [1, 1, 1]
    assert not sizer.prefetch(1, 10**6, 2)


def test_it_grows_to_the_time_of_a_batch():
    sizer = Sizer(profile(call_s=sizing.BATCH_S / 1000))
    sizes = [sizer.next(None, 2) for _ in range(6)]
    assert sizes == sorted(sizes)
    assert sizes[0] == sizing.GROWTH
    assert sizes[-1] == pytest.approx(1000, abs=1)


def test_the_last_batches_shrink_and_all_is_given_out():
    sizer = Sizer(profile(call_s=1e-6))
    for _ in range(6):
        sizer.next(None, 4)
    remaining, sizes = 20_000, []
    while remaining:
        sizes.append(min(sizer.next(remaining, 4), remaining))
        remaining -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert len(sizes) < 200


def test_what_a_worker_spends_on_the_message_counts():
    without, with_land = Sizer(profile(call_s=1e-4)), Sizer(profile(call_s=1e-4, land_s=3e-4))
    for _ in range(4):
        sizes = without.next(None, 1), with_land.next(None, 1)
    assert sizes[0] == pytest.approx(4 * sizes[1], abs=4)


def test_a_second_batch_at_hand_for_quick_items_only():
    assert Sizer(profile(call_s=sizing.BATCH_S / 10)).prefetch(1, 1, 2) == 1
    assert Sizer(profile(call_s=sizing.LONGEST_AT_HAND_S)).prefetch(1, None, 2) == 0


def test_slow_items_are_at_hand_until_the_end_is_near():
    sizer = Sizer(profile(call_s=sizing.LONGEST_AT_HAND_S / 2))
    assert sizer.prefetch(1, None, 3) == 1
    assert sizer.prefetch(1, 3 * sizing.ROUNDS_AT_HAND, 3) == 1
    assert sizer.prefetch(1, 3 * sizing.ROUNDS_AT_HAND - 1, 3) == 0


def test_more_at_hand_for_more_threads():
    """Each of them asks for the next when it is done, and the answer has to wait for the GIL."""
    sizer = Sizer(profile(call_s=2 * sizing.BATCH_S))
    assert sizer.prefetch(2, 100, 4) == 0
    assert sizer.prefetch(4, 100, 4) == 1
    assert sizer.prefetch(16, 100, 4) == 16 // sizing.AT_HAND
    assert Sizer(profile(call_s=100 * sizing.BATCH_S)).prefetch(16, 100, 4) == 0


def test_nothing_slow_is_at_hand_where_the_items_in_progress_are_limited():
    slow = profile(call_s=sizing.BATCH_S)
    assert Sizer(slow).prefetch(1, None, 2) == Sizer(slow).prefetch(4, None, 8) == 1
    assert Sizer(slow, limited=True).prefetch(1, None, 2) == 0
    assert Sizer(slow, limited=True).prefetch(4, None, 8) == 0
