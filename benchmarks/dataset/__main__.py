"""``python -m benchmarks.dataset``: `whichpool.process` beside what else runs a Python function over a dataset."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import runner
from benchmarks.__main__ import names_of
from benchmarks.dataset import inputs, measuring
from benchmarks.dataset.held import KINDS
from benchmarks.dataset.jobs import JOBS, Setting
from benchmarks.dataset.peers import OURS, PEERS
from benchmarks.report import WIDTH

QUICK_SCALE = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Run, store, print. Exit code 0; 1: whichpool failed on some job; 130: interrupted."""
    options = _parse(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="benchmark-data-") as scratch:
        folder = options.data or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        run = measuring.run(
            options.jobs,
            options.peers,
            folder,
            repeat=options.repeat,
            scale=options.scale,
            timeout_s=options.timeout,
            setting=Setting(options.html, options.images),
            say=say,
        )
        run["summary"] = measuring.summary(run)
        if options.memory and not run.get("interrupted"):
            run["memory"] = measuring.memory(
                folder, options.memory, options.memory_kinds, 10 * options.timeout, say
            )
        if options.overhead and not run.get("interrupted"):
            run["overhead"] = measuring.overhead(
                folder, options.scale, options.overhead, 10 * options.timeout, say
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(run, indent=1) + "\n")
    show(run)
    say(f"stored in {options.out}")
    if run.get("interrupted"):
        return 130
    return int(any(entry["peers"].get(OURS, {}).get("failure") for entry in run["jobs"].values()))


def show(run: dict[str, Any]) -> None:
    """A table each of cold and warm calls, and one of memory. Needs rich."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    peers = [peer for peer in PEERS if any(peer in e.get("peers", {}) for e in run["jobs"].values())]
    for mode in ("cold", "warm", "peak"):
        title = "peak memory of the process tree, MB" if mode == "peak" else f"{mode}: median seconds"
        table = Table(title=title)
        for column in ("", *peers, *(("/ best", "loop /") if mode != "peak" else ())):
            table.add_column(column)
        for row in run["summary"]:
            cells = run["jobs"][row["job"]]["peers"]
            shown = [_cell(cells.get(peer), mode) for peer in peers]
            if mode != "peak":
                ratios = row[mode]
                shown += [f"{ratios[key]:.2f}" if ratios[key] else "-" for key in ("of_best", "speedup")]
            table.add_row(row["job"], *shown)
        console.print(table)
    for row in run.get("memory", ()):
        console.print(f"{row['job']}: {row['input_mb']} MB of input, peak {row['peak_mb']} MB")
    for row in run.get("overhead", ()):
        if "share" in row:
            console.print(
                f"the journal, splits of {row['split_bytes']:,} bytes ({row['splits']}): {row['share']:+.1%} of "
                f"the CPU time (of the least of each: {row['share_of_least']:+.1%}), {row['split_us']:.0f} us a split"
            )


def _cell(cell: dict[str, Any] | None, mode: str) -> str:
    if cell is None or not (cell["failure"] or cell["cold_s"]):
        return "-"
    if cell["failure"]:
        return str(cell["failure"]["kind"])
    if mode == "peak":
        return f"{statistics.median(cell['peak_mb']):.0f}"
    return f"{statistics.median(cell[mode + '_s']):.2f}"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    results = runner.ROOT / "benchmarks" / "results"
    add = parser.add_argument
    add("--jobs", type=names_of(JOBS), default=list(JOBS), metavar="A,B", help="; ".join(JOBS))
    add("--peers", type=names_of(PEERS), default=list(PEERS), metavar="A,B", help="; ".join(PEERS))
    add("--repeat", type=int, help="rounds (3; 1 with --quick)")
    add("--quick", action="store_true", help=f"one round of {QUICK_SCALE:.0%}% of the input")
    add("--scale", type=float, help="share of the input; more than 1 repeats the flights")
    add("--timeout", type=float, default=180.0, metavar="S", help="seconds until a process is killed (180)")
    add("--memory", type=_sizes, metavar="MB,MB", help="also whichpool's peak memory at these sizes of input")
    add("--memory-kinds", type=names_of(KINDS), default=list(KINDS), metavar="A,B", help="; ".join(KINDS))
    add("--overhead", type=int, metavar="ROUNDS", help="also what the journal costs")
    add("--data", type=Path, help="where inputs are made and kept (a temporary folder)")
    add("--html", type=Path, default=inputs.HTML, help="a folder of HTML (that of Debian's rust-doc)")
    add("--images", type=Path, default=inputs.IMAGES, help="a folder of PNGs (that of openclipart-png)")
    add("--out", type=Path, default=results / f"{stamp}-dataset.json", help="where to store")
    options = parser.parse_args(arguments)
    options.repeat = options.repeat or (1 if options.quick else 3)
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    return options


def _sizes(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
