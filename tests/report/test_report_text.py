from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import HAZARD, HOST, report

import whichpool
from whichpool import Demand, Host, Plan, PlanRow, Verdict
from whichpool.report import demand_line, text


def test_the_headline_says_what_ran_how_long_on_what_and_the_gain() -> None:
    first, second, *_ = text(report()).splitlines()
    assert first == "load_and_parse: 1,000 items in 2.61 s, on 2 processes x 8 threads"
    assert second.strip() == "7.8 x as fast as the loop, which would take 20.3 s (predicted)"


def test_a_run_that_gained_nothing_does_not_claim_to() -> None:
    said = text(report(loop_s=2.6))
    assert "as fast as" not in said
    assert "no faster than the loop" in said


def test_a_plain_loop_is_not_compared_with_itself() -> None:
    said = text(report(plan=Plan.LOOP, steps=(), loop_s=2.6))
    assert "2.61 s, in the loop" in said
    assert "predicted)" not in said


def test_the_demand_is_told_in_human_units_with_bars_to_scale() -> None:
    lines = text(report()).splitlines()
    waits = next(line for line in lines if "waits  " in line)
    holds = next(line for line in lines if "holds the GIL" in line)
    assert "15.1 ms" in waits
    assert "5.00 ms" in holds
    assert holds.count("#") == round(waits.count("#") * 5.0 / 15.1)
    assert "One item takes 20.3 ms by itself (37 calls measured, +/- 31%):" in lines
    assert any("100 us here, 120 us there, 12.0 kB in all" in line for line in lines)


def test_only_what_was_measured_of_the_shipping_is_told() -> None:
    said = text(report(demand=Demand(0.0, 0.001, 0.0, payload_bytes=100.0, samples=1)))
    assert "to a process and back: 100 B in all" in said
    assert "1 call measured)" in said
    assert "to a process" not in text(report(demand=Demand(0.0, 0.001, 0.0, samples=1)))


def test_a_spread_beyond_the_mean_is_told_in_words() -> None:
    assert "(9 calls measured, very uneven):" in text(
        report(demand=Demand(0, 1e-7, 0, samples=9, spread=29.4))
    )


def test_a_demand_in_one_line_leaves_out_what_does_not_matter() -> None:
    assert demand_line(Demand(0.015, 0.005, 0.0001)) == "an item waits 15.0 ms, holds the GIL 5.00 ms"
    assert demand_line(Demand(0.0, 0.0, 0.002)) == "an item computes without the GIL 2.00 ms"
    assert demand_line(Demand(0.0, 0.0, 0.0)) == "an item takes no time to speak of"


def test_native_threads_are_mentioned_when_there_are_some() -> None:
    assert "one call keeps 3.5 cores busy" in text(report(demand=Demand(0, 0, 0.01, native=3.5, samples=9)))
    assert "threads of its own" not in text(report())


def test_a_demand_read_off_a_running_call_says_so_and_none_says_nothing() -> None:
    assert "(read off a call still running):" in text(report(demand=Demand(0.5, 0.0, 0.0)))
    assert "One item takes" not in text(report(demand=None))


def test_every_plan_has_its_row_and_the_chosen_one_is_marked() -> None:
    lines = text(report()).splitlines()
    chosen = [line for line in lines if line.startswith("> ")]
    assert len(chosen) == 1
    assert chosen[0].split("  ")[0] == "> 2 processes x 8 threads"
    for figure in ("400/s", "2.50 s", "390/s", "the cores are full"):
        assert figure in chosen[0]
    assert any(line.startswith("  32 threads") and "one GIL is full" in line for line in lines)
    assert any("2 processes" in line and "`guard` cannot be pickled" in line for line in lines)
    assert "Runner-up: 32 threads, 2.0 x the time" in lines


def test_where_the_verdict_is_another_plan_than_the_one_that_ran_both_are_named() -> None:
    said = text(report(plan=Plan.LOOP))
    assert "in the loop" in said.splitlines()[0]
    assert "Best plan for this work: 2 processes x 8 threads" in said
    assert "Best plan" not in text(report())


def test_a_plan_that_would_be_refused_is_never_called_the_best() -> None:
    loop, threads = PlanRow(Plan.LOOP, 50.0, "", 20.0), Plan(0, 8)
    refused = Verdict(threads, "", (loop, PlanRow(threads, 400.0, "", 2.5, why_not="it writes")))
    said = text(report(plan=Plan.LOOP, verdict=refused))
    assert "Refused: map would not run this on 8 threads.\nWhy: it writes" in said
    assert "Best plan" not in said
    assert said.count("it writes") == 1
    slower = Verdict(threads, "", (loop, PlanRow(threads, 40.0, "", 25.0)))
    said = text(report(plan=Plan.LOOP, verdict=slower))
    assert "The plan that was asked for: 8 threads" in said
    assert "Best plan" not in said


def test_plans_that_are_ruled_out_for_one_reason_share_it() -> None:
    out = [Plan(0, 16), Plan(2, 1), Plan(0, 2), Plan(2, 4), Plan(0, 4)]
    rows = [
        PlanRow(Plan.LOOP, 50.0, "", 20.0),
        *(PlanRow(plan, 1.0, "", 1.0, None, "it writes") for plan in out),
    ]
    said = text(report(verdict=Verdict(Plan.LOOP, "", tuple(rows))))
    assert "  2, 4 and 16 threads, 2 processes, 2 processes x 4 threads:\n      it writes\n" in said


def test_hazards_notes_failures_and_the_machine() -> None:
    said = text(report(hazards=(HAZARD,), notes=("a worker was replaced",), failures=3))
    assert "stats.hits (work.py:12) is written by every call." in said
    assert "Return the value, and add up what map gives." in said
    assert "Rules out threads and processes." in said
    assert "  - a worker was replaced" in said
    assert "3 of 1,000 failed" in said
    assert "Machine: CPython 3.11.7, linux x86_64, 2 cores of 8 (2 cores by quota), a GIL" in said


def test_an_empty_report_is_still_a_report() -> None:
    nothing = Verdict(Plan.LOOP, "")
    empty = report(items=0, wall_s=0, plan=Plan.LOOP, steps=(), demand=None, verdict=nothing, loop_s=None)
    assert text(empty).splitlines()[0] == "load_and_parse: 0 items in 0 s, in the loop"


def test_str_of_a_report_is_this_text() -> None:
    assert str(report()) == text(report())


words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)
sentences = st.lists(words, min_size=0, max_size=40).map(" ".join)
seconds = st.floats(min_value=0, max_value=1e7)
plans = st.builds(Plan, st.integers(0, 999), st.integers(1, 999))
rows = st.builds(
    PlanRow,
    plans,
    st.none() | st.floats(min_value=0, allow_infinity=True),
    sentences,
    st.none() | seconds,
    st.none() | seconds,
    st.none() | sentences,
)
verdicts = st.builds(
    Verdict, plans, sentences, st.lists(rows, max_size=6).map(tuple), st.none() | plans, st.none() | seconds
)
demands = st.builds(Demand, seconds, seconds, seconds, st.none() | seconds, samples=st.integers(0, 10**6))
steps = st.lists(st.builds(whichpool.Step, seconds, plans, sentences), max_size=4).map(tuple)


@given(st.none() | demands, verdicts, steps, sentences)
@settings(max_examples=60, deadline=None)
def test_any_report_can_be_read_at_80_columns(
    demand: Demand | None, verdict: Verdict, changes: tuple[whichpool.Step, ...], note: str
) -> None:
    said = text(report(demand=demand, verdict=verdict, steps=changes, notes=(note,)))
    assert max(map(len, said.splitlines())) <= 80
    assert said == said.strip("\n")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (Host(cores=4, machine_cores=4), "4 cores, a GIL"),
        (Host(cores=4, machine_cores=4, gil=False), "4 cores, no GIL"),
        (Host(cores=1, machine_cores=4, override_cores=1), "1 core of 4 (1 core by WHICHPOOL_CORES), a GIL"),
        (Host(cores=1, machine_cores=1, nested=True), "1 core, a GIL, inside a worker"),
    ],
)
def test_the_machine_says_what_holds_the_cores_back(host: Host, said: str) -> None:
    assert text(report(host=host)).splitlines()[-1] == f"Machine: {said}"


def test_the_sample_host_is_complete() -> None:
    assert HOST.start.measured
