"""The kernel ends a worker, because its control group has no memory left: item, cause and numbers are told."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from whichpool._host.cgroups import groups

LIMIT_BYTES = 160_000_000
"""For the program and its workers together, which take about 50 MB of it."""
LIMITS = ("memory.limit_in_bytes", "memory.max")

PROGRAM = """
    import json, os, sys

    folder, plan = sys.argv[1], json.loads(sys.argv[2])
    with open(folder + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))

    import whichpool

    def item(x):
        if x == 7:
            held = []
            while True:
                held.append(b"x" * 1_000_000)
        return x

    pool = whichpool.Pool(plan=tuple(plan))
    results = pool.map(item, range(30), on_error="return")
    failed = {x: r.error for x, r in enumerate(results) if isinstance(r, whichpool.Failure)}
    (x, error), = failed.items()
    again = pool.map(abs, range(-5, 0))
    right = sum(r == at for at, r in enumerate(results))
    print(json.dumps([x, type(error).__name__, error.index, error.exitcode, str(error), right, again]))
"""


def made_in(version, folder):
    """A group with a limit on its memory in this one; an `OSError` where none can be made."""
    if not os.access(Path(folder, "cgroup.procs"), os.W_OK):
        raise PermissionError(folder)  # nobody could be moved into it
    group = Path(folder, f"whichpool-test-{os.getpid()}")
    group.mkdir()
    try:
        group.joinpath(LIMITS[version - 1]).write_text(str(LIMIT_BYTES))
        for swap in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
            if group.joinpath(swap).exists():
                group.joinpath(swap).write_text(str(LIMIT_BYTES if version == 1 else 0))
    except OSError:
        group.rmdir()
        raise
    return group


@pytest.fixture
def group():
    """Of version 1 in this process's own; of version 2 in the nearest one around it that may have groups in it."""
    made = None
    for version, folder in groups("memory"):
        try:
            made = made_in(version, folder)
            break
        except OSError:
            continue
    if made is None:
        pytest.skip("no memory control group can be made here")
    yield made
    end, pause = time.monotonic() + 5, threading.Event()
    while True:  # a process that has just ended is still counted in for a moment
        try:
            return made.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            pause.wait(0.01)


@pytest.mark.parametrize("plan", [[1, 1], [2, 2]], ids=str)
def test_the_item_the_signal_the_memory_and_the_count(script, group, plan):
    program = script(PROGRAM)
    done = program.run(group, json.dumps(plan))
    x, kind, index, code, text, right, again = json.loads(done.stdout)
    assert (x, kind, index, code) == (7, "WorkerDied", 7, -9)
    assert "was killed by SIGKILL while it ran item 7 (7)" in text
    assert " MB when it was last looked at." in text
    assert "out-of-memory killer ended 1 process(es) of this control group" in text
    assert right == 29
    assert again == [5, 4, 3, 2, 1]
    assert program.left(5.0) == []
