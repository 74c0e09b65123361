"""Which plans are worth considering, and which of them cannot be had and why."""

from __future__ import annotations

from math import ceil, floor, inf

from whichpool._choose.bounds import load, size_in_words
from whichpool._records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from whichpool._records import Demand, Host

__all__ = [
    "always_waiting",
    "candidates",
    "hired",
    "most_processes",
    "most_workers",
    "simplicity",
    "takes_part",
    "why_not",
]

# Most calls in progress at once that whichpool chooses by itself, on hosts with up to 64 cores. A guess: above it,
# servers and file-descriptor limits (1,024 soft on most Linux systems) give way before throughput grows.
MOST_WORKERS = 256
# On larger hosts: so many workers a core. A guess: calls that wait 3/4 of their time still fill the cores.
WORKERS_PER_CORE = 4
# Resident bytes of one worker process before one has been seen: a bare interpreter with pickle and the wire took
# 12-15 MB on Linux, CPython 3.11; the function's imports come on top. A guess.
UNSEEN_WORKER_BYTES = 40_000_000
# Share of the free memory that worker processes may take. A guess: leaves room for results in the parent.
MEMORY_SHARE = 0.8
# Copies of an item and its result that one busy worker holds: the frame and the object. From how the wire works.
COPIES = 2
# Processes for work that mostly waits, where threads are ruled out. A guess: 32 bare interpreters are half a gigabyte.
MOST_WAITING_PROCESSES = 32
# Below this share of waiting in a call, processes beyond the cores have nothing to cover. A choice.
LITTLE_WAITING = 0.02
# The same for threads inside worker processes, which fight over their GIL (`GIL_FIGHT`): what they could hide is within
# a few times the noise. Parsing with 6 % of waiting was slower with them, by 6 % to 30 %.
HIDDEN_WAITING = 0.10
# Of so few processes the caller's own is one, where it may be. A guess: of more it would be a small part, and who
# serves them needs its GIL, about 0.2 ms for each 10 ms of a worker.
MOST_TO_JOIN = 8
_KINDS = {"loop": 0, "threads": 1, "processes": 2, "mixed": 3}


def simplicity(plan: Plan) -> tuple[int, int, int]:
    """Sort key: the simpler plan first (loop, threads, processes, mixed; then fewer workers, then fewer processes)."""
    return _KINDS[plan.kind], plan.workers, plan.processes


def takes_part(plan: Plan, joins: bool) -> bool:
    """Says whether the caller's process is one of the plan's processes.

    It is, if it may be (``joins``), where each of them runs one call at a time, so that its GIL is free for who serves
    the others between two calls, and where they are few.
    """
    return joins and plan.threads == 1 and 2 <= plan.processes <= MOST_TO_JOIN


def hired(plan: Plan, joins: bool) -> int:
    """Returns how many worker processes a plan needs, the caller's own left out where it `takes_part`."""
    return plan.processes - takes_part(plan, joins)


def most_workers(host: Host, limit: int | None = None) -> int:
    """Returns the most calls in progress at once that may be chosen on this host."""
    most = max(MOST_WORKERS, WORKERS_PER_CORE * floor(host.cores))
    return most if limit is None else max(1, min(limit, most))


def most_processes(demand: Demand, host: Host, *, threads_ruled_out: bool = False) -> int:
    """Returns how many worker processes can be of use: the cores; more only to wait where threads may not."""
    cores = max(1, ceil(host.cores - 1e-6))
    if threads_ruled_out and demand.wait_s > LITTLE_WAITING * demand.call_s:
        return max(cores, MOST_WAITING_PROCESSES)
    return cores


def why_not(plan: Plan, demand: Demand, host: Host, ruled_out: Mapping[str, str]) -> str | None:
    """Says why a plan cannot be had; ``None``: it can."""
    if plan.threads > 1 and "threads" in ruled_out:
        return ruled_out["threads"]
    if not plan.processes:
        return None
    if "processes" in ruled_out:
        return ruled_out["processes"]
    if host.nested:
        return "this process is itself a worker"
    if host.memory_free_bytes is not None:
        payload = (demand.payload_bytes or 0.0) * COPIES * plan.threads
        each = (UNSEEN_WORKER_BYTES if host.worker_bytes is None else host.worker_bytes) + payload
        if plan.processes * each > MEMORY_SHARE * host.memory_free_bytes:
            free = size_in_words(host.memory_free_bytes)
            return f"{plan.processes} processes of {size_in_words(each)} do not fit in the {free} left"
    return None


def always_waiting(demand: Demand, workers: int) -> bool:
    """Whether so many threads would leave one GIL, and one core, idle for half of the time: processes add nothing."""
    return workers * (demand.gil_s + max(demand.native, 1.0) * demand.free_s) < 0.5 * demand.call_s


def candidates(
    demand: Demand,
    host: Host,
    items: float = inf,
    *,
    most: int | None = None,
    ruled_out: Mapping[str, str] | None = None,
) -> list[Plan]:
    """Returns the plans worth comparing; the loop is always the first, those that are ruled out are among them.

    Args:
        demand: What an item asks.
        host: The machine.
        items: How many are left: more workers than items are never of use.
        most: Most calls in progress at once; ``None``: `most_workers`.
        ruled_out: As in `View`; says only whether processes must stand in for threads.
    """
    top = max(1, min(most_workers(host) if most is None else most, ceil(items) if items < inf else 1 << 30))
    cores = max(1, floor(host.cores + 1e-6))
    plans = [Plan.LOOP]
    plans += [Plan(0, threads) for threads in _steps(2, top, cores)]
    lone = bool(ruled_out) and "threads" in (ruled_out or ())
    most_p = min(top, most_processes(demand, host, threads_ruled_out=lone))
    asks = load(demand, processes=True)
    waits = asks.wait_s > (HIDDEN_WAITING if host.gil else LITTLE_WAITING) * asks.call_s
    # A process of its own is worth it only beside another one, with one exception: none can be had.
    for processes in _steps(2, most_p, cores):
        plans.append(Plan(processes, 1))
        most_t = top // processes
        if waits and most_t > 1 and not lone:
            # So many calls fill the process's GIL, or its share of the cores; twice that hides most of the queueing.
            busy_s = max(asks.gil_s if host.gil else 0.0, asks.core_s * processes / host.cores)
            knee = asks.call_s / busy_s if busy_s > 0 else inf
            filled = min(_power_of_two(knee), most_t)
            wished = {filled, min(2 * filled, most_t), min(4 * filled, most_t)}
            plans += [Plan(processes, threads) for threads in sorted(wished) if threads > 1]
    return plans


def _steps(first: int, last: int, extra: int) -> list[int]:
    """Powers of two from first to last, last itself, and one more number of interest if it lies between."""
    if last < first:
        return []
    steps = {last}
    if first <= extra <= last:
        steps.add(extra)
    step = first
    while step < last:
        steps.add(step)
        step *= 2
    return sorted(steps)


def _power_of_two(number: float) -> int:
    """The least power of two that is not below the number, rounding errors aside (at most 2^20)."""
    power = 1
    while power < number * (1 - 1e-9) and power < 1 << 20:
        power *= 2
    return power
