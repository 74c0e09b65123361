"""Functions of a user's that the tests from outside run."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa


def add(a, b):
    return a + b


def pairs(rows: list[dict]) -> list:
    """The rows, as they are."""
    return [list(row.items()) for row in rows]


def listed(rows: list[dict]) -> list:
    return list(rows)


def row(row: dict) -> dict:
    return row


def same(rows: list[dict]) -> list[dict]:
    return rows


def lines(lines: list[str]) -> list[str]:
    return list(lines)


def batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def upper(content: bytes) -> bytes:
    return content.upper()


def is_batch(it: pa.RecordBatch) -> list[str]:
    return [type(it).__name__]


def is_table(it: pa.Table) -> list[str]:
    return [type(it).__name__]


def is_rows(it: list[dict]) -> list[str]:
    return [type(it).__name__ + type(it[0]).__name__]


def is_row(it: dict) -> list[str]:
    return [type(it).__name__]


def is_arrays(it: dict[str, np.ndarray]) -> list[str]:
    return [type(value).__name__ for value in it.values()]


def is_line(it: str) -> list[str]:
    return [type(it).__name__]


def is_lines(it: list[str]) -> list[str]:
    return [type(it).__name__ + type(it[0]).__name__]


def is_bytes(it: bytes) -> list[str]:
    return [type(it).__name__]


def is_path(it: Path) -> list[str]:
    return ["Path" if isinstance(it, Path) else type(it).__name__]


class Model:
    """Tells in a file that it was made, and where."""

    def __init__(self) -> None:
        with open(os.environ["OUTSIDE_TRACE"], "a", encoding="utf-8") as file:
            file.write(f"made {os.getpid()}\n")

    def __call__(self, rows: list[dict]) -> list[dict]:
        time.sleep(0.002)  # the work of a batch
        return [{"pid": os.getpid()} for _ in rows]


def waves(rows: list[dict]) -> float:
    """A sum that depends on the order of its terms."""
    total = 0.0
    for row in rows:
        total += (int(row["x"]) % 7 + 0.1) * 10.0 ** (int(row["x"]) % 17)
    return total


def refuses_sevens(row: dict) -> dict:
    if int(row["x"]) % 100 == 7:
        raise ValueError(f"seven: {row['x']}")
    return row


def renames(it: pa.RecordBatch) -> pa.RecordBatch:
    """The first splits have one column, the later ones another."""
    return it if it.column(0)[0].as_py() < 500 else it.rename_columns(["renamed"])


def retypes(it: pa.RecordBatch) -> pa.RecordBatch:
    return it if it.column(0)[0].as_py() < 500 else pa.record_batch({"x": it.column(0).cast(pa.string())})


def traced(rows: list[dict]) -> list[dict]:
    """Writes each call down; ends the parent, as kill -9 would, where the environment says."""
    with open(os.environ["OUTSIDE_TRACE"], "a", encoding="utf-8") as file:
        file.write(rows[0]["x"] + "\n")
    at = os.environ.get("OUTSIDE_KILL_AT")
    if at is not None and int(rows[0]["x"]) <= int(at) <= int(rows[-1]["x"]):
        os.kill(int(os.environ["OUTSIDE_PARENT"]), int(os.environ.get("OUTSIDE_SIGNAL", signal.SIGKILL)))
        time.sleep(60)  # this call is not done: the parent's end ends it
    return rows


def grows_the_file(rows: list[dict]) -> list[dict]:
    """Another program appends to the input while it is read."""
    with open(os.environ["OUTSIDE_INPUT"], "a", encoding="utf-8") as file:
        file.write("9,9\n")
    return rows


def looks_at_the_folder(rows: list[dict]) -> list[dict]:
    """Writes down whether the output is there while the run goes on."""
    there = os.path.exists(os.environ["OUTSIDE_OUTPUT"])
    with open(os.environ["OUTSIDE_TRACE"], "a", encoding="utf-8") as file:
        file.write(f"{there}\n")
    return rows


def as_csv(rows: list[list[str]], **dialect) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue().encode()


def json_lines(path) -> list:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
