from __future__ import annotations

from pathlib import Path

import pytest
from cli_types import Run

from whichpool.cli.endings import Ending
from whichpool.cli.target import load


def test_a_module_of_the_current_directory_an_installed_one_and_a_dotted_name(work: Path) -> None:
    assert load("work:square")("3") == 9
    assert load("math:sqrt")(9) == 3
    assert load("work:Tool.double")("4") == 8


def test_a_file_is_found_wherever_it_is_with_its_neighbours(work: Path) -> None:
    folder = work / "tools"
    folder.mkdir()
    (folder / "neighbour.py").write_text("factor = 3\n")
    (folder / "whatever.py").write_text("import neighbour\ndef triple(x):\n    return neighbour.factor * x\n")
    assert load("tools/whatever.py:triple")(5) == 15
    assert load(f"{folder / 'whatever.py'}:triple").__module__ == "whatever"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("work", "it takes MODULE:FUNCTION"),
        (":square", "it takes MODULE:FUNCTION"),
        ("work:", "it takes MODULE:FUNCTION"),
        ("nowhere_at_all:f", "no module 'nowhere_at_all'"),
        ("work.inner:f", "no module 'work.inner'"),
        ("work:squared", "did you mean 'square'?"),
        ("work:number", "is not a function: it is of type int"),
        ("missing.py:f", "there is no Python file"),
        ("work.txt/:f", "there is no Python file"),
    ],
)
def test_a_target_that_names_no_function_is_code_2(work: Path, target: str, said: str) -> None:
    with pytest.raises(Ending) as caught:
        load(target)
    assert caught.value.code == 2
    assert said in caught.value.message


def test_a_file_whose_name_is_taken_or_cannot_be_a_module(work: Path) -> None:
    for name in ("json.py", "two-words.py"):
        (work / name).write_text("def f(x):\n    return x\n")
        with pytest.raises(Ending) as caught:
            load(f"{name}:f")
        assert caught.value.code == 2


def test_what_importing_raises_is_the_modules_own_fault(run: Run, work: Path) -> None:
    (work / "broken.py").write_text("import no_such_thing_anywhere\n")
    (work / "loud.py").write_text("raise RuntimeError('not today')\n")
    missing = run("map", "broken:f", "--range", "1")
    assert missing.exit_code == 1
    assert "importing broken raised ModuleNotFoundError" in missing.stderr
    loud = run("map", "loud.py:f", "--range", "1")
    assert loud.exit_code == 1
    assert "RuntimeError: not today" in loud.stderr
    assert "Traceback" not in loud.stderr
