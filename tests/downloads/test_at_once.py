"""The short way of the usual small file, beside the longer way: the same files, receipts and failures."""

import re
from dataclasses import asdict

import pytest

import whichpool
from whichpool.downloads import fetch
from whichpool.downloads.patience import Patience
from whichpool.downloads.records import Receipt

BODY = bytes(range(256)) * 40
OLD = "Tue, 01 Sep 2026 10:00:00 GMT"


def send(visit, status="200 OK", body=b"", **headers):
    """As `Visit.answer`, in one piece: what comes in two may come in two reads."""
    sent, raw = [], visit.raw
    visit.raw = lambda data: sent.append(data.encode("latin-1") if isinstance(data, str) else bytes(data))
    visit.answer(status, body, **headers)
    visit.raw = raw
    raw(b"".join(sent))


def usual(visit):
    send(visit, body=BODY, etag='"v1"', last_modified=OLD)


def named(visit):
    send(visit, body=BODY, content_disposition='attachment; filename="../named.bin"')


def coded(visit):
    send(visit, body=BODY, content_encoding="gzip")


def promised(visit):
    send(visit, body=BODY, repr_digest="sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")


def chunked(visit):
    send(visit, body=b"2\r\nhe\r\n0\r\n\r\n", content_length=None, transfer_encoding="chunked")


def no_length(visit):
    send(visit, body=BODY, content_length=None, connection="close")


def longer(visit):
    send(visit, body=BODY, content_length=str(len(BODY) - 1))


def shorter(visit):
    send(visit, body=BODY, content_length=str(len(BODY) + 1), connection="close")
    visit.stall()


def two_lengths(visit):
    send(visit, body=BODY, content_length=f"{len(BODY)}, {len(BODY) - 1}")


def empty(visit):
    send(visit, body=b"")


def cookie(visit):
    send(visit, body=BODY, set_cookie="a=b")


def gone(visit):
    send(visit, "404 No", b"nothing")


def busy(visit):
    send(visit, "503 Later", b"x")


def elsewhere(visit):
    send(visit, "302 There", b"", location="/usual")


def large(visit):
    send(visit, body=BODY * 40)


ANSWERS = [
    usual, named, coded, promised, chunked, no_length, longer, shorter, two_lengths, empty, cookie, gone, busy,
    elsewhere, large,
]  # fmt: skip


@pytest.fixture
def ways(monkeypatch):
    """What came of each file that took the short way."""
    seen = []
    real = fetch.fetch_at_once

    def noted(context, job, place):
        seen.append(real(context, job, place))
        return seen[-1]

    monkeypatch.setattr(fetch, "fetch_at_once", noted)
    return seen


def site(serve):
    by_path = {f"/{one.__name__}": one for one in ANSWERS}
    return serve(lambda visit: by_path[visit.request.path](visit))


def run(server, folder, name):
    """The first file makes the connection and is none of the short way."""
    urls = [server.url("/usual"), server.url(f"/{name}")]
    receipts = whichpool.download(urls, folder, most=1, per_host=1, retries=0, stall_s=0.5, first_byte_s=5)
    told = [{k: v for k, v in asdict(one).items() if k not in ("started", "elapsed_s")} for one in receipts]
    files = {path.name: path.read_bytes() for path in folder.iterdir() if ".part" not in path.name}
    left = sorted(path.name for path in folder.iterdir() if ".part" in path.name)
    return told, files, left


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: one.__name__)
def test_both_ways_come_to_the_same(serve, tmp_path, monkeypatch, answer):
    server = site(serve)
    short = run(server, tmp_path / "short", answer.__name__)
    monkeypatch.setattr(fetch, "fetch_at_once", lambda context, job, place: None)
    assert run(server, tmp_path / "long", answer.__name__) == short


def test_the_usual_file_takes_the_short_way(serve, tmp_path, ways):
    server = serve(usual)
    urls = [server.url(f"/{number}.bin") for number in range(5)]
    receipts = whichpool.download(urls, tmp_path, most=1, per_host=1)
    assert [one.ok for one in receipts] == [True] * 5
    assert [isinstance(one, Receipt) for one in ways] == [False, True, True, True, True]
    assert server.connections == 1
    assert all((tmp_path / f"{number}.bin").read_bytes() == BODY for number in range(5))


@pytest.mark.parametrize("end", ["reset", "close", "stall"])
def test_a_body_that_does_not_come_whole_is_the_same_on_both_ways(serve, tmp_path, monkeypatch, end):
    def usual_then_half(visit):
        if visit.request.path == "/usual":
            usual(visit)
            return
        visit.answer("200 OK", b"", content_length=str(len(BODY)), etag='"v1"', last_modified=OLD)
        visit.raw(BODY[:100])
        visit.pause(0.02)
        getattr(visit, end)()

    server = serve(usual_then_half)
    short = run(server, tmp_path / "short", "half")
    assert [one["failure"] for one in short[0]] == [None, "timedout" if end == "stall" else "broken"]
    assert short[0][1]["fetched_bytes"] == 100
    assert short[2] == ["half.part", "half.part.journal"]
    monkeypatch.setattr(fetch, "fetch_at_once", lambda context, job, place: None)
    long = run(server, tmp_path / "long", "half")
    if end == "stall":
        # Whether the half second that ended it began before its 100 bytes came, or after: that is the machine's.
        for told, _, _ in (short, long):
            told[1]["message"] = re.sub(r"sent (0|100) bytes in", "sent so many bytes in", told[1]["message"])
    assert long == short


def in_pieces(visit):
    """A head, and the body in two pieces that come in reads of their own."""
    visit.answer("200 OK", b"", content_length=str(len(BODY)), etag='"v1"', last_modified=OLD)
    visit.raw(BODY[:100])
    visit.pause(0.02)
    visit.raw(BODY[100:])


@pytest.mark.skipif(not Patience.can(), reason="Linux's kernel is told how long to wait")
def test_a_body_that_comes_in_pieces_takes_the_short_way(serve, tmp_path, ways):
    server = serve(in_pieces)
    urls = [server.url(f"/{number}.bin") for number in range(3)]
    receipts = whichpool.download(urls, tmp_path, most=1, per_host=1)
    assert [isinstance(one, Receipt) for one in ways] == [False, True, True]
    assert [one.checked for one in receipts] == [("length",)] * 3
    assert all((tmp_path / f"{number}.bin").read_bytes() == BODY for number in range(3))


@pytest.mark.parametrize("more", [{"rate": 10e6}, {"proxy": "http://127.0.0.1:1"}])
def test_settings_that_need_the_longer_way(serve, tmp_path, ways, more):
    server = serve(usual)
    urls = [server.url(f"/{number}.bin") for number in range(3)]
    whichpool.download(urls, tmp_path, most=1, per_host=1, retries=0, **more)
    assert not any(ways)


def test_records_that_need_the_longer_way(serve, tmp_path, ways):
    server = serve(usual)
    things = [
        server.url("/a"),
        {"url": server.url("/b"), "headers": {"X-Key": "1"}},
        {"url": server.url("/c"), "sha256": "0" * 64},
    ]
    receipts = whichpool.download(things, tmp_path, most=1, per_host=1, retries=0)
    assert [one.failure for one in receipts] == [None, None, "corrupt"]
    assert not any(ways)
    assert server.header("x-key", 1) == "1"


def test_a_kept_connection_that_was_closed_is_no_failure(serve, tmp_path, ways):
    def answer(visit):
        send(visit, body=BODY)
        visit.keep = False

    server = serve(answer)
    receipts = whichpool.download(
        [server.url("/a"), server.url("/b"), server.url("/c")], tmp_path, most=1, per_host=1, retries=0
    )
    assert all(one.ok for one in receipts)
