"""``whichpool get`` as a program: lists, receipts, exit codes, --verify, and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import hostile as h
import pytest
from click.testing import CliRunner
from get_help import digest, files, finished, only

PATIENCE_S = 60
SECRET = "s3cr3t-and-only-h3re"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder that a command runs in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def command(here):
    """``whichpool get ...`` in this process: (code, out, err)."""
    from whichpool.cli.app import app

    def run(*args, stdin=None):
        done = CliRunner().invoke(app, ["get", *map(str, args)], input=stdin, prog_name="whichpool")
        assert "Traceback" not in done.stderr, done.stderr
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def program(here, compiled):
    """``python -m whichpool get ...``: (code, out, err)."""

    def run(*args):
        done = subprocess.run(
            [sys.executable, "-m", "whichpool", "get", *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def test_urls_as_arguments(server, program, here):
    code, _, err = program(server.at("/a", h.serve(b"a")), server.at("/b", h.serve(b"b")))
    assert code == 0, err
    only(here, {"a": b"a", "b": b"b"})


def test_one_url_and_its_name(server, command, tmp_path):
    code, _, err = command(server.at("/a", h.serve(b"a")), "-o", "mine.txt", "-d", tmp_path / "data")
    assert code == 0, err
    only(tmp_path / "data", {"mine.txt": b"a"})


def test_a_list_in_aria2s_format(server, servers, command, tmp_path, folder):
    other = servers()
    good = other.at("/b", h.serve(b"b"))
    sha = digest(b"b")["sha256"]
    text = (
        f"# a comment\n{server.at('/a', h.serve(b'a'))}\n\n"
        f"{server.at('/b', h.status(404))}\t{good}\n  out=bee.txt\n  checksum=sha-256={sha}\n  header=X-Mine: yes\n"
    )
    (tmp_path / "urls.txt").write_text(text)
    code, _, err = command("-i", tmp_path / "urls.txt", "-d", folder)
    assert code == 0, err
    only(folder, {"a": b"a", "bee.txt": b"b"})
    assert other.requests[0].headers["x-mine"] == "yes"
    code, _, err = command("-i", "-", "-d", folder / "again", stdin=text)
    assert code == 0, err
    only(folder / "again", {"a": b"a", "bee.txt": b"b"})


def test_what_cannot_be_fetched_ends_nothing_but_itself(server, command, tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    mirror = server.at("/c", h.serve(b"c"))
    (tmp_path / "urls.txt").write_text(
        f"s3://bucket/key\ngopher://host/1\n{server.at('/a', h.serve(b'a'))}\ns3://bucket/c\t{mirror}\n"
    )
    code, _, err = command("-i", tmp_path / "urls.txt", "-d", folder, "--receipt", tmp_path / "r")
    assert code == 19, err
    assert err.count("pip install 'whichpool[fsspec]'") == 2
    only(folder, {"a": b"a", "c": b"c"})
    told = {one["url"]: one for one in lines_of(tmp_path / "r")}
    assert told["s3://bucket/key"]["failure"] == told["gopher://host/1"]["failure"] == "unsupported"
    assert told["s3://bucket/key"]["attempts"] == 1
    code, _, err = command("-i", tmp_path / "urls.txt", "-d", folder / "dry", "--dry-run")
    assert code == 19, err


@pytest.mark.parametrize("line", ["  out=x\n", "not a url\n", "http://x/\n  checksum=sha-256=zz\n", "\x00\n"])
def test_a_list_that_is_wrong_is_told_with_its_line(command, tmp_path, folder, line):
    (tmp_path / "urls.txt").write_text("# one\n" + line)
    code, _, err = command("-i", tmp_path / "urls.txt", "-d", folder)
    assert code != 0
    assert "2" in err or "3" in err
    assert not folder.exists() or files(folder) == {}


EXIT_CODES = {
    "gone": (20, h.status(404)),
    "refused": (21, h.status(403)),
    "broken": (25, h.cut(h.whole(b"x" * 100), 120)),
    "busy": (26, h.status(503)),
    "badredirect": (27, h.status(302)),
    "corrupt": (
        31,
        h.serve(
            b"x", headers=[("Repr-Digest", "sha-256=:AAAA:"), ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")]
        ),
    ),
}


def test_exit_codes(server, command, program, folder, tmp_path):
    """The highest of all failures is the command's."""
    urls = {kind: server.at(f"/{kind}", script) for kind, (_, script) in EXIT_CODES.items()}
    good = server.at("/good", h.serve(b"x"))
    code, _, _ = program(good, urls["gone"], "-d", folder, "--retries", "0")
    assert code == 20
    receipts = tmp_path / "r.jsonl"
    code, _, err = command(good, *urls.values(), "-d", folder, "--retries", "0", "--receipt", receipts)
    assert code == 31, err
    assert {r["url"]: r.get("failure") for r in lines_of(receipts)} == {good: None} | {
        u: k for k, u in urls.items()
    }
    code, _, _ = command(urls["gone"], urls["broken"], "-d", folder, "--retries", "0")
    assert code == 25
    assert finished(folder) == {"good": b"x"}


def test_bad_arguments(command, server):
    assert command()[0] not in (0, *range(20, 33))
    assert command("--no-such-option")[0] == 2
    url = server.at("/a", h.serve(b"a"))
    assert command(url, "--rate", "fast")[0] == 2
    assert command(url, "--retries", "-1")[0] == 2
    assert server.requests == []


@pytest.mark.parametrize(
    "proxy", ["nonsense", "http://", "socks5://a:1", "http://a:99999", "http://a:1/path", "a b:1", "-j"]
)
def test_a_proxy_that_is_none_is_told_before_anything_begins(command, server, folder, proxy):
    code, _, err = command(server.at("/a", h.serve(b"a")), "-d", folder, f"--proxy={proxy}")
    assert code == 2, err
    assert "proxy" in err
    assert server.requests == []
    assert not folder.exists()


def test_receipts_and_verify(server, command, folder, tmp_path, noise):
    content = {f"{n}.bin": noise(1_000 + n, seed=n) for n in range(5)}
    urls = [server.at("/" + name, h.serve(body)) for name, body in content.items()]
    receipts = tmp_path / "r.jsonl"
    code, _, err = command(*urls, "-d", folder, "--receipt", receipts)
    assert code == 0, err
    told = lines_of(receipts)
    assert {r["path"]: r["digests"]["sha256"] for r in told} == {
        n: digest(b)["sha256"] for n, b in content.items()
    }
    assert {r["bytes"] for r in told} == {len(b) for b in content.values()}
    asked = len(server.requests)
    verify = ["--verify", receipts, "-d", folder]
    assert command(*verify)[0] == 0
    assert len(server.requests) == asked, "nobody is asked"
    # Each way in which a file is not the one any more.
    (folder / "0.bin").write_bytes(b"x" + content["0.bin"][1:])
    code, out, err = command(*verify)
    assert code != 0
    assert "0.bin" in out + err
    (folder / "0.bin").write_bytes(content["0.bin"])
    (folder / "1.bin").write_bytes(content["1.bin"] + b"x")
    assert command(*verify)[0] != 0
    (folder / "1.bin").unlink()
    code, out, err = command(*verify)
    assert code != 0
    assert "1.bin" in out + err
    (folder / "1.bin").write_bytes(content["1.bin"])
    assert command(*verify)[0] == 0
    with receipts.open("a") as file:
        file.write("garbage\n")
    assert command(*verify)[0] != 0


def test_verify_does_not_look_outside(command, folder, tmp_path):
    """A receipts file is somebody's word, too."""
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    line = {"url": "http://x/", "outcome": "fetched", "bytes": 1, "digests": digest(b"x")}
    for path in ["../secret", str(tmp_path / "secret"), "link"]:
        (tmp_path / "r.jsonl").write_text(json.dumps({**line, "path": path}) + "\n")
        assert command("--verify", tmp_path / "r.jsonl", "-d", folder)[0] != 0, path


def test_nothing_is_fetched_by_a_dry_run(server, command, folder):
    url = server.at("/a", h.serve(b"a"))
    code, out, err = command(url, "--dry-run", "-d", folder)
    assert code == 0, err
    assert "a" in out + err
    assert server.sent("/a") == 0
    assert not folder.exists() or files(folder) == {}


def test_events(server, command, folder):
    urls = [server.at("/a", h.serve(b"a" * 1_000)), server.at("/b", h.status(404))]
    code, out, _ = command(*urls, "--json", "-d", folder)
    assert code == 20
    events = [json.loads(line) for line in out.splitlines()]
    assert all(isinstance(event, dict) for event in events)
    assert any(urls[0] in json.dumps(event) for event in events)
    assert any("gone" in json.dumps(event) for event in events)


def test_quiet(server, program, folder):
    code, out, err = program(server.at("/a", h.serve(b"a")), "--quiet", "-d", folder)
    assert (code, out, err) == (0, "", "")


def test_escapes_do_not_reach_the_terminal(server, command, folder):
    bad = "\x1b]0;owned\x07\x1b[2J"
    urls = [
        server.at("/a", h.status(f"404 {bad}")),
        server.at("/b", h.serve(b"x", headers=[("Content-Disposition", f'attachment; filename="{bad}x"')])),
        server.at("/c", h.redirect(f"ftp://x/{bad}")),
        server.at("/%1b%5b2J", h.serve(b"x")),
    ]
    _, out, err = command(*urls, "-d", folder, "--retries", "0")
    assert "\x1b" not in out + err
    assert "\x07" not in out + err


def test_secrets_are_in_nothing_that_is_printed_or_written(server, command, folder, tmp_path, noise):
    body = noise(300_000)
    urls = [
        server.at("/a", h.serve(body)),
        server.at("/b", h.status(500)),
        server.at("/c", h.serve(body, stop_at=200_000, then="reset")),
    ]
    urls = [url.replace("//", f"//mole:{SECRET}@") for url in urls]
    options = ["--retries", "0", "--receipt", tmp_path / "r.jsonl", "--json", "-d", folder]
    _, out, err = command(*urls, "--header", f"X-Token: {SECRET}-2", *options)
    assert len(server.requests) == 3
    assert SECRET not in out + err
    assert SECRET not in (tmp_path / "r.jsonl").read_text()
    assert len(files(folder)) >= 3
    for name, content in files(folder).items():
        assert SECRET.encode() not in content, name


def test_no_private(server, command, folder):
    url = server.at("/a", h.serve(b"a"))
    code, _, _ = command(url, "--no-private", "-d", folder)
    assert code == 29
    assert server.connections == 0


def test_newer_and_overwrite(server, command, folder):
    url = server.at("/a", h.serve(b"a", last_modified=1_700_000_000))
    assert command(url, "-d", folder)[0] == 0
    assert command(url, "-d", folder)[0] == 0
    assert len(server.asked("/a")) == 1
    assert command(url, "-d", folder, "--newer")[0] == 0
    assert len(server.asked("/a")) == 2
    assert server.sent("/a") == 1
    assert command(url, "-d", folder, "--overwrite")[0] == 0
    assert server.sent("/a") == 2


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_key_in_the_middle(server, folder, tmp_path, noise, compiled, which):
    """It ends soon, by that signal or with its code; there is a receipt for what was done; the next run goes on."""
    body = noise(3_000_000)
    reached = threading.Event()
    url = server.at("/a", h.serve(body, stop_at=2_000_000, reached=reached))
    done = server.at("/done", h.serve(b"x"))
    receipts = tmp_path / "r.jsonl"
    arguments = [
        sys.executable,
        "-m",
        "whichpool",
        "get",
        done,
        url,
        "-d",
        str(folder),
        "--receipt",
        str(receipts),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert reached.wait(PATIENCE_S)
        server.wait_until(lambda s: s.sent("/a") == 2_000_000 and receipts.exists() and receipts.read_bytes())
        process.send_signal(which)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (-which, 128 + which)
    assert "Traceback" not in err
    assert finished(folder) == {"done": b"x"}
    assert [r.get("path") for r in lines_of(receipts) if r["outcome"] == "fetched"] == ["done"]
    server.at("/a", h.serve(body))
    again = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert again.returncode == 0, again.stderr
    if which != signal.SIGHUP:  # nobody has promised that for this one
        assert server.asked("/a")[-1].range is not None
    only(folder, {"done": b"x", "a": body})


def test_a_pipe_that_nobody_reads(server, folder, compiled):
    """``whichpool get --json ... | head -1``."""
    urls = [server.at(f"/{n}", h.serve(b"x" * 100)) for n in range(200)]
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "whichpool", "get", "--json", "-d", str(folder), *urls],
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in process.stderr
    assert all(content == b"x" * 100 for content in finished(folder).values())
