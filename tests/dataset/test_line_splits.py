"""Text is cut between lines, and the lines of the pieces are those of the whole."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from whichpool.dataset.splits.lines import bom_bytes, is_splittable, line_cuts


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"\xc3\xa9", b""]), max_size=30),
    st.integers(1, 40),
)
def test_pieces_end_at_line_ends(words, size):
    data = b"".join(words)
    cuts = line_cuts(io.BytesIO(data), 0, len(data), lambda left: size)
    parts = [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=False)]
    assert b"".join(parts) == data
    assert all(part for part in parts)
    assert all(part.endswith(b"\n") for part in parts[:-1])


def test_a_line_longer_than_a_split_stays_whole():
    data = b"x" * 300_000 + b"\nshort\n"
    assert line_cuts(io.BytesIO(data), 0, len(data), lambda left: 1000) == [0, 300_001]


def test_a_mark_at_the_front_is_seen():
    assert bom_bytes(b"\xef\xbb\xbfa", "utf-8") == 3
    assert bom_bytes(b"\xef\xbb\xbfa", "latin-1") == 0
    assert bom_bytes(b"a", "utf-8") == 0


def test_what_can_be_cut_by_bytes():
    assert is_splittable("utf-8")
    assert is_splittable("shift_jis")
    assert not is_splittable("utf-16")
    assert not is_splittable("unheard-of")
