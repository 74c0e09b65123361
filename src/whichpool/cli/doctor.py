"""``whichpool doctor``: the machine as whichpool may use it, with the start costs measured now."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.endings import FAILED, Ending
from whichpool.cli.standard import output, printing
from whichpool.report.units import cores, duration, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichpool import Host

__all__ = ["examine", "facts", "to_dict"]

SCHEMA = "whichpool.doctor"
VERSION = 1

# Columns of the remarks: with the name and the value before them, 80.
_REMARK = 54


def examine(*, as_json: bool) -> None:
    """Measure and print.

    Args:
        as_json: One JSON object instead of the table.

    Raises:
        Ending: With code 1 where the start costs cannot be measured, with 3 where it cannot be written.
    """
    output()
    try:
        host = whichpool.doctor(measure=True)
    except whichpool.WhichpoolError as error:
        raise Ending(FAILED, f"no worker could be started to measure it: {error}") from error
    if as_json:
        from json import dumps

        with printing():
            print(dumps(to_dict(host), indent=2, allow_nan=False))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    # Joined by hand: an unknown platform or interpreter is an empty string.
    about = ", ".join(part for part in (host.python, host.platform) if part)
    # Rendered first: rich has a way of its own to end the process where nobody reads.
    with printing():
        with console.capture() as captured:
            console.print()
            console.print(Text.assemble("  ", (f"whichpool {whichpool.__version__}", "bold"), f", {about}"))
            console.print()
            for name, value, remark in facts(host):
                first, *rest = wrap(remark, _REMARK) or [""]
                console.print(
                    Text.assemble(
                        "  ", (f"{name:<13}", "bold"), (f"{value:>9}", "cyan"), "  ", (first, "dim")
                    ),
                    soft_wrap=True,
                )
                for line in rest:
                    console.print(Text(" " * 26 + line, "dim"), soft_wrap=True)
            console.print()
        output().write(captured.get())


def facts(host: Host) -> Iterator[tuple[str, str, str]]:
    """What the table says: a name, a value, and what it means.

    Args:
        host: The machine.

    Yields:
        Rows of three strings.
    """
    yield "cores", cores(host.cores).split(" ")[0], _why_cores(host)
    if host.gil:
        yield "GIL", "yes", "one thread of a process computes in Python at a time; processes multiply that"
    else:
        yield "GIL", "no", "threads compute side by side; processes are rarely needed"
    room = ""
    if host.memory_free_bytes is not None and host.worker_bytes:
        room = (
            f"room for {host.memory_free_bytes // host.worker_bytes:,} workers of {size(host.worker_bytes)}"
        )
    yield "memory", size(host.memory_free_bytes), "free for this process" + (room and "; " + room)
    basis = "measured now" if host.start.measured else "a guess: nothing was measured"
    yield "a thread", duration(host.start.thread_s), f"to start ({basis})"
    yield "first process", duration(host.start.first_worker_s), f"until it takes its first item ({basis})"
    yield "each further", duration(host.start.worker_s), f"more ({basis})"
    if host.nested:
        yield "nested", "yes", "this process is itself a worker of whichpool, and starts no processes"


def _why_cores(host: Host) -> str:
    """Which of the four limits is the least one, and what the others are."""
    parts = [f"machine {host.machine_cores}"]
    for name, value, missing in (
        ("affinity", host.affinity_cores, "no affinity"),
        ("cgroup quota", host.quota_cores, "no cgroup quota"),
        ("WHICHPOOL_CORES", host.override_cores, "WHICHPOOL_CORES not set"),
    ):
        parts.append(missing if value is None else f"{name} {cores(value).split(' ')[0]}")
    return "the least of: " + ", ".join(parts)


def to_dict(host: Host) -> dict[str, Any]:
    """What ``--json`` prints."""
    from whichpool.report import host_to_dict

    return {
        "schema": SCHEMA,
        "version": VERSION,
        "whichpool": whichpool.__version__,
        "host": host_to_dict(host),
    }
