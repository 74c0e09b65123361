"""Every wait has an end: connecting, the answer's head, the body; and what is slow for another reason goes on."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from get_help import names, read

from whichpool.downloads.failures import NoSuchHost, TimedOut, Unreachable
from whichpool.downloads.resolve import Resolver

LIMIT_S = 0.25
"""The limit that a test is about."""

SOON_S = 4.0
"""By when it must have ended at the latest, on a machine that is busy; a hang would take longer."""


@pytest.fixture
def soon():
    began = time.monotonic()
    yield
    assert LIMIT_S * 0.9 <= time.monotonic() - began < SOON_S


def test_no_answer(serve, transport, soon):
    server = serve(lambda peer: peer.stall())
    with pytest.raises(TimedOut, match="did not begin") as caught:
        transport(first_byte_s=LIMIT_S).open(server.url())
    assert caught.value.again
    assert caught.value.url == server.url()


def test_a_head_that_drips(serve, transport, soon):
    head = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100 + b"\r\n"
    server = serve(lambda peer: peer.drip(head, 0.02))
    with pytest.raises(TimedOut, match="head did not end"):
        transport(first_byte_s=LIMIT_S).open(server.url())


def test_a_body_that_stops(serve, transport, soon):
    def answer(peer):
        peer.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        peer.stall()

    with (
        transport(stall_s=LIMIT_S).open(serve(answer).url()) as got,
        pytest.raises(TimedOut, match="bytes in"),
    ):
        read(got)


@pytest.mark.parametrize(
    "framing", ["Content-Length: 100000", "Transfer-Encoding: chunked", "X: until closed"]
)
def test_a_body_that_drips(serve, transport, soon, framing):
    def answer(peer):
        peer.raw(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")
        peer.drip(b"1\r\nx\r\n" * 10_000, 0.02)

    with (
        transport(stall_s=LIMIT_S).open(serve(answer).url()) as got,
        pytest.raises(TimedOut, match=r"bytes in 0\.25 s"),
    ):
        read(got)


def test_a_body_that_is_slow_and_brings_enough(serve, transport):
    def answer(peer):
        peer.raw("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
        peer.drip(b"x" * 60, 0.02)  # over a second in all

    with transport(stall_s=1.0, stall_bytes=10).open(serve(answer).url()) as got:
        assert len(read(got)) == 60


def test_a_slow_reader_is_no_stall(serve, transport):
    """What the caller does between two reads (writing, waiting its turn) is not the server's fault."""
    turn = threading.Event()

    def answer(peer):
        peer.raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            turn.wait(10)
            turn.clear()
            peer.raw("x")

    with transport(stall_s=LIMIT_S).open(serve(answer).url()) as got:
        for _ in range(4):
            time.sleep(LIMIT_S / 2)  # the reader's work
            turn.set()
            assert got.read(10) == b"x"


def test_tls_is_part_of_connecting(serve, transport, soon):
    listening = socket.create_server(("127.0.0.1", 0))  # accepts, and says nothing
    try:
        with pytest.raises(TimedOut, match="no connection"):
            transport(connect_s=LIMIT_S).open(f"https://127.0.0.1:{listening.getsockname()[1]}/")
    finally:
        listening.close()


def test_the_name_is_part_of_connecting(transport, soon):
    go = threading.Event()

    def ask(*_):
        go.wait(10)
        return []

    with pytest.raises(TimedOut, match="not resolved in time"):
        transport(Resolver(ask), connect_s=LIMIT_S).open("http://a.test/")
    go.set()


def test_nobody_listens(transport):
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listening.close()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:\d+: Connection refused") as caught:
        transport().open(f"http://127.0.0.1:{port}/")
    assert caught.value.again


def test_the_next_address_is_tried(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"here"))
    asked = []

    def ask(host, port, family, kind):
        asked.append(host)
        return [
            (socket.AF_INET6, kind, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, kind, 6, "", ("127.0.0.9", port)),
            (socket.AF_INET, kind, 6, "", ("127.0.0.1", port)),
        ]

    with transport(Resolver(ask)).open(server.url(host="a.test")) as got:
        assert read(got) == b"here"
    assert server.header("host") == f"a.test:{server.port}"


def test_an_address_that_does_not_answer_is_not_waited_for(servers, transport):
    """Its queue is full, so that the system drops what comes: the next address is tried beside it."""
    full = socket.create_server(("127.0.0.2", 0), backlog=0)
    waiting = []
    try:
        for _ in range(8):
            sock = socket.socket()
            waiting.append(sock)
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        server = servers(script=lambda peer: peer.answer(body=b"here"), port=full.getsockname()[1])

        def ask(host, port, family, kind):
            return [(socket.AF_INET, kind, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

        began = time.monotonic()
        with transport(Resolver(ask), connect_s=60.0).open(server.url(host="a.test")) as got:
            assert read(got) == b"here"
        assert 0.2 < time.monotonic() - began < SOON_S
    finally:
        for sock in (full, *waiting):
            sock.close()


def test_no_such_host(transport):
    with pytest.raises(NoSuchHost, match=r"b\.test") as caught:
        transport(names(a_test="127.0.0.1")).open("http://b.test/x")
    assert caught.value.url == "http://b.test/x"


def test_no_connection_is_free(serve, transport, soon):
    def answer(peer):
        peer.raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        peer.stall()

    mine = transport(per_host=1)
    with mine.open(serve(answer).url("/1")) as got, pytest.raises(TimedOut, match="in use"):
        mine.open(got.url, wait_s=LIMIT_S)
