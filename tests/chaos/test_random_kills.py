"""Workers are killed at random moments: nothing is lost, twice, in a wrong place or left behind, and nothing hangs."""

from __future__ import annotations

import faulthandler
import os
import random
import threading
from collections import defaultdict

import pytest
from chaos_help import Killer
from chaos_work import Told

import whichpool

KILLS = int(os.environ.get("WHICHPOOL_CHAOS_KILLS", "500"))
"""In all, over the fixed plans. A run with many more: ``WHICHPOOL_CHAOS_KILLS=5000 pytest tests/chaos``. Without a
fixed plan, a quarter as many in each round."""

PLANS = [(1, 1), (2, 1), (2, 2), (2, 3), "auto"]
ITEMS = 150
PATIENCE_S = 30.0
"""For the next of 150 items of a few milliseconds to start or end. The whole may take what the kills make of it."""


def add(a, b):
    return a + b


def by_map(fn, plan):
    return dict(enumerate(whichpool.map(fn, range(ITEMS), plan=plan, on_error="return")))


def by_imap(fn, plan):
    return dict(enumerate(whichpool.imap(fn, iter(range(ITEMS)), plan=plan, on_error="return")))


def by_imap_as_they_come(fn, plan):
    got = list(whichpool.imap(fn, range(ITEMS), plan=plan, on_error="return", ordered=False))
    found = {r.index if isinstance(r, whichpool.Failure) else r[0]: r for r in got}
    assert len(found) == len(got), "a result came twice"
    return found


def by_map_reduce(fn, plan):
    outcome = whichpool.map_reduce(fn, range(ITEMS), add, plan=plan, on_error="return")
    assert list(outcome) == sorted(outcome), "combined in a wrong order"
    assert len(set(outcome)) == len(outcome), "combined twice"
    return {x: (x,) for x in outcome} | {x: None for x in range(ITEMS) if x not in outcome}


def by_submit(fn, plan):
    with whichpool.Pool(plan=plan) as pool:
        futures = [pool.submit(fn, x) for x in range(ITEMS)]
        found = {}
        for x, future in enumerate(futures):
            error = future.exception(PATIENCE_S)
            found[x] = future.result() if error is None else whichpool.Failure(x, repr(x), error, "")
            if error is not None:
                assert isinstance(error, whichpool.WorkerDied)
    return found


WAYS = [by_map, by_imap, by_imap_as_they_come, by_map_reduce, by_submit]


def check(found, told, killed, threads, way):
    assert sorted(found) == list(range(ITEMS))
    starts, ends = defaultdict(list), set()
    for what, x, pid in told:
        if what == "started":
            starts[x].append(pid)
        else:
            ends.add((x, pid))
    for x, r in found.items():
        if r is None:
            assert starts[x] == [] or starts[x][-1] in killed
        elif isinstance(r, whichpool.Failure):
            assert isinstance(r.error, whichpool.WorkerDied), r.error
            assert r.index == x
            if (
                way is not by_submit
            ):  # there the items are numbered as they were submitted, by all calls of the pool
                assert r.error.index == x
                assert f"item {x} " in str(r.error)
            assert r.error.exitcode in (-9, -15)
            assert set(starts[x]) <= killed, "it was run to its end by a worker that was not killed"
        else:
            assert r == (x,)
            assert (x, starts[x][-1]) in ends, "a result of a call that had not ended"
        assert len(set(starts[x])) == len(starts[x]), "started twice by one worker"
        # Started again only where the worker that had it was killed, and its result, if there was one yet, was lost.
        assert set(starts[x][:-1]) <= killed
    failed = sum(not isinstance(r, tuple) for r in found.values())
    assert failed <= len(killed) * (threads + 1)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_random_kills(plan, tmp_path):
    dice = random.Random(f"20261124/{plan}")
    # What has no fixed plan may rightly bring in no worker on a busy machine: it has rounds, the others have deaths.
    fixed = [each for each in PLANS if each != "auto"]
    wanted, killed = -(-KILLS // len(fixed)), 0
    rounds = max(KILLS // 100, len(WAYS)) if plan == "auto" else None
    threads = plan[1] if plan != "auto" else 32
    round_ = 0
    while killed < wanted if rounds is None else round_ < rounds:
        way = WAYS[round_ % len(WAYS)]
        fn = Told(str(tmp_path / f"told-{round_}"), 0.002, cpu=plan == "auto")

        def ended(fn=fn):
            return sum(what == "ended" and pid != os.getpid() for what, _, pid in fn.told())

        with Killer(dice, wanted - killed if rounds is None else wanted, ended, pause_s=0.016) as killer:
            found = _patiently(lambda way=way, fn=fn: way(fn, plan), fn)
        check(
            found, fn.told(), killer.killed | {os.getpid()} if plan == "auto" else killer.killed, threads, way
        )
        killed += len(killer.killed)
        round_ += 1
    assert whichpool.map(abs, range(-20, 0), plan=plan) == list(range(20, 0, -1))


def _patiently(call, fn):
    """What the call returns or raises; a failure, and the stacks, if ``fn`` has nothing to tell for long."""
    box = []

    def run():
        try:
            box.append((call(), None))
        except BaseException as error:
            box.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    told = -1
    while thread.is_alive():
        before, told = told, len(fn.told())
        if told == before:
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"it hangs after {fn.told()[-3:]}")
        thread.join(PATIENCE_S)
    value, error = box[0]
    if error is not None:
        raise error
    return value
