from __future__ import annotations

import json

import pytest
from cli_types import Run

import whichpool
from whichpool import Host, StartCosts
from whichpool.cli.doctor import facts


def said(host: Host) -> dict[str, tuple[str, str]]:
    return {name: (value, remark) for name, value, remark in facts(host)}


def test_the_cores_are_told_with_each_of_the_four_limits() -> None:
    value, remark = said(Host(1.5, 8, affinity_cores=4, quota_cores=1.5))["cores"]
    assert value == "1.5"
    assert remark == "the least of: machine 8, affinity 4, cgroup quota 1.5, WHICHPOOL_CORES not set"
    assert "WHICHPOOL_CORES 3" in said(Host(3, 8, override_cores=3))["cores"][1]


def test_the_gil_memory_and_start_costs() -> None:
    host = Host(
        2, 2, memory_free_bytes=10**9, worker_bytes=5 * 10**7, start=StartCosts(4e-5, 0.09, 0.006, True)
    )
    told = said(host)
    assert told["GIL"][0] == "yes"
    assert told["memory"] == ("1.00 GB", "free for this process; room for 20 workers of 50.0 MB")
    assert told["a thread"] == ("40.0 us", "to start (measured now)")
    assert told["first process"][0] == "90.0 ms"
    assert told["each further"][0] == "6.00 ms"
    assert "nested" not in told


def test_what_is_not_known_is_not_made_up() -> None:
    told = said(Host(2, 2, gil=False, nested=True))
    assert told["GIL"][0] == "no"
    assert told["memory"] == ("-", "free for this process")
    assert "a guess" in told["a thread"][1]
    assert "worker" in told["nested"][1]


def test_doctor_measures_and_fits_80_columns(run: Run) -> None:
    done = run("doctor")
    assert done.exit_code == 0, done.stderr
    assert "measured now" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_doctor_as_json(run: Run) -> None:
    data = json.loads(run("doctor", "--json").stdout)
    assert (data["schema"], data["version"]) == ("whichpool.doctor", 1)
    assert data["host"]["cores"] >= 0.01
    assert data["host"]["start"]["first_worker_s"] > 0


def test_workers_that_cannot_be_started_are_an_error_in_words(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> Host:
        raise whichpool.WorkerLost("fork: Resource temporarily unavailable")

    monkeypatch.setattr(whichpool, "doctor", fail)
    done = run("doctor")
    assert done.exit_code == 1
    assert "fork: Resource temporarily unavailable" in done.stderr
