"""Memory of this machine as other tools see it, and the calls made on macOS and Windows against stand-ins."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from typing import Any

import pytest
from host_layouts import Layout

from whichpool._host import elsewhere, memory

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
def test_free_memory_of_this_machine() -> None:
    free = memory.free_bytes()
    assert free is not None
    assert 0 <= free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@linux_only
def test_resident_size_grows_by_what_is_touched() -> None:
    with mmap.mmap(
        -1, 64 << 20
    ) as block:  # pages of its own, where an allocator may have some left to use again
        before = memory.resident_bytes()
        block.write(bytes(len(block)))
        after = memory.resident_bytes(os.getpid())
        size = len(block)
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * size


@linux_only
def test_resident_size_of_a_process_while_it_lives_and_after() -> None:
    # It ends when its input does; until it is waited for it is a zombie, which occupies nothing.
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = memory.resident_bytes(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = memory.resident_bytes(child.pid)
    assert alive is not None
    assert 1 << 20 < alive < 1 << 30
    assert zombie is None
    assert memory.resident_bytes(child.pid) is None


@pytest.mark.parametrize("text", ["", "12", "12 many 3", "12 0 0"])
def test_resident_size_that_makes_no_sense(layout: Layout, text: str) -> None:
    assert memory.resident_bytes(7, layout({"/proc/7/statm": text})) is None


def test_meminfo_of_an_old_kernel_has_no_available(layout: Layout) -> None:
    assert memory.free_bytes(layout({"/proc/meminfo": "MemTotal: 100 kB\nMemFree: 50 kB\n"})) is None


class Mac:
    """Answers as macOS documents it."""

    def __init__(self, numbers: dict[str, int], resident: int | None = None) -> None:
        self.numbers, self.resident = numbers, resident

    def sysctlbyname(self, name: bytes, value: Any, size: Any, new: None, new_size: Any) -> int:
        if name.decode() not in self.numbers:
            return -1
        value._obj.value = self.numbers[name.decode()]
        return 0

    def proc_pidinfo(self, pid: int, flavor: int, arg: Any, info: Any, size: int) -> int:
        assert (flavor, size) == (4, ctypes.sizeof(info._obj))
        if self.resident is None:
            return 0
        info._obj[0], info._obj[1] = 1 << 40, self.resident
        return size


class Windows:
    """Answers as Windows documents it, and counts the handles that are open."""

    handles = 0

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.OpenProcess = self.Call(self)

    class Call:
        restype: Any = ctypes.c_int

        def __init__(self, kernel: Windows) -> None:
            self.kernel = kernel

        def __call__(self, access: int, inherit: bool, pid: int) -> int | None:
            assert self.restype is ctypes.c_void_p
            if pid == 404:
                return None
            self.kernel.handles += 1
            return (1 << 40) + 4

    def GlobalMemoryStatusEx(self, status: Any) -> int:
        record = status._obj
        assert record.length == ctypes.sizeof(record) == 64
        record.total, record.available = 16 << 30, 5 << 30
        return int(self.works)

    def K32GetProcessMemoryInfo(self, handle: Any, counters: Any, size: int) -> int:
        assert handle.value == (1 << 40) + 4
        assert size == counters._obj.length == ctypes.sizeof(counters._obj)
        counters._obj.peak, counters._obj.resident = 99 << 20, 42 << 20
        return int(self.works)

    def CloseHandle(self, handle: Any) -> int:
        self.handles -= 1
        return 1


LEVEL = "kern.memorystatus_level"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({LEVEL: 25, "hw.memsize": 16 << 30}, 4 << 30),
        ({LEVEL: 0, "hw.memsize": 16 << 30}, 0),
        ({LEVEL: 101, "hw.memsize": 16 << 30}, None),
        ({LEVEL: 25}, None),
        ({"hw.memsize": 16 << 30}, None),
    ],
)
def test_mac_free(numbers: dict[str, int], expected: int | None) -> None:
    assert elsewhere.mac_free_bytes(Mac(numbers)) == expected


@pytest.mark.parametrize("resident", [123 << 20, None])
def test_mac_resident(resident: int | None) -> None:
    assert elsewhere.mac_resident_bytes(1, Mac({}, resident)) == resident


@pytest.mark.parametrize(("works", "expected"), [(True, 5 << 30), (False, None)])
def test_windows_free(works: bool, expected: int | None) -> None:
    assert elsewhere.windows_free_bytes(Windows(works=works)) == expected


@pytest.mark.parametrize(
    ("pid", "works", "expected"), [(7, True, 42 << 20), (7, False, None), (404, True, None)]
)
def test_windows_resident_leaves_no_handle_open(pid: int, works: bool, expected: int | None) -> None:
    kernel = Windows(works=works)
    assert elsewhere.windows_resident_bytes(pid, kernel) == expected
    assert kernel.handles == 0


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_asked_through_their_library(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    library = Mac({LEVEL: 50, "hw.memsize": 8 << 30}, 9 << 20) if system == "darwin" else Windows()
    for module in (memory, elsewhere):
        monkeypatch.setattr(module, "_OS", system)
    monkeypatch.setattr(elsewhere, "_library", lambda name: library)
    assert memory.free_bytes() == {"darwin": 4 << 30, "win32": 5 << 30}[system]
    assert memory.resident_bytes() == {"darwin": 9 << 20, "win32": 42 << 20}[system]


@pytest.mark.parametrize("system", ["darwin", "win32", "plan9"])
def test_a_system_without_the_call_is_not_measured(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(elsewhere, "_OS", system)
    monkeypatch.setattr(elsewhere, "_library", lambda name: object())
    assert elsewhere.free_bytes() is None
    assert elsewhere.resident_bytes(1) is None


def test_kills_for_want_of_memory_are_counted_where_the_kernel_does(tmp_path):
    root = tmp_path / "root"
    for path, text in {
        "proc/self/cgroup": "0::/job\n",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/job/memory.events": "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    assert memory.oom_kills(str(root)) == 2
    (root / "sys/fs/cgroup/job/memory.events").unlink()
    assert memory.oom_kills(str(root)) is None
    assert memory.oom_kills() is None or memory.oom_kills() >= 0


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="reads /proc")
def test_the_peak_of_a_process_begins_anew_when_it_is_forgotten() -> None:
    pid = os.getpid()
    held = bytearray(b"x") * 60_000_000
    full = memory.resident_bytes(pid)
    del held
    peak = memory.peak_bytes(pid)
    assert full is not None
    assert peak is not None
    assert peak >= full - 1_000_000
    assert memory.forget_peak(pid)
    after = memory.peak_bytes(pid)
    assert after is not None
    assert after <= peak - 50_000_000
    share = memory.own_share_bytes(pid)
    assert share is not None
    assert 0 < share <= after + 1_000_000
    assert memory.own_share_bytes(2**22 + 1) is None
    assert memory.peak_bytes(2**22 + 1) is None
    assert not memory.forget_peak(2**22 + 1)
