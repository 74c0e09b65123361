"""The types that users see: mypy --strict over tests/typing, where every line is a statement about them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import whichpool

HERE = Path(__file__).parent
FILES = sorted((HERE / "typing").glob("*.py"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has read of the standard library, once for all tests."""
    return tmp_path_factory.mktemp("mypy")


def run_mypy(*args: str, cache: Path) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ)
    package = Path(whichpool.__file__).parent.parent
    if "site-packages" not in package.parts:  # run from the source tree: mypy does not read PYTHONPATH
        env["MYPYPATH"] = str(package)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", *args]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=cache, timeout=85)


def test_the_statements_hold(cache):
    assert FILES
    done = run_mypy("--warn-unused-ignores", "--warn-unreachable", *map(str, FILES), cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_statement_is_noticed(tmp_path, cache):
    """The check itself can fail."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\nimport whichpool\n"
        "assert_type(whichpool.map(len, ['a']), whichpool.Results[str])\n"
    )
    done = run_mypy("--warn-unused-ignores", "--warn-unreachable", str(wrong), cache=cache)
    assert done.returncode == 1
    assert "assert-type" in done.stdout


def test_the_package_says_that_it_is_typed():
    assert Path(whichpool.__file__).with_name("py.typed").exists()
