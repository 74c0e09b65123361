"""Standard streams that are closed, full, or have nobody at the other end: each ends as docs/cli.md says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_types import Start

# Long enough for a loaded machine; a test that gets here has failed. Seconds.
LONG = 60.0

PRINTERS = [
    ("--version",),
    ("--help",),
    ("map", "--help"),
    ("doctor",),
    ("doctor", "--json"),
    ("explain", "work:square", "--range", "9", "--quiet"),
    ("map", "work:square", "--range", "9", "--quiet"),
    ("map", "work:square", "--range", "9", "--quiet", "-o", "out", "--report", "-"),
]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LONG)
    return process.returncode, out or "", err or ""


@pytest.fixture
def no_reader() -> Iterator[int]:
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", PRINTERS, ids=" ".join)
def test_nobody_reads_what_is_printed(
    start: Start, no_reader: int, arguments: tuple[str, ...], unbuffered: str
) -> None:
    assert ended(start(*arguments, stdout=no_reader, unbuffered=unbuffered)) == (0, "", "")


@FULL
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", PRINTERS, ids=" ".join)
def test_standard_output_is_full(start: Start, arguments: tuple[str, ...], unbuffered: str) -> None:
    with open("/dev/full", "w") as full:
        code, _, err = ended(start(*arguments, stdout=full, unbuffered=unbuffered))
    assert (code, err) == (3, "whichpool: cannot write standard output: No space left on device\n")


@pytest.mark.parametrize("arguments", [*PRINTERS, ("demo",)], ids=" ".join)
def test_standard_output_is_closed(start: Start, work: Path, arguments: tuple[str, ...]) -> None:
    code, _, err = ended(start(*arguments, redirect=">&-"))
    assert (code, err) == (3, "whichpool: cannot write standard output: it is closed\n")
    assert not (work / "out").exists()


@pytest.mark.parametrize("plan", ["loop", "2x1", "0x2"])
def test_results_in_a_file_need_no_standard_streams(start: Start, work: Path, plan: str) -> None:
    command = ("map", "work:speak", "--range", "9", "--plan", plan, "-o", "out", "--report", "run.json")
    assert ended(start(*command, redirect="<&- >&- 2>&-")) == (0, "", "")
    assert (work / "out").read_text() == "".join(f"{n}\n" for n in range(9))
    assert json.loads((work / "run.json").read_text())["items"] == 9


@pytest.mark.parametrize("redirect", ["2>&-", pytest.param("2>/dev/full", marks=FULL)])
def test_what_nobody_can_hear_is_dropped(start: Start, redirect: str) -> None:
    done = ended(start("map", "work:square", "--range", "3", redirect=redirect))
    assert done == (0, "0\n1\n4\n", "")
    assert ended(start("map", "work:three_is_bad", "--range", "4", redirect=redirect))[0] == 1
    assert ended(start("map", "work:nothing", "--debug", redirect=redirect)) == (2, "", "")
    assert ended(start("map", "--nonsense", redirect=redirect)) == (2, "", "")
    assert ended(start("doctor", "--json", redirect=redirect))[0] == 0


def test_nobody_hears_what_is_said(start: Start, no_reader: int) -> None:
    assert ended(start("map", "work:square", "--range", "3", stderr=no_reader)) == (0, "0\n1\n4\n", "")


def test_standard_input_is_closed(start: Start) -> None:
    code, out, err = ended(start("map", "work:square", "-", redirect="<&-"))
    assert (code, out, err) == (3, "", "whichpool: cannot read standard input: it is closed\n")
    code, out, err = ended(start("map", "work:square", redirect="<&-"))
    assert (code, out) == (2, "")
    assert err.startswith("whichpool: no items: ")
    for plan in ("loop", "2x1"):
        done = start("map", "work:square", "--range", "3", "--quiet", "--plan", plan, redirect="<&-")
        assert ended(done) == (0, "0\n1\n4\n", "")


def test_what_is_printed_on_import_or_beside_a_file_is_no_result(start: Start, work: Path) -> None:
    (work / "loud.py").write_text("print('hello')\ndef f(x):\n    print('at', x)\n    return x\n")
    for plan in ("loop", "2x1"):
        command = ("map", "loud:f", "--range", "2", "--plan", plan)
        code, out, err = ended(start(*command))
        assert (code, out) == (0, "0\n1\n")
        assert "hello" in err
        code, out, err = ended(start(*command, "-o", "out"))
        assert (code, out) == (0, "")
        assert "at 1" in err


def test_the_report_goes_to_standard_output_where_the_results_do_not(start: Start, work: Path) -> None:
    code, out, err = ended(start("map", "work:speak", "--range", "3", "-o", "out", "--report", "-"))
    assert code == 0, err
    assert json.loads(out)["items"] == 3
    assert (work / "out").read_text() == "0\n1\n2\n"


@pytest.mark.parametrize("same", ["out", "./out", "folder/../out", "link"])
def test_results_and_report_in_one_file_is_code_2(start: Start, work: Path, same: str) -> None:
    (work / "folder").mkdir()
    (work / "link").symlink_to("out")
    command = ("map", "work:speak", "--range", "3", "-o", "out", "--report", same)
    assert ended(start(*command)) == (
        2,
        "",
        "whichpool: -o and --report cannot both be out: give two files\n",
    )
    assert not (work / "out").exists()
    null = ended(start("map", "work:square", "--range", "3", "-o", os.devnull, "--report", os.devnull))
    assert null[:2] == (0, "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sys\nsys.exit(5)", "called sys.exit(5)"),
        ("raise SystemExit", "called sys.exit(None)"),
        ("class Odd(BaseException): pass\nraise Odd('so')", "raised Odd: so"),
    ],
)
def test_a_module_that_ends_the_program_when_it_is_imported_is_code_1(
    start: Start, work: Path, body: str, said: str
) -> None:
    (work / "leaves.py").write_text(body + "\ndef f(x): return x\n")
    for target, name in (("leaves:f", "leaves"), ("leaves.py:f", str((work / "leaves.py").resolve()))):
        done = ended(start("map", target, "--range", "3"))
        assert done == (1, "", f"whichpool: importing {name} {said}\n")


def test_a_current_directory_that_was_deleted_is_only_one_place_less_to_look(
    start: Start, work: Path
) -> None:
    gone = work / "gone"
    gone.mkdir()
    math = start("map", "math:sqrt", "--range", "2", "-q", first=f"cd {gone}; rmdir {gone};")
    assert ended(math) == (0, "0.0\n1.0\n", "")
    gone.mkdir()
    code, out, err = ended(start("map", "no_such:f", "--range", "2", first=f"cd {gone}; rmdir {gone};"))
    assert (code, out) == (2, "")
    assert "there is no module 'no_such' in the current directory or " in err


def test_ctrl_c_while_the_interpreter_ends_has_nothing_to_say(start: Start, work: Path) -> None:
    (work / "late.py").write_text(
        "import atexit, sys, threading\n"
        "def wait():\n    print('ending', file=sys.stderr, flush=True)\n    threading.Event().wait(300)\n"
        "atexit.register(wait)\ndef f(x): return x\n"
    )
    process = start("map", "late:f", "--range", "3", "--quiet")
    assert process.stderr is not None
    assert process.stderr.readline() == "ending\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (-signal.SIGINT, "0\n1\n2\n", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_module_is_imported(
    start: Start, work: Path, number: signal.Signals, code: int
) -> None:
    (work / "slow.py").write_text(
        "import sys, threading\nprint('importing', file=sys.stderr, flush=True)\nthreading.Event().wait(300)\n"
    )
    process = start("map", "slow:f", "--range", "3")
    assert process.stderr is not None
    assert process.stderr.readline() == "importing\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, "Traceback" in err) == (code, False), err
