"""Connections are kept and used again, only where that is safe."""

from __future__ import annotations

import socket
import threading

import pytest
from get_help import read

from whichpool.downloads.failures import Broken, Gone


def test_used_again(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"x" * 1000))
    mine = transport()
    for _ in range(5):
        with mine.open(server.url()) as got:
            assert len(read(got)) == 1000
    assert server.connections == 1


def test_used_again_after_chunks_and_small_errors(serve, transport):
    def answer(peer):
        if peer.request.target == "/gone":
            peer.answer("404 No", b"x" * 1000)
        else:
            peer.answer(body=b"2\r\nhe\r\n0\r\n\r\n", content_length=None, transfer_encoding="chunked")

    server = serve(answer)
    mine = transport()
    for _ in range(3):
        with mine.open(server.url()) as got:
            assert read(got) == b"he"
        with pytest.raises(Gone):
            mine.open(server.url("/gone"))
    assert server.connections == 1


def test_a_large_error_is_not_read(serve, transport):
    server = serve(lambda peer: peer.answer("404 No", b"x" * 1_000_000))
    mine = transport()
    for _ in range(2):
        with pytest.raises(Gone):
            mine.open(server.url())
    assert server.connections == 2


def test_half_read_is_closed(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"x" * 100_000))
    mine = transport(per_host=1)
    for _ in range(3):
        with mine.open(server.url()) as got:
            assert got.read(10) == b"x" * 10
        got.close()
        assert got.read(10) == b""
    assert server.connections == 3


def test_forgotten(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"x" * 1_000_000))
    mine = transport(per_host=1)
    for _ in range(3):
        assert mine.open(server.url()).read(10) == b"x" * 10
    assert server.connections == 3


def test_read_to_the_end_is_free_before_it_is_closed(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"xy"))
    mine = transport(per_host=1)
    with mine.open(server.url()) as one:
        assert one.read(10) == b"xy"
        with mine.open(server.url()) as two:
            assert read(two) == b"xy"
        assert one.read(10) == b""
    assert server.connections == 1


def test_told_to_close(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"xy", connection="close"))
    mine = transport(per_host=1)
    for _ in range(3):
        with mine.open(server.url()) as got:
            assert read(got) == b"xy"
    assert server.connections == 3


def test_closed_meanwhile(serve, transport):
    """The server hears the second request and closes without an answer, as if the two had crossed."""
    count = threading.local()

    def answer(peer):
        count.of = getattr(count, "of", 0) + 1
        if count.of == 2:
            return False
        peer.answer(body=b"xy")
        return True

    server = serve(answer)
    mine = transport()
    for _ in range(4):
        with mine.open(server.url()) as got:
            assert read(got) == b"xy"
    assert server.connections == 4
    assert len(server.requests) == 7


def test_reset_meanwhile(serve, transport):
    def answer(peer):
        if peer.request.connection == 0 and len(peer.server.requests) == 2:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        peer.answer(body=b"xy")
        return True

    server = serve(answer)
    mine = transport()
    for _ in range(2):
        with mine.open(server.url()) as got:
            assert read(got) == b"xy"
    assert server.connections == 2


def test_a_new_connection_that_is_closed_is_a_failure(serve, transport):
    server = serve(lambda peer: False)
    with pytest.raises(Broken, match="without an answer"):
        transport().open(server.url())
    assert len(server.requests) == 1


def test_half_an_answer_is_not_asked_for_twice(serve, transport):
    def answer(peer):
        if len(peer.server.requests) == 2:
            peer.raw("HTTP/1.1 200")
            return False
        peer.answer(body=b"xy")
        return True

    server = serve(answer)
    mine = transport()
    with mine.open(server.url()) as got:
        read(got)
    with pytest.raises(Broken):
        mine.open(server.url())
    assert len(server.requests) == 2


def test_no_more_connections_than_allowed(serve, transport):
    ready = threading.Barrier(3)

    def answer(peer):
        ready.wait(10)
        peer.answer(body=b"xy")

    server = serve(answer)
    mine = transport(per_host=3)

    def fetch():
        with mine.open(server.url()) as got:
            read(got)

    threads = [threading.Thread(target=fetch) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.connections == 3


def test_closing_leaves_open_answers_alone(serve, transport):
    server = serve(lambda peer: peer.answer(body=b"x" * 1_000_000))
    mine = transport()
    with mine.open(server.url()) as got:
        mine.close()
        assert len(read(got)) == 1_000_000
    with pytest.raises(Broken, match="closed") as caught:
        mine.open(server.url())
    assert not caught.value.again
    mine.close()
