"""The measured process: one workload, one peer; cold, then warm.

    items and function made   |clock| import peer, start pool, map  |clock| check   |clock| map |clock| check
    ...   close

Imports nothing heavy before the clock starts. Its last line of output is the record, as JSON.
"""

from __future__ import annotations

import sys
from time import perf_counter

from benchmarks.peers import PEERS
from benchmarks.suite import WORKLOADS, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from benchmarks.suite import Job

WARM_CALLS, WARM_S = 5, 0.3
"""Further calls with the same pool: this many, but none is begun after these seconds of them. Short ones are
noisier, so they get more; long ones would drag the run out."""


def measure(job: Job, made: Callable[[], Any], by_value: bool, warm: bool = True) -> dict[str, Any]:
    """Run ``job`` cold and, if ``warm``, up to `WARM_CALLS` times more with the same pool.

    Args:
        job: the workload.
        made: imports the peer, starts its pool, gives ``(mapper, close)``.
        by_value: whether the peer can send a closure; if not, it gets the portable form.
        warm: whether to call again.

    Returns:
        ``cold_s``, ``warm_s`` (a list), ``plans`` (for each call the plan that whichpool ended on, and its
        reason; empty for others) and ``close_s``; where something went wrong, ``error`` and ``kind``
        ("raised" or "wrong") too.
    """
    function = job.function if by_value or job.portable is None else job.portable
    times: list[float] = []
    plans: list[tuple[str, str]] = []
    record: dict[str, Any] = {"warm_s": times, "plans": plans}
    close: Callable[[], object] | None = None
    try:
        begin = perf_counter()
        mapper, close = made()
        results = mapper(function, job.items)
        record["cold_s"] = perf_counter() - begin
        _look(job, results, plans)
        while warm and len(times) < WARM_CALLS and sum(times) < WARM_S:
            del results  # so that no call pays for memory that the one before still holds
            begin = perf_counter()
            results = mapper(function, job.items)
            times.append(perf_counter() - begin)
            _look(job, results, plans)
    except BaseException as error:
        record["kind"] = "wrong" if isinstance(error, AssertionError) else "raised"
        record["error"] = f"{type(error).__name__}: {error}"[:500]
    if close is not None:
        begin = perf_counter()
        close()
        record["close_s"] = perf_counter() - begin
    return record


def _look(job: Job, results: Sequence[Any], plans: list[tuple[str, str]]) -> None:
    job.check(results)
    report = getattr(results, "report", None)
    if report is not None:
        plans.append((str(report.plan), report.verdict.reason))


def main() -> None:
    """Arguments: workload, peer, rate, scale, url, "cold" or "warm"."""
    workload, peer, rate, scale, url, mode = sys.argv[1:7]
    job = WORKLOADS[workload][1](Setting(float(rate), float(scale), url))
    _, made, by_value = PEERS[peer]
    record = measure(job, made, by_value, warm=mode == "warm")
    record["items"] = len(job.items)
    import json

    print("\n" + json.dumps(record), flush=True)
