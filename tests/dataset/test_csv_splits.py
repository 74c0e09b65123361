"""CSV is cut exactly: the rows of the pieces are the rows that Python's `csv` reads from the whole."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whichpool.dataset.records import Dialect
from whichpool.dataset.splits import csv as csv_splits
from whichpool.dataset.splits.csv import (
    STATES,
    compose,
    header_end,
    is_splittable,
    last_record,
    records,
    scan,
)

ENCODINGS = ["utf-8", "latin-1", "cp1252", "koi8_r"]
LONG = {"utf-8": "→\U0001f600\u2028", "latin-1": "§", "cp1252": "€", "koi8_r": "ы"}
"""What `contents` writes as an é; several bytes, or one that is none of the others."""


def rows(data: bytes, dialect: Dialect, encoding: str) -> list[list[str]] | str:
    """What `csv` gives; its complaint, where it has one."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding, newline="")
    try:
        return list(csv.reader(text, **dialect.for_csv()))
    except (csv.Error, ValueError):  # ValueError: no number, under QUOTE_NONNUMERIC
        return "refused"


def pieces(data: bytes, size: int, dialect: Dialect, encoding: str) -> list[bytes]:
    starts = list(range(0, len(data), size))
    cuts, _ = compose([scan(data[at : at + size], dialect, encoding) for at in starts], starts)
    return [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=True)]


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    specials = draw(st.lists(st.sampled_from(",;\t|\"'\\^~ a"), min_size=3, max_size=3, unique=True))
    most = [csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE, csv.QUOTE_NONNUMERIC]
    quoting = draw(st.sampled_from(most))
    quotechar = draw(st.sampled_from([specials[1], specials[1], specials[1], None]))
    dialect = Dialect(
        delimiter=specials[0],
        quotechar=quotechar,
        escapechar=draw(st.sampled_from([None, specials[2]])),
        doublequote=draw(st.booleans()),
        skipinitialspace=draw(st.booleans()),
        strict=draw(st.booleans()),
        quoting=quoting if quotechar else csv.QUOTE_NONE,
    )
    try:
        csv.reader([], **dialect.for_csv())
    except (ValueError, TypeError, csv.Error):  # newer Pythons refuse some
        return Dialect()
    return dialect


@st.composite
def contents(draw: st.DrawFn) -> tuple[Dialect, str]:
    dialect = draw(dialects())
    marks = [
        dialect.delimiter,
        dialect.quotechar or "'",
        dialect.escapechar or "x",
        "\n",
        "\r",
        "\r\n",
        " ",
        "\r\n\r\n",
        (dialect.quotechar or "'") * 2,
        "é",
        "\x85",  # a line's end for `str.splitlines`, and none for `csv`
        "b",
        "# ",
        "\0",
        "7",
    ]
    return dialect, "".join(draw(st.lists(st.sampled_from(marks), max_size=30)))


@given(contents(), st.sampled_from(ENCODINGS))
@example((Dialect(), 'a,"b\n","c""",\r\n"d\r'), "utf-8")
@example((Dialect(escapechar="\\"), '\\,"a",\\\r\n"\\"\n"\n'), "utf-8")
@example((Dialect(delimiter=" ", skipinitialspace=True), 'b  "\n" "\n'), "utf-8")
@example((Dialect(skipinitialspace=True), 'a,  "b\n"\n  "c\n"'), "utf-8")
@settings(max_examples=150)
def test_cut_at_every_size_the_rows_are_those_of_the_whole(content, encoding):
    dialect, text = content
    data = text.replace("é", LONG[encoding]).encode(encoding, "ignore")
    whole = rows(data, dialect, encoding)
    for size in range(1, len(data) + 1):
        parts = pieces(data, size, dialect, encoding)
        assert b"".join(parts) == data
        read = [rows(part, dialect, encoding) for part in parts]
        if whole == "refused":
            assert "refused" in read
        else:
            assert [row for part in read for row in part] == whole, (size, parts)


@given(contents())
@example((Dialect(delimiter=" ", quotechar=",", skipinitialspace=True), "é "))
@settings(max_examples=100)
def test_a_scan_is_the_scan_of_its_parts(content):
    """From each state, not only from those that the beginning of a file leads to."""
    dialect, text = content
    data = text.encode()
    for at in range(len(data) + 1):
        left, right, whole = scan(data[:at], dialect), scan(data[at:], dialect), scan(data, dialect)
        for state in range(STATES):
            middle, first = left[state]
            end, second = right[middle]
            if first is None and second is not None:
                first = at + second
            assert whole[state] == (end, first)


@given(
    st.lists(
        st.lists(st.text(alphabet='ab",\n\r é', max_size=5), min_size=1, max_size=4), min_size=1, max_size=8
    )
)
@settings(max_examples=100)
def test_what_csv_writes_is_cut_between_its_records_only(table):
    file = io.StringIO()
    csv.writer(file).writerows(table)
    data = file.getvalue().encode()
    for size in (1, 2, 3, 7, 20):
        parts = pieces(data, size, Dialect(), "utf-8")
        assert [row for part in parts for row in rows(part, Dialect(), "utf-8")] == table


def test_a_large_quoted_range_is_scanned_fast_and_right():
    """The regular expression and the automaton say the same over many kinds of fields."""
    line = b'plain,"quoted, text","say ""hi""\nthere",mid"dle,12.5,"",x\r\n'
    data = line * 3000
    starts = list(range(0, len(data), 10_007))
    cuts, end = compose([scan(data[at : at + 10_007], Dialect()) for at in starts], starts)
    assert end == 0
    assert len(cuts) == len(starts)
    assert all(cut % len(line) == 0 for cut in cuts)


@given(contents(), st.lists(st.integers(1, 9), min_size=1, max_size=3))
@example((Dialect(), "a\n\r\n\r\n"), [4])
@example((Dialect(), "a\nb\r"), [4])
@settings(max_examples=200)
def test_the_last_record_is_that_of_a_walk_whatever_the_steps(content, steps):
    dialect, text = content
    data = text.encode()
    begins = [begin for begin, _ in records(data, dialect)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_splits, "STEPS_BYTES", steps)
        assert last_record(data, dialect) == (begins[-1] if begins else 0)


@pytest.mark.parametrize("line", [b"1,2,3,4\n", b"1,2,3,4\r\n", b'1,2,"3",4\n', b"1,2,3,4\r"])
def test_the_last_record_of_many_is_found_without_walking_through_them(monkeypatch, line):
    walked = []
    real = csv_splits._next_record

    def counting(data, at, auto):
        walked.append(at)
        return real(data, at, auto)

    data = line * 100_000
    monkeypatch.setattr(csv_splits, "_next_record", counting)
    assert last_record(data, Dialect()) == len(data) - len(line)
    assert len(walked) < 3_000


def test_the_header_ends_where_its_record_does():
    assert header_end(b'a,"b\nc"\r\n1,2', Dialect()) == 9
    assert header_end(b"a,b", Dialect()) is None
    assert header_end(b"a,b\n", Dialect()) is None
    assert header_end(b"", Dialect()) is None


@pytest.mark.parametrize(
    ("dialect", "encoding", "can"),
    [
        (Dialect(), "utf-8", True),
        (Dialect(), "utf-8-sig", True),
        (Dialect(delimiter="§"), "utf-8", False),
        (Dialect(delimiter="§"), "latin-1", True),
        (Dialect(delimiter="→"), "cp1252", False),
        (Dialect(), "utf-16", False),
        (Dialect(), "shift_jis", False),
        (Dialect(), "no such", False),
    ],
)
def test_only_encodings_of_single_bytes_are_cut(dialect, encoding, can):
    assert is_splittable(dialect, encoding) is can
