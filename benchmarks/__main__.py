"""``python -m benchmarks``: whichpool beside the loop and seven pools, on fifteen kinds of work."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report, runner
from benchmarks.peers import OURS, PEERS
from benchmarks.suite import WORKLOADS

QUICK_SCALE = 0.15
"""Share of the items in a quick run: it shows that everything works and roughly where it stands, not more."""


def main(arguments: list[str] | None = None) -> int:
    """Run, store, print. Exit code 0; 1: whichpool failed on some workload; 2: bad arguments; 130:
    interrupted."""
    options = _parse(arguments)
    run = runner.run(
        options.workloads,
        options.peers,
        repeat=options.repeat,
        warm=not options.cold,
        scale=options.scale,
        timeout_s=options.timeout,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    run["summary"] = report.summary(run)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(run, indent=1) + "\n")
    modes: list[report.Mode] = ["cold"] if options.cold else ["warm"] if options.warm else list(report.MODES)
    report.show(run, modes=modes, statistic=options.statistic)
    print(f"stored in {options.out}", file=sys.stderr)
    if run.get("interrupted"):
        return 130
    return int(any(f" / {OURS}: " in failure for failure in run["summary"]["failures"]))


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """The type of an argument: some of these names, with commas between."""

    def split(text: str) -> list[str]:
        names = [n for n in text.split(",") if n]
        for n in names:
            if n not in known:
                raise argparse.ArgumentTypeError(f"{n!r} is not one of {', '.join(known)}")
        return names

    return split


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    workloads, peers = names_of(WORKLOADS), names_of(PEERS)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    add = parser.add_argument
    add("--workloads", type=workloads, default=list(WORKLOADS), metavar="A,B", help="; ".join(WORKLOADS))
    add("--peers", type=peers, default=list(PEERS), metavar="A,B", help="; ".join(PEERS))
    add("--repeat", type=int, help="rounds (3; 1 with --quick)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--cold", action="store_true", help="only the first call, imports and pool start counted"
    )
    only.add_argument(
        "--warm", action="store_true", help="show only the later calls (the first must be made all the same)"
    )
    add(
        "--quick",
        action="store_true",
        help=f"one round of {QUICK_SCALE:.0%}% of the items: under two minutes",
    )
    add("--scale", type=float, help="share of the full number of items (1.0)")
    add(
        "--timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds until a measured process is killed (60)",
    )
    add("--statistic", choices=["fastest", "median"], default="fastest", help="what the tables show")
    add(
        "--out",
        type=Path,
        default=runner.ROOT / "benchmarks" / "results" / f"{stamp}.json",
        help="where to store",
    )
    options = parser.parse_args(arguments)
    options.repeat = options.repeat or (1 if options.quick else 3)
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    return options


if __name__ == "__main__":
    sys.exit(main())
