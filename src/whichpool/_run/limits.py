"""Time limits and further tries: what they need is brought in here, for the runs that ask for them."""

from __future__ import annotations

from whichpool._pools.overtime import look_every_s
from whichpool._run.timekeeper import Timekeeper
from whichpool.errors import DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._run.run import Run

__all__ = ["start_clock"]


def start_clock(run: Run) -> Timekeeper:
    """Bring in who sees to the run's time limits and further tries."""
    options, work = run.options, run.work
    clock = Timekeeper(work.fail)
    kept = True
    if options.timeout is not None:
        from whichpool._run.patience import Patience

        work.timeout_s = options.timeout
        kept = clock.every(look_every_s(options.timeout), Patience(run, options.timeout).look)
    if options.deadline is not None:
        kept = clock.after(options.deadline, lambda: _time_is_up(run)) and kept
    if not kept:
        run.notes.append("time limits are not kept, because no thread could be started")
    if options.retry is not None:
        from whichpool._run.again import Again

        work.again = Again(options.retry, work.give_back, run.is_loop, clock)
    return clock


def _time_is_up(run: Run) -> None:
    if run.work.is_open():
        run.out_of_time = True
        run.work.fail(
            DeadlineExceeded(
                f"deadline={run.options.deadline:g} s is over, and {run.work.done} items are done; "
                "whichpool.salvage has their results, as far as they are without a gap"
            )
        )
