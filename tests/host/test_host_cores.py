"""The number of cores: the least of what is known, and `WHICHPOOL_CORES` can only lower it."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool import _host
from whichpool._host import cores
from whichpool.errors import PlanError


def test_this_machine() -> None:
    assert cores.machine_cores() == os.cpu_count()
    affinity = cores.affinity_cores()
    if hasattr(os, "sched_getaffinity"):
        assert affinity is not None
        assert 1 <= affinity <= len(os.sched_getaffinity(0))
    quota = cores.quota_cores()
    assert quota is None or quota > 0


def test_a_machine_that_does_not_know_its_cores_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.machine_cores() == 1


@pytest.mark.parametrize(
    ("scheduler", "python", "expected"),
    [(4, 3, 3), (3, 64, 3), (4, None, 4), ("refused", 5, 5), ("refused", None, None), ("absent", 6, 6)],
)
def test_affinity_is_the_least_that_scheduler_and_python_say(
    monkeypatch: pytest.MonkeyPatch, scheduler: int | str, python: int | None, expected: int | None
) -> None:
    def sched_getaffinity(pid: int) -> set[int]:
        if isinstance(scheduler, str):
            raise PermissionError("seccomp")
        return set(range(scheduler))

    if scheduler == "absent":
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:
        monkeypatch.setattr(os, "sched_getaffinity", sched_getaffinity, raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: python, raising=False)
    assert cores.affinity_cores() == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("  ", None), ("2", 2.0), (" 0.5 ", 0.5), ("1e2", 100.0)]
)
def test_override(monkeypatch: pytest.MonkeyPatch, text: str, expected: float | None) -> None:
    monkeypatch.setenv("WHICHPOOL_CORES", text)
    assert cores.override_cores() == expected


def test_override_that_is_not_set() -> None:
    assert cores.override_cores() is None


@pytest.mark.parametrize("text", ["0", "-1", "-0.0", "nan", "inf", "-inf", "two", "2 cores", "1,5", "0x2"])
def test_an_override_that_cannot_be_names_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("WHICHPOOL_CORES", text)
    with pytest.raises(PlanError, match="WHICHPOOL_CORES") as caught:
        cores.override_cores()
    assert repr(text) in str(caught.value)
    with pytest.raises(PlanError, match="WHICHPOOL_CORES"):
        _host.look()


def test_the_override_lowers_but_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHICHPOOL_CORES", "1000000")
    before = _host.look()
    assert before.override_cores == 1_000_000
    assert before.cores <= before.machine_cores
    monkeypatch.setenv("WHICHPOOL_CORES", "0.25")
    after = _host.look()  # at once, not a second later
    assert (after.cores, after.override_cores) == (0.25, 0.25)


_positive = st.floats(1e-6, 1e6)


@given(
    machine=st.integers(1, 4096),
    affinity=st.none() | st.integers(1, 4096),
    quota=st.none() | _positive,
    override=st.none() | _positive,
)
def test_effective_is_one_of_them_and_no_more_than_any(
    machine: int, affinity: int | None, quota: float | None, override: float | None
) -> None:
    known = [machine, *(number for number in (affinity, quota, override) if number is not None)]
    found = cores.effective_cores(machine, affinity, quota, override)
    assert found == max(min(known), cores.LEAST_CORES)
    assert isinstance(found, float)
