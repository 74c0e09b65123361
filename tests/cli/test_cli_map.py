"""``whichpool map`` in this process: items in, JSON lines out, and every exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_types import Run

LOOP = "--plan", "loop"


def values(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def test_lines_of_a_file_become_json_lines_in_order(run: Run, work: Path) -> None:
    (work / "n.txt").write_text("3\n1\n2\n")
    done = run("map", "work:square", "n.txt")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "9\n1\n4\n"


def test_standard_input_is_read_when_named_or_when_nothing_else_is(run: Run) -> None:
    assert run("map", "work:square", "-", *LOOP, stdin="2\n3\n").stdout == "4\n9\n"
    assert run("map", "work:square", *LOOP, stdin="2\n3").stdout == "4\n9\n"


def test_every_line_is_an_item_empty_ones_too_and_a_byte_order_mark_is_not(run: Run, work: Path) -> None:
    (work / "n.txt").write_bytes(b"\xef\xbb\xbfa\r\n\nb")
    assert values(run("map", "work:keep", "n.txt", *LOOP).stdout) == ["a", "", "b"]


def test_json_values_are_read_as_such_and_blank_lines_skipped(run: Run) -> None:
    done = run("map", "work:keep", "--json", "-", *LOOP, stdin='{"a": [1, null]}\n\n"x"\n 2.5 \n')
    assert values(done.stdout) == [{"a": [1, None]}, "x", 2.5]


def test_glob_gives_sorted_paths_and_goes_into_folders(run: Run, work: Path) -> None:
    (work / "d" / "e").mkdir(parents=True)
    for name in ("d/b.png", "d/a.png", "d/e/c.png", "d/no.txt"):
        (work / name).touch()
    assert values(run("map", "work:keep", "--glob", "d/*.png", *LOOP).stdout) == ["d/a.png", "d/b.png"]
    assert len(values(run("map", "work:keep", "--glob", "d/**/*.png", *LOOP).stdout)) == 3


def test_a_glob_that_matches_nothing_is_an_error_not_an_empty_run(run: Run) -> None:
    done = run("map", "work:keep", "--glob", "none/*.png")
    assert done.exit_code == 3
    assert "nothing matches 'none/*.png'" in done.stderr


def test_range_gives_integers(run: Run) -> None:
    assert run("map", "work:square", "--range", "4", *LOOP).stdout == "0\n1\n4\n9\n"


def test_no_items_is_no_error(run: Run) -> None:
    done = run("map", "work:square", "--range", "0")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "0 items" in done.stderr


@pytest.mark.parametrize("plan", ["auto", "loop", "threads", "processes", "0x2", "2x2", "1X1"])
def test_every_plan_gives_the_same(run: Run, plan: str) -> None:
    done = run("map", "work:square", "--range", "40", "--plan", plan)
    assert done.exit_code == 0, done.stderr
    assert values(done.stdout) == [n * n for n in range(40)]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--max-items-per-worker", "5", "had run 5 items"), ("--max-worker-memory", "1MB", "held ")],
)
def test_workers_are_replaced_when_asked_for(
    run: Run, work: Path, option: str, value: str, said: str
) -> None:
    where = "--report", "report.json", "--plan", "2x1"
    done = run("map", "work:square", "--range", "40", *where, option, value)
    assert done.exit_code == 0, done.stderr
    assert values(done.stdout) == [n * n for n in range(40)]
    notes = json.loads((work / "report.json").read_text())["notes"]
    assert [note for note in notes if said in note and "was replaced" in note], notes


def test_an_item_that_takes_too_long_fails_and_the_others_do_not(run: Run) -> None:
    give_up = "--timeout", "0.5", "--on-error", "return"
    done = run("map", "work:stuck", "--range", "2", "--plan", "1x1", *give_up)
    assert done.exit_code == 1
    first, failed = values(done.stdout)
    assert first == 0
    assert failed["whichpool_failure"]["type"].endswith("ItemTimeout")


def test_a_whole_that_takes_too_long_is_ended(run: Run) -> None:
    done = run("map", "work:stuck", "--range", "2", "--plan", "1x1", "--deadline", "0.5")
    assert done.exit_code == 1
    assert "deadline=0.5" in done.stderr


def test_what_failed_is_tried_again_as_often_as_asked(run: Run) -> None:
    done = run("map", "work:bad_at_first", "--range", "2", "--retries", "1", *LOOP)
    assert done.exit_code == 0, done.stderr
    assert values(done.stdout) == [0, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("work:square", "--range", "3", "--plan", "fast"),
        ("work:square", "--range", "3", "--plan", "2x"),
        ("work:square", "--range", "3", "--plan", "0x0"),
        ("work:square", "--range", "3", "--limit", "0"),
        ("work:square", "--range", "-1"),
        ("work:square", "--range", "3", "--on-error", "ignore"),
        ("work:square", "n.txt", "--range", "3"),
        ("work:square", "--range", "3", "--glob", "*"),
        ("work:square", "--range", "3", "--json"),
        ("work:square", "--range", "3", "--report", "-"),
        ("work:square", "--range", "3", "--nonsense"),
        ("work:square", "--range", "3", "--timeout", "0"),
        ("work:square", "--range", "3", "--retries", "-1"),
        ("work:square", "--range", "3", "--max-worker-memory", "much"),
        ("work:square", "--range", "3", "--max-items-per-worker", "0"),
        (),
    ],
)
def test_a_command_line_that_cannot_be_right_is_code_2_and_prints_no_result(
    run: Run, arguments: tuple[str, ...]
) -> None:
    done = run("map", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_function_raised_is_told_with_its_item_and_without_a_traceback(run: Run) -> None:
    done = run("map", "work:three_is_bad", "--range", "5", *LOOP)
    assert done.exit_code == 1
    assert done.stdout == "0\n1\n2\n"
    assert "whichpool: ValueError: three is bad" in done.stderr
    assert "item 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback_wherever_it_is_given(run: Run, where: str) -> None:
    command = ["map", "work:three_is_bad", "--range", "5", *LOOP]
    done = run(*(["--debug", *command] if where == "before" else [*command, "--debug"]))
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert 'raise ValueError("three is bad")' in done.stderr


@pytest.mark.parametrize(("function", "said"), [("leave", "sys.exit(7)"), ("at_end", "EOFError: no more")])
def test_what_would_end_the_command_line_itself_is_reported_like_any_other(
    run: Run, function: str, said: str
) -> None:
    done = run("map", f"work:{function}", "--range", "2", *LOOP)
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_broken_pipe_of_the_function_is_not_taken_for_ours(run: Run) -> None:
    done = run("map", "work:no_reader", "--range", "2", *LOOP)
    assert done.exit_code == 1
    assert "BrokenPipeError" in done.stderr


def test_with_on_error_return_failures_take_their_place_and_the_code_is_1(run: Run) -> None:
    done = run("map", "work:three_is_bad", "--range", "5", "--on-error", "return", *LOOP)
    assert done.exit_code == 1
    first, second, third, failed, last = values(done.stdout)
    assert (first, second, third, last) == (0, 1, 2, 4)
    failure = failed["whichpool_failure"]
    assert (failure["index"], failure["item"]) == (3, "3")
    assert (failure["type"], failure["message"]) == ("ValueError", "three is bad")
    assert "1 of 5 items failed; the first is item 3 (3): ValueError: three is bad" in done.stderr


def test_a_result_that_json_cannot_hold_is_an_error_that_names_the_item(run: Run) -> None:
    done = run("map", "work:thing", "--range", "2", *LOOP)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "the result of item 0 cannot be written as JSON" in done.stderr
    assert "--text" in done.stderr
    assert run("map", "work:nan", "--range", "1", *LOOP).exit_code == 3


def test_text_writes_str_one_line_a_result(run: Run) -> None:
    assert run("map", "work:thing", "--range", "2", "--text", *LOOP).stdout.count("<object object at") == 2
    assert run("map", "work:lines", "--range", "2", "--text", *LOOP).stdout == "one\\ntwo\none\\ntwo\n"
    failed = run("map", "work:three_is_bad", "--range", "4", "--text", "--on-error", "return", *LOOP)
    assert failed.stdout.splitlines()[3] == "! ValueError: three is bad (item 3: 3)"


def test_what_the_function_prints_is_not_among_the_results(run: Run) -> None:
    done = run("map", "work:speak", "--range", "2", *LOOP)
    assert done.stdout == "0\n1\n"
    assert "speaking of 1" in done.stderr


def test_names_that_are_not_utf_8_are_valid_json_too(run: Run, work: Path) -> None:
    done = run("map", "work:keep", "--json", "-", "-o", "out", *LOOP, stdin='"caf\\u00e9 \\udcff"\n')
    assert done.exit_code == 0, done.stderr
    assert json.loads((work / "out").read_text("utf-8")) == "café \udcff"


def test_a_bad_json_line_is_named(run: Run) -> None:
    done = run("map", "work:keep", "--json", "-", *LOOP, stdin="1\n{oops\n3\n")
    assert done.exit_code == 3
    assert "standard input, line 2 is not a JSON value" in done.stderr


def test_items_that_cannot_be_read_are_code_3(run: Run, work: Path) -> None:
    missing = run("map", "work:keep", "none.txt")
    assert missing.exit_code == 3
    assert "cannot read none.txt: No such file" in missing.stderr
    (work / "latin").write_bytes(b"caf\xe9\n")
    latin = run("map", "work:keep", "latin")
    assert latin.exit_code == 3
    assert "latin is not UTF-8 text" in latin.stderr


def test_output_goes_to_a_file_whole(run: Run, work: Path) -> None:
    done = run("map", "work:square", "--range", "3", "-o", "out.jsonl", *LOOP)
    assert (done.exit_code, done.stdout) == (0, "")
    assert (work / "out.jsonl").read_text() == "0\n1\n4\n"
    assert sorted(path.name for path in work.glob("*out*")) == ["out.jsonl"]


def test_a_run_that_fails_leaves_what_was_there_before(run: Run, work: Path) -> None:
    (work / "out.jsonl").write_text("before\n")
    assert run("map", "work:three_is_bad", "--range", "5", "-o", "out.jsonl", *LOOP).exit_code == 1
    assert (work / "out.jsonl").read_text() == "before\n"
    assert [path.name for path in work.iterdir() if "part" in path.name] == []


def test_a_place_that_cannot_be_written_is_known_before_the_work_starts(run: Run, work: Path) -> None:
    for option in ("-o", "--report"):
        done = run("map", "work:speak", "--range", "3", option, "no/such/folder/out")
        assert done.exit_code == 3
        assert "cannot write no/such/folder/out: No such file or directory" in done.stderr
        assert "speaking" not in done.stderr
    assert run("map", "work:square", "--range", "3", "-o", str(work)).exit_code == 3


def test_the_report_is_written_as_json(run: Run, work: Path) -> None:
    assert run("map", "work:square", "--range", "30", "--report", "run.json", *LOOP).exit_code == 0
    report = json.loads((work / "run.json").read_text())
    assert (report["schema"], report["items"], report["plan"]["text"]) == ("whichpool.report", 30, "loop")


def test_the_summary_is_short_and_quiet_is_silent(run: Run) -> None:
    done = run("map", "work:square", "--range", "30", *LOOP)
    assert done.stderr.startswith("whichpool: 30 items in ")
    assert "in the loop" in done.stderr
    assert run("map", "work:square", "--range", "30", "--quiet", *LOOP).stderr == ""


def test_an_interrupt_is_130(run: Run, work: Path) -> None:
    (work / "stop.py").write_text("def stop(x):\n    raise KeyboardInterrupt\n")
    done = run("map", "stop:stop", "--range", "3", "-o", "out", *LOOP)
    assert done.exit_code == 130
    assert "whichpool: interrupted" in done.stderr
    assert not (work / "out").exists()


def test_only_a_plan_that_was_asked_for_is_said_to_have_been(run: Run) -> None:
    assert "asked for" not in run("map", "work:rest", "--range", "9").stderr
    assert "asked for" not in run("map", "work:square", "--range", "0").stderr
    assert "asked for" in run("map", "work:rest", "--range", "9", *LOOP).stderr


def test_a_journal_is_gone_on_from(run: Run, work: Path) -> None:
    (work / "n.txt").write_text("3\n1\nx\n")
    command = "map", "work:square", "n.txt", "--journal", "j", *LOOP
    done = run(*command, "--on-error", "return", "--report", "first.json")
    assert done.exit_code == 1
    again = run(*command, "--on-error", "return", "--report", "report.json")
    assert again.exit_code == 1
    assert values(again.stdout)[:2] == [9, 1]
    report = json.loads((work / "report.json").read_text())
    assert "2 of 3 items were taken from the journal" in report["notes"]


def test_a_journal_of_other_items_or_none_at_all(run: Run, work: Path) -> None:
    (work / "n.txt").write_text("3\n1\n")
    assert run("map", "work:square", "n.txt", "--journal", "j", *LOOP).exit_code == 0
    (work / "n.txt").write_text("3\n2\n")
    done = run("map", "work:square", "n.txt", "--journal", "j", *LOOP)
    assert done.exit_code == 1
    assert "item 1 is not the one whose result is recorded" in done.stderr
    assert run("map", "work:square", "n.txt", "--journal", ".", *LOOP).exit_code == 2
