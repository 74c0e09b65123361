"""Nothing is written outside the folder, and nothing over what another request has."""

from __future__ import annotations

import os
import unicodedata
from urllib.parse import quote, unquote_to_bytes

import hostile as h
import pytest
from get_help import fetch, fetch_one, files, finished, only, outside

from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.records import Request

RESERVED = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))}

WILD = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fx",
    "..%5c..%5cx",
    "..",
    ".",
    "%2e%2e",
    "%2fetc%2fpasswd",
    "C:%5cwindows%5cx",
    "C%3Ax",
    "a%00b",
    "%00",
    "CON",
    "nul.txt",
    "com1.tar.gz",
    "lpt%c2%b9",
    "x.",
    "x...",
    "x%20",
    "%20",
    "%20x",
    "a%3Ab",
    "a%7Cb%3Cc%3Ed%22e%3Ff%2Ag",
    "a%0Ab",
    "a%0D%0Ab",
    "%1B%5B31mred",
    "%7F",
    "%C2%85",
    "a%E2%80%AEgpj.exe",
    "-rf",
    "~",
    "~root",
    "$HOME",
    "%ff%fe",
    "%c3%28",
    "%ed%a0%80",
    "x" * 300,
    "%f0%9f%98%80" * 100,
    "x" * 300 + ".tar.gz",
    "y." + "x" * 300,
    "plain.part",
    "plain.part.journal",
    ".whichpool",
    "..%2f",
    "%2f",
    "%2f%2f",
    "a%2fb",
    ".hidden",
]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "down" / "data"


def proper(name):
    """A name is a name everywhere."""
    assert unicodedata.normalize("NFC", name) == name or unicodedata.normalize("NFD", name) == name
    for part in name.split("/"):
        assert part not in {"", ".", ".."}
        assert part == part.rstrip(". ")
        assert not set(part) & set('\\:*?"<>|')
        assert all(ord(c) >= 32 and not 127 <= ord(c) < 160 for c in part), ascii(part)
        assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in part), ascii(part)
        assert "\u202e" not in part
        assert part.split(".")[0].strip().lower() not in RESERVED
        assert len(part.encode()) + len(".part.journal") <= 255
    return True


def test_names_from_urls(server, folder, tmp_path):
    before = outside(folder.parent)

    def echo(visit):
        h.serve(unquote_to_bytes(visit.request.target), etag=None)(visit)

    server.under("/d/", echo)
    urls = [f"{server.origin}/d/{wild}" for wild in WILD]
    receipts = fetch(urls, folder, retries=0)
    assert outside(folder.parent) - {str(folder.parent)} == before - {str(folder.parent)}
    good = {url: r for url, r in receipts.items() if r.ok}
    for url, receipt in receipts.items():
        # What stands for a folder above is gone from a URL before it is asked for: RFC 3986, 5.2.4.
        assert receipt.failure in ({None, "unsafe"} | ({"gone"} if url.endswith((".", "%2e")) else set())), (
            receipt
        )
    assert len(good) > len(WILD) * 3 // 4, "a wild name is a reason for another name, rarely for none"
    for url, receipt in good.items():
        assert proper(receipt.path)
        assert "/" not in receipt.path
        asked = unquote_to_bytes(url.removeprefix(server.origin))
        assert (folder / receipt.path).read_bytes() in (asked, b"/d/"), url
    assert len({r.path.casefold() for r in good.values()}) == len(good)
    assert sorted(files(folder)) == sorted(r.path for r in good.values())
    # The same again, and in each run: nothing is fetched that is there.
    again = fetch(urls, folder, retries=0)
    assert {url: r.path for url, r in again.items() if r.ok} == {url: r.path for url, r in good.items()}


def dispositions():
    for wild in WILD:
        yield f"attachment; filename*=UTF-8''{wild}"
        yield f'attachment; filename="{wild.replace("%2f", "/").replace("%5c", chr(92) * 2).replace("%20", " ")}"'
    yield from [
        "attachment; filename=/etc/passwd",
        "attachment; filename=../../x",
        'attachment; filename="..\\\\..\\\\x"',
        'attachment; filename="a\\"b"',
        'attachment; filename="unfinished',
        "attachment; filename=",
        'attachment; filename=""',
        "attachment; filename*=UTF-8''",
        "attachment; filename*=nonsense''x",
        "attachment; filename*=UTF-8''%2e%2e%2f%2e%2e%2fetc%2fpasswd; filename=good.txt",
        'attachment; filename="good.txt"; filename="../bad.txt"',
        "attachment; filename*0=a; filename*1=b",
        "filename=x",
        ";;;",
        "attachment; " + "x" * 10_000,
        "attachment; filename=" + "x" * 10_000,
        "attachment" + "; a=b" * 2_000,
        'attachment; filename="=?utf-8?q?..=2F..=2Fx?="',
        "inline; filename=\xe4.txt",
        "attachment; filename=data",
    ]


def test_names_from_dispositions(server, folder):
    before = outside(folder.parent)
    urls, content = [], {}
    for n, value in enumerate(dispositions()):
        url = server.at(f"/d/{n}", h.serve(str(n).encode(), headers=[("Content-Disposition", value)]))
        urls.append(url)
        content[url] = str(n).encode()
    receipts = fetch(urls, folder, retries=0)
    assert outside(folder.parent) - {str(folder.parent)} == before - {str(folder.parent)}
    assert {r.failure for r in receipts.values()} <= {None, "unsafe", "broken"}
    good = {url: r for url, r in receipts.items() if r.ok}
    assert len(good) > len(urls) * 3 // 4
    for url, receipt in good.items():
        assert proper(receipt.path)
        assert "/" not in receipt.path
        assert (folder / receipt.path).read_bytes() == content[url]
    assert len({r.path.casefold() for r in good.values()}) == len(good)
    assert sorted(files(folder)) == sorted(r.path for r in good.values())


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=report.pdf", "report.pdf"),
        ('attachment; filename="the report.pdf"', "the report.pdf"),
        ("attachment; filename*=UTF-8''na%C3%AFve.pdf; filename=naive.pdf", "naïve.pdf"),
        ('attachment; filename="a;b.pdf"', "a;b.pdf"),
        ("ATTACHMENT; FILENAME=x.pdf", "x.pdf"),
        ("attachment; filename=a/b.pdf", "b.pdf"),
    ],
)
def test_the_name_that_the_server_gives(server, folder, header, name):
    url = server.at("/get?id=5", h.serve(b"x", headers=[("Content-Disposition", header)]))
    assert fetch_one(url, folder).path == name
    assert fetch_one(Request(url, name="mine"), folder).path == "mine"


def test_names_of_queries_redirects_and_nothing(server, folder):
    urls = [
        server.at("/a.txt?x=1", h.serve(b"1")),
        server.at("/go", h.redirect("/other.txt")),
        server.at("/", h.serve(b"3")),
        server.at("/folder/", h.serve(b"4")),
    ]
    server.at("/other.txt", h.serve(b"2"))
    receipts = fetch(urls, folder)
    assert receipts[urls[0]].path.startswith("a.txt")
    assert all(r.ok and proper(r.path) for r in receipts.values())
    assert sorted(finished(folder).values()) == [b"1", b"2", b"3", b"4"]


def test_names_that_clash(server, folder):
    """Also regardless of case and of how accents are written; and with what is in progress under another name."""
    names = [
        "a.bin",
        "A.BIN",
        "A.bin",
        "a.bin.part",
        "a.bin.part.journal",
        "a-2.bin",
        "caf\u00e9",
        "cafe\u0301",
    ]
    urls = [server.at(f"/{n}/{quote(name)}", h.serve(b"%d" % n)) for n, name in enumerate(names)]
    urls += [server.at(f"/same-{n}/a.bin", h.serve(b"same %d" % n)) for n in range(5)]
    receipts = fetch(urls, folder, retries=0)
    assert all(r.ok for r in receipts.values())
    paths = [unicodedata.normalize("NFC", r.path).casefold() for r in receipts.values()]
    assert len(set(paths)) == len(urls)
    assert sorted(finished(folder).values()) == sorted(
        [b"%d" % n for n in range(8)] + [b"same %d" % n for n in range(5)]
    )
    assert receipts[urls[0]].path == "a.bin"


def test_the_same_names_in_each_run(server, tmp_path):
    """By the order of the input, not by who is ready first."""
    urls = [server.at(f"/{n}/a", h.serve(b"%d" % n)) for n in range(20)]
    runs = [{url: r.path for url, r in fetch(urls, tmp_path / f"run-{n}").items()} for n in range(3)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][urls[0]] == "a"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../../x",
        "a/../x",
        "",
        ".",
        "..",
        "a//b",
        "a/",
        "CON",
        "a\0b",
        "a\\..\\x",
        "C:\\x",
        "x.",
    ],
)
def test_names_that_are_asked_for(server, folder, name):
    """Made safe, or refused: with an exception before anything is fetched, or with a receipt."""
    before = outside(folder.parent)
    url = server.at("/x", h.serve(b"x"))
    try:
        receipt = fetch_one(Request(url, name=name), folder, retries=0)
    except ValueError:
        assert server.requests == []
    else:
        assert receipt.failure in {None, "unsafe"}
        assert not receipt.ok or proper(receipt.path)
    assert outside(folder.parent) - {str(folder.parent)} == before - {str(folder.parent)}
    assert set(finished(folder).values()) <= {b"x"}


def test_folders_in_names(server, folder):
    url = server.at("/x", h.serve(b"x"))
    assert fetch_one(Request(url, name="a/b/c.bin"), folder).path == "a/b/c.bin"
    only(folder, {"a/b/c.bin": b"x"})


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_are_not_followed_out_of_the_folder(server, folder, tmp_path, noise, overwrite):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x").write_bytes(b"precious")
    folder.mkdir(parents=True)
    names = ["link", "dangling", "linked/x", "linked/new", "parts", "journals", "inner/deep/x"]
    (folder / "link").symlink_to(secret / "x")
    (folder / "dangling").symlink_to(secret / "made")
    (folder / "linked").symlink_to(secret)
    (folder / "parts.part").symlink_to(secret / "part")
    (folder / "journals.part.journal").symlink_to(secret / "journal")
    (folder / "inner").mkdir()
    (folder / "inner" / "deep").symlink_to("../../../../secret")
    body = noise(300_000)
    requests = [Request(server.at("/" + name, h.serve(body)), name=name) for name in names]
    receipts = whichpool_download(requests, folder, overwrite=overwrite)
    assert files(secret) == {"x": b"precious"}
    for receipt in receipts:
        assert receipt.outcome in {"fetched", "unchanged", "failed"}
        if receipt.outcome == "fetched":
            path = folder / receipt.path
            assert not path.is_symlink()
            assert path.resolve().is_relative_to(folder.resolve())
            assert path.read_bytes() == body
        if receipt.outcome == "failed":
            assert receipt.failure in {"unsafe", "diskfailed"}


def whichpool_download(requests, folder, **settings):
    import whichpool

    return whichpool.download(requests, folder, retries=0, **settings)


def test_a_folder_that_is_a_link(server, tmp_path):
    """DIR itself may be one: the user has named it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to("real")
    url = server.at("/x", h.serve(b"x"))
    assert fetch_one(url, tmp_path / "data").ok
    only(tmp_path / "real", {"x": b"x"})


@pytest.mark.parametrize("overwrite", [False, True])
def test_things_in_the_way(server, folder, overwrite):
    folder.mkdir(parents=True)
    (folder / "is-folder" / "inside").mkdir(parents=True)
    (folder / "is-file").write_bytes(b"precious")
    os.mkfifo(folder / "is-pipe")
    (folder / "busy.part").mkdir()
    names = ["is-folder", "is-file/x", "is-pipe", "busy", "fine"]
    requests = [Request(server.at("/" + name, h.serve(b"x")), name=name) for name in names]
    receipts = {
        r.url.rpartition(server.origin)[2]: r
        for r in whichpool_download(requests, folder, overwrite=overwrite)
    }
    assert receipts["/is-folder"].failure in {"diskfailed", "unsafe"}
    assert receipts["/is-file/x"].failure in {"diskfailed", "unsafe"}
    assert receipts["/fine"].ok
    assert (folder / "is-folder" / "inside").is_dir()
    assert (folder / "is-file").read_bytes() == b"precious"
    assert finished(folder).get("busy", b"x") == b"x"


def test_a_file_in_place_of_the_folder(server, tmp_path):
    (tmp_path / "data").write_bytes(b"precious")
    url = server.at("/x", h.serve(b"x"))
    try:
        receipts = whichpool_download([url], tmp_path / "data")
    except (OSError, DownloadFailed) as error:
        assert "appeared meanwhile" not in str(error)  # noqa: PT017
        assert server.requests == []
    else:
        assert receipts[0].failure == "diskfailed"
    assert (tmp_path / "data").read_bytes() == b"precious"
