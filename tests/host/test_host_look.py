"""`look`: one record of the machine, cheap to ask for again, never stale about what may have changed."""

from __future__ import annotations

import platform
import sys

import pytest

from whichpool import _host
from whichpool._host import cores, costs, memory
from whichpool._records import Host


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_host, "time", clock)
    return clock


def test_this_machine() -> None:
    host = _host.look()
    assert isinstance(host, Host)
    assert cores.LEAST_CORES <= host.cores <= host.machine_cores
    assert host.machine_cores == cores.machine_cores()
    assert host.affinity_cores == cores.affinity_cores()
    assert host.override_cores is None
    assert host.gil == _host.gil_enabled()
    assert not host.nested
    assert host.start == costs.load()
    assert host.worker_bytes is None


def test_names() -> None:
    host = _host.look()
    assert host.python.split()[:2] == [
        platform.python_implementation(),
        platform.python_version().rstrip("+"),
    ]
    assert host.platform == f"{sys.platform} {platform.machine()}"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("3.14.0 free-threading build (main)", "free-threaded"),
        ("3.13.0 experimental free-threading build (main)", "free-threaded"),
        ("3.13.0 (main)", None),
    ],
)
def test_a_free_threaded_build_is_named(
    monkeypatch: pytest.MonkeyPatch, version: str, expected: str | None
) -> None:
    monkeypatch.setattr(sys, "version", version)
    assert _host.look(fresh=True).python.endswith("free-threaded") == (expected is not None)


def test_it_is_kept_for_a_second(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    free = iter([10, 20, 30, 40])
    monkeypatch.setattr(memory, "free_bytes", lambda: next(free))
    first = _host.look()
    clock.now_s += 0.9
    assert _host.look() is first
    clock.now_s += 0.2
    assert _host.look().memory_free_bytes == 20
    assert _host.look(fresh=True).memory_free_bytes == 30
    clock.now_s -= 20  # a clock that was set back is no reason to keep it for ever
    assert _host.look().memory_free_bytes == 40


def test_the_gil_is_that_of_now(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert not _host.gil_enabled()
    assert not _host.look().gil
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert _host.gil_enabled()
    assert _host.look().gil


def test_an_interpreter_that_cannot_tell_has_a_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert _host.gil_enabled()


@pytest.mark.parametrize(("value", "nested"), [("1", True), ("0", False), ("", False)])
def test_a_worker_is_nested(monkeypatch: pytest.MonkeyPatch, clock: Clock, value: str, nested: bool) -> None:
    assert not _host.look().nested
    monkeypatch.setenv("WHICHPOOL_WORKER", value)
    assert _host.look().nested is nested


def test_a_recorded_start_shows_at_once(clock: Clock) -> None:
    assert not _host.look().start.measured
    costs.record(first_worker_s=0.123)
    assert _host.look().start.first_worker_s == 0.123


def test_every_public_name_is_there_and_no_other() -> None:
    for name in _host.__all__:
        assert callable(getattr(_host, name))
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _host.nothing_of_that_name  # noqa: B018
