"""The command line as a process of its own: pipes, signals and exit codes as a shell sees them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_types import Start

# Long enough for a loaded machine; a test that gets here has failed. Seconds.
LONG = 30.0


def test_a_whole_run_through_pipes(start: Start) -> None:
    process = start("map", "work:square", "-", stdin=subprocess.PIPE)
    out, err = process.communicate("".join(f"{n}\n" for n in range(2000)), timeout=LONG)
    assert process.returncode == 0, err
    assert out.splitlines() == [str(n * n) for n in range(2000)]
    assert err.startswith("whichpool: 2,000 items in ")
    assert "\x1b" not in out + err


def test_the_module_of_the_current_directory_reaches_worker_processes(start: Start) -> None:
    process = start("map", "work:square", "--range", "50", "--plan", "2x1")
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert out.splitlines() == [str(n * n) for n in range(50)]


def test_a_file_elsewhere_reaches_worker_processes(start: Start, work: Path) -> None:
    folder = work / "tools"
    folder.mkdir()
    (folder / "mine.py").write_text("import near\ndef f(x):\n    return near.add(x)\n")
    (folder / "near.py").write_text("def add(x):\n    return x + 1\n")
    process = start("map", "tools/mine.py:f", "--range", "50", "--plan", "2x1")
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert out.splitlines() == [str(n + 1) for n in range(50)]


@pytest.mark.parametrize("plan", ["loop", "2x1"])
def test_what_is_printed_by_the_function_goes_to_standard_error(start: Start, plan: str) -> None:
    process = start("map", "work:speak", "--range", "5", "--plan", plan)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert out.splitlines() == ["0", "1", "2", "3", "4"]
    assert "speaking of 3" in err


def test_results_come_while_items_are_still_being_given(start: Start) -> None:
    process = start("map", "work:square", "-", "--plan", "loop", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("3\n")
    process.stdin.flush()
    assert process.stdout.readline() == "9\n"
    process.stdin.close()
    assert process.wait(LONG) == 0


def test_who_stops_reading_ends_it_quietly(start: Start) -> None:
    process = start("map", "work:square", "--range", "200000", "--quiet")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.wait(LONG) == 0
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error(start: Start) -> None:
    with open("/dev/full", "w") as full:
        process = start("map", "work:square", "--range", "3", stdout=full)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 3
    assert "cannot write standard output: No space left on device" in err


@pytest.mark.parametrize("plan", ["loop", "0x2", "2x1", "auto"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_it_with_nothing_half_written(
    start: Start, work: Path, plan: str, number: signal.Signals, code: int
) -> None:
    process = start("map", "work:stuck", "--range", "9", "--plan", plan, "-o", "out", "--report", "run.json")
    assert process.stderr is not None
    assert process.stderr.readline() == "stuck\n"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the whole group, workers and all
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == code, err
    assert "Traceback" not in err
    left = {path.name for path in work.iterdir()} - {"work.py", "__pycache__"}
    assert left == set()


REFUSED = [
    ("add", "threads", "total (work.py:"),
    ("add", "2x2", "total (work.py:"),
    ("quickly_add", "0x3", "total (work.py:"),
    ("locked", "2x1", "is a lock, which cannot go to another process"),
]


@pytest.mark.parametrize(("function", "plan", "why"), REFUSED)
def test_explain_says_that_map_would_refuse_a_plan_and_map_does(
    start: Start, work: Path, function: str, plan: str, why: str
) -> None:
    command = (f"work:{function}", "--range", "10", "--plan", plan)
    explained = start("explain", *command, "--report", "run.json")
    out, err = explained.communicate(timeout=LONG)
    assert explained.returncode == 0, err
    assert "Refused: map would not run this on " in out
    assert "Best plan" not in out
    verdict = json.loads((work / "run.json").read_text())["verdict"]
    own = next(row for row in verdict["rows"] if row["plan"] == verdict["plan"])
    assert own["why_not"] == verdict["refused"]
    assert verdict["refused"] in verdict["reason"]
    assert why in verdict["refused"]
    assert err == f"whichpool: would refuse to run it on {verdict['plan']['text']}: {verdict['refused']}\n"
    mapped = start("map", *command)
    out, err = mapped.communicate(timeout=LONG)
    assert (mapped.returncode, out, err) == (1, "", f"whichpool: {verdict['refused']}\n")


@pytest.mark.parametrize(
    "options", [("--plan", "loop"), ("--plan", "auto"), ("--plan", "threads", "--shared", "ok")]
)
def test_explain_refuses_nothing_that_map_would_run(start: Start, options: tuple[str, ...]) -> None:
    explained = start("explain", "work:add", "--range", "10", *options, "--report", "-")
    out, err = explained.communicate(timeout=LONG)
    assert explained.returncode == 0, err
    assert json.loads(out)["verdict"]["refused"] is None
    mapped = start("map", "work:add", "--range", "10", *options)
    out, err = mapped.communicate(timeout=LONG)
    assert mapped.returncode == 0, err


def test_the_version_is_said_without_loading_click(start: Start) -> None:
    process = start("--version")
    out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 0
    assert re.fullmatch(r"whichpool \d+\.\d+\.\d+\n", out)
    code = "import sys; from whichpool.cli import main; main(['--version']); sys.exit('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_progress_is_shown_on_a_terminal_only_and_not_among_results(
    work: Path, terminal: Callable[..., tuple[int, bytes]]
) -> None:
    shown = {}
    for name, options in (("bar", ()), ("no bar", ("--no-progress",))):
        source = "import sys; sys.argv[0] = 'whichpool'; from whichpool.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", source, "map", "work:square", "--range", "20000", *options]
        with open(work / "out", "w") as out:
            code, said = terminal(command, LONG, stdout=out, stdin=subprocess.DEVNULL, cwd=work)
        assert code == 0, said
        assert (work / "out").read_text().count("\n") == 20000
        shown[name] = b"\x1b[" in said
        assert b"20,000 items in " in said
    assert shown == {"bar": True, "no bar": False}
