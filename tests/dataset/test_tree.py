"""Values of splits are combined in one order, whatever the order they come in."""

from __future__ import annotations

import operator

from hypothesis import given
from hypothesis import strategies as st

import whichpool
from whichpool.dataset.tree import Tree


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=40), st.randoms())
def test_the_value_is_that_of_map_reduce_whatever_comes_first(numbers, random):
    tree = Tree(operator.add)
    places = list(range(len(numbers)))
    random.shuffle(places)
    for place in places:
        tree.add(place, numbers[place])
    expected = whichpool.map_reduce(float, numbers, operator.add, initial=-0.0, plan="loop")
    assert tree.total(-0.0).hex() == expected.hex()


def test_neighbours_are_combined_as_soon_as_both_are_there():
    tree = Tree(operator.add)
    for place in range(1000):
        tree.add(place, [place])
        assert len(tree._nodes) == (place + 1).bit_count()
    assert tree.total() == list(range(1000))
    assert Tree(operator.add).total("none") == "none"
