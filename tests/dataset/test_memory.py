"""`max_memory` of a run over a dataset: it holds, whatever is done about it, and the answer is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dataset_work as work
import pytest
from click.testing import CliRunner

import whichpool
from whichpool.cli.app import app
from whichpool.dataset.cutting import usual_split_bytes
from whichpool.dataset.records import Source

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="reads /proc")
HERE = Path(__file__).parent
ROWS = 60_000

SCRIPT = """
import sys
sys.path.insert(0, {here!r})
import dataset_work as work, whichpool
report = whichpool.process({source!r}, work.{fn}, combine=work.add, split_bytes=200_000, **{options!r})
print(repr(report.value), report.splits)
"""


@pytest.fixture
def run(tree_memory):
    """In a process of its own: what it printed, its splits, and the peak of its tree in bytes."""

    def run(source: Path, fn: str, **options: object) -> tuple[str, int, int]:
        script = SCRIPT.format(here=str(HERE), source=str(source), fn=fn, options=options)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with tree_memory(process.pid) as held:
            said, _ = process.communicate()
        assert process.returncode == 0
        value, splits = said.split()
        return value, int(splits), held.peak

    return run


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "rows.csv"
    with path.open("w") as file:
        file.write("id,x,f\n")
        for n in range(ROWS):
            file.write(f"r{n},{n},{n / 7}\n")
    return path


@pytest.mark.parametrize("fn", ["takes_much", "keeps"])
def test_it_holds_for_the_whole_tree(large, fn, run):
    batch = {"takes_much": "dicts", "keeps": "dict"}[fn]
    shared = {"shared": "ok"} if fn == "keeps" else {}
    free, splits, most = run(large, fn, batch=batch, plan=(3, 1), **shared)
    assert free == str(ROWS)
    limit = 80_000_000
    assert most > limit  # without a limit it takes more than that
    value, same, peak = run(large, fn, batch=batch, plan=(3, 1), max_memory=limit, **shared)
    assert (value, same) == (free, splits)
    assert peak <= limit


def test_the_answer_is_the_same_to_the_last_bit(large, run):
    found = [
        run(large, "as_float", batch="dict", **options)[0]
        for options in [{"plan": "loop"}, {"max_memory": "1 GB"}, {"max_memory": "60 MB", "plan": (3, 1)}]
    ]
    assert len({*found}) == 1


def test_an_impossible_limit_is_an_error_with_the_figures(large, tmp_path):
    with pytest.raises(whichpool.OverMemory, match=r"max_memory is 5 MB.*this process.*hold.*at least"):
        whichpool.process(large, work.doubled, tmp_path / "out.csv", max_memory="5 MB")
    assert not (tmp_path / "out.csv").exists()


def test_a_plan_without_workers_is_refused(large):
    with pytest.raises(whichpool.PlanError, match="max_memory= is kept by worker processes"):
        whichpool.process(large, work.as_float, combine=work.add, plan="loop", max_memory="1 GB")
    with pytest.raises(whichpool.PlanError, match="max_memory='much' is no size"):
        whichpool.process(large, work.as_float, combine=work.add, max_memory="much")


def test_splits_are_shorter_under_a_limit():
    sources = [Source("a.csv", "csv", 10**10, 0)]
    usual = usual_split_bytes(sources, "dicts")
    limits = [whichpool.MemoryLimit(most) for most in (10**12, 10**9, 10**8, 10**6)]
    lengths = [usual_split_bytes(sources, "dicts", limit) for limit in limits]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == usual
    assert lengths[-2] < usual
    assert lengths[-1] == lengths[-1] >= 1 << 16


def test_from_a_shell(large, tmp_path, monkeypatch):
    monkeypatch.chdir(HERE)
    out = str(tmp_path / "out.jsonl")
    done = CliRunner().invoke(
        app, ["process", str(large), "dataset_work:doubled", "-o", out, "--max-memory", "1G"]
    )
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(
        app, ["process", str(large), "dataset_work:doubled", "-o", out, "--max-memory", "5M"]
    )
    assert refused.exit_code == 3
    assert "does not fit: max_memory is 5 MB" in refused.output
