"""Standard input that stays open: nobody hangs on it, and it is read as text files are."""

from __future__ import annotations

import json
import select
import signal
import subprocess
from pathlib import Path
from time import monotonic

import pytest
from cli_types import Start

# Long enough for a loaded machine; a test that gets here has failed. Seconds.
LONG = 30.0
# Nobody who pressed Ctrl-C waits longer. Seconds.
SOON = 2.0
MANY = 40


def read_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    """So many lines of its standard output, or fewer where no more come in time."""
    assert process.stdout is not None
    lines = []
    while len(lines) < number and select.select([process.stdout], [], [], LONG)[0]:
        lines.append(process.stdout.buffer.raw.readline().decode())  # type: ignore[attr-defined]
    return lines


@pytest.mark.parametrize("plan", ["auto", "threads", "2x2", "loop"])
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "whichpool: interrupted\n"), (signal.SIGTERM, 143, "whichpool: terminated\n")],
)
def test_a_signal_ends_it_while_it_waits_for_standard_input(
    start: Start, plan: str, number: signal.Signals, code: int, said: str
) -> None:
    process = start("map", "work:rest", "-", "--plan", plan, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("".join(f"{n}\n" for n in range(MANY)))
    process.stdin.flush()
    # All that was given has been worked off: what is left is to wait for more.
    assert read_lines(process, MANY) == [f'"{n}"\n' for n in range(MANY)]
    sent = monotonic()
    process.send_signal(number)
    process.wait(LONG)
    took_s = monotonic() - sent
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (code, said)
    assert took_s < SOON


def test_who_stops_reading_ends_it_while_it_waits_for_standard_input(start: Start) -> None:
    process = start("map", "work:rest", "-", "--plan", "threads", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("0\n")
    process.stdin.flush()
    assert read_lines(process, 1) == ['"0"\n']
    process.stdout.close()
    process.stdin.write("1\n")
    process.stdin.flush()
    assert process.wait(LONG) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("given", "items"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\nb\rc\nd\r", ["a", "b", "c", "d"]),
        (b"\n\nb\n", ["", "", "b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        ("é\u2028\u0085\x0c\n".encode(), ["é\u2028\u0085\x0c"]),
        (("ü" * 200_000 + "\r\n" + "é" * 70_001).encode(), ["ü" * 200_000, "é" * 70_001]),
    ],
)
def test_text_is_cut_into_lines_as_files_are(
    start: Start, work: Path, given: bytes, items: list[str]
) -> None:
    (work / "given.txt").write_bytes(given)
    with (work / "given.txt").open("rb") as file:
        process = start("map", "work:keep", "-", "--plan", "loop", stdin=file)
        out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert [json.loads(line) for line in out.split("\n")[:-1]] == items
    with (work / "given.txt").open(encoding="utf-8-sig") as text:
        assert [line.removesuffix("\n") for line in text] == items


@pytest.mark.parametrize("given", [b"a\nb\n\xff\n", b"a\nb\n\xc3"])
def test_bytes_that_are_no_text_are_an_error(start: Start, work: Path, given: bytes) -> None:
    (work / "given.txt").write_bytes(given)
    with (work / "given.txt").open("rb") as file:
        process = start("map", "work:keep", "-", "--plan", "loop", stdin=file)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 3
    assert err.startswith("whichpool: standard input is not UTF-8 text, after line ")
