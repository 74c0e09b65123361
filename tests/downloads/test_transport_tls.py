"""TLS: who is trusted, and that a line which was cut is no end."""

from __future__ import annotations

import pytest
from get_help import names, read

from whichpool.downloads.failures import BadRedirect, Broken, NotTrusted, Refused, Unreachable

A = {"a_test": "127.0.0.1", "b_test": "127.0.0.1"}


def hello(peer):
    peer.answer(body=b"hello" * 50_000)


def test_trusted(serve, transport, tls, bundle):
    server = serve(hello, tls("a.test"))
    mine = transport(names(**A), ca_bundle=bundle)
    for most in (1 << 20, 1000):
        with mine.open(server.url(host="a.test")) as got:
            assert read(got, most) == b"hello" * 50_000
    assert server.connections == 1


def test_an_address_in_the_certificate(serve, transport, tls, bundle):
    with transport(ca_bundle=bundle).open(serve(hello, tls("127.0.0.1")).url()) as got:
        assert len(read(got)) == 250_000


def test_trusted_by_the_environment(serve, transport, tls, bundle, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with transport(names(**A)).open(serve(hello, tls("a.test")).url(host="a.test")) as got:
        assert len(read(got)) == 250_000


def test_nobody_vouches_for_it(serve, transport, tls):
    server = serve(hello, tls("a.test"))
    with pytest.raises(NotTrusted, match=r"a\.test:\d+ is not trusted: .*certificate") as caught:
        transport(names(**A)).open(server.url(host="a.test"))
    assert not caught.value.again
    assert not server.requests


def test_a_wrong_name(serve, transport, tls, bundle):
    server = serve(hello, tls("a.test"))
    with pytest.raises(NotTrusted, match="Hostname mismatch"):
        transport(names(**A), ca_bundle=bundle).open(server.url(host="b.test"))
    assert not server.requests


def test_an_expired_certificate(serve, transport, authority, bundle):
    import datetime
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.issue_cert("a.test", not_after=past).configure_cert(context)
    with pytest.raises(NotTrusted, match="expired"):
        transport(names(**A), ca_bundle=bundle).open(serve(hello, context).url(host="a.test"))


def test_no_tls_where_it_should_be(serve, transport):
    server = serve(lambda peer: peer.answer())
    with pytest.raises(Unreachable, match="no encrypted connection") as caught:
        transport().open(server.url().replace("http:", "https:"))
    assert not caught.value.again


def test_a_client_certificate(serve, transport, tls, bundle, authority, tmp_path):
    mine = tmp_path / "mine.pem"
    authority.issue_cert("me@a.test").private_key_and_cert_chain_pem.write_to_path(str(mine))
    server = serve(hello, tls("a.test", clients=True))
    with transport(names(**A), ca_bundle=bundle, client_cert=(mine, None)).open(
        server.url(host="a.test")
    ) as got:
        assert len(read(got)) == 250_000
    with pytest.raises(Refused, match="certificate required"):
        transport(names(**A), ca_bundle=bundle).open(server.url(host="a.test"))


def test_a_client_certificate_is_not_shown_to_another_host(
    serve, transport, tls, bundle, authority, tmp_path
):
    mine = tmp_path / "mine.pem"
    authority.issue_cert("me@a.test").private_key_and_cert_chain_pem.write_to_path(str(mine))
    other = serve(hello, tls("b.test", clients=True))
    first = serve(
        lambda peer: peer.answer("302 Found", location=other.url(host="b.test")), tls("a.test", clients=True)
    )
    with pytest.raises(Refused, match="certificate required"):
        transport(names(**A), ca_bundle=bundle, client_cert=(mine, None)).open(first.url(host="a.test"))
    assert len(first.requests) == 1
    assert not other.requests


def test_files_that_are_none(transport, tmp_path):
    with pytest.raises(ValueError, match="ca_bundle"):
        transport(ca_bundle=tmp_path / "nothing")
    (tmp_path / "empty").write_text("nonsense")
    with pytest.raises(ValueError, match="ca_bundle"):
        transport(ca_bundle=tmp_path / "empty")
    with pytest.raises(ValueError, match="client_cert"):
        transport(client_cert=(tmp_path / "empty", None))


@pytest.mark.parametrize("cut", [False, True])
def test_the_end_of_the_connection_is_an_end_only_if_it_was_told(serve, transport, tls, bundle, cut):
    """Without a length, who cuts the line could make a file shorter."""

    def answer(peer):
        peer.raw("HTTP/1.1 200 OK\r\n\r\nhello")
        if not cut:
            peer.sock = peer.socket.unwrap()
        return False

    server = serve(answer, tls("a.test"))
    with transport(names(**A), ca_bundle=bundle).open(server.url(host="a.test")) as got:
        if cut:
            with pytest.raises(Broken):
                read(got)
        else:
            assert read(got) == b"hello"


def test_from_https_to_http(serve, transport, tls, bundle):
    plain = serve(lambda peer: peer.answer(body=b"plain"))
    server = serve(lambda peer: peer.answer("302 Found", location=plain.url(host="a.test")), tls("a.test"))
    with pytest.raises(BadRedirect, match="https to http"):
        transport(names(**A), ca_bundle=bundle).open(server.url(host="a.test"))
    assert not plain.requests
    with transport(names(**A), ca_bundle=bundle, downgrade=True).open(
        server.url(host="a.test"), {"Authorization": "sesame"}
    ) as got:
        assert read(got) == b"plain"
    assert server.header("authorization") == "sesame"
    assert plain.header("authorization") is None


def test_from_http_to_https(serve, transport, tls, bundle):
    server = serve(hello, tls("a.test"))
    plain = serve(lambda peer: peer.answer("301 Moved", location=server.url(host="a.test")))
    with transport(names(**A), ca_bundle=bundle).open(plain.url(host="a.test")) as got:
        assert got.url.startswith("https://a.test:")
