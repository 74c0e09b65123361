"""Input and output that are not what they should be: the right answer, or what is wrong, with what, and what to do."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import os
from pathlib import Path

import outside_work as work
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whichpool
from whichpool.dataset.failures import BadInput, BadOutput, InputChanged
from whichpool.dataset.sources import resolve


def zst(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zst}
# Not so short that all of it is in one block of bzip2.
BODY = "x,y\n" + "".join(f"{n * 7919 % 100_003},{n}\n" for n in range(20_000))


def value(source, fn=work.listed, **options):
    return whichpool.process(source, fn, **{"combine": work.add, "plan": "loop", **options}).value


def refused(source, *said: str, fn=work.listed, **options) -> str:
    """The message of what is raised before, or while, the input is read."""
    with pytest.raises((BadInput, whichpool.PlanError)) as caught:
        value(source, fn, **options)
    for text in said:
        assert text in str(caught.value)
    return str(caught.value)


@pytest.fixture
def two(tmp_path):
    """A folder with ``a.csv`` and ``b.csv``."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.csv").write_text(f"n\n{name}\n")
    return folder


def names(rows) -> str:
    return "".join(row["n"] for row in rows)


# --- files that are not what their names say ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [*PACK])
def test_an_archive_cut_anywhere_says_so_and_nothing_appears(tmp_path, kind):
    whole = PACK[kind](BODY.encode())
    path = tmp_path / f"in.csv.{kind}"
    for length in (1, 4, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        for fn, name in ((work.same, "o.csv"), (work.batch, "o.parquet")):
            with pytest.raises(BadInput, match=rf"in\.csv\.{kind} is cut short .* fetch or write it again"):
                whichpool.process(path, fn, tmp_path / name, plan="loop", restart=True)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", [*PACK])
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt"])
def test_compressed_content_under_a_plain_name(tmp_path, kind, name):
    (tmp_path / name).write_bytes(PACK[kind](BODY.encode()))
    fn = work.lines if name.endswith("txt") else work.listed
    refused(tmp_path / name, f"{name} is not what its name says", f"ends in .{kind}", fn=fn)
    refused(tmp_path / name, f"ends in .{kind}", fn=len, bad="skip", batch="bytes")


@pytest.mark.parametrize("kind", [*PACK])
def test_plain_content_under_the_name_of_an_archive(tmp_path, kind):
    (tmp_path / f"in.csv.{kind}").write_text(BODY)
    refused(
        tmp_path / f"in.csv.{kind}", f"in.csv.{kind} is not what", f"name without .{kind}", "fetch it again"
    )


def test_other_formats_under_the_name_of_a_text(two):
    pq.write_table(pa.table({"x": [1]}), two / "p.csv")
    (two / "z.csv").write_bytes(b"PK\x03\x04" + bytes(60))
    refused(two / "p.csv", "p.csv", "is a Parquet file")
    assert value(two / "p.csv", format="parquet") == [{"x": 1}]
    refused(two / "z.csv", "z.csv", "zip archive", "Excel")
    (two / "t.parquet").write_text("n\n1\n")
    refused(two / "t.parquet", "t.parquet", "no Parquet file")


@pytest.mark.parametrize("indent", [None, 0, 1])
def test_one_json_array_is_no_json_lines(tmp_path, indent):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps([{"a": 1}, {"a": 2}], indent=indent))
    for fn in (work.listed, work.is_batch):
        refused(path, "in.jsonl is one JSON array", "jq -c", fn=fn, bad="skip")
    path.write_text('[1, 2]\n{"a": 1}\n')  # a bad record
    assert value(path, bad="skip") == [{"a": 1}]


def test_values_of_several_types_in_one_column_of_json_lines(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"x": 1}\n{"x": "a"}\n')
    refused(tmp_path / "in.jsonl", "in.jsonl", "several types", "schema=", fn=work.is_batch)
    assert value(tmp_path / "in.jsonl") == [{"x": 1}, {"x": "a"}]


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_every_unicode_is_read_or_named(tmp_path, name, encoding):
    rows = [{"n": "1", "é": "2"}, {"n": "→", "é": "\U0001f600"}]
    text = "n,é\n1,2\n→,\U0001f600\n"
    if name == "in.jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / name).write_bytes(text.encode(encoding))
    if encoding == "utf-8-sig":
        assert value(tmp_path / name, split_bytes=5) == rows
        return
    refused(tmp_path / name, name, f"give encoding={encoding!r}", bad="skip")
    assert value(tmp_path / name, encoding=encoding, split_bytes=5) == rows


def test_mixed_encodings_are_named_to_the_byte(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes("n,m\n1,é\n".encode() + "2,é\n".encode("latin-1") + "3,é\n".encode())
    for fn in (work.listed, work.is_batch, work.lines):
        refused(path, "in.csv, byte 9", "utf-8", fn=fn)
    good = [{"n": "1", "m": "é"}, {"n": "3", "m": "é"}]
    assert value(path, bad="skip", split_bytes=5) == good


# --- nothing in it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt", "in.csv.gz", "in.parquet"])
@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_no_records_are_no_value_and_an_output_without_rows(tmp_path, name, plan):
    path = tmp_path / name
    if name == "in.parquet":
        pq.write_table(pa.table({"x": pa.array([], pa.int64())}), path)
    else:
        path.write_bytes(gzip.compress(b"x,y\n") if name == "in.csv.gz" else b"")
    report = whichpool.process(path, len, combine=work.add, plan=plan)
    assert (report.value, report.rows_in) == (None, 0)
    assert "no record in the input" in report.notes[0]
    report = whichpool.process(path, lambda rows: rows, tmp_path / "o.jsonl", plan=plan)
    assert (report.rows_out, (tmp_path / "o.jsonl").read_bytes()) == (0, b"")


@pytest.mark.parametrize("fn", [work.listed, work.is_batch])
def test_a_header_only_beside_others(tmp_path, fn):
    for name, text in (("a", "x,y\n"), ("b", "x,y\n1,2\n"), ("c", "x,y")):
        (tmp_path / f"{name}.csv").write_text(text)
    assert len(value(f"{tmp_path}/*.csv", fn)) == 1
    refused(tmp_path / "a.csv", "a.csv has no column 'z'", columns=["z"])
    (tmp_path / "c.csv").write_text("x,z\n")
    refused(f"{tmp_path}/*.csv", "c.csv does not have the columns of", "a.csv", "y, z")


# --- what is named ------------------------------------------------------------------------------------------


def test_links_that_lead_nowhere_or_back_are_named(two):
    link = two / "c.csv"
    for target in ("gone.csv", "c.csv"):
        link.symlink_to(target)
        for source in (two, f"{two}/*.csv", link):
            refused(source, f"{link} is a link to {target}", "mend it, or remove it")
        link.unlink()
    link.symlink_to("a.csv")
    assert names(value(two)) == "aba"


def test_a_folder_that_is_in_itself_is_read_once(two):
    (two / "round").symlink_to(".")
    assert names(value(two)) == "ab"
    assert names(value(f"{two}/**/*.csv")) == "ab"


def test_what_cannot_be_read_twice_is_no_file(two):
    os.mkfifo(two / "c.csv")
    for source in (two, f"{two}/*.csv", two / "c.csv"):
        refused(source, "c.csv is a pipe", "write what comes from it into a file")
    refused("/dev/null", "/dev/null is a device")


def test_files_found_twice_are_read_once_and_named_twice_twice(two):
    a, all_of_it = two / "a.csv", f"{two}/*.csv"
    for source in (
        [all_of_it, f"{two}/a*"],
        [two, all_of_it],
        [a, all_of_it],
        [f"{two}/../in/*.csv", a, two],
    ):
        assert names(value(source)) == "ab"
    assert names(value([a, a])) == "aa"


def test_what_is_not_there_is_not_left_alone(two, tmp_path, monkeypatch):
    refused(two / "A.csv", f"there is no file {two}/A.csv; did you mean {two}/a.csv?")
    refused(two / "a.cvs", "did you mean", "a.csv?")
    refused(f"{two}/*.tsv", f"no file matches '{two}/*.tsv'; {two} has a.csv, b.csv")
    refused(f"{tmp_path}/out/*.csv", f"there is no out in {tmp_path}, but in")
    refused(f"{tmp_path}/*/*.tsv", "no file matches")
    for n in range(9):
        (two / f"{n}.log").touch()
    refused(f"{two}/*.tsv", "0.log, 1.log, 2.log and 8 more")
    (two / "empty").mkdir()
    refused(two / "empty", "there is no file in the folder", "empty")
    refused(f"{two}/empty/*", "empty is empty")
    monkeypatch.chdir(tmp_path)
    refused("inn/a.csv", "did you mean in?")
    refused("zzz*", "the current folder has in")
    refused("", "the name of an input is empty")
    refused({"a.csv"}, "a path, or a list of paths, not a set")


def test_a_folder_where_a_file_is_expected_and_the_other_way(two, tmp_path):
    named = tmp_path / "data.csv"
    named.mkdir()
    (named / "part-0.csv").write_text("n\n1\n")
    assert value(named) == [{"n": "1"}]
    assert names(value(two, format="csv")) == "ab"
    refused(two / "a.csv" / "b.csv", "there is no file")
    for out in (two / "a.csv" / "o.csv", tmp_path / "none" / "o.csv"):
        with pytest.raises(BadOutput, match="make it first"):
            whichpool.process(two / "b.csv", work.same, out, plan="loop")


def test_a_hint_that_the_file_cannot_give_says_what_can(two):
    said = refused(two / "a.csv", "'path', which the type hint", "format='file'", fn=work.is_path)
    assert "dicts" in said
    assert value(two / "a.csv", work.is_path, format="file") == ["Path"]
    refused(two / "a.csv", "batch='path' cannot be had from csv input", batch="path")
    (two / "a.dat").write_text("n\n1\n")
    refused(two / "a.dat", "files of no known kind", "give format=")
    assert value(two / "a.dat", format="csv") == [{"n": "1"}]


# --- while it is read, and where it is written --------------------------------------------------------------


@pytest.mark.parametrize("how", ["shorter", "removed", "replaced"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_that_is_not_the_one_any_more(tmp_path, how, suffix):
    path = tmp_path / f"in{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"x": range(1000)}), path, row_group_size=100)
    else:
        path.write_bytes(gzip.compress(BODY.encode()) if suffix.endswith("gz") else BODY.encode())
    data = path.read_bytes()

    def meddles(rows: list[dict]) -> list[dict]:
        if how == "shorter":
            path.write_bytes(data[:-7])
        elif how == "removed":
            path.unlink(missing_ok=True)
        else:
            (tmp_path / "new").write_bytes(data)
            os.utime(tmp_path / "new", ns=(0, 0))
            os.replace(tmp_path / "new", path)
        return rows

    # Where it is cut short under the reader, that may be what is seen first.
    with pytest.raises((InputChanged, BadInput), match=rf"in{suffix}"):
        whichpool.process(path, meddles, tmp_path / "o.csv", plan="loop", split_bytes=500, shared="ok")
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("name", ["o.csv", "o.parquet", "folder/", "files/"])
def test_a_disk_that_is_full_for_the_worker_is_named_and_it_goes_on(two, tmp_path, monkeypatch, name):
    """`/dev/full` is what the part is written to: a disk without room, of one file."""
    if name == "files/":
        place, fn, source = "whichpool.dataset.writers.open", work.upper, two

        def full(path, mode):
            Path(path).touch()
            return open("/dev/full", mode, buffering=0)
    else:
        place, fn, source = "whichpool.dataset.writers.PartWriter._open", work.same, two / "a.csv"

        def full(writer):
            if writer._file is None:
                writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # the writer closes it
            return writer._file

    with monkeypatch.context() as patched:
        patched.setattr(place, full, raising=False)
        with pytest.raises(OSError, match="No space left") as caught:
            whichpool.process(source, fn, f"{tmp_path}/{name}", plan="loop")
    assert caught.value.errno == errno.ENOSPC
    notes = " ".join(caught.value.__notes__)
    assert "there is no room for more in" in notes
    assert "make the same call again" in notes
    assert not Path(tmp_path, name).exists()
    assert not list(tmp_path.glob(".*/*/*.tmp"))
    assert whichpool.process(source, fn, f"{tmp_path}/{name}", plan="loop").rows_out > 0


def test_a_place_that_cannot_be_written(two, tmp_path):
    """`/proc` is one for root too."""
    with pytest.raises(BadOutput, match="nothing can be written into /proc"):
        whichpool.process(two / "a.csv", work.same, "/proc/o.csv", plan="loop")
    if os.getuid() == 0:
        return  # nothing else is closed to root
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(BadOutput, match=r"nothing can be written into .*closed"):
        whichpool.process(two / "a.csv", work.same, tmp_path / "closed" / "o.csv", plan="loop")
    (two / "a.csv").chmod(0)
    with pytest.raises(PermissionError, match=r"a\.csv"):
        value(two / "a.csv")


def test_an_output_beside_the_input_is_refused_before_it_is_read(two):
    whichpool.process(f"{two}/*.csv", work.same, two / "o.csv", plan="loop")
    before = (two / "o.csv").read_bytes()
    with pytest.raises(BadOutput, match=r"o\.csv is a file of the input"):
        whichpool.process(f"{two}/*.csv", work.same, two / "o.csv", plan="loop")
    assert (two / "o.csv").read_bytes() == before


def test_the_input_is_listed_by_name_whatever_the_folder_gives(two):
    sources, folders = resolve([f"{two}/b.csv", two])
    assert [source.name for source in sources] == ["b.csv", "a.csv"]
    assert folders == {str(two): True}
