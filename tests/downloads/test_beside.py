"""What the page on downloading says of curl and aria2, and of whichpool beside them, is so; for those that are here."""

from __future__ import annotations

import shutil
import subprocess
import sys

import hostile as h
import pytest

PATIENCE_S = 60
COMMANDS = {
    "whichpool": [sys.executable, "-m", "whichpool", "get", "--quiet", "--retries", "0"],
    "curl": ["curl", "-s", "-L", "-O", "-C", "-"],
    "aria2": ["aria2c", "-q", "-c", "-m1", "--no-conf", "--no-netrc"],
}
HERE = [tool for tool, command in COMMANDS.items() if shutil.which(command[0])]


@pytest.fixture(params=HERE)
def tool(request):
    return request.param


@pytest.fixture
def run(tool, tmp_path, compiled, monkeypatch):
    """The tool's exit code for a URL, and what it has left."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("WHICHPOOL_CACHE", "")

    def run(url, *options, ca=None):
        trust = {"whichpool": "--ca-bundle", "curl": "--cacert", "aria2": "--ca-certificate"}[tool]
        command = [*COMMANDS[tool], *options, *([f"{trust}={ca}"] if ca and tool != "curl" else [])]
        command += [trust, str(ca)] if ca and tool == "curl" else []
        done = subprocess.run(
            [*command, url],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, {path.name: path.read_bytes() for path in folder.iterdir()}

    return run


def test_a_file_that_changed_between_two_runs(tool, run, server, noise):
    first, second = noise(300_000), noise(300_000, seed=1)
    url = server.at("/a", h.serve(first, stop_at=200_000, then="close"))
    code, left = run(url)
    assert code != 0
    assert ("a" in left) == (tool != "whichpool"), "the name, before all is there"
    server.at("/a", h.serve(second, etag='"v2"'))
    code, left = run(url)
    assert code == 0
    assert (left["a"] == second) == (tool == "whichpool"), "of two versions, and nobody was told"
    if tool != "whichpool":
        assert left["a"][-50_000:] == second[-50_000:]
        assert left["a"][:50_000] == first[:50_000]


def test_a_body_that_is_longer_than_its_length(tool, run, server):
    url = server.at("/a", h.raw(h.head(200, [("Content-Length", "3")]) + b"content"))
    code, left = run(url)
    assert (code == 0, "a" in left) == ((False, False) if tool == "whichpool" else (True, True))


def test_what_goes_along_to_another_host(tool, run, server, servers):
    other = servers(script=h.serve(b"x"))
    secrets = {"X-Api-Key": "1", "Authorization": "Bearer 2"}
    options = [text for name, value in secrets.items() for text in ("--header", f"{name}: {value}")]
    assert run(server.at("/a", h.redirect(other.url("/a"))), *options)[0] == 0
    got = {name for name in secrets if other.header(name)}
    assert got == {"whichpool": set(), "curl": {"X-Api-Key"}, "aria2": set(secrets)}[tool]


def test_from_https_to_http(tool, run, server, servers, certificates):
    safe = servers(tls=certificates.good())
    url = safe.at("/a", h.redirect(server.at("/b", h.serve(b"x"))))
    code, _ = run(url, ca=certificates.bundle)
    assert (code == 0) == (tool != "whichpool")
    assert len(server.requests) == (tool != "whichpool")
