"""What a long list costs: ``python -m benchmarks.download.memory [--counts 1000,100000] [--there] [--folder DIR]``.

For each way in which URLs come (a generator, a list, standard input, a list whose receipts are written and events
printed, and a generator whose receipts are all kept) and each count: seconds from the start of the process to the first
receipt, and the most memory that it had. All but the last are handed on, and what should be flat is the memory between
the counts. nginx answers, with 404, or with ``--there`` a small file each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from benchmarks.download import link, nginx

LAUNCH = Path(__file__).with_name("launch.py")
WAYS = ("generator", "list", "stdin", "json", "kept")
CALL = """
import sys, whichpool
urls = (f"{sys.argv[1]}{n}" for n in range(int(sys.argv[2])))
for number, receipt in enumerate(whichpool.idownload(urls, sys.argv[3])):
    if not number:
        print("receipt", flush=True)
"""
KEEP = """
import sys, whichpool
urls = (f"{sys.argv[1]}{n}" for n in range(int(sys.argv[2])))
receipts = whichpool.download(urls, sys.argv[3])
assert len(receipts) == int(sys.argv[2])
print("receipt", flush=True)
"""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table. Exit code 2: no nginx."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.download.memory", description=__doc__)
    parser.add_argument("--counts", default="1000,100000")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--there", action="store_true", help="a file of 20 bytes for each URL, not a 404")
    parser.add_argument("--folder", type=Path, help="where files go; /dev/shm takes the disk out of it")
    options = parser.parse_args(arguments)
    if nginx.path() is None:
        print("nginx is not installed (Debian: apt-get install nginx-light)", file=sys.stderr)
        return 2
    print("| way | URLs | first receipt | all | memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        root, own = Path(scratch, "root"), Path(scratch, "nginx")
        root.mkdir()
        own.mkdir()
        counts = [int(count) for count in options.counts.split(",")]
        if options.there:
            for number in range(max(counts)):
                (root / f"{number}").write_text(f"{number:020}")
        port = nginx.free_port()
        with link.serving(None, nginx.command(root, own, port), port) as up:
            for way in options.ways.split(","):
                for count in counts:
                    print(_row(way, count, f"http://{up.host}:{port}/", Path(scratch)), flush=True)
    return 0


def _row(way: str, count: int, base: str, scratch: Path) -> str:
    with tempfile.TemporaryDirectory(dir=scratch) as work:
        first_s, took = _run(way, count, base, Path(work))
    return f"| {way} | {count:,} | {first_s:.2f} s | {took['wall_s']:.1f} s | {took['peak_mb']:.1f} MB |"


def _run(way: str, count: int, base: str, work: Path) -> tuple[float, dict[str, float]]:
    get = [sys.executable, "-m", "whichpool", "get", "-d", str(work / "data")]
    listed = work / "urls.txt"
    if way in ("generator", "kept"):
        command = [
            sys.executable,
            "-c",
            KEEP if way == "kept" else CALL,
            base,
            str(count),
            str(work / "data"),
        ]
    elif way == "stdin":
        command = [*get, "-i", "-", "--json"]
    else:
        listed.write_text("".join(f"{base}{n}\n" for n in range(count)))
        command = [*get, "-i", str(listed), "--json"]
        if way == "json":
            command += ["--receipt", str(work / "receipts.jsonl")]
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCH), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(work), "WHICHPOOL_CACHE": ""},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        feeder = threading.Thread(target=_feed, args=(process.stdin, base, count if way == "stdin" else 0))
        feeder.start()
        first_s = None
        for line in process.stderr:
            if first_s is None and b"receipt" in line:
                first_s = time.perf_counter() - begin
        record = json.loads(process.stdout.read().splitlines()[-1])
        feeder.join()
    assert first_s is not None, "no receipt"
    return first_s, record


def _feed(pipe: IO[bytes], base: str, count: int) -> None:
    with pipe:
        for number in range(count):
            pipe.write(f"{base}{number}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
