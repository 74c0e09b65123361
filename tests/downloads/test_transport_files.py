"""``file://``, and what fsspec knows: as a server would answer."""

from __future__ import annotations

import os
import sys

import fsspec
import pytest
from get_help import read

from whichpool.downloads.failures import Broken, Changed, DownloadFailed, Gone, Refused, Unsupported

TEN = b"0123456789"


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    """Ten bytes, under a name that has to be encoded."""
    if request.param == "file":
        path = tmp_path / "a b#ä.bin"
        path.write_bytes(TEN)
        yield path.as_uri()
    else:
        fs = fsspec.filesystem("memory")
        fs.pipe_file("/folder/ten.bin", TEN)
        yield "memory://folder/ten.bin"
        fs.rm("/folder", recursive=True)


def change(url, data, tmp_path):
    if url.startswith("file"):
        path = next(tmp_path.iterdir())
        before = path.stat().st_mtime_ns
        path.write_bytes(data)
        os.utime(path, ns=(before + 10**9, before + 10**9))
    else:
        fsspec.filesystem("memory").pipe_file("/folder/ten.bin", data)


def test_all_of_it(transport, url):
    with transport().open(url) as got:
        assert (got.status, got.first, got.length, got.total) == (200, 0, 10, 10)
        assert got.accepts_ranges
        assert not got.coded
        assert got.validator == got.etag
        assert got.last_modified.endswith(" GMT")
        assert read(got, 3) == TEN
        assert got.read(3) == b""


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [(0, 0, b"0"), (3, None, b"3456789"), (3, 5, b"345"), (3, 99, b"3456789"), (9, 9, b"9")],
)
def test_ranges(transport, url, first, last, found):
    with transport().open(url, first=first, last=last) as got:
        assert (got.status, got.first, got.last) == (206, first, first + len(found) - 1)
        assert (got.length, got.total) == (len(found), 10)
        assert read(got) == found


def test_past_the_end(transport, url):
    with transport().open(url, first=10) as got:
        assert (got.status, got.total, read(got)) == (416, 10, b"")


def test_conditions(transport, url, tmp_path):
    mine = transport()
    with mine.open(url) as got:
        etag, modified = got.etag, got.last_modified
    with mine.open(url, if_none_match=etag) as got:
        assert (got.status, got.etag, read(got)) == (304, etag, b"")
    with mine.open(url, if_modified_since=modified) as got:
        assert got.status == 304
    with mine.open(url, if_modified_since="Tue, 24 Nov 1998 10:00:00 GMT") as got:
        assert got.status == 200
    with mine.open(url, first=3, if_range=etag) as got:
        assert (got.status, read(got)) == (206, TEN[3:])
    change(url, b"abcdefghij", tmp_path)
    with mine.open(url, if_none_match=etag) as got:
        assert (got.status, read(got)) == (200, b"abcdefghij")
    with mine.open(url, first=3, if_range=etag) as got:
        assert (got.status, got.first, read(got)) == (200, 0, b"abcdefghij")


def test_only_the_head(transport, url):
    with transport().open(url, method="HEAD") as got:
        assert (got.status, got.total, read(got)) == (200, 10, b"")


def test_changed_while_it_was_read(transport, url, tmp_path):
    with transport().open(url) as got:
        assert got.read(3) == b"012"
        change(url, b"abcdefghij", tmp_path)
        with pytest.raises((Changed, Broken)):
            read(got)


def test_nothing_there(transport, url):
    with pytest.raises(Gone) as caught:
        transport().open(url + "x")
    assert caught.value.url == url + "x"


def test_a_folder(transport, url):
    with pytest.raises(Refused, match="folder"):
        transport().open(url.rpartition("/")[0])


# --- files only ---------------------------------------------------------------------------------------------


def test_became_shorter(transport, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(TEN)
    with transport().open(path.as_uri()) as got:
        assert got.read(5) == b"01234"
        path.write_bytes(b"")
        with pytest.raises(Changed, match="shorter"):
            read(got)


def test_of_which_machine(transport, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(TEN)
    for start in ("file:", "file://localhost", "FILE://LOCALHOST"):
        with transport().open(f"{start}{path}") as got:
            assert read(got) == TEN
    with pytest.raises(DownloadFailed, match="another host"):
        transport().open(f"file://other.test{path}")


def test_what_is_no_file(transport, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="no regular file"):
        transport().open((tmp_path / "pipe").as_uri())
    with pytest.raises(Gone):
        transport().open("file:///a%00b")
    with pytest.raises(Gone):
        transport().open(f"file://{tmp_path}/{'x' * 1000}")


def test_a_file_that_has_more_than_its_size_says(transport):
    """Those of the kernel have 0 bytes, it says."""
    if not os.path.exists("/proc/version"):
        pytest.skip("no /proc here")
    with transport().open("file:///proc/version") as got, pytest.raises(Broken, match="more in it") as caught:
        read(got)
    assert not caught.value.again


def test_an_empty_file(transport, tmp_path):
    (tmp_path / "x").touch()
    with transport().open((tmp_path / "x").as_uri()) as got:
        assert (got.total, read(got)) == (0, b"")
    with transport().open((tmp_path / "x").as_uri(), first=0, last=5) as got:
        assert (got.status, got.total) == (416, 0)


def test_must_not_be_read(transport, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    path = tmp_path / "x"
    path.touch(0o000)
    with pytest.raises(Refused):
        transport().open(path.as_uri())


# --- fsspec only --------------------------------------------------------------------------------------------


class Odd(fsspec.AbstractFileSystem):
    """A file system that fails as it is told to."""

    protocol = "odd"
    cachable = False
    fault: object = None

    def info(self, path, **_):
        if isinstance(self.fault, Exception):
            raise self.fault
        return {"name": path, "size": 10, "type": "file", "ETag": '"abc"'} | (self.fault or {})

    def _open(self, path, mode="rb", **_):
        import io

        return io.BytesIO(TEN[:7])


@pytest.fixture
def odd(monkeypatch):
    fsspec.register_implementation("odd", Odd, clobber=True)
    yield lambda fault: monkeypatch.setattr(Odd, "fault", fault)
    fsspec.registry.target.pop("odd", None) if hasattr(fsspec.registry, "target") else None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (FileNotFoundError("x"), Gone),
        (PermissionError("joe:sesame may not"), Refused),
        (RuntimeError("no way to reach odd://joe:sesame@host/x"), Broken),
        (ValueError("sesame"), DownloadFailed),
        ({"size": None}, Broken),
        ({"type": "directory"}, Refused),
    ],
)
def test_what_goes_wrong_in_a_file_system(transport, odd, fault, kind):
    odd(fault)
    with pytest.raises(kind) as caught:
        transport().open("odd://joe:sesame@host/x")
    assert caught.value.url == "odd://host/x"
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_system_that_ends_early(transport, odd):
    odd(None)
    with transport().open("odd://host/x") as got:
        assert (got.etag, got.total) == ('"abc"', 10)
        with pytest.raises(Broken, match="3 bytes early"):
            read(got)


def test_what_is_missing_is_told(transport, monkeypatch):
    with pytest.raises(Unsupported, match="nonsense") as caught:
        transport().open("nonsense://joe:sesame@x/")
    assert caught.value.url == "nonsense://x/"
    with pytest.raises(DownloadFailed, match="no URL"):
        transport().open("nonsense")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(Unsupported, match=r"pip install 'whichpool\[fsspec\]'"):
        transport().open("s3://bucket/key")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("smb", "smbprotocol")])
def test_a_package_that_fsspec_misses_is_named(transport, monkeypatch, scheme, package):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "smbclient", None)
    with pytest.raises(Unsupported, match=f"pip install {package}$"):
        transport().open(f"{scheme}://bucket/key")
