"""The benchmarks of downloads measure what they say: every peer fetches, what is wrong is seen, figures add up."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` is not installed: it is a folder of the checkout

from benchmarks.download import data, libcurl, link, memory, nginx, real, rounds, tables  # noqa: E402
from benchmarks.download.__main__ import main  # noqa: E402
from benchmarks.download.peers import OURS, PEERS, Task  # noqa: E402

TINY = data.Workload("tiny", 20, 3000)
"""More files than connections: a server of the standard library sends no ranges."""
INSTALLED = [name for name, peer in PEERS.items() if peer.version() is not None]


class Quiet(SimpleHTTPRequestHandler):
    """A server that keeps connections, and says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path) -> data.Served:
    root = tmp_path / "served"
    root.mkdir()
    return data.make(TINY, root)


@pytest.fixture
def base(served: data.Served) -> Iterator[str]:
    handler = partial(Quiet, directory=str(served.folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# ---- What is served ----------------------------------------------------------------------------------------


def test_files_are_random_and_as_many_as_said(served: data.Served) -> None:
    assert len(served.names) == 20
    assert served.total == 60_000
    contents = {(served.folder / name).read_bytes() for name in served.names}
    assert len(contents) == 20
    assert {len(one) for one in contents} == {3000}
    assert TINY.title == "20 x 3 KB"
    assert data.make(TINY, served.folder.parent) == served
    assert data.of_folder(served.folder, TINY.title) == served


def test_pictures_are_served_from_where_they_are_unpacked(tmp_path: Path) -> None:
    where, root = tmp_path / "png", tmp_path / "root"
    root.mkdir()
    said = real.clipart(root, where)
    assert isinstance(said, str)
    assert f"no pictures in {where} (Debian: apt-get install openclipart-png;" in said
    for name in ("a/x y.png", "b/x y.png", "b/read.me"):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(name)
    (where / "c.png").symlink_to("b/x y.png")
    served = real.clipart(root, where)
    assert isinstance(served, data.Served)
    assert (served.names, served.total) == (("000000.png", "000001.png"), 18)
    assert (served.folder / "000001.png").read_text() == "b/x y.png"


def test_the_three_workloads_are_the_default() -> None:
    assert [(w.count, w.size) for w in map(data.WORKLOADS.__getitem__, data.DEFAULT)] == [
        (2000, 20_000),
        (200, 1_000_000),
        (1, 2_000_000_000),
    ]


def test_differences_see_a_missing_a_wrong_a_short_file_and_a_part(
    served: data.Served, tmp_path: Path
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    for name in served.names:
        (to / name).write_bytes((served.folder / name).read_bytes())
    assert data.differences(served, to) is None
    data.flush(to)
    assert data.first_at(to) is not None
    (to / "x.part").touch()
    assert data.differences(served, to) == "left beside them: x.part"
    first, second, third = (to / name for name in served.names[:3])
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    third.write_bytes(third.read_bytes()[:-1] + bytes([third.read_bytes()[-1] ^ 1]))
    assert data.differences(served, to) == "1 files missing and 2 wrong, of 20"


def test_the_store_is_removed() -> None:
    with data.store() as root:
        (root / "x").touch()
    assert not root.exists()


# ---- The peers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("peer", "setting"), [*((name, "same") for name in INSTALLED), (OURS, "default")])
def test_every_peer_fetches(peer: str, setting: Any, served: data.Served, base: str, tmp_path: Path) -> None:
    record = rounds.once(peer, setting, served, base, tmp_path, timeout_s=60)
    assert "error" not in record, record
    assert 0 < record["cpu_s"] < 60
    assert 1 < record["peak_mb"] < 500
    assert 0 <= record["first_s"] <= record["wall_s"] + 0.1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["served"]


def test_a_large_file_is_asked_for_in_ranges_where_a_peer_can(tmp_path: Path) -> None:
    task = Task(["http://x/large/0.bin"], ("0.bin",), tmp_path, tmp_path, 16_000_000)
    assert "--chunk-size=1000000" in PEERS["wget2"].command(task, "same")
    assert PEERS["pypdl"].command(task, "same")[-2:] == ["16", "16"]
    many = Task([f"http://x/{n}" for n in range(16)], ("0",) * 16, tmp_path, tmp_path, 20)
    assert PEERS["pypdl"].command(many, "same")[-2:] == ["16", "0"]
    assert not [part for part in PEERS["wget2"].command(many, "same") if "chunk" in part]


def test_a_peer_that_fails_is_named_with_its_last_words(
    served: data.Served, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (served.folder / served.names[0]).rename(served.folder / "elsewhere")
    record = rounds.once(OURS, "same", served, base, tmp_path, timeout_s=60)
    assert record["error"].startswith("exit code 20, 1 files missing")


def test_a_peer_that_hangs_is_killed(
    served: data.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    monkeypatch.setitem(PEERS, "curl", rounds.PEERS["curl"].__class__("curl", lambda task, setting: hangs))
    assert rounds.once("curl", "same", served, "http://x", tmp_path, timeout_s=0.5) == {
        "error": "killed after 0.5 s"
    }


def test_memory_is_that_of_the_command_and_not_of_who_starts_it(tmp_path: Path) -> None:
    held = bytearray(os.urandom(1000)) * 100_000  # this process has 100 MB more, all of them touched
    record = rounds._launch([sys.executable, "-S", "-c", "pass"], tmp_path, 60)
    assert record["exit_code"] == 0
    assert record["peak_mb"] < 60
    assert len(held) == 10**8


# ---- Rounds ------------------------------------------------------------------------------------------------


def test_peers_take_turns_the_hopeless_sit_out_and_what_failed_is_not_tried_again(
    served: data.Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = {"curl": 1.0, "requests": 9.0, OURS: 9.0}
    order: list[str] = []

    def once(peer: str, *rest: object) -> dict[str, Any]:
        order.append(peer)
        return {"wall_s": took[peer]} if peer in took else {"error": "no"}

    monkeypatch.setattr(rounds, "once", once)
    said: list[str] = []
    peers = ["curl", "requests", "wget2", OURS]
    cells = rounds.rounds(peers, "same", served, "", tmp_path, repeat=2, timeout_s=1, say=said.append)
    assert order == ["curl", "requests", "wget2", OURS, OURS, "curl"]
    assert cells["wget2"]["error"] == "no"
    assert len(said) == 2


# ---- The line ----------------------------------------------------------------------------------------------


def test_a_server_is_reached_by_loopback_and_ends(served: data.Served) -> None:
    port = nginx.free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with link.serving(None, command, port) as up:
        assert (up.host, up.how) == ("127.0.0.1", "loopback")
        socket.create_connection((up.host, port), timeout=5).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((up.host, port), timeout=5)


def test_a_server_that_ends_is_named() -> None:
    command = [sys.executable, "-c", "pass"]
    with (
        pytest.raises(link.Impossible, match="does not answer"),
        link.serving(None, command, nginx.free_port()),
    ):
        pass


def test_a_line_without_root_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(link.Impossible, match=r"root|Linux"):
        link._lay({"line": {"round_trip_s": 0.02, "loss": 0.0}})


@contextlib.contextmanager
def carried(line: link.Line) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets for packets with a line between them."""
    here, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    stop, stopping = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with here, near, far, there, stop, stopping:
        thread = threading.Thread(target=link._carry, args=(near.fileno(), far.fileno(), line, stop))
        thread.start()
        try:
            yield here, there
        finally:
            stopping.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_packet_takes_half_a_round_trip_each_way() -> None:
    with carried(link.Line(0.1)) as (here, there):
        begin = time.perf_counter()
        here.send(b"ping")
        assert there.recv(100) == b"ping"
        middle = time.perf_counter()
        there.send(b"pong")
        assert here.recv(100) == b"pong"
        assert middle - begin >= 0.05
        assert time.perf_counter() - middle >= 0.05


def test_packets_keep_their_order_and_some_are_lost() -> None:
    with carried(link.Line(0.0, loss=0.5)) as (here, there):
        for number in range(100):
            here.send(b"%d" % number)
        here.setblocking(False)
        there.settimeout(0.5)
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(int(there.recv(100)))
    assert got == sorted(got)
    assert 20 < len(got) < 80


def test_lines_have_titles() -> None:
    assert link.Line(0.02).title == "20 ms"
    assert link.Line(0.02, 0.005).title == "20 ms, 0.5% loss"


def test_nginx_gets_a_configuration_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "path", lambda: "/usr/sbin/nginx")
    command = nginx.command(tmp_path, tmp_path, 8080)
    assert command[0] == "/usr/sbin/nginx"
    assert "listen 8080" in (tmp_path / "nginx.conf").read_text()
    monkeypatch.setattr(nginx, "path", lambda: None)
    with pytest.raises(FileNotFoundError, match="nginx-light"):
        nginx.command(tmp_path, tmp_path, 8080)
    assert main(["--workloads", "small"]) == 2


# ---- The figures -------------------------------------------------------------------------------------------


def cell(*walls: float, flush: float = 0.0, peak: float = 30.0) -> dict[str, Any]:
    return {"runs": [{"wall_s": w, "flush_s": flush, "cpu_s": w, "peak_mb": peak} for w in walls]}


def part(workload: str = "small", line: str = "loopback") -> dict[str, Any]:
    peers = {
        "curl": cell(1.0, 1.2, 9.0, flush=3.0),
        "aria2c": {"runs": [], "error": "killed"},
        "requests": cell(4.0),
        "aiohttp": cell(3.0),
        OURS: cell(2.4, peak=120.0),
    }
    return {"workload": workload, "title": "x", "link": line, "setting": "same", "peers": peers}


def test_ratios_are_of_medians_to_the_best_of_the_others() -> None:
    found = tables.ratios(part())
    assert (found["best"], found["best_python"], found["best_safe"]) == ("curl", "aiohttp", "aiohttp")
    assert found["to_best"] == pytest.approx(2.0)
    assert found["to_best_python"] == pytest.approx(0.8)
    assert found["to_curl"] == pytest.approx(2.0)
    assert found["to_best_safe"] == pytest.approx(0.8)
    assert tables.medians(part()["peers"]["aria2c"]) is None


def test_aims_depend_on_the_line_and_the_workload() -> None:
    def words(one: dict[str, Any]) -> list[tuple[str, float]]:
        return [(text, most) for text, _, most in tables.aims(one)]

    memory = ("peak memory, MB", 100.0)
    assert words(part()) == [("time / the best Python tool", 1.0), ("time / curl -Z", 2.0), memory]
    assert words(part("large")) == [("time / the best", 1.1), memory]
    assert words(part("medium", "20 ms")) == [("time / the best", 1.0), memory]
    assert words(part("medium")) == [memory]


def test_the_tables_print() -> None:
    run = {
        "machine": {"when": "now", "cpu": "x", "cores": 2, "python": "y"},
        "load": [[0.0], [1.0]],
        "options": {"repeat": 3},
        "took_s": 1.0,
        "parts": [part()],
        "left_out": ["wget2: not installed"],
    }
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        tables.show(run)
    text = out.getvalue()
    assert "killed" in text
    assert "peak memory, MB 120.00 (to reach: 100.00)  not reached" in text
    assert "left out: wget2: not installed" in text


def test_bad_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "nobody"])
    assert "is not one of" in capsys.readouterr().err


# ---- libcurl in place of our own connections -----------------------------------------------------------------

PYCURL = importlib.util.find_spec("pycurl") is not None


@pytest.mark.parametrize("way", [way for way in libcurl.WAYS if way != "libcurl" or PYCURL])
def test_every_transport_that_is_compared_fetches(
    way: str,
    base: str,
    served: data.Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from whichpool.downloads import run

    monkeypatch.setattr(run, "Transport", run.Transport)  # so that it is put back
    monkeypatch.setattr(libcurl, "SMALL", TINY)
    monkeypatch.setattr(libcurl, "BODY", data.Workload(TINY.name, 1, TINY.size))
    libcurl.child(way, TINY.name, base, str(tmp_path / "got"))
    if way != "nothing":
        assert data.differences(served, tmp_path / "got") is None
        libcurl.child(way, "body", base, "")
    for line in capsys.readouterr().out.splitlines():
        assert all(float(figure) > 0 for figure in line.split())
    if way == "libcurl":
        libcurl.child("pushed", "body", base, "")
        said = dict(libcurl.strictness())
        assert list(said) == list(libcurl.WRONG)
        assert said["less than the length says"].startswith("failed")


@pytest.mark.parametrize("name", libcurl.WRONG)
def test_what_libcurl_is_asked_about_is_a_failure_here(name: str) -> None:
    from whichpool.downloads.failures import Broken
    from whichpool.downloads.records import Settings
    from whichpool.downloads.transport import Transport

    with socket.create_server(("127.0.0.1", 0)) as listening, Transport(Settings()) as transport:
        serving = threading.Thread(target=libcurl._serve_once, args=(listening, libcurl.WRONG[name]))
        serving.start()
        with (
            pytest.raises(Broken),
            transport.open(f"http://127.0.0.1:{listening.getsockname()[1]}/") as answer,
        ):
            list(iter(partial(answer.read, libcurl.BLOCK), b""))
        serving.join()


# ---- A long list ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(nginx.path() is None, reason="nginx is not installed (Debian: nginx-light)")
def test_what_a_long_list_costs_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--counts", "3", "--there", "--folder", str(tmp_path)]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[way, "3"] for way in memory.WAYS]
    for _, _, first, all_of, peak in rows:
        assert 0 < float(first.removesuffix(" s")) < 60
        assert float(all_of.removesuffix(" s")) >= 0.1
        assert 10 < float(peak.removesuffix(" MB")) < 200
    assert list(tmp_path.iterdir()) == []
