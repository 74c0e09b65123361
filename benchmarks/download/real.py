"""Real inputs: thousands of small pictures, and a large tarball; unpacked here, or from the Debian mirror in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.download.data import WORKLOADS, Served, make, of_folder

PICTURES = "openclipart-png"
CLIPART = "clipart"
"""The workload of these pictures, from where they are unpacked."""
INSTALLED = Path("/usr/share/openclipart/png")
TARBALLS = ("linux-source-6.1", "linux-source-6.12", "linux-source")
"""Packages that have a source tarball of over 100 MB in them; the first that the mirror has is taken."""
DOWNLOAD_S = 300.0


def inputs(root: Path) -> Iterator[Served | str]:
    """What can be had, under ``root``; a line of text for what cannot."""
    with tempfile.TemporaryDirectory(prefix="bench-real-") as scratch:
        for name, packages, pattern in (
            ("openclipart", (PICTURES,), "*.png"),
            ("tarball", TARBALLS, "*.tar.*"),
        ):
            unpacked = Path(scratch, name)
            package = next((p for p in packages if _unpack(p, unpacked)), None)
            files = [p for p in unpacked.rglob(pattern) if p.is_file() and not p.is_symlink()]
            if package is None or not files:
                yield f"{' or '.join(packages)}: the mirror does not have it, or this is no Debian"
                continue
            yield _served(root / name, files, package, shutil.move)
    yield make(WORKLOADS["huge"], root)


def clipart(root: Path, where: Path = INSTALLED) -> Served | str:
    """The pictures that are unpacked in a folder, as links under ``root``; a line of text where there are none."""
    files = [p for p in where.rglob("*.png") if p.is_file() and not p.is_symlink()]
    if not files:
        return (
            f"{CLIPART}: no pictures in {where} (Debian: apt-get install {PICTURES}; or apt-get download, dpkg-deb -x, "
            "and --clipart FOLDER)"
        )
    return _served(root / CLIPART, files, PICTURES, lambda path, to: os.symlink(path.absolute(), to))


def _served(folder: Path, files: list[Path], package: str, put: Callable[[Path, Path], object]) -> Served:
    folder.mkdir()
    for number, path in enumerate(sorted(files)):
        # Numbered: pictures of several folders have the same name.
        put(path, folder / f"{number:06d}{''.join(path.suffixes[-2:])}".replace(" ", "_"))
    total = sum(p.stat().st_size for p in folder.iterdir())
    return of_folder(folder, f"{package}: {len(files):,} files, {total / 1e6:,.0f} MB")


def _unpack(package: str, to: Path) -> bool:
    """Fetch a package with ``apt-get download`` and unpack it; nothing is installed."""
    to.mkdir(exist_ok=True)
    try:
        subprocess.run(
            ["apt-get", "download", "-qq", package],
            cwd=to,
            check=True,
            capture_output=True,
            timeout=DOWNLOAD_S,
        )
        (archive,) = to.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(to)], check=True, capture_output=True)
        archive.unlink()
    except (OSError, subprocess.SubprocessError, ValueError):
        return False
    return True
