"""What is served: folders of random files, made once and kept in a folder that is removed in the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

BLOCK = 1 << 20
"""Bytes that are written or compared at once."""


@dataclass(frozen=True)
class Workload:
    """So many files of one size, under ``/NAME/`` on the server."""

    name: str
    count: int
    size: int

    @property
    def title(self) -> str:
        return f"{self.count:,} x {_amount(self.size)}"


def _amount(size: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 1000)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} B"


WORKLOADS = {
    w.name: w
    for w in (
        Workload("small", 2000, 20_000),
        Workload("medium", 200, 1_000_000),
        Workload("large", 1, 2_000_000_000),
        Workload("many", 100_000, 200),
        Workload("huge", 1, 4_000_000_000),
    )
}
DEFAULT = ("small", "medium", "large")


@dataclass(frozen=True)
class Served:
    """A folder under the server's root, with what is in it."""

    folder: Path
    title: str
    names: tuple[str, ...]
    total: int
    biggest: int
    """Bytes of all of them, and of the largest."""

    def urls(self, base: str) -> list[str]:
        """The address of each file; ``base`` is the server's."""
        return [f"{base}/{self.folder.name}/{name}" for name in self.names]


@contextmanager
def store(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder that nginx may read, for as long as the context lasts."""
    root = Path(mkdtemp(prefix="bench-served-", dir=parent))
    root.chmod(0o755)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def make(workload: Workload, root: Path) -> Served:
    """The files of ``workload`` under ``root``, made if they are not there yet."""
    folder = root / workload.name
    names = [f"{number:06d}.bin" for number in range(workload.count)]
    if not folder.exists():
        folder.mkdir()
        for name in names:
            with open(folder / name, "wb") as file:
                for begin in range(0, workload.size, BLOCK):
                    file.write(os.urandom(min(BLOCK, workload.size - begin)))
    return Served(folder, workload.title, tuple(names), workload.count * workload.size, workload.size)


def of_folder(folder: Path, title: str) -> Served:
    """What is in a folder already; the files directly in it."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    sizes = [path.stat().st_size for path in files]
    return Served(folder, title, tuple(path.name for path in files), sum(sizes), max(sizes, default=0))


def differences(served: Served, folder: Path) -> str | None:
    """What ``folder`` has otherwise than what was served, in words; ``None``: every file is there, byte for byte."""
    missing = wrong = 0
    for name in served.names:
        try:
            wrong += not _equal(served.folder / name, folder / name)
        except FileNotFoundError:
            missing += 1
    if missing or wrong:
        return f"{missing} files missing and {wrong} wrong, of {len(served.names)}"
    # Receipts and logs may lie beside them; a part that was left is a file that somebody may take for whole.
    extra = [p.name for p in folder.iterdir() if p.name.endswith((".part", ".aria2", ".journal"))]
    return f"left beside them: {', '.join(extra[:3])}" if extra else None


def _equal(one: Path, other: Path) -> bool:
    with open(one, "rb", buffering=0) as a, open(other, "rb", buffering=0) as b:
        if os.fstat(a.fileno()).st_size != os.fstat(b.fileno()).st_size:
            return False
        while block := a.read(BLOCK):
            if block != b.read(BLOCK):
                return False
    return True


def first_at(folder: Path) -> float | None:
    """When the first file had its name and its content (its last change): seconds since 1970."""
    return min((entry.stat().st_ctime for entry in os.scandir(folder) if entry.is_file()), default=None)


def flush(folder: Path) -> None:
    """Have all that is in ``folder`` on the disk. Downloaders that leave this to the kernel have it still to come."""
    for entry in os.scandir(folder):
        if entry.is_file():
            descriptor = os.open(entry.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
