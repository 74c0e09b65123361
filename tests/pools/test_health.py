"""What is known of workers, and when they are worn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from whichpool._pools import health
from whichpool._pools.health import Health, bytes_in_words
from whichpool.sizes import size_in_bytes


def worker(**known):
    return SimpleNamespace(**{"pid": 77, "ran": 0, "resident_bytes": None, "looked_at": 0.0, **known})


@pytest.fixture
def kernel(monkeypatch):
    says = SimpleNamespace(kills=3, resident=50_000_000, asked=0, now=1000.0)

    def resident(pid):
        says.asked += 1
        return says.resident

    monkeypatch.setattr(health, "oom_kills", lambda: says.kills)
    monkeypatch.setattr(health, "resident_bytes", resident)
    monkeypatch.setattr(health, "monotonic", lambda: says.now)
    return says


def test_memory_is_read_seldom_unless_there_is_a_limit(kernel):
    one, watched = worker(), worker()
    for _ in range(10):
        Health(None, None).note(one, 1)
    assert kernel.asked == 1
    for _ in range(10):
        Health(1, None).note(watched, 1)
    assert kernel.asked == 11
    assert one.ran == 10


def test_what_cannot_be_read_leaves_what_was_known(kernel):
    one = worker(resident_bytes=5)
    kernel.resident = None
    Health(1, None).note(one, 1)
    assert one.resident_bytes == 5


def test_the_killer_is_named_only_if_it_came_meanwhile(kernel):
    one = Health(None, None)
    assert one.of_the_dead(worker(), -9) == ""
    kernel.kills = 5
    assert "out-of-memory killer ended 2 process(es)" in one.of_the_dead(worker(), -9)
    assert (
        one.of_the_dead(worker(resident_bytes=2_500_000_000), -9)
        == " It held 2.5 GB when it was last looked at."
    )
    kernel.kills = 6
    assert one.of_the_dead(worker(), 3) == ""  # it ended by itself
    kernel.kills = None
    assert one.of_the_dead(worker(), -9) == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("2G", 2_000_000_000),
        ("1.5GiB", 3 << 29),
        (7, 7),
    ],
)
def test_sizes(text, size):
    assert size_in_bytes("max_worker_memory", text) == size


def test_sizes_in_words():
    assert [bytes_in_words(size) for size in (5, 1500, 512e6, 2.1e9)] == ["5 B", "1.5 kB", "512 MB", "2.1 GB"]
