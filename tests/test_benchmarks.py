"""The benchmarks measure what they say: each workload is right at a tiny size, and the figures add up."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` is not installed: it is a folder of the checkout

from benchmarks import child, compare, engines, machine, micro, report, runner, server, suite, workloads  # noqa: E402
from benchmarks.peers import PEERS, chunk  # noqa: E402

RATE, SCALE = 20_000.0, 0.01
"""A rate a thousandth of a real one: the "10 ms" items take 10 us."""
NEEDS_NUMPY = {"arrays-in", "arrays-out"}


def tiny(url: str = "") -> suite.Setting:
    return suite.Setting(RATE, SCALE, url)


@pytest.fixture(scope="module")
def url() -> Any:
    with server.running() as address:
        yield address


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "ARRAY_VALUES", 2000)
    monkeypatch.setattr(suite, "CLOSURE_BYTES", 25_600)
    monkeypatch.setattr(suite, "FIRST_CALL_S", 0.01)


def job(name: str, url: str) -> suite.Job:
    if name in NEEDS_NUMPY:
        pytest.importorskip("numpy")
    return suite.WORKLOADS[name][1](tiny(url))


@pytest.mark.parametrize("name", suite.WORKLOADS)
def test_the_loop_passes_the_check(name: str, url: str) -> None:
    made = job(name, url)
    made.check([made.function(item) for item in made.items])


@pytest.mark.parametrize("name", suite.WORKLOADS)
def test_the_check_refuses_a_wrong_result(name: str, url: str) -> None:
    made = job(name, url)
    results = [made.function(item) for item in made.items]
    with pytest.raises(AssertionError):
        made.check(results[:-1])
    with pytest.raises(AssertionError):
        made.check([results[1], results[0], *results[2:]])


def test_there_are_the_fifteen_workloads_with_their_full_numbers() -> None:
    assert len(suite.WORKLOADS) == 15
    full = suite.Setting(rate=1e6)
    assert len(suite.tiny(full).items) == 200_000
    assert [len(make(full).items) for make in (suite.python_50us, suite.python_10ms, suite.python_500ms)] == [
        20_000,
        200,
        8,
    ]
    assert len(suite.ten_of_10us(full).items) == 10


@pytest.mark.parametrize("n", [0, 1, 2, 3, 64, 1000])
def test_the_shortcuts_of_the_checks_agree_with_the_work(n: int) -> None:
    assert workloads.stepped(5, n) == workloads.spin((5, n))
    table = bytes(range(256)) * 4
    expected = workloads.looked_up(5, n)
    assert workloads.look_up(table, (5, n)) == expected
    assert workloads.closure_over(table)((5, n)) == expected


def test_the_portable_closure_can_be_pickled_and_agrees() -> None:
    made = suite.closure_50mb(tiny())
    assert made.portable is not None
    travelled = pickle.loads(pickle.dumps(made.portable))
    made.check([travelled(item) for item in made.items])
    with pytest.raises(Exception, match="local object"):
        pickle.dumps(made.function)


def test_skewed_durations_are_skewed() -> None:
    steps = sorted(n for _, n in suite.skewed(suite.Setting(rate=1e6)).items)
    assert steps[-1] > 20 * steps[len(steps) // 2]


def test_chunks_are_four_a_worker() -> None:
    assert [chunk(n, 2) for n in (0, 1, 8, 9, 200_000)] == [1, 1, 1, 2, 25_000]


# ---- One measured process ----------------------------------------------------------------------------------


def test_measure_gives_cold_and_warm_and_closes() -> None:
    made = suite.ten_of_10us(tiny())
    closed: list[int] = []
    record = child.measure(
        made, lambda: (lambda f, items: [f(x) for x in items], lambda: closed.append(1)), True
    )
    assert record["cold_s"] > 0
    assert len(record["warm_s"]) == child.WARM_CALLS
    assert closed == [1]
    assert "error" not in record


def test_measure_names_a_wrong_result_and_still_closes() -> None:
    made = suite.ten_of_10us(tiny())
    closed: list[int] = []
    record = child.measure(made, lambda: (lambda fn, items: [0] * 10, lambda: closed.append(1)), True)
    assert record["kind"] == "wrong"
    assert "result 0" in record["error"]
    assert closed == [1]


def test_measure_gives_the_portable_form_to_peers_that_need_it() -> None:
    made = suite.Job(abs, [-1], lambda results: None, portable=float)
    seen: list[object] = []
    for by_value in (True, False):
        child.measure(made, lambda: (lambda fn, items: seen.append(fn), lambda: None), by_value, warm=False)
    assert seen == [abs, float]


# ---- The runner --------------------------------------------------------------------------------------------


def test_the_runner_measures_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "rate", lambda: 20_000.0)
    lines: list[str] = []
    run = runner.run(["ten", "python-10ms"], ["loop"], repeat=2, scale=0.02, say=lines.append)
    assert list(run["workloads"]) == ["ten", "python-10ms"]
    cell = run["workloads"]["ten"]["peers"]["loop"]
    assert cell["failures"] == []
    assert len(cell["cold_s"]) == 2
    assert run["workloads"]["python-10ms"]["items"] == 4
    assert len(lines) == 4
    assert json.loads(json.dumps(run)) == run
    assert {"cpu", "cores", "python", "versions", "when"} <= set(run["machine"])


def test_a_process_that_hangs_is_killed_and_named() -> None:
    record = runner.run_python("import threading; threading.Event().wait()", [], timeout_s=0.5)
    assert record == {"kind": "timeout", "error": "killed after 0.5 s"}


def test_a_process_that_dies_is_named_with_its_last_words() -> None:
    record = runner.run_python("raise SystemExit('out of luck')", [], timeout_s=30)
    assert record == {"kind": "died", "error": "exit code 1: out of luck"}


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX")
def test_what_outlives_its_process_is_killed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_S", 0.05)
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import threading; "
        "threading.Event().wait()']); print('{\"pid\": %d}' % p.pid)"
    )
    record = runner.run_python(code, [], timeout_s=30)
    assert record["left"] is True
    assert not runner._alive(record["pid"])


# ---- The figures -------------------------------------------------------------------------------------------


def made_up(ours: float, best: float, loop: float, *, slower: float = 1.0) -> dict[str, Any]:
    """A stored run with one workload; ``slower`` multiplies every time."""

    def cell(*seconds: float) -> dict[str, Any]:
        scaled = [s * slower for s in seconds]
        return {"cold_s": scaled, "warm_s": scaled, "failures": []}

    peers = {
        "loop": cell(loop),
        "threads": cell(best, best * 3),
        "mp.Pool": cell(best * 2),
        "whichpool": cell(ours),
    }
    where = {"cpu": "x", "cores": 2, "python": "y", "versions": {}}
    return {
        "workloads": {"mixed": {"title": "Mixed", "peers": peers}},
        "options": {"repeat": 1, "scale": 1.0},
        "machine": where,
        "rate": 1.0,
    }


def test_the_best_pool_is_the_fastest_and_never_the_loop() -> None:
    run = made_up(ours=0.5, best=1.0, loop=0.25)
    plans = [["loop", "too short"], ["2 processes", "GIL"], ["2 processes", "GIL"]]
    run["workloads"]["mixed"]["peers"]["whichpool"]["cold_plans"] = plans
    (row,) = report.rows(run, "cold")
    assert row["plan"] == "2 processes ..."
    assert row["best"] == "threads"
    assert row["to_best"] == pytest.approx(0.5)
    assert row["to_best_median"] == pytest.approx(0.25)  # the medians are 2.0 for both pools
    assert row["to_loop"] == pytest.approx(2.0)
    assert row["loop_kept"] is False


def test_the_loop_allows_three_percent_and_three_milliseconds() -> None:
    (kept,) = report.rows(made_up(ours=1.03 + 0.002, best=1.0, loop=1.0), "warm")
    (broken,) = report.rows(made_up(ours=1.03 + 0.004, best=1.0, loop=1.0), "warm")
    assert (kept["loop_kept"], broken["loop_kept"]) == (True, False)


def test_a_wrong_result_counts_for_nothing_and_is_listed() -> None:
    run = made_up(ours=0.1, best=1.0, loop=1.0)
    run["workloads"]["mixed"]["peers"]["whichpool"]["failures"].append({"kind": "wrong", "error": "result 3"})
    figures = report.summary(run)
    assert figures["cold"]["to_best"] is None
    assert figures["failures"] == ["mixed / whichpool: wrong (result 3)"]


def test_the_summary_names_the_worst_and_the_mixed_speed_up() -> None:
    figures = report.summary(made_up(ours=2.0, best=1.0, loop=9.0))["cold"]
    assert (figures["worst"], figures["worst_ratio"]) == ("mixed", 2.0)
    assert figures["above_worst_target"] == ["mixed"]
    assert figures["mixed_speedup"] == pytest.approx(0.5)
    assert figures["single_peer_to_best"]["mp.Pool"] == pytest.approx(2.0)


def test_geometric_mean() -> None:
    assert report.geometric_mean([1, 4]) == pytest.approx(2)
    assert report.geometric_mean([]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0000123, "12.3 us"), (0.0123, "12.3 ms"), (0.123, "123 ms"), (1.234, "1.23 s")],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert report.duration(seconds) == text


def test_compare_takes_out_the_drift_of_the_machine() -> None:
    before = made_up(ours=1.0, best=1.0, loop=4.0)
    after = made_up(ours=0.5, best=1.0, loop=4.0, slower=1.5)
    (row,) = compare.changes(before, after, "cold")
    assert row["drift"] == pytest.approx(1.5)
    assert row["net"] == pytest.approx(0.5)
    assert compare.warnings(before, after) == []


def test_compare_warns_of_another_machine_or_size() -> None:
    before, after = made_up(1, 1, 1), made_up(1, 1, 1)
    after["machine"]["cpu"] = "z"
    after["options"]["scale"] = 0.5
    after["rate"] = 2.0
    assert [w.split()[0] for w in compare.warnings(before, after)] == ["cpu", "the", "the"]


def test_the_tables_print(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("rich")
    run = made_up(ours=0.5, best=1.0, loop=2.0)
    run["machine"]["when"] = "now"
    run |= {"load": [[0.0]], "took_s": 1.0}
    report.show(run)
    assert "Mixed" in capsys.readouterr().out
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps(run))
    assert compare.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "1.00" in capsys.readouterr().out


def test_bad_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(["--peers", "nobody"])
    assert "is not one of" in capsys.readouterr().err
    assert "nobody" not in PEERS


def test_micro_counts_imports_beyond_the_bare_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    code = {"bare interpreter": "pass", "json": "import json", "none": "import no_such_module"}
    monkeypatch.setattr(micro, "IMPORTS", code)
    found = micro.imports(rounds=2)
    assert found["bare interpreter"]["beyond_fastest"] == 0
    assert found["json"]["seconds"] > 0
    assert "no_such_module" in found["none"]["error"]


def test_micro_measures_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = "limit: two interpreters"
    monkeypatch.setattr(micro, "PARTS", {"start": {engine: engines.PARTS["start"][engine]}})
    found = micro.measure("start", rounds=2)
    assert found[engine]["workers"] == 2
    assert 0 < found[engine]["seconds"] < 20


def test_micro_tells_what_a_death_left() -> None:
    record = engines.death(0.0, 19, [RuntimeError("worker died on item 7")], lambda: 1)
    assert (record["results"], record["names_the_item"], record["usable_after"]) == (19, True, True)
    silent = engines.death(0.0, 6, [], lambda: [][0])
    assert (silent["names_the_item"], silent["usable_after"], silent["message"]) == (False, False, "")
