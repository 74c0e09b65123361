"""Servers and transports that end with their test: small ones, one that does everything wrong, and nginx."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import os
import random
import ssl
from contextlib import ExitStack
from dataclasses import replace

import pytest
import trustme
from hostile import Hostile
from lossy import Lossy
from real_nginx import LARGE_BYTES, SMALL_FILES, Nginx, find_nginx

from whichpool.downloads.folder import Folder
from whichpool.downloads.records import Settings
from whichpool.downloads.transport import Transport

# Long enough that a busy machine fails none; a test of waiting sets the one time that it is about.
QUICK = Settings(connect_s=5.0, first_byte_s=5.0, stall_s=5.0)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    """Neither the proxies nor the netrc nor the certificates of whoever runs the tests."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tmp_path):
    """A folder that files are fetched into."""
    made = Folder(str(tmp_path / "dir"))
    yield made
    made.close()


@pytest.fixture
def place(folder):
    """Where one file goes."""
    made = folder.place("f")
    yield made
    made.close()


@pytest.fixture
def serve():
    """Starts a server whose answers are all one script's."""
    with ExitStack() as stack:
        yield lambda script, tls=None: stack.enter_context(Hostile(script, tls=tls))


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


@pytest.fixture
def server():
    """A server on 127.0.0.1 that does what it is told."""
    with Hostile() as server:
        yield server


@pytest.fixture
def lossy():
    """Makes a bad line to a port of 127.0.0.1: ``lossy(port, seed, every_bytes)``."""
    with contextlib.ExitStack() as stack:
        yield lambda *how: stack.enter_context(Lossy(*how))


@pytest.fixture
def servers():
    """Makes further ones: ``servers(host="127.0.0.2")``, ``servers(tls=context)``."""
    with contextlib.ExitStack() as stack:
        yield lambda **how: stack.enter_context(Hostile(**how))


class Certificates:
    """A certificate authority of the tests' own, and certificates of it."""

    def __init__(self, folder):
        self._ca, self._other = trustme.CA(), trustme.CA()
        self.bundle = folder / "ca.pem"
        """Trust in it: for ``ca_bundle``."""
        self._ca.cert_pem.write_to_path(str(self.bundle))
        self.client = folder / "client.pem"
        self._ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
            str(self.client)
        )

        self.pem = self._ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.bytes()
        """A key and a certificate for 127.0.0.1 and localhost."""

    def _context(self, certificate, *, asks=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        if asks:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def good(self, *, asks=False):
        """For 127.0.0.1 and localhost; ``asks``: only clients with a certificate are let in."""
        return self._context(self._ca.issue_cert("127.0.0.1", "localhost"), asks=asks)

    def wrong_name(self):
        return self._context(self._ca.issue_cert("elsewhere.example"))

    def expired(self):
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return self._context(self._ca.issue_cert("127.0.0.1", not_before=now - 30 * day, not_after=now - day))

    def self_signed(self):
        """Of an authority that nobody knows."""
        return self._context(self._other.issue_cert("127.0.0.1"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def compiled(monkeypatch, tmp_path_factory):
    """Programs that a test starts compile what they import once in a session, not each time, also where nothing is
    to be compiled beside the source."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    if "PYTHONPYCACHEPREFIX" not in os.environ:
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.getbasetemp() / "compiled"))


@pytest.fixture(scope="session")
def noise():
    """``noise(bytes)``: content without a pattern, so that a byte in a wrong place shows; the same each time."""
    made = {}

    def noise(size, seed=0):
        if (size, seed) not in made:
            made[size, seed] = random.Random(seed).randbytes(size)
        return made[size, seed]

    return noise


@pytest.fixture(scope="session")
def nginx(tmp_path_factory, certificates, noise):
    """nginx with 300 small files and one of 64 MB."""
    program = find_nginx()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    nginx = Nginx(program, tmp_path_factory.mktemp("nginx"), certificates.pem)
    try:
        for n in range(SMALL_FILES):
            (nginx.root / "small" / f"{n:04}.bin").write_bytes(noise(100 + 37 * n, seed=n))
        block = noise(1_000_000)
        with open(nginx.root / "large.bin", "wb") as file:
            for n in range(LARGE_BYTES // len(block)):
                file.write(n.to_bytes(8, "big") + block[8:])
        (nginx.root / "packed").mkdir()
        text = b"plain text, many times over\n" * 1_000
        (nginx.root / "packed" / "text.txt").write_bytes(text)
        (nginx.root / "packed" / "text.txt.gz").write_bytes(gzip.compress(text))
        yield nginx
    finally:
        nginx.stop()
