"""What a run survives: being killed, a worker without memory, input that is broken, a full disk, another run."""

from __future__ import annotations

import errno
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset import merging
from whichpool.dataset.code import code_of
from whichpool.dataset.failures import (
    BadInput,
    BadOutput,
    InputChanged,
    OutputBusy,
    RunChanged,
    SchemaDrift,
    SplitDied,
)
from whichpool.dataset.journal import Journal

HERE = Path(__file__).parent


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()]


SCRIPT = """
import os, sys
os.environ["DATASET_TEST_PID"] = str(os.getpid())
sys.path.insert(0, {here!r})
import dataset_work, whichpool
report = whichpool.process({source!r}, dataset_work.stops_at, {out!r}, split_bytes=1000, plan={plan!r}, batch="dict")
print(report.resumed, report.splits)
"""


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_killed_it_goes_on_from_there_on_any_plan(csv_file, rows, tmp_path, plan):
    out, trace, mark = tmp_path / "out.jsonl", tmp_path / "trace", tmp_path / "kill"
    mark.touch()
    script = SCRIPT.format(here=str(HERE), source=str(csv_file), out=str(out), plan=plan)
    environment = {**os.environ, "DATASET_TEST_KILL": str(mark), "DATASET_TEST_TRACE": str(trace)}
    killed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    assert not out.exists()
    assert (tmp_path / ".out.jsonl.whichpool" / "done").is_dir()
    mark.unlink()
    trace.unlink()
    again = SCRIPT.format(here=str(HERE), source=str(csv_file), out=str(out), plan="loop")
    done = subprocess.run(
        [sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    resumed, splits = map(int, done.stdout.split())
    assert 0 < resumed < splits
    assert ids(out) == [row["id"] for row in rows]
    ran = trace.read_text().splitlines()
    assert len(ran) == len({*ran}) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.jsonl", "trace"]


def failing_once(fn):
    """Runs as ``fn`` until row 400 comes; then ends the run."""

    def inner(row):
        if row["x"] == "400":
            raise KeyboardInterrupt
        return fn(row)

    return inner


def begun(csv_file, out):
    """A run that ended before it was done."""
    with pytest.raises(KeyboardInterrupt):
        whichpool.process(
            csv_file, failing_once(work.picky), out, batch="dict", bad="skip", split_bytes=1000, plan="loop"
        )


def test_other_code_or_parameters_are_refused_unless_restarted(csv_file, tmp_path):
    out = tmp_path / "out.jsonl"
    begun(csv_file, out)
    with pytest.raises(RunChanged, match=r"code gone: test_survive\.failing_once"):
        whichpool.process(csv_file, work.picky, out, bad="skip", split_bytes=1000, plan="loop")
    begun_again = failing_once(work.picky)
    with pytest.raises(RunChanged, match="parameter changed: split_bytes"):
        whichpool.process(csv_file, begun_again, out, batch="dict", bad="skip", split_bytes=900, plan="loop")
    report = whichpool.process(
        csv_file, work.picky, out, bad="skip", split_bytes=1000, plan="loop", restart=True
    )
    assert (report.resumed, report.rows_in) == (0, 500)
    assert len(ids(out)) == 499


def test_what_ended_at_a_bad_record_goes_on_without_it(tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    path.write_text("id,x\n" + "".join(f"{n},{n % 50}\n" for n in range(14)))

    def run(bad: str):
        return whichpool.process(path, work.picky, out, split_bytes=20, plan="loop", bad=bad)

    with pytest.raises(ValueError, match="thirteen"):
        run("raise")
    report = run("quarantine")  # nothing that was done had a bad record, so it is done under this rule too
    assert report.resumed > 0
    assert (report.rows_in, report.rows_out, report.rejected) == (14, 13, 1)
    assert ids(out) == [str(n) for n in range(13)]


def test_other_rules_for_bad_records_are_refused_once_some_were_left_out(csv_file, tmp_path):
    out = tmp_path / "out.jsonl"
    begun(csv_file, out)
    with pytest.raises(RunChanged, match="parameter changed: bad"):
        whichpool.process(csv_file, work.picky, out, bad="quarantine", split_bytes=1000, plan="loop")


def test_a_changed_file_runs_again_and_the_report_says_so(tmp_path):
    files = [tmp_path / f"{n}.csv" for n in range(3)]
    for n, path in enumerate(files):
        path.write_text(f"id,x\n{n},{n}\n")
    stop = tmp_path / "stop"
    stop.touch()

    def fn(row: dict, stop: str = str(stop)) -> dict:
        if row["id"] == "2" and os.path.exists(stop):
            raise KeyboardInterrupt
        return row

    with pytest.raises(KeyboardInterrupt):
        whichpool.process(files, fn, tmp_path / "out.jsonl", plan="loop")
    stop.unlink()
    files[1].write_text("id,x\nnew,1\n")
    report = whichpool.process(files, fn, tmp_path / "out.jsonl", plan="loop")
    assert ids(tmp_path / "out.jsonl") == ["0", "new", "2"]
    assert report.resumed == 1
    assert any("file changed" in note and "1.csv" in note for note in report.notes)


def test_a_map_reduce_with_a_journal_goes_on(csv_file, tmp_path):
    calls = []

    def fn(rows):
        if len(calls) == 5 and not (tmp_path / "go").exists():
            raise KeyboardInterrupt
        calls.append(len(rows))
        return [row["id"] for row in rows]

    kept = {
        "journal": tmp_path / "kept",
        "combine": work.add,
        "batch": "dicts",
        "split_bytes": 1000,
        "plan": "loop",
    }
    with pytest.raises(KeyboardInterrupt):
        whichpool.process(csv_file, fn, shared="ok", **kept)
    before = len(calls)
    (tmp_path / "go").touch()
    with pytest.raises(RunChanged, match=r"calls in"):  # it is a value that the function has
        whichpool.process(csv_file, fn, shared="ok", **kept)
    calls[:] = []
    report = whichpool.process(csv_file, fn, shared="ok", **kept)
    assert report.value == [f"r{n}" for n in range(500)]
    assert len(calls) == report.splits - before
    assert report.resumed == before
    assert not (tmp_path / "kept").exists()


def test_the_code_of_a_function_is_what_it_does():
    def one(rows, by=2):
        return work.add(rows, by)

    first = code_of(one)
    assert code_of(one) == first
    assert "dataset_work.add" in first
    one.__defaults__ = (3,)
    assert code_of(one) != first
    assert code_of(work.counting).keys() >= {"dataset_work.counting", "dataset_work.SEEN"}
    assert {"dataset_work.Model.__call__", "dataset_work.Model.made"} <= code_of(work.Model).keys()
    assert code_of(json.dumps) == {}


def test_two_runs_at_one_output(csv_file, tmp_path):
    other = Journal(str(tmp_path / ".out.csv.whichpool"))
    try:
        with pytest.raises(OutputBusy, match="another run"):
            whichpool.process(csv_file, work.same, tmp_path / "out.csv", plan="loop")
    finally:
        other.close(remove=True)
    whichpool.process(csv_file, work.same, tmp_path / "out.csv", plan="loop")


def test_a_worker_that_dies_of_memory_gets_its_split_in_pieces(csv_file, rows, tmp_path):
    out = tmp_path / "out.jsonl"
    report = whichpool.process(csv_file, work.killed_by_memory, out, split_bytes=3000, plan=(2, 1))
    assert ids(out) == [row["id"] for row in rows]
    assert report.rows_in == 500
    with pytest.raises(SplitDied, match=r"bytes \d+ to \d+: its worker runs out of memory"):
        whichpool.process(csv_file, work.no_memory, out, split_bytes=50_000, plan="loop", restart=True)


@pytest.mark.parametrize("plan", ["loop", (0, 2), (2, 1)], ids=str)
def test_a_reduction_that_is_short_of_memory_reads_in_pieces(csv_file, rows, plan):
    report = whichpool.process(csv_file, work.short_of_memory, combine=work.add, split_bytes=3000, plan=plan)
    assert report.value == [row["id"] for row in rows]
    assert report.rows_in == 500
    assert any(
        "ran out of memory at" in note and "bytes " in note and "pieces" in note for note in report.notes
    )


def test_a_reduction_whose_worker_is_killed_reads_in_pieces(csv_file, rows):
    report = whichpool.process(
        csv_file, work.ids_unless_killed, combine=work.add, split_bytes=3000, plan=(2, 1)
    )
    assert report.value == [row["id"] for row in rows]
    assert report.run.plan.processes == 2


def test_a_killed_worker_of_a_reduction_costs_its_own_split_only(csv_file, rows, tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    monkeypatch.setenv("DATASET_TEST_TRACE", str(trace))
    report = whichpool.process(csv_file, work.traced, combine=work.add, split_bytes=2000, plan=(2, 1))
    assert report.value == [row["id"] for row in rows]
    begun = [line.split()[0] for line in trace.read_text().splitlines()]
    assert len(begun) > report.splits
    again = {name for name in begun if begun.count(name) > 1}
    # The one that died, and perhaps that which the engine had sent to the same worker.
    assert 1 <= len(again) <= 3, again


def test_a_reduction_that_never_has_enough_memory_names_the_split(csv_file):
    with pytest.raises(SplitDied, match=r"rows.csv, bytes \d+ to \d+: its worker runs out of memory, though"):
        whichpool.process(csv_file, work.no_memory, combine=work.add, split_bytes=50_000, plan="loop")


def killed_at_200(rows: list[dict]) -> list[dict]:
    if any(row["id"] == "r200" for row in rows):
        os._exit(3)
    return rows


def test_what_fails_is_named_in_words_not_by_its_records(csv_file, tmp_path):
    with pytest.raises(whichpool.WorkerDied) as died:
        whichpool.process(csv_file, killed_at_200, tmp_path / "o.csv", split_bytes=1000, plan=(2, 1))
    assert "Split(" not in str(died.value)
    assert "rows.csv, bytes " in str(died.value)
    for how in ({"output": tmp_path / "p.csv"}, {"combine": work.add}):
        for plan in ("loop", (2, 1)):
            with pytest.raises(ValueError, match="thirteen") as raised:
                whichpool.process(csv_file, work.picky_batch, split_bytes=1000, plan=plan, **how)
            said = "\n".join(raised.value.__notes__)
            assert "rows.csv, bytes " in said
            for inner in ("Split(", "Source(", "Dialect(", "Reading("):
                assert inner not in said


def test_row_groups_are_named(tmp_path):
    pq.write_table(pa.table({"x": list(range(100))}), tmp_path / "in.parquet", row_group_size=10)
    with pytest.raises(ValueError, match="thirteen") as raised:
        whichpool.process(
            tmp_path / "in.parquet", work.picky_arrow, tmp_path / "o.parquet", split_bytes=1, plan="loop"
        )
    assert any(note.endswith("in.parquet, row group 1") for note in raised.value.__notes__)


def slowly_without_memory(rows: list[dict]) -> int:
    time.sleep(0.2)
    raise MemoryError


def test_a_deadline_is_one_for_all_tries(csv_file):
    with pytest.raises(whichpool.DeadlineExceeded):
        whichpool.process(
            csv_file, slowly_without_memory, combine=work.add, split_bytes=50_000, plan=(0, 2), deadline=0.7
        )


def test_what_cannot_be_cut_is_tried_once_more_alone_and_then_named(csv_file, tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(csv_file.read_bytes()))
    calls = []

    def fn(rows: list[dict]) -> int:
        calls.append(len(rows))
        raise MemoryError

    with pytest.raises(SplitDied, match=r"rows.csv.gz: its worker .* it runs alone \(it cannot be cut\)"):
        whichpool.process(path, fn, combine=work.add, plan="loop")
    assert calls == [500, 500]


def test_a_function_that_writes_what_others_see_is_kept_in_line(csv_file, tmp_path):
    work.SEEN = 0
    report = whichpool.process(csv_file, work.counting, tmp_path / "out.jsonl", split_bytes=1000)
    assert "kept to the loop: SEEN" in report.notes[0]
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[-1]) == {"seen": 500}
    with pytest.raises(whichpool.SharedWrite, match="SEEN"):
        whichpool.process(csv_file, work.counting, tmp_path / "out.jsonl", plan=(2, 1))
    # A batch is made for the call, so changing it is no write that others see.
    whichpool.process(csv_file, work.changing, tmp_path / "out.jsonl", split_bytes=1000, plan=(2, 1))


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt"])
def test_an_empty_file_has_no_records(tmp_path, name):
    (tmp_path / name).touch()
    report = whichpool.process(tmp_path / name, lambda rows: rows, tmp_path / "out.txt", plan="loop")
    assert (report.rows_in, (tmp_path / "out.txt").read_bytes()) == (0, b"")
    with_value = whichpool.process(tmp_path / name, len, combine=work.add, plan="loop")
    assert with_value.value is None


@pytest.mark.parametrize("content", ["id,x", "id,x\n", "\ufeffid,x\r\n"])
def test_a_header_only(tmp_path, content):
    (tmp_path / "in.csv").write_bytes(content.encode())
    report = whichpool.process(tmp_path / "in.csv", work.same, tmp_path / "out.parquet", plan="loop")
    assert (report.rows_in, report.splits) == (0, 0)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_a_mark_at_the_front_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbfid,x\na,1\n")
    assert whichpool.process(tmp_path / "in.csv", work.ids, combine=work.joined, plan="loop").value == "a;"
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfid,x\na,1\n"))
    assert whichpool.process(tmp_path / "in.csv.gz", work.ids, combine=work.joined, plan="loop").value == "a;"


def test_parquet_that_is_cut_short(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "in.parquet")
    data = (tmp_path / "in.parquet").read_bytes()
    for content, said in (
        (data[:-10], "its end is missing"),
        (b"", "it is empty"),
        (b"hello world!", "no Parquet file"),
    ):
        (tmp_path / "in.parquet").write_bytes(content)
        with pytest.raises(BadInput, match=said):
            whichpool.process(tmp_path / "in.parquet", work.same_batch, tmp_path / "out.parquet", plan="loop")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_a_gzip_that_is_cut_short(csv_file, tmp_path):
    data = gzip.compress(csv_file.read_bytes())
    path = tmp_path / "in.csv.gz"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="cut short or damaged"):
        whichpool.process(path, work.same, tmp_path / "out.csv", plan="loop")
    path.write_bytes(b"no gzip at all")
    with pytest.raises(BadInput, match="not what its name says"):
        whichpool.process(path, work.same, tmp_path / "out.csv", plan="loop")
    assert [path.name for path in tmp_path.iterdir() if path.name != "in"] == ["in.csv.gz"]


def test_a_file_that_changes_while_it_is_read(csv_file, tmp_path):
    def fn(row: dict) -> dict:
        if row["id"] == "r13":
            with open(csv_file, "ab") as file:
                file.write(b"more,1,2,3\n")
        return row

    with pytest.raises(InputChanged, match="changed while it was being read"):
        whichpool.process(csv_file, fn, tmp_path / "out.csv", split_bytes=1000, plan="loop")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("where", ["part", "whole"])
def test_a_full_disk_leaves_nothing_half_written(csv_file, rows, tmp_path, monkeypatch, where):
    full = OSError(errno.ENOSPC, "No space left on device")
    out = tmp_path / "out.csv"
    out.write_text("before")

    def fails(*args, **kwargs):
        raise full

    with monkeypatch.context() as patched:
        if where == "whole":
            patched.setattr(merging, "_append", fails)
        else:
            patched.setattr("whichpool.dataset.writers.PartWriter._open", fails)
        with pytest.raises(OSError, match="No space left"):
            whichpool.process(csv_file, work.same, out, split_bytes=1000, plan="loop")
    assert out.read_text() == "before"
    report = whichpool.process(csv_file, work.same, out, split_bytes=1000, plan="loop")
    assert report.resumed == (report.splits if where == "whole" else 0)
    assert len(out.read_bytes().splitlines()) > 500


def test_outputs_that_cannot_be(csv_file, tmp_path):
    folder = csv_file.parent
    for output, said in (
        (csv_file, "is a file of the input"),
        (folder / "inner" / "out.csv", "make it first"),
        (tmp_path / "out.xyz", "what is written ends in"),
    ):
        with pytest.raises(BadOutput, match=said):
            whichpool.process(csv_file, work.same, output)
    with pytest.raises(BadOutput, match="inside the input"):
        whichpool.process(folder, work.shout, folder / "out")
    with pytest.raises(BadOutput, match="not empty"):
        whichpool.process(csv_file, work.same, f"{folder}/")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_inputs_that_are_not_there(tmp_path):
    for source in (tmp_path / "none.csv", str(tmp_path / "*.csv"), [], 7, "s3://bucket/key.csv"):
        with pytest.raises(BadInput):
            whichpool.process(source, work.same, tmp_path / "out.csv")
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.csv").write_text("b\n1\n")
    (tmp_path / "c.jsonl").write_text("{}\n")
    with pytest.raises(BadInput, match=r"b.csv does not have the columns of .*a.csv, .* the same: a, b"):
        whichpool.process(
            [tmp_path / "a.csv", tmp_path / "b.csv"], work.same, tmp_path / "out.csv", plan="loop"
        )
    with pytest.raises(BadInput, match="several formats"):
        whichpool.process([tmp_path / "a.csv", tmp_path / "c.jsonl"], work.same, tmp_path / "out.csv")
    with pytest.raises(BadInput, match="has no column 'z'"):
        whichpool.process(tmp_path / "a.csv", work.same, tmp_path / "out.csv", columns=["z"])


# --- schemas ------------------------------------------------------------------------------------------------


def test_parts_with_other_columns_are_named_or_unified(csv_file, tmp_path):
    def drifts(batch: list[dict]) -> list[dict]:
        return [{"id": row["id"]} | ({"more": 1} if int(row["x"]) > 250 else {}) for row in batch][-1:]

    for name, fitted in (("out.parquet", [None, 1]), ("out.csv", ["", "1"])):
        with pytest.raises(
            SchemaDrift,
            match=r"rows.csv, bytes \d+ to \d+ and the output of .*rows.csv, bytes \d+ to \d+ .*more",
        ):
            whichpool.process(csv_file, drifts, tmp_path / name, split_bytes=1000, plan="loop")
        report = whichpool.process(
            csv_file, drifts, tmp_path / name, split_bytes=1000, plan="loop", unify=True
        )
        assert report.resumed == report.splits  # only the last step was missing
        if name == "out.parquet":
            found = pq.read_table(tmp_path / name).column("more").to_pylist()
        else:
            found = [line.split(",")[1] for line in (tmp_path / name).read_text().splitlines()[1:]]
        assert [found[0], found[-1]] == fitted


def test_a_column_that_is_null_in_one_part_has_the_type_of_the_others(csv_file, tmp_path):
    def sparse(batch: list[dict]) -> list[dict]:
        return [{"x": None if int(row["x"]) < 250 else 1.5} for row in batch]

    whichpool.process(csv_file, sparse, tmp_path / "out.parquet", split_bytes=1000, plan="loop")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.types == [pa.float64()]
    assert table.column("x").null_count == 250


def test_why_rerun_runs_nothing_and_says_what_has_changed(csv_file, tmp_path):
    out = tmp_path / "out.jsonl"
    begun(csv_file, out)
    again = {"batch": "dict", "bad": "skip", "split_bytes": 1000, "plan": "loop", "why_rerun": True}
    report = whichpool.process(csv_file, failing_once(work.picky), out, **again)
    assert report.resumed > 0
    assert report.notes[0] == (
        f"{report.resumed} of {report.splits} splits have been done, and {report.splits - report.resumed} would run"
    )
    other = whichpool.process(csv_file, work.picky, out, **again)
    assert other.resumed == 0
    assert any("code gone" in note for note in other.notes)
    assert "refused as it is" in other.notes[-1]
    assert not out.exists()
    with pytest.raises(whichpool.PlanError, match="why_rerun"):
        whichpool.process(csv_file, work.count, combine=work.add, why_rerun=True)
