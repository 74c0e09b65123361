"""What the fork server begins with."""

from __future__ import annotations

import os

import pytest

import whichpool
from whichpool._pools import fleet
from whichpool._worker import launch

TOLD = {"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1"}


@pytest.fixture
def untold(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("untold")
def test_workers_keep_freed_memory_for_the_next_array_unless_they_are_told_otherwise(monkeypatch):
    assert launch.environment() == {**os.environ, **launch.MALLOC}
    for told in TOLD:
        with monkeypatch.context() as patch:
            for name, value in told.items():
                patch.setenv(name, value)
            assert launch.environment() == dict(os.environ)


def of_this_process(x):
    with open("/proc/self/environ", "rb") as file:
        began = file.read().split(b"\0")
    return [name for name in os.environ if name.startswith("MALLOC_")], began


@pytest.mark.usefixtures("untold")
def test_the_function_and_what_it_starts_do_not_see_it():
    fleet.close()  # of other tests: begun with what these had set
    ((seen, began),) = whichpool.map(of_this_process, [0], plan=(1, 1))
    assert seen == []
    assert {f"{name}={value}".encode() for name, value in launch.MALLOC.items()} <= {*began}
