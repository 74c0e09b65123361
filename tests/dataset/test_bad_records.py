"""Bad records end the run, are skipped, or are set aside with their place; and the counts add up."""

from __future__ import annotations

import json

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset.failures import BadInput, TooManyBad


def quarantined(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("fn", [work.picky, work.picky_batch, work.picky_arrow])
def test_what_the_function_refuses_is_set_aside_with_its_place(csv_file, tmp_path, fn):
    report = whichpool.process(
        csv_file, fn, tmp_path / "out.jsonl", bad="quarantine", split_bytes=2000, plan="loop"
    )
    assert (report.rows_in, report.rows_out, report.rejected) == (500, 499, 1)
    (bad,) = quarantined(tmp_path / "out.jsonl.bad.jsonl")
    assert report.quarantine == str(tmp_path / "out.jsonl.bad.jsonl")
    assert (bad["file"], bad["where"], bad["error"]) == (str(csv_file), "byte", "ValueError: thirteen")
    assert csv_file.read_bytes()[bad["position"] :].startswith(b"r13,13,")
    assert bad["raw"].startswith("r13,13,")
    ids = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert ids == [f"r{n}" for n in range(500) if n != 13]


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_the_function_ends_the_run_by_default_and_its_error_says_where(csv_file, tmp_path, plan):
    with pytest.raises(ValueError, match="thirteen") as caught:
        whichpool.process(csv_file, work.picky, tmp_path / "out.jsonl", split_bytes=2000, plan=plan)
    assert any(f"{csv_file}, bytes" in note for note in caught.value.__notes__)
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_are_no_rows(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,x\na,1\nb\nc,3,4\n\nd,5\n")
    with pytest.raises(BadInput, match=r"in.csv, byte 9: 1 fields where the header has 2: 'b'"):
        whichpool.process(path, work.same, tmp_path / "out.csv", plan="loop")
    report = whichpool.process(path, work.same, tmp_path / "out.csv", bad="quarantine", plan="loop")
    assert (report.rows_in, report.rows_out, report.rejected) == (4, 2, 2)
    assert [(bad["position"], bad["raw"]) for bad in quarantined(tmp_path / "out.csv.bad.jsonl")] == [
        (9, "b"),
        (11, "c,3,4"),
    ]


@pytest.mark.parametrize("fn", [work.same, work.same_batch])
def test_bytes_that_cannot_be_decoded(tmp_path, fn):
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,x\na,1\n\xff\xfe,2\nc,3\n")
    with pytest.raises(BadInput, match="byte 9"):
        whichpool.process(path, fn, tmp_path / "out.jsonl", plan="loop")
    report = whichpool.process(path, fn, tmp_path / "out.jsonl", bad="quarantine", plan="loop")
    assert (report.rows_in, report.rows_out, report.rejected) == (3, 2, 1)
    assert quarantined(tmp_path / "out.jsonl.bad.jsonl")[0]["raw"] == "\\xff\\xfe,2"


def test_a_value_that_has_not_the_type_of_its_column(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,x\n" + "".join(f"a{n},{n}\n" for n in range(3000)) + "b,soon\nc,7\n")
    schema = pa.schema([("id", pa.string()), ("x", pa.int64())])
    out = tmp_path / "out.parquet"
    with pytest.raises(BadInput, match="'b,soon'"):
        whichpool.process(path, work.same_batch, out, schema=schema, plan="loop")
    report = whichpool.process(path, work.same_batch, out, schema=schema, bad="skip", plan="loop")
    assert (report.rows_in, report.rows_out, report.rejected) == (3002, 3001, 1)
    assert pq.read_table(out).schema.equals(schema)
    assert report.quarantine is None


def test_json_lines_that_are_no_json(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a", "x": "1"}\n{"id": \n\n{"id": "b", "x": "13"}\n{"id": "c", "x": "2"}\n')
    with pytest.raises(BadInput, match="byte 22"):
        whichpool.process(path, work.picky, tmp_path / "out.jsonl", plan="loop")
    for fn in (work.picky, work.picky_batch):
        report = whichpool.process(path, fn, tmp_path / "out.jsonl", bad="quarantine", plan="loop")
        assert (report.rows_in, report.rows_out, report.rejected) == (4, 2, 2)
        found = quarantined(tmp_path / "out.jsonl.bad.jsonl")
        assert [bad["position"] for bad in found] == [22, 31]
        assert found[1]["raw"] == '{"id": "b", "x": "13"}'


def test_a_row_of_parquet_is_named_by_its_number(tmp_path):
    pq.write_table(pa.table({"x": list(range(100))}), tmp_path / "in.parquet", row_group_size=10)
    report = whichpool.process(
        tmp_path / "in.parquet",
        work.picky_arrow,
        tmp_path / "out.parquet",
        bad="quarantine",
        split_bytes=1,
        plan="loop",
    )
    (bad,) = quarantined(tmp_path / "out.parquet.bad.jsonl")
    assert (bad["where"], bad["position"], bad["raw"]) == ("row", 13, '{"x": 13}')
    assert (report.rows_in, report.rows_out) == (100, 99)


def test_map_reduce_goes_on_without_them(csv_file, tmp_path):
    report = whichpool.process(
        csv_file,
        lambda row: len(work.picky(row)["id"]),
        combine=work.add,
        batch="dict",
        bad="quarantine",
        quarantine=tmp_path / "bad.jsonl",
        split_bytes=2000,
        plan="loop",
    )
    assert report.value == sum(len(f"r{n}") for n in range(500) if n != 13)
    assert (report.rows_in, report.rejected) == (500, 1)
    assert len(quarantined(tmp_path / "bad.jsonl")) == 1
    with pytest.raises(whichpool.PlanError, match="needs quarantine="):
        whichpool.process(csv_file, work.count, combine=work.add, bad="quarantine")


@pytest.mark.parametrize(
    ("most", "ends"), [(0, True), ("0.1%", True), (1, False), ("0.2%", False), (0.01, False)]
)
def test_too_many_end_the_run(csv_file, tmp_path, most, ends):
    out = tmp_path / "out.jsonl"
    if ends:
        with pytest.raises(TooManyBad, match="max_bad"):
            whichpool.process(csv_file, work.picky, out, bad="skip", max_bad=most, plan="loop")
        assert not out.exists()
    else:
        assert (
            whichpool.process(csv_file, work.picky, out, bad="skip", max_bad=most, plan="loop").rejected == 1
        )


def test_files_that_the_function_refuses(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_text(name)

    def no_b(content: bytes) -> bytes:
        if content == b"b":
            raise ValueError("no b")
        return content

    report = whichpool.process(tmp_path / "in", no_b, tmp_path / "out", bad="quarantine", plan="loop")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]
    assert quarantined(tmp_path / "out.bad.jsonl")[0]["file"] == str(tmp_path / "in" / "b")
    assert (report.rows_in, report.rejected) == (3, 1)


def test_a_bad_row_far_into_a_split_is_found_where_it_is(tmp_path):
    """After batches that were as they should be, with blank lines among them."""
    path = tmp_path / "in.csv"
    good = b'"a\nb",1\n\n' * 40
    path.write_bytes(b"id,x\n" + good + b"short\n" + good + b'"open\n' + b"c,2\n")
    report = whichpool.process(
        path, work.same, tmp_path / "out.csv", batch_rows=7, columns=["x"], bad="quarantine", plan="loop"
    )
    found = quarantined(tmp_path / "out.csv.bad.jsonl")
    assert [(bad["position"], bad["raw"]) for bad in found] == [
        (5 + len(good), "short"),
        (5 + 2 * len(good) + 6, '"open\nc,2'),
    ]
    assert (report.rows_in, report.rows_out) == (82, 80)
    assert (tmp_path / "out.csv").read_bytes() == b"x\n" + b"1\n" * 80


def test_a_strict_dialect_refuses_a_record_and_goes_on_with_the_next(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b'id,x\na,1\n"b"c,2\nd,3\n')
    report = whichpool.process(
        path, work.ids, combine=work.joined, dialect={"strict": True}, bad="skip", batch_rows=1, plan="loop"
    )
    assert (report.value, report.rejected) == ("a;d;", 1)


@pytest.mark.parametrize("how", ["output", "combine"])
def test_a_share_of_bad_records_is_one_of_all(tmp_path, how):
    """One in ten of the first split is more than 1 %, and no more than that of the whole."""
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{n:03}\n" for n in range(200)))

    def fn(line: str) -> int:
        if line == "007":
            raise ValueError(line)
        return 1

    where = {"output": tmp_path / "o.jsonl"} if how == "output" else {"combine": work.add}
    options = {"bad": "skip", "split_bytes": 40, "plan": "loop", "batch": "line", **where}
    if how == "output":
        fn = as_row(fn)
    report = whichpool.process(path, fn, max_bad="1%", **options)
    assert (report.rows_in, report.rejected, report.splits) == (200, 1, 20)
    with pytest.raises(TooManyBad, match="1 of 10 records"):
        whichpool.process(path, fn, max_bad="0.4%", restart=True, **options)


def as_row(fn):
    return lambda line: {"n": fn(line)}
