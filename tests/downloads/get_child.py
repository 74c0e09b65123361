"""A program that downloads, for tests that kill it, starve it or measure it: ``get_child.py JSON``.

The JSON has ``urls`` or ``many`` (a URL's beginning and a count), ``folder``, ``settings`` and ``limit_bytes`` (no file
may get larger) and ``group_bytes`` (how much is brought to the disk at a time). It prints a line of JSON for each receipt as soon as it is there; with ``many``, one of memory.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import sys
import time


def peak_kb() -> int:
    """The most memory that this program has had; what `getrusage` says begins with its parent's."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def main() -> None:
    order = json.loads(sys.argv[1])
    if limit := order.get("limit_bytes"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG in place of a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from whichpool import idownload
    from whichpool.downloads import part

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
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peaks.append(
                {"n": n, "kb": rss, "s": time.monotonic() - started, "taken": taken["n"], "ok": receipt.ok}
            )
    if "many" in order:
        print(json.dumps({"count": n + 1, "peaks": peaks, "kb": peak_kb()}))


if __name__ == "__main__":
    main()
