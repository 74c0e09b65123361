"""A program that downloads, for tests that kill it, starve it or measure it: ``get_child.py JSON``.

The JSON has ``urls`` or ``many`` (a URL's beginning and a count), ``folder``, ``settings``, ``limit_bytes`` (no file
gets larger), ``group_bytes`` (how much is brought to the disk at a time), ``first_wait_s`` (before a second try) and
``tell_syncs``. It prints a line of JSON for each receipt as soon as it is there; with ``many``, one of memory.

Without an argument it reads orders, a line each, and carries out each in a process of its own that is forked from this
one, so that Python starts once: it prints the pid, and after its end how it ended. Receipts go to the file ``told``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sys
import time
import traceback


def peak_kb() -> int:
    """The most memory that this program has had; what `getrusage` says begins with its parent's."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def tell_syncs() -> None:
    """Says of each part how large it was when it was forced to the disk; after that is done."""
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(fd: int, real=real) -> None:
            path, size = os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size
            real(fd)
            if path.endswith(".part"):
                os.write(1, (json.dumps({"synced": size}) + "\n").encode())

        setattr(os, name, sync)


def carry_out(order: dict) -> None:
    if limit := order.get("limit_bytes"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG in place of a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if order.get("tell_syncs"):
        tell_syncs()
    from whichpool import idownload
    from whichpool.downloads import manners, part

    manners.FIRST_WAIT_S = order.get("first_wait_s", manners.FIRST_WAIT_S)
    part.GROUP_BYTES = order.get("group_bytes", part.GROUP_BYTES)

    taken = {"n": 0}

    def many():
        start, count = order["many"]
        for n in range(count):
            taken["n"] = n + 1
            yield f"{start}{n}"

    urls = many() if "many" in order else order["urls"]
    started = time.monotonic()
    peaks = []
    for n, receipt in enumerate(idownload(urls, order["folder"], **order.get("settings", {}))):
        if "many" not in order:
            print(json.dumps(dataclasses.asdict(receipt)), flush=True)
        elif n in (0, 1_000) or not n % 2_000:
            peaks.append(
                {
                    "n": n,
                    "kb": peak_kb(),
                    "s": time.monotonic() - started,
                    "taken": taken["n"],
                    "ok": receipt.ok,
                }
            )
    if "many" in order:
        print(json.dumps({"count": n + 1, "peaks": peaks, "kb": peak_kb()}))


def take_orders() -> None:
    import urllib3  # noqa: F401  # what is loaded now need not be loaded by each

    import whichpool.downloads.run  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            told = os.open(order["told"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(told, 1)
            os.dup2(told, 2)
            try:
                carry_out(order)
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        carry_out(json.loads(sys.argv[1]))
    else:
        take_orders()
