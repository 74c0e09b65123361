"""From a stored run to figures and tables. Pure, except `show`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from benchmarks.peers import BASE, OURS, PEERS

Mode = Literal["cold", "warm"]
MODES: tuple[Mode, ...] = ("cold", "warm")

BEST_TARGET = 1.0
"""To reach: geometric mean of whichpool / best peer."""
WORST_TARGET = 1.2
"""To reach: no workload above this times the best peer."""
MIXED_TARGET = 1.5
"""To reach: on the workload that waits and computes, this times as fast as the best peer."""
WIDTH = 200
"""Columns where the output is not a terminal: room for the whole table."""
LOOP_FACTOR, LOOP_EXTRA_S = 1.03, 0.003
"""To reach: never above this times the loop, plus these seconds."""


def geometric_mean(values: Iterable[float]) -> float | None:
    """The geometric mean; ``None`` of nothing."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def times(run: dict[str, Any], workload: str, peer: str, mode: Mode) -> list[float]:
    """The seconds measured; empty if the peer was not run, or ever gave a wrong result."""
    cell = run["workloads"][workload]["peers"].get(peer)
    if cell is None or any(f["kind"] == "wrong" for f in cell["failures"]):
        return []
    return list(cell[mode + "_s"])


def rows(run: dict[str, Any], mode: Mode) -> list[dict[str, Any]]:
    """One row a workload: each peer's fastest and median, the best pool, and where whichpool stands.

    "Best" is the best *pool*, by its fastest; the loop is not one of them and has its own ratio. Ratios are
    of the fastest times, and of the medians; ``None`` where there is nothing to compare.
    """
    out = []
    for name, entry in run["workloads"].items():
        got = {peer: times(run, name, peer, mode) for peer in entry["peers"]}
        fastest = {peer: min(t) for peer, t in got.items() if t}
        median = {peer: statistics.median(t) for peer, t in got.items() if t}
        pools = [p for p in fastest if p not in (OURS, BASE)]
        best = min(pools, key=fastest.__getitem__, default=None)
        best_median = min(pools, key=median.__getitem__, default=None)
        ours, loop = fastest.get(OURS), fastest.get(BASE)
        allowed = None if loop is None else LOOP_FACTOR * loop + LOOP_EXTRA_S
        out.append(
            {
                "workload": name,
                "title": entry["title"],
                "fastest": fastest,
                "median": median,
                "best": best,
                "to_best": _ratio(ours, fastest.get(best or "")),
                "to_best_median": _ratio(median.get(OURS), median.get(best_median or "")),
                "to_loop": _ratio(ours, loop),
                "loop_kept": None if ours is None or allowed is None else ours <= allowed,
                "once": [
                    p for p, c in entry["peers"].items() if 0 < len(c["cold_s"]) < run["options"]["repeat"]
                ],
                "plan": _plan(entry["peers"].get(OURS, {}).get(mode + "_plans", [])),
            }
        )
    return out


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b


def _plan(plans: Sequence[Sequence[str]]) -> str:
    """The plan that most calls ended on; with a mark if not all did."""
    names = [plan for plan, _ in plans]
    return statistics.mode(names) + " ..." * (len(set(names)) > 1) if names else ""


def summary(run: dict[str, Any]) -> dict[str, Any]:
    """The figures that are published: per mode the geometric means, the worst workload, broken promises."""
    out: dict[str, Any] = {"failures": failures(run)}
    for mode in MODES:
        table = rows(run, mode)
        ratios = {r["workload"]: r["to_best"] for r in table if r["to_best"] is not None}
        medians = [r["to_best_median"] for r in table if r["to_best_median"] is not None]
        worst = max(ratios, key=ratios.__getitem__, default=None)
        out[mode] = {
            "to_best": geometric_mean(ratios.values()),
            "to_best_median": geometric_mean(medians),
            "to_loop": geometric_mean(r["to_loop"] for r in table if r["to_loop"] is not None),
            "workloads": len(ratios),
            "worst": worst,
            "worst_ratio": None if worst is None else ratios[worst],
            "above_worst_target": sorted(w for w, r in ratios.items() if r > WORST_TARGET),
            "slower_than_loop": [r["workload"] for r in table if r["loop_kept"] is False],
            "mixed_speedup": None if "mixed" not in ratios else 1 / ratios["mixed"],
            "single_peer_to_best": _single(table),
        }
    return out


def _single(table: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """What one gets by using the same peer for everything: geometric mean of its time / the best pool's."""
    out = {}
    for peer in PEERS:
        out[peer] = geometric_mean(
            r["fastest"][peer] / r["fastest"][r["best"]] for r in table if r["best"] and peer in r["fastest"]
        )
    return {peer: value for peer, value in out.items() if value is not None}


def failures(run: dict[str, Any]) -> list[str]:
    """Every run that did not end with the right result, in words."""
    return [
        f"{name} / {peer}: {failure['kind']} ({failure['error']})"
        for name, entry in run["workloads"].items()
        for peer, cell in entry["peers"].items()
        for failure in cell["failures"]
    ]


def duration(seconds: float | None) -> str:
    """Three figures with the unit that suits: ``12.3 ms``."""
    if seconds is None:
        return "-"
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("us", 1e6)
    value = seconds * factor
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def show(run: dict[str, Any], *, modes: Sequence[Mode] = MODES, statistic: str = "fastest") -> None:
    """Print the run: a table for each mode, the figures, the failures. Needs rich."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    m = run["machine"]
    console.print(
        f"{m['when']}  {m['cpu']}, {m['cores']} cores, {m['python']}, "
        f"load {run['load'][0]} to {run['load'][-1]}, "
        f"{run['options']['repeat']} rounds, scale {run['options']['scale']:g}, {run['took_s']:g} s"
        + (", INTERRUPTED" if run.get("interrupted") else ""),
        highlight=False,
    )
    used = [p for p in PEERS if any(p in entry["peers"] for entry in run["workloads"].values())]
    for mode in modes:
        title = f"{mode}: {statistic} of the rounds; * measured in fewer rounds"
        table = Table("workload", title=title)
        for peer in used:
            table.add_column(PEERS[peer][0], justify="right")
        table.add_column("best pool")
        for heading in ("/ best", "(median)", "/ loop"):
            table.add_column(heading, justify="right")
        table.add_column("plan")
        for row in rows(run, mode):
            cells = []
            for peer in used:
                cell = duration(row[statistic].get(peer)) + "*" * (peer in row["once"])
                cells.append(f"[bold]{cell}[/]" if peer == row["best"] else cell)
            to_loop = _figure(row["to_loop"])
            table.add_row(
                row["title"],
                *cells,
                PEERS[row["best"]][0] if row["best"] else "-",
                _colour(row["to_best"]),
                _figure(row["to_best_median"]),
                f"[red]{to_loop}[/]" if row["loop_kept"] is False else to_loop,
                row["plan"],
            )
        console.print(table)
    figures = summary(run)
    for mode in modes:
        s = figures[mode]
        console.print(
            f"[bold]{mode}[/]: whichpool / best pool, geometric mean {_figure(s['to_best'])} "
            f"(of medians {_figure(s['to_best_median'])}; to reach {BEST_TARGET:.2f}), worst "
            f"{_figure(s['worst_ratio'])} on {s['worst']} (to reach {WORST_TARGET:.2f}); "
            f"above it: {', '.join(s['above_worst_target']) or 'none'}; "
            f"slower than {LOOP_FACTOR} x loop + {LOOP_EXTRA_S * 1e3:g} ms: "
            f"{', '.join(s['slower_than_loop']) or 'none'}; "
            f"mixed: {_figure(s['mixed_speedup'])} x as fast as the best pool (to reach {MIXED_TARGET})",
            highlight=False,
        )
        alone = ", ".join(f"{PEERS[p][0]} {_figure(v)}" for p, v in s["single_peer_to_best"].items())
        console.print(f"  one engine for everything / best pool of each: {alone}", highlight=False)
    for failure in figures["failures"]:
        console.print(f"[red]failed[/]: {escape(failure)}", highlight=False)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _colour(value: float | None) -> str:
    if value is None:
        return "-"
    colour = "green" if value <= BEST_TARGET else "yellow" if value <= WORST_TARGET else "red"
    return f"[{colour}]{value:.2f}[/]"
