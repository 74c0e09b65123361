"""Where results go: batches arrive in any order and come out in the items' order, or as they came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whichpool._run.sinks import ListSink, StreamSink


@st.composite
def batches(draw):
    sizes = draw(st.lists(st.integers(1, 5), max_size=15))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return draw(st.permutations(list(zip(starts, sizes, strict=True)))), sum(sizes)


@given(batches())
def test_a_list_grows_by_whole_prefixes(drawn):
    order, n = drawn
    values = []
    sink, arrived = ListSink(values), set()
    for start, size in order:
        sink.accept(start, list(range(start, start + size)))
        arrived |= set(range(start, start + size))
        prefix = next(i for i in range(n + 1) if i not in arrived)
        assert values == list(range(prefix))
        assert sink.waiting == 0
    assert values == list(range(n))


@given(batches(), st.lists(st.integers(0, 5)))
def test_a_stream_in_order(drawn, takes):
    order, n = drawn
    sink, out, put = StreamSink(ordered=True), [], 0
    takes = iter(takes)
    for start, size in order:
        sink.accept(start, list(range(start, start + size)))
        put += size
        for _ in range(next(takes, 0)):
            if sink.ready:
                out.append(sink.ready.popleft())
        assert sink.waiting == put - len(out)
    assert [*out, *sink.ready] == list(range(n))
    assert sink.held == 0


@given(batches())
def test_a_stream_as_they_come(drawn):
    order, _ = drawn
    sink = StreamSink(ordered=False)
    for start, size in order:
        sink.accept(start, list(range(start, start + size)))
    assert list(sink.ready) == [x for start, size in order for x in range(start, start + size)]


def test_a_list_that_forgets_goes_on_counting():
    values = []
    sink = ListSink(values)
    sink.accept(0, ["a", "b"])
    sink.forget()
    sink.accept(2, ["c"])
    assert values == ["c"]
