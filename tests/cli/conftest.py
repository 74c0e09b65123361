"""A folder with a user's module in it, and ways to run the command line: in this process, or for real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_types import Run, Start
from click.testing import CliRunner, Result

import whichpool

WORK = """
import sys, threading, time

def square(x):
    return int(x) ** 2

def keep(x):
    return x

def rest(x):
    time.sleep(0.01)
    return x

def three_is_bad(x):
    if int(x) == 3:
        raise ValueError("three is bad")
    return int(x)

def leave(x):
    sys.exit(7)

def at_end(x):
    raise EOFError("no more")

def no_reader(x):
    raise BrokenPipeError(32, "Broken pipe")

def thing(x):
    return object()

def read_input(x):
    return [sys.stdin is None, x]

def speak(x):
    print("speaking of", x)
    return x

def nan(x):
    return float("nan")

def lines(x):
    return "one\\ntwo"

def stuck(x):
    if x:
        print("stuck", file=sys.stderr, flush=True)
        threading.Event().wait(300)
    return x

tried = []

def bad_at_first(x):
    tried.append(x)
    if tried.count(x) == 1:
        raise ValueError("bad at first")
    return x

total = 0

def add(x):
    global total
    time.sleep(0.003)
    total += x
    return x

def quickly_add(x):
    global total
    total += x
    return x

lock = threading.Lock()

def holding(held):
    def under_lock(x):
        with held:
            return x
    return under_lock

locked = holding(lock)

class Tool:
    @staticmethod
    def double(x):
        return 2 * int(x)

number = 3
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with ``work.py`` in it; what is imported from it is forgotten afterwards."""
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def run(work: Path) -> Run:
    """Run a command in this process; gives click's ``Result``."""
    from whichpool.cli.app import app

    def invoke(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, prog_name="whichpool")

    return invoke


@pytest.fixture
def start(work: Path) -> Iterator[Start]:
    """Start a command in a process of its own; what still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **options: object) -> subprocess.Popen[str]:
        source = str(Path(whichpool.__file__).parents[1])
        path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH")) if part)
        command = [sys.executable, "-m", "whichpool", *arguments]
        if "redirect" in options or "first" in options:
            script = f'{options.get("first", "")} exec "$@" {options.get("redirect", "")}'
            command = ["sh", "-c", script, "sh", *command]
        process: subprocess.Popen[str] = subprocess.Popen(
            command,
            stdin=options.get("stdin", subprocess.DEVNULL),  # type: ignore[arg-type]
            stdout=options.get("stdout", subprocess.PIPE),  # type: ignore[arg-type]
            stderr=options.get("stderr", subprocess.PIPE),  # type: ignore[arg-type]
            text=True,
            cwd=work,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": str(options.get("unbuffered", ""))},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
