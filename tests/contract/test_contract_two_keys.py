"""Ctrl-C twice in quick succession, at random moments, while it starts and while it ends too."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import time

import pytest

TRIES = int(os.environ.get("WHICHPOOL_CHAOS_KEYS", "6"))
"""Of each plan. A hundred in all: ``WHICHPOOL_CHAOS_KEYS=20``."""

LIMIT_S = 2.0
SLACK_S = 3.0
"""What a loaded machine may add."""

TEXT = """
    import os, sys, time
    import whichpool
    plan = eval(sys.argv[1])

    def fn(x):
        time.sleep(0.002)
        return x

    presses = 0
    try:
        try:
            os.write(1, b"!")
            whichpool.map(fn, range(60), plan=plan)
        except KeyboardInterrupt:
            presses += 1
        os.write(1, b".")
        for _ in range(4):
            time.sleep(0.05)  # the second key, if it comes as one of its own, comes here
    except KeyboardInterrupt:
        presses += 1
    os.write(1, str(presses).encode())
"""


@pytest.mark.parametrize("plan", ["loop", "threads", (2, 1), (2, 2), "auto"], ids=str)
def test_two_keys(script, plan):
    dice = random.Random(f"keys/{plan}")
    one = script(TEXT)
    for _ in range(TRIES):
        pause_s, between_s = dice.uniform(0.0, 0.25), dice.choice([0.0, 0.0005, 0.002, 0.02])
        process = one.start(repr(plan))
        try:
            assert select.select([process.stdout], [], [], 30)[0]
            assert os.read(process.stdout.fileno(), 1) == b"!"
            select.select([process.stdout], [], [], pause_s)  # ended sooner: the keys come after the call
            pressed = time.monotonic()
            for _ in range(2):
                os.killpg(process.pid, signal.SIGINT)
                select.select([], [], [], between_s)
            try:
                out, err = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                pytest.fail("it hangs")
            took_s = time.monotonic() - pressed
            what = (pause_s, between_s, out, err, process.returncode)
            # Where the keys come after the call, what the interpreter's own end says of them is Python's.
            assert "leaked" not in err, what
            # A key that comes just as a function of whichpool's is entered at the end, or in the callback of a weak
            # reference, is told by Python as an exception that it ignored: it must be the key, and nothing else.
            for ignored in err.split("Exception ignored")[1:]:
                assert "whichpool" not in ignored or "KeyboardInterrupt" in ignored, what
            if "." not in out:
                assert err == "" or "KeyboardInterrupt" in err, what
            else:
                assert out in (".0", ".1", ".2") or err, what
            assert process.returncode in (0, 1, -signal.SIGINT), what
            assert took_s < LIMIT_S + SLACK_S, what
            assert one.left(LIMIT_S) == [], what
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
