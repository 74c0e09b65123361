"""Input files for the tests of datasets."""

from __future__ import annotations

import csv
import io

import pytest


@pytest.fixture(scope="session", autouse=True)
def pyarrow_is_at_work(opens_once):
    """Its threads, and the pipe by which it hears of signals, are there from its first reading on."""

    def first_reading():
        import pyarrow as pa
        from pyarrow import csv, parquet

        csv.read_csv(pa.py_buffer(b"a\n1\n"))
        file = io.BytesIO()
        parquet.write_table(pa.table({"a": [1]}), file)
        parquet.ParquetFile(pa.py_buffer(file.getvalue())).read()

    opens_once(first_reading)


def rows_of(count: int) -> list[dict[str, str]]:
    """Rows with quotes, commas and new lines in them."""
    return [
        {"id": f"r{n}", "x": str(n), "f": str(n / 7), "t": ["plain", 'a "b", c', "two\nlines", "é"][n % 4]}
        for n in range(count)
    ]


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@pytest.fixture
def rows():
    return rows_of(500)


@pytest.fixture
def csv_file(tmp_path, rows):
    path = tmp_path / "in" / "rows.csv"
    path.parent.mkdir()
    path.write_bytes(as_csv(rows))
    return path
