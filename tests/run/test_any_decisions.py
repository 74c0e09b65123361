"""Whatever the conductor decides, and whenever: each item once, the loop's results, order and exception."""

from __future__ import annotations

import collections
import os
import random
import time

import pytest

import whichpool
from whichpool import Plan
from whichpool._choose.conductor import Conductor
from whichpool._choose.records import Prepare, Switch

PLANS = [Plan(0, 1), Plan(0, 1), Plan(0, 2), Plan(0, 7), Plan(1, 1), Plan(2, 1), Plan(2, 3)]


class Dice:
    """A conductor that throws dice: prepares and switches at random, sometimes to where it is already."""

    def __init__(self, monkeypatch, seed):
        self.random = random.Random(seed)
        self.switches = 0
        monkeypatch.setattr(Conductor, "step", lambda conductor, view: self.step(view))
        monkeypatch.setattr(
            Conductor, "next_step_s", lambda conductor: self.random.choice([0.001, 0.001, 0.005])
        )

    def step(self, view):
        actions = []
        if self.random.random() < 0.1:
            actions.append(Prepare(self.random.choice([1, 2]), "the dice say so"))
        if view.demand is not None and self.random.random() < 0.3:
            plan = self.random.choice(PLANS)
            if not plan.processes or plan.processes <= view.ready_processes:
                self.switches += 1
                actions.append(Switch(plan, "the dice say so"))
        return tuple(actions)


class Noted:
    """Writes each call down, takes a random time that depends on the item alone, and fails at some items."""

    def __init__(self, path, seed, fails):
        self.path, self.seed, self.fails = str(path), seed, fails

    def __call__(self, x):
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, b"%d\n" % x)
        os.close(fd)
        nap_s = random.Random(self.seed * 100_003 + x).choice([0.0, 0.0, 0.0, 0.0002, 0.001, 0.004])
        if nap_s:
            time.sleep(nap_s)
        if x in self.fails:
            raise ValueError(x)
        return x * x

    def calls(self):
        with open(self.path) as file:
            return collections.Counter(map(int, file))


def slowly(items, seed):
    dice = random.Random(seed)
    for item in items:
        if dice.random() < 0.02:
            time.sleep(0.003)
        yield item


def add(a, b):
    return a + b


@pytest.fixture
def dice(monkeypatch, request):
    dice = Dice(monkeypatch, request.node.callspec.params["seed"])
    yield dice
    assert dice.switches > 0  # else it has shown nothing


def job(tmp_path, seed, fails=()):
    chance = random.Random(seed)
    n = chance.choice([400, 600])
    fn = Noted(tmp_path / "calls", seed, frozenset(fails))
    items = list(range(n)) if chance.random() < 0.5 else slowly(range(n), seed)
    limit = chance.choice([None, None, 1, 3])
    return fn, items, n, {"limit": limit, "shared": "ok"}


@pytest.mark.parametrize("seed", range(8))
def test_map(dice, tmp_path, seed):
    fn, items, n, options = job(tmp_path, seed)
    assert whichpool.map(fn, items, **options) == [x * x for x in range(n)]
    assert fn.calls() == collections.Counter(range(n))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ordered", [True, False])
def test_imap(dice, tmp_path, ordered, seed):
    fn, items, n, options = job(tmp_path, seed)
    consumer = random.Random(seed)
    seen = []
    for value in whichpool.imap(fn, items, ordered=ordered, **options):
        seen.append(value)
        if consumer.random() < 0.01:
            time.sleep(0.003)
    assert (seen if ordered else sorted(seen)) == [x * x for x in range(n)]
    assert fn.calls() == collections.Counter(range(n))


@pytest.mark.parametrize("seed", range(5))
def test_map_reduce(dice, tmp_path, seed):
    fn, items, n, options = job(tmp_path, seed)
    assert whichpool.map_reduce(fn, items, add, **options) == sum(x * x for x in range(n))
    assert fn.calls() == collections.Counter(range(n))


@pytest.mark.parametrize("seed", range(8))
def test_the_earliest_failure(dice, tmp_path, seed):
    fails = random.Random(seed).sample(range(300, 400), 3)  # late enough for the dice
    fn, items, _, options = job(tmp_path, seed, fails)
    with pytest.raises(ValueError, match="raised by item") as caught:
        whichpool.map(fn, items, **options)
    assert caught.value.args == (min(fails),)
    assert whichpool.salvage(caught.value)[: min(fails)] == [x * x for x in range(min(fails))]
    assert max(fn.calls().values()) == 1
    assert set(fn.calls()) >= set(range(min(fails) + 1))


@pytest.mark.parametrize("seed", range(5))
def test_failures_in_place(dice, tmp_path, seed):
    fails = set(random.Random(seed).sample(range(200), 9))
    fn, items, n, options = job(tmp_path, seed, fails)
    results = whichpool.map(fn, items, on_error="return", **options)
    assert [x for x, value in enumerate(results) if isinstance(value, whichpool.Failure)] == sorted(fails)
    assert all(value == x * x for x, value in enumerate(results) if x not in fails)
    assert fn.calls() == collections.Counter(range(n))


@pytest.mark.parametrize("seed", range(5))
def test_submit(dice, tmp_path, seed):
    fn = Noted(tmp_path / "calls", seed, frozenset({5, 77}))
    with whichpool.Pool(shared="ok") as pool:
        futures = [pool.submit(fn, x) for x in range(400)]
    assert [x for x, future in enumerate(futures) if future.exception() is not None] == [5, 77]
    assert all(future.result() == x * x for x, future in enumerate(futures) if x not in (5, 77))
    assert fn.calls() == collections.Counter(range(400))
