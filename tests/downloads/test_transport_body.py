"""Bodies are whole or failures; heads are understood or failures; nothing grows without bound."""

from __future__ import annotations

import socket
import tracemalloc

import pytest
from get_help import read

from whichpool.downloads.failures import Broken, DownloadFailed

HEAD = "HTTP/1.1 200 OK\r\n"


@pytest.fixture
def fetch(serve, transport):
    """What a server's bytes come to: its body, or the failure."""

    def run(data, *, ends=True, most=1 << 20, **asked):
        def answer(peer):
            peer.raw(data)
            return not ends

        server = serve(answer)
        with transport().open(server.url(), **asked) as got:
            return read(got, most)

    return run


# --- lengths ------------------------------------------------------------------------------------------------


def test_counted(fetch):
    assert fetch(HEAD + "Content-Length: 5\r\n\r\nhello") == b"hello"
    assert fetch(HEAD + "Content-Length: 5\r\n\r\nhello", most=2) == b"hello"
    assert fetch(HEAD + "Content-Length: 0\r\n\r\n") == b""
    assert fetch(HEAD + "Content-Length: 5, 5\r\n\r\nhello") == b"hello"
    assert fetch(HEAD + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello") == b"hello"


def test_short(fetch):
    with pytest.raises(Broken, match="ended after 4 of 5 bytes") as caught:
        fetch(HEAD + "Content-Length: 5\r\n\r\nhell")
    assert caught.value.again


def test_cut_anywhere(serve, transport):
    whole = HEAD + "Content-Length: 20\r\n\r\n" + "x" * 20

    def answer(peer):
        peer.raw(whole[: int(peer.request.target[1:])])
        return False

    server = serve(answer)
    mine = transport()
    for at in range(len(whole)):
        with pytest.raises(Broken), mine.open(server.url(f"/{at}")) as got:
            read(got)


def test_long(fetch):
    with pytest.raises(Broken, match="more came than the 5 bytes"):
        fetch(HEAD + "Content-Length: 5\r\n\r\nhello world", ends=False)


@pytest.mark.parametrize("length", ["-5", "+5", "5, 6", "0x5", "five", "5_0", "5 5", "9" * 30, "\xb2", ","])
def test_no_length(fetch, length):
    with pytest.raises(Broken, match="Content-Length"):
        fetch(HEAD + f"Content-Length: {length}\r\n\r\nhello")


def test_reset_in_the_middle(serve, transport):
    def answer(peer):
        peer.raw(HEAD + "Content-Length: 500\r\n\r\nhello")
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False

    with transport().open(serve(answer).url()) as got, pytest.raises(Broken):
        read(got)


def test_until_closed(fetch):
    assert fetch(HEAD + "\r\nhello") == b"hello"
    assert fetch("HTTP/1.0 200 OK\r\n\r\nhello") == b"hello"
    assert fetch(HEAD + "Transfer-Encoding: identity\r\n\r\nhello") == b"hello"


# --- chunks -------------------------------------------------------------------------------------------------

CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("most", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    "chunks",
    [
        "5\r\nhello\r\n0\r\n\r\n",
        "2\r\nhe\r\n3;a=b\r\nllo\r\n000\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n1 \r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\nDigest: x\r\nOther: y\r\n\r\n",
    ],
)
def test_chunks(fetch, chunks, most):
    assert fetch(CHUNKED + chunks, ends=False, most=most) == b"hello"


@pytest.mark.parametrize("every", [1, 2, 7])
def test_chunks_that_come_in_pieces(serve, transport, every):
    data = (CHUNKED + "2\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n").encode()

    def answer(peer):
        for at in range(0, len(data), every):
            peer.raw(data[at : at + every])

    with transport().open(serve(answer).url()) as got:
        assert read(got) == b"hello"


def test_many_small_chunks_come_in_few_reads(serve, transport):
    def answer(peer):
        peer.raw(CHUNKED + "1\r\nx\r\n" * 10_000 + "0\r\n\r\n")

    sizes = []
    with transport().open(serve(answer).url()) as got:
        while data := got.read(1 << 20):
            sizes.append(len(data))
    assert sum(sizes) == 10_000
    assert len(sizes) < 100


@pytest.mark.parametrize(
    "chunks",
    [
        "",
        "5",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nA: b\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "ffffffffffffffffffff\r\nhello",
        "5" + ";" * 10_000 + "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n" + "A: b\r\n" * 1000 + "\r\n",
        "5\r\nhello\r\n0\r\n\r\nmore",
    ],
)
def test_broken_chunks(fetch, chunks):
    with pytest.raises(Broken):
        fetch(CHUNKED + chunks)


def test_chunks_come_before_a_length(serve, transport):
    server = serve(
        lambda peer: peer.raw(
            HEAD + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
    )
    mine = transport()
    for _ in range(2):
        with mine.open(server.url()) as got:
            assert (got.length, got.total) == (None, None)
            assert read(got) == b"hello"
    assert server.connections == 2


def test_a_coding_that_nobody_asked_for(fetch):
    with pytest.raises(Broken, match="Transfer-Encoding"):
        fetch(HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")


# --- heads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "",
        "\r\n\r\n",
        "HTTP/1.1 200",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "<html>\r\n\r\n",
        HEAD + "no header\r\n\r\n",
        HEAD + ": none\r\n\r\n",
        "\0" * 1000 + "\r\n\r\n",
    ],
)
def test_what_is_no_http(fetch, data):
    with pytest.raises(Broken):
        fetch(data)


def test_heads_that_are_odd_but_clear(fetch, serve, transport):
    assert fetch("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx") == b"x"
    assert fetch("HTTP/1.1 200 OK\nContent-Length:1\n\nx") == b"x"
    assert (
        fetch("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + "\r\nx")
        == b"x"
    )
    server = serve(
        lambda peer: peer.raw(HEAD + "A : b\r\nX: c\r\n d\r\nX: e\r\nL: \xe4\r\nContent-Length: 0\r\n\r\n")
    )
    with transport().open(server.url()) as got:
        assert got.headers == {"a": "b", "x": "c d, e", "l": "\xe4", "content-length": "0"}


def test_a_flood_of_headers(fetch):
    with pytest.raises(Broken, match="more than 200 headers"):
        fetch(HEAD + "A: b\r\n" * 1000 + "\r\n")


@pytest.mark.parametrize(
    "piece", [b"A: " + b"x" * 60_000 + b"\r\n", b"x" * 60_000], ids=["lines", "one line"]
)
def test_a_head_without_end_takes_no_memory(serve, transport, piece):
    def answer(peer):
        peer.raw(HEAD)
        while True:  # 100 MB and more, if the client let it
            peer.raw(piece)

    server = serve(answer)
    tracemalloc.start()
    try:
        with pytest.raises(Broken, match="larger than"):
            transport().open(server.url())
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_interim_answers_without_end(serve, transport):
    def answer(peer):
        while True:
            peer.raw("HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with pytest.raises(DownloadFailed):
        transport(first_byte_s=0.3).open(serve(answer).url())


# --- what is read of it -------------------------------------------------------------------------------------


def test_what_an_answer_says(serve, transport):
    def answer(peer):
        peer.answer(
            body=b"x" * 10,
            etag='"v1"',
            last_modified="Tue, 24 Nov 2026 10:00:00 GMT",
            date="Tue, 24 Nov 2026 12:00:00 GMT",
            accept_ranges="bytes",
        )

    server = serve(answer)
    with transport().open(server.url("/a?b#c")) as got:
        assert (got.status, got.url) == (200, server.url("/a?b"))
        assert (got.first, got.last, got.length, got.total) == (0, None, 10, 10)
        assert (got.etag, got.validator, got.accepts_ranges, got.coded) == ('"v1"', '"v1"', True, False)
        assert got.last_modified == "Tue, 24 Nov 2026 10:00:00 GMT"
        assert "200" in repr(got)
    method, target, headers = server.requests[0].method, server.requests[0].target, server.requests[0].headers
    assert (method, target) == ("GET", "/a?b")
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("whichpool/")
    assert "range" not in headers


@pytest.mark.parametrize(
    ("etag", "modified", "validator"),
    [
        ('"v1"', "10:00:00", '"v1"'),
        ('W/"v1"', "10:00:00", None),
        ("v1", "10:00:00", None),
        # What cannot be sent back, or would be refused for ever.
        ('"a\0b"', "10:00:00", None),
        ('"a\x01b"', "10:00:00", None),
        (f'"{"a" * 1001}"', "10:00:00", None),
        (None, "10:00:00 \0", None),
        (None, "11:58:59", "Tue, 24 Nov 2026 11:58:59 GMT"),
        (None, "11:59:30", None),
        (None, "13:00:00", None),
        (None, "nonsense", None),
    ],
)
def test_validators(serve, transport, etag, modified, validator):
    told = {
        "etag": etag,
        "last_modified": f"Tue, 24 Nov 2026 {modified} GMT",
        "date": "Tue, 24 Nov 2026 12:00:00 GMT",
    }
    with transport().open(serve(lambda peer: peer.answer(**told)).url()) as got:
        assert got.validator == validator


def test_a_range(serve, transport):
    server = serve(lambda peer: peer.answer("206 Partial", b"llo", content_range="bytes 2-4/5"))
    with transport().open(server.url(), first=2, if_range='"v"') as got:
        assert (got.status, got.first, got.last, got.length, got.total) == (206, 2, 4, 3, 5)
        assert got.accepts_ranges
        assert read(got) == b"llo"
    assert (server.header("range"), server.header("if-range")) == ("bytes=2-", '"v"')
    with transport().open(server.url(), first=0, last=4) as got:
        pass
    assert (server.header("range"), server.header("if-range")) == ("bytes=0-4", None)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_range_of_unknown_total(serve, transport, chunked):
    def answer(peer):
        if chunked:
            peer.answer("206 P", b"3\r\nllo\r\n0\r\n\r\n", content_range="bytes 2-4/*", content_length=None,
                        transfer_encoding="chunked")  # fmt: skip
        else:
            peer.answer("206 P", b"llo", content_range="bytes 2-4/*")

    with transport().open(serve(answer).url(), first=2) as got:
        assert (got.first, got.length, got.total) == (2, 3, None)
        assert read(got) == b"llo"


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"content_range": "bytes 2-4"},
        {"content_range": "bytes 4-2/5"},
        {"content_range": "bytes 2-4/4"},
        {"content_range": "bytes 2-5/9"},
        {"content_range": "bytes */5"},
        {"content_range": "items 2-4/5"},
        {"content_range": "bytes -2-4/5"},
        {"content_range": "bytes 2-4/5", "content_type": "multipart/byteranges; boundary=x"},
    ],
)
def test_a_range_that_is_none(serve, transport, told):
    server = serve(lambda peer: peer.answer("206 Partial", b"llo", **told))
    with pytest.raises(Broken) as caught:
        transport().open(server.url(), first=2)
    assert caught.value.again
    assert caught.value.url == server.url()


@pytest.mark.parametrize("body", ["2\r\nll\r\n0\r\n\r\n", "4\r\nllox\r\n0\r\n\r\n"])
def test_a_chunked_range_of_another_length(serve, transport, body):
    def answer(peer):
        peer.answer("206 P", body.encode(), content_range="bytes 2-4/5", content_length=None,
                    transfer_encoding="chunked")  # fmt: skip

    with transport().open(serve(answer).url(), first=2) as got, pytest.raises(Broken, match="range of 3"):
        read(got)


def test_past_the_end(serve, transport):
    server = serve(lambda peer: peer.answer("416 No", b"sorry", content_range="bytes */5"))
    with transport().open(server.url(), first=9) as got:
        assert (got.status, got.total, got.length) == (416, 5, None)


def test_unchanged(serve, transport):
    server = serve(lambda peer: peer.answer("304 Not Modified", etag='"v"', content_length=None))
    mine = transport()
    for _ in range(2):
        with mine.open(
            server.url(), if_none_match='"v"', if_modified_since="Tue, 24 Nov 2026 10:00:00 GMT"
        ) as got:
            assert (got.status, got.etag, read(got)) == (304, '"v"', b"")
    assert server.header("if-none-match") == '"v"'
    assert server.header("if-modified-since") == "Tue, 24 Nov 2026 10:00:00 GMT"
    assert server.connections == 1


def test_only_the_head(serve, transport):
    server = serve(lambda peer: peer.answer(content_length="7"))
    with transport().open(server.url(), method="HEAD") as got:
        assert (got.total, read(got)) == (7, b"")
    assert server.requests[0].method == "HEAD"


def test_what_is_compressed_is_left_so(serve, transport):
    with transport().open(
        serve(lambda peer: peer.answer(body=b"\x1f\x8b", content_encoding="gzip")).url()
    ) as got:
        assert got.coded
        assert read(got) == b"\x1f\x8b"
