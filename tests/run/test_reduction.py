"""A reduction whose answer depends on the items alone, not on who ran which of them."""

from __future__ import annotations

import itertools
import pickle

from hypothesis import given
from hypothesis import strategies as st

from whichpool._run.sinks import TreeSink
from whichpool._worker.calls import NOTHING, Tree, fold

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


def add(a, b):
    return a + b


def bits(number):
    return number.hex() if isinstance(number, float) else number


def in_one(combine, values):
    tree = Tree(combine)
    for i, value in enumerate(values):
        tree.add(0, i, value)
    return tree.total()


def partition(n, cuts):
    edges = [0, *sorted({cut % (n + 1) for cut in cuts}), n]
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


@given(
    st.lists(finite, max_size=60),
    st.lists(st.integers(0, 100), max_size=12),
    st.randoms(use_true_random=False),
)
def test_any_batches_in_any_order_give_the_same_bits(values, cuts, random):
    wanted = in_one(add, values)
    batches = partition(len(values), cuts)
    random.shuffle(batches)
    sink = TreeSink(add)
    for a, b in batches:
        if random.random() < 0.5:
            sink.accept(a, values[a:b])
        else:  # combined in a worker first, and sent
            worker = Tree(add)
            for i in range(a, b):
                worker.add(0, i, values[i])
            sink.accept_nodes(pickle.loads(pickle.dumps(worker.nodes())))
    assert bits(sink.tree.total()) == bits(wanted)


@given(
    st.lists(st.text("ab", max_size=2), max_size=40),
    st.lists(st.integers(0, 60), max_size=8),
    st.randoms(use_true_random=False),
)
def test_the_order_is_the_items(values, cuts, random):
    batches = partition(len(values), cuts)
    random.shuffle(batches)
    sink = TreeSink(add)
    for a, b in batches:
        sink.accept(a, values[a:b])
    total = sink.tree.total()
    assert (total if values else "") == "".join(values)
    assert (total is NOTHING) == (not values)


@given(
    st.lists(st.one_of(st.just(None), finite), max_size=50),
    st.lists(st.integers(0, 60), max_size=8),
    st.randoms(use_true_random=False),
)
def test_items_left_out_are_left_out_on_every_partition(values, cuts, random):
    values = [NOTHING if value is None else value for value in values]

    def combine(a, b):
        assert a is not NOTHING
        assert b is not NOTHING
        return a + b

    wanted = in_one(combine, values)
    batches = partition(len(values), cuts)
    random.shuffle(batches)
    sink = TreeSink(combine)
    for a, b in batches:
        worker = Tree(combine)
        for i in range(a, b):
            worker.add(0, i, values[i])
        sink.accept_nodes(worker.nodes())
    total = sink.tree.total()
    if all(value is NOTHING for value in values):
        assert total is NOTHING
        assert wanted is NOTHING
    else:
        assert bits(total) == bits(wanted)


def test_each_pair_is_combined_once():
    calls = []

    def combine(a, b):
        calls.append((a, b))
        return (a[0], b[1])

    tree = Tree(combine)
    for i in (5, 0, 7, 2, 1, 6, 4, 3):
        tree.add(0, i, (i, i))
    assert tree.total() == (0, 7)
    assert len(calls) == 7
    assert all(a[1] + 1 == b[0] for a, b in calls)  # only neighbours, the earlier first


def test_nodes_are_few():
    tree = Tree(add)
    for i in range(5, 1000):
        tree.add(0, i, 1)
    nodes = tree.nodes()
    assert len(nodes) <= 2 * 10
    assert [place << level for level, place, _ in nodes] == sorted(
        place << level for level, place, _ in nodes
    )
    assert sum(value for _, _, value in nodes) == 995
    assert fold(add, nodes).total() == 995


def test_nothing_is_one_object_everywhere():
    assert pickle.loads(pickle.dumps(NOTHING)) is NOTHING
