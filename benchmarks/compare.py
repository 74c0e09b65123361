"""``python -m benchmarks.compare BEFORE.json AFTER.json``: what a change to whichpool did.

Machines drift: between two runs everything may be a third slower. So what counts is the change of whichpool's
time *in proportion to* the change of its peers' times on the same workload in the same runs ("net"): below 1
is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import OURS
from benchmarks.report import MODES, Mode, duration, geometric_mean, times

NOTABLE = 1.15
"""A net change by more than this factor is marked. A guess: what the same code shows between two quiet
runs."""


def changes(
    before: dict[str, Any], after: dict[str, Any], mode: Mode, peer: str = OURS
) -> list[dict[str, Any]]:
    """One row for each workload that both runs hold: ``before_s``, ``after_s`` (fastest), ``drift``, ``net``.

    ``drift`` is the geometric mean over the other engines of after / before; ``None`` where there are none.
    """
    out = []
    for name, entry in before["workloads"].items():
        if name not in after["workloads"]:
            continue
        old, new = (times(run, name, peer, mode) for run in (before, after))
        if not old or not new:
            continue
        others = [p for p in entry["peers"] if p != peer]
        pairs = [(times(before, name, p, mode), times(after, name, p, mode)) for p in others]
        drift = geometric_mean(min(b) / min(a) for a, b in pairs if a and b)
        raw = min(new) / min(old)
        out.append(
            {
                "workload": name,
                "title": entry["title"],
                "before_s": min(old),
                "after_s": min(new),
                "drift": drift,
                "net": raw / (drift or 1.0),
            }
        )
    return out


def warnings(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Reasons to mistrust the comparison."""
    found = []
    for key in ("cpu", "cores", "python", "versions"):
        a, b = before["machine"][key], after["machine"][key]
        if a != b:
            found.append(f"{key} differs: {a} / {b}")
    if before["options"]["scale"] != after["options"]["scale"]:
        found.append("the runs have different numbers of items (scale): do not compare them")
    if not 0.9 < after["rate"] / before["rate"] < 1.1:
        speed = after["rate"] / before["rate"]
        found.append(f"the machine computed at {speed:.2f} of its speed: the items have more or fewer steps")
    return found


def show(before: dict[str, Any], after: dict[str, Any], peer: str = OURS) -> None:
    """Print the comparison. Needs rich."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for warning in warnings(before, after):
        console.print(f"[yellow]careful[/]: {warning}", highlight=False)
    for mode in MODES:
        rows = changes(before, after, mode, peer)
        table = Table("workload", title=f"{peer}, {mode}, fastest of the rounds")
        for heading in ("before", "after", "others' drift", "net"):
            table.add_column(heading, justify="right")
        for row in rows:
            net = f"{row['net']:.2f}"
            if row["net"] > NOTABLE:
                net = f"[red]{net} slower[/]"
            elif row["net"] < 1 / NOTABLE:
                net = f"[green]{net} faster[/]"
            drift = "-" if row["drift"] is None else f"{row['drift']:.2f}"
            table.add_row(row["title"], duration(row["before_s"]), duration(row["after_s"]), drift, net)
        console.print(table)
        mean = geometric_mean(row["net"] for row in rows)
        if mean is not None:
            console.print(
                f"{mode}: net, geometric mean over {len(rows)} workloads: {mean:.3f}", highlight=False
            )


def main(arguments: list[str] | None = None) -> int:
    """Compare two stored runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--peer", default=OURS, help=f"whose change ({OURS})")
    options = parser.parse_args(arguments)
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    show(before, after, options.peer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
