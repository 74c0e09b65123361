"""From a stored run to medians, ratios and what was to be reached. Pure, except `show`."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.download.peers import OURS, PEERS
from benchmarks.report import WIDTH, duration

MEMORY_MB = 100
"""To reach: whichpool's peak, whatever the number of files."""


def medians(cell: dict[str, Any]) -> dict[str, float] | None:
    """The median of each figure of a peer; ``None``: it has none."""
    runs = cell["runs"]
    if "error" in cell or not runs:
        return None
    keys = [k for k, v in runs[0].items() if isinstance(v, float) and k != "begun_at"]
    found = {k: statistics.median(run[k] for run in runs) for k in keys}
    # A file is safe when it is on the disk: those who leave that to the kernel have it still to come.
    found["safe_s"] = statistics.median(run["wall_s"] + run["flush_s"] for run in runs)
    return found


def ratios(part: dict[str, Any]) -> dict[str, Any]:
    """Where whichpool stands among those of one part of a run.

    Returns:
        ``best`` and ``to_best`` (of all others), ``best_python`` and ``to_best_python``, ``to_curl``, ``best_safe`` and
        ``to_best_safe`` (until all is on the disk); ``None`` where there is nothing to compare.
    """
    found = {name: m for name, cell in part["peers"].items() if (m := medians(cell))}
    ours = found.pop(OURS, None)
    out: dict[str, Any] = {}
    for key, figure, among in (
        ("best", "wall_s", list(found)),
        ("best_python", "wall_s", [p for p in found if PEERS[p].python]),
        ("best_safe", "safe_s", list(found)),
    ):
        best = min(among, key=lambda p: found[p][figure], default=None)
        out[key] = best
        out["to_" + key] = None if best is None or ours is None else ours[figure] / found[best][figure]
    curl = found.get("curl")
    out["to_curl"] = None if curl is None or ours is None else ours["wall_s"] / curl["wall_s"]
    return out


def aims(part: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What was to be reached in this part: in words, the figure, and what it should be at the most."""
    found = ratios(part)
    cell = part["peers"].get(OURS)
    ours = medians(cell) if cell else None
    if part["link"] != "loopback":
        wanted = [("time / the best", "to_best", 1.0)]
    elif part["workload"] in ("large", "huge"):
        wanted = [("time / the best", "to_best", 1.1)]
    elif part["workload"] in ("small", "many", "openclipart"):
        wanted = [("time / the best Python tool", "to_best_python", 1.0), ("time / curl -Z", "to_curl", 2.0)]
    else:
        wanted = []
    out = [(words, found[key], most) for words, key, most in wanted if found[key] is not None]
    if ours is not None:
        out.append(("peak memory, MB", ours["peak_mb"], float(MEMORY_MB)))
    return out


def show(run: dict[str, Any]) -> None:
    """Print a table for each part, and the aims. Needs rich."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    m = run["machine"]
    console.print(
        f"{m['when']}  {m['cpu']}, {m['cores']} cores, {m['python']}, load {run['load'][0]} to {run['load'][-1]}, "
        f"{run['options']['repeat']} rounds, {run['took_s']:g} s"
        + (", INTERRUPTED" * run.get("interrupted", False)),
        highlight=False,
    )
    for part in run["parts"]:
        table = Table(
            "",
            title=f"{part['title']}, {part['link']}, {part['setting']}: medians; * fewer rounds than the others",
        )
        for heading in ("wall", "/ best", "then fsync", "CPU", "peak MB", "first file"):
            table.add_column(heading, justify="right")
        found = {name: medians(cell) for name, cell in part["peers"].items()}
        best = min((f["wall_s"] for f in found.values() if f), default=None)
        for name, cell in part["peers"].items():
            figures = found[name]
            if figures is None or best is None:
                table.add_row(name, cell.get("error", "-"))
                continue
            fewer = "*" * (len(cell["runs"]) < run["options"]["repeat"])
            table.add_row(
                name,
                duration(figures["wall_s"]) + fewer,
                f"{figures['wall_s'] / best:.2f}",
                duration(figures["flush_s"]),
                duration(figures["cpu_s"]),
                f"{figures['peak_mb']:.0f}",
                duration(figures.get("first_s")),
            )
        console.print(table)
        for words, figure, most in aims(part):
            reached = figure <= most
            console.print(
                f"  whichpool: {words} {figure:.2f} (to reach: {most:.2f})"
                + ("" if reached else "  [red]not reached[/]"),
                highlight=False,
            )
    for line in run["left_out"]:
        console.print(f"left out: {line}", highlight=False, markup=False)
