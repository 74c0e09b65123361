"""How large splits are, and how many; and row groups that are several splits."""

from __future__ import annotations

import json

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset.cutting import cut, usual_split_bytes
from whichpool.dataset.records import Reading, Source, Split
from whichpool.dataset.sources import resolve
from whichpool.dataset.splits import parquet
from whichpool.dataset.splits.folder import groups_of_files

MB = 1 << 20


@pytest.mark.parametrize(
    ("kind", "batch", "total", "expected"),
    [
        ("csv", "dict", 4 * MB, MB // 4),
        ("csv", "dicts", 4 * MB, MB),
        ("jsonl", "dict", 4 * MB, MB // 4),
        ("csv", "dict", 64 * MB, MB),
        ("csv", "pandas", 4 * MB, MB),
        ("csv", "dict", 4096 * MB, 3 * MB),
        ("text", "line", 640, 10),
    ],
)
def test_a_split_is_a_share_of_the_input_within_what_its_kind_of_work_needs(kind, batch, total, expected):
    assert usual_split_bytes([Source("a", kind, total, 0)], batch) == expected


def test_a_folder_whose_results_are_combined_has_fewer_splits():
    pages = [Source(f"{n:05}", "file", 16 << 10, 0) for n in range(5_760)]  # 90 MB
    length = usual_split_bytes(pages, "line", combined=True)
    assert length == 90 * MB // 32
    assert len(groups_of_files(pages, length, combined=True)) == 34
    assert usual_split_bytes(pages, "line") == 90 * MB // 64
    assert len(groups_of_files(pages, usual_split_bytes(pages, "line"))) == 92


def test_many_small_files_are_several_to_a_split_and_a_few_one_each():
    many = [Source(f"{n:04}", "file", 1000, 0) for n in range(640)]
    groups = groups_of_files(many, MB)
    assert [file for group in groups for file in group] == many
    assert [len(group) for group in groups] == [1, 1, *[10] * 63, 8]
    combined = groups_of_files(many, MB, combined=True)
    assert [len(group) for group in combined] == [2, 2, *[20] * 31, 16]
    assert {len(group) for group in groups_of_files(many[:100], MB)} == {1}


@pytest.fixture
def wide_groups(tmp_path, monkeypatch):
    """Row groups of 100, 7 and 100 rows; a part has at least 30."""
    monkeypatch.setattr(parquet, "LEAST_ROWS", 30)
    table = pa.table({"x": range(207), "f": [n / 7 for n in range(207)], "t": [f"a{n}" for n in range(207)]})
    path = tmp_path / "in.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for begin, end in ((0, 100), (100, 107), (107, 207)):
            writer.write_table(table.slice(begin, end - begin))
    return path


def splits_of(path, batch, split_bytes=1, where=None):
    sources, _ = resolve(path)
    return cut(sources, Reading(batch, where=where), split_bytes, None, None, {})[0]


def test_a_large_row_group_is_several_splits_where_its_rows_go_through_python(wide_groups):
    assert [(split.row_groups, split.rows) for split in splits_of(wide_groups, "dict")] == [
        ((0,), (0, 33)),
        ((0,), (33, 66)),
        ((0,), (66, 100)),
        ((1,), None),
        ((2,), (0, 33)),
        ((2,), (33, 66)),
        ((2,), (66, 100)),
    ]
    assert [split.rows for split in splits_of(wide_groups, "arrow")] == [None] * 3
    assert {split.rows for split in splits_of(wide_groups, "dict", where=(("x", ">", 3),))} == {None}
    assert [split.row_groups for split in splits_of(wide_groups, "dict", 1 << 30)] == [(0, 1, 2)]
    assert len({split.key for split in splits_of(wide_groups, "dict")}) == 7


def test_a_row_group_has_no_more_parts_than_reading_over_the_others_is_worth(wide_groups, monkeypatch):
    monkeypatch.setattr(parquet, "LEAST_ROWS", 2)
    assert sum(split.row_groups == (0,) for split in splits_of(wide_groups, "dict")) == parquet.MOST_PARTS


def test_the_first_splits_of_all_are_short_where_nothing_is_known_of_the_work(wide_groups, monkeypatch):
    monkeypatch.setattr(parquet, "PROBE_ROWS", 6)
    sources, _ = resolve([wide_groups, wide_groups])
    splits = cut(sources, Reading("dict"), 1, None, None, {})[0]
    assert [split.rows for split in splits if split.row_groups == (0,)] == [
        *[(0, 6), (6, 12), (12, 33), (33, 66), (66, 100)],
        *[(0, 33), (33, 66), (66, 100)],
    ]
    monkeypatch.setattr(parquet, "LEAST_ROWS", 1000)
    assert [split.rows for split in splits_of(wide_groups, "dict")] == [
        *[(0, 6), (6, 12), (12, 100)],
        *[None, None],
    ]
    assert {split.rows for split in splits_of(wide_groups, "arrow")} == {None}


@pytest.mark.parametrize("batch_rows", [1, 10, 33, 1000])
@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_the_rows_of_the_parts_are_those_of_the_file(wide_groups, tmp_path, batch_rows, plan):
    out = tmp_path / "out.jsonl"
    report = whichpool.process(
        wide_groups, work.same_row, out, split_bytes=1, batch_rows=batch_rows, plan=plan
    )
    assert report.splits == 7
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == pq.read_table(wide_groups).to_pylist()


def test_a_bad_row_of_a_part_has_its_number_in_the_file(wide_groups, tmp_path):
    aside = tmp_path / "bad.jsonl"
    report = whichpool.process(
        wide_groups,
        work.not_200,
        combine=work.add,
        split_bytes=1,
        bad="quarantine",
        quarantine=aside,
        plan="loop",
    )
    assert (report.rows_in, report.rejected, report.value) == (207, 1, 206)
    (bad,) = [json.loads(line) for line in aside.read_text().splitlines()]
    assert (bad["where"], bad["position"]) == ("row", 200)
    assert bad["split"].endswith("in.parquet, row group 2, its rows 66 to 99")


def test_the_short_splits_come_first_and_then_the_largest(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    sizes = [5, 5, 1, 900, *range(10, 22)]
    for n, size in enumerate(sizes):
        (folder / f"{n:02}.bin").write_bytes(b"x" * size)
    log = tmp_path / "log"
    whichpool.process(folder, work.Logging(str(log)), tmp_path / "out", split_bytes=1, plan="loop")
    assert [int(size) for size in log.read_text().split()] == [5, 5, 900, *range(21, 9, -1), 1]
    log.unlink()
    (folder / "15.bin").unlink()
    whichpool.process(folder, work.Logging(str(log)), tmp_path / "fewer", split_bytes=1, plan="loop")
    assert log.read_text().startswith("900\n")


def test_a_part_is_named_by_its_rows():
    source = Source("a.parquet", "parquet", 10, 0)
    part, other = (Split(0, (source,), row_groups=(3,), rows=rows) for rows in ((0, 5), (5, 9)))
    assert str(part) == "a.parquet, row group 3, its rows 0 to 4"
    assert part.key != other.key
