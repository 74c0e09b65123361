"""``private=False``: the address that is connected to is what counts, however one came there."""

from __future__ import annotations

import socket

import pytest
from get_help import names, read

from whichpool.downloads import connect
from whichpool.downloads.failures import Unsafe
from whichpool.downloads.resolve import KEPT_S, Resolver


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "169.254.169.254"]
)
def test_private_addresses(transport, host):
    for scheme in ("http", "https"):
        with pytest.raises(Unsafe, match="public") as caught:
            transport(private=False).open(f"{scheme}://{host}:9/x")
        assert not caught.value.again
        assert caught.value.url.endswith("/x")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "localhost"])
def test_other_ways_to_write_them(transport, host):
    """Whatever the resolver makes of it is checked."""

    def ask(host, port, family, kind):
        return [(socket.AF_INET, kind, 6, "", ("127.0.0.1", port))]

    with pytest.raises(Unsafe):
        transport(Resolver(ask), private=False).open(f"http://{host}:9/")


def test_names_of_private_addresses(serve, transport):
    server = serve(lambda peer: peer.answer())
    with pytest.raises(Unsafe, match=r"a\.test has no public address"):
        transport(names(a_test="127.0.0.1"), private=False).open(server.url(host="a.test"))
    assert server.connections == 0
    with transport(names(a_test="127.0.0.1")).open(server.url(host="a.test")):
        pass


@pytest.fixture
def one_is_public(monkeypatch):
    """127.0.0.1 counts as public, since no test has a public server; nothing else does."""
    monkeypatch.setattr(connect, "is_public", lambda address: address == "127.0.0.1")


def test_a_redirect_to_one(serve, transport, one_is_public):
    server = serve(lambda peer: peer.answer("302 Found", location=f"http://127.0.0.2:{peer.server.port}/in"))
    with pytest.raises(Unsafe) as caught:
        transport(private=False).open(server.url())
    assert caught.value.url == f"http://127.0.0.2:{server.port}/in"
    assert len(server.requests) == 1


def test_a_name_that_leads_elsewhere_the_next_time(serve, transport, one_is_public):
    now = [0.0]
    answers = ["127.0.0.1", "127.0.0.2"]

    def ask(host, port, family, kind):
        return [(socket.AF_INET, kind, 6, "", (answers.pop(0), port))]

    server = serve(lambda peer: peer.answer(body=b"x", connection="close"))
    mine = transport(Resolver(ask, clock=lambda: now[0]), private=False)
    for _ in range(2):  # within its time, the name is not asked for again
        with mine.open(server.url(host="a.test")) as got:
            assert read(got) == b"x"
    now[0] += KEPT_S
    with pytest.raises(Unsafe):
        mine.open(server.url(host="a.test"))
    assert server.connections == 2


def test_of_several_addresses_the_public_ones_are_used(serve, transport, one_is_public):
    def ask(host, port, family, kind):
        return [(socket.AF_INET, kind, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    server = serve(lambda peer: peer.answer(body=b"x"))
    with transport(Resolver(ask), private=False).open(server.url(host="a.test")) as got:
        assert read(got) == b"x"


def test_files_and_other_systems_are_none_of_the_internets(transport, tmp_path):
    (tmp_path / "x").write_text("x")
    for url in ((tmp_path / "x").as_uri(), "memory://x"):
        with pytest.raises(Unsafe, match="http and https only"):
            transport(private=False).open(url)
