"""A part and its journal: what is claimed is true, what is whole gets its name, and nothing is followed out of DIR."""

import errno
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool.downloads.failures import DiskFailed, Unsafe
from whichpool.downloads.folder import Folder
from whichpool.downloads.journal import Identity, Journal
from whichpool.downloads.part import Part
from whichpool.downloads.ranges import Ranges

WHAT = Identity("source", 1000, '"v1"', '"v1"', None, "http://a/f")


def names(folder):
    return sorted(os.listdir(folder.path))


def begun(place, *pieces, identity=WHAT):
    part = Part(place)
    part.begin(identity)
    for at, data in pieces:
        part.write(at, data)
    return part


# -- ranges ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20))
def test_ranges_are_a_set_of_bytes(pairs):
    ranges, model = Ranges(), set()
    for first, end in pairs:
        ranges.add(first, end)
        model |= set(range(first, end))
    found = list(ranges)
    assert {at for first, end in found for at in range(first, end)} == model
    assert all(end < after for (_, end), (after, _) in pairwise(found))  # with gaps between
    assert ranges.size == len(model)
    assert ranges.front == next(at for at in range(100) if at not in model)
    missing = {at for first, end in ranges.missing(40) for at in range(first, end)}
    assert missing == set(range(40)) - model


# -- the journal -------------------------------------------------------------------------------------------------


def test_what_was_written_is_gone_on_with(folder, place):
    part = begun(place, (0, b"a" * 100), (500, b"b" * 50))
    part.close()
    assert names(folder) == ["f.part", "f.part.journal"]
    again = Part(place)
    assert again.look(lambda source: source == "source") == WHAT
    assert list(again.there) == [(0, 100), (500, 550)]
    again.write(100, b"c" * 400)
    again.close()
    third = Part(place)
    assert third.look() == WHAT
    assert list(third.there) == [(0, 550)]
    assert third.read(90, 20) == b"a" * 10 + b"c" * 10
    third.close()


@pytest.mark.parametrize("damage", ["tear", "flip", "junk"])
def test_what_follows_a_damaged_line_is_not_believed(folder, place, damage):
    part = begun(place, (0, b"a" * 100))
    part.sync()
    part.write(100, b"b" * 100)
    part.close()
    path = os.path.join(folder.path, "f.part.journal")
    with open(path, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    assert len(lines) == 3
    lines[2] = {"tear": lines[2][:-5], "flip": lines[2].replace(b"200", b"900"), "junk": b"\0" * 40}[damage]
    with open(path, "wb") as file:
        file.writelines(lines)
    again = Part(place)
    assert again.look() == WHAT
    assert list(again.there) == [(0, 100)]
    again.write(100, b"c" * 10)
    again.close()  # what is added is found again: the damage was cut off
    third = Part(place)
    third.look()
    assert list(third.there) == [(0, 110)]
    third.close()


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"00000000 {}\n", b"\xff" * 300])
def test_a_journal_that_cannot_be_understood_counts_as_none(folder, place, content):
    begun(place, (0, b"a" * 100)).close()
    with open(os.path.join(folder.path, "f.part.journal"), "wb") as file:
        file.write(content)
    part = Part(place)
    assert part.look() is None
    part.begin(WHAT)
    assert not part.there
    part.write(0, b"z")
    part.close()
    again = Part(place)
    assert again.look() == WHAT
    assert list(again.there) == [(0, 1)]
    again.close()


def test_a_range_beyond_the_end_is_not_believed(folder, place):
    part = begun(place, (0, b"a" * 100))
    part.sync()
    part._journal.add(Ranges([(900, 1001)]), WHAT)
    part.close()
    again = Part(place)
    again.look()
    assert list(again.there) == [(0, 100)]
    again.close()


def test_a_part_that_is_shorter_than_its_journal_says_is_begun_anew(folder, place):
    begun(place, (0, b"a" * 100)).close()
    os.truncate(os.path.join(folder.path, "f.part"), 99)
    part = Part(place)
    assert part.look() is None
    part.close()


def test_a_part_of_something_else_is_begun_anew(folder, place):
    begun(place, (0, b"a" * 100)).close()
    part = Part(place)
    assert part.look(lambda source: source == "another") is None
    part.begin(None)
    assert not os.path.exists(os.path.join(folder.path, "f.part.journal"))
    part.write(0, b"z")
    part.close()
    assert names(folder) == []  # what cannot be gone on with does not stay


def test_a_part_without_a_journal_is_begun_anew(folder, place):
    with open(os.path.join(folder.path, "f.part"), "wb") as file:
        file.write(b"old" * 1000)
    part = Part(place)
    assert part.look() is None
    part.begin(None)
    part.write(0, b"new")
    part.finish(place, 3, mtime_s=None, replace=False)
    with open(os.path.join(folder.path, "f"), "rb") as file:
        assert file.read() == b"new"


def test_a_journal_without_a_part_claims_nothing(folder, place):
    begun(place, (0, b"a" * 100)).close()
    os.unlink(os.path.join(folder.path, "f.part"))
    part = Part(place)
    assert part.look() is None
    part.begin(WHAT)
    assert names(folder) == ["f.part"]
    part.close()
    assert names(folder) == []


class Calls:
    """The order in which the system is asked."""

    def __init__(self, monkeypatch):
        self.log = []
        for name in ("pwrite", "fdatasync", "fsync", "link", "rename", "unlink", "ftruncate"):
            monkeypatch.setattr(os, name, self._noted(name, getattr(os, name)))

    def _noted(self, name, real):
        def call(*args, **kwargs):
            self.log.append((name, self._what(args)))
            return real(*args, **kwargs)

        return call

    @staticmethod
    def _what(args):
        if isinstance(args[0], str):
            return args[0]
        return os.path.basename(os.readlink(f"/proc/self/fd/{args[0]}"))


def test_data_is_on_the_disk_before_the_journal_claims_it_and_before_it_has_its_name(place, monkeypatch):
    calls = Calls(monkeypatch)
    part = begun(place, (0, b"a" * 500))
    part.sync()
    part.write(500, b"b" * 500)
    part.finish(place, 1000, mtime_s=0, replace=False)
    assert calls.log == [
        ("pwrite", "f.part"),
        ("fdatasync", "f.part"),
        ("pwrite", "f.part.journal"),
        ("pwrite", "f.part.journal"),
        ("fdatasync", "f.part.journal"),
        ("pwrite", "f.part"),
        ("fsync", "f.part"),
        ("link", "f.part"),
        ("unlink", "f.part"),
        ("unlink", "f.part.journal"),
        ("fsync", "dir"),
    ]


def test_an_old_journal_is_gone_from_the_disk_before_new_data_comes(folder, place, monkeypatch):
    begun(place, (0, b"a" * 500)).close()
    calls = Calls(monkeypatch)
    part = Part(place)
    part.look()
    part.begin(WHAT)
    part.write(0, b"b")
    assert calls.log[1:] == [  # the first cuts what is torn
        ("ftruncate", "f.part.journal"),
        ("fsync", "f.part.journal"),
        ("unlink", "f.part.journal"),
        ("ftruncate", "f.part"),
        ("pwrite", "f.part"),
    ]
    part.close()


def test_a_group_is_synced_by_itself(place, monkeypatch):
    monkeypatch.setattr("whichpool.downloads.part.GROUP_BYTES", 300)
    asked = []
    part = Part(place, asked.append)
    part.begin(WHAT)
    for at in range(0, 700, 100):
        part.write(at, b"x" * 100)
    assert len(asked) == 1  # one at a time
    asked.pop()()
    part.write(700, b"x" * 100)
    assert not asked
    part.write(800, b"x" * 100)
    part.write(900, b"x" * 100)
    assert len(asked) == 1
    part.close()
    asked.pop()()  # too late, and harmless
    again = Part(place)
    again.look()
    assert list(again.there) == [(0, 1000)]
    again.close()


# -- what goes wrong ---------------------------------------------------------------------------------------------


def failing(monkeypatch, name, number, after=0):
    real, left = getattr(os, name), [after]

    def call(*args, **kwargs):
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        left[0] -= 1
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return real


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_keeps_what_is_there(place, monkeypatch, number):
    part = begun(place, (0, b"a" * 100))
    real = failing(monkeypatch, "pwrite", number)
    with pytest.raises(DiskFailed, match=r"f\.part: ") as caught:
        part.write(100, b"b")
    assert caught.value.__cause__.errno == number
    monkeypatch.setattr(os, "pwrite", real)
    part.close()
    again = Part(place)
    assert again.look() == WHAT
    assert list(again.there) == [(0, 100)]
    again.close()


def test_a_short_write_goes_on(folder, place, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[: max(1, len(data) // 2)], at))
    part = begun(place, (0, bytes(range(200)) * 5))
    part.finish(place, 1000, mtime_s=None, replace=False)
    with open(os.path.join(folder.path, "f"), "rb") as file:
        assert file.read() == bytes(range(200)) * 5


def test_after_a_sync_that_failed_nothing_more_is_claimed(place, monkeypatch):
    # The system forgets that pages were not written once it has said so: a second, successful sync proves nothing.
    part = begun(place, (0, b"a" * 100))
    part.sync()
    part.write(100, b"b" * 100)
    real = failing(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(DiskFailed, match="the disk reports an error"):
        part.sync()
    monkeypatch.setattr(os, "fdatasync", real)
    with pytest.raises(DiskFailed):
        part.write(200, b"c")
    with pytest.raises(DiskFailed):
        part.finish(place, 200, mtime_s=None, replace=False)
    part.close()
    again = Part(place)
    again.look()
    assert list(again.there) == [(0, 100)]
    again.close()


def test_a_full_disk_while_the_journal_is_written_leaves_it_whole(place, monkeypatch):
    part = begun(place, (0, b"a" * 100))
    part.sync()
    part.write(100, b"b" * 100)
    real = failing(monkeypatch, "pwrite", errno.ENOSPC)
    part.close()
    monkeypatch.setattr(os, "pwrite", real)
    again = Part(place)
    again.look()
    assert list(again.there) == [(0, 100)]
    again.close()


def test_two_at_once_are_told_apart(place):
    part = begun(place, (0, b"a" * 100))
    with pytest.raises(DiskFailed, match="another program is fetching it"):
        Part(place).look()
    with pytest.raises(DiskFailed, match="another program is fetching it"):
        Part(place).begin(None)
    part.close()
    again = Part(place)
    assert again.look() == WHAT
    again.close()


def test_the_lock_holds_between_processes_and_ends_with_them(folder, place):
    script = (
        "import os,sys\n"
        "from whichpool.downloads.folder import Folder\n"
        "from whichpool.downloads.part import Part\n"
        "part = Part(Folder(sys.argv[1]).place('f'))\n"
        "part.begin(None)\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, folder.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"there\n"
        with pytest.raises(DiskFailed, match="another program is fetching it"):
            Part(place).begin(None)
        other.stdin.close()
        assert other.wait() == -9
    part = Part(place)
    part.begin(None)
    part.close()


# -- its name ----------------------------------------------------------------------------------------------------


def test_a_file_that_appeared_meanwhile_is_left_alone(folder, place):
    part = begun(place, (0, b"a" * 10))
    with open(os.path.join(folder.path, "f"), "wb") as file:
        file.write(b"somebody's")
    with pytest.raises(DiskFailed, match="appeared meanwhile"):
        part.finish(place, 10, mtime_s=None, replace=False)
    part.close()
    with open(os.path.join(folder.path, "f"), "rb") as file:
        assert file.read() == b"somebody's"
    assert names(folder) == ["f", "f.part", "f.part.journal"]


def test_what_is_to_be_replaced_is(folder, place):
    with open(os.path.join(folder.path, "f"), "wb") as file:
        file.write(b"old")
    part = begun(place, (0, b"a" * 10))
    part.finish(place, 10, mtime_s=1_000_000_000, replace=True)
    assert names(folder) == ["f"]
    assert os.stat(os.path.join(folder.path, "f")).st_mtime == 1_000_000_000


@pytest.mark.parametrize("there", [False, True])
def test_file_systems_without_links(folder, place, monkeypatch, there):
    failing(monkeypatch, "link", errno.EPERM)
    part = begun(place, (0, b"a" * 10))
    if there:
        with open(os.path.join(folder.path, "f"), "wb") as file:
            file.write(b"somebody's")
        with pytest.raises(DiskFailed, match="appeared meanwhile"):
            part.finish(place, 10, mtime_s=None, replace=False)
        part.close()
    else:
        part.finish(place, 10, mtime_s=None, replace=False)
        assert names(folder) == ["f"]


def test_a_part_that_has_its_name_already_is_not_written_into(folder, place):
    # Killed between the two steps: both names are the same file.
    begun(place, (0, b"whole")).close()
    os.link(os.path.join(folder.path, "f.part"), os.path.join(folder.path, "f"))
    part = Part(place)
    assert part.look() is None
    part.begin(None)
    part.write(0, b"other")
    part.close()
    with open(os.path.join(folder.path, "f"), "rb") as file:
        assert file.read() == b"whole"


def test_what_is_left_beside_a_whole_file_is_swept(folder, place):
    begun(place, (0, b"whole")).close()
    os.link(os.path.join(folder.path, "f.part"), os.path.join(folder.path, "f"))
    Part(place).sweep()
    assert names(folder) == ["f"]
    part = begun(place, (0, b"other"))
    part.sync()
    Part(place).sweep()  # this one is somebody's work
    assert names(folder) == ["f", "f.part", "f.part.journal"]
    part.close()


def test_a_part_that_another_program_cut_is_not_given_a_name(folder, place):
    part = begun(place, (0, b"a" * 10))
    os.truncate(os.path.join(folder.path, "f.part"), 5)
    with pytest.raises(DiskFailed, match="Another program changes it"):
        part.finish(place, 10, mtime_s=None, replace=False)
    part.discard()
    assert names(folder) == []


# -- links and names ---------------------------------------------------------------------------------------------


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    folder = Folder(str(tmp_path / "link"))
    place = folder.place("a/b/f")
    part = begun(place, (0, b"x"))
    part.finish(place, 1, mtime_s=None, replace=False)
    place.close()
    folder.close()
    assert (tmp_path / "real/a/b/f").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["..", "/tmp", "nowhere"])
def test_a_link_inside_is_not_followed(folder, tmp_path, target):
    os.symlink(target, os.path.join(folder.path, "sub"))
    with pytest.raises(DiskFailed, match="not followed"):
        folder.place("sub/f")
    os.symlink("elsewhere", os.path.join(folder.path, "g.part"))
    place = folder.place("g")
    with pytest.raises(DiskFailed, match="not followed"):
        Part(place).look()
    with pytest.raises(DiskFailed):
        Part(place).begin(None)
    os.symlink("elsewhere", os.path.join(folder.path, "h"))
    other = folder.place("h")
    with pytest.raises(DiskFailed, match="not followed"):
        other.stat()
    place.close()
    other.close()
    assert not os.path.exists(os.path.join(folder.path, "elsewhere"))


def test_a_journal_that_is_a_link_is_not_followed(folder, place, tmp_path):
    begun(place, (0, b"a")).close()
    path = os.path.join(folder.path, "f.part.journal")
    os.unlink(path)
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", path)
    part = Part(place)
    with pytest.raises(DiskFailed):
        part.look()
    part.close()
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", ["/etc/passwd", "../f", "a/../../f", "", "a//b", ".", "a/.", "f\0g"])
def test_names_that_leave_the_folder(folder, name):
    with pytest.raises(Unsafe):
        folder.place(name)


def test_what_is_in_the_way_is_told(folder, place):
    os.mkdir(os.path.join(folder.path, "f"))
    with pytest.raises(DiskFailed, match="no regular file"):
        place.stat()
    with open(os.path.join(folder.path, "file"), "wb"):
        pass
    with pytest.raises(DiskFailed, match="is where a folder should be"):
        folder.place("file/x")
    with pytest.raises(DiskFailed, match="too long"):
        folder.place("n" * 300).stat()
    os.mkfifo(os.path.join(folder.path, "p.part"))
    pipe = folder.place("p")
    with pytest.raises(DiskFailed, match="no regular file"):
        Part(pipe).begin(None)
    pipe.close()


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFailed, match="file"):
        Folder(str(tmp_path / "file"))


def test_one_sync_of_a_folder_is_for_all_that_wait_for_it(folder, monkeypatch):
    import threading

    calls, inside, go = [], threading.Event(), threading.Event()

    def fsync(fd):
        calls.append(fd)
        if len(calls) == 1:
            inside.set()
            go.wait(10)

    monkeypatch.setattr(os, "fsync", fsync)
    arrived = threading.Barrier(6)

    def sync():
        arrived.wait(10)
        folder.sync(folder.fd)

    first = threading.Thread(target=folder.sync, args=(folder.fd,))
    first.start()
    inside.wait(10)
    others = [threading.Thread(target=sync) for _ in range(5)]
    for thread in others:
        thread.start()
    arrived.wait(10)
    go.set()
    for thread in [first, *others]:
        thread.join()
    assert 2 <= len(calls) <= 6  # the first, one for those who came while it went on, more for late ones
    folder.sync(folder.fd)
    assert len(calls) >= 3


def test_a_journal_closes_without_having_been_opened(folder):
    Journal(folder.fd, "x").close()
    Journal(folder.fd, "x").remove()


def test_a_journal_that_has_another_name_is_not_written_into(folder, place):
    """As in a copy of the folder that is made of links."""
    begun(place, (0, b"a" * 100)).close()
    here, copy = Path(folder.path), Path(folder.path, "copy")
    copy.mkdir()
    for name in ("f.part", "f.part.journal"):
        (copy / name).hardlink_to(here / name)
    before = [path.read_bytes() for path in sorted(copy.iterdir())]
    part = Part(place)
    assert part.look() is None
    part.begin(WHAT)
    part.write(0, b"b" * 200)
    part.close()
    again = Part(place)
    assert again.look() == WHAT
    assert again.there.size == 200
    again.close()
    assert [path.read_bytes() for path in sorted(copy.iterdir())] == before


def test_a_name_that_the_locale_cannot_write_fails_alone(folder, monkeypatch):
    from whichpool.downloads import folder as module

    monkeypatch.setattr(module, "_ANY_NAME", False)
    monkeypatch.setattr(os, "fsencode", lambda path: path.encode("iso-8859-1", "surrogateescape"))
    folder.place("caf\u00e9").close()
    with pytest.raises(
        DiskFailed, match=r"'\\u65e5': the locale of this process \(latin-1\) has no such letters"
    ):
        folder.place("\u65e5")
