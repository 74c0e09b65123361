"""Random workloads under the real `Conductor` in virtual time, against the best fixed plan in hindsight.

*Regret* is its time / that of the best fixed plan, begun at once, start-up counted. Who measures first can begin
with no plan but the loop: *regret once known* compares with the best of the same plans, begun as soon as anything could
be known about a call (the loop runs until then, and until the first worker is up).

python tests/choose/simulate.py --runs 10000
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from random_workloads import SHAPES, workload
from virtual_engine import HEARTBEAT_S, INF, Engine, Workload

from whichpool._choose.conductor import LISTEN_S
from whichpool._choose.plans import most_workers
from whichpool._records import Plan

# -- the best fixed plan in hindsight -------------------------------------------------------------------------------


def fixed_plans(work: Workload) -> list[Plan]:
    """Every plan a person could have chosen, as far as powers of two and the number of cores go."""
    most = min(most_workers(work.host), 1 << (len(work.units) - 1).bit_length())
    cores = max(1, math.ceil(work.host.cores))
    sizes = sorted({1 << power for power in range(13)} | {cores})
    plans = [Plan(0, threads) for threads in sizes if threads <= most]
    plans += [
        Plan(processes, threads)
        for processes in sizes
        if 2 <= processes <= cores
        for threads in sizes
        if processes * threads <= most and (threads & (threads - 1)) == 0
    ]
    return plans


def least_s(work: Workload, plan: Plan) -> float:
    """A time that the plan cannot beat: its bounds over all units, its start included."""
    size, units = work.calls_per_unit, work.units
    away = plan.processes > 0
    land_s = work.land_s * size if away else 0.0
    ship_s = work.ship_s * size if away else 0.0
    call_s = sum(u.call_s + land_s for u in units)
    gil_s = sum(u.gil_s + land_s for u in units)
    core_s = sum(u.gil_s + u.free_s + land_s + ship_s for u in units)
    wait_s = sum(u.wait_s for u in units)
    gils = max(plan.processes, 1) if work.threads_share_a_gil or away else INF
    start_s = 0.0
    if away and work.warm < plan.processes:
        start_s = work.host.start.first_worker_s * work.start_factor if not work.warm else 0.0
    return start_s + max(
        call_s / plan.workers,
        gil_s / gils,
        core_s / work.host.cores,
        ship_s * len(units),
        wait_s / work.servers,
        max(u.call_s for u in units),
    )


def known_from_s(work: Workload) -> float:
    """When something can first be known: a call has ended, or has run for as long as the heartbeat needs."""
    first_s = work.units[0].call_s + work.slow_first_s
    if work.calls_per_unit > 1 and not work.slow_first_s:
        first_s = 0.0  # of tiny calls the first few have long ended
    return min(max(first_s, LISTEN_S), HEARTBEAT_S)


def best_fixed(work: Workload, from_s: float = 0.0, tolerance: float = 0.01) -> tuple[Plan, float]:
    """Runs the fixed plans, most promising first, until no other can be better by more than the tolerance."""
    loop_s = work.loop_s
    best, best_s = Plan.LOOP, loop_s
    for bound_s, plan in sorted((least_s(work, plan), plan) for plan in fixed_plans(work)):
        if bound_s >= best_s * (1 - tolerance):
            break
        seconds = Engine(work, plan, from_s).run().seconds
        if seconds < best_s:
            best, best_s = plan, seconds
    return best, best_s


# -- figures --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    name: str
    cores: float
    loop_s: float
    best: Plan
    best_s: float
    best_known_s: float
    ours: Plan
    ours_s: float
    switches: int

    @property
    def regret(self) -> float:
        return self.ours_s / self.best_s

    @property
    def regret_once_known(self) -> float:
        return self.ours_s / self.best_known_s

    @property
    def over_loop_s(self) -> float:
        """Seconds beyond what is promised: the loop, 5 % and 5 ms."""
        return self.ours_s - (1.05 * self.loop_s + 0.005)


def play(seed: int) -> Outcome:
    """Runs one random workload under the conductor and under the fixed plans."""
    work = workload(seed)
    result = Engine(work).run()
    assert result.finished == len(work.units)
    best, best_s = best_fixed(work)
    _, best_known_s = best_fixed(work, known_from_s(work))
    return Outcome(
        seed,
        work.name,
        work.host.cores,
        work.loop_s,
        best,
        best_s,
        best_known_s,
        result.plan,
        result.seconds,
        len(result.steps),
    )


def quantile(values: list[float], share: float) -> float:
    """The value below which that share of the sorted values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figures(outcomes: list[Outcome]) -> str:
    """The table that docs/choosing.md shows."""
    lines = [
        f"{'':24} {'':>6} {'regret':>7} {'':>7} {'':>7} {'once known':>15} {'':>7} {'':>9}",
        f"{'workload':24} {'runs':>6} {'median':>7} {'95 %':>7} {'worst':>7} {'median':>7} {'95 %':>7} "
        f"{'> loop':>7} {'switches':>9}",
    ]
    groups = [("all", outcomes)]
    groups += [(shape, [o for o in outcomes if o.name == shape]) for shape in SHAPES]
    for low, high in ((0, 0.02), (0.02, 0.2), (0.2, 2), (2, INF)):
        group = [o for o in outcomes if low <= o.best_s < high]
        groups.append((f"best takes {low:g}-{high:g} s", group))
    for low, high in ((0, 0.1), (0.1, 1), (1, 10), (10, INF)):
        group = [o for o in outcomes if low <= o.loop_s < high]
        groups.append((f"loop takes {low:g}-{high:g} s", group))
    for low, high in ((1, 2), (2, 9), (9, 65), (65, 1001)):
        groups.append((f"{low}-{high - 1} cores", [o for o in outcomes if low <= o.cores < high]))
    for name, group in groups:
        if not group:
            continue
        regrets = [o.regret for o in group]
        known = [o.regret_once_known for o in group]
        over = sum(o.over_loop_s > 0 for o in group)
        lines.append(
            f"{name:24} {len(group):6} {quantile(regrets, 0.5):7.3f} {quantile(regrets, 0.95):7.3f} "
            f"{max(regrets):7.2f} {quantile(known, 0.5):7.3f} {quantile(known, 0.95):7.3f} "
            f"{over:7} {max(o.switches for o in group):9}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--worst", type=int, default=0, help="also show so many of the worst runs")
    parser.add_argument("--show", type=int, help="show one seed in full")
    options = parser.parse_args()
    if options.show is not None:
        show(options.show)
        return
    seeds = range(options.first, options.first + options.runs)
    if options.jobs > 1:
        from multiprocessing import Pool

        with Pool(options.jobs) as pool:
            outcomes = pool.map(play, seeds, chunksize=20)
    else:
        outcomes = [play(seed) for seed in seeds]
    print(figures(outcomes))
    for outcome in sorted(outcomes, key=lambda o: -o.regret)[: options.worst]:
        print(outcome)
    for outcome in sorted(outcomes, key=lambda o: -o.over_loop_s)[: options.worst]:
        if outcome.over_loop_s > 0:
            print("beyond the loop:", outcome)


def show(seed: int) -> None:
    """Prints one run."""
    work = workload(seed)
    print(replace(work, units=work.units[:2]), len(work.units), "units; loop", work.loop_s)
    result = Engine(work).run()
    for asked in result.asked:
        print("prepare", asked)
    for step in result.steps:
        print("switch", step)
    print(
        "ours", result.seconds, "best", *best_fixed(work), "once known", *best_fixed(work, known_from_s(work))
    )


if __name__ == "__main__":
    main()
