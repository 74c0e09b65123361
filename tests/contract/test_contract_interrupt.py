"""Ctrl-C at any moment: pending work is dropped, the workers are gone within a second, the caller hears of it once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time

import pytest

import whichpool
from whichpool._pools.base import LOOK_UP_S, Signal

LIMIT_S = 1.0
"""From the key to the end of the program and of all that it started."""

SLACK_S = 2.0
"""What a loaded machine may add: the program has to be scheduled, and its interpreter to shut down."""

TEXT = """
    import itertools, os, sys, time
    fifo, pause_s, plan, how = sys.argv[1], float(sys.argv[2]), eval(sys.argv[3]), sys.argv[4]

    def fn(x):
        fd = os.open(fifo, os.O_WRONLY)
        os.write(fd, b".")
        os.close(fd)
        time.sleep(pause_s)
        return x

    import whichpool
    times = 0
    try:
        if how == "map":
            whichpool.map(fn, range(100_000), plan=plan)
        elif how == "endless":
            for _ in whichpool.imap(fn, itertools.count(), plan=plan):
                pass
        elif how == "pool":
            with whichpool.Pool(plan=plan) as pool:
                pool.map(fn, range(100_000))
    except KeyboardInterrupt:
        times += 1
    print("interrupted", times, flush=True)
"""


def nap(x):
    time.sleep(0.002)
    return x


def interrupt(script, folder, plan, *, after, pause_s, how, whole_group):
    """Run the script, press Ctrl-C once ``after`` items have started; its exit code, output, seconds until its end."""
    fifo = str(folder / "started")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    one = script(TEXT)
    process = one.start(fifo, pause_s, repr(plan), how)
    try:
        seen = 0
        while seen < after:
            assert select.select([fd], [], [], 30)[0], f"only {seen} items started"
            seen += len(os.read(fd, 4096))
        # A thread that is just being born can take the signal off the main thread, which then sleeps on in its call:
        # Linux and CPython do this to any program that starts threads. A person presses the key again.
        for _ in range(3):
            pressed = time.monotonic()
            if whole_group:
                os.killpg(process.pid, signal.SIGINT)
            else:
                os.kill(process.pid, signal.SIGINT)
            try:
                out, err = process.communicate(timeout=10)
                return process.returncode, out, err, time.monotonic() - pressed
            except subprocess.TimeoutExpired:
                assert pause_s > 10, "it hangs"
        raise AssertionError("it does not hear the key")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        os.close(fd)


def check(outcome):
    code, out, err, took_s = outcome
    assert out == "interrupted 1\n", err
    assert code == 0, err
    assert err == ""
    assert took_s < LIMIT_S + SLACK_S


@pytest.mark.parametrize("after", [1, 2, 9, 57, 203])
def test_at_any_moment(script, plan, after, tmp_path):
    check(interrupt(script, tmp_path, plan, after=after, pause_s=0.003, how="map", whole_group=True))


@pytest.mark.parametrize(
    "whole_group", [True, False], ids=["the terminal's key", "a signal to the program alone"]
)
@pytest.mark.parametrize("how", ["endless", "pool"])
def test_in_any_call(script, plan, how, whole_group, tmp_path):
    check(interrupt(script, tmp_path, plan, after=5, pause_s=0.003, how=how, whole_group=whole_group))


def test_while_items_run_for_a_minute(script, plan, tmp_path):
    check(interrupt(script, tmp_path, plan, after=1, pause_s=60, how="map", whole_group=True))


def test_a_map_after_the_interrupt_works(script, process_plan):
    one = script(
        """
        import os, signal, sys, threading, time, whichpool
        plan = eval(sys.argv[1])
        def items():
            for x in range(100_000):
                if x == 50:
                    os.kill(os.getpid(), signal.SIGINT)
                yield x
        try:
            whichpool.map(lambda x: time.sleep(0.001), items(), plan=plan)
        except KeyboardInterrupt:
            print("once")
        print(whichpool.map(abs, [-1, -2], plan=plan))
        """
    )
    assert one.run(repr(process_plan)).stdout == "once\n[1, 2]\n"


def test_the_caller_never_waits_so_long_that_a_signal_is_missed(plan, monkeypatch):
    """One that arrives just before a wait begins does not end it: its handler runs when the wait is over."""
    waits = []
    wait = Signal.wait

    def watched(self, timeout_s=-1):
        if threading.get_ident() == threading.main_thread().ident:
            waits.append(timeout_s)
        return wait(self, timeout_s)

    monkeypatch.setattr(Signal, "wait", watched)
    assert whichpool.map(nap, range(60), plan=plan) == list(range(60))
    assert list(whichpool.imap(nap, iter(range(60)), plan=plan)) == list(range(60))
    with whichpool.Pool(plan=plan) as pool:
        futures = [pool.submit(nap, x) for x in range(60)]
    assert [future.result() for future in futures] == list(range(60))
    assert all(0 <= timeout_s <= LOOK_UP_S for timeout_s in waits)
