"""Which part of a stretch of memory is free: blocks never overlap, and all of it is free again at the end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._worker.blocks import GRAIN_BYTES, Blocks, rounded

START, SIZE = 1 << 20, 1 << 26

steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, SIZE // 3), st.integers(SIZE // 8, 2 * SIZE)),
        st.tuples(st.just("give"), st.integers(0, 1000), st.just(0)),
        st.tuples(st.just("join"), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(st.integers(1, 1 << 40))
def test_rounding_adds_an_eighth_at_most_beyond_one_grain(size):
    whole = rounded(size)
    assert whole % GRAIN_BYTES == 0
    assert size <= whole <= max(size + GRAIN_BYTES - 1, size * 9 / 8)
    assert rounded(whole) == whole


@given(steps)
def test_blocks_never_overlap_and_all_is_free_again(actions):
    blocks, held = Blocks(START, SIZE), {}
    for what, number, limit in actions:
        if what == "take":
            at = blocks.take(number, min(limit, SIZE))
            if at is not None:
                assert at % GRAIN_BYTES == 0
                assert at >= START
                assert at + rounded(number) <= START + min(limit, SIZE)
                assert all(at + rounded(number) <= a or a + size <= at for a, size in held.items())
                held[at] = rounded(number)
        elif what == "give" and held:
            at = sorted(held)[number % len(held)]
            blocks.give(at)
            del held[at]
        elif what == "join":
            gaps = blocks.join()
            assert sum(size for _, size in gaps) + sum(held.values()) == SIZE
            assert all(a + size < b for (a, size), (b, _) in itertools.pairwise(gaps))
    assert blocks.taken == held
    for at in list(held):
        blocks.give(at)
    assert blocks.join() == [(START, SIZE)]


@given(st.lists(st.integers(1, SIZE // 16), min_size=1, max_size=12))
def test_refused_only_if_no_gap_is_wide_enough(sizes):
    blocks = Blocks(START, SIZE // 4)
    for size in sizes:
        if blocks.take(size, SIZE // 4) is None:
            assert all(width < rounded(size) for _, width in blocks.join())


def test_the_block_freed_last_is_used_first():
    blocks = Blocks(START, SIZE)
    taken = [blocks.take(100_000, SIZE) for _ in range(4)]
    for at in taken:
        blocks.give(at)
    assert [blocks.take(100_000, SIZE) for _ in range(4)] == taken[::-1]


def test_free_blocks_are_joined_for_a_larger_one():
    blocks = Blocks(START, 4 * GRAIN_BYTES)
    taken = [blocks.take(GRAIN_BYTES, SIZE) for _ in range(4)]
    assert blocks.take(1, SIZE) is None
    for at in taken:
        blocks.give(at)
    assert blocks.take(4 * GRAIN_BYTES, SIZE) == START


def test_what_is_not_taken_cannot_be_given():
    blocks = Blocks(START, SIZE)
    at = blocks.take(1, SIZE)
    blocks.give(at)
    for wrong in (at, at + GRAIN_BYTES, 0):
        with pytest.raises(KeyError):
            blocks.give(wrong)
    assert blocks.join() == [(START, SIZE)]
