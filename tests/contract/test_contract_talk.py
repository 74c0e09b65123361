"""What worker processes print, log and warn arrives as the loop's would, and names the worker."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import threading
import warnings

import pytest
import talk_work as work

import whichpool
from whichpool._pools import fleet

CREWS = [(1, 1), (2, 1), (2, 3)]


@pytest.fixture(params=CREWS, ids=lambda plan: f"{plan[0]}x{plan[1]}")
def crew(request):
    return request.param


# --- printing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "lines"), [*((crew, work.Lines) for crew in CREWS), ("auto", work.WholeLines)], ids=str
)
def test_lines_of_all_workers_arrive_whole(plan, lines, capsys):
    whichpool.map(lines(500), range(12), plan=plan)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert sorted(lines) == sorted(f"{x}:{line}:{'abc' * 100}" for x in range(12) for line in range(500))
    assert sorted(said.err.splitlines()) == sorted(
        f"err {x} {line}" for x in range(12) for line in range(500)
    )
    for x in range(12):  # and each item's in their order
        assert [int(line.split(":")[1]) for line in lines if line.startswith(f"{x}:")] == list(range(500))


def test_auto_prints_each_item_once_wherever_it_runs(capsys):
    whichpool.map(work.compute_and_write, range(300))
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"item {x}" for x in range(300))


def test_what_is_printed_goes_where_the_callers_print_goes(crew):
    with contextlib.redirect_stdout(io.StringIO()) as first:
        whichpool.map(work.print_pid, range(3), plan=crew)
    with contextlib.redirect_stdout(io.StringIO()) as second:
        whichpool.map(work.print_pid, range(5), plan=crew)
    assert [text.getvalue().count("pid") for text in (first, second)] == [3, 5]
    assert f"pid {os.getpid()}\n" not in first.getvalue()


def test_an_items_output_is_there_before_its_result(crew, capsys):
    seen = ""
    for x in whichpool.imap(work.compute_and_print, range(20), plan=crew):
        seen += capsys.readouterr().out
        assert f"item {x}\n" in seen


def test_an_executors_calls_have_printed_before_their_future_is_done(capsys):
    seen = ""
    with whichpool.Executor(plan=(2, 1)) as executor:
        for future in [executor.submit(work.compute_and_print, x) for x in range(20)]:
            x = future.result()
            seen += capsys.readouterr().out
            assert f"item {x}\n" in seen


def test_unfinished_lines_are_not_lost(crew, capsys):
    whichpool.map(work.print_part, range(50), plan=crew)
    assert capsys.readouterr().out == "." * 50
    whichpool.map(work.print_part_in_thread, range(5), plan=crew)
    assert capsys.readouterr().out == "aside" * 5


def test_bytes_and_all_kinds_of_text(crew, capsys):
    whichpool.map(work.print_bytes, [7], plan=crew, shared="ok")
    whichpool.map(work.print_all, [0], plan=crew)
    assert capsys.readouterr().out == "bytes 7\né\u20ac\U0001f600\n"


def test_bytes_that_are_no_text(crew, capsysbinary):
    whichpool.map(work.print_other_bytes, [7], plan=crew, shared="ok")
    assert capsysbinary.readouterr().out == b"\xff\xfe 7\n"


def test_text_that_the_callers_stream_cannot_take_fails_in_the_item(crew):
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii")) as narrow:
        with pytest.raises(UnicodeEncodeError) as caught:
            whichpool.map(work.print_all, range(3), plan=crew)
        assert any("raised by item 0" in note for note in caught.value.__notes__)
        narrow.detach()
    with contextlib.redirect_stdout(io.StringIO()) as wide:
        whichpool.map(work.print_surrogate, [0], plan=crew)
    assert wide.getvalue() == "\udc80\n"


def test_the_stream_looks_like_standard_output(crew):
    tty, out, err, encoding = whichpool.map(work.stream_looks, [0], plan=crew)[0]
    assert (out, err) == (1, 2)
    assert tty is os.isatty(1)
    assert encoding.lower() == sys.stdout.encoding.lower()


def test_a_killed_worker_has_said_its_last_line(crew, capsys):
    results = whichpool.map(work.print_and_die, range(8), plan=crew, on_error="return")
    assert isinstance(results[3], whichpool.Failure)
    said = capsys.readouterr()
    assert set(said.out.splitlines()) == {"last words"}
    assert set(said.err.splitlines()) == {"of standard error"}


def test_programs_and_forked_children_write_to_the_real_descriptors(script):
    done = script(
        """
        import contextlib, io, sys, whichpool, talk_work as work
        with contextlib.redirect_stdout(io.StringIO()) as here:
            whichpool.map(work.run_program, [0], plan=(1, 1))
            whichpool.map(work.fork_and_print, [0], plan=(1, 1))
        assert here.getvalue() == "printed\\n", here.getvalue()
        """
    ).run()
    assert done.stdout.splitlines() == ["from a program", "from a child"]
    assert done.stderr.splitlines() == ["logged by a child"]


def test_a_finalizer_may_print_wherever_it_runs(crew, capsys):
    try:
        whichpool.map(work.print_from_finalizer, range(2_000), plan=crew)
    finally:
        fleet.close()  # what is garbage in them by now must not speak in other tests
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("here") == 2_000
    assert set(lines) == {"here", "gone"}


def test_a_redirection_within_the_function_is_its_own(crew, capsys):
    assert whichpool.map(work.print_in_redirect, [1, 2], plan=(1, 1)) == ["kept 1\n", "kept 2\n"]
    assert capsys.readouterr().out == ""


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "nobody reads")


@pytest.mark.parametrize("plan", [*CREWS, "auto"], ids=str)
def test_what_the_callers_stream_raises_ends_the_run_as_it_ends_the_loop(plan):
    with contextlib.redirect_stdout(Broken()), pytest.raises(BrokenPipeError):
        whichpool.map(work.compute_and_print, range(40), plan=plan)
    closed = io.StringIO()
    closed.close()
    with contextlib.redirect_stdout(closed), pytest.raises(ValueError, match="closed file"):
        whichpool.map(work.compute_and_print, range(40), plan=plan)
    assert whichpool.map(work.print_in_redirect, [1], plan=(2, 1)) == ["kept 1\n"]


@pytest.mark.parametrize(
    ("plan", "say"),
    [*((crew, work.compute_and_print) for crew in CREWS), ("auto", work.compute_and_write)],
    ids=str,
)
def test_a_write_that_waits_keeps_nobody_else_waiting(plan, say):
    entered, leave = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text):
            entered.set()
            assert leave.wait(30)
            return super().write(text)

    def others():
        assert entered.wait(30)
        try:
            beside.extend(whichpool.map(work.print_in_redirect, [1, 2], plan=(2, 1)))
        finally:
            leave.set()

    beside: list[str] = []
    thread = threading.Thread(target=others)
    with contextlib.redirect_stdout(Slow()) as slow:
        thread.start()
        whichpool.map(say, range(60), plan=plan)
        thread.join()
    assert beside == ["kept 1\n", "kept 2\n"]
    assert sorted(slow.getvalue().splitlines()) == sorted(f"item {x}" for x in range(60))


def test_no_standard_output_takes_all(crew, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert whichpool.map(work.print_pid, range(5), plan=crew) == list(range(5))


# --- logging --------------------------------------------------------------------------------------------------------


def test_records_arrive_at_the_callers_handlers_and_name_the_worker(crew, caplog):
    caplog.set_level(logging.INFO, logger="talk_work")
    pids = whichpool.map(work.log_all, range(10), plan=crew)
    found = sorted((record.getMessage(), record.levelname) for record in caplog.records)
    assert found == sorted(
        [(f"info {x}", "INFO") for x in range(10)] + [(f"warning {x}", "WARNING") for x in range(10)]
    )
    for record in caplog.records:
        assert record.name == "talk_work.deep"
        assert record.processName == f"whichpool-worker-{record.process}"
        assert record.process in pids
        assert record.process != os.getpid()
        assert record.filename == "talk_work.py"
        assert record.funcName == "log_all"
        if record.levelno == logging.WARNING:
            assert record.shop == {"no": int(record.getMessage().split()[1])}
            assert not hasattr(record, "stays")


def test_levels_are_the_callers_of_each_call(crew, caplog):
    def levels():
        caplog.clear()
        whichpool.map(work.log_all, [0], plan=crew)
        return [record.levelname for record in caplog.records]

    assert levels() == ["WARNING"]
    caplog.set_level(logging.DEBUG)
    assert levels() == ["DEBUG", "INFO", "WARNING"]
    caplog.set_level(logging.ERROR, logger="talk_work.deep")
    assert levels() == []
    caplog.set_level(logging.NOTSET, logger="talk_work.deep")
    logging.disable(logging.INFO)
    try:
        assert levels() == ["WARNING"]
    finally:
        logging.disable(logging.NOTSET)
    work.log.disabled = True
    try:
        assert levels() == []
    finally:
        work.log.disabled = False
    assert levels() == ["DEBUG", "INFO", "WARNING"]


def test_a_level_that_the_function_sets_stays_in_its_process(caplog):
    fleet.close()
    for _ in range(2):
        whichpool.map(work.log_verbosely, [1, 2], plan=(1, 1), shared="ok")
    assert [record.getMessage() for record in caplog.records] == ["verbose 1", "verbose 2"] * 2


def test_arguments_and_exceptions_travel_as_text(crew, caplog):
    whichpool.map(work.log_object, [7], plan=crew)
    whichpool.map(work.log_error, [5], plan=crew)
    assert [record.getMessage() for record in caplog.records] == ["in words of 7", "failed 5"]
    assert "ZeroDivisionError" in caplog.text
    assert caplog.records[1].exc_info is None
    assert "in log_error" in caplog.records[1].exc_text


def test_a_record_that_cannot_be_formatted_is_complained_about_and_costs_nothing_else(crew, capsys):
    assert whichpool.map(work.log_wrong, [1], plan=crew) == [1]
    assert "--- Logging error ---" in capsys.readouterr().err


def test_filters_of_the_caller_apply(crew, caplog):
    def no_ones(record):
        return not record.getMessage().endswith("1")

    work.log.addFilter(no_ones)
    try:
        whichpool.map(work.log_all, range(3), plan=crew)
    finally:
        work.log.removeFilter(no_ones)
    assert sorted(record.getMessage() for record in caplog.records) == ["warning 0", "warning 2"]


def test_a_handler_of_the_functions_own_works_there_and_the_callers_here(crew, caplog, tmp_path):
    whichpool.map(work.LogToFile(tmp_path / "log"), range(10), plan=crew)
    said = sorted(f"mine {x}" for x in range(10))
    assert sorted((tmp_path / "log").read_text().splitlines()) == said
    assert sorted(record.getMessage() for record in caplog.records) == said


def test_a_handler_may_call_whichpool(crew, capsys):
    class Calls(logging.Handler):
        def emit(self, record):
            print(whichpool.map(work.print_in_redirect, [record.getMessage()], plan=(1, 1)))

    handler = Calls()
    work.log.addHandler(handler)
    try:
        whichpool.map(work.log_all, range(3), plan=crew)
        whichpool.map(work.log_all, range(3), plan="auto")
    finally:
        work.log.removeHandler(handler)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(str([f"kept warning {x}\n"]) for x in range(3) for _ in range(2))


def test_what_a_handler_raises_ends_the_run(crew):
    class Raises(logging.Handler):
        def handle(self, record):
            raise KeyError("the handler's")

    handler = Raises()
    work.log.addHandler(handler)
    try:
        with pytest.raises(KeyError, match="the handler's"):
            whichpool.map(work.log_all, range(3), plan=crew)
    finally:
        work.log.removeHandler(handler)


def test_logging_that_a_module_sets_up_when_it_is_imported_is_not_doubled(script):
    text = """
        import sys, whichpool, talk_configures
        whichpool.map(talk_configures.log_it, range(6), plan=(int(sys.argv[1]), int(sys.argv[2])))
        """
    for plan in CREWS:
        done = script(text).run(*plan)
        assert sorted(done.stderr.splitlines()) == [f"CONFIGURED INFO said {x}" for x in range(6)]


def test_where_logging_is_not_set_up_the_last_resort_speaks_once(script):
    done = script(
        """
        import sys, whichpool, talk_work as work
        whichpool.map(work.log_all, range(2), plan=(2, 1))
        """
    ).run()
    assert sorted(done.stderr.splitlines()) == ["warning 0", "warning 1"]


def test_basic_config_in_the_function_is_as_in_the_loop(script):
    text = """
        import sys, whichpool, logging, talk_work as work
        if sys.argv[1] == "set up":
            logging.basicConfig(format="set up here: %(message)s")
        whichpool.map(work.log_basic_config, [1, 2], plan=(1, 1))
        """
    done = script(text).run("set up")
    assert done.stderr.splitlines() == ["set up here: basic 1", "set up here: basic 2"]
    done = script(text).run("not")
    assert done.stderr.splitlines() == ["configured there: basic 1", "configured there: basic 2"]


def test_functions_of_the_main_script_know_their_file(script):
    done = script(
        """
        import logging, warnings, whichpool
        logging.basicConfig(format="%(filename)s %(module)s %(processName)s %(message)s")

        def f(x):
            import logging
            logging.warning("from f")
            warnings.warn("careful")

        whichpool.map(f, [1], plan=(1, 1))
        """
    ).run()
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"script\.py script whichpool-worker-\d+ from f", lines[0])
    assert re.search(r"script\.py:\d+: UserWarning: careful", lines[1])


def test_logging_is_not_loaded_for_nothing(script):
    done = script(
        """
        import sys, whichpool
        sys.path.insert(0, sys.argv[1])
        from plain_work import has_loaded
        print(whichpool.map(has_loaded, [1], plan=(1, 1)))
        """
    )
    (done.folder / "plain_work.py").write_text(
        "import sys\ndef has_loaded(_):\n    return 'logging' in sys.modules, 'warnings' in sys.modules\n"
    )
    assert done.run(done.folder).stdout.startswith("[(False,")


# --- warnings -------------------------------------------------------------------------------------------------------


def test_a_warning_is_shown_once_over_all_workers(crew):
    for action in ("default", "once", "module"):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(action)
            pids = whichpool.map(work.warn_user, range(100), plan=crew)
        assert len(set(pids)) == crew[0]
        assert [(str(w.message), w.category, os.path.basename(w.filename)) for w in seen] == [
            ("careful", UserWarning, "talk_work.py")
        ]
        warnings.onceregistry.clear()


def test_a_warning_that_the_loop_has_shown_is_not_shown_again(crew):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        work.warn_user(0)
        whichpool.map(work.warn_user, range(10), plan=crew)
    assert len(seen) == 1


def test_each_time_where_the_caller_wants_it_and_never_where_not(crew):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        whichpool.map(work.warn_user, range(20), plan=crew)
    assert len(seen) == 20
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore")
        whichpool.map(work.warn_user, range(20), plan=crew)
    assert seen == []


def test_an_error_is_raised_by_the_item_as_in_the_loop(crew):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="sev", category=work.OwnWarning, module="talk_w")
        for plan in ("loop", crew):
            with pytest.raises(work.OwnWarning, match="seven") as caught:
                whichpool.map(work.warn_at_7, range(20), plan=plan)
            assert any("raised by item 7" in note for note in caught.value.__notes__)
        results = whichpool.map(work.warn_at_7, range(20), plan=crew, on_error="return")
        assert [x for x, r in enumerate(results) if isinstance(r, whichpool.Failure)] == [7]


def test_the_command_lines_filters_are_those_of_the_workers(script):
    text = """
        import sys, warnings, whichpool, talk_work as work
        try:
            whichpool.map(work.warn_user, range(3), plan=(2, 1))
        except UserWarning as error:
            print("raised", error.__notes__)
        """
    made = script(text)
    made.path.write_text("import warnings\nwarnings.simplefilter('error')\n" + made.path.read_text().lstrip())
    assert "raised by item 0" in made.run().stdout


def test_categories_that_cannot_be_made_here_arrive_by_name(crew):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        whichpool.map(work.warn_odd, [1], plan=crew)
        whichpool.map(work.warn_local, [1], plan=crew)
    assert [w.category for w in seen] == [UserWarning, UserWarning]
    assert "talk_work.OddWarning" in str(seen[0].message)
    assert "Local: local" in str(seen[1].message)


def test_the_functions_own_filters_are_its_own(crew):
    assert whichpool.map(work.warn_recorded, [1, 2], plan=crew) == [1, 1]
    for action in ("ignore", "error"):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(action)
            whichpool.map(work.warn_in_own_way, [1, 2], plan=crew)
        assert [str(w.message) for w in seen] == ["in spite of all"] * 2
