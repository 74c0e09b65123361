"""A file appears under its name only when it is whole and what was promised; whatever the server sends."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib

import hostile as h
import pytest
from get_help import digest, fetch, fetch_one, files, finished, only

from whichpool.downloads.records import Request


@pytest.fixture
def body(noise):
    return noise(5_000)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


LENGTH_LAST = [("ETag", '"v1"'), ("Accept-Ranges", "bytes")]


def answers(body):
    """With the length as the first header, and as the last one: where the head is cut, it is lost or mutilated."""
    size = ("Content-Length", str(len(body)))
    return {
        "first": h.head(200, [size, *LENGTH_LAST]) + body,
        "last": h.head(200, [*LENGTH_LAST, size]) + body,
    }


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("length", ["first", "last"])
def test_a_cut_anywhere_is_a_failure_and_never_a_file(server, folder, body, length, reset):
    answer = answers(body)[length]
    urls = {
        what: server.at(f"/{n}.bin", h.cut(answer, place, reset=reset))
        for n, (what, place) in enumerate(h.cuts_of(answer).items())
    }
    receipts = fetch(list(urls.values()), folder, retries=0)
    kinds = {what: receipts[url].failure for what, url in urls.items()}
    assert kinds == dict.fromkeys(urls, "broken")
    assert finished(folder) == {}


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
def test_a_cut_anywhere_is_tried_again(server, folder, body, reset):
    expected, urls = {}, []
    for length, answer in answers(body).items():
        for n, place in enumerate(h.cuts_of(answer).values()):
            name = f"{length}-{n}.bin"
            urls.append(server.at("/" + name, h.cut(answer, place, reset=reset), h.serve(body)))
            expected[name] = body
    receipts = fetch(urls, folder)
    assert {r.outcome for r in receipts.values()} == {"fetched"}
    assert {r.attempts for r in receipts.values()} == {2}
    only(folder, expected)


def test_a_body_that_is_too_short_for_its_length(server, folder, body):
    url = server.at("/a", h.raw(h.head(200, [("Content-Length", "5001")]) + body))
    assert fetch_one(url, folder, retries=1).failure == "broken"
    assert len(server.asked("/a")) == 2
    assert finished(folder) == {}


def test_a_body_that_is_too_long_for_its_length(server, folder, body):
    """What is after the end is no part of it; and is not taken for the answer to the next request."""
    url = server.at("/a", h.raw(h.head(200, [("Content-Length", "4990")]) + body, close=False))
    others = [server.at(f"/{n}", h.serve(body)) for n in range(5)]
    receipts = fetch([Request(url, digests=digest(body)), *others], folder, retries=0, most=1)
    assert receipts[url].failure in {"corrupt", "broken"}
    only(
        folder,
        {str(n): body for n in range(5)} | dict.fromkeys([k for k in files(folder) if ".part" in k], b""),
    )


@pytest.mark.parametrize(
    "length",
    [
        [("Content-Length", "-5")],
        [("Content-Length", "five")],
        [("Content-Length", "")],
        [("Content-Length", "4999 0")],
        [("Content-Length", "0x1388")],
        [("Content-Length", "5_000")],
        [("Content-Length", "5000, 4999")],
        [("Content-Length", "5000"), ("Content-Length", "4999")],
        [("Content-Length", "4999"), ("Content-Length", "5000")],
        [("Content-Length", "9" * 5_000)],
        [("Content-Length", "+5000")],
        [("Content-Length", "\u00b2")],  # a digit for `str.isdigit`
    ],
    ids=lambda length: "+".join(value[:12] for _, value in length) or "empty",
)
def test_a_length_that_is_none(server, folder, body, length):
    url = server.at("/a", h.raw(h.head(200, length) + body))
    receipt = fetch_one(url, folder, retries=0)
    assert receipt.failure == "broken"
    assert finished(folder) == {}


def test_the_same_length_twice_is_a_length(server, folder, body):
    two = [("Content-Length", "5000"), ("Content-Length", "5000")]
    url = server.at("/a", h.raw(h.head(200, two) + body))
    receipt = fetch_one(url, folder, retries=0)
    if receipt.ok:
        only(folder, {"a": body})


def test_a_length_beside_chunks_is_not_believed(server, folder, body):
    """The way to smuggle an answer: the chunks count, or it is refused; never the length."""
    url = server.at("/a", h.broken_chunks(body, "right", headers=[("Content-Length", "10")]))
    receipt = fetch_one(url, folder, retries=0)
    assert finished(folder) == ({"a": body} if receipt.ok else {})


@pytest.mark.parametrize("how", ["right", "trailers", "extensions"])
def test_chunks(server, folder, body, how):
    url = server.at("/a", h.broken_chunks(body, how))
    assert fetch_one(url, folder, retries=0).ok
    only(folder, {"a": body})


def test_chunks_with_a_broken_end(server, folder, body):
    urls = {how: server.at(f"/{n}", h.broken_chunks(body, how)) for n, how in enumerate(h.CHUNK_FAULTS)}
    receipts = fetch(list(urls.values()), folder, retries=0)
    wrong = {how: receipts[url].failure for how, url in urls.items() if receipts[url].failure != "broken"}
    wrong.pop("no line end", None)  # all of it has come: it may be taken, if it is right
    assert wrong == {}
    assert all(content == body for content in finished(folder).values())


def test_no_length_at_all(server, folder, body):
    """The end of the connection is the end of the thing: nobody can know better, and the receipt does not say so."""
    old = server.at("/old", h.raw(h.head(200, version="HTTP/1.0") + body))
    new = server.at("/new", h.raw(h.head(200, [("Connection", "close")]) + body))
    checked = server.at("/checked", h.raw(h.head(200) + body[:-1]))
    cut = server.at("/reset", h.cut(h.head(200) + body, 3_000, reset=True))
    receipts = fetch([old, new, Request(checked, digests=digest(body)), cut], folder, retries=0)
    assert "length" not in receipts[old].checked
    assert receipts[checked].failure == "corrupt"
    assert receipts[cut].failure == "broken"
    assert finished(folder) == {"old": body, "new": body}


def test_an_empty_thing(server, folder):
    url = server.at("/a", h.serve(b""))
    receipt = fetch_one(Request(url, digests=digest(b"")), folder, retries=0)
    assert receipt.bytes == 0
    only(folder, {"a": b""})


@pytest.mark.parametrize(
    "answer",
    [
        h.head(206, [("Content-Length", "5"), ("Content-Range", "bytes 0-4/10")]) + b"hello",
        h.head(206, [("Content-Length", "5")]) + b"hello",
        h.head("204 No Content") + b"",
        h.head("205 Reset Content", [("Content-Length", "0")]),
        h.head("304 Not Modified"),
        h.head("300 Multiple Choices", [("Content-Length", "5")]) + b"hello",
        h.head("302 Found", [("Content-Length", "5")]) + b"hello",
        h.head("416 Range Not Satisfiable", [("Content-Length", "5"), ("Content-Range", "bytes */5")])
        + b"hello",
        h.head("101 Switching Protocols", [("Upgrade", "other")]) + b"hello",
        h.head("99 Odd", [("Content-Length", "5")]) + b"hello",
        h.head("999 Odd", [("Content-Length", "5")]) + b"hello",
        h.head("2000 Odd", [("Content-Length", "5")]) + b"hello",
        h.head("-200 OK", [("Content-Length", "5")]) + b"hello",
        h.head("OK", [("Content-Length", "5")]) + b"hello",
        h.head(200, [("Content-Length", "5"), ("Content-Range", "bytes 5-9/10")]).replace(b"200", b"206")
        + b"hello",
        b"just text, as HTTP/0.9 had it",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x00\x01\x02\x03" * 1_000,
        b"\r\n" * 1_000,
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/9.9 200 OK\r\nContent-Length: 5\r\n\r\nhello"[:8],
        b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ],
    ids=lambda answer: repr(answer[:24]),
)
def test_what_is_no_whole_thing_is_no_file(server, folder, answer):
    url = server.at("/a", h.raw(answer))
    assert not fetch_one(url, folder, retries=0).ok
    assert finished(folder) == {}


def test_what_comes_before_the_answer(server, servers, folder, body):
    good = h.whole(body)
    early = servers(greeting=good)
    urls = [
        server.at("/continue", h.raw(h.head("100 Continue") + good, close=False)),
        server.at("/twice", h.raw(h.head("100 Continue") * 2 + good, close=False)),
        server.at("/hints", h.raw(h.head("103 Early Hints", [("Link", "</x>")]) + good, close=False)),
        server.at("/processing", h.raw(h.head("102 Processing") + good, close=False)),
    ]
    receipts = fetch(urls, folder, retries=0)
    assert {url: r.failure for url, r in receipts.items()} == dict.fromkeys(urls)
    assert set(finished(folder).values()) == {body}
    # An answer to a question that was not asked: taken or not, but never a wrong file.
    early.at("/early", h.serve(body))
    fetch_one(early.origin + "/early", folder, retries=0)
    assert set(finished(folder).values()) == {body}


@pytest.mark.timeout(60)
def test_floods_are_not_swallowed(server, folder):
    line = b"X-Flood: " + b"x" * 1_000 + b"\r\n"
    start = b"HTTP/1.1 200 OK\r\n"
    floods = {
        "headers": h.flood(100_000),
        "endless headers": h.endless(line * 50, start),
        "an endless header": h.endless(b"x" * 50_000, start + b"X-Long: "),
        "an endless name": h.endless(b"x" * 50_000, start),
        "an endless status": h.endless(b"x" * 50_000, b"HTTP/1.1 200 "),
        "endless 100": h.endless(h.head("100 Continue") * 1_000),
        "endless 103": h.endless(h.head("103 Early Hints") * 1_000),
        "endless garbage": h.endless(b"\x00" * 50_000),
        "endless empty lines": h.endless(b"\r\n" * 1_000),
        "endless chunk size": h.endless(b"0" * 50_000, start + b"Transfer-Encoding: chunked\r\n\r\n"),
        "endless extension": h.endless(b"x" * 50_000, start + b"Transfer-Encoding: chunked\r\n\r\n5;"),
        "endless trailers": h.endless(
            line * 50, start + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
        ),
    }
    for n, (what, script) in enumerate(floods.items()):
        before = server.sent_bytes
        url = server.at(f"/{n}", script)
        receipt = fetch_one(url, folder, retries=0, first_byte_s=5)
        assert receipt.failure in {"broken", "timedout"}, what
        # Some MB are in the buffers of the kernel, and never seen by anybody.
        assert server.sent_bytes - before < 30_000_000, what
    assert finished(folder) == {}


def test_the_body_of_an_error_is_not_swallowed(server, folder):
    """A 404 with an endless page."""
    url = server.at("/a", h.endless(b"x" * 50_000, h.head(404)))
    assert fetch_one(url, folder, retries=0).failure == "gone"
    url = server.at("/b", h.endless(b"x" * 50_000, h.head(302, [("Location", "/c")])))
    server.at("/c", h.serve(b"c"))
    assert fetch_one(Request(url, name="c"), folder, retries=0).ok
    assert server.sent_bytes < 60_000_000


def test_codings_are_not_asked_for_and_not_undone(server, folder):
    """A gzip bomb stays as small as it came."""
    bomb = gzip.compress(bytes(20_000_000))
    url = server.at("/bomb", h.serve(bomb, headers=[("Content-Encoding", "gzip")]))
    url_2 = server.at(
        "/deflated", h.serve(zlib.compress(b"x" * 100), headers=[("Content-Encoding", "deflate")])
    )
    receipts = fetch([url, url_2], folder, retries=0)
    for asked in server.requests:
        assert asked.headers["accept-encoding"] == "identity"
    for receipt, content in [(receipts[url], bomb), (receipts[url_2], zlib.compress(b"x" * 100))]:
        if receipt.ok:
            assert (folder / receipt.path).read_bytes() == content
    assert all(len(content) <= len(bomb) for content in files(folder).values())


def b64(content, algorithm):
    return base64.b64encode(hashlib.new(algorithm, content).digest()).decode()


def promise(content):
    """Ways to promise a digest in a header."""
    return {
        "Digest": f"SHA-256={b64(content, 'sha256')}",
        "Repr-Digest": f"sha-256=:{b64(content, 'sha256')}:",
        "Content-Digest": f"sha-512=:{b64(content, 'sha512')}:",
        "Content-MD5": b64(content, "md5"),
    }


@pytest.mark.parametrize("name", ["Digest", "Repr-Digest", "Content-Digest", "Content-MD5"])
def test_digests_that_the_server_promises(server, folder, body, name):
    good = server.at("/good", h.serve(body, headers=[(name, promise(body)[name])]))
    bad = server.at("/bad", h.serve(body, headers=[(name, promise(body + b"x")[name])]))
    receipts = fetch([good, bad], folder, retries=0)
    assert receipts[good].ok
    assert {"sha256", "sha512", "md5"} & set(receipts[good].checked)
    assert receipts[bad].failure == "corrupt"
    assert finished(folder) == {"good": body}


@pytest.mark.parametrize(
    "value", ["sha-256", "sha-256=:x:", "sha-256=:////:", "=,=,", "\u00ff" * 3, "md17=:AAAA:", ":", ""]
)
def test_a_promise_that_nobody_understands_is_none(server, folder, body, value):
    names = ["Digest", "Repr-Digest", "Content-Digest", "Content-MD5"]
    urls = [server.at(f"/{name}", h.serve(body, headers=[(name, value)])) for name in names]
    receipts = fetch(urls, folder, retries=0)
    assert all(r.ok or r.failure == "corrupt" for r in receipts.values())
    assert set(finished(folder).values()) <= {body}


def test_digests_that_were_given(server, folder, body):
    url = server.at("/a", h.serve(body))
    good = fetch_one(Request(url, digests=digest(body)), folder)
    assert set(good.checked) >= {"length", "sha256"}
    assert good.digests["sha256"] == digest(body)["sha256"]
    for algorithm in ["sha256", "md5", "sha1", "sha512"]:
        url = server.at(f"/{algorithm}", h.serve(body))
        bad = fetch_one(Request(url, digests=digest(body + b"x", algorithm)), folder, retries=0)
        assert bad.failure == "corrupt"
        url = server.at(f"/good-{algorithm}", h.serve(body))
        assert (
            algorithm in fetch_one(Request(url, digests=digest(body, algorithm)), folder, retries=0).checked
        )
    assert "sha512" not in finished(folder)
    assert "md5" not in finished(folder)


def test_a_wrong_thing_is_fetched_anew_as_a_whole(server, folder, body):
    """What is corrupt is not gone on with."""
    wrong = bytes(len(body))
    url = server.at("/a", h.serve(wrong), h.serve(body))
    receipt = fetch_one(Request(url, digests=digest(body)), folder)
    assert receipt.attempts == 2
    assert [r.range for r in server.asked("/a")] == [None, None]
    only(folder, {"a": body})


def test_what_is_there_is_not_lost_for_what_fails(server, folder, body):
    folder.mkdir()
    (folder / "a").write_bytes(b"precious")
    url = server.at("/a", h.cut(h.whole(body), 3_000))
    assert fetch_one(url, folder, retries=0, overwrite=True).failure == "broken"
    assert finished(folder) == {"a": b"precious"}
    url = server.at("/a", h.serve(body))
    assert (
        fetch_one(Request(url, digests=digest(b"no")), folder, retries=0, overwrite=True).failure == "corrupt"
    )
    assert finished(folder) == {"a": b"precious"}
    assert fetch_one(url, folder, retries=0, overwrite=True).outcome == "fetched"
    only(folder, {"a": body})


def test_what_is_there_is_left_or_asked_for_again(server, folder, body):
    folder.mkdir()
    url = server.at("/a", h.serve(body, last_modified=1_700_000_000))
    (folder / "a").write_bytes(b"precious")
    receipt = fetch_one(url, folder)
    assert (receipt.outcome, server.asked("/a")) == ("unchanged", [])
    assert receipt.message
    # Of another digest than was promised: it is not what was asked for.
    assert fetch_one(Request(url, digests=digest(body)), folder).outcome == "fetched"
    assert (folder / "a").stat().st_mtime == 1_700_000_000
    # Of the digest that was promised: nobody is asked.
    before = len(server.requests)
    assert fetch_one(Request(url, digests=digest(body)), folder).outcome == "unchanged"
    assert len(server.requests) == before
    only(folder, {"a": body})


def test_newer(server, folder, body, noise):
    other = noise(4_000, seed=1)
    url = server.at("/a", h.serve(body, last_modified=1_700_000_000))
    assert fetch_one(url, folder, newer=True).outcome == "fetched"
    receipt = fetch_one(url, folder, newer=True)
    assert receipt.outcome == "unchanged"
    assert server.sent("/a") == len(body)
    server.at("/a", h.serve(other, etag='"v2"', last_modified=1_700_000_001))
    assert fetch_one(url, folder, newer=True).outcome == "fetched"
    only(folder, {"a": other})
