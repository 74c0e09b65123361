from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from whichpool.cli.endings import Ending, ReaderGone
from whichpool.cli.output import Writer, whole_file


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with whole_file(str(place)) as file:
        file.write("half")
        file.flush()
        assert not place.exists()
    assert place.read_text() == "half"
    assert os.listdir(tmp_path) == ["out"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("old")

    def fail() -> None:
        with whole_file(str(place)) as file:
            file.write("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    with whole_file(str(link)) as file:
        file.write("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_as_it_is() -> None:
    with whole_file(os.devnull) as file:
        file.write("gone")
    assert not Path(os.devnull).is_file()


class Broken(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_a_reader_that_went_away_is_told_apart_from_a_full_disk() -> None:
    gone = Writer(Broken(BrokenPipeError(32, "Broken pipe")), "out", as_text=False, flush=True)
    with pytest.raises(ReaderGone) as quiet:
        gone.write(0, 1)
    assert (quiet.value.code, quiet.value.message) == (0, "")
    full = Writer(Broken(OSError(28, "No space left on device")), "out", as_text=False, flush=True)
    with pytest.raises(Ending) as loud:
        full.write(0, 1)
    assert (loud.value.code, loud.value.message) == (3, "cannot write out: No space left on device")


def test_a_result_that_holds_itself_is_an_error_with_the_items_number() -> None:
    knot: list[object] = []
    knot.append(knot)
    writer = Writer(io.StringIO(), "out", as_text=False, flush=False)
    with pytest.raises(Ending, match="item 5"):
        writer.write(5, knot)
