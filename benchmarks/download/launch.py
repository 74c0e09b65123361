"""Runs one command and says what it took: ``python -I -S launch.py COMMAND...``, in a process as small as can be.

Linux counts the memory of whoever starts a program as that program's own peak (`exec` keeps the old maximum), so
this launcher's 9 MB are the least that can be told of anybody. The last line of its output is the record, as JSON.
"""

import os
import sys
import time


def main() -> None:
    """Run ``sys.argv[1:]``; its output goes to where this process's standard error goes."""
    begun_at, begin = time.time(), time.perf_counter()
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, used = os.wait4(pid, 0)
    wall_s = time.perf_counter() - begin
    record = {
        "wall_s": wall_s,
        # With all that it started itself and waited for.
        "cpu_s": used.ru_utime + used.ru_stime,
        "user_s": used.ru_utime,
        # Of the largest process, where there were several. Linux counts in kilobytes, macOS in bytes.
        "peak_mb": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "begun_at": begun_at,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    # `json` would double this process's memory; a dict of numbers is JSON as Python writes it.
    print("\n" + repr(record).replace("'", '"'), flush=True)


if __name__ == "__main__":
    main()
