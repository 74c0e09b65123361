"""What the items that are left will ask, judged from the calls that ended and from those still running."""

from __future__ import annotations

from math import sqrt

from whichpool._record import replace
from whichpool._records import Demand, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._choose.records import View
    from whichpool._records import Host

__all__ = ["expected_demand", "expected_items", "steadied", "untried"]

# A running call is expected to take as long again as it has run (ski rental: never worse than twice the best).
AS_LONG_AGAIN = 2.0
# A running call says something new once it is so much older than the mean of those that ended. A guess.
OUTLASTS = 3.0
# In the loop a single long call is an exception more often than a change of the work: it is set against so many
# finished ones. A guess: against 16, one call that took 25 times the others sent calls of 10 us to worker processes.
OUTWEIGHED_BY = 64
# Among so many calls, one is taken for an exception if the others take less than this share of the mean; at least the
# last share is left of it. Guesses: with nine or more calls the mean itself is fair.
FEW_CALLS = 8
ONE_OUTWEIGHS = 0.4
LEAST_OTHERS = 0.05
# So many finished calls stand behind an estimate at most: older ones fade out of the engine's running mean. A guess.
MEMORY_CALLS = 16
# Estimates differ if they are further apart than so many standard errors, spread / sqrt(calls). The usual 95 %.
STANDARD_ERRORS = 2.0
# What shipping costs is known only by a few items until worker processes have run: who leaves the loop for them reckons
# with so many times as much. A guess: for calls of microseconds it decides, and may be taken for less than it is.
SHIPPING_MAY_COST = 1.5
# Where the length is unknown, starting threads may cost this share of the time already spent. A choice: with the
# loop's own few percent it stays within the promise.
SHARE_FOR_THREADS = 0.1
# And at most for so many items: as many as calls are begun at first. A guess.
MOST_FOR_THREADS = 64.0
# Where the length is unknown, so many times what was begun is hoped for where hope costs little: threads, and the
# start of worker processes beside the work. A guess: of runs of all lengths alike, more than half go on for so long.
HOPE = 4.0


def expected_demand(view: View, host: Host) -> Demand | None:
    """Returns what one of the remaining items is expected to ask; ``None``: nothing is known yet."""
    demand, oldest_s = view.demand, view.oldest_s
    if demand is None:
        return None
    if demand.samples == 0:  # the times are "so far"
        return _scaled(demand, AS_LONG_AGAIN)
    call_s = demand.call_s
    if oldest_s is None or call_s <= 0:
        return demand
    if demand.samples == 1 and view.plan.workers == 1 and AS_LONG_AGAIN * oldest_s < call_s:
        # The first call may have been slow for once (an import, a cache): the second one must show that it was not.
        return _scaled(demand, max(AS_LONG_AGAIN * oldest_s / call_s, 1e-6))
    if 2 <= demand.samples <= FEW_CALLS and demand.spread:
        # Of few calls one may outweigh all others (again: the first). For one outlier among n equal calls, the others
        # take mean * (1 - spread / sqrt(n - 1)).
        others = 1 - demand.spread / sqrt(demand.samples - 1)
        if others < ONE_OUTWEIGHS:
            demand = _scaled(demand, max(others, LEAST_OTHERS))
            call_s = demand.call_s
    # Calls that share a GIL or the cores take longer: as many times as there are calls for each, at most.
    slower = max(view.plan.threads, view.plan.workers / host.cores, 1.0)
    alone_s = oldest_s / slower
    if alone_s > OUTLASTS * call_s:
        known = min(demand.samples, OUTWEIGHED_BY if view.plan == Plan.LOOP else MEMORY_CALLS)
        return _scaled(demand, (known + AS_LONG_AGAIN * alone_s / call_s) / (known + 1))
    return demand


def steadied(demand: Demand, view: View) -> Demand:
    """Returns no longer a call than the loop's own mean since it began, unless the difference is significant.

    The engine's estimate forgets, to see a change of the work; of very uneven calls it then sees the last long one.
    """
    if view.plan.workers > 1 or view.plan.processes or not demand.spread:
        return demand
    if view.plan_done < MEMORY_CALLS or demand.samples < MEMORY_CALLS:
        return demand
    mean_s, call_s = view.plan_age_s / view.plan_done, demand.call_s
    error = STANDARD_ERRORS * demand.spread / sqrt(MEMORY_CALLS)
    return _scaled(demand, mean_s / call_s) if call_s * (1 - error) < mean_s < call_s else demand


def untried(demand: Demand) -> Demand:
    """The same with dearer shipping: no worker process has shown yet what it costs."""
    if demand.ship_s is None or demand.land_s is None:
        return demand
    return replace(demand, ship_s=SHIPPING_MAY_COST * demand.ship_s, land_s=SHIPPING_MAY_COST * demand.land_s)


def expected_items(view: View, host: Host) -> tuple[float, float]:
    """Returns the items left to speed up: for steps that cost little, and for those that cost much.

    Little: to take threads, to start worker processes beside what runs. Much: to hand them the work. Items in progress
    count half: they cannot be moved, and on average half of them is done. Where the length is unknown, as much again
    as was begun is assumed to remain, and more is hoped for; at least as many items as threads could be started for
    in a small share of the time already spent.
    """
    if view.remaining is not None:
        movable = view.remaining - view.in_progress
        return (movable + view.in_progress / 2,) * 2 if movable > 0 else (0.0, 0.0)
    begun = float(view.done + view.in_progress)
    threads = min(SHARE_FOR_THREADS * view.now_s / max(host.start.thread_s, 1e-9), MOST_FOR_THREADS)
    return max(HOPE * begun, threads), begun


def _scaled(demand: Demand, factor: float) -> Demand:
    """The same kind of call, longer or shorter; shipping stays."""
    return Demand(
        wait_s=demand.wait_s * factor,
        gil_s=demand.gil_s * factor,
        free_s=demand.free_s * factor,
        ship_s=demand.ship_s,
        land_s=demand.land_s,
        payload_bytes=demand.payload_bytes,
        native=demand.native,
        samples=demand.samples,
        spread=demand.spread,
    )
