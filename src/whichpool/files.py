"""What all that keeps files agrees on: the folder of what is remembered, and a lock that ends with its run."""

from __future__ import annotations

import os
import sys
from time import monotonic, sleep

__all__ = ["LOCK_WAIT_S", "cache_folder", "lock_soon"]

LOCK_WAIT_S = 1.0
"""The lock of a run that was killed is held for a moment still, if it was just starting a process: by that one, until
it has become another program. So long is waited for that. Seconds; a guess."""
_LOOKS = 50
"""How often in that time it is tried. A guess."""


def cache_folder() -> str | None:
    """Where small things are remembered between runs; ``None``: nowhere.

    ``WHICHPOOL_CACHE`` names it; set but empty, nothing is kept. Else it is the user's cache folder, by the rules of
    platformdirs.
    """
    named = os.environ.get("WHICHPOOL_CACHE")
    if named is not None:
        return named or None
    if sys.platform == "linux" and "ANDROID_ROOT" not in os.environ:
        # What platformdirs answers here, without its 13 ms of import (a test compares the two).
        base = os.environ.get("XDG_CACHE_HOME", "").strip()
        if not os.path.isabs(base):
            base = os.path.expanduser("~/.cache")
        return os.path.join(base, "whichpool") if os.path.isabs(base) else None
    try:
        from platformdirs import user_cache_dir

        return user_cache_dir("whichpool", appauthor=False)
    except Exception:  # a cache is no reason to fail, whatever the reason
        return None


def lock_soon(fd: int) -> bool:
    """Take the lock of an open file, until it is closed, or the process ends in whatever way.

    Returns:
        Whether it could be had within `LOCK_WAIT_S`; ``False``: another run has it.

    Raises:
        ImportError: This system has no such locks.
        OSError: This file system has none.
    """
    from fcntl import LOCK_EX, LOCK_NB, flock

    until = monotonic() + LOCK_WAIT_S
    while True:
        try:
            flock(fd, LOCK_EX | LOCK_NB)
            return True
        except BlockingIOError:
            if monotonic() >= until:
                return False
            sleep(LOCK_WAIT_S / _LOOKS)
