"""CSV through the whole of `process`: the rows of any dialect are those of Python's `csv`, at any split size."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import asdict
from typing import Any

import outside_work as work
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import whichpool
from whichpool.dataset import chunks
from whichpool.dataset.failures import BadInput
from whichpool.dataset.records import Dialect
from whichpool.dataset.splits.csv import is_regular

MARK = b"\xef\xbb\xbf"
Case = tuple[Dialect, bytes, "list[str] | None"]
"""A dialect, a file, and the names of its columns; ``None``: it has a header."""


def as_rows(rows: list[dict]) -> list:
    return rows


def as_row(row: dict) -> list:
    return [row]


def as_typed(batch: pa.RecordBatch) -> list:
    return batch.to_pylist()


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    quote = draw(st.sampled_from(['"', '"', '"', "'", None]))
    return Dialect(
        delimiter=draw(st.sampled_from(",,;\t |")),
        quotechar=quote,
        escapechar=draw(st.sampled_from([None, None, "\\"])),
        doublequote=draw(st.booleans()),
        skipinitialspace=draw(st.booleans()),
        strict=draw(st.sampled_from([False, False, True])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]))
        if quote
        else csv.QUOTE_NONE,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dialect = draw(dialects())
    quote, delimiter = dialect.quotechar or "'", dialect.delimiter
    marks = [
        *(delimiter, delimiter, quote, quote * 2, dialect.escapechar or "x"),
        *("\n", "\n", "\r", "\r\n", "\n\n"),
        *(" ", "#", "1", "b", "NA", "é", "→", "\U0001f600", "\ufeff", "\u2028"),
    ]
    body = "".join(draw(st.lists(st.sampled_from(marks), max_size=30)))
    names = draw(st.sampled_from([None, None, ["p"], ["p", "q"], ["p", "q", "r"]]))
    head = ""
    if names is None and draw(st.integers(0, 3)):
        head = delimiter.join("pqr"[: draw(st.integers(1, 3))]) + draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return dialect, draw(st.sampled_from([b"", b"", MARK])) + (head + body).encode(), names


def of_csv(case: Case) -> tuple[list[dict[str, str]], int] | str | None:
    """The rows that fit, and how many do not; a text: what is said of the header; ``None``: `csv` refuses it."""
    dialect, data, names = case
    try:
        text = io.StringIO(data.removeprefix(MARK).decode(), newline="")
        rows = [row for row in csv.reader(text, **dialect.for_csv()) if row]
    except csv.Error:
        return None
    if names is None:
        if not rows:
            return [], 0
        names, *rows = rows
        if len({*names}) < len(names):
            return "twice"
    good = [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]
    return good, len(rows) - len(good)


def of_process(path, case: Case, fn, size: int, **options: Any):
    """As `of_csv`."""
    dialect, _, names = case
    try:
        report = whichpool.process(
            path,
            fn,
            **{"combine": work.add, "plan": "loop", "bad": "skip", "dialect": asdict(dialect), **options},
            header=names,
            split_bytes=size,
        )
    except BadInput as error:
        return "twice" if "twice" in str(error) else str(error)
    assert report.rows_in == len(report.value or []) + report.rejected
    return report.value or [], report.rejected


EXAMPLES: list[Case] = [
    (Dialect(), MARK + b'"p",q\r\n"a\r\nb","c""d"\r\n\r\n# no, comment\n', None),
    (
        Dialect(),
        "p,q\n→,\U0001f600\n\u2028,é".encode(),
        None,
    ),  # no end of the last line; characters across cuts
    (Dialect(), b"p,q\r1,2\r3\r4,5,6\r\r", None),  # \r alone, ragged rows, blank lines at the end
    (Dialect(), b"p,q", None),
    (Dialect(), b"\n\r\n", None),
    (Dialect(), b"p,p\n1,2\n", None),
    (Dialect(escapechar="\\"), b'p\n\\\na\n"\\""\n\\', None),
    (Dialect(doublequote=False), b'1,"2"",3\n4,"5\n"\n', ["p", "q", "r"]),
    (Dialect(delimiter=" ", skipinitialspace=True), b'1  "2\n" \n 3 4\n', ["p", "q"]),
    (Dialect(), b'a"b,"c"d,"e" "f"\n', ["p", "q", "r"]),  # where readers of CSV differ
    (Dialect(strict=True), b'1,2\n"3"4,5\n6,7\n', ["p", "q"]),
    (Dialect(), b"p\n\xef\xbb\xbfa\n\xef\xbb\xbfb\n", None),  # a mark is one at the front only
    (Dialect(escapechar="\\"), b"\\\xef\xbb\xbf,", ["p", "q"]),
    (Dialect(), b'1\n"2\n3\n', ["p"]),  # a quote that is never closed
]


def with_examples(test):
    for case in EXAMPLES:
        test = example(case=case, sizes=[1, 4])(test)
    return test


@with_examples
@given(case=cases(), sizes=st.lists(st.integers(1, 40), min_size=2, max_size=2))
@settings(max_examples=120)
def test_rows_of_any_dialect_at_any_split_size(tmp_path_factory, case, sizes):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(case[1])
    expected = of_csv(case)
    for size in [1000, *sizes]:
        for fn in (as_rows, as_row):
            found = of_process(path, case, fn, size, batch_rows=2)
            if expected is None:
                expected = (
                    found  # what can be had of it is not for `csv` to say, but is the same at each size
                )
            assert found == expected, (size, case)


@with_examples
@given(case=cases(), sizes=st.lists(st.integers(1, 40), min_size=2, max_size=2))
@settings(max_examples=80)
def test_typed_columns_have_the_same_rows(tmp_path_factory, case, sizes):
    """Whatever pyarrow's own reader makes of it."""
    path = tmp_path_factory.getbasetemp() / "typed.csv"
    path.write_bytes(case[1])
    names = case[2]
    if names is None:
        plain = of_process(path, case, as_rows, 1000)
        if isinstance(plain, str) or not plain[0]:
            return
        names = [*plain[0][0]]
    schema = pa.schema([(name, pa.string()) for name in names])
    expected = of_process(path, case, as_rows, 1000)
    for size in [1000, *sizes]:
        assert of_process(path, case, as_typed, size, schema=schema) == expected, (size, case)


@with_examples
@given(case=cases(), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=1))
@settings(max_examples=60)
@pytest.mark.parametrize(("suffix", "encoding"), [(".csv.gz", "utf-8"), (".csv", "utf-16")])
def test_a_stream_in_pieces_of_any_size_has_the_same_rows(tmp_path_factory, suffix, encoding, case, sizes):
    path = tmp_path_factory.getbasetemp() / f"streamed{suffix}"
    plain = path.with_name("plain.csv")
    plain.write_bytes(case[1])
    data = case[1] if encoding == "utf-8" else case[1].removeprefix(MARK).decode().encode(encoding)
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    expected = of_process(plain, case, as_rows, 1000)
    if isinstance(expected, str):  # an error, which names the file
        expected = expected.replace(plain.name, path.name)
    for size in sizes:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(chunks, "PIECE_BYTES", size)
            assert of_process(path, case, as_rows, 1000, encoding=encoding) == expected, (size, case)


def test_worker_processes_give_the_same_rows(tmp_path):
    for number, case in enumerate(EXAMPLES):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(case[1])
        expected = of_process(path, case, as_rows, 1000)
        for fn, size in ((as_rows, 3), (as_rows, 11)):
            assert of_process(path, case, fn, size, plan=(2, 1)) == expected, case


@pytest.mark.parametrize(
    ("data", "regular"),
    [
        (b"a,b\n1,2\n", True),
        (b'"a","b\n""c"""\r\n"",x\r"y"', True),
        (b"", True),
        (b'a"b,c\n', False),
        (b'"a"b,c\n', False),
        (b'"a,b\n', False),
        (b'a, "b"\n', False),
    ],
)
def test_what_all_readers_of_csv_read_alike(data, regular):
    assert is_regular(data, Dialect()) is regular
    assert is_regular(data.replace(b'"', b"'"), Dialect(quotechar="'")) is regular
    assert not is_regular(b"a\\b\n", Dialect(escapechar="\\"))


# --- what is refused record by record -----------------------------------------------------------------------


def test_numbers_without_quotes_that_are_none_are_bad_records(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('id,"x"\n"a",1\n"b",two\n"c",3\n')
    options = {"dialect": {"quoting": csv.QUOTE_NONNUMERIC}, "combine": work.add, "plan": "loop"}
    with pytest.raises(BadInput, match=r"in\.csv, byte 13: could not convert string to float: 'two'"):
        whichpool.process(path, as_rows, **options)
    report = whichpool.process(path, as_rows, bad="skip", split_bytes=4, **options)
    assert report.value == [{"id": "a", "x": 1.0}, {"id": "c", "x": 3.0}]
    typed = whichpool.process(path, as_typed, **options)  # there a column has one type
    assert [row["x"] for row in typed.value] == ["1", "two", "3"]


def test_many_bad_records_take_no_longer_each(tmp_path):
    """Each was looked for from the last one to the end of its split."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"p,q\n" + b'"1"x,2\n' * 30_000)
    report = whichpool.process(
        path, as_rows, combine=work.add, plan="loop", bad="skip", dialect={"strict": True}
    )
    assert (report.value, report.rejected) == (None, 30_000)


@pytest.mark.parametrize("plan", ["loop", (2, 1)], ids=str)
def test_a_long_field_is_refused_or_read_as_the_program_says(tmp_path, plan):
    path = tmp_path / "in.csv"
    path.write_text("p,q\n1," + "x" * 200_000 + "\n2,y\n")
    options = {"combine": work.add, "plan": plan, "split_bytes": 100}
    with pytest.raises(
        BadInput, match=r"in\.csv, byte 4: field larger than field limit .* quote that is not closed"
    ):
        whichpool.process(path, as_rows, **options)
    before = csv.field_size_limit(1_000_000)
    try:
        rows = whichpool.process(path, as_rows, **options).value
    finally:
        csv.field_size_limit(before)
    assert [len(row["q"]) for row in rows] == [200_000, 1]


def test_a_dialect_that_cannot_be_is_an_error_of_ours(tmp_path):
    (tmp_path / "in.csv").write_text("p,q\n1,2\n")
    for dialect in ({"quotechar": None}, {"delimiter": ""}, {"delimiter": 5}, {"quoting": 77}):
        with pytest.raises(whichpool.PlanError, match="dialect="):
            whichpool.process(tmp_path / "in.csv", as_rows, combine=work.add, dialect=dialect)
