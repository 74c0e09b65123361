"""The server of the tests does what it says: seen with http.client, urllib3 and bare sockets."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time

import hostile as h
import pytest
import urllib3
from hostile import JOIN_S


@pytest.fixture
def get(server):
    """A request over a connection that is kept."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)

    def get(path, method="GET", **headers):
        connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()

    yield get
    connection.close()


def exchange(server, request=b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"):
    """All that comes for one request until the server ends; "reset" if it ends so."""
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        connection.sendall(request)
        got = b""
        try:
            while piece := connection.recv(65_536):
                got += piece
        except ConnectionResetError:
            return got, "reset"
        return got, "end"


def test_good_answers_and_their_books(server, get):
    content = bytes(range(256)) * 10
    server.at("/a", h.serve(content, last_modified=1_700_000_000))
    answer, body = get("/a")
    assert (answer.status, body, answer.headers["ETag"]) == (200, content, '"v1"')
    answer, body = get("/a", Range="bytes=100-199", If_Range='"v1"')
    assert (answer.status, body) == (206, content[100:200])
    assert answer.headers["Content-Range"] == "bytes 100-199/2560"
    answer, body = get("/a", Range="bytes=100-", If_Range='"v0"')
    assert (answer.status, body) == (200, content)
    answer, body = get("/a", Range="bytes=9999-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */2560")
    assert get("/a", If_None_Match='"v1"')[0].status == 304
    assert get("/a", If_Modified_Since="Tue, 14 Nov 2023 22:13:20 GMT")[0].status == 304
    assert get("/a", If_Modified_Since="Tue, 14 Nov 2023 22:13:19 GMT")[0].status == 200
    assert get("/a", "HEAD")[1] == b""
    assert get("/nothing")[0].status == 404
    assert server.connections == 1, "connections are kept"
    assert [r.range for r in server.asked("/a")][:4] == [None, (100, 199), (100, None), (9999, None)]
    assert server.sent("/a") == 3 * 2560 + 100
    assert server.twice("/a") == 2 * 2560 + 100


def test_scripts_of_a_path_come_in_order(server, get):
    server.at("/a", h.status(503, [("Retry-After", "1")]), h.redirect("/b"), h.serve(b"x"))
    assert [get("/a")[0].status for _ in range(4)] == [503, 302, 200, 200]


@pytest.mark.parametrize("reset", [False, True])
def test_every_cut_is_where_it_says(server, reset):
    answer = h.whole(b"body body body", [("X-Other", "value")])
    places = h.cuts_of(answer)
    assert sorted(places.values()) == list(places.values())
    assert len(set(places.values())) == len(places)
    for place in places.values():
        server.at("/a", h.cut(answer, place, reset=reset))
        got, end = exchange(server)
        assert end == ("reset" if reset else "end")
        assert got == answer[:place] or (reset and answer[:place].startswith(got))


def test_chunks(server, get):
    content = bytes(range(200))
    for how in ["right", "trailers", "extensions"]:
        server.at("/a", h.broken_chunks(content, how))
        assert get("/a")[1] == content
    for how in h.CHUNK_FAULTS:
        if how == "no line end":
            continue  # they do not look at what is between chunks
        server.at("/a", h.broken_chunks(content, how))
        pool = urllib3.HTTPConnectionPool(server.host, server.port, timeout=20)
        with pytest.raises(
            (urllib3.exceptions.HTTPError, ValueError, OverflowError)
        ):  # sizes below 0; of 5,000 digits
            pool.urlopen("GET", "/a", retries=False)
        pool.close()


def test_ranges_that_are_none(server, get):
    content = bytes(range(200))
    server.at("/a", h.late_or_early(content, by=-10))
    answer, body = get("/a", Range="bytes=50-99")
    assert (answer.headers["Content-Range"], body) == ("bytes 40-99/200", content[40:100])
    server.at("/a", h.late_or_early(content, total=300))
    assert get("/a", Range="bytes=50-99")[0].headers["Content-Range"] == "bytes 50-99/300"
    server.at("/a", h.late_or_early(content, said=""))
    assert "Content-Range" not in get("/a", Range="bytes=50-99")[0].headers


def test_an_answer_that_stops_where_it_should(server):
    content = bytes(1_000)
    reached = threading.Event()
    server.at("/a", h.serve(content, stop_at=300, reached=reached, then="stall"))
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        assert reached.wait(20)
        assert server.sent("/a") == 300
    server.at("/a", h.serve(content, stop_at=300, then="close"))
    assert exchange(server)[0].endswith(b"\r\n\r\n" + bytes(300))
    server.at("/a", h.serve(content, stop_at=300, then="reset"))
    assert exchange(server)[1] == "reset"


def test_a_connection_that_ends_between_requests(server, get):
    server.at("/a", h.then_close(h.serve(b"x")))
    assert get("/a")[1] == b"x"
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get("/a")


def test_floods_end_when_the_client_goes(server):
    server.at("/a", h.endless(b"X-More: yes\r\n" * 1_000, b"HTTP/1.1 200 OK\r\n"))
    pool = urllib3.HTTPConnectionPool(server.host, server.port, timeout=20)
    with pytest.raises(urllib3.exceptions.HTTPError):
        pool.urlopen("GET", "/a", retries=False)
    pool.close()
    server.at("/b", h.flood(100_000))
    got, _ = exchange(server, b"GET /b HTTP/1.1\r\n\r\n")
    assert got.count(b"\r\nX-") == 100_000
    assert got.endswith(b"flooded")


def test_what_is_sent_before_anything_is_read(servers):
    early = servers(greeting=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with socket.create_connection((early.host, early.port), timeout=20) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("what", ["wrong_name", "expired", "self_signed"])
def test_certificates(servers, certificates, what):
    context = ssl.create_default_context(cafile=str(certificates.bundle))
    good, bad = servers(tls=certificates.good()), servers(tls=getattr(certificates, what)())
    good.at("/a", h.serve(b"secret"))
    connection = http.client.HTTPSConnection("127.0.0.1", good.port, context=context, timeout=20)
    connection.request("GET", "/a")
    assert connection.getresponse().read() == b"secret"
    connection.close()
    connection = http.client.HTTPSConnection("127.0.0.1", bad.port, context=context, timeout=20)
    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/a")
    connection.close()
    bad.wait_until(lambda s: s.tls_failures)
    assert not bad.requests


def test_it_stops_at_once_whatever_its_clients_do():
    started = time.monotonic()
    clients = []
    with h.Hostile() as server:
        server.at("/silent", h.silent)
        server.at("/slow", h.trickle(b"slowly", every_s=100))
        for request in [b"", b"GET /half", b"GET /silent HTTP/1.1\r\n\r\n", b"GET /slow HTTP/1.1\r\n\r\n"]:
            client = socket.create_connection((server.host, server.port), timeout=20)
            client.sendall(request)
            clients.append(client)
        server.wait_until(lambda s: len(s.requests) == 2 and s.connections == 4)
        assert server.busiest == 2
    assert time.monotonic() - started < JOIN_S
    for client in clients:
        client.close()


def test_a_fault_in_a_script_fails_the_test():
    def wrong(visit):
        raise KeyError("a fault of the test")

    with pytest.raises(KeyError), h.Hostile() as server:  # noqa: PT012
        server.at("/a", wrong)
        assert exchange(server)[0] == b""
