"""Datasets from outside: input and output that are broken or in the way. The right answer, or an error that says so."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import outside_work as work
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset.failures import (
    BadInput,
    BadOutput,
    DatasetError,
    InputChanged,
    OutputBusy,
    RunChanged,
    SchemaDrift,
    TooManyBad,
)

HERE = Path(__file__).parent


def value(source, fn, **options):
    return whichpool.process(source, fn, **{"combine": work.add, "plan": "loop", **options}).value


def seen(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.fixture
def numbers(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("x\n" + "".join(f"{n}\n" for n in range(1000)))
    return path


# --- bad records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_what_is_set_aside_is_named_to_the_byte_and_rows_add_up(numbers, tmp_path, plan):
    report = whichpool.process(
        numbers, work.refuses_sevens, tmp_path / "o.jsonl", bad="quarantine", plan=plan, split_bytes=200
    )
    assert (report.rows_in, report.rows_out, report.rejected) == (1000, 990, 10)
    aside = work.json_lines(report.quarantine)
    data = numbers.read_bytes()
    assert sorted(int(record["raw"]) for record in aside) == list(range(7, 1000, 100))
    for record in aside:
        assert record["where"] == "byte"
        assert data[record["position"] :].split(b"\n", 1)[0].decode() == record["raw"]
        assert record["file"] == str(numbers)
        assert record["error"] == f"ValueError: seven: {record['raw']}"
    kept = [int(row["x"]) for row in work.json_lines(tmp_path / "o.jsonl")]
    assert kept == [n for n in range(1000) if n % 100 != 7]


def test_bad_rows_of_parquet_are_named_by_row(tmp_path):
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=90)
    report = whichpool.process(
        tmp_path / "n.parquet", work.refuses_sevens, tmp_path / "o.parquet", bad="quarantine", plan="loop"
    )
    assert (report.rows_in, report.rows_out, report.rejected) == (1000, 990, 10)
    aside = [(record["where"], record["position"]) for record in work.json_lines(report.quarantine)]
    assert sorted(aside) == [("row", n) for n in range(7, 1000, 100)]


@pytest.mark.parametrize(
    ("most", "ends"), [(9, True), (10, False), ("0.9%", True), ("1%", False), (0.005, True)], ids=str
)
def test_max_bad_is_where_it_ends(numbers, tmp_path, most, ends):
    def run():
        return whichpool.process(
            numbers, work.refuses_sevens, tmp_path / "o.csv", bad="skip", max_bad=most, plan="loop"
        )

    if ends:
        with pytest.raises(TooManyBad):
            run()
        assert seen(tmp_path) == ["n.csv"]
    else:
        assert run().rejected == 10


def test_a_bad_record_ends_it_by_default_and_nothing_appears(numbers, tmp_path):
    with pytest.raises(ValueError, match="seven: 7") as caught:
        whichpool.process(numbers, work.refuses_sevens, tmp_path / "o.csv", plan="loop")
    assert "n.csv" in " ".join(caught.value.__notes__)
    assert seen(tmp_path) == ["n.csv"]


def test_json_that_is_no_object_is_no_row(tmp_path):
    """The hint says `list[dict]`: a number or a list is a bad record, not an item of it."""
    (tmp_path / "n.jsonl").write_text('{"a": 1}\n[1, 2]\n"x"\n5\n{"a": 2}\n')
    report = whichpool.process(tmp_path / "n.jsonl", work.listed, combine=work.add, plan="loop", bad="skip")
    assert report.value == [{"a": 1}, {"a": 2}]
    assert (report.rows_in, report.rejected) == (5, 3)


# --- encodings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "txt"])
def test_a_mark_of_utf_16_is_refused_and_read_when_it_is_named(tmp_path, encoding, kind):
    path = tmp_path / f"in.{kind}"
    path.write_bytes("\ufeffa,b\n1,2\n3,é\n".encode(encoding))
    fn = work.listed if kind == "csv" else work.lines
    with pytest.raises(BadInput, match="mark of UTF-16"):
        value(path, fn)
    rows = [{"a": "1", "b": "2"}, {"a": "3", "b": "é"}]
    assert value(path, fn, encoding="utf-16") == (rows if kind == "csv" else ["a,b", "1,2", "3,é"])


def test_a_header_that_cannot_be_decoded_is_an_error(tmp_path):
    (tmp_path / "in.csv").write_bytes("é,b\n1,2\n".encode("latin-1"))
    with pytest.raises(BadInput, match="utf-8"):
        value(tmp_path / "in.csv", work.listed)
    assert value(tmp_path / "in.csv", work.listed, encoding="latin-1") == [{"é": "1", "b": "2"}]


def test_an_encoding_that_does_not_exist_is_an_error_of_ours(numbers):
    with pytest.raises(whichpool.WhichpoolError, match="nope"):
        value(numbers, work.listed, encoding="nope")


def test_mixed_encodings_are_bad_records(tmp_path):
    (tmp_path / "in.csv").write_bytes("a\né\n".encode() + "é\n".encode("latin-1") + b"z\n")
    with pytest.raises(BadInput, match="byte 5"):
        value(tmp_path / "in.csv", work.listed)
    assert value(tmp_path / "in.csv", work.listed, bad="skip") == [{"a": "é"}, {"a": "z"}]


def test_each_file_may_have_a_mark_at_its_front(tmp_path):
    for n in range(2):
        (tmp_path / f"{n}.csv").write_bytes(f"\ufeffa\n{n}\n".encode())
        (tmp_path / f"{n}.jsonl").write_bytes(f'\ufeff{{"a":"{n}"}}\n'.encode())
    for kind in ("csv", "jsonl"):
        assert value(f"{tmp_path}/*.{kind}", work.listed, split_bytes=3) == [{"a": "0"}, {"a": "1"}]


# --- files that are cut short -------------------------------------------------------------------------------


def test_a_gzip_cut_anywhere_is_an_error_that_says_how_far_it_goes(tmp_path):
    body = "x\n" + "".join(f"{n * 7919 % 100_003}\n" for n in range(40_000))
    whole = gzip.compress(body.encode())
    path = tmp_path / "in.csv.gz"
    for length in (5, 20, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:length])
        for bad in ("raise", "skip"):
            with pytest.raises(BadInput, match=r"in\.csv.gz is cut short") as caught:
                whichpool.process(path, work.same, tmp_path / "o.csv", plan="loop", bad=bad, restart=True)
        assert " 0 bytes" not in str(caught.value)
        assert seen(tmp_path) == ["in.csv.gz"]
    path.write_bytes(whole)
    assert (
        whichpool.process(path, work.same, tmp_path / "o.csv", plan="loop", restart=True).rows_out == 40_000
    )


def test_parquet_cut_anywhere_is_an_error_and_the_old_output_stays(tmp_path):
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=100)
    (tmp_path / "o.parquet").write_bytes(b"precious")
    whole = (tmp_path / "n.parquet").read_bytes()
    for length in (0, 3, 8, 100, len(whole) // 2, len(whole) - 9, len(whole) - 4, len(whole) - 1):
        (tmp_path / "n.parquet").write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"n\.parquet"):
            whichpool.process(tmp_path / "n.parquet", work.batch, tmp_path / "o.parquet", plan="loop")
    assert (tmp_path / "o.parquet").read_bytes() == b"precious"


def test_a_damaged_page_names_the_file(tmp_path):
    pq.write_table(
        pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=100, compression="none"
    )
    damaged = bytearray((tmp_path / "n.parquet").read_bytes())
    damaged[4:300] = b"\xff" * 296
    (tmp_path / "n.parquet").write_bytes(damaged)
    with pytest.raises(BadInput, match=r"n\.parquet, row group"):
        whichpool.process(tmp_path / "n.parquet", work.batch, tmp_path / "o.parquet", plan="loop")
    assert seen(tmp_path) == ["n.parquet"]


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet", "o.arrow"])
@pytest.mark.parametrize("content", [b"", b"x\n", b"x", b"\xef\xbb\xbf", b"\n\n"], ids=repr)
def test_nothing_in_is_nothing_out(tmp_path, name, content):
    (tmp_path / "in.csv").write_bytes(content)
    report = whichpool.process(tmp_path / "in.csv", work.same, tmp_path / name, plan="loop")
    assert (report.rows_in, report.rows_out, report.rejected) == (0, 0, 0)
    assert seen(tmp_path) == sorted(["in.csv", name])
    assert name != "o.parquet" or pq.read_table(tmp_path / name).num_rows == 0


def test_a_file_that_grows_while_it_is_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "in.csv"
    path.write_text("x,y\n" + "1,2\n" * 500)
    monkeypatch.setenv("OUTSIDE_INPUT", str(path))
    with pytest.raises(InputChanged, match=r"in\.csv"):
        whichpool.process(path, work.grows_the_file, tmp_path / "o.csv", plan="loop", split_bytes=200)
    assert seen(tmp_path) == ["in.csv"]


# --- outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["o.csv", "folder/"])
def test_the_output_is_not_there_until_it_is_whole(numbers, tmp_path, monkeypatch, plan, name):
    monkeypatch.setenv("OUTSIDE_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("OUTSIDE_OUTPUT", str(tmp_path / name.rstrip("/")))
    whichpool.process(numbers, work.looks_at_the_folder, f"{tmp_path}/{name}", plan=plan, split_bytes=200)
    assert set((tmp_path / "trace").read_text().split()) == {"False"}
    assert sorted(os.listdir(tmp_path)) == sorted(["n.csv", "trace", name.rstrip("/")])


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "folder/"])
@pytest.mark.parametrize("fn", [work.renames, work.retypes], ids=["name", "type"])
def test_parts_that_differ_are_named_or_fitted(tmp_path, name, fn):
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "n.parquet", row_group_size=100)
    out = f"{tmp_path}/{name}"
    if name == "o.csv" and fn is work.retypes:
        return  # a CSV has no types to differ
    with pytest.raises(SchemaDrift) as caught:
        whichpool.process(tmp_path / "n.parquet", fn, out, split_bytes=1, plan="loop")
    assert "x" in str(caught.value)
    assert "n.parquet, row group 0" in str(caught.value)
    assert "n.parquet, row group 5" in str(caught.value)
    assert seen(tmp_path) == ["n.parquet"]
    if name == "folder/":
        with pytest.raises(whichpool.PlanError, match="unify"):
            whichpool.process(tmp_path / "n.parquet", fn, out, unify=True, plan="loop")
    elif fn is work.renames:
        report = whichpool.process(
            tmp_path / "n.parquet", fn, out, split_bytes=1, plan="loop", unify=True, restart=True
        )
        assert report.rows_out == 1000
        table = pq.read_table(out) if name == "o.parquet" else pa.csv.read_csv(out)
        assert table["x"].to_pylist() == [*range(500), *[None] * 500]
        assert table["renamed"].to_pylist() == [*[None] * 500, *range(500, 1000)]


@pytest.mark.parametrize(
    "out", ["in/out/", "in/out.csv", "in/n.csv", "in/", "link.csv", "linked/out.csv", "in/../in/o.csv"]
)
def test_an_output_in_the_input_is_refused(tmp_path, out):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "n.csv").write_text("x\n1\n")
    (tmp_path / "link.csv").symlink_to("in/n.csv")
    (tmp_path / "linked").symlink_to("in")
    with pytest.raises(BadOutput):
        whichpool.process(tmp_path / "in", work.same, f"{tmp_path}/{out}", plan="loop")
    assert os.listdir(tmp_path / "in") == ["n.csv"]
    assert (tmp_path / "in" / "n.csv").read_text() == "x\n1\n"
    assert seen(tmp_path) == ["in", "link.csv", "linked"]


def test_an_output_folder_with_something_in_it_is_not_touched(numbers, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("precious")
    with pytest.raises(BadOutput, match="not empty"):
        whichpool.process(numbers, work.same, f"{tmp_path}/out/", plan="loop")
    assert os.listdir(tmp_path / "out") == ["precious"]


@pytest.mark.parametrize(
    "result", [[object()], 5, [[{"a": 1}]], [1]], ids=["an object", "a number", "a list of lists", "numbers"]
)
@pytest.mark.parametrize("name", ["o.parquet", "o.jsonl", "o.csv"])
def test_what_is_no_row_is_an_error_that_says_what_is(tmp_path, result, name):
    (tmp_path / "n.csv").write_text("x\n1\n")
    if name == "o.jsonl" and result in (5, [[{"a": 1}]], [1]):
        return  # any JSON may be a line
    with pytest.raises((TypeError, ValueError)) as caught:
        whichpool.process(tmp_path / "n.csv", lambda _: result, tmp_path / name, batch="dicts", plan="loop")
    assert "the function returned" in str(caught.value) or "written" in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["o.parquet", "o.csv", "o.arrow"])
def test_rows_of_one_batch_with_other_keys_lose_nothing(tmp_path, name):
    (tmp_path / "n.csv").write_text("x\n1\n")
    for result in ([{"a": 1}, {"a": 2, "b": 3}], [{"a": 1, "b": 2}, {"a": 2}]):
        with pytest.raises(SchemaDrift, match="b"):
            whichpool.process(
                tmp_path / "n.csv",
                lambda _, result=result: result,
                tmp_path / name,
                batch="dicts",
                plan="loop",
                restart=True,
            )


def test_where_that_cannot_be_is_an_error_of_ours(tmp_path):
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "n.parquet")
    for where in [[("x", "~", 1)], [("x", "==", "a")], [("nope", "==", 1)]]:
        with pytest.raises(whichpool.WhichpoolError):
            value(tmp_path / "n.parquet", work.listed, where=where)


SCRIPT = """
import os, resource, signal, sys
sys.path.insert(0, {here!r})
os.environ["OUTSIDE_PARENT"] = str(os.getpid())
import outside_work as work, whichpool
if {limit}:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    whichpool.process({source!r}, work.traced, {out!r}, split_bytes=400, plan={plan!r})
except (OSError, whichpool.WhichpoolError) as error:
    print("named:", error)
    sys.exit(9)
"""


def runs_apart(source, out, *, plan="loop", limit=0, trace=os.devnull, kill_at=None, sign=signal.SIGKILL):
    """A run in a process of its own, which ends badly; its exit code, and what it said."""
    script = SCRIPT.format(here=str(HERE), source=str(source), out=str(out), plan=plan, limit=limit)
    more = {"OUTSIDE_TRACE": str(trace)}
    if kill_at is not None:
        more |= {"OUTSIDE_KILL_AT": str(kill_at), "OUTSIDE_SIGNAL": str(int(sign))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def again(numbers, tmp_path, monkeypatch):
    """The same run once more, in this process."""
    monkeypatch.setenv("OUTSIDE_TRACE", str(tmp_path / "second"))

    def run(fn=work.traced, out="o.csv", plan="loop", **options):
        return whichpool.process(numbers, fn, tmp_path / out, split_bytes=400, plan=plan, **options)

    return run


def content(path: Path) -> list[int]:
    if path.suffix == ".parquet":
        return [int(x) for x in pq.read_table(path)["x"].to_pylist()]
    return [int(x) for x in path.read_text().split()[1:]]


@pytest.mark.parametrize(
    ("plan", "limit", "name"),
    [("loop", 1500, "o.csv"), ((2, 1), 200, "o.csv"), ("loop", 1500, "o.parquet")],
    ids=["the whole", "a part", "parquet"],
)
def test_a_full_disk_is_an_error_and_nothing_is_half_written(numbers, tmp_path, again, plan, limit, name):
    (tmp_path / name).write_bytes(b"precious")
    code, said = runs_apart(numbers, tmp_path / name, plan=plan, limit=limit)
    assert code == 9, said
    assert (tmp_path / name).read_bytes() == b"precious"
    assert again(out=name).rows_out == 1000
    assert content(tmp_path / name) == [*range(1000)]


@pytest.mark.parametrize(
    ("moment", "plan", "other"), [(0, "loop", "loop"), (980, "loop", (2, 1)), (500, (2, 1), "loop")]
)
def test_killed_at_any_moment_only_what_is_missing_runs_again(numbers, tmp_path, again, moment, plan, other):
    code, said = runs_apart(numbers, tmp_path / "o.csv", plan=plan, trace=tmp_path / "first", kill_at=moment)
    assert code == -signal.SIGKILL, said
    assert seen(tmp_path) == ["first", "n.csv"]
    report = again(plan=other)
    first, second = ({*map(int, (tmp_path / name).read_text().split())} for name in ("first", "second"))
    assert report.resumed == report.splits - len(second)
    assert len(second) <= report.splits - len(first) + 2  # two calls were under way
    assert (report.resumed > 0) == (moment > 0)
    assert (report.rows_in, report.rows_out) == (1000, 1000)
    assert content(tmp_path / "o.csv") == [*range(1000)]
    assert sorted(os.listdir(tmp_path)) == ["first", "n.csv", "o.csv", "second"]


@pytest.mark.parametrize(
    ("sign", "plan"), [(signal.SIGINT, "loop"), (signal.SIGTERM, "loop"), (signal.SIGINT, (2, 1))], ids=str
)
def test_ctrl_c_and_sigterm_leave_nothing_half_written_and_it_goes_on(numbers, tmp_path, again, sign, plan):
    (tmp_path / "o.csv").write_bytes(b"precious")
    code, said = runs_apart(numbers, tmp_path / "o.csv", plan=plan, kill_at=500, sign=sign)
    assert code not in (0, 9), said
    assert (tmp_path / "o.csv").read_bytes() == b"precious"
    assert again().resumed > 0
    assert content(tmp_path / "o.csv") == [*range(1000)]
    assert sorted(os.listdir(tmp_path)) == ["n.csv", "o.csv", "second"]


def test_other_parameters_or_code_are_refused_and_restart_drops_what_was_done(numbers, tmp_path, again):
    code, said = runs_apart(numbers, tmp_path / "o.csv", kill_at=700)
    assert code == -signal.SIGKILL, said
    with pytest.raises(RunChanged, match="code"):
        again(work.same)
    with pytest.raises(RunChanged, match="batch_rows"):
        again(batch_rows=5)
    why = again(work.same, why_rerun=True)
    assert "code" in " ".join(why.notes)
    assert seen(tmp_path) == ["n.csv"]
    report = again(work.same, restart=True)
    assert (report.resumed, report.rows_out) == (0, 1000)


def test_two_runs_at_the_same_output(numbers, tmp_path):
    """The second is told; the first does not notice."""

    def meddles(rows: list[dict]) -> list[dict]:
        with pytest.raises(OutputBusy, match=r"o\.csv"):
            whichpool.process(numbers, work.same, tmp_path / "o.csv", plan="loop")
        return rows

    report = whichpool.process(numbers, meddles, tmp_path / "o.csv", plan="loop", shared="ok")
    assert report.rows_out == 1000
    assert (tmp_path / "o.csv").read_text().split() == ["x", *map(str, range(1000))]


TREE = """
import os, sys, threading
sys.path.insert(0, {here!r})
import outside_work as work, whichpool

def tree():
    pages, family, parents = 0, {{os.getpid()}}, {{}}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{{pid}}/stat") as file: parents[int(pid)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError: pass
    for _ in range(4):
        family |= {{pid for pid, parent in parents.items() if parent in family}}
    for pid in family:
        try:
            with open(f"/proc/{{pid}}/statm") as file: numbers = file.read().split()
            pages += int(numbers[1]) - int(numbers[2])
        except OSError: pass
    return pages * 4096

peak, over = 0, threading.Event()
def watch():
    global peak
    while not over.wait(0.1):
        peak = max(peak, tree())
watcher = threading.Thread(target=watch)
watcher.start()
for times in (1, 1, 10):
    peak = 0
    whichpool.process([{source!r}] * times, work.batch, {out!r}, split_bytes=500_000, plan=(2, 1))
    print(max(peak, tree()))  # the workers are still there: a run may be over between two looks
over.set()
watcher.join()
"""


def test_memory_does_not_grow_with_the_input(tmp_path):
    """Ten times 5 MB are read and written with less than half of that more of memory."""
    path = tmp_path / "n.csv"
    path.write_text("x,y\n" + "".join(f"{n},{'y' * 990}{n}\n" for n in range(5000)))
    script = TREE.format(here=str(HERE), source=str(path), out=str(tmp_path / "o.csv"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    _, once, ten_times = map(int, done.stdout.split())
    assert ten_times < once + 25e6, done.stdout


def test_all_of_our_errors_are_one_family():
    for kind in (BadInput, BadOutput, InputChanged, OutputBusy, SchemaDrift, TooManyBad):
        assert issubclass(kind, DatasetError)
        assert issubclass(kind, whichpool.WhichpoolError)
