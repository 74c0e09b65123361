"""What all that keeps files agrees on."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from whichpool import files


def test_the_variable_names_the_folder_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv("WHICHPOOL_CACHE", str(tmp_path))
    assert files.cache_folder() == str(tmp_path)
    monkeypatch.setenv("WHICHPOOL_CACHE", "")
    assert files.cache_folder() is None


@pytest.fixture
def two(tmp_path):
    """One file, opened twice, as two runs have it."""
    fds = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for _ in range(2)]
    yield fds
    for fd in fds:
        with suppress(OSError):  # a test may have closed it
            os.close(fd)


def test_a_lock_is_of_one_run_until_it_lets_go(two, monkeypatch):
    waits = []
    now = [0.0]
    monkeypatch.setattr(files, "monotonic", lambda: now[0])

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(files, "sleep", sleep)
    first, second = two
    assert files.lock_soon(first)
    assert not waits
    assert not files.lock_soon(second)
    assert sum(waits) == pytest.approx(files.LOCK_WAIT_S)


def test_a_lock_that_is_let_go_of_meanwhile_is_had(two, monkeypatch):
    first, second = two
    assert files.lock_soon(first)
    monkeypatch.setattr(files, "sleep", lambda seconds: os.close(first))
    assert files.lock_soon(second)
