"""Random workloads for the simulated engine; a workload is its seed."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from virtual_engine import Unit, Workload

from whichpool._records import Host, StartCosts

SHAPES = (
    "constant",
    "lognormal",
    "pareto",
    "phases",
    "first call slow",
    "heavy payload",
    "unknown length",
    "few servers",
    "dying workers",
    "warm",
    "free-threaded",
    "free-threaded in name",
)
# Half of all work is of one kind.
MIXES = ("wait", "wait", "gil", "gil", "free", "free", "wait+gil", "wait+gil", "wait+free", "gil+free", "all")


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _unit(rng: random.Random, call_s: float, mix: str) -> Unit:
    weights = [
        rng.uniform(0.1, 1.0) if part in mix or mix == "all" else 0.0 for part in ("wait", "gil", "free")
    ]
    scale = call_s / sum(weights)
    return Unit(*(weight * scale for weight in weights))


def workload(seed: int, most_units: int = 600) -> Workload:
    """Draws a workload: durations of 1 us to 2 s, the loop 10 ms to 1,000 s or so, 1-1,000 cores."""
    rng = random.Random(seed)
    shape = SHAPES[seed % len(SHAPES)]
    cores = rng.choice((1, 2, 2, 4, 8, round(_log_uniform(rng, 1, 1000)), round(_log_uniform(rng, 1, 1000))))
    call_s = _log_uniform(rng, 1e-6, 2.0)
    items = max(1, round(_log_uniform(rng, 0.01, 1000) / call_s))
    # The engine runs tiny calls in batches: equal ones are one unit here.
    size = 1
    if items > most_units:
        size = min(-(-items // most_units), max(1, round(0.005 / call_s)))
        items = min(items, size * most_units)
    number = max(1, items // size)
    base = _unit(rng, call_s * size, rng.choice(MIXES))
    units = [base] * number
    start = StartCosts(first_worker_s=rng.uniform(0.05, 0.12), worker_s=rng.uniform(0.003, 0.01))
    work = Workload(
        shape,
        (),
        Host(cores=float(cores), machine_cores=cores, start=start),
        calls_per_unit=size,
        ship_s=min(_log_uniform(rng, 1e-6, 5e-5), call_s),
        land_s=min(_log_uniform(rng, 1e-6, 5e-5), call_s),
        start_factor=rng.lognormvariate(0, 0.2),
        known_length=rng.random() < 0.9,
        seed=seed,
    )
    if shape == "lognormal":
        sigma = rng.uniform(0.3, 1.2)
        units = [_scaled(base, rng.lognormvariate(-sigma * sigma / 2, sigma)) for _ in units]
    elif shape == "pareto":
        alpha = rng.uniform(1.5, 2.5)
        units = [_scaled(base, min(rng.paretovariate(alpha), 200.0) * (alpha - 1) / alpha) for _ in units]
    elif shape == "phases":
        cuts = sorted(rng.randrange(number + 1) for _ in range(rng.choice((1, 1, 2))))
        kinds = [base] + [
            _unit(rng, call_s * size * _log_uniform(rng, 0.2, 5), rng.choice(MIXES)) for _ in cuts
        ]
        units = [kinds[sum(cut <= index for cut in cuts)] for index in range(number)]
    elif shape == "first call slow":
        work = replace(work, slow_first_s=base.call_s * _log_uniform(rng, 3, 300))
    elif shape == "heavy payload":
        factor = _log_uniform(rng, 0.02, 2)
        work = replace(
            work,
            ship_s=call_s * factor,
            land_s=call_s * factor * rng.uniform(0.3, 1),
            payload_bytes=1e9 * call_s,
        )
    elif shape == "unknown length":
        work = replace(work, known_length=False)
    elif shape == "few servers":
        work = replace(work, servers=float(round(_log_uniform(rng, 2, 128))))
    elif shape == "dying workers":
        work = replace(work, deaths=_log_uniform(rng, 0.0005, 0.02))
    elif shape == "warm":
        work = replace(work, warm=cores)
    elif shape.startswith("free-threaded"):
        work = replace(
            work,
            host=replace(work.host, gil=False),
            threads_share_a_gil=shape != "free-threaded",
        )
    return replace(work, units=tuple(units))


def _scaled(unit: Unit, factor: float) -> Unit:
    return Unit(unit.wait_s * factor, unit.gil_s * factor, unit.free_s * factor)
