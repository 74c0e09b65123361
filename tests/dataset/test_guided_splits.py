"""Splits become shorter toward the end of the input, by the input alone; Parquet footers are cut with them."""

from __future__ import annotations

import heapq
from pathlib import Path

import dataset_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whichpool
from whichpool.dataset.cutting import FINEST, cut, stepping
from whichpool.dataset.records import Reading
from whichpool.dataset.sources import resolve
from whichpool.dataset.splits.footer import footer_of
from whichpool.dataset.splits.parquet import part_of


def splits_of(source, split_bytes, **reading):
    sources, _ = resolve(source, None, whole_files=False)
    kind = {"csv": "dicts", "text": "lines", "parquet": "arrow"}[sources[0].format]
    return cut(sources, Reading(kind, **reading), split_bytes, None, None, {"plan": "loop"})[0]


def steps(total: int, split_bytes: int) -> list[int]:
    found, step = [], stepping(split_bytes, 0)
    while total > 0:
        found.append(min(total, step(total)))
        total -= found[-1]
    return found


@given(st.integers(1, 10**7), st.integers(1, 10**5))
def test_they_are_never_longer_than_asked_and_never_much_shorter(total, split_bytes):
    step = stepping(split_bytes, 0)
    assert max(1, split_bytes // FINEST) <= step(total) <= split_bytes
    assert step(total) <= step(total + 1)


def ends_of(sizes: list[int], workers: int, slow: int) -> list[float]:
    """When each worker ends, if each takes the next split when it is free, and one split takes four times as long."""
    free = [0.0] * workers
    heapq.heapify(free)
    for number, size in enumerate(sizes):
        heapq.heappush(free, heapq.heappop(free) + size * (4 if number == slow else 1))
    return sorted(free)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_workers_end_more_nearly_together_than_with_splits_of_one_length(workers):
    total, length = 6_400, 100
    guided, even = steps(total, length), [length] * (total // length)
    assert sum(guided) == total
    assert guided == sorted(guided, reverse=True)

    def worst(sizes, from_bytes):
        """Of all places for the slow split after so many bytes."""
        at, lost = 0, []
        for number, size in enumerate(sizes):
            if at >= from_bytes:
                ends = ends_of(sizes, workers, number)
                lost.append(ends[-1] - ends[0])
            at += size
        return max(lost)

    assert worst(guided, total * 3 // 4) <= 0.7 * worst(even, total * 3 // 4)


@pytest.mark.parametrize("kind", ["csv", "text"])
def test_the_last_splits_of_a_file_are_the_shortest(tmp_path, kind):
    path = tmp_path / {"csv": "in.csv", "text": "in.txt"}[kind]
    path.write_text("id,x\n" + "".join(f"{n},{n % 50}\n" for n in range(20_000)))
    found = splits_of(path, 4_000)
    sizes = [split.length for split in found]
    assert sum(sizes) == path.stat().st_size - (len("id,x\n") if kind == "csv" else 0)
    assert max(sizes) < 4_100
    assert all(size > 3_900 for size in sizes[: len(sizes) // 3])
    assert max(sizes[-8:]) < 4_000 // FINEST + 100


def test_of_several_files_only_the_end_of_the_last_is_cut_finer(tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text("a line\n" * 10_000)
    found = splits_of(f"{tmp_path}/*.txt", 1_000)
    by_file = [[s.length for s in found if s.sources[0].path.endswith(f"{n}.txt")] for n in range(4)]
    assert min(by_file[0][:-1]) > 900
    assert min(by_file[3][:-1]) < 300


def test_names_of_splits_and_the_answer_do_not_depend_on_the_plan(csv_file, tmp_path):
    keys = [split.key for split in splits_of(csv_file, 2_000)]
    for plan in ["loop", (2, 1), (3, 2)]:
        seen = tmp_path / str(plan)

        def fn(rows: list[dict]) -> float:
            return sum(float(row["f"]) for row in rows) / 3

        value = whichpool.process(
            csv_file, fn, combine=work.add, split_bytes=2_000, plan=plan, journal=seen
        ).value
        assert value == whichpool.process(csv_file, fn, combine=work.add, split_bytes=2_000).value

        def stops(rows: list[dict], fn=fn) -> float:
            if any(row["x"] == "499" for row in rows):
                raise KeyboardInterrupt
            return fn(rows)

        with pytest.raises(KeyboardInterrupt):
            whichpool.process(csv_file, stops, combine=work.add, split_bytes=2_000, plan="loop", journal=seen)
        kept = b"".join(log.read_bytes() for log in (seen / "done").iterdir())
        assert 0 < len([key for key in keys if key.encode() in kept]) < len(keys)
        splits = whichpool.process(
            csv_file, stops, combine=work.add, split_bytes=2_000, plan="loop", journal=seen, why_rerun=True
        )
        assert splits.resumed == len([key for key in keys if key.encode() in kept])


def parquet(path: Path, groups: int, rows: int = 50, **options) -> pa.Table:
    table = pa.table(
        {
            "id": [f"r{n}" for n in range(groups * rows)],
            "f": [n / 7 if n % 9 else None for n in range(groups * rows)],
            "l": [[n, n + 1] for n in range(groups * rows)],
        }
    )
    pq.write_table(table, path, row_group_size=rows, **options)
    return table


@pytest.mark.parametrize("groups", [1, 14, 15, 16, 200])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zstd", "version": "1.0"}, {"write_page_index": True}], ids=str
)
def test_a_footer_is_cut_as_pyarrow_reads_it(tmp_path, groups, options):
    path = tmp_path / "in.parquet"
    table = parquet(path, groups, **options)
    with path.open("rb") as file:
        footer = footer_of(file)
    meta = pq.read_metadata(path)
    assert [each.rows for each in footer.groups] == [meta.row_group(n).num_rows for n in range(groups)]
    assert [each.size_bytes for each in footer.groups] == [
        meta.row_group(n).total_byte_size for n in range(groups)
    ]
    for wanted in [(), (0,), tuple(range(0, groups, 3)), tuple(range(groups))]:
        known = pq.read_metadata(pa.BufferReader(footer.cut(wanted)))
        assert (known.num_row_groups, known.num_rows) == (len(wanted), 50 * len(wanted))
        with pq.ParquetFile(path, metadata=known) as file, pq.ParquetFile(path) as whole:
            assert file.read().equals(whole.read_row_groups(list(wanted)), check_metadata=True)
    splits = splits_of(path, 3_000)
    assert [index for split in splits for index in split.row_groups] == list(range(groups))
    at = 0
    for split in splits:
        assert len(split.footer.data) < 3_000 + 1_500 * len(split.row_groups)
        file, places, first = part_of(split)
        with file:
            assert first == at
            part = file.read_row_groups(places)
        assert part.equals(table.slice(at, part.num_rows))
        at += part.num_rows


def test_what_is_no_footer_is_none(tmp_path):
    path = tmp_path / "in.parquet"
    parquet(path, 5)
    data = path.read_bytes()
    for broken in [
        b"",
        b"PAR1",
        data[:-9],
        data[:-8] + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" + bytes(60) + data[-8:],
    ]:
        path.write_bytes(broken)
        with path.open("rb") as file:
            assert footer_of(file) is None
    # Whatever byte is changed, it is understood, or it is none.
    length = int.from_bytes(data[-8:-4], "little")
    for place in range(len(data) - 8 - length, len(data) - 8, 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with path.open("rb") as file:
            footer_of(file)
