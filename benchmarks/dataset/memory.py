"""The memory that a process and all that it started hold at once: the highest of many looks."""

from __future__ import annotations

import os
import threading
from pathlib import Path

LOOK_S = 0.05
"""Seconds between two looks: a peak shorter than that may be missed, and looking costs about a millisecond."""


class Peak:
    """Looks at a process tree until the process is gone.

    Pages that several processes share count once in all (the proportional set size that Linux keeps).
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._look, args=(pid,))
        self._thread.start()

    def stop(self) -> int:
        """End; the peak in bytes. 0 where there is no /proc."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        return self.bytes

    def _look(self, pid: int) -> None:
        while not self._over.wait(LOOK_S):
            self.bytes = max(self.bytes, sum(map(held, tree(pid))))


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                waiting += map(int, Path(f"/proc/{one}/task/{thread}/children").read_text().split())
        except OSError:
            pass  # it ended meanwhile, or there is no /proc
    return found


def held(pid: int) -> int:
    """Its share of memory, in bytes; 0 of one that has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
