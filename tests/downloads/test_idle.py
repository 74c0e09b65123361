"""Connections that wait for a request: the last one first, and whoever waits for one gets it."""

import queue
import threading

import pytest

from whichpool.downloads.idle import Idle


def test_the_last_one_first():
    idle = Idle(2)
    idle.put("a")
    idle.put("b")
    with pytest.raises(queue.Full):
        idle.put("c")
    assert [idle.get(), idle.get(block=False)] == ["b", "a"]
    with pytest.raises(queue.Empty):
        idle.get(block=False)
    with pytest.raises(queue.Empty):
        idle.get(timeout=0.0)


def test_whoever_waits_gets_one():
    """Four threads share two connections, each for a thousand times."""
    idle, held, most = Idle(2), set(), []
    for one in ("a", "b"):
        idle.put(one)

    def use():
        for _ in range(1_000):
            one = idle.get(timeout=60)
            assert one not in held
            held.add(one)
            most.append(len(held))
            held.discard(one)
            idle.put(one)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 4_000
    assert max(most) <= 2
    assert idle._waiting == 0
