"""Control groups as real machines lay them out: which limits are found, and that all enclosing ones count."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from host_layouts import Layout, lay_out
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool._host import cgroups, cores, memory

MEMINFO = "MemTotal:       16384000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
GIB = 1 << 30
NO_LIMIT_V1 = "9223372036854771712\n"
OTHER_MOUNTS = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw\n"
    "a line that is no mount\n"
)


def mount_v2(top: str = "/", point: str = "/sys/fs/cgroup") -> str:
    return OTHER_MOUNTS + f"30 23 0:26 {top} {point} ro,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def mount_v1(top: str = "/") -> str:
    return OTHER_MOUNTS + (
        "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        f"32 31 0:28 {top} /sys/fs/cgroup/cpu,cpuacct ro,relatime master:11 - cgroup cgroup rw,cpu,cpuacct\n"
        f"33 31 0:29 {top} /sys/fs/cgroup/cpuset ro,relatime - cgroup cgroup rw,cpuset\n"
        f"34 31 0:30 {top} /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n"
    )


def group_v1(path: str) -> str:
    return f"12:memory:{path}\n5:cpuset:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:{path}\n"


def quota_v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    base = "/sys/fs/cgroup/cpu,cpuacct" + folder
    return {base + "/cpu.cfs_quota_us": f"{quota}\n", base + "/cpu.cfs_period_us": f"{period}\n"}


def memory_v1(
    folder: str, limit: str, usage: int, idle: int, hierarchical: str = NO_LIMIT_V1
) -> dict[str, str]:
    base = "/sys/fs/cgroup/memory" + folder
    return {
        base + "/memory.limit_in_bytes": limit,
        base + "/memory.usage_in_bytes": f"{usage}\n",
        base + "/memory.stat": (
            f"cache 1\ninactive_file 77\nhierarchical_memory_limit {hierarchical.strip()}\n"
            f"total_cache 1\ntotal_inactive_file {idle}\n"
        ),
    }


def memory_v2(folder: str, limit: str, usage: int, idle: int, high: str = "max") -> dict[str, str]:
    base = "/sys/fs/cgroup" + folder
    return {
        base + "/memory.max": limit + "\n",
        base + "/memory.high": high + "\n",
        base + "/memory.current": f"{usage}\n",
        base + "/memory.stat": f"anon 5\nfile 9\ninactive_anon 3\ninactive_file {idle}\n",
    }


# Name, own group, mounts, files, cores expected, bytes left expected
MACHINES = [
    pytest.param("0::/\n", mount_v2(), {}, None, 8_000_000 * 1024, id="bare machine, v2"),
    pytest.param(None, None, {}, None, 8_000_000 * 1024, id="no control groups"),
    pytest.param("", "", {}, None, 8_000_000 * 1024, id="empty files"),
    pytest.param("0::/\n", OTHER_MOUNTS, {}, None, 8_000_000 * 1024, id="not mounted"),
    pytest.param(
        "0::/\n",
        mount_v2(),
        {"/sys/fs/cgroup/cpu.max": "150000 100000\n", **memory_v2("", f"{2 * GIB}", GIB, GIB // 2)},
        1.5,
        3 * GIB // 2,
        id="docker, v2, own namespace",
    ),
    pytest.param(
        "0::/\n",
        mount_v2(),
        {"/sys/fs/cgroup/cpu.max": "max 100000\n", **memory_v2("", "max", GIB, 0)},
        None,
        8_000_000 * 1024,
        id="docker without limits, v2",
    ),
    pytest.param(
        "0::/system.slice/docker-ab.scope\n",
        mount_v2("/system.slice/docker-ab.scope"),
        {"/sys/fs/cgroup/cpu.max": "50000 100000\n"},
        0.5,
        8_000_000 * 1024,
        id="docker, v2, the host's namespace",
    ),
    pytest.param(
        group_v1("/docker/ab"),
        mount_v1("/docker/ab"),
        {**quota_v1("", 200_000), **memory_v1("", f"{GIB}", GIB // 2, GIB // 4)},
        2.0,
        3 * GIB // 4,
        id="docker, v1",
    ),
    pytest.param(
        group_v1("/docker/ab"),
        mount_v1("/docker/ab"),
        {**quota_v1("", -1), **memory_v1("", NO_LIMIT_V1, GIB, 0)},
        None,
        8_000_000 * 1024,
        id="docker without limits, v1",
    ),
    pytest.param(
        group_v1("/docker/ab"),
        mount_v1("/docker/ab"),
        memory_v1("", NO_LIMIT_V1, GIB, 0, hierarchical=f"{4 * GIB}"),
        None,
        3 * GIB,
        id="v1, the limit is above what can be seen",
    ),
    pytest.param(
        "0::/user.slice/user-1000.slice/app.slice/job.scope\n",
        mount_v2(),
        {
            "/sys/fs/cgroup/user.slice/cpu.max": "300000 100000\n",
            "/sys/fs/cgroup/user.slice/user-1000.slice/cpu.max": "max 100000\n",
            "/sys/fs/cgroup/user.slice/user-1000.slice/app.slice/cpu.max": "125000 50000\n",
            "/sys/fs/cgroup/user.slice/user-1000.slice/app.slice/job.scope/cpu.max": "400000 100000\n",
            **memory_v2("/user.slice/user-1000.slice/app.slice/job.scope", f"{4 * GIB}", GIB, 0),
            **memory_v2("/user.slice/user-1000.slice", f"{8 * GIB}", 7 * GIB, 0),
        },
        2.5,
        GIB,
        id="systemd slices, nested, the middle one is the least",
    ),
    pytest.param(
        group_v1("/kubepods/burstable/pod1/c1"),
        mount_v1("/"),
        {
            **quota_v1("/kubepods/burstable/pod1/c1", 70_000),
            **quota_v1("/kubepods/burstable/pod1", 60_000),
            **quota_v1("/kubepods/burstable", -1),
            **quota_v1("/kubepods", -1),
            **memory_v1("/kubepods/burstable/pod1", f"{GIB}", GIB // 2, 0),
        },
        0.6,
        GIB // 2,
        id="kubernetes, v1, seen from the node",
    ),
    pytest.param(
        "0::/kubepods.slice/kubepods-pod1.slice/cri-c1.scope\n",
        mount_v2(),
        {
            "/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cpu.max": "20000 100000\n",
            "/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cri-c1.scope/cpu.max": "max 100000\n",
        },
        0.2,
        8_000_000 * 1024,
        id="kubernetes, v2, the pod's limit",
    ),
    pytest.param(
        group_v1("/docker/ab"),
        mount_v1("/"),
        quota_v1("", 100_000),
        1.0,
        8_000_000 * 1024,
        id="v1, the group named is not there, the mount is",
    ),
    pytest.param(
        "0::/../other\n",
        mount_v2(),
        {"/sys/fs/cgroup/cpu.max": "100000 100000\n", "/sys/fs/other/cpu.max": "1000 100000\n"},
        1.0,
        8_000_000 * 1024,
        id="outside of its namespace's root: the mount",
    ),
    pytest.param(
        "0::/..\n",
        mount_v2(),
        {"/sys/fs/cgroup/cpu.max": "10000 100000\n"},
        0.1,
        8_000_000 * 1024,
        id="above its root",
    ),
    pytest.param(
        "0::/\n",
        mount_v2("/../.."),
        {"/sys/fs/cgroup/cpu.max": "300000 100000\n"},
        3.0,
        8_000_000 * 1024,
        id="the mount is from above the namespace",
    ),
    pytest.param(
        "0::/../sibling\n",
        mount_v2("/.."),
        {"/sys/fs/cgroup/sibling/cpu.max": "30000 100000\n"},
        0.3,
        8_000_000 * 1024,
        id="a sibling in a mount from above",
    ),
    pytest.param(
        group_v1("/user.slice") + "0::/user.slice\n",
        mount_v1() + "40 31 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        {**quota_v1("/user.slice", 50_000), "/sys/fs/cgroup/unified/user.slice/cgroup.procs": "1\n"},
        0.5,
        8_000_000 * 1024,
        id="hybrid: version 1 has the controller",
    ),
    pytest.param(
        "1:name=systemd:/user.slice\n0::/user.slice\n",
        mount_v1() + "40 31 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        {**quota_v1("/user.slice", 50_000), "/sys/fs/cgroup/unified/user.slice/cpu.max": "90000 100000\n"},
        0.9,
        8_000_000 * 1024,
        id="hybrid: version 2 has the controller",
    ),
    pytest.param(
        "0::/my group/a:b\n",
        mount_v2("/", "/mnt/with\\040space"),
        {"/mnt/with space/my group/a:b/cpu.max": "40000 100000\n"},
        0.4,
        8_000_000 * 1024,
        id="spaces and colons in names",
    ),
    pytest.param(
        "0::/job (deleted)\n",
        mount_v2(),
        {"/sys/fs/cgroup/cpu.max": "250000 100000\n"},
        2.5,
        8_000_000 * 1024,
        id="a group that was removed around the process",
    ),
    pytest.param(
        "0::/\n",
        mount_v2(),
        memory_v2("", "max", GIB, 0, high=f"{2 * GIB}"),
        None,
        GIB,
        id="throttled by memory.high",
    ),
    pytest.param("0::/\n", mount_v2(), memory_v2("", f"{GIB}", 2 * GIB, 0), None, 0, id="over its limit"),
    pytest.param(
        "0::/\n", mount_v2(), memory_v2("", f"{GIB}", 5, 50), None, GIB, id="more idle cache than usage"
    ),
]


@pytest.mark.parametrize(("own", "mounts", "files", "quota", "left"), MACHINES)
def test_machines(
    layout: Layout, own: str | None, mounts: str | None, files: dict[str, str], quota: float | None, left: int
) -> None:
    everything = {"/proc/meminfo": MEMINFO, **files}
    if own is not None:
        everything["/proc/self/cgroup"] = own
    if mounts is not None:
        everything["/proc/self/mountinfo"] = mounts
    root = layout(everything)

    assert cores.quota_cores(root) == (None if quota is None else pytest.approx(quota))
    assert memory.free_bytes(root) == left


@pytest.mark.parametrize(
    "text", ["", "\n", "max", "soon 100000", "100000 soon", "100000 0", "-1 100000", "1 2 3", "0 5"]
)
def test_a_quota_that_makes_no_sense_is_none(layout: Layout, text: str) -> None:
    root = layout(
        {
            "/proc/self/cgroup": "0::/\n",
            "/proc/self/mountinfo": mount_v2(),
            "/sys/fs/cgroup/cpu.max": text,
        }
    )
    assert cores.quota_cores(root) is None


@pytest.mark.parametrize("missing", ["quota", "period"])
def test_half_a_quota_is_none(layout: Layout, missing: str) -> None:
    files = {path: text for path, text in quota_v1("", 5000).items() if missing not in path}
    root = layout({"/proc/self/cgroup": group_v1("/"), "/proc/self/mountinfo": mount_v1(), **files})
    assert len(files) == 1
    assert cores.quota_cores(root) is None


def test_memory_is_unknown_where_nothing_can_be_read(layout: Layout) -> None:
    root = layout({"/etc/hostname": "nowhere\n"})
    assert memory.free_bytes(root) is None
    assert memory.resident_bytes(1, root) is None


def test_a_limit_without_usage_says_nothing(layout: Layout) -> None:
    files = memory_v2("", f"{GIB}", 0, 0)
    del files["/sys/fs/cgroup/memory.current"]
    root = layout({"/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": mount_v2(), **files})
    assert memory.free_bytes(root) is None


def test_groups_are_named_from_the_inside_out(layout: Layout) -> None:
    root = layout({"/proc/self/cgroup": "0::/a/b\n", "/proc/self/mountinfo": mount_v2()})
    assert cgroups.groups("cpu", root) == [
        (2, "/sys/fs/cgroup/a/b"),
        (2, "/sys/fs/cgroup/a"),
        (2, "/sys/fs/cgroup"),
    ]


def test_a_hierarchy_mounted_twice_is_read_through_both_but_no_group_twice(layout: Layout) -> None:
    mounts = mount_v2() + mount_v2() + mount_v2("/a", "/mnt/cg")
    root = layout({"/proc/self/cgroup": "0::/a/b\n", "/proc/self/mountinfo": mounts})
    assert cgroups.groups("cpu", root) == [
        (2, "/sys/fs/cgroup/a/b"),
        (2, "/sys/fs/cgroup/a"),
        (2, "/sys/fs/cgroup"),
        (2, "/mnt/cg/b"),
        (2, "/mnt/cg"),
    ]


def test_a_mount_of_a_group_with_the_same_beginning_is_not_ours(layout: Layout) -> None:
    root = layout(
        {
            "/proc/self/cgroup": "0::/docker/ab\n",
            "/proc/self/mountinfo": mount_v2("/docker/a", "/mnt/a") + mount_v2("/docker/ab", "/mnt/ab"),
        }
    )
    assert cgroups.groups("cpu", root) == [(2, "/mnt/ab")]


def test_a_folder_in_place_of_a_file_cannot_be_read(tmp_path: Path) -> None:
    assert cgroups.read_text("", str(tmp_path)) is None
    assert cgroups.read_text("/a\0b", str(tmp_path)) is None


def test_a_file_longer_than_one_read_is_read_whole_up_to_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "long").write_text("x" * 200_000)
    assert len(cgroups.read_text("/long", str(tmp_path)) or "") == 200_000
    monkeypatch.setattr(cgroups, "MOST_BYTES", 100_000)
    assert len(cgroups.read_text("/long", str(tmp_path)) or "") == 100_000


_names = st.sampled_from(["a", "b c", "x.slice", "docker-1:2", "..x", "\u00e9", "back\\slash"])
_quotas = st.none() | st.integers(1, 10_000_000)


@settings(max_examples=60, deadline=None)
@given(
    levels=st.lists(st.tuples(_names, _quotas), max_size=6),
    top_quota=_quotas,
    mounted_at=st.integers(0, 6),
    period=st.integers(1_000, 1_000_000),
    version=st.sampled_from([1, 2]),
)
def test_the_least_quota_at_or_below_the_mount_counts(
    levels: list[tuple[str, int | None]],
    top_quota: int | None,
    mounted_at: int,
    period: int,
    version: int,
) -> None:
    names = [name for name, _ in levels]
    quotas = [top_quota, *(quota for _, quota in levels)]
    mounted_at = min(mounted_at, len(names))
    own, top = "/" + "/".join(names), "/" + "/".join(names[:mounted_at])
    escaped = top.replace("\\", "\\134").replace(" ", "\\040")
    point = "/sys/fs/cgroup" if version == 2 else "/sys/fs/cgroup/cpu,cpuacct"

    files = {
        "/proc/self/cgroup": f"0::{own}\n" if version == 2 else group_v1(own),
        "/proc/self/mountinfo": mount_v2(escaped) if version == 2 else mount_v1(escaped),
    }
    visible = quotas[mounted_at:]
    for depth, quota in enumerate(visible):
        folder = "/".join([point, *names[mounted_at : mounted_at + depth]])
        if version == 2:
            files[folder + "/cpu.max"] = f"{'max' if quota is None else quota} {period}\n"
        else:
            files[folder + "/cpu.cfs_quota_us"] = f"{-1 if quota is None else quota}\n"
            files[folder + "/cpu.cfs_period_us"] = f"{period}\n"
    with tempfile.TemporaryDirectory() as root:
        found = cores.quota_cores(lay_out(Path(root), files))

    least = min((quota / period for quota in visible if quota is not None), default=None)
    assert found == (None if least is None else pytest.approx(least))


@settings(max_examples=300, deadline=None)
@given(own=st.text(max_size=200), mounts=st.text(max_size=200), escape=st.text(max_size=20))
def test_no_text_makes_the_readers_fail(own: str, mounts: str, escape: str) -> None:
    for line in (own, f"0::{own}", f"3:cpu:{own}"):
        for version, path in cgroups._own_paths("cpu", line):
            assert version in (1, 2)
            assert path.startswith("/")
    mounts += f"\n1 2 0:3 {escape} {escape} rw - cgroup2 cgroup2 rw"
    for _, top, point in cgroups._mounts("cpu", mounts):
        for folder in cgroups._climb("/" + own, top, point):
            assert folder.startswith(point.rstrip("/"))
