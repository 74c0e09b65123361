"""Where this process stands in the tree of control groups (Linux), and what is written there.

``/proc/self/cgroup`` names the group of this process, one line a hierarchy; ``/proc/self/mountinfo`` says
where each hierarchy is mounted, and which part of it. A limit on any enclosing group binds, so all are
returned, up to the mount:

    0::/user.slice/job.scope      +  cgroup2 mounted at /sys/fs/cgroup
        -> /sys/fs/cgroup/user.slice/job.scope, /sys/fs/cgroup/user.slice, /sys/fs/cgroup

Groups above the mount cannot be seen from inside a container. Every function takes a ``root`` that is put
before each path it reads, so that tests can lay out any machine in a folder.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

MOST_BYTES = 1 << 22
"""Bytes read from one file at most: 20,000 mounts. A guess; what is longer is cut, not refused."""


def read_text(path: str, root: str = "") -> str | None:
    """Read a small file.

    Args:
        path: An absolute path.
        root: Put before the path; default: the real ``/``.

    Returns:
        Its text; ``None`` if it cannot be read, for whatever reason.
    """
    try:
        # Plain descriptors: a third of the time of open(), and these files are read in dozens.
        fd = os.open(root + path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return None
    try:
        parts = []
        left = MOST_BYTES
        while left > 0 and (part := os.read(fd, min(left, 65536))):
            parts.append(part)
            left -= len(part)
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def read_number(path: str, root: str = "") -> int | None:
    """Read a file that holds one whole number; ``None`` if it does not (``max``), or cannot be read."""
    return to_number(read_text(path, root))


def to_number(text: str | None) -> int | None:
    """Convert to a whole number; ``None`` if it is none."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return None


def read_field(text: str | None, name: str) -> int | None:
    """Find a line ``name 123`` or ``name: 123 kB`` and give the number; ``None``: there is none."""
    for line in (text or "").split("\n"):
        words = line.split()
        if len(words) >= 2 and words[0].rstrip(":") == name:
            return to_number(words[1])
    return None


def groups(controller: str, root: str = "") -> list[tuple[Literal[1, 2], str]]:
    """List the groups that this process is in and that can be seen, for one controller.

    On a hybrid machine both trees are listed; the one without the controller has no files of it.

    Args:
        controller: ``cpu`` or ``memory``.
        root: Put before each path read; default: the real ``/``.

    Returns:
        Version of the hierarchy and folder (without ``root``), in each hierarchy from the process's own group
        outwards. Empty where there are no control groups.
    """
    own = _own_paths(controller, read_text("/proc/self/cgroup", root) or "")
    if not own:
        return []
    found: list[tuple[Literal[1, 2], str]] = []
    mounts = _mounts(controller, read_text("/proc/self/mountinfo", root) or "")
    for version, path in own:
        here = [(top, point) for of, top, point in mounts if of == version]
        inside = [folders for top, point in here if (folders := _climb(path, top, point))]
        # A mount that does not hold the process's path is one seen through another namespace (`/..`), or a
        # bind mount of the process's own group (containers): then the mount itself is the innermost group
        # that can be named.
        for folders in inside or [[point] for _, point in here]:
            found += [(version, folder) for folder in folders if (version, folder) not in found]
    return found


def _own_paths(controller: str, text: str) -> list[tuple[Literal[1, 2], str]]:
    """Read ``/proc/self/cgroup``: lines ``hierarchy:controllers:path``; version 2 is ``0::path``."""
    found: list[tuple[Literal[1, 2], str]] = []
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if not colon or not path.startswith("/"):
            continue
        if number == "0" and not names:
            found.append((2, path))
        elif controller in names.split(","):
            found.append((1, path))
    return found


def _mounts(controller: str, text: str) -> list[tuple[Literal[1, 2], str, str]]:
    """Read ``/proc/self/mountinfo``: version, the part of the hierarchy that is mounted, and where."""
    found: list[tuple[Literal[1, 2], str, str]] = []
    for line in text.split("\n"):
        before, dash, after = line.partition(" - cgroup")
        if not dash:
            continue
        words, (kind, *rest) = before.split(" "), after.split(" ")
        if len(words) < 6:
            continue
        top, point = _unescape(words[3]), _unescape(words[4])
        if kind == "2":
            found.append((2, top, point))
        elif kind == "" and rest and controller in rest[-1].split(","):
            found.append((1, top, point))
    return found


def _climb(path: str, top: str, point: str) -> list[str]:
    """List the folders from the group ``path`` up to ``point``, where ``top`` is mounted, if in there."""
    top = top.rstrip("/")
    if path != top and not path.startswith(top + "/"):
        return []
    names = [name for name in path[len(top) :].split("/") if name]
    if ".." in names:
        return []
    point = point.rstrip("/")
    return ["/".join([point, *names[:depth]]) for depth in range(len(names), -1, -1)]


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    if "\\" not in text:
        return text
    for code in ("040", "011", "012", "134"):  # the backslash last: what it yields is not an escape
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text
