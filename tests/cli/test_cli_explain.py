"""``whichpool explain``: text for people on standard output, JSON where asked."""

from __future__ import annotations

import json
from pathlib import Path

from cli_types import Run


def test_explain_prints_the_report_and_says_what_it_would_do(run: Run) -> None:
    done = run("explain", "work:square", "--range", "100", "--budget", "0.2")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("square: ")
    assert "Machine: " in done.stdout
    assert "whichpool: would run it " in done.stderr


def test_explain_can_print_or_write_json(run: Run, work: Path) -> None:
    done = run("explain", "work:square", "--range", "100", "--budget", "0.2", "--report", "-")
    assert json.loads(done.stdout)["schema"] == "whichpool.report"
    assert run("explain", "work:square", "--range", "9", "--report", "run.json").exit_code == 0
    assert json.loads((work / "run.json").read_text())["function"].endswith("square")


def test_what_the_function_prints_or_raises_stays_out_of_it(run: Run) -> None:
    spoken = run("explain", "work:speak", "--range", "2")
    assert "speaking" not in spoken.stdout
    assert "speaking" in spoken.stderr
    raised = run("explain", "work:three_is_bad", "--range", "9", "--plan", "loop")
    assert raised.exit_code == 1
    assert "ValueError: three is bad" in raised.stderr


def test_a_budget_is_more_than_nothing(run: Run) -> None:
    assert run("explain", "work:square", "--range", "2", "--budget", "0").exit_code == 2
