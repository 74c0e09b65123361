"""`whichpool.process` from end to end: input of every kind, map and map-reduce, on several plans."""

from __future__ import annotations

import csv
import gzip
import json
import math

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset.failures import TooManyBad

PLANS = ["loop", (0, 2), (2, 1)]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_csv_to_csv_keeps_rows_and_order(csv_file, rows, tmp_path, plan):
    out = tmp_path / "out.csv"
    report = whichpool.process(csv_file, work.same, out, split_bytes=997, plan=plan)
    assert read_csv(out) == rows
    assert (report.rows_in, report.rows_out, report.rejected) == (500, 500, 0)
    assert report.splits > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.csv"]


def test_one_row_a_call(csv_file, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    whichpool.process(csv_file, work.doubled, out, split_bytes=2000, plan="loop")
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert found == [{"id": row["id"], "twice": int(row["x"]) * 2} for row in rows]


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
def test_csv_to_tables_by_way_of_arrow(csv_file, rows, tmp_path, name):
    out = tmp_path / name
    whichpool.process(csv_file, work.same_batch, out, split_bytes=997, plan="loop")
    table = pq.read_table(out) if name.endswith("parquet") else pa.ipc.open_file(out).read_all()
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.string()]
    assert table.column("t").to_pylist() == [row["t"] for row in rows]
    assert table.column("x").to_pylist() == list(range(500))


def test_parquet_to_parquet_with_columns_and_where_pushed_down(tmp_path):
    table = pa.table({"x": list(range(1000)), "f": [n / 7 for n in range(1000)], "t": ["a"] * 1000})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    out = tmp_path / "out.parquet"
    report = whichpool.process(
        tmp_path / "in.parquet",
        work.same_batch,
        out,
        columns=["x"],
        where=[("x", ">=", 750)],
        split_bytes=1,
        plan="loop",
    )
    assert pq.read_table(out).to_pydict() == {"x": list(range(750, 1000))}
    assert report.splits == 3  # of ten row groups
    assert report.rows_in == 250


def test_map_reduce_gives_one_value_the_same_on_every_plan(csv_file):
    values = {
        whichpool.process(csv_file, work.total, combine=work.add, split_bytes=997, plan=plan).value
        for plan in PLANS
    }
    assert len(values) == 1
    assert math.isclose(values.pop(), sum(n / 7 for n in range(500)))


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_reduction_says_its_plan_and_why(csv_file, plan):
    report = whichpool.process(csv_file, work.total, combine=work.add, split_bytes=997, plan=plan)
    assert report.run.items == report.splits
    assert (report.run.plan.processes, report.run.plan.threads) == ((0, 1) if plan == "loop" else plan)
    (line,) = [line for line in str(report).splitlines() if line.startswith("plan: ")]
    assert line.startswith(f"plan: {report.run.plan}; ")


def test_a_combine_that_fails_says_where(csv_file):
    def never(a, b):
        raise LookupError("cannot combine")

    with pytest.raises(LookupError, match="cannot combine") as caught:
        whichpool.process(csv_file, len, combine=never, batch="dicts", split_bytes=997, plan="loop")
    assert any("rows.csv, bytes" in note for note in caught.value.__notes__)


def test_too_many_bad_records_end_a_reduction_before_its_end(tmp_path):
    path, seen = tmp_path / "in.txt", []
    path.write_text("".join(f"{n}\n" for n in range(100)))

    def fn(line: str) -> int:
        seen.append(line)
        raise ValueError(line)

    with pytest.raises(TooManyBad, match="max_bad=5"):
        whichpool.process(
            path, fn, combine=work.add, bad="skip", max_bad=5, split_bytes=10, plan="loop", shared="ok"
        )
    assert len(seen) < 50


def test_values_are_combined_in_the_order_of_the_input(csv_file, rows):
    report = whichpool.process(csv_file, work.ids, combine=work.joined, split_bytes=501, plan=(2, 1))
    assert report.value == "".join(row["id"] + ";" for row in rows)
    assert report.rows_in == 500


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed_input_is_read_from_its_beginning(csv_file, rows, tmp_path, suffix):
    import bz2
    import lzma

    def zst(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zst}[suffix]
    path = tmp_path / f"rows.csv{suffix}"
    path.write_bytes(compress(csv_file.read_bytes()))
    report = whichpool.process(path, work.same, tmp_path / "out.csv", split_bytes=100, plan="loop")
    assert read_csv(tmp_path / "out.csv") == rows
    assert report.splits == 1
    assert "read from its beginning" in report.notes[0]


def test_utf_16_is_read_from_its_beginning_and_said_so(csv_file, rows, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_file.read_bytes().decode().encode("utf-16"))
    report = whichpool.process(
        path, work.same, tmp_path / "out.csv", encoding="utf-16", split_bytes=100, plan="loop"
    )
    assert read_csv(tmp_path / "out.csv") == rows
    assert "cannot be cut" in report.notes[0]


def test_json_lines_and_text(tmp_path):
    rows = [{"id": n, "f": n / 3, "s": None if n % 2 else "é"} for n in range(300)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    whichpool.process(path, work.same, tmp_path / "out.jsonl", split_bytes=100, plan="loop")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()] == rows
    whichpool.process(path, work.same_batch, tmp_path / "out.parquet", split_bytes=100, plan="loop")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == rows
    text = tmp_path / "words.txt"
    text.write_bytes(b"\xef\xbb\xbfone two\r\nthree\n\nfour five six")
    report = whichpool.process(text, work.words, combine=work.add, split_bytes=3, plan="loop")
    assert (report.value, report.rows_in) == (6, 4)


def test_a_folder_in_and_a_folder_out(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.txt", ".hidden"):
        (tmp_path / "in" / name).write_text(name)
    report = whichpool.process(tmp_path / "in", work.shout, tmp_path / "out", plan="loop")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_text()
        for path in (tmp_path / "out").rglob("*.txt")
    }
    assert found == {"a.txt": "A.TXT", "b.txt": "B.TXT", "deep/c.txt": "DEEP/C.TXT"}
    assert report.rows_in == report.rows_out == 3


def test_files_of_an_input_that_is_gone_are_not_in_the_output(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_text(name)

    def stops(content: bytes) -> bytes:
        if content == b"c":
            raise KeyboardInterrupt
        return content

    with pytest.raises(KeyboardInterrupt):
        whichpool.process(tmp_path / "in", stops, tmp_path / "out", plan="loop")
    for name in "ac":
        (tmp_path / "in" / name).unlink()
    assert whichpool.process(tmp_path / "in", stops, tmp_path / "out", plan="loop").rows_in == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


def test_a_table_into_a_folder_of_parts(csv_file, rows, tmp_path):
    whichpool.process(csv_file, work.same_batch, tmp_path / "out", split_bytes=2000, plan="loop")
    assert len(list((tmp_path / "out").iterdir())) > 3
    assert pq.read_table(tmp_path / "out").column("id").to_pylist() == [row["id"] for row in rows]


def test_several_files_and_a_glob_are_one_input_in_order(tmp_path):
    for n in range(3):
        (tmp_path / f"p{n}.csv").write_text(f"id,x\na{n},{n}\nb{n},{n}\n")
    report = whichpool.process(str(tmp_path / "p*.csv"), work.ids, combine=work.joined, plan="loop")
    assert report.value == "a0;b0;a1;b1;a2;b2;"
    backwards = [tmp_path / "p2.csv", tmp_path / "p0.csv"]
    assert whichpool.process(backwards, work.ids, combine=work.joined, plan="loop").value == "a2;b2;a0;b0;"


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_class_is_made_once_in_each_worker(csv_file, tmp_path, plan):
    work.Model.made = 0
    out = tmp_path / "out.jsonl"
    whichpool.process(csv_file, work.Model, out, split_bytes=997, plan=plan)
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["x"] for row in found] == [n * 3 for n in range(500)]
    assert max(row["made"] for row in found) <= (2 if plan == (0, 2) else 1)


def test_batches_are_as_long_as_asked(csv_file):
    lengths = whichpool.process(
        csv_file, lambda rows: [len(rows)], combine=work.add, batch="dicts", batch_rows=200, plan="loop"
    ).value
    assert lengths == [200, 200, 100]


def test_other_dialects(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("id\tx\n'a\tb'\t1\nc\t2\n")
    report = whichpool.process(
        path,
        work.ids,
        combine=work.joined,
        dialect={"delimiter": "\t", "quotechar": "'"},
        split_bytes=1,
        plan="loop",
    )
    assert report.value == "a\tb;c;"


def test_options_that_cannot_be(csv_file, tmp_path):
    for wrong in (
        {"batch": "rows"},
        {"batch": "path"},
        {"bad": "ignore"},
        {"max_bad": "many"},
        {"split_bytes": 0},
        {"batch_rows": 0},
        {"where": [("x", ">", 1)]},
        {"dialect": {"separator": ";"}},
        {"colums": ["x"]},
    ):
        with pytest.raises(whichpool.PlanError):
            whichpool.process(csv_file, work.same, tmp_path / "out.csv", **wrong)
    with pytest.raises(whichpool.PlanError, match="give output=, where results go, or combine="):
        whichpool.process(csv_file, work.same)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_report_reads_well(csv_file, tmp_path):
    text = str(whichpool.process(csv_file, work.same, tmp_path / "out.csv", split_bytes=2000, plan="loop"))
    assert "500 records in = 500 processed + 0 rejected; 500 out" in text
    assert "plan: loop" in text
