"""``whichpool process``: from a shell, with its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

WORK = """
def clean(row: dict) -> dict:
    if row["x"] == "13":
        raise ValueError("thirteen")
    return {"id": row["id"], "x": int(row["x"])}

def count(rows: list[dict]) -> int:
    print("counting")
    return len(rows)

def add(a, b):
    return a + b
"""


@pytest.fixture
def run(tmp_path):
    """Run the command in a process of its own, in a folder with ``work.py``."""
    (tmp_path / "work.py").write_text(WORK)

    def invoke(*arguments):
        command = [sys.executable, "-m", "whichpool", "process", *arguments, "--plan", "loop"]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, check=False
        )

    return invoke


def test_map_and_reduce_from_a_shell(run, csv_file, tmp_path):
    done = run("in/rows.csv", "work:clean", "-o", "out.parquet", "--bad", "quarantine", "--max-bad", "1%")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "500 records in = 499 processed + 1 rejected; 499 out" in done.stderr
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 499
    assert len((tmp_path / "out.parquet.bad.jsonl").read_text().splitlines()) == 1
    counted = run("in/*.csv", "work:count", "--combine", "work:add", "-q")
    assert (counted.returncode, counted.stdout) == (0, "500\n"), counted.stderr
    assert counted.stderr == "counting\n"
    some = run(
        "out.parquet", "work:count", "--combine", "work:add", "--where", "x >= 250", "-o", "n.json", "-q"
    )
    assert (some.returncode, json.loads((tmp_path / "n.json").read_text())) == (0, 250), some.stderr


def test_ends_with_the_documented_codes(run, csv_file, tmp_path):
    raised = run("in/rows.csv", "work:clean", "-o", "out.csv")
    assert raised.returncode == 1
    assert "ValueError: thirteen" in raised.stderr
    assert "rows.csv, bytes" in raised.stderr
    for arguments, code, said in (
        (["in/rows.csv", "work:clean"], 2, "give -o"),
        (["in/rows.csv", "work:clean", "-o", "in/rows.csv"], 2, "a file of the input"),
        (["none.csv", "work:clean", "-o", "out.csv"], 3, "no file none.csv"),
    ):
        done = run(*arguments)
        assert done.returncode == code, done.stderr
        assert said in done.stderr


def test_why_rerun_says_what_would_run(run, csv_file, tmp_path):
    failed = run("in/rows.csv", "work:clean", "-o", "out.csv")
    assert failed.returncode == 1
    why = run("in/rows.csv", "work:clean", "-o", "out.csv", "--why-rerun")
    assert "no earlier run" in why.stderr  # the file is one split, and it failed
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["in", "work.py"]
