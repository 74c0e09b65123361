"""Runs that are about the answer to "what would you do?", not about results."""

from __future__ import annotations

from time import perf_counter

from whichpool._host import costs, look
from whichpool._record import replace
from whichpool._records import StartCosts
from whichpool._run.options import length_of
from whichpool._run.reporting import report
from whichpool._run.run import LOOP, Run
from whichpool._run.sinks import ListSink
from whichpool.errors import CannotTravel, PlanError, SharedWrite, WorkerLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from whichpool._records import Hazard, Host, RunReport
    from whichpool._run.options import Options


def explain(fn: Any, iterables: tuple[Any, ...], options: Options, budget_s: float) -> RunReport:
    """Run items in the loop until the budget is spent, then report with the verdict for all of them."""
    number: object = budget_s
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
        raise PlanError(f"budget_s={budget_s!r} is not a number of seconds above 0")
    total = length_of(iterables)
    began = perf_counter()

    def first(items: Any) -> Iterator[Any]:
        for item in items:
            yield item
            if perf_counter() - began > budget_s:
                return

    run = Run(
        fn,
        tuple([first(items) for items in iterables]),
        options.replace(
            plan="auto", timeout=None, deadline=None, retries=0, journal=None, limit=options.most
        ),
        ListSink([]),
    )
    run.only_watch = True
    run.collect()
    done = run.work.done
    run.work.length = total
    made = report(run, wish=options.plan)
    if options.plan == "auto" or not done:
        return made
    return _with_refusal(made, _refusal(run, run.fixed_plan(options.plan), made.hazards, options))


def _refusal(run: Run, plan: tuple[int, int], hazards: tuple[Hazard, ...], options: Options) -> str | None:
    """Why `map` would not run the work on this plan, and what to do about it; ``None``: it would."""
    if plan == LOOP:
        return None
    from whichpool._measure.payload import pack
    from whichpool._run.fixed import Fixed

    run.options = options
    fixed = Fixed(run, plan)
    fixed.look_at_function()
    try:
        fixed.refuse(plan[0])
    except (CannotTravel, SharedWrite) as error:
        return str(error)
    # What was seen only while the sample ran; an item that is changed rules out processes, but is not guarded there.
    for hazard in hazards:
        if hazard not in run.hazards and "threads" in hazard.rules_out and not options.shared_ok:
            return (
                f"{hazard} Under plan={options.plan!r} the result could differ from the loop's; "
                'shared="ok" runs it all the same.'
            )
    if plan[0]:
        try:
            pack(run.job)
        except Exception as error:
            return (
                "the function cannot be pickled, so it cannot go to a worker process: "
                f"{type(error).__name__}: {error}. Make what it captures inside the function instead, or use "
                'plan="threads".'
            )
    return None


def _with_refusal(made: RunReport, refusal: str | None) -> RunReport:
    """The report of what was asked for says in its verdict, and in the row of that plan, that it would not run."""
    verdict = made.verdict
    rows = tuple([replace(row, why_not=refusal) if row.plan == verdict.plan else row for row in verdict.rows])
    if refusal is None:
        return replace(made, verdict=replace(verdict, rows=rows))
    reason = f"map would refuse to run it on {verdict.plan}: {refusal}"
    rows = tuple(sorted(rows, key=lambda row: row.why_not is not None))
    return replace(made, verdict=replace(verdict, reason=reason, rows=rows, runner_up=None, margin=None))


def examine(measured: bool) -> Host:
    """The host, with the start costs measured now if ``measured``."""
    if not measured:
        return look(fresh=True)
    import threading

    from whichpool._pools import fleet

    began = perf_counter()
    for _ in range(20):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    thread_s = (perf_counter() - began) / 20
    fleet.close()
    began = perf_counter()
    try:
        workers = fleet.lease(1)
        _until_ready(workers)
        first_s = perf_counter() - began
        began = perf_counter()
        more = fleet.lease(3)
        _until_ready(more)
        each_s = (perf_counter() - began) / 3
    except (fleet.CannotStart, EOFError) as error:
        raise WorkerLost(f"worker processes cannot be started: {error}") from error
    for worker in [*workers, *more]:
        fleet.give_back(worker)
    costs.record(first_worker_s=first_s, worker_s=each_s, thread_s=thread_s)
    return replace(look(fresh=True), start=StartCosts(thread_s, first_s, each_s, measured=True))


def _until_ready(workers: list[Any]) -> None:
    from select import poll

    poller = poll()
    waiting = {worker.fd: worker for worker in workers}
    for fd in waiting:
        poller.register(fd, 1)
    while waiting:
        for fd, _ in poller.poll(30_000):
            worker = waiting.get(fd)
            if worker is not None:
                for _frame in worker.receive():
                    pass
                if worker.pid is not None:
                    poller.unregister(fd)
                    del waiting[fd]
