"""Room on the disk is set aside before the first byte, and what the system says is put into words."""

import errno
import os
import resource

import pytest

from whichpool.downloads import disk as disk_module
from whichpool.downloads.disk import Space, disk_failed, fit_at_once, is_full
from whichpool.downloads.failures import DiskFailed


class Disk:
    f_frsize = 1_000

    def __init__(self, blocks):
        self.f_bavail = blocks


@pytest.fixture
def disk(monkeypatch):
    made = Disk(100)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: made)
    return made


def test_what_does_not_fit_is_refused_with_both_figures(disk):
    space = Space(3, "data/")
    space.reserve(60_000, "a.part")
    with pytest.raises(
        DiskFailed, match=r"b\.part: it needs 40,001 bytes, and data/ has 100,000 free, 60,000 of"
    ) as caught:
        space.reserve(40_001, "b.part")
    assert not caught.value.again
    assert not is_full(caught.value)  # smaller ones may fit
    space.reserve(40_000, "c.part")


def test_what_was_written_is_not_counted_twice(disk):
    space = Space(3, "data/")
    first = space.reserve(60_000, "a.part")
    first.used(50_000)
    disk.f_bavail = 50  # it is on the disk now
    space.reserve(40_000, "b.part")
    with pytest.raises(DiskFailed):
        space.reserve(1_000, "c.part")
    first.used(20_000)  # more than it should be: never below nothing
    first.drop()
    first.drop()
    assert space.reserved == 40_000


def test_free_space_is_looked_at_anew(disk):
    space = Space(3, "data/")
    disk.f_bavail = 1
    with pytest.raises(DiskFailed):
        space.reserve(2_000, "a.part")
    disk.f_bavail = 2
    space.reserve(2_000, "a.part")


def test_what_a_server_says_does_not_take_room_from_other_hosts(disk):
    """Files of one host count for each other as they are said to be; for others as far as they have come."""
    disk.f_bavail = 640
    space = Space(3, "data/")
    said = space.reserve(630_000, "liar.part", "liar.example")
    with pytest.raises(DiskFailed, match="630,000 of them set aside"):
        space.reserve(20_000, "b.part", "liar.example")
    space.reserve(600_000, "c.part", "honest.example")  # a 64th of what is free is the other's
    space.reserve(30_000, "d.part", "third.example").drop()
    said.used(20_000)
    disk.f_bavail = 620
    with pytest.raises(DiskFailed, match="29,687 of them set aside"):
        space.reserve(590_400, "e.part", "third.example")
    said.drop()
    space.reserve(590_400, "e.part", "third.example")
    assert (space.reserved, len(space.held)) == (1_190_400, 2)


def test_two_hosts_that_together_say_too_much_end_one_file_before_the_disk_is_full(disk):
    disk.f_bavail = 600_000
    space = Space(3, "data/")
    one = space.reserve(400_000_000, "a.part", "a.example")
    two = space.reserve(400_000_000, "b.part", "b.example")
    for _ in range(7):
        one.used(20_000_000)
        two.used(20_000_000)
        disk.f_bavail -= 40_000
    one.used(19_000_000)
    with pytest.raises(DiskFailed, match=r"a\.part: it needs 240,000,000 bytes") as caught:
        one.used(1_000_000)
    assert not caught.value.said
    with pytest.raises(DiskFailed):  # as long as nobody ends: another connection of it is told too
        one.used(1_000_000)
    one.drop()
    two.used(260_000_000)
    assert space.reserved == 0


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "full"), (errno.EDQUOT, "quota"), (errno.EACCES, "not allowed"), (errno.EROFS, "only be read"),
        (errno.EIO, "error"), (errno.ENAMETOOLONG, "too long"), (errno.EISDIR, "folder"), (errno.ELOOP, "link"),
        (errno.EMFILE, "ulimit"), (errno.EXDEV, os.strerror(errno.EXDEV)),
    ],
)  # fmt: skip
def test_failures_in_words(number, says):
    cause = OSError(number, os.strerror(number))
    failure = disk_failed(cause, "a/b.part")
    failure.__cause__ = cause
    assert str(failure).startswith("a/b.part: ")
    assert says in str(failure)
    assert is_full(failure) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_how_many_files_fit_the_limit_of_open_files(monkeypatch):
    monkeypatch.setattr(disk_module, "_open_files", lambda: 12)
    for limit, most in ((1 << 20, 64), (resource.RLIM_INFINITY, 64), (256, 55), (100, 16), (40, 1), (3, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        assert fit_at_once(64) == most, limit
    assert fit_at_once(1) == 1
