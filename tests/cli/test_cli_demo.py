from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_types import Run

import whichpool
from whichpool import Host, Plan, PlanRow, RunReport, Verdict
from whichpool.cli import demo, demo_work
from whichpool.cli.demo import Task, evenly, measure
from whichpool.cli.demo_view import bar
from whichpool.cli.endings import Ending


@pytest.fixture
def library(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A small 'standard library'."""
    root = tmp_path / "library"
    (root / "inner").mkdir(parents=True)
    for n in range(12):
        (root / ("inner" if n % 3 else ".") / f"m{n}.py").write_text(f"x{n} = y\nprint(x{n}, y)\n" * (n + 1))
    return root, sorted(root.rglob("*.py"), key=lambda path: path.stat().st_size)


@pytest.fixture
def port(library: tuple[Path, list[Path]]) -> Iterator[int]:
    with demo.server(library[0]) as number:
        yield number


def get(port: int, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_server_serves_its_folder_and_nothing_else(port: int, library: tuple[Path, list[Path]]) -> None:
    root, _ = library
    (root.parent / "secret").write_text("secret")
    assert get(port, "/m0.py") == (200, (root / "m0.py").read_bytes())
    assert get(port, "/none.py") == (404, b"")
    for way_out in ("/../secret", "/inner/../../secret", "/%2e%2e/secret", str(root.parent / "secret")):
        assert get(port, way_out) == (404, b"")


def test_the_server_is_gone_with_the_block(library: tuple[Path, list[Path]]) -> None:
    with demo.server(library[0]) as port:
        assert get(port, "/m0.py")[0] == 200
    with pytest.raises(ConnectionError):
        get(port, "/m0.py")


def test_a_server_that_does_not_start_is_an_error_in_words(
    library: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.demo_server, "__file__", str(library[0] / "m0.py"))
    with pytest.raises(Ending, match="did not start"), demo.server(library[0]):
        pass
    assert "NameError" in capfd.readouterr().err


def test_the_four_functions_do_what_they_say(port: int, library: tuple[Path, list[Path]]) -> None:
    root, _ = library
    path = root / "m0.py"
    assert demo_work.fetch((port, "/m0.py")) == path.read_bytes()
    assert demo_work.count_names(str(path)) == {"x0": 2, "y": 2, "print": 1}
    assert demo_work.fetch_and_count((port, "/m0.py")) == demo_work.count_names(str(path))
    assert 0 < demo_work.compress(str(path))[0] < 200
    assert demo_work.merge([{"a": 1, "b": 2}, {"b": 3}]) == {"a": 1, "b": 5}
    with pytest.raises(OSError, match="404"):
        demo_work.fetch((port, "/none.py"))


def test_a_file_that_does_not_parse_has_no_names(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def (:\n")
    assert demo_work.count_names(str(bad)) == {}


def test_evenly_takes_from_small_to_large() -> None:
    assert evenly(range(100), 4) == [12, 37, 62, 87]
    assert evenly(range(3), 9) == [0, 1, 2]
    assert len(evenly(range(1789), 298)) == 298


def test_each_job_runs_the_loop_on_a_part_that_is_like_the_whole(
    library: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_each_s", lambda function, items: 1.0)
    monkeypatch.setattr(demo, "_FEWEST", 6)
    root, files = library
    for job in demo.tasks(root, files, 1234):
        assert len(job.items) in (6, 9, 12)
        assert 1 <= len(job.part) < len(job.items)
        assert len(set(job.part)) == len(job.part)
        assert all(isinstance(item, tuple) == ("fetch" in job.name) for item in job.items)


def report_of(plan: Plan) -> RunReport:
    verdict = Verdict(plan, "because", (PlanRow(plan, 1.0, "the cores are full", 1.0),))
    return RunReport("f", 6, 0, 1.0, plan, (), None, verdict, (), Host(2, 2))


@pytest.mark.parametrize("wrong", [False, True])
def test_results_are_compared_with_the_loops(monkeypatch: pytest.MonkeyPatch, wrong: bool) -> None:
    class Results(list[int]):
        report = report_of(Plan(0, 2))

    def fake_map(function: object, items: list[int]) -> Results:
        return Results(abs(item) + (wrong and item == -3) for item in items)

    monkeypatch.setattr(whichpool, "map", fake_map)
    told: list[str] = []
    job = Task("job", "what", abs, [-1, -2, -3, -4, -5, -6], [0, 2])
    timing = measure(
        job,
        lambda task: told.append("title"),
        lambda *rest: told.append("loop"),
        lambda timing: told.append("done"),
    )
    assert timing.equal is not wrong
    assert timing.loop_s == pytest.approx(timing.ran_s * 3)
    assert timing.limit == "the cores are full"
    assert told == ["title", "loop", "done"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, library: tuple[Path, list[Path]]) -> None:
    """The demo, over the small library."""
    monkeypatch.setattr(demo, "source_files", lambda: library)
    monkeypatch.setattr(demo, "_FEWEST", 12)


@pytest.mark.usefixtures("small")
def test_the_demo_shows_four_jobs_that_fit_80_columns(run: Run) -> None:
    done = run("demo")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    for name in ("fetch  ", "parse  ", "compress  ", "fetch + parse  "):
        assert any(line.startswith(f"  {name}") for line in lines)
    assert sum("  the loop   " in line and "files run:" in line for line in lines) == 4
    assert sum("  whichpool  " in line and " x as fast" in line for line in lines) == 4
    assert "its results and whichpool's are the same" in done.stdout


@pytest.mark.usefixtures("small")
def test_the_demo_as_json_and_nothing_but(run: Run) -> None:
    done = run("demo", "--json")
    data = json.loads(done.stdout)
    assert (data["schema"], data["version"], data["equal"]) == ("whichpool.demo", 1, True)
    assert [task["name"] for task in data["tasks"]] == ["fetch", "parse", "compress", "fetch + parse"]
    for task in data["tasks"]:
        assert task["speedup"] == pytest.approx(task["loop"]["predicted_s"] / task["whichpool_s"])
        assert task["report"]["items"] == task["items"] == 12


@pytest.mark.usefixtures("small")
def test_a_wrong_result_is_said_and_is_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    right = whichpool.map

    def wrong(function: object, items: object) -> object:
        results = right(function, items)  # type: ignore[arg-type]
        results.reverse()
        return results

    monkeypatch.setattr(whichpool, "map", wrong)
    done = run("demo")
    assert done.exit_code == 1
    assert "NOT those of the loop" in done.stdout
    assert "results are not those of the loop" in done.stderr


def test_a_python_without_its_sources_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(Ending, match="hardly any source files"):
        demo.source_files()


def test_source_files_are_this_pythons_own() -> None:
    root, files = demo.source_files()
    sizes = [path.stat().st_size for path in files]
    assert sizes == sorted(sizes)
    assert root / "ast.py" in files
    assert not any("site-packages" in path.parts for path in files)


@pytest.mark.parametrize(
    ("share", "blocks", "plain"), [(1.0, "█" * 8, "#" * 8), (0.0, "▏", "#"), (9.0, "█" * 8, "#" * 8)]
)
def test_bars_stay_within_their_width(share: float, blocks: str, plain: str) -> None:
    assert bar(share, 8, blocks=True) == blocks
    assert bar(share, 8, blocks=False) == plain
