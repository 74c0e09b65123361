"""How many items a second a plan can finish: four bounds of operational analysis, and what limits it in words.

    workers   N / (wait + gil + free + land)                every call occupies one worker until it ends
    gils      G / (gil + land)                              no limit on a free-threaded build
    cores     C / (native * (gil + free) + land + ship)     computing, wherever it happens
    parent    1 / ship                                      only where there are worker processes

No real system exceeds any of them (Denning & Buzen 1978; Lazowska et al. 1984, ch. 5). Near the knee, where the
number of workers just fills the bottleneck, it stays below: calls queue. `rate` counts that queue in (Schweitzer's
approximation of mean value analysis, in closed form for one bottleneck), so that it tells 8 threads from 16.
"""

from __future__ import annotations

from math import inf, sqrt

from whichpool._record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._records import Demand, Host, Plan

__all__ = ["Bounds", "Load", "bounds", "limit_in_words", "load", "rate", "size_in_words"]

# Seconds of the parent (and of the worker) for one item where the payload was not measured. A guess: pickling a small
# object takes 1-2 us, its share of a batch's wake-up about as much again.
UNMEASURED_SHIP_S = 5e-6
# A bound is named as the limit if it is within this share of the least one; ties go to the scarcer resource, since
# "one GIL is full" says more than "the worker is busy".
SAME_BOUND = 0.02
# Share of a call spent waiting from which "the workers only wait" is a fair description. A choice of words.
MOSTLY_WAITING = 0.5
# Threads that queue for one GIL take it from each other (a switch every 5 ms, and a wake-up on another core): each one
# in the queue costs the holder this share, up to so many of them. Measured with ast parsing of 2 ms an item, 2-core
# Linux, CPython 3.11: 2 processes x 2 threads 6 % slower than 2 processes, x 4 threads 14-30 %. Beyond: not measured.
GIL_FIGHT = 0.06
MOST_FIGHTERS = 3.0
# Floor for a call's duration, seconds: keeps a Demand of zeros from dividing by zero. Below any Python call (30 ns).
LEAST_CALL_S = 1e-9


@record(frozen=True, slots=True)
class Load:
    """What one item asks under one family of plans, in seconds: the Demand with shipping filled in."""

    wait_s: float
    gil_s: float
    """Under a GIL, in the process that runs the call; landing counted."""
    free_s: float
    core_s: float
    """Core-seconds, native threads and both ends of shipping counted."""
    call_s: float
    """From the start of the call to its end where nothing queues; landing counted."""
    ship_s: float


@record(frozen=True, slots=True)
class Bounds:
    """Items a second that each resource allows; ``inf``: it does not bind."""

    workers: float
    gils: float
    cores: float
    parent: float

    @property
    def least(self) -> float:
        """What the plan cannot exceed."""
        return min(self.workers, self.gils, self.cores, self.parent)


def load(demand: Demand, *, processes: bool, shipped: float = 1.0) -> Load:
    """Returns what one item asks in this process, or in worker processes, where that share of the items is shipped."""
    computing_s = demand.gil_s + demand.free_s
    core_s = max(demand.native, 1.0) * computing_s
    if not processes:
        call_s = max(demand.wait_s + computing_s, LEAST_CALL_S)
        return Load(demand.wait_s, demand.gil_s, demand.free_s, core_s, call_s, 0.0)
    ship_s = shipped * (UNMEASURED_SHIP_S if demand.ship_s is None else demand.ship_s)
    land_s = shipped * (UNMEASURED_SHIP_S if demand.land_s is None else demand.land_s)
    return Load(
        demand.wait_s,
        demand.gil_s + land_s,
        demand.free_s,
        core_s + land_s + ship_s,
        max(demand.wait_s + computing_s + land_s, LEAST_CALL_S),
        ship_s,
    )


def bounds(asks: Load, host: Host, plan: Plan, most_calls: float = inf) -> Bounds:
    """Returns the four operational bounds.

    Args:
        asks: From `load`, for this plan's family.
        host: Its cores, and whether there is a GIL.
        plan: The plan.
        most_calls: No more calls than this are in progress at once (``limit``, or so many items are left).
    """
    calls = min(float(plan.workers), most_calls)
    gils = min(float(max(plan.processes, 1)), most_calls)
    return Bounds(
        workers=calls / asks.call_s,
        gils=gils / asks.gil_s if host.gil and asks.gil_s > 0 else inf,
        cores=host.cores / asks.core_s if asks.core_s > 0 else inf,
        parent=1 / asks.ship_s if asks.ship_s > 0 else inf,
    )


def rate(asks: Load, host: Host, plan: Plan, most_calls: float = inf) -> float:
    """Returns the items a second to expect, queueing counted; at most the least bound, and equal to it with one worker.

    Cores and GILs are taken as equal stations that share the calls evenly. Never falls when ``host.cores`` rises.
    """
    calls = min(float(plan.workers), most_calls)
    gils = min(float(max(plan.processes, 1)), calls)
    found = calls / asks.call_s
    if host.gil and asks.gil_s > 0:
        away_s = asks.call_s - asks.gil_s
        held_per_s = _station(gils, calls / gils, asks.gil_s, away_s)
        found = min(found, held_per_s / (1 + _fight(calls / gils, held_per_s / gils, asks)))
    if asks.core_s > 0:
        if calls > host.cores:
            found = min(found, _station(host.cores, calls / host.cores, asks.core_s, asks.wait_s))
        found = min(found, host.cores / asks.core_s)
    if asks.ship_s > 0:
        found = min(found, 1 / asks.ship_s)
    return found


def _fight(calls: float, per_s: float, asks: Load) -> float:
    """The share by which threads that queue for one GIL slow each other down.

    By Little's law ``calls - per_s * away_s`` of them are at the GIL, ``per_s * gil_s`` of these hold it. A call that
    mostly waits gives the GIL up of its own accord, when it has done what it wanted: it counts for that much less.
    """
    if calls <= 1:
        return 0.0
    queue = max(0.0, calls - per_s * asks.call_s)
    return GIL_FIGHT * min(queue, MOST_FIGHTERS) * asks.gil_s / asks.call_s


def _station(stations: float, calls: float, busy_s: float, away_s: float) -> float:
    """Throughput of equal servers, each with ``calls`` calls that hold it ``busy_s`` and are away ``away_s``.

    With Q the mean number at the server, Schweitzer sets the queue that a call meets to Q * (calls - 1) / calls; for
    one server that is a quadratic in the time spent there.
    """
    if calls <= 1:
        return stations * calls / (busy_s + away_s)
    excess_s = busy_s * calls - away_s
    there_s = (excess_s + sqrt(excess_s * excess_s + 4 * busy_s * away_s)) / 2
    return stations * calls / (away_s + there_s)


def limit_in_words(demand: Demand, host: Host, plan: Plan, limit: int | None = None) -> str:
    """Says which bound limits the plan, as a clause: "one GIL is full", "the workers only wait", ..."""
    asks = load(demand, processes=plan.processes > 0)
    all_four = bounds(asks, host, plan, inf if limit is None else limit)
    nearly = all_four.least * (1 + SAME_BOUND)
    if all_four.parent <= nearly:
        payload = demand.payload_bytes
        return (
            f"shipping {size_in_words(payload)} an item"
            if payload and payload >= 1000
            else "shipping the items"
        )
    if all_four.gils <= nearly and plan.processes < host.cores:
        return "one GIL is full" if plan.processes <= 1 else f"{plan.processes} GILs are full"
    if all_four.cores <= nearly:
        return "the cores are full" if host.cores > 1 else "the core is full"
    if limit is not None and plan.workers >= limit > 1:
        return f"limit={limit} calls at once"
    if asks.wait_s >= MOSTLY_WAITING * asks.call_s:
        return "the workers only wait" if plan.workers > 1 else "it only waits"
    return "every worker is busy" if plan.workers > 1 else "one call at a time"


def size_in_words(size_bytes: float) -> str:
    """Returns a size as people say it (powers of 1000): ``16 MB``, ``1.5 kB``, ``80 bytes``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.3g} {unit}"
    return f"{size_bytes:.0f} bytes"
