"""How far a run is: told to a function, drawn on a terminal, said in lines; and output that is not kept in order."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from itertools import pairwise

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.cli.process import lines
from whichpool.dataset.progress import Book, in_words
from whichpool.dataset.records import Progress, Receipt, Source, Split

PLANS = ["loop", (0, 2), (2, 1)]


def splits_of(*lengths):
    source = Source("in.txt", "text", sum(lengths), 0)
    return [Split(n, (source,), sum(lengths[:n]), length) for n, length in enumerate(lengths)]


def receipt(split, rows, rejected=0):
    return Receipt(split.key, str(split), rows, rows, rejected)


def test_the_book_counts_and_predicts():
    now, told = [10.0], []
    splits = splits_of(100, 300, 600)
    book = Book(splits, told.append, clock=lambda: now[0])
    assert book.seen() == Progress(0, 3, 0, 0, 0, 1000, 0.0, None, None)
    now[0] = 12.0
    book.add(receipt(splits[1], 30, 2))
    assert told == [Progress(1, 3, 30, 2, 300, 1000, 2.0, 150.0, 700 / 150)]
    now[0] = 12.05
    book.add(receipt(splits[0], 10))
    assert len(told) == 1  # it was told a moment ago
    now[0] = 16.0
    book.tick(1, 3)
    assert told[-1] == Progress(2, 3, 40, 2, 400, 1000, 6.0, 400 / 6, 9.0)
    book.add(receipt(splits[2], 60))
    book.end()
    assert told[-1] == Progress(3, 3, 100, 2, 1000, 1000, 6.0, 1000 / 6, 0.0)


def test_what_an_earlier_run_has_done_is_no_pace_of_this_one():
    now = [0.0]
    splits = splits_of(500, 100, 400)
    book = Book(splits, None, clock=lambda: now[0])
    book.add(receipt(splits[0], 50), earlier=True)
    assert book.seen().left_s is None
    now[0] = 1.0
    book.add(receipt(splits[1], 10))
    seen = book.seen()
    assert (seen.rows, seen.bytes, seen.bytes_per_s, seen.left_s) == (60, 600, 100.0, 4.0)


def test_in_words_and_in_lines(capsys):
    seen = Progress(1, 3, 12_000, 0, 3_200_000, 10_000_000, 4.0, 800_000.0, 8.5)
    assert in_words(seen) == "12,000 records, 3.20 MB of 10.0 MB, 800 kB/s, 8 s left"
    bad = Progress(0, 3, 12_000, 7, 0, 10_000_000, 4.0, None, None)
    assert in_words(bad) == "12,000 records, 7 rejected, 0 B of 10.0 MB"
    tell = lines(every_s=5.0)
    for elapsed_s in (0.1, 4.9, 5.1, 6.0, 9.9, 10.2):
        tell(Progress(1, 3, round(elapsed_s * 10), 0, 1, 9, elapsed_s, 1.0, 1.0))
    tell(Progress(3, 3, 9, 0, 9, 9, 99.0, 1.0, 0.0))
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" records")[0] for line in said] == ["whichpool: 51", "whichpool: 102"]


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("how", ["output", "combine"])
def test_a_function_is_told(csv_file, tmp_path, plan, how):
    told = []
    where = {"output": tmp_path / "o.jsonl"} if how == "output" else {"combine": work.add}
    report = whichpool.process(
        csv_file, work.slow_ids, split_bytes=1000, plan=plan, progress=told.append, **where
    )
    assert len(told) > 2
    for before, after in pairwise(told):
        assert before.rows <= after.rows
        assert before.bytes <= after.bytes
        assert before.elapsed_s <= after.elapsed_s
    last = told[-1]
    assert (last.splits, last.splits_total, last.rows, last.left_s) == (
        report.splits,
        report.splits,
        500,
        0.0,
    )
    header = len(csv_file.read_bytes().splitlines(keepends=True)[0])
    assert last.bytes == last.bytes_total == csv_file.stat().st_size - header


def test_row_groups_and_whole_files_have_their_bytes(tmp_path):
    path, told = tmp_path / "in.parquet", []
    pq.write_table(pa.table({"x": list(range(1000))}), path, row_group_size=100)
    whichpool.process(path, len, combine=work.add, batch="arrow", split_bytes=1, progress=told.append)
    assert told[-1].bytes_total == pytest.approx(path.stat().st_size, rel=0.02)
    (tmp_path / "in").mkdir()
    for n in range(5):
        (tmp_path / "in" / f"{n}.bin").write_bytes(b"x" * 10)
    whichpool.process(tmp_path / "in", work.size, combine=work.add, plan="loop", progress=told.append)
    assert (told[-1].bytes, told[-1].rows) == (50, 5)


def test_progress_that_cannot_be(csv_file, tmp_path):
    with pytest.raises(whichpool.PlanError, match="progress="):
        whichpool.process(csv_file, work.same, tmp_path / "o.csv", progress="bar")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_a_progress_function_raises_ends_the_run(csv_file, tmp_path):
    def tell(seen):
        raise LookupError("nobody looks")

    with pytest.raises(LookupError, match="nobody looks"):
        whichpool.process(csv_file, work.same, tmp_path / "o.csv", plan="loop", progress=tell)


WORK = """
import time
def slow(row: dict) -> dict:
    time.sleep(0.001)
    return row
"""


@pytest.mark.parametrize(
    ("options", "has_bar"), [((), True), (("--no-progress",), False), (("-q",), False)], ids=str
)
def test_a_bar_on_a_terminal(csv_file, tmp_path, terminal, options, has_bar):
    (tmp_path / "work.py").write_text(WORK)
    command = [sys.executable, "-m", "whichpool", "process", "in/rows.csv", "work:slow", "-o", "o.csv"]
    code, said = terminal([*command, "--plan", "loop", *options], cwd=tmp_path)
    assert code == 0, said
    assert (b"\x1b[" in said) is has_bar
    assert (b"500 records, " in said) is has_bar
    assert (b"500 records in = 500 processed" in said) is ("-q" not in options)


# --- not in order --------------------------------------------------------------------------------------------


def read_csv(data):
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_unordered_output_has_all_records_and_whole_splits_in_order(csv_file, rows, tmp_path, plan):
    out = tmp_path / "o.csv"
    report = whichpool.process(csv_file, work.same, out, split_bytes=997, plan=plan, ordered=False)
    found = read_csv(out.read_bytes())
    assert sorted(found, key=lambda row: int(row["x"])) == rows
    assert (report.rows_in, report.rows_out, report.rejected) == (500, 500, 0)


def test_the_order_is_that_in_which_splits_were_done(tmp_path):
    """The largest is first in line."""
    (tmp_path / "a.txt").write_text("a\n")
    (tmp_path / "b.txt").write_text("b" * 70_000 + "\n")
    files, firsts = [tmp_path / "a.txt", tmp_path / "b.txt"], {}
    for ordered in (True, False):
        out = tmp_path / f"{ordered}.txt"
        whichpool.process(files, work.same, out, batch="line", plan="loop", ordered=ordered)
        firsts[ordered] = [line[:1] for line in out.read_text().split()]
    assert firsts == {True: ["a", "b"], False: ["b", "a"]}


def test_unordered_parts_and_bad_records(csv_file, tmp_path):
    report = whichpool.process(
        csv_file,
        work.picky,
        f"{tmp_path}/parts/",
        output_format="jsonl",
        bad="quarantine",
        split_bytes=997,
        plan=(2, 1),
        ordered=False,
    )
    parts = sorted((tmp_path / "parts").iterdir())
    found = [json.loads(line)["id"] for part in parts for line in part.read_text("utf-8").splitlines()]
    assert sorted(found) == sorted(f"r{n}" for n in range(500) if n != 13)
    assert report.rows_in == report.rows_out + report.rejected == 500


def test_a_value_has_no_other_order(csv_file):
    with pytest.raises(whichpool.PlanError, match="ordered=False is for an output"):
        whichpool.process(csv_file, work.ids, combine=work.joined, ordered=False)


def test_unordered_from_a_shell(csv_file, rows, tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    command = [sys.executable, "-m", "whichpool", "process", "in/rows.csv", "work:slow", "-o", "o.csv"]
    done = subprocess.run(
        [*command, "--unordered", "--plan", "2x1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "500 records in = 500 processed + 0 rejected; 500 out" in done.stderr
    assert sorted(read_csv((tmp_path / "o.csv").read_bytes()), key=lambda row: int(row["x"])) == rows
