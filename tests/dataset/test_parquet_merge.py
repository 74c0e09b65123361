"""Parquet files put together without decoding are what pyarrow would have written from all the rows."""

from __future__ import annotations

import datetime as dt
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whichpool.dataset.parquet_merge import NotMergeable, merge

DEEP = pa.list_(pa.struct([("a", pa.int64())]))


def table(begin: int, end: int) -> pa.Table:
    numbers = list(range(begin, end))
    return pa.table(
        {
            "int": pa.array(numbers, pa.int32()),
            "text": pa.array([f"é{n}" if n % 3 else None for n in numbers], pa.string()),
            "word": pa.array(["ab"[n % 2] for n in numbers], pa.string()).dictionary_encode(),
            "flag": pa.array([n % 2 == 0 for n in numbers], pa.bool_()),
            "time": pa.array(
                [dt.datetime(2026, 1, 1) + dt.timedelta(seconds=n) for n in numbers], pa.timestamp("us")
            ),
            "deep": pa.array([[{"a": n}] * (n % 3) for n in numbers], DEEP),
            "none": pa.nulls(len(numbers)),
        }
    )


def merged(*paths: str) -> bytes:
    file = io.BytesIO()
    merge([str(path) for path in paths], file)
    return file.getvalue()


@pytest.mark.parametrize("compression", ["snappy", "none", "zstd"])
def test_the_rows_types_and_statistics_are_there(tmp_path, compression):
    cuts = [0, 1, 700, 700, 1500]
    paths = [tmp_path / str(n) for n in range(4)]
    for path, begin, end in zip(paths, cuts, cuts[1:], strict=False):
        pq.write_table(
            table(begin, end), path, row_group_size=200, compression=compression, write_page_index=True
        )
    file = pq.ParquetFile(pa.py_buffer(merged(*paths)))
    whole = table(0, 1500)
    assert file.schema_arrow.equals(whole.schema)
    assert file.read().to_pydict() == whole.to_pydict()
    assert file.metadata.num_rows == 1500
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    assert [group.num_rows for group in groups][:2] == [1, 200]
    assert groups[1].column(0).statistics.min == 1
    assert [file.read_row_group(n).num_rows for n in range(len(groups))] == [
        group.num_rows for group in groups
    ]


def test_one_file_and_an_empty_one(tmp_path):
    pq.write_table(table(0, 10), tmp_path / "a")
    pq.write_table(table(0, 0), tmp_path / "b")
    assert pq.read_table(pa.py_buffer(merged(tmp_path / "a"))).num_rows == 10
    assert pq.read_table(pa.py_buffer(merged(tmp_path / "b"))).num_rows == 0
    assert pq.read_table(pa.py_buffer(merged(tmp_path / "b", tmp_path / "a"))).num_rows == 10


def test_many_columns_and_row_groups(tmp_path):
    """Numbers and lists that take more than one byte."""
    wide = pa.table({f"c{n}": list(range(40)) for n in range(40)})
    pq.write_table(wide, tmp_path / "a", row_group_size=2)
    file = pq.ParquetFile(pa.py_buffer(merged(*[tmp_path / "a"] * 3)))
    assert file.num_row_groups == 60
    assert file.read().equals(pa.concat_tables([wide] * 3))


def test_other_columns_and_no_parquet_are_refused(tmp_path):
    pq.write_table(table(0, 10), tmp_path / "a")
    pq.write_table(table(0, 10).drop_columns("int"), tmp_path / "b")
    (tmp_path / "c").write_bytes(b"nothing of the kind")
    (tmp_path / "d").write_bytes(b"PAR1" + b"\xff" * 20 + b"\x14\0\0\0PAR1")
    for other in "bcd":
        with pytest.raises(NotMergeable):
            merged(tmp_path / "a", tmp_path / other)
