"""The program is killed, or asked to end, in any state: a moment later nothing that it started is left."""

from __future__ import annotations

import os
import signal

import pytest

TEXT = """
    import os, sys, time, threading
    fifo, state = sys.argv[1], sys.argv[2]

    def say():
        fd = os.open(fifo, os.O_WRONLY)
        os.write(fd, b".")
        os.close(fd)

    def item(x):
        if x == 3:
            say()
        time.sleep(0.002 if state in ("imap", "short items") else 60)
        return x

    import whichpool
    if state == "starting":
        threading.Thread(target=say).start()
        whichpool.map(item, range(1000), plan=(4, 1))
    elif state == "running":
        whichpool.map(item, range(3, 1000), plan=(2, 1))
    elif state == "threads":
        whichpool.map(item, range(1000), plan=(2, 3))
    elif state == "short items":
        whichpool.map(item, range(100_000), plan=(2, 3))
    elif state == "idle":
        whichpool.map(abs, range(1000), plan=(2, 1))
        say()
        time.sleep(60)
    elif state == "imap":
        for x in whichpool.imap(item, range(100_000), plan=(2, 1)):
            pass
    elif state == "futures":
        pool = whichpool.Executor(plan=(2, 2))
        futures = [pool.submit(item, x) for x in range(100)]
        time.sleep(60)
"""
STATES = ["starting", "running", "threads", "short items", "idle", "imap", "futures"]
LIMIT_S = 1.0
"""From the program's end to that of all that it started, on a loaded machine too: its workers have 0.1 s."""


def shared_memory():
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("state", STATES)
def test_nothing_outlives_the_program(script, state, how, tmp_path):
    fifo = str(tmp_path / "here")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR)
    one = script(TEXT)
    before = shared_memory()
    process = one.start(fifo, state)
    try:
        assert os.read(fd, 1) == b"."
        os.kill(process.pid, how)
        assert process.wait(10) == -how
        assert one.left(LIMIT_S) == []
        process.communicate()
        assert not [
            name for name in shared_memory() - before if "whichpool" in name or name.startswith("psm_")
        ]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        os.close(fd)
