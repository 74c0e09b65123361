"""What every test runs under: private folders, and a look at what it leaves behind.

A test fails that leaves a child process (grandchildren counted), a thread, a file descriptor, an entry in
/dev/shm or a file in the temporary folder. The engine keeps its fork server and its idle worker processes between
calls on purpose; they and their sockets are allowed, by pid, and at the end of the session nothing may be left.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

# Skips that are right, as "text in the reason" -> why nothing can be done about it.
# With CI=true any other skip fails the run.
ALLOWED_SKIPS: dict[str, str] = {
    "no /proc here": "the leftovers can only be looked for where there is a /proc; Linux is always tested",
    "nothing is read-only for root": "root writes everywhere; the test runs for everyone else",
    "only root can mount a small disk": "a limit on the size of files stands in for it, and is tested everywhere",
    "no memory control group can be made here": "needs one to set off the out-of-memory killer in",
    "there is one core": "threads can be kept on one of several cores only; Linux with two is always tested",
    "Linux's kernel": "elsewhere such answers go the longer way, which is tested everywhere",
    "free-threaded": "needs an interpreter without a GIL; the logic is tested everywhere with a simulated host",
}

# How long what a test started may take to be gone after the test: a closed worker sees the end of its socket and leaves
# within milliseconds, on a loaded machine within a second. A guess with room.
GRACE_S = 5.0

# Names in /dev/shm that this package or the standard library would make; the rest belongs to other programs.
SHM_PREFIXES = ("whichpool", "psm_", "sem.mp-", "pym-")

# Worker processes are stopped after every test instead of once at the end: slow, but a leak is found in its test.
STRICT = bool(os.environ.get("WHICHPOOL_STRICT_LEFTOVERS"))

PREFIX = "whichpool-suite-"

_real_tmp = tempfile.gettempdir()
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _real_tmp)  # `tmp_path` stays where people look for it
_private = Path(tempfile.mkdtemp(prefix=PREFIX))
_lock = os.open(_private, os.O_RDONLY)
# Locked, it is in use: until this process ends, however that may be.
fcntl.flock(_lock, fcntl.LOCK_EX)
_owner = os.getpid()
_tmp = _private / "tmp"
_tmp.mkdir()
os.environ["TMPDIR"] = tempfile.tempdir = str(_tmp)
os.environ["WHICHPOOL_CACHE"] = str(_private / "cache")  # the user's own cache is neither read nor written
os.environ.pop("WHICHPOOL_CORES", None)
os.environ.pop("WHICHPOOL_WORKER", None)
sys.path.insert(0, str(Path(__file__).parent / "light"))  # for worker processes: see the module there
# OpenBLAS's threads spin for 2^this cycles before they sleep, 2^26 if not told: numpy's import costs 75 ms of CPU, not
# 135 ms, in each of some hundred processes (measured with getrusage on 2 cores). How many there are stays as it is.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")


@atexit.register
def _remove_private() -> None:
    """Also where there was no session (``pytest --help``, a mistake in the arguments)."""
    if os.getpid() == _owner:  # a child that a test forked is no end
        shutil.rmtree(_private, ignore_errors=True)


def _remove_those_of_killed_runs() -> None:
    for folder in Path(_real_tmp).glob(PREFIX + "*"):
        try:
            fd = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            if time.time() - os.fstat(fd).st_mtime < 60:
                continue  # it may have been made just now, and be locked in a moment
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # that run goes on
        finally:
            os.close(fd)


def _load_hypothesis_profile() -> None:
    from hypothesis import HealthCheck, settings

    # No deadline: a shared machine is as slow as it likes. CI draws the same examples each time, so that a change does
    # not fail by bad luck; everywhere else new ones are drawn, and a failure prints what reproduces it.
    shared = {
        "deadline": None,
        "print_blob": True,
        "suppress_health_check": [HealthCheck.too_slow],
        "database": None,
    }
    settings.register_profile("ci", derandomize=True, **shared)
    settings.register_profile("dev", **shared)
    settings.load_profile("ci" if os.environ.get("CI") else "dev")


_load_hypothesis_profile()


# Tests run shuffled, but in the same shuffle for everyone: a red run is red everywhere, and the shuffle still
# changes with each new test. Another one: `pytest --randomly-seed=1234`; the order of the files: `-p no:randomly`.
SHUFFLE = 20261122


# Tests that prove the same on every interpreter are marked `once`, with the reason. Where the suite runs on several,
# all but the first are told so (`.ci/run`); these tests are then left out, and the end of the run says which and why.
FIRST_RUNS_ONCE = bool(os.environ.get("WHICHPOOL_ONCE_ELSEWHERE"))
_elsewhere: Counter[str] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.getoption("randomly_seed", None) == "default":
        config.option.randomly_seed = SHUFFLE
    _remove_those_of_killed_runs()
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number, frame):
    """As Ctrl-C: fixtures end what they started, and what failed until now is shown. CI's time limit comes this way."""
    if os.getpid() == _owner:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt("SIGTERM")
    signal.signal(number, signal.SIG_DFL)  # a child that a test forked ends as a program does
    os.kill(os.getpid(), number)


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if FIRST_RUNS_ONCE and item.get_closest_marker("once")]
    for item in left_out:
        _elsewhere[f"{item.path.name}: {item.get_closest_marker('once').args[0]}"] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("once")]


# --- what is there ------------------------------------------------------------------------------------------


def _parents() -> dict[int, tuple[int, str]]:
    """Every process: pid -> (parent's pid, state)."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it has ended meanwhile
            found[int(entry)] = (int(parent), state)
    return found


def descendants(root: int) -> dict[int, str]:
    """The processes that ``root`` started, and those that they started: pid -> command line (or its state)."""
    parents = _parents()
    family = {root}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return {pid: f"[{parents[pid][1]}] {_command_line(pid)}" for pid in family - {root}}


def family(root: int | None = None) -> set[int]:
    """The pids of `descendants`, of this process by default, sooner: all tests look, twice, and /proc is large."""
    root = os.getpid() if root is None else root
    found: set[int] = set()
    look_at = [root]
    try:
        while look_at:
            pid = look_at.pop()
            for task in os.listdir(f"/proc/{pid}/task"):
                children = _children(pid, task)
                if children:  # again, since one that ends meanwhile can hide its neighbour
                    more = {int(child) for child in [*children, *_children(pid, task)]} - found
                    found |= more
                    look_at += more
    except FileNotFoundError:  # a kernel without such files; or a process has just ended
        return set(descendants(root))
    return found


def _children(pid: int, task: str) -> list[bytes]:
    # No file object: this is read twenty times in each test.
    fd = os.open(f"/proc/{pid}/task/{task}/children", os.O_RDONLY)
    try:
        text = b""
        while more := os.read(fd, 65_536):
            text += more
        return text.split()
    finally:
        os.close(fd)


def carriers(mark: str) -> dict[int, str]:
    """Processes, whosever children they are by now, that were started with ``mark`` in their environment."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                if mark.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found[int(entry)] = _command_line(int(entry))
            except OSError:
                continue
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "(ended)"


def _descriptors() -> Counter[str]:
    """What this process has open, by kind: sockets and pipes are counted, files are named."""
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue  # the descriptor of this very listing
        kind = target.split(":", 1)[0] if target.startswith(("socket:", "pipe:")) else target
        found[kind] += 1
    return found


def _fleet() -> tuple[set[int], Counter[str]]:
    """The engine's own processes between calls, and what it holds open to them: a socket each, a board per worker.

    A board counts twice: its mapping holds a descriptor of its own.
    """
    fleet = sys.modules.get("whichpool._pools.fleet")
    if fleet is None:
        return set(), Counter()
    status = fleet.status()
    workers = len(status["idle"])
    pids = {pid for pid in [status["server"], *status["idle"]] if pid is not None}
    held = {
        "socket": (status["server"] is not None) + workers,
        "/memfd:whichpool-board (deleted)": 2 * workers,
    }
    return pids, Counter(held)


def close_fleet() -> None:
    """Stop the worker processes and their server; does nothing if there never were any."""
    fleet = sys.modules.get("whichpool._pools.fleet")
    if fleet is not None:
        fleet.close()


def _others_use(path: str) -> bool:
    """Whether a process that is not of this run has the file mapped: then it is that one's."""
    for pid in _parents().keys() - family() - {os.getpid()}:
        try:
            if path in Path(f"/proc/{pid}/maps").read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False


class Leftovers:
    """What is there now, to be compared with later."""

    def __init__(self) -> None:
        self.processes = family()
        self.threads = set(threading.enumerate())
        self.descriptors = _descriptors()
        self.descriptors.subtract(_fleet()[1])
        self.files = {*self._files()}

    @staticmethod
    def _files() -> list[str]:
        found = [str(path) for path in _tmp.iterdir()]
        if os.path.isdir("/dev/shm"):
            # Segments and semaphores are files; a folder is where some other run of tests keeps its own.
            with os.scandir("/dev/shm") as entries:
                found += [e.path for e in entries if e.name.startswith(SHM_PREFIXES) and not e.is_dir()]
        return found

    def since(self) -> list[str]:
        """What came since and is still there, one line each."""
        pids, held = _fleet()
        lines = []
        if family() - self.processes - pids:
            now = descendants(os.getpid())
            lines += [
                f"process {pid}: {what}" for pid, what in now.items() if pid not in self.processes | pids
            ]
        lines += [
            f"thread {thread.name} (daemon: {thread.daemon})"
            for thread in threading.enumerate()
            if thread not in self.threads and thread.is_alive()
        ]
        descriptors = _descriptors()
        descriptors.subtract(held)
        descriptors.subtract(self.descriptors)
        lines += [f"{count} more open: {what}" for what, count in descriptors.items() if count > 0]
        new = [path for path in self._files() if path not in self.files]
        lines += [f"file {path}" for path in new if not path.startswith("/dev/shm/") or not _others_use(path)]
        return lines

    def settle(self) -> list[str]:
        """As `since`, but what is on its way out gets `GRACE_S` to be gone."""
        deadline = time.monotonic() + GRACE_S
        pause = threading.Event()
        while lines := self.since():
            if time.monotonic() > deadline:
                break
            gc.collect()  # what only waits for the cycle collector is garbage, not a leak
            pause.wait(0.01)
        return lines


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """Fails a test that leaves anything behind."""
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    if STRICT:
        close_fleet()
    before = Leftovers()
    yield
    if STRICT:
        close_fleet()
    lines = before.settle()
    if lines:
        pytest.fail("left behind by this test:\n  " + "\n  ".join(lines), pytrace=False)


class TreeMemory:
    """What a process and all that it started hold, as the kernel counts it; and, in a ``with`` block, the most of it.

    Attributes:
        peak: Bytes; a look every 10 ms.
    """

    def __init__(self, root: int | None = None) -> None:
        self.root = os.getpid() if root is None else root
        self.peak = 0

    def now(self) -> int:
        """Bytes; what processes share counts once."""
        return sum(map(self._share, {self.root, *family(self.root)}))

    @staticmethod
    def _share(pid: int) -> int:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass  # it has ended
        return 0

    def __enter__(self):
        self.peak, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self.now())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def tree_memory():
    """`TreeMemory`: of this process, or of the one that is named."""
    return TreeMemory


def on_a_terminal(command, timeout_s=30, **options):
    """Run a command whose standard error is a terminal: its exit code, and what came there."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, stderr=follower, **options)
    os.close(follower)
    said = b""
    try:
        while chunk := os.read(leader, 65536):
            said += chunk
    except OSError:
        pass  # the other end was closed: Linux says so with EIO
    finally:
        os.close(leader)
    return process.wait(timeout_s), said


@pytest.fixture
def terminal():
    """`on_a_terminal`."""
    return on_a_terminal


class ThreadLimit:
    """So many more threads start: of the pools of this process, or of all; and bare ones, or not."""

    def __init__(self, monkeypatch):
        from whichpool._run import overseer

        self.left, self.pools_only, self.bare = 1 << 30, False, True
        start, start_bare = threading.Thread.start, overseer.start_new_thread

        def limited(thread):
            if not self.pools_only or (thread.name.startswith("whichpool-") and thread.name[10:].isdigit()):
                if self.left <= 0:
                    raise RuntimeError("can't start new thread")
                self.left -= 1
            start(thread)

        def limited_bare(function, args):
            if not self.bare:
                raise RuntimeError("can't start new thread")
            return start_bare(function, args)

        monkeypatch.setattr(threading.Thread, "start", limited)
        monkeypatch.setattr(overseer, "start_new_thread", limited_bare)


@pytest.fixture
def thread_limit(monkeypatch):
    """The limit of the system, which a test lowers."""
    return ThreadLimit(monkeypatch)


@pytest.fixture(scope="session")
def opens_once():
    """Calls a function, and lets stay what a library opens then for the life of the process."""

    def opens(function):
        before = _descriptors()
        function()
        if _at_start is not None:
            more = _descriptors()
            more.subtract(before)
            _at_start.descriptors.update(+more)

    return opens


@pytest.fixture(scope="session")
def pyarrow_is_at_work(opens_once):
    """Its threads, and the pipe by which it hears of signals, are there from its first reading on."""

    def first_reading():
        import io

        import pyarrow as pa
        from pyarrow import csv, parquet

        csv.read_csv(pa.py_buffer(b"a\n1\n"))
        file = io.BytesIO()
        parquet.write_table(pa.table({"a": [1]}), file)
        parquet.ParquetFile(pa.py_buffer(file.getvalue())).read()

    opens_once(first_reading)


# --- the session --------------------------------------------------------------------------------------------

_at_start: Leftovers | None = None
_skips: list[tuple[str, str]] = []
_at_end: list[str] = []


def pytest_sessionstart(session):
    global _at_start
    if os.path.isdir("/proc/self/fd"):
        import whichpool  # noqa: F401  # so that what importing it opens, if anything, is not counted as a test's

        _at_start = Leftovers()


def pytest_collection_finish(session):
    """What was loaded so far stays; tests that have the garbage collected need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.append((report.nodeid, reason))


def pytest_collectreport(report):
    if report.skipped:
        _skips.append((report.nodeid, str(report.longrepr)))


def _skips_without_leave() -> list[tuple[str, str]]:
    return [(test, why) for test, why in _skips if not any(text in why for text in ALLOWED_SKIPS)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    close_fleet()
    if _at_start is not None:
        _at_end.extend(_at_start.settle())
    _remove_private()
    if session.exitstatus == pytest.ExitCode.OK and (
        _at_end or (os.environ.get("CI") and _skips_without_leave())
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    if _elsewhere:
        terminalreporter.section("NOT RUN HERE (WHICHPOOL_ONCE_ELSEWHERE): the first interpreter runs them")
        terminalreporter.write_line("\n".join(f"{n} of {what}" for what, n in _elsewhere.items()))
    if _at_end:
        terminalreporter.section("left behind by the whole run", red=True)
        terminalreporter.write_line("\n".join(_at_end))
    if os.environ.get("CI") and _skips_without_leave():
        terminalreporter.section("skipped without a reason on the list in tests/conftest.py", red=True)
        terminalreporter.write_line("\n".join(f"{test}: {why}" for test, why in _skips_without_leave()))
