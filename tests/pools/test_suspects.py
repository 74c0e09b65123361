"""Which items can be why a worker ended."""

from __future__ import annotations

import pytest

from whichpool._pools.base import Batch
from whichpool._pools.suspects import halves, suspects

A, B, C = Batch(0, list("abcd")), Batch(4, list("efg")), Batch(7, ["h"])


@pytest.mark.parametrize(
    ("running", "handling", "babbled", "expected"),
    [
        ([], [], None, []),  # it was idle: nobody is to blame
        ([2], [], None, [(A, [(2, 3)])]),
        ([2, 4], [], None, [(A, [(2, 3)]), (B, [(0, 1)])]),
        ([1, 3], [], None, [(A, [(1, 2), (3, 4)])]),
        ([], [0], None, [(A, [(0, 2), (2, 4)])]),
        ([], [7], None, [(C, [(0, 1)])]),
        ([5], [0], None, [(A, [(0, 2), (2, 4)]), (B, [(1, 2)])]),
        ([99], [55], None, []),  # what an earlier run left on the board
        ([5], [], 1, [(A, [(0, 2), (2, 4)])]),
        ([], [], 2, [(A, [(0, 2), (2, 4)]), (B, [(0, 2), (2, 3)])]),
    ],
)
def test_suspects(running, handling, babbled, expected):
    assert suspects([A, B, C], running, handling, babbled) == expected


@pytest.mark.parametrize("size", range(1, 20))
def test_halves_cover_all_once(size):
    parts = halves(size)
    assert [i for first, end in parts for i in range(first, end)] == list(range(size))
    assert len(parts) == min(size, 2)
