"""What another process is doing, as the kernel sees it."""

from __future__ import annotations

from whichpool._host.cgroups import read_text

__all__ = ["is_stopped"]


def is_stopped(pid: int, root: str = "") -> bool:
    """Tell whether a process was stopped by a signal (SIGSTOP, Ctrl-Z) and has not been told to go on.

    One that a debugger holds is not counted: somebody is looking at it.

    Args:
        pid: The process.
        root: Put before the path that is read; default: the real ``/``.

    Returns:
        ``False`` also where it cannot be learnt.
    """
    # Linux: the state is the first word behind the name, which stands in parentheses and may hold anything.
    return (read_text(f"/proc/{pid}/stat", root) or "").rpartition(")")[2].split()[:1] == ["T"]
