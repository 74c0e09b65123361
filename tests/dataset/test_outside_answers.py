"""Datasets from outside: what comes out is what `csv`, `json` and pyarrow give for the whole."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os

import numpy as np
import outside_work as work
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import whichpool

PLANS = ["loop", "threads", (2, 1)]


def value(source, fn, **options):
    options = {"combine": work.add, "plan": "loop", **options}
    return whichpool.process(source, fn, **options).value


def python_rows(data: bytes, **dialect) -> list:
    return [
        list(row.items())
        for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), **dialect)
    ]


# --- CSV, exactly -------------------------------------------------------------------------------------------

NASTY = {
    "quoted new lines": (b'a,b\r\n"x\ny","q""z"\r\n1,"2\r\n3"\r\n', {}),
    "quotes in the midst": (b'a,b\nx"y,z"w\n3,"4"5\n', {}),
    "carriage returns": (b'a,b\r1,2\r"3\r",4\r', {}),
    "every line end": (b"a,b\r\n1,2\n3,4\r5,6\r\r\n7,8\n\r9,9\r\n", {}),
    "blank lines": (b"a,b\n\n1,2\n\n\n3,4\n\n", {}),
    "a quote never closed": (b'a,b\n1,"2\n3,4\n', {}),
    "no last line end": (b"a,b\n1,2", {}),
    "an escaped new line": (b"a,b\n1,2\\\n3\n4,5\n", {"escapechar": "\\"}),
    "quotes mean nothing": (b'a,b\n"1,2"\n3,4\n', {"quoting": csv.QUOTE_NONE}),
    "numbers": (b'"a","b"\n1,2\n3,"4"\n', {"quoting": csv.QUOTE_NONNUMERIC}),
    "blanks before quotes": (b'a, b\n1, "2\n2"\n3, 4\n', {"skipinitialspace": True}),
    "blanks are delimiters and skipped": (
        b'a b\n1  "2\n3"\n4 "\n"\n "5\n" 6\n',
        {"delimiter": " ", "skipinitialspace": True},
    ),
    "tabs": (b'a\tb\n1\t"2\t3\n"\n', {"delimiter": "\t"}),
    "single quotes": (b"a,b\n'1\n1',2\n", {"quotechar": "'"}),
    "quotes are not doubled": (b'a,b\n"1"",2\n3,4\n', {"doublequote": False}),
    "other line separators": ("a,b\n1\u2028,2\x85\n3\x0b,4\x0c\n".encode(), {}),
    "a mark at the front": (b'\xef\xbb\xbf"a",b\n1,"2\n"\n', {}),
    "a header of two lines": (b'"a\nx",b\n1,2\n3,"\n4"\n', {}),
    "one column": (b'a\n1\n""\n2\n', {}),
    "a zero byte": (b"a,b\n1\x002,3\n4,5\n", {}),
}


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in NASTY])
def test_nasty_csv_is_what_csv_says_at_every_split_size(tmp_path, name):
    data, dialect = NASTY[name]
    path = tmp_path / "nasty.csv"
    path.write_bytes(data)
    expected = python_rows(data, **dialect)
    for size in range(1, len(data) + 2):
        report = whichpool.process(
            path, work.pairs, combine=work.add, plan="loop", split_bytes=size, dialect=dialect or None
        )
        assert report.value == expected, size
        assert report.rows_in == len(expected)


@given(
    st.lists(
        st.lists(st.text(alphabet="ab\",\n\r ;'é", max_size=6), min_size=2, max_size=2),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([{}, {"delimiter": ";", "quotechar": "'"}, {"quoting": csv.QUOTE_ALL}]),
    st.integers(1, 40),
)
@settings(max_examples=40)
def test_what_csv_writes_comes_back_whole(tmp_path_factory, table, dialect, size):
    path = tmp_path_factory.getbasetemp() / "drawn.csv"
    path.write_bytes(work.as_csv([["a", "b"], *table], **dialect))
    found = value(
        path,
        work.pairs,
        split_bytes=size,
        dialect={k: v for k, v in dialect.items() if k != "quoting"} or None,
    )
    assert found == [[("a", a), ("b", b)] for a, b in table]


@given(
    st.lists(
        st.lists(st.text(alphabet='a",\n\r ;é', max_size=4), min_size=2, max_size=2), min_size=1, max_size=8
    )
)
@example([["a\rb", "c"], ["", ""]])
@settings(max_examples=40)
def test_what_is_written_as_csv_is_read_back_by_csv(tmp_path_factory, table):
    home = tmp_path_factory.getbasetemp()
    (home / "drawn.csv").write_bytes(work.as_csv([["two\nlines", "b"], *table]))
    whichpool.process(home / "drawn.csv", work.same, home / "written.csv", plan="loop", split_bytes=10)
    with open(home / "written.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["two\nlines", "b"], *table]


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "o.jsonl", "o.arrow"])
@pytest.mark.parametrize(
    "columns",
    [{"a": [1, 2], "b": ["x", "y"]}, {"a": np.arange(1, 3), "b": np.array(["x", "y"])}],
    ids=["lists", "arrays"],
)
def test_a_dictionary_of_columns_is_rows(tmp_path, name, columns):
    (tmp_path / "n.csv").write_text("x\n1\n")
    report = whichpool.process(
        tmp_path / "n.csv", lambda _: columns, tmp_path / name, batch="dicts", plan="loop"
    )
    assert report.rows_out == 2
    assert tables(tmp_path / name).to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def tables(out) -> pa.Table:
    out = str(out)
    if out.endswith(".csv"):
        return pa.csv.read_csv(out)
    if out.endswith(".jsonl"):
        return pa.Table.from_pylist(work.json_lines(out))
    if out.endswith(".arrow"):
        with pa.OSFile(out) as file:
            return pa.ipc.open_file(file).read_all()
    return pq.read_table(out)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_order_is_kept_on_every_plan(tmp_path, plan):
    path = tmp_path / "n.csv"
    path.write_text("x\n" + "".join(f"{n}\n" for n in range(2000)))
    report = whichpool.process(path, work.row, tmp_path / "o.jsonl", plan=plan, split_bytes=300)
    assert report.splits > 20
    assert [row["x"] for row in work.json_lines(tmp_path / "o.jsonl")] == [str(n) for n in range(2000)]


# --- Parquet, and typed columns -----------------------------------------------------------------------------


@pytest.fixture
def numbers(tmp_path):
    table = pa.table(
        {"x": range(1000), "s": [f"s{n % 10}" for n in range(1000)], "f": [n / 7 for n in range(1000)]}
    )
    pq.write_table(table, tmp_path / "n.parquet", row_group_size=37)
    return tmp_path / "n.parquet"


def test_parquet_is_split_at_row_groups(numbers):
    lengths = whichpool.process(
        numbers, lambda rows: [len(rows)], combine=work.add, batch="dicts", split_bytes=1, plan="loop"
    )
    assert lengths.value == [37] * 27 + [1]
    assert lengths.splits == 28


@pytest.mark.parametrize(
    ("where", "filter"),
    [
        ([("x", ">=", 100), ("x", "<", 130)], (pc.field("x") >= 100) & (pc.field("x") < 130)),
        ([("s", "in", ["s3", "s5"])], pc.field("s").isin(["s3", "s5"])),
        ([("x", "!=", 5), ("s", "==", "s5")], (pc.field("x") != 5) & (pc.field("s") == "s5")),
        ([("x", ">", 10_000)], pc.field("x") > 10_000),
    ],
)
@pytest.mark.parametrize("columns", [None, ["s"], ["f", "x"]], ids=str)
def test_columns_and_where_are_those_of_pyarrow(numbers, tmp_path, where, filter, columns):
    expected = pq.read_table(numbers).filter(filter)
    if columns:
        expected = expected.select(columns)
    report = whichpool.process(
        numbers,
        work.batch,
        tmp_path / "o.parquet",
        where=where,
        columns=columns,
        split_bytes=500,
        plan="loop",
    )
    assert (report.rows_in, report.rows_out) == (expected.num_rows, expected.num_rows)
    if expected.num_rows:
        assert pq.read_table(tmp_path / "o.parquet").equals(expected)


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "o.jsonl", "o.arrow", "folder/"])
@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_every_kind_of_output_has_the_rows(numbers, tmp_path, name, plan):
    whole = pq.read_table(numbers)
    out = f"{tmp_path}/{name}"
    whichpool.process(numbers, work.batch, out, split_bytes=2000, plan=plan)
    assert name != "folder/" or len(os.listdir(out)) > 5
    found = tables(out)
    assert found.combine_chunks().equals(whole.combine_chunks())


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_sum_of_floats_is_the_same_to_the_last_bit(tmp_path, plan):
    path = tmp_path / "n.csv"
    path.write_text("x\n" + "".join(f"{n * 7919 % 4001}\n" for n in range(4000)))
    report = whichpool.process(path, work.waves, combine=work.add, split_bytes=100, batch_rows=3, plan=plan)
    again = whichpool.process(path, work.waves, combine=work.add, split_bytes=100, batch_rows=3, plan="loop")
    assert report.value.hex() == again.value.hex()
    assert report.value == pytest.approx(
        sum((n * 7919 % 4001 % 7 + 0.1) * 10.0 ** (n * 7919 % 4001 % 17) for n in range(4000))
    )


# --- sources ------------------------------------------------------------------------------------------------


def zst(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zst)],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_compressed_in_two_members_is_read_whole(tmp_path, suffix, pack, kind):
    rows = [[("a", str(n)), ("b", f'"{n}\n"')] for n in range(200)]
    if kind == "csv":
        data, fn = work.as_csv([["a", "b"], *[[a[1], b[1]] for a, b in rows]]), work.pairs
    elif kind == "jsonl":
        data, fn = "".join(json.dumps(dict(row)) + "\n" for row in rows).encode(), work.pairs
    else:
        data, fn = "".join(f"{n}\n" for n in range(200)).encode(), work.lines
        rows = [str(n) for n in range(200)]
    path = tmp_path / f"in.{kind}{suffix}"
    path.write_bytes(pack(data[:777]) + pack(data[777:]))
    assert value(path, fn, split_bytes=100) == rows


def test_a_list_a_glob_and_a_folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ["c", "a", "b", "deep/d"]:
        (tmp_path / "in" / f"{name}.csv").write_text(f"n\n{name}\n")
    listed = value([tmp_path / "in" / "c.csv", str(tmp_path / "in" / "a.csv")], work.listed)
    assert [row["n"] for row in listed] == ["c", "a"]
    assert [row["n"] for row in value(f"{tmp_path}/in/*.csv", work.listed)] == ["a", "b", "c"]
    assert sorted(row["n"] for row in value(f"{tmp_path}/in/**/*.csv", work.listed)) == [
        "a",
        "b",
        "c",
        "deep/d",
    ]
    assert sorted(row["n"] for row in value(tmp_path / "in", work.listed)) == ["a", "b", "c", "deep/d"]


def test_a_folder_into_a_folder_keeps_names_and_subfolders(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for n in range(6):
        (tmp_path / "in" / f"{n}.bin").write_bytes(b"x" * n * 1000)
    (tmp_path / "in" / "sub" / "0.bin").write_bytes(b"under")
    report = whichpool.process(tmp_path / "in", work.upper, f"{tmp_path}/out/", plan=(2, 1))
    assert (report.rows_in, report.rows_out) == (7, 7)
    found = {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in (tmp_path / "out").rglob("*.bin")}
    assert found == {**{f"{n}.bin": b"X" * n * 1000 for n in range(6)}, "sub/0.bin": b"UNDER"}


# --- what the function takes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "kind", "given"),
    [
        (work.is_batch, "csv", ["RecordBatch"]),
        (work.is_table, "jsonl", ["Table"]),
        (work.is_batch, "parquet", ["RecordBatch"]),
        (work.is_rows, "parquet", ["listdict"]),
        (work.is_row, "csv", ["dict", "dict"]),
        (work.is_row, "parquet", ["dict", "dict"]),
        (work.is_arrays, "csv", ["ndarray"]),
        (work.is_arrays, "parquet", ["ndarray"]),
        (work.is_line, "txt", ["str", "str", "str"]),
        (work.is_lines, "csv", ["liststr"]),
        (work.is_bytes, "jsonl", ["bytes"]),
        (work.is_bytes, "file", ["bytes"]),
        (work.is_path, "file", ["Path"]),
    ],
)
def test_the_hint_chooses_what_the_function_gets(tmp_path, fn, kind, given):
    source = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"a": [1, 2]}), source)
    elif kind == "file":
        source = tmp_path / "folder"
        source.mkdir()
        (source / "x.bin").write_bytes(b"x")
    else:
        source.write_text({"csv": "a\n1\n2\n", "jsonl": '{"a":1}\n{"a":2}\n', "txt": "a\n1\n2\n"}[kind])
    assert value(source, fn) == given


def test_a_hint_that_the_input_cannot_give_is_an_error_before_anything_runs(tmp_path):
    (tmp_path / "in.txt").write_text("a\n")
    with pytest.raises(whichpool.PlanError, match="text"):
        whichpool.process(tmp_path / "in.txt", work.is_batch, tmp_path / "o.parquet")
    assert os.listdir(tmp_path) == ["in.txt"]


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_a_class_is_made_once_in_each_worker(tmp_path, monkeypatch, plan):
    monkeypatch.setenv("OUTSIDE_TRACE", str(tmp_path / "trace"))
    (tmp_path / "n.csv").write_text("x\n" + "".join(f"{n}\n" for n in range(400)))
    whichpool.process(tmp_path / "n.csv", work.Model, tmp_path / "o.jsonl", plan=plan, split_bytes=30)
    made = (tmp_path / "trace").read_text().split("\n")[:-1]
    pids = {row["pid"] for row in work.json_lines(tmp_path / "o.jsonl")}
    assert len(made) == len(set(made)) == len(pids), made
