"""A small file in memory: its name when it is whole, and a part of what came when it is not."""

import errno
import os
import threading
from pathlib import Path

import pytest

from whichpool.downloads import held
from whichpool.downloads.failures import DiskFailed
from whichpool.downloads.held import Held, nothing_of
from whichpool.downloads.journal import Identity
from whichpool.downloads.part import GROUP_S, Part

WHAT = Identity("source", 10, '"v1"', '"v1"', None, "http://a/f")


def begun(place, *pieces, total=10, identity=WHAT):
    made = Held(place)
    made.begin(identity, total)
    at = 0
    for piece in pieces:
        made.write(at, piece)
        at += len(piece)
    return made


def there(folder):
    return {path.name: path.read_bytes() for path in Path(folder.path).iterdir()}


def no_names(monkeypatch, error):
    """The file system has no files without a name."""
    real = os.open

    def refuse(path, flags, *args, **options):
        if flags & held._NAMELESS == held._NAMELESS:
            raise OSError(error, os.strerror(error))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuse)


def test_whole(folder, place):
    made = begun(place, b"01234", b"56789")
    assert there(folder) == {}
    made.finish(place, 10, mtime_s=1_000_000, replace=False)
    made.close()
    assert there(folder) == {"f": b"0123456789"}
    assert os.stat(os.path.join(folder.path, "f")).st_mtime == 1_000_000


def test_empty(folder, place):
    made = begun(place, total=0)
    made.finish(place, 0, mtime_s=None, replace=False)
    made.close()
    assert there(folder) == {"f": b""}


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EISDIR])
def test_where_there_are_no_files_without_a_name(folder, place, monkeypatch, error):
    no_names(monkeypatch, error)
    for name in ("f", "g"):
        other = folder.place(name)
        made = begun(other, b"0123456789")
        made.finish(other, 10, mtime_s=None, replace=False)
        made.close()
        assert folder.nameless is False
    assert there(folder) == {"f": b"0123456789", "g": b"0123456789"}


def test_no_file_that_appeared_is_replaced(folder, place):
    made = begun(place, b"0123456789")
    with open(os.path.join(folder.path, "f"), "wb") as file:
        file.write(b"mine")
    with pytest.raises(DiskFailed, match="appeared meanwhile"):
        made.finish(place, 10, mtime_s=None, replace=False)
    made.close()
    assert there(folder)["f"] == b"mine"
    assert there(folder)["f.part"] == b"0123456789"


def test_one_that_is_to_be_replaced(folder, place):
    with open(os.path.join(folder.path, "f"), "wb") as file:
        file.write(b"old")
    made = begun(place, b"0123456789")
    made.finish(place, 10, mtime_s=None, replace=True)
    made.close()
    assert there(folder) == {"f": b"0123456789"}


def test_what_came_of_a_try_that_failed_is_gone_on_with(folder, place):
    begun(place, b"012", b"34").close()
    again = Part(place)
    assert again.look() == WHAT
    assert list(again.there) == [(0, 5)]
    again.write(5, b"56789")
    again.finish(place, 10, mtime_s=None, replace=False)
    assert there(folder) == {"f": b"0123456789"}


def test_what_cannot_be_gone_on_with_is_dropped(folder, place):
    begun(place, b"012", identity=None).close()
    begun(place).close()
    thrown = begun(place, b"012")
    thrown.discard()
    thrown.close()
    assert there(folder) == {}


def test_after_a_second_it_is_a_part(folder, place, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(held, "monotonic", lambda: now[0])
    made = begun(place, b"01")
    assert there(folder) == {}
    now[0] += GROUP_S
    made.write(2, b"234")
    assert there(folder)["f.part"] == b"01234"
    assert (made.front, list(made.there), made.identity) == (5, [(0, 5)], WHAT)
    made.write(5, b"56789")
    made.finish(place, 10, mtime_s=None, replace=False)
    made.close()
    assert there(folder) == {"f": b"0123456789"}


@pytest.mark.parametrize("name", ["f.part", "f.part.journal"])
def test_what_an_earlier_run_left_is_seen(folder, place, name):
    open(os.path.join(folder.path, name), "wb").close()
    os.mkdir(os.path.join(folder.path, "below"))
    open(os.path.join(folder.path, "below", name), "wb").close()
    below = folder.place("below/f")
    other = folder.place("below/g")
    try:
        assert [nothing_of(one) for one in (place, below, other)] == [False, False, True]
    finally:
        below.close()
        other.close()


def test_many_threads_ask_at_once_what_was_left(folder):
    """A listing goes through the descriptor that they share: none of them may get a part of it."""
    left = {f"{number}.part" for number in range(2_000)}
    for name in left:
        open(os.path.join(folder.path, name), "wb").close()
    for _ in range(20):
        folder._begun = None
        start, seen = threading.Barrier(8), []

        def ask(start=start, seen=seen):
            start.wait()
            seen.append(folder.begun)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [left] * 8
