"""Who works for this process, and an end for some of them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from whichpool._pools import fleet

STOPPERS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)


def workers():
    """The pids of the fork server's children that are alive."""
    server = fleet.status()["server"]
    if server is None:
        return []
    try:
        text = Path(f"/proc/{server}/task/{server}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split() if _parent(int(pid)) == server]


def _parent(pid):
    """Whose child it is; ``None`` if it has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


class Killer:
    """Ends workers of this process at random moments, until it is told to stop; ``left`` at the most.

    Two deaths at the most with no item ended in between: else the run rightly takes the machine to be broken.
    """

    def __init__(self, dice, left, ended, pause_s):
        self.killed = set()
        self._dice, self._left, self._ended, self._pause_s = dice, left, ended, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="killer")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()

    def _main(self):
        seen, idle = -1, 0
        while len(self.killed) < self._left:
            if self._over.wait(self._dice.uniform(0, self._pause_s)):
                return
            now = self._ended()
            if now == seen and idle >= 2:
                continue
            idle, seen = (idle + 1 if now == seen else 0), now
            pids = sorted(set(workers()) - self.killed)
            if pids:
                self._kill(self._dice.choice(pids))

    def _kill(self, pid):
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if _parent(pid) == fleet.status()["server"]:  # the number is not another's by now
                signal.pidfd_send_signal(handle, self._dice.choice(STOPPERS))
                self.killed.add(pid)
        except OSError:
            pass  # it has ended
        finally:
            os.close(handle)
