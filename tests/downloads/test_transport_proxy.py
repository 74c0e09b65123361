"""Proxies: asked for plain URLs, tunnelled through for https; from the settings and from the environment."""

from __future__ import annotations

import base64
import socket
import threading

import pytest
from get_help import names, read

from whichpool.downloads.failures import NoSuchHost, NotTrusted, Refused, TimedOut, Unreachable, Unsafe

# The proxy looks the names of targets up; here, only its own is known.
PROXY = {"proxy_test": "127.0.0.1"}
JOE = "Basic " + base64.b64encode(b"joe:se@same").decode()


def forwards(to=None, refuse=None):
    """A proxy's answers: CONNECT is a tunnel to a server on this machine, the rest is answered by itself."""

    def answer(peer):
        if refuse is not None:
            peer.answer(refuse)
            return True
        if peer.request.method != "CONNECT":
            peer.answer(body=peer.request.target.encode())
            return True
        with socket.create_connection(("127.0.0.1", to.port)) as behind:
            peer.raw("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
            back = threading.Thread(target=pump, args=(behind, peer.socket))
            back.start()
            pump(peer.socket, behind)
            back.join()
        return False

    return answer


def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for sock in (one, other):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def proxy_url(server, user=""):
    return server.url("", host="proxy.test", user=user)


def test_plain(serve, transport):
    server = serve(forwards())
    mine = transport(names(**PROXY), proxy=proxy_url(server, "joe:se%40same@"))
    for host in ("a.test", "b.test"):
        with mine.open(f"http://ann:pw@{host}/x?y#z") as got:
            assert read(got) == f"http://{host}/x?y".encode()
            assert got.url == f"http://{host}/x?y"
        assert server.header("host") == host
        assert server.header("proxy-authorization") == JOE
    assert server.connections == 1


def test_tunnelled(serve, transport, tls, bundle):
    behind = serve(lambda peer: peer.answer(body=b"secret"), tls("a.test"))
    server = serve(forwards(behind))
    mine = transport(names(**PROXY), proxy=proxy_url(server, "joe:se%40same@"), ca_bundle=bundle)
    for _ in range(2):
        with mine.open("https://a.test/x", {"Authorization": "sesame"}) as got:
            assert read(got) == b"secret"
    assert [(one.method, one.target) for one in server.requests] == [("CONNECT", "a.test:443")]
    assert server.header("proxy-authorization") == JOE
    assert server.header("authorization") is None
    assert behind.targets == ["/x", "/x"]
    assert behind.header("proxy-authorization") is None
    assert behind.header("authorization") == "sesame"


def test_the_target_is_to_be_trusted_through_a_tunnel_too(serve, transport, tls, bundle):
    server = serve(forwards(serve(lambda peer: peer.answer(), tls("a.test"))))
    with pytest.raises(NotTrusted, match="mismatch"):
        transport(names(**PROXY), proxy=proxy_url(server), ca_bundle=bundle).open("https://b.test/x")


def test_an_encrypted_proxy(serve, transport, tls, bundle):
    behind = serve(lambda peer: peer.answer(body=b"secret" * 10_000), tls("a.test"))
    server = serve(forwards(behind), tls("proxy.test"))
    mine = transport(names(**PROXY), proxy=proxy_url(server), ca_bundle=bundle)
    with mine.open("http://a.test/x") as got:
        assert read(got) == b"http://a.test/x"
    with mine.open("https://a.test/x") as got:
        assert read(got) == b"secret" * 10_000


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        ("407 Who", Refused, False),
        ("403 No", Refused, False),
        ("502 Bad", Unreachable, True),
        ("504 Late", Unreachable, True),
    ],
)
def test_a_proxy_that_refuses(serve, transport, status, kind, again):
    server = serve(forwards(refuse=status))
    with pytest.raises(kind, match=rf"proxy proxy\.test:\d+ answered {status[:3]}") as caught:
        transport(names(**PROXY), proxy=proxy_url(server, "joe:sesame@")).open("https://a.test/x")
    assert (caught.value.status, caught.value.again) == (int(status[:3]), again)
    assert "sesame" not in str(caught.value)
    with pytest.raises(Refused if status < "5" else Exception):  # Busy, as from any server
        transport(names(**PROXY), proxy=proxy_url(server)).open("http://a.test/x")


def test_no_proxy_there(transport):
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listening.close()
    for url in ("http://a.test/", "https://a.test/"):
        with pytest.raises(Unreachable, match="the proxy"):
            transport(proxy=f"http://127.0.0.1:{port}").open(url)
        with pytest.raises(NoSuchHost, match=r"other\.test"):
            transport(names(**PROXY), proxy="http://other.test:1").open(url)


def test_a_tunnel_that_drips(serve, transport):
    server = serve(lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100, 0.02))
    with pytest.raises(TimedOut):
        transport(names(**PROXY), proxy=proxy_url(server), connect_s=0.25).open("https://a.test/")


def test_the_environment(serve, transport, monkeypatch, tls, bundle):
    behind = serve(lambda peer: peer.answer(body=b"secret"), tls("a.test"))
    server = serve(forwards(behind))
    direct = serve(lambda peer: peer.answer(body=b"direct"))
    monkeypatch.setenv("http_proxy", proxy_url(server, "joe:se%40same@"))
    monkeypatch.setenv("HTTPS_PROXY", proxy_url(server).removeprefix("http://"))
    monkeypatch.setenv("no_proxy", f"c.test,.d.test,127.0.0.1:{direct.port}")
    mine = transport(names(**PROXY, c_test="127.0.0.1", x_d_test="127.0.0.1"), ca_bundle=bundle)
    with mine.open("http://a.test/x") as got:
        assert read(got) == b"http://a.test/x"
    assert server.header("proxy-authorization") == JOE
    with mine.open("https://a.test/x") as got:
        assert read(got) == b"secret"
    for host in ("c.test", "x.d.test", "127.0.0.1"):
        with mine.open(direct.url(host=host)) as got:
            assert read(got) == b"direct"
    with transport(names(other_test="127.0.0.1"), proxy=proxy_url(server).replace("proxy.", "other.")).open(
        direct.url(host="c.test")
    ) as got:
        assert read(got) == direct.url(host="c.test").encode()


def test_a_redirect_changes_the_proxy(serve, transport, monkeypatch):
    direct = serve(lambda peer: peer.answer(body=b"direct"))
    server = serve(lambda peer: peer.answer("302 Found", location=direct.url()))
    monkeypatch.setenv("http_proxy", proxy_url(server))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with transport(names(**PROXY)).open("http://a.test/x") as got:
        assert read(got) == b"direct"


def test_socks(transport, monkeypatch):
    with pytest.raises(ValueError, match="socks5 proxy"):
        transport(proxy="socks5://joe:sesame@127.0.0.1")
    monkeypatch.setenv("all_proxy", "socks5://joe:sesame@127.0.0.1")
    with pytest.raises(Unreachable, match="socks5 proxy") as caught:
        transport().open("http://a.test/")
    assert not caught.value.again
    assert "sesame" not in str(caught.value)


def test_what_a_proxy_connects_to_cannot_be_checked(transport, monkeypatch):
    with pytest.raises(ValueError, match="private=False"):
        transport(proxy="http://127.0.0.1:1", private=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(Unsafe, match="private=False"):
        transport(private=False).open("http://a.test/")
