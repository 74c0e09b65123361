"""A pool, and a model of one, driven by dice: submit, cancel, kill, hang, time out, map, close, and again."""

from __future__ import annotations

import os
import random
import select
import signal

import pytest
from chaos_help import workers
from chaos_work import HANGS, half, over
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import whichpool

WAIT_S = 30
MOST_KILLS = 5
MOST_HANGS = 3
"""Each takes `TIMEOUT_S` of a machine's life."""
TIMEOUT_S = 0.6
"""What a call may take, in the pools that have a limit; those that do not hang take microseconds, when they run."""


def expected(x):
    return ("ValueError", x) if x % 7 == 3 else x / 2


def outcome(call):
    try:
        return call()
    except ValueError as error:
        return ("ValueError", *error.args)


class Model:
    """What is known of a call: whether it was cancelled, or a worker was killed while it could run."""

    def __init__(self, future, x, pool):
        self.future, self.x, self.pool = future, x, pool
        self.cancelled = self.endangered = False


class Machine(RuleBasedStateMachine):
    plan: object = None
    calls = Bundle("calls")

    def __init__(self):
        super().__init__()
        self.open = []
        self.number = (
            0  # of the present pool; the earlier ones are garbage, and do what was submitted to them
        )
        self.kills = self.hangs = 0
        self.dice = random.Random(7)

    @initialize(timeout_s=st.sampled_from([None, TIMEOUT_S]))
    def begin(self, timeout_s):
        self.pool = whichpool.Pool(plan=self.plan, timeout=timeout_s)
        self.has_limit = timeout_s is not None
        self.number += 1
        self.closed = False

    @precondition(lambda self: not self.closed)
    @rule(target=calls, x=st.integers(0, 100))
    def submit(self, x):
        call = Model(self.pool.submit(half, x), x, self.number)
        self.open.append(call)
        return call

    @precondition(lambda self: not self.closed and self.has_limit and self.hangs < MOST_HANGS)
    @rule(target=calls)
    def submit_what_hangs(self):
        self.hangs += 1
        return self.submit(HANGS)

    @precondition(lambda self: self.closed)
    @rule(x=st.integers(0, 100))
    def submit_to_what_is_closed(self, x):
        with pytest.raises(RuntimeError):
            self.pool.submit(half, x)
        with pytest.raises(RuntimeError):
            self.pool.map(half, [x])

    @rule(call=calls)
    def cancel(self, call):
        done = call.future.done()
        if call.future.cancel():
            assert not done or call.cancelled, "what has a result was cancelled"
            call.cancelled = True
        else:
            assert not call.cancelled

    @rule(call=consumes(calls))
    def ask(self, call):
        self.check(call)

    def check(self, call):
        if call.cancelled:
            assert call.future.cancelled()
            return
        try:
            assert outcome(lambda: call.future.result(WAIT_S)) == expected(call.x)
            assert call.x != HANGS
        except whichpool.WorkerDied:
            assert call.endangered, "it says that its worker died, and none was killed"
        except whichpool.ItemTimeout:
            assert call.x == HANGS, "it says that it took too long, and does not hang"
        assert not call.future.cancel()

    @rule()
    def kill(self):
        pids = workers()
        # With more of them and nothing finished in between, the run rightly takes the machine to be broken.
        if pids and self.plan[0] and self.kills < MOST_KILLS:
            self.kills += 1
            for call in self.open:
                call.endangered = True
            try:
                handle = os.pidfd_open(self.dice.choice(pids))
            except ProcessLookupError:
                return  # it had nothing to do for long
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                assert select.select([handle], [], [], WAIT_S)[
                    0
                ]  # what is submitted from here on never met it
            finally:
                os.close(handle)

    @precondition(lambda self: not self.closed)
    @rule(first=st.integers(0, 50), n=st.integers(0, 30))
    def map(self, first, n):
        items = range(first, first + n)
        got = self.pool.map(half, items, on_error="return")
        assert len(got) == n
        for x, r in zip(items, got, strict=True):
            if isinstance(r, whichpool.Failure) and isinstance(r.error, whichpool.WorkerDied):
                assert r.index == x - first
            else:
                assert (("ValueError", *r.error.args) if isinstance(r, whichpool.Failure) else r) == expected(
                    x
                )

    @precondition(lambda self: not self.closed and self.hangs < MOST_HANGS)
    @rule(before=st.integers(0, 10), after=st.integers(0, 10))
    def map_one_that_hangs(self, before, after):
        self.hangs += 1
        items = [*range(before), HANGS, *range(after)]
        got = self.pool.map(half, items, on_error="return", timeout=TIMEOUT_S)
        assert len(got) == len(items)
        for at, (x, r) in enumerate(zip(items, got, strict=True)):
            if x == HANGS:
                assert isinstance(r.error, whichpool.ItemTimeout)
                assert r.error.index == r.index == at
            else:
                assert (("ValueError", *r.error.args) if isinstance(r, whichpool.Failure) else r) == expected(
                    x
                )

    @precondition(lambda self: not self.closed)
    @rule(wait=st.booleans(), cancel=st.booleans())
    def close(self, wait, cancel):
        self.pool.close(wait=wait, cancel=cancel)
        self.closed = True
        if cancel:
            for call in self.open:
                call.cancelled = call.cancelled or call.future.cancelled()
        if wait:
            assert all(call.future.done() for call in self.open if call.pool == self.number)

    @precondition(lambda self: self.closed)
    @rule(timeout_s=st.sampled_from([None, TIMEOUT_S]))
    def another_pool(self, timeout_s):
        self.begin(timeout_s)

    @rule(timeout_s=st.sampled_from([None, TIMEOUT_S]))
    def drop(self, timeout_s):
        self.begin(timeout_s)

    def teardown(self):
        if hasattr(self, "pool"):
            self.pool.close()
        for call in self.open:
            self.check(call)


@pytest.fixture(autouse=True)
def what_hangs_on_a_thread_ends():
    over.clear()
    yield
    over.set()


@pytest.mark.parametrize("plan", [(2, 1), (0, 3)], ids=str)
def test_the_pool_does_as_the_model(plan):
    class Planned(Machine):
        pass

    Planned.plan = plan
    run_state_machine_as_test(
        Planned, settings=settings(max_examples=12, stateful_step_count=30, deadline=None)
    )
