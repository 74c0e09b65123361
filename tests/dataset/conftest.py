"""Input files for the tests of datasets."""

from __future__ import annotations

import csv
import io

import pytest


@pytest.fixture(scope="module", autouse=True)
def reading_is_warm(pyarrow_is_at_work):
    """What pyarrow opens at its first reading is not left behind by a test."""


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
