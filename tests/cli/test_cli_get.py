"""``whichpool get`` as its users see it: arguments, lists, what is shown, events, receipts, exit codes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_types import Run, Start

from whichpool.cli.endings import ReaderGone
from whichpool.cli.get import _count, code_of
from whichpool.cli.get_command import size
from whichpool.cli.get_view import (
    FAILURES_SHOWN,
    Events,
    Lines,
    Screen,
    Tally,
    Ticker,
    View,
    clean,
    progress_line,
)
from whichpool.downloads import failures
from whichpool.downloads.board import Board, Progress, Snapshot
from whichpool.downloads.receipts import read_receipts
from whichpool.downloads.records import Receipt

# Long enough for a loaded machine; a test that gets here has failed. Seconds.
LONG = 30.0
DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5.0

    def do_HEAD(self) -> None:
        if self.path == "/nohead":
            self.send_error(405)
        else:
            self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))  # type: ignore[attr-defined]
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/secret" and self.headers["Authorization"] != "Basic bWU6b3Blbg==":
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.send_header("ETag", '"one"')
        if self.path == "/named":
            self.send_header("Content-Disposition", "attachment; filename*=UTF-8''na%C3%AFve.bin")
        self.end_headers()
        if not body:
            return
        if self.path == "/slow":
            self.wfile.write(DATA[:100])
            self.server.begun.set()  # type: ignore[attr-defined]
            for each in DATA[100:1000]:
                if self.server.go_on.wait(0.05):  # type: ignore[attr-defined]
                    break
                self.wfile.write(bytes([each]))
            self.close_connection = True
        else:
            self.wfile.write(DATA)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, *arguments: object) -> None:
        pass  # a client that leaves early is what some tests are about


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("WHICHPOOL_GET_USER", raising=False)
    monkeypatch.setenv("NETRC", os.devnull)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.begun, server.go_on = [], threading.Event(), threading.Event()  # type: ignore[attr-defined]
        server.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.go_on.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server: Server) -> str:
    return server.url  # type: ignore[attr-defined, no-any-return]


# --- fetching ------------------------------------------------------------------------------------------------


def test_files_are_fetched_and_summed_up(run: Run, url: str, work: Path) -> None:
    result = run("get", f"{url}/a.bin", f"{url}/named", f"{url}/sub/a.bin", "-d", "data")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (work / "data").iterdir()) == ["a-2.bin", "a.bin", "naïve.bin"]
    assert (work / "data" / "a.bin").read_bytes() == DATA
    assert result.stdout == ""
    assert re.fullmatch(r"whichpool: 3 files, 30\.7 kB in [\d.]+ m?s, .*/s\n", result.stderr)
    again = run("get", f"{url}/a.bin", "-d", "data")
    assert "0 files, 0 B in" in again.stderr
    assert "1 there already" in again.stderr


def test_one_file_under_a_given_name_with_its_checksum(run: Run, url: str, work: Path) -> None:
    result = run("get", f"{url}/x", "-o", "sub/name.bin", "--checksum", f"sha-256={SHA256}", "-q")
    assert (result.exit_code, result.output) == (0, "")
    assert (work / "sub" / "name.bin").read_bytes() == DATA
    wrong = run(
        "get", f"{url}/x", "-o", "wrong.bin", "--checksum", f"sha-256={'0' * 64}", "-q", "--retries", "0"
    )
    assert wrong.exit_code == 31
    assert "[corrupt]" in wrong.stderr
    assert not (work / "wrong.bin").exists()


def test_a_list_from_standard_input_or_a_file(run: Run, url: str, work: Path) -> None:
    text = (
        f"\ufeff# list\r\n{url}/gone\t{url}/a\r\n  out=first/a\r\n  checksum=sha-256={SHA256}\r\n{url}/b\r\n"
    )
    (work / "list.txt").write_text(text, "utf-8")
    for source, folder in (("list.txt", "one"), ("-", "two")):
        result = run("get", "-i", source, "-d", folder, f"{url}/c", stdin=text)
        assert result.exit_code == 0, result.output
        files = [path for path in (work / folder).rglob("*") if path.is_file()]
        assert {path.relative_to(work / folder).as_posix() for path in files} == {"first/a", "b", "c"}


def test_a_list_that_is_not_utf_8(run: Run, server: Server, url: str, work: Path) -> None:
    lines = f"{url}/caf\xe9\n{url}/b\n  out=\xe9t\xe9\nhttp://\xe9.example/\n{url}/c\n".encode("latin-1")
    (work / "list.txt").write_bytes(lines)
    for source, folder in (("list.txt", "one"), ("-", "two")):
        result = run("get", "-i", source, "-d", folder, stdin=lines)
        assert result.exit_code == 3, result.output
        assert ", line 4: 'http://é.example/' is no URL: its host is not UTF-8" in result.stderr
        assert {path.name for path in (work / folder).iterdir()} == {"café", "été", "c"}
    assert [path for _, path, _ in server.asked].count("/caf%E9") == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_what_the_command_itself_reads_and_writes_is_no_url_s_file(
    run: Run, url: str, work: Path, options: tuple[str, ...]
) -> None:
    listed = f"{url}/urls.txt\n{url}/R.jsonl\n{url}/sub/c.txt\n  out=sub/c.txt\n"
    (work / "urls.txt").write_text(listed)
    (work / "sub").mkdir()
    (work / "sub" / "c.txt").write_text("# Netscape HTTP Cookie File\n")
    given = ("-i", "urls.txt", "--receipt", "r.jsonl", "--cookies", "sub/c.txt", "-q", *options)
    assert run("get", *given).exit_code == 0
    assert (work / "urls.txt").read_text() == listed
    assert (work / "sub" / "c.txt").read_text() == "# Netscape HTTP Cookie File\n"
    paths = {receipt.path for receipt in read_receipts(work / "r.jsonl")}
    assert paths == {"urls-2.txt", "R-2.jsonl", "sub/c-2.txt"}
    assert {(work / str(path)).read_bytes() for path in paths} == {DATA}


def test_the_entries_of_a_file_are_counted_beforehand(run: Run, url: str, work: Path) -> None:
    (work / "list.txt").write_text(f"# list\n{url}/b\n  out=x\n\n{url}/a\r\n{url}/gone\r\n")
    assert _count("list.txt") == 3
    assert _count("-") is None
    os.truncate("list.txt", 100_000_000)
    assert _count("list.txt") is None


def test_a_bad_entry_is_left_out_and_the_rest_fetched(run: Run, url: str, work: Path) -> None:
    (work / "list.txt").write_text(f"{url}/a\nnonsense\n{url}/b\n  out=/etc/x\n{url}/c")
    result = run("get", "-i", "list.txt", "-d", "data")
    assert result.exit_code == 3
    assert sorted(path.name for path in (work / "data").iterdir()) == ["a", "c"]
    assert "list.txt, line 2: 'nonsense' is no URL" in result.stderr
    assert "list.txt, line 4: " in result.stderr
    assert "2 entries of lists left out" in result.stderr


def test_failures_have_their_codes_and_receipts(run: Run, url: str, work: Path) -> None:
    result = run("get", f"{url}/gone", f"{url}/secret", f"{url}/a", "--receipt", "r.jsonl", "-d", "data")
    assert result.exit_code == 21
    assert f"{url}/gone: " in result.stderr
    assert "[gone]" in result.stderr
    assert "[refused]" in result.stderr
    assert re.search(r"1 file, .*; 2 failed: 1 (gone|refused), 1 (gone|refused)\n", result.stderr)
    receipts = {receipt.url: receipt for receipt in read_receipts(work / "r.jsonl")}
    assert receipts[f"{url}/gone"].status == 404
    assert receipts[f"{url}/a"].digests == {"sha256": SHA256}
    assert run("get", f"{url}/gone", "-q").exit_code == 20


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_missing_extra_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    result = run("get", "s3://bucket/key", *options)
    assert result.exit_code == 19
    assert "pip install 'whichpool[fsspec]'" in result.stderr
    assert "unexpected" not in result.stderr


def test_headers_and_the_password_arrive_and_are_not_shown(
    run: Run, server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("get", f"{url}/secret", "--header", "X-One: 1", "--header", "X-One: 2", "--user", "me:open")
    assert result.exit_code == 0, result.output
    assert server.asked[-1][2]["X-One"] == "1, 2"  # type: ignore[attr-defined]
    monkeypatch.setenv("WHICHPOOL_GET_USER", "me:open")
    result = run("get", f"{url}/secret", "-o", "again", "--json")
    assert result.exit_code == 0, result.output
    assert "open" not in result.output


def test_events(run: Run, url: str, work: Path) -> None:
    (work / "list.txt").write_text(f"{url}/a\nnonsense\n{url}/gone\n")
    result = run("get", "--json", "-i", "list.txt", "-d", "data")
    assert result.exit_code == 20
    events = [json.loads(line) for line in result.stdout.splitlines()]
    start, *between, end = events
    assert start == {
        "event": "start", "schema": "whichpool.get", "version": 1, "whichpool": start["whichpool"], "folder": "data",
    }  # fmt: skip
    kinds = [event["event"] for event in between if event["event"] != "progress"]
    assert sorted(kinds) == ["bad", "receipt", "receipt"]
    receipts = {event["url"]: event for event in between if event["event"] == "receipt"}
    assert receipts[f"{url}/a"]["outcome"] == "fetched"
    assert receipts[f"{url}/gone"]["failure"] == "gone"
    assert next(event for event in between if event["event"] == "bad")["line"] == 2
    assert (end["event"], end["code"], end["files"], end["bad"]) == ("end", 20, 2, 1)
    assert (end["outcomes"], end["failures"]) == ({"fetched": 1, "failed": 1}, {"gone": 1})
    assert end["received_bytes"] == len(DATA)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no URLs"),
        (("example.org/x",), "write https://example.org/x"),
        (("work.py",), "to fetch what the file work.py lists: -i work.py"),
        (("nowhere",), "one begins with https://"),
        (("U", "V://w", "-o", "x"), "-o is for one URL"),
        (("U", "-i", "-", "--checksum", "md5=0"), "--checksum is for one URL"),
        (("U", "--checksum", "md5=0"), "1 digits, not 32"),
        (("U", "-o", "../x"), "-d says where files go"),
        (("U", "-o", "-"), "standard output cannot be taken back"),
        (("U", "--header", "nonsense"), "--header: a header looks like"),
        (("U", "--header", "Range: bytes=1-"), "sets it itself"),
        (("U", "--user", "secret"), "--user is NAME:PASSWORD"),
        (("U", "--newer", "--overwrite"), "contradict"),
        (("U", "--key", "work.py"), "give --cert too"),
        (("U", "--rate", "fast"), "no number of bytes such as 500k"),
        (("U", "--jobs", "0"), "x>=1"),
        (("U", "--stall-timeout", "nan"), "nan is no number of seconds"),
        (("U", "--connect-timeout", "inf"), "inf is no number of seconds"),
        (("U", "--cookies", "/bin/true"), "no cookies file in Netscape's format"),
        (("U", "--cookies", "nowhere"), "does not exist"),
        (("U", "--verify", "r"), "--verify fetches nothing"),
        (("U", "--dry-run", "--receipt", "r"), "--dry-run fetches nothing"),
        (("U", "--receipt", "-"), "printed by --json"),
        (("-i", "-", "-i", "-"), "read once only"),
    ],
)
def test_wrong_usage(run: Run, work: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("get", *("https://example.org/x" if one == "U" else one for one in arguments))
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "secret" not in result.stderr
    assert [path.name for path in work.iterdir()] == ["work.py"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-i", "nowhere"), "cannot read nowhere: No such file"),
        (("U", "--receipt", "no/such/folder"), "cannot write no/such/folder"),
        (("U", "--receipt", "work.py"), "no file of receipts"),
        (("--verify", "nowhere"), "cannot read nowhere"),
        (("--verify", "work.py"), "work.py, line 2: it is not JSON"),
    ],
)
def test_what_cannot_be_read_or_written(run: Run, work: Path, arguments: tuple[str, ...], said: str) -> None:
    before = (work / "work.py").read_text()
    result = run("get", *("file:///x" if one == "U" else one for one in arguments))
    assert result.exit_code == 3, result.output
    assert said in result.stderr
    assert (work / "work.py").read_text() == before


def test_a_folder_that_cannot_be_is_the_disks_failure(run: Run, url: str) -> None:
    assert run("get", f"{url}/a", "-d", "work.py/sub").exit_code == 32


# --- without fetching ----------------------------------------------------------------------------------------


def test_a_folder_is_verified(run: Run, url: str, work: Path) -> None:
    run("get", f"{url}/a", f"{url}/b", f"{url}/c", "-d", "data", "--receipt", "r.jsonl")
    good = run("get", "--verify", "r.jsonl", "-d", "data")
    assert good.exit_code == 0, good.output
    assert ": 3 as their receipts say" in good.stderr
    (work / "data" / "a").write_bytes(DATA[1:])
    (work / "data" / "b").write_bytes(DATA[:-1] + b"x")
    (work / "data" / "c").unlink()
    bad = run("get", "--verify", "r.jsonl", "-d", "data", "--json")
    assert bad.exit_code == 31
    events = [json.loads(line) for line in bad.stdout.splitlines()]
    assert {event["path"]: event["state"] for event in events if event["event"] == "file"} == {
        "a": "size", "b": "digest", "c": "missing",
    }  # fmt: skip
    assert (events[-1]["event"], events[-1]["code"]) == ("end", 31)
    said = run("get", "--verify", "r.jsonl", "-d", "data", "-q").stderr
    assert "whichpool: a: 10,239 bytes, not 10,240 [size]" in said
    assert "3 of 3 are not as their receipts say" in said


def test_a_dry_run_fetches_nothing(run: Run, server: Server, url: str, work: Path) -> None:
    (work / "there").write_bytes(b"")
    urls = [f"{url}/{name}" for name in ("a", "named", "nohead", "there", "gone", "x/a")]
    result = run("get", "--dry-run", *urls)
    assert result.exit_code == 20
    lines = [line.split(maxsplit=2)[2] for line in result.stdout.splitlines()]
    assert lines == [
        f"a  {url}/a", f"naïve.bin  {url}/named", f"nohead  {url}/nohead", f"there  (there already)  {url}/there",
        f"a-2  {url}/x/a",
    ]  # fmt: skip
    assert "4 files to fetch, 41.0 kB; 1 there already; " in result.stderr
    assert sorted(path.name for path in work.iterdir()) == ["there", "work.py"]
    assert {method for method, path, _ in server.asked if path != "/nohead"} <= {"HEAD", "GET"}  # type: ignore[attr-defined]
    events = [json.loads(line) for line in run("get", "--dry-run", "--json", *urls[:1]).stdout.splitlines()]
    assert events[1]["bytes"] == len(DATA)
    assert events[-1]["bytes_needed"] == len(DATA)
    assert events[-1]["bytes_free"] > 0


def test_a_dry_run_tells_when_the_disk_is_too_small(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whichpool.downloads.preflight.free_bytes", lambda folder: 100)
    result = run("get", "--dry-run", f"{url}/a")
    assert result.exit_code == 32
    assert "10.2 kB are needed, and 100 B are free" in result.stderr


# --- as a process --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_keeps_what_is_there(
    start: Start, server: Server, url: str, work: Path, number: int, code: int
) -> None:
    process = start("get", f"{url}/slow", "--json", "-d", "data")
    assert server.begun.wait(LONG)  # type: ignore[attr-defined]
    process.send_signal(number)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == code, err
    assert json.loads(out.splitlines()[-1])["code"] == code
    assert err == f"whichpool: {'interrupted' if code == 130 else 'terminated'}\n"
    assert not (work / "data" / "slow").exists()


def test_a_terminal_shows_bars_and_takes_them_away(start: Start, server: Server, url: str) -> None:
    leader, follower = pty.openpty()
    try:
        process = start("get", f"{url}/slow", f"{url}/a", "--retries", "0", stderr=follower)
        os.close(follower)
        seen = b""
        while b"/s" not in seen or b"slow" not in seen:
            seen += os.read(leader, 65_536)
        server.go_on.set()  # type: ignore[attr-defined]
        try:
            while more := os.read(leader, 65_536):
                seen += more
        except OSError:
            pass  # that is how the end is told
        process.wait(LONG)
    finally:
        os.close(leader)
    assert process.returncode == 25
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "of 2 files" in text
    assert text.rstrip().endswith("1 failed: 1 broken")


def test_who_stops_reading_events_ends_it(start: Start, server: Server, url: str) -> None:
    process = start("get", f"{url}/slow", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "start"
    process.stdout.close()
    # The next look at the board finds out, long before the file could end.
    assert process.wait(LONG) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_standard_output_is_needed_for_events_only(start: Start, url: str) -> None:
    closed = start("get", f"{url}/a", "--json", redirect=">&-", stdout=subprocess.DEVNULL)
    assert closed.wait(LONG) == 3
    fine = start("get", f"{url}/a", redirect=">&-", stdout=subprocess.DEVNULL)
    assert fine.wait(LONG) == 0


# --- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("500k", 500_000),
        ("5M", 5_000_000),
        ("5MB/s", 5_000_000),
        ("1.5GiB", 3 << 29),
        ("2 Ti", 2 << 40),
        ("1kb", 1000),
    ],
)
def test_sizes(text: str, amount: int) -> None:
    assert size(text) == amount


@pytest.mark.parametrize("text", ["", "0", "0.1", "-5M", "5X", "i", "1e6", "5 M M", "nan", "k"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no number of bytes"):
        size(text)


def test_the_highest_code_counts_and_all_are_in_the_help(run: Run) -> None:
    assert code_of([]) == 0
    assert code_of(["gone", "corrupt", "busy"]) == 31
    assert code_of(["from a later version"]) == 1
    classes = [
        one
        for one in vars(failures).values()
        if isinstance(one, type) and one.__mro__[1] is failures.DownloadFailed
    ]
    assert len(classes) == 14
    said = run("get", "--help").stdout
    for one in classes:
        assert re.search(rf"^ +{one.code}  {one.__name__.lower()}: ", said, re.MULTILINE), one
        assert code_of([one.__name__.lower()]) == one.code
    assert max(map(len, said.splitlines())) <= 80


def snapshot(**changes: object) -> Snapshot:
    fields = {
        "elapsed_s": 2.0, "received": 10, "per_s": 5e6, "left_s": 7.4, "active": 1, "ended": 3, "files": 10,
        "done": 10_000_000, "total": 47_000_000, "outcomes": {}, "busiest": (),
    }  # fmt: skip
    return Snapshot(**{**fields, **changes})  # type: ignore[arg-type]


def test_progress_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress_line(snapshot()) == "3 of 10 files, 10.0 MB of 47.0 MB, 5.00 MB/s, 7 s left"
    bare = snapshot(files=None, total=None, per_s=None, left_s=None, outcomes={"failed": 2})
    assert progress_line(bare) == "3 files, 10.0 MB, 2 failed"
    view = Lines()
    view.tick(snapshot(elapsed_s=0.5))
    assert capsys.readouterr().err == ""
    view.tick(snapshot())
    assert capsys.readouterr().err == "whichpool: 3 of 10 files, 10.0 MB of 47.0 MB, 5.00 MB/s, 7 s left\n"


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (
            100,
            [
                r"3 of 10 files +━+ +10\.0 MB of 47\.0 MB +5\.00 MB/s +7 s",
                r" +a\.iso +━+ +1\.00 MB of 2\.00 MB +- *",
            ],
        ),
        (
            62,
            [r"3 of 10 files +10\.0 MB of 47\.0 MB +5\.00 MB/s +7 s", r" +a\.iso +1\.00 MB of 2\.00 MB +- *"],
        ),
        (40, [r"3 of 10 files +21% +5\.00 MB/s +7 s", r" +a\.iso +50% +- *"]),
    ],
)
def test_bars_make_room_on_a_narrow_terminal(columns: int, shown: list[str]) -> None:
    from rich.console import Console

    one = Progress("a.iso", "u", 1_000_000, 2_000_000, None, None)
    view = Screen()
    view._console = Console(width=columns, file=io.StringIO())
    view._console.print(view._drawn(snapshot(busiest=(one,))))
    lines = [line.replace("╸", "━").replace("╺", "━") for line in view._console.file.getvalue().splitlines()]
    assert len(lines) == 2
    for line, pattern in zip(lines, shown, strict=True):
        assert re.fullmatch(pattern, line.rstrip()), line


def test_not_every_failure_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    view = View()
    for _ in range(FAILURES_SHOWN + 10):
        view.receipt(Receipt("https://example.org/\x1b[2J", "failed", failure="gone", message="a\x1b[31m\nb"))
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len(said.splitlines()) == FAILURES_SHOWN + 1
    assert clean("a\r\x9b\u202eb") == "a b"


def test_the_sum_of_all() -> None:
    tally = Tally()
    for number in range(3):
        tally.add(Receipt("u", "fetched", bytes=1000, fetched_bytes=500 * number))
    tally.add(Receipt("u", "unchanged", bytes=1000))
    tally.add(Receipt("u", "failed", failure="gone"))
    tally.bad = 1
    assert re.fullmatch(
        r"3 files, 1\.50 kB in .*s, .*/s; 1 there already; 1 failed: 1 gone; 1 entry of lists left out",
        tally.text(),
    )
    assert (tally.received, tally.bytes) == (1500, 4000)


def test_a_view_that_fails_interrupts_who_waits() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if "progress" in text:
                raise BrokenPipeError(32, "Broken pipe")
            return len(text)

    view = Events(Full(), "data")
    view.every_s = 0.01
    waiting = threading.Event()
    with pytest.raises(KeyboardInterrupt), Ticker(view, Board().snapshot) as ticker:
        waiting.wait(LONG)
    assert isinstance(ticker.failed, ReaderGone)
