"""Rows that are made in a faster way are the rows that `csv` and pyarrow give."""

from __future__ import annotations

import csv
import datetime
import io

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_csv_splits import contents

from whichpool.dataset.records import Dialect
from whichpool.dataset.rows import MOST_COLUMNS, dicts, lists_of_plain, rows_of_batch


@given(contents())
@example((Dialect(), "a,b\r\n\r\n,\r\n \r\nc"))
@example((Dialect(), "a\x0bb\x0c,\x85\x1e\u2028\nb"))
@example((Dialect(), "a\rb\r\nc"))
@example((Dialect(), "a\nb\r\nc"))
@example((Dialect(escapechar="\\"), "a\\,b"))
@example((Dialect(quoting=csv.QUOTE_NONE), 'a"b,"c"\n'))
@example((Dialect(quoting=csv.QUOTE_NONNUMERIC), "1,2\n"))
@example((Dialect(skipinitialspace=True), "a, b\n"))
@example((Dialect(), ""))
@settings(max_examples=300)
def test_lines_that_are_cut_at_the_delimiter_are_what_csv_reads(content):
    dialect, text = content
    found = lists_of_plain(text, dialect)
    if found is None:
        return
    read = csv.reader(io.StringIO(text, newline=""), **dialect.for_csv())
    assert list(found) == [row for row in read if row]


def test_plain_files_do_take_the_faster_way():
    for text in ("a,b\nc,d\n", "a,b\r\nc,d\r\n", "a,b"):
        assert lists_of_plain(text, Dialect()) is not None
    assert lists_of_plain('a,"b"\n', Dialect()) is None
    assert lists_of_plain("a||b\n", Dialect(delimiter="||")) is None


def test_a_field_that_csv_refuses_for_its_length_is_left_to_it():
    text = "a," + "b" * 200_000 + "\n"
    assert lists_of_plain(text, Dialect()) is None
    before = csv.field_size_limit(300_000)
    try:
        assert lists_of_plain(text, Dialect()) is not None
    finally:
        csv.field_size_limit(before)


NAMES = ["a", "", "'", '"', "{x}", "_", "v1", "é\n", "\\", "class"]


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.data())
def test_dictionaries_have_the_keys_and_values_in_order(names, data):
    wanted = data.draw(st.none() | st.lists(st.sampled_from(names), unique=True))
    rows = [[f"{number} {name}" for name in names] for number in range(3)]
    expected = [
        {name: value for name, value in zip(names, row, strict=True) if wanted is None or name in wanted}
        for row in rows
    ]
    found = dicts(tuple(names), None if wanted is None else tuple(wanted))(rows)
    assert found == expected
    assert all(list(row) == (names if wanted is None else wanted) for row in found)


@pytest.mark.parametrize("count", [MOST_COLUMNS, MOST_COLUMNS + 1])
def test_very_many_columns(count):
    names = tuple(f"c{n}" for n in range(count))
    assert dicts(names)([range(count)]) == [dict(zip(names, range(count), strict=True))]


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_of_a_batch_are_those_of_pyarrow(rows):
    columns = {
        "i": [1, None, 3],
        "f": [0.5, float("inf"), None],
        "t": ["a", None, ""],
        "when": [datetime.datetime(2013, 1, 1), None, datetime.datetime(2013, 1, 2)],
        "list": [[1], [], None],
        "inner": [{"x": 1}, {"x": None}, None],
        "none": [None, None, None],
    }
    batch = pa.RecordBatch.from_pydict(columns).slice(0, rows)
    assert rows_of_batch(batch) == batch.to_pylist()
    assert [[*map(type, row.values())] for row in rows_of_batch(batch)] == [
        [*map(type, row.values())] for row in batch.to_pylist()
    ]


def test_a_batch_without_columns():
    batch = pa.RecordBatch.from_pydict({"a": [1, 2]}).select([])
    assert rows_of_batch(batch) == batch.to_pylist()
