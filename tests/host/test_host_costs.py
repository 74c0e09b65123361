"""Start costs: what a start teaches, what is kept on disk, and that a bad disk is never an error."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._host import costs
from whichpool._records import StartCosts
from whichpool.files import cache_folder

DEFAULT = StartCosts()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    return clock


def test_nothing_known_is_the_defaults(tmp_path: Path) -> None:
    assert costs.CostBook(None).load() == DEFAULT
    assert costs.CostBook(str(tmp_path / "none.json")).load() == DEFAULT
    assert not DEFAULT.measured


def test_the_first_start_replaces_the_guess_and_the_next_ones_correct_it() -> None:
    book = costs.CostBook(None)
    book.record(first_worker_s=0.2)
    assert book.load() == StartCosts(first_worker_s=0.2, measured=True)
    book.record(first_worker_s=0.1, worker_s=0.004)
    assert book.load().first_worker_s == pytest.approx(0.2 + 0.3 * (0.1 - 0.2))
    assert book.load().worker_s == 0.004
    assert book.load().thread_s == DEFAULT.thread_s


def test_a_thread_alone_does_not_count_as_measured() -> None:
    book = costs.CostBook(None)
    book.record(thread_s=0.0002)
    assert book.load() == StartCosts(thread_s=0.0002, measured=False)


def test_an_outlier_counts_little_and_a_lasting_change_gets_through() -> None:
    book = costs.CostBook(None)
    book.record(worker_s=0.01)
    book.record(worker_s=50.0)
    assert book.load().worker_s == pytest.approx(0.01 + 0.3 * (0.04 - 0.01))
    for _ in range(40):
        book.record(worker_s=1.0)
    assert book.load().worker_s == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("nonsense", [0.0, -1.0, float("nan"), float("inf"), None])
def test_nonsense_is_passed_over(nonsense: float | None) -> None:
    book = costs.CostBook(None)
    book.record(first_worker_s=nonsense, worker_s=nonsense, thread_s=nonsense)
    assert book.load() == DEFAULT


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_whatever_is_recorded_the_mean_stays_among_what_is_believed(starts: list[float]) -> None:
    book = costs.CostBook(None)
    for start in starts:
        book.record(first_worker_s=start, thread_s=start)
    assert 1e-4 <= book.load().first_worker_s <= 60.0
    assert 1e-6 <= book.load().thread_s <= 1.0


def test_load_gives_the_same_object_until_a_start_is_recorded() -> None:
    book = costs.CostBook(None)
    first = book.load()
    assert book.load() is first
    book.record(worker_s=0.5)
    assert book.load() is not first


def test_what_is_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "start.json"
    book = costs.CostBook(str(path))
    book.record(first_worker_s=0.1234567890123, worker_s=3e-3, thread_s=5e-05)
    assert book.flush()
    assert json.loads(path.read_text()) == {
        "first_worker_s": 0.1234567890123,
        "worker_s": 0.003,
        "thread_s": 5e-05,
    }
    assert costs.CostBook(str(path)).load() == book.load()
    assert [entry.name for entry in path.parent.iterdir()] == ["start.json"]


@given(st.dictionaries(st.sampled_from(sorted(costs._LIMITS_S)), st.floats(1e-4, 1.0)))
def test_any_json_writer_may_have_written_it(known: dict[str, float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "start.json"
        for indent in (None, 2):
            path.write_text(json.dumps({"comment": "by hand", **known}, indent=indent))
            assert costs._read(str(path)) == known


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"worker_s": 0.2',
        b'{"worker_s": "much"}',
        b'{"worker_s": NaN}',
        b'{"worker_s": 1e99}',
        b'{"worker_s": -1}',
        b'{"unknown_s": 0.1}',
        b"{" * 100_000,
    ],
)
def test_a_damaged_file_is_ignored_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "start.json"
    path.write_bytes(content)
    book = costs.CostBook(str(path))
    assert book.load() == DEFAULT
    book.record(worker_s=0.25)
    assert book.flush()
    assert costs.CostBook(str(path)).load().worker_s == 0.25


def test_it_is_written_at_most_once_a_minute(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "start.json"
    book = costs.CostBook(str(path))
    book.record(worker_s=0.1)
    clock.now_s += 59.9
    book.record(worker_s=0.1)
    assert not path.exists()
    clock.now_s += 0.1
    book.record(worker_s=0.1)
    assert json.loads(path.read_text()) == {"worker_s": pytest.approx(0.1)}
    clock.now_s += 59.9
    book.record(worker_s=0.4)
    assert json.loads(path.read_text()) == {"worker_s": pytest.approx(0.1)}
    clock.now_s += 0.1
    book.record(worker_s=0.4)
    assert json.loads(path.read_text())["worker_s"] > 0.2


def test_a_small_change_is_not_worth_a_write_but_small_changes_add_up(tmp_path: Path) -> None:
    path = tmp_path / "start.json"
    book = costs.CostBook(str(path))
    book.record(worker_s=0.1)
    assert book.flush()
    assert not book.flush()
    written = 0
    for _ in range(10):
        book.record(worker_s=book.load().worker_s * 1.1)  # 3 % a time
        written += book.flush()
    assert written == 2


def _unusable(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "file").write_text("not a folder")
    return {
        "under a file": tmp_path / "file" / "start.json",
        "a folder": tmp_path,
        "a name with a null": tmp_path / "a\0b" / "start.json",
        "a name too long": tmp_path / ("x" * 5000) / "start.json",
    }[kind]


@pytest.mark.parametrize("kind", ["under a file", "a folder", "a name with a null", "a name too long"])
def test_a_disk_that_refuses_is_memory_only(tmp_path: Path, clock: Clock, kind: str) -> None:
    path = _unusable(tmp_path, kind)
    before = sorted(tmp_path.iterdir())
    book = costs.CostBook(str(path))
    clock.now_s += 1000
    book.record(worker_s=0.5)
    assert not book.flush()
    assert book.load().worker_s == 0.5
    assert sorted(tmp_path.iterdir()) == before
    assert not list(tmp_path.parent.glob("*.part"))


def test_what_could_not_be_written_is_written_when_the_disk_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.write_text("in the way")
    book = costs.CostBook(str(folder / "start.json"))
    book.record(worker_s=0.5)
    assert not book.flush()
    folder.unlink()
    assert book.flush()
    assert costs.CostBook(book.path).load().worker_s == 0.5


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_is_read_only_is_memory_only(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    book = costs.CostBook(str(folder / "start.json"))
    book.record(worker_s=0.5)
    assert not book.flush()
    assert not list(folder.iterdir())


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "start.json"
    start = threading.Barrier(9)
    torn: list[str] = []

    def write(seconds: float) -> None:
        start.wait(30)
        for turn in range(30):
            costs._write(str(path), {"worker_s": seconds + turn / 1000, "first_worker_s": seconds})

    def read() -> None:
        start.wait(30)
        for _ in range(200):
            if path.exists() and set(json.loads(path.read_text())) != {"worker_s", "first_worker_s"}:
                torn.append(path.read_text())

    threads = [threading.Thread(target=write, args=(n + 1.0,)) for n in range(8)]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not torn
    assert [entry.name for entry in tmp_path.iterdir()] == ["start.json"]
    assert json.loads(path.read_text())["first_worker_s"] in [n + 1.0 for n in range(8)]


def test_threads_that_record_together_do_not_fail_and_stay_in_range() -> None:
    book = costs.CostBook(None)
    start = threading.Barrier(4)
    failed: list[BaseException] = []

    def work() -> None:
        start.wait(30)
        try:
            for _ in range(500):
                book.record(worker_s=0.1, thread_s=0.0002)
                book.load()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert book.load().worker_s == pytest.approx(0.1)


def test_the_cache_variable_names_the_folder(tmp_path: Path) -> None:
    costs.record(first_worker_s=0.07)
    costs.flush()
    (written,) = (tmp_path / "cache").iterdir()
    assert str(written) == costs.costs_file()
    assert json.loads(written.read_text()) == {"first_worker_s": 0.07}
    assert costs.load() == StartCosts(first_worker_s=0.07, measured=True)


def test_an_empty_cache_variable_keeps_nothing_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHICHPOOL_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    costs.record(first_worker_s=0.07)
    costs.flush()
    assert costs.load().first_worker_s == 0.07
    assert costs.costs_file() is None
    assert not list(tmp_path.iterdir())


def test_flush_without_anything_known_does_nothing(tmp_path: Path) -> None:
    costs.flush()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs is asked")
@pytest.mark.parametrize("xdg", [None, "", "/somewhere/else", "relative/one", "  "])
@pytest.mark.parametrize("home", ["/home/someone", "/home/someone/"])
def test_the_folder_is_the_one_platformdirs_names(
    monkeypatch: pytest.MonkeyPatch, xdg: str | None, home: str
) -> None:
    platformdirs = pytest.importorskip("platformdirs")
    monkeypatch.delenv("WHICHPOOL_CACHE", raising=False)
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    expected = platformdirs.user_cache_dir("whichpool")
    if os.path.isabs(expected):
        assert cache_folder() == expected
    else:
        assert cache_folder() == "/home/someone/.cache/whichpool"


def test_machines_and_interpreters_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {costs.costs_file()}
    others: list[tuple[object, str, object]] = [
        (costs, "_machine_id", lambda: "another"),
        (sys, "executable", "/usr/bin/another"),
        (sys, "version", "3.14.0 free-threading build"),
    ]
    for target, name, value in others:
        with monkeypatch.context() as patch:
            patch.setattr(target, name, value)
            names.add(costs.costs_file())
    assert len(names) == 4
    assert costs.costs_file() in names


PROGRAM = """
import sys
sys.path[:] = {path!r}
from whichpool._host import costs
assert costs.load().worker_s == {expected!r}, costs.load()
costs.record(worker_s=0.25)
heavy = {{"json", "platformdirs", "hashlib", "tempfile", "threading"}} & set(sys.modules)
assert not heavy, heavy
"""


def _run(expected: float, **environ: str) -> None:
    subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM.format(path=sys.path, expected=expected)],
        check=True,
        timeout=60,
        env={**os.environ, **environ},
    )


def test_a_short_program_writes_at_its_end_and_loads_nothing_heavy(tmp_path: Path) -> None:
    _run(DEFAULT.worker_s)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    _run(0.25)


def test_a_worker_process_writes_nothing(tmp_path: Path) -> None:
    _run(DEFAULT.worker_s, WHICHPOOL_WORKER="1")
    assert not (tmp_path / "cache").exists()
