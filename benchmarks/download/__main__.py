"""``python -m benchmarks.download``: whichpool get beside aria2c, curl, wget2, requests, aiohttp and pypdl.

Serves 2,000 x 20 KB, 200 x 1 MB and 1 x 2 GB with nginx, over loopback and over a line of 20 ms; everybody fetches
with 16 connections, and then as they do by themselves. Debian: apt-get install nginx-light aria2 curl wget2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine, runner
from benchmarks.download import link as links
from benchmarks.download import nginx, real, tables
from benchmarks.download.data import DEFAULT, WORKLOADS, Served, make, store
from benchmarks.download.peers import OURS, PEERS, SETTINGS
from benchmarks.download.rounds import Say, absent, rounds, space_for

RESULTS = Path(__file__).resolve().parent.parent / "results"
ROUND_TRIP_S = 0.020


def main(arguments: list[str] | None = None) -> int:
    """Run, store, print. Exit code 0; 1: whichpool failed on something; 2: bad arguments, or no nginx; 130:
    interrupted."""
    options = _parse(arguments)
    if nginx.path() is None:
        print("nginx is not installed (Debian: apt-get install nginx-light)", file=sys.stderr)
        return 2
    run = measure(options, lambda line: print(line, file=sys.stderr, flush=True))
    out = options.out or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-download.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(run, indent=1) + "\n")
    tables.show(run)
    print(f"stored in {out}")
    if run.get("interrupted"):
        return 130
    return int(any("error" in part["peers"].get(OURS, {}) for part in run["parts"]))


def measure(options: argparse.Namespace, say: Say) -> dict[str, Any]:
    """The run, as it is stored; after Ctrl-C, what there was of it."""
    begin = time.monotonic()
    runner.compile_ahead()
    missing = absent(options.peers)
    peers = [peer for peer in options.peers if peer not in missing]
    run: dict[str, Any] = {
        "schema": 1,
        "machine": machine.describe(),
        "options": {
            "repeat": options.repeat,
            "round_trip_s": options.round_trip_ms / 1e3,
            "loss": options.loss,
            "timeout_s": options.timeout,
        },
        "versions": {peer: PEERS[peer].version() for peer in peers},
        "load": [machine.load()],
        "left_out": [f"{peer}: not installed" for peer in missing],
        "parts": [],
    }
    try:
        with store(options.folder) as root:
            for name, served in _inputs(options, root, run["left_out"]):
                for title, line in _lines(options):
                    try:
                        _serve(run, options, peers, root, name, served, title, line, say)
                    except links.Impossible as error:
                        run["left_out"].append(f"{served.title}, {title}: {error}")
                        say(run["left_out"][-1])
                run["load"].append(machine.load())
    except KeyboardInterrupt:
        run["interrupted"] = True
    run["took_s"] = round(time.monotonic() - begin, 1)
    return run


def _inputs(options: argparse.Namespace, root: Path, left_out: list[str]) -> Iterator[tuple[str, Served]]:
    made: Iterable[Served | str] = (
        real.inputs(root)
        if options.real
        else (
            real.clipart(root, options.clipart) if name == real.CLIPART else make(WORKLOADS[name], root)
            for name in options.workloads
        )
    )
    for served in made:
        if isinstance(served, str):
            left_out.append(served)
        elif not space_for(served, options.folder or root):
            left_out.append(f"{served.title}: the disk has no room for it twice")
        else:
            yield served.folder.name, served


def _lines(options: argparse.Namespace) -> Iterator[tuple[str, links.Line | None]]:
    if "loopback" in options.links:
        yield "loopback", None
    if "latency" in options.links:
        line = links.Line(options.round_trip_ms / 1e3, options.loss)
        yield line.title, line


def _serve(
    run: dict[str, Any],
    options: argparse.Namespace,
    peers: list[str],
    root: Path,
    name: str,
    served: Served,
    title: str,
    line: links.Line | None,
    say: Say,
) -> None:
    with TemporaryDirectory(prefix="bench-nginx-") as own:
        port = nginx.free_port()
        with links.serving(line, nginx.command(root, Path(own), port), port) as up:
            for setting in options.settings:
                part: dict[str, Any] = {
                    "workload": name,
                    "title": served.title,
                    "link": title,
                    "how": up.how,
                    "setting": setting,
                    "peers": {},
                }
                run["parts"].append(part)
                say(f"-- {served.title}, {title} ({up.how}), {setting}")
                part["peers"] = rounds(
                    peers,
                    setting,
                    served,
                    f"http://{up.host}:{port}",
                    options.folder or root,
                    repeat=options.repeat,
                    timeout_s=options.timeout,
                    say=say,
                )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.download",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )

    def names(known: Iterable[str]) -> Any:
        known = list(known)

        def parse(text: str) -> list[str]:
            chosen = [part for part in text.split(",") if part]
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
            return chosen

        return parse

    add = parser.add_argument
    known = [*WORKLOADS, real.CLIPART]
    add("--workloads", type=names(known), default=list(DEFAULT), help=f"of {', '.join(known)}")
    add(
        "--clipart",
        type=Path,
        default=real.INSTALLED,
        help=f"where openclipart-png is unpacked ({real.INSTALLED})",
    )
    add(
        "--real",
        action="store_true",
        help="openclipart-png and a source tarball (apt-get download), and 4 GB",
    )
    add("--peers", type=names(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}")
    add(
        "--links",
        type=names(("loopback", "latency")),
        default=["loopback", "latency"],
        help="loopback, latency",
    )
    add("--settings", type=names(SETTINGS), default=list(SETTINGS), help="same (16 connections), default")
    add("--round-trip-ms", type=float, default=ROUND_TRIP_S * 1e3, help="of the line with latency (20)")
    add(
        "--loss",
        type=float,
        default=0.0,
        help="share of its packets that are lost, 0.001 for one in a thousand",
    )
    add("--repeat", type=int, default=3, help="rounds (3)")
    add("--timeout", type=float, default=180.0, help="seconds until a process is killed (180)")
    add(
        "--folder",
        type=Path,
        help="where files are served from and fetched to (the system's temporary folder)",
    )
    add("--out", type=Path, help="where to store the run (benchmarks/results/WHEN-download.json)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
