"""Who takes part, and the command of each: with so many connections, or as it is by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

CONNECTIONS = 16
"""For everybody in the first of the two settings: aria2's most for one server."""
Setting = Literal["same", "default"]
SETTINGS: tuple[Setting, ...] = ("same", "default")
OURS = "whichpool"


@dataclass(frozen=True)
class Task:
    """What one process is to fetch."""

    urls: list[str]
    names: tuple[str, ...]
    folder: Path
    """Where to; empty, on the file system that is measured."""
    own: Path
    """For lists and configurations; not looked at afterwards."""
    biggest: int
    """Bytes of the largest file."""

    @property
    def in_ranges(self) -> bool:
        """Whether the connections can only be used by fetching one file in several ranges."""
        return len(self.urls) < CONNECTIONS

    def list(self) -> str:
        """A file with a URL on each line."""
        path = self.own / "urls.txt"
        path.write_text("".join(url + "\n" for url in self.urls))
        return str(path)


def _whichpool(task: Task, setting: Setting) -> list[str]:
    command = [sys.executable, "-m", "whichpool", "get", "-i", task.list(), "-d", str(task.folder), "--quiet"]
    if setting == "same":
        command += ["--jobs", str(CONNECTIONS), "--max-per-host", str(CONNECTIONS)]
        command += ["--segments", str(CONNECTIONS)]
    return command


def _aria2(task: Task, setting: Setting) -> list[str]:
    command = ["aria2c", "--no-conf", "-q", "-i", task.list(), "-d", str(task.folder)]
    if setting == "same":
        # `falloc`: what its manual advises for ext4; by default it writes zeros first.
        command += [f"-j{CONNECTIONS}", f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", "--file-allocation=falloc"]
    return command


def _curl(task: Task, setting: Setting) -> list[str]:
    config = task.own / "curl.conf"
    config.write_text(
        "".join(
            f'url = "{url}"\noutput = "{task.folder / name}"\n'
            for url, name in zip(task.urls, task.names, strict=True)
        )
    )
    # `--fail` as everybody else does; curl fetches one file over one connection.
    command = ["curl", "-q", "-s", "-S", "--fail", "-Z", "-K", str(config)]
    return command + (["--parallel-max", str(CONNECTIONS)] if setting == "same" else [])


def _wget2(task: Task, setting: Setting) -> list[str]:
    command = ["wget2", "--no-config", "-q", "-i", task.list(), "-P", str(task.folder)]
    if setting == "same":
        command += [f"--max-threads={CONNECTIONS}"]
        if task.in_ranges:
            command += [f"--chunk-size={-(-task.biggest // CONNECTIONS)}"]
    return command


def _library(name: str) -> Callable[[Task, Setting], list[str]]:
    def command(task: Task, setting: Setting) -> list[str]:
        line = [sys.executable, "-m", "benchmarks.download.clients", name, task.list(), str(task.folder)]
        if setting == "same":
            line += [str(CONNECTIONS), str(CONNECTIONS if task.in_ranges else 0)]
        return line

    return command


@dataclass(frozen=True)
class Peer:
    """A downloader."""

    name: str
    command: Callable[[Task, Setting], list[str]]
    module: str | None = None
    """The distribution that must be installed; ``None``: a program of the peer's name."""

    @property
    def python(self) -> bool:
        """Whether it is a Python tool."""
        return self.module is not None

    def version(self) -> str | None:
        """As it says itself; ``None``: it is not installed."""
        if self.module is not None:
            try:
                return metadata.version(self.module)
            except metadata.PackageNotFoundError:
                return None
        if shutil.which(self.name) is None:
            return None
        done = subprocess.run([self.name, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout)
        return found.group() if found else "?"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("aria2c", _aria2),
        Peer("curl", _curl),
        Peer("wget2", _wget2),
        Peer("requests", _library("requests"), "requests"),
        Peer("aiohttp", _library("aiohttp"), "aiohttp"),
        Peer("pypdl", _library("pypdl"), "pypdl"),
        Peer(OURS, _whichpool, "whichpool"),
    )
}
