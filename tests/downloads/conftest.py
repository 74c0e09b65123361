"""Servers and transports that end with their test."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import replace

import pytest
import trustme
from netkit import Server

from whichpool.downloads.records import Settings
from whichpool.downloads.transport import Transport

# Long enough that a busy machine fails none; a test of waiting sets the one time that it is about.
QUICK = Settings(connect_s=5.0, first_byte_s=5.0, stall_s=5.0)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """Neither the proxies nor the netrc of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture
def serve():
    """Starts a `netkit.Server`."""
    with ExitStack() as stack:

        def start(answer, tls=None):
            server = Server(answer, tls)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def transport():
    """Makes a transport: `QUICK` settings with changes."""
    with ExitStack() as stack:

        def make(resolver=None, **changes):
            return stack.enter_context(Transport(replace(QUICK, **changes), resolver=resolver))

        yield make


@pytest.fixture(scope="session")
def authority():
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def bundle(authority, tmp_path):
    """Its certificate, as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def tls(authority):
    """Makes a server's context, for some names."""

    def make(*hosts, clients=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*hosts).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(context)
        return context

    return make
