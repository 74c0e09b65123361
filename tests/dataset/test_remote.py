"""Input that fsspec reads: its rows are those of the file, each worker reads its own part; what cannot be is said."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import fsspec
import outside_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import remote_work  # registers shelf://
from range_server import serving

import whichpool
from whichpool.dataset import storage
from whichpool.dataset.failures import BadInput, InputChanged, RemoteFailed
from whichpool.dataset.sources import resolve

HERE = Path(__file__).parent
ROWS = [{"x": str(n), "y": f'q"{n}\n'} for n in range(600)]
DATA = work.as_csv([["x", "y"], *[[*row.values()] for row in ROWS]])


def value(source, fn=work.listed, **options):
    return whichpool.process(source, fn, **{"combine": work.add, "plan": "loop", **options}).value


@pytest.fixture
def shelf(tmp_path):
    """Two CSV files, a folder of them; and a Parquet file."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.csv", "deep/b.csv", ".hidden.csv"):
        (tmp_path / "in" / name).write_bytes(DATA)
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=100)
    return f"shelf://{tmp_path}"


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("plan", ["loop", (0, 2), (2, 1)], ids=str)
def test_a_file_a_list_a_glob_and_a_folder_on_every_plan(shelf, plan):
    report = whichpool.process(f"{shelf}/in/a.csv", work.listed, combine=work.add, split_bytes=500, plan=plan)
    assert report.value == ROWS
    assert report.splits > 10
    assert report.bytes_in == len(DATA)
    for source in (
        [f"{shelf}/in/deep/b.csv", f"{shelf}/in/a.csv"],
        f"{shelf}/in",
        f"{shelf}/in/",
        [f"{shelf}/in/*.csv", f"{shelf}/in/d*/b.csv"],
    ):
        assert value(source, plan=plan, split_bytes=3000) == ROWS * 2


def test_file_urls_are_local_paths(shelf, tmp_path):
    assert value(f"file://{tmp_path}/in/a.csv") == ROWS
    assert value(f"file://{tmp_path}/in/*.csv") == ROWS
    assert [each.fs for each in resolve(f"file://{tmp_path}/in")[0]] == [None, None]
    with pytest.raises(whichpool.dataset.failures.BadOutput, match="is a file of the input"):
        whichpool.process(f"file://{tmp_path}/in/a.csv", work.same, tmp_path / "in" / "a.csv")


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_row_groups_are_read_by_the_worker_itself(shelf, plan):
    report = whichpool.process(
        f"{shelf}/n.parquet", work.listed, combine=work.add, split_bytes=1, plan=plan, columns=["x"]
    )
    assert ([row["x"] for row in report.value], report.splits) == ([*range(1000)], 10)
    some = whichpool.process(
        f"{shelf}/n.parquet", work.listed, combine=work.add, split_bytes=1, plan=plan, where=[("x", ">", 750)]
    )
    assert ([row["x"] for row in some.value], some.splits) == ([*range(751, 1000)], 3)


def test_text_is_cut_without_reading_all_of_it(shelf, tmp_path, monkeypatch):
    (tmp_path / "n.txt").write_text("".join(f"{n:>99}\n" for n in range(20_000)))
    read = []
    inner = remote_work.Shelf.cat_file
    monkeypatch.setattr(
        remote_work.Shelf,
        "cat_file",
        lambda self, path, start, end: read.append(end - start) or inner(self, path, start, end),
    )
    assert value(f"{shelf}/n.txt", work.lines, split_bytes=400_000) == [f"{n:>99}" for n in range(20_000)]
    # The head; and for each split the end of a line, and its bytes.
    assert sum(read) <= 4096 + len(read) // 2 * 65_536 + 2_000_000


def test_whole_files_as_bytes_as_text_and_as_a_path_that_is_there_for_the_call(memory, tmp_path):
    for name in ("a.bin", "deep/b.bin"):
        memory.pipe(f"/in/{name}", name.encode())
    assert sorted(value("memory://in", lambda content: [content], batch="bytes")) == [b"a.bin", b"deep/b.bin"]
    seen = value("memory://in", lambda path: [(path, path.name, path.read_text())], batch="path")
    assert sorted((name, text) for _, name, text in seen) == [("a.bin", "a.bin"), ("b.bin", "deep/b.bin")]
    assert not any(path.exists() for path, _, _ in seen)
    whichpool.process("memory://in", work.upper, f"{tmp_path}/out/", plan="loop")
    assert (tmp_path / "out" / "deep" / "b.bin").read_bytes() == b"DEEP/B.BIN"


def test_what_is_in_this_process_only_stays_in_it(memory):
    memory.pipe("/in/a.csv", DATA)
    memory.pipe("/in/a.csv.gz", gzip.compress(DATA))
    report = whichpool.process("memory://in/a.csv", work.listed, combine=work.add, split_bytes=500)
    assert report.value == ROWS
    assert "in the memory of this process" in report.notes[0]
    assert value("memory://in/a.csv.gz", plan=(0, 2)) == ROWS
    for plan in ("processes", (2, 1), (1, 4)):
        with pytest.raises(whichpool.PlanError, match="no other would see it"):
            value("memory://in/a.csv", plan=plan)


def test_what_changes_while_it_is_read_is_named(memory, shelf, tmp_path):
    def rewrites(rows: list[dict]) -> list[dict]:
        (tmp_path / "in" / "a.csv").write_bytes(DATA + b"more,z\n")
        return rows

    with pytest.raises(InputChanged, match=r"shelf://.*a\.csv changed while it was being read"):
        value(f"{shelf}/in/a.csv", rewrites, split_bytes=1000)
    memory.pipe("/a.csv", b"x\n1\n2\n")

    def same_size(rows: list[dict]) -> list[dict]:
        memory.pipe("/a.csv", b"x\n1\n3\n")
        return rows

    with pytest.raises(InputChanged, match=r"memory://.*a\.csv changed"):
        value("memory://a.csv", same_size)


def test_a_cut_line_is_named_without_secrets_and_the_run_goes_on(shelf, tmp_path):
    out = tmp_path / "out.csv"
    source = f"{shelf}/in/a.csv"
    options = {"split_bytes": 400, "plan": "loop", "header": ["x", "y"]}
    sources, _ = resolve(source)
    assert sources[0].version
    whole = whichpool.process(source, work.same, out, **options)
    expected = out.read_bytes()
    out.unlink()

    def falls(rows: list[dict], at: str = str(tmp_path / "in" / "DOWN"), stop: str = "400") -> list[dict]:
        if any(row["x"] == stop for row in rows) and not Path(at + "-once").exists():
            Path(at).touch()
            Path(at + "-once").touch()
        return rows

    with pytest.raises(RemoteFailed, match=r"shelf://.*a\.csv could not be read \(ConnectionError") as caught:
        whichpool.process(source, falls, out, **options)
    assert "secret" not in str(caught.value)
    assert not out.exists()
    (tmp_path / "in" / "DOWN").unlink()
    report = whichpool.process(source, falls, out, **options)
    assert 0 < report.resumed < report.splits == whole.splits
    assert out.read_bytes() == expected


def test_another_version_of_a_remote_file_runs_again(memory, tmp_path):
    for name in "ab":
        memory.pipe(f"/{name}.csv", b"x\n1\n2\n")
    stop = tmp_path / "stop"
    stop.touch()

    def fn(rows: list[dict], stop: str = str(stop)) -> list[dict]:
        if rows[-1]["x"] == "4" and Path(stop).exists():
            raise KeyboardInterrupt
        return rows

    memory.pipe("/c.csv", b"x\n3\n4\n")
    sources = [f"memory://{name}.csv" for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        whichpool.process(sources, fn, tmp_path / "out.csv", plan="loop")
    stop.unlink()
    memory.pipe("/b.csv", b"x\n7\n8\n")  # as long as before
    report = whichpool.process(sources, fn, tmp_path / "out.csv", plan="loop")
    assert (tmp_path / "out.csv").read_text().split() == ["x", "1", "2", "7", "8", "3", "4"]
    assert report.resumed == 1
    assert any("file changed: memory://" in note for note in report.notes)


def test_the_version_is_read_the_same_way_from_a_listing_and_from_the_file():
    from datetime import UTC, datetime

    class Fs:
        def modified(self, path):
            raise NotImplementedError

        def ukey(self, path):
            return "key"

    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    same = {
        storage._version(Fs(), "", {"LastModified": told})
        for told in (moment, "2026-01-02T03:04:05Z", "Fri, 02 Jan 2026 03:04:05 GMT")
    }
    assert len(same) == 1
    assert storage._version(Fs(), "", {"ETag": 'W/"a"', "mtime": 5}) == "ETag a"
    assert storage._version(Fs(), "", {"ETag": '"a"', "mtime": 5}, "mtime 5") == "mtime 5"
    assert storage._version(Fs(), "", {"size": 3}) == "ukey key"


def test_what_is_not_there_or_cannot_be_asked(memory, monkeypatch):
    memory.pipe("/a/b.csv", b"x\n1\n")
    for source, said in (
        ("memory://a/c.csv", "there is no file memory://a/c.csv"),
        ("memory://a/*.tsv", r"no file matches 'memory://a/\*.tsv'"),
        ("nosuch://a/c.csv", "Protocol not known"),
    ):
        with pytest.raises(BadInput, match=said):
            value(source)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(whichpool.MissingExtra, match=r"pip install 'whichpool\[fsspec\]'"):
        value("memory://a/b.csv")


# In a process of its own: fsspec keeps a thread and its connections for the life of the process.
SCRIPT = """
import json, sys
sys.path.insert(0, {here!r})
import outside_work as work, whichpool
def run(url, fn, **options):
    try:
        report = whichpool.process(url, fn, **{{"combine": work.add, **options}})
    except whichpool.WhichpoolError as error:
        return {{"error": type(error).__name__, "said": str(error)}}
    return {{"value": report.value, "splits": report.splits, "notes": report.notes}}
two = (2, 1)
print(json.dumps({{
    "ranges": run("{url}/ranges/a.csv", work.listed, split_bytes=2000, plan=two),
    "none": run("{url}/none/a.csv", work.listed, split_bytes=2000, plan=two),
    "endless": run("{url}/endless/a.csv", work.listed, split_bytes=2000, plan=two),
    "signed": run("{url}/ranges/a.csv?X-Signature=secret", work.listed, split_bytes=2000, plan="loop"),
    "folder": run("{url}/ranges/in/", work.listed, plan="loop"),
    "gz": run("{url}/ranges/a.csv.gz", work.listed, plan="loop"),
    "short": run("{url}/ranges/short.csv.gz?token=secret", work.listed, plan="loop"),
    "plain": run("{url}/ranges/plain.csv.gz", work.listed, plan="loop"),
    "parquet": run("{url}/ranges/n.parquet", work.listed, split_bytes=1, plan=two, where=[("x", ">", 750)]),
    "no parquet": run("{url}/none/n.parquet", work.listed, plan="loop"),
    "refused": run("{url}/refused/a.csv?key=secret", work.listed, plan="loop"),
    "missing": run("{url}/ranges/b.csv", work.listed, plan="loop"),
}}))
"""


def test_http_with_and_without_ranges(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "in/a.csv", "in/b.csv", "plain.csv.gz"):
        (tmp_path / name).write_bytes(DATA)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(DATA))
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress(DATA)[:-9])
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=100)
    with serving(tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(here=str(HERE), url=server.url)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "secret" not in done.stdout + done.stderr
    assert (found["ranges"]["value"], found["ranges"]["notes"]) == (ROWS, [])
    assert found["ranges"]["splits"] >= 5
    assert found["signed"]["value"] == found["gz"]["value"] == ROWS
    assert found["folder"]["value"] == ROWS * 2
    for how in ("none", "endless"):
        assert found[how]["value"] == ROWS
        assert found[how]["splits"] == 1
        assert (
            "is read from its beginning by one worker: its server gives no part of it"
            in found[how]["notes"][0]
        )
    assert found["parquet"] == {"value": [{"x": n} for n in range(751, 1000)], "splits": 3, "notes": []}
    for name, said in (
        ("no parquet", "fetch it first (whichpool get)"),
        ("short", "is cut short or damaged"),
        ("plain", "does not begin as a .gz file does"),
        ("refused", "it is not given (ClientResponseError: 403"),
        ("missing", "there is no file"),
    ):
        assert found[name]["error"] == "BadInput"
        assert said in found[name]["said"]
