"""Killed at any call of the system that changes something, and run again: the file is whole, and nothing else there."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("crash_child.py")


@pytest.mark.parametrize("how", ["new", "overwrite"])
def test_killed_at_each_call_and_run_again(tmp_path, how):
    done = subprocess.run(
        [sys.executable, CHILD, tmp_path, how], capture_output=True, text=True, timeout=80, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 35
    assert {row[1] for row in rows[:-1]} == {"-9"}
    # All kinds of ends were met: nothing there yet, something to go on with, all there but the name, and all of it.
    assert {(row[2], row[4]) for row in rows} >= {("fetched", "False"), ("fetched", "True")}
    assert any(row[2] == "fetched" and row[5] == "0" for row in rows)
    assert any(row[2] == "unchanged" for row in rows)
