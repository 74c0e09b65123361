"""The contract: what holds on every plan. Written from what users are told, not from how it is done."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid

import pytest

PLANS = ["loop", "threads", "processes", (2, 2), "auto"]
"""Every family of plans, and the choice among them."""

AT_ONCE = ["threads", "processes", (2, 2)]
"""Plans that run items at the same moment, whatever is measured."""

IN_PROCESSES = ["processes", (2, 2)]
"""Plans that run every item in a worker process."""


def name_of(plan):
    return "2x2" if plan == (2, 2) else plan


@pytest.fixture(params=PLANS, ids=name_of)
def plan(request):
    return request.param


@pytest.fixture(params=AT_ONCE, ids=name_of)
def concurrent_plan(request):
    return request.param


@pytest.fixture(params=IN_PROCESSES, ids=name_of)
def process_plan(request):
    return request.param


def marked(mark):
    """The processes that carry ``mark`` in their environment: a script's, and all that it started, orphans included."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file, open(f"/proc/{entry}/stat") as stat:
                    if mark.encode() in file.read() and stat.read().rpartition(")")[2].split()[0] != "Z":
                        found.append(int(entry))
            except OSError:
                continue  # it has ended
    return found


def gone_within(mark, limit_s):
    """Whether every marked process is gone in time."""
    deadline = time.monotonic() + limit_s
    pause = threading.Event()
    while marked(mark):
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True


class Script:
    """A user's script in a process of its own; no guard unless its text has one."""

    def __init__(self, folder, text, name="script.py"):
        self.path = folder / name
        self.path.write_text(textwrap.dedent(text))
        self.folder = folder
        self.mark = f"WHICHPOOL_TEST_MARK={uuid.uuid4()}"

    def _environment(self):
        name, value = self.mark.split("=")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WHICHPOOL_TEST_MARK")}
        here = os.path.dirname(__file__)
        path = os.pathsep.join([here, *filter(None, [inherited.get("PYTHONPATH")])])
        return {**inherited, name: value, "PYTHONPATH": path}

    def run(self, *args, timeout=60, check=True):
        """Run it to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, str(self.path), *map(str, args)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def left(self, within_s):
        """Processes that it started, itself included, that are there after so long; none, mostly sooner."""
        return [] if gone_within(self.mark, within_s) else marked(self.mark)

    def start(self, *args, stdin=subprocess.DEVNULL):
        """Start it in a session of its own, as a terminal does with a job."""
        return subprocess.Popen(
            [sys.executable, str(self.path), *map(str, args)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=stdin,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def script(tmp_path):
    """``script(text).run()``: a main script; nothing that it started may outlive it."""
    made = []

    def make(text, **options):
        made.append(Script(tmp_path, text, **options))
        return made[-1]

    yield make
    for one in made:
        assert gone_within(one.mark, 5.0), f"processes outlived their script: {marked(one.mark)}"
