"""What the plans that ran really brought, against what was predicted of them."""

from __future__ import annotations

from math import inf, sqrt

from whichpool._choose.expect import STANDARD_ERRORS
from whichpool._record import record
from whichpool._records import Demand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._choose.records import View
    from whichpool._records import Plan

__all__ = ["Ledger", "Progress", "Stopwatch"]

# A plan that brings less than this share of its prediction does not scale: more of the same is predicted to bring no
# more. A guess, well below what noise and queueing explain (0.85-1).
SCALES = 0.75
# A measured rate moves a prediction by at most these factors: one window is not the whole truth. Guesses.
LEAST_SHARE, MOST_SHARE = 0.05, 1.25
# Throughput is taken over at least so many seconds and rounds of calls, then the watch starts anew: long enough for
# batches of 5-20 ms that arrive in lumps, short enough to see a change. Guesses.
WATCH_S = 0.25
WATCH_ROUNDS = 8.0
# So many rounds of calls outweigh half of the prediction; uneven calls need more. A guess.
ROUNDS_TO_BELIEVE = 1.0
# Beside neighbours that take cores, worker processes fall short, and so would every other plan: what was not measured
# is corrected by the same share, down to this one. What is lost beyond it is the plan's own fault. A guess: a parse of
# 700 files on a shared 2-core machine fell to 0.58 of its prediction for a quarter of a second.
SHARED_FATE = 0.5
# After so many rounds of calls: the first in each process may be slow for once. A guess.
FATE_ROUNDS = 8.0
# The work counts as changed when a call's duration moves by this factor, or the share that it waits or holds the GIL
# by so much; the factor grows by half of the spread. Guesses: above the noise of an estimate, below any change that
# would call for another plan.
CHANGED_FACTOR = 2.5
CHANGED_SHARE = 0.3
# Of computing, the heartbeat takes so much for the wrong kind at the most. A guess: a third was seen as 30 to
# 35 %, parsing, all of it with the GIL, once as 70 %.
HEART_ERRS = 0.25


@record(frozen=True, slots=True)
class Progress:
    """How far a plan got in some time. Calls that were or are in progress leave a range of what it achieved."""

    seconds: float
    finished: int
    least_per_s: float
    most_per_s: float

    def within_error(self, spread: float) -> Progress:
        """The same, widened by what uneven items explain: a few long ones among few items move a rate by half."""
        error = STANDARD_ERRORS * spread / sqrt(max(self.finished, 1))
        least_per_s = self.least_per_s / (1 + error)
        most_per_s = self.most_per_s / max(1 - error, LEAST_SHARE)
        return Progress(self.seconds, self.finished, least_per_s, most_per_s)

    def rounds_overdue(self, predicted_per_s: float) -> float:
        """By how many times the time passed exceeds what the most possible would have taken as predicted."""
        return max(0.0, predicted_per_s / self.most_per_s - 1) if self.most_per_s > 0 else 0.0


class Stopwatch:
    """Times the plan in force by what the views say, window after window."""

    __slots__ = ("_at_s", "_done", "_plan", "_running")

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._at_s = 0.0
        self._done = 0
        self._running = 0

    def restart(self, view: View) -> None:
        """Starts a window now."""
        fresh = self._plan != view.plan
        self._plan, self._at_s, self._done = view.plan, view.now_s, view.done
        if fresh:
            self._at_s -= view.plan_age_s
            self._done -= view.plan_done
        self._running = 0 if fresh else view.in_progress

    def read(self, view: View) -> Progress | None:
        """Returns the progress since the window began; ``None``: it began just now."""
        if self._plan != view.plan:
            self.restart(view)
        seconds, finished = view.now_s - self._at_s, view.done - self._done
        if seconds <= 0:
            return None
        running = max(view.in_progress, view.plan.workers)
        seen = Progress(
            seconds, finished, max(0.0, finished - self._running) / seconds, (finished + running) / seconds
        )
        if seconds >= WATCH_S and finished >= WATCH_ROUNDS * running:
            self.restart(view)
        return seen


@record(frozen=True, slots=True)
class _Entry:
    per_s: float
    """Items a second as measured."""
    share: float
    """Measured / predicted, drawn toward what was believed before while little was measured; 1 at first."""
    waits: bool
    """Whether waiting limited the plan: then processes would wait just as well."""
    rounds: float
    """Calls that ended / calls at once, in the last window."""
    model_per_s: float
    """Items a second as predicted by the model alone."""


class Ledger:
    """Remembers measured throughput by plan, and corrects predictions by it, until the work changes."""

    __slots__ = ("_entries", "_most_gil_s", "_work")

    def __init__(self) -> None:
        self._entries: dict[Plan, _Entry] = {}
        self._work: Demand | None = None
        self._most_gil_s = inf

    def changed(self, demand: Demand) -> bool:
        """Whether the work is another than before; if so, what was learnt is forgotten."""
        before = self._work
        if before is None:
            self._work = demand
            return False
        now_s, then_s = max(demand.call_s, 1e-9), max(before.call_s, 1e-9)
        factor = CHANGED_FACTOR * (1 + (demand.spread or 0.0) / 2)
        same = (
            1 / factor < now_s / then_s < factor
            and abs(demand.wait_s / now_s - before.wait_s / then_s) < CHANGED_SHARE
            and abs(demand.gil_s / now_s - before.gil_s / then_s) < CHANGED_SHARE
        )
        if not same:
            self._work = demand
            self._entries.clear()
            self._most_gil_s = inf
        return not same

    def forget(self) -> None:
        """What the plans brought was for other circumstances."""
        self._entries.clear()

    def note(self, plan: Plan, seen: Progress, predicted_per_s: float, spread: float, *, waits: bool) -> None:
        """Takes in how far a plan got, and what the model alone predicts of it.

        Only what is certain counts: what was believed stands where it lies between the least and the most possible,
        the statistical error of uneven items counted in.
        """
        seen = seen.within_error(spread)
        if seen.least_per_s > 0 and seen.finished >= plan.workers:
            self._most_gil_s = min(self._most_gil_s, max(plan.processes, 1) / seen.least_per_s)
        rounds = seen.finished / plan.workers + seen.rounds_overdue(predicted_per_s)
        doubt = ROUNDS_TO_BELIEVE * (1 + 2 * spread * spread)
        own = self._entries.get(plan)
        believed = 1.0 if own is None else own.share
        nearest = min(max(predicted_per_s * believed, seen.least_per_s), seen.most_per_s)
        share = min(max(nearest / predicted_per_s, LEAST_SHARE), MOST_SHARE)
        share = (rounds * share + doubt * believed) / (rounds + doubt)
        self._entries[plan] = _Entry(nearest, share, waits, seen.finished / plan.workers, predicted_per_s)

    def reconcile(self, demand: Demand) -> Demand:
        """Corrects the share of computing that holds the GIL: the GIL cannot have been more than full.

        The utilization law, used backwards: X items a second under G GILs need gil_s <= G / X. The heartbeat takes a
        few percent of other computing for GIL; that would hide what dozens of cores can do. More than it errs by is no
        error of its: then the newest calls are longer than those that were counted, in both parts alike.
        """
        excess_s = min(demand.gil_s - self._most_gil_s, HEART_ERRS * (demand.gil_s + demand.free_s))
        if excess_s <= 0:
            return demand
        return Demand(
            wait_s=demand.wait_s,
            gil_s=demand.gil_s - excess_s,
            free_s=demand.free_s + excess_s,
            ship_s=demand.ship_s,
            land_s=demand.land_s,
            payload_bytes=demand.payload_bytes,
            native=demand.native,
            samples=demand.samples,
            spread=demand.spread,
        )

    def correct(self, plan: Plan, predicted_per_s: float) -> float:
        """Returns a predicted rate in the light of what was measured: of this plan, else of its family."""
        own = self._entries.get(plan)
        if own is not None:
            return predicted_per_s * own.share
        found = predicted_per_s * self._shared_fate(plan, predicted_per_s)
        if plan.workers > 1:
            for seen, entry in self._entries.items():
                if seen.kind == plan.kind:
                    found = min(found, predicted_per_s * entry.share)
                if entry.share < SCALES and seen.workers > 1:
                    found = min(found, _most_per_s(seen, entry, plan))
        return found

    def measured(self, plan: Plan) -> bool:
        """Whether the throughput of this plan is known for the work as it is now."""
        return plan in self._entries

    def _shared_fate(self, plan: Plan, predicted_per_s: float) -> float:
        """The share that is left to a plan that was not measured, where processes of one thread each fell short.

        They share no GIL and no lock, so that what slows them down is the machine: it would slow down others too.
        A plan that the model alone puts before them needs no such doubt.
        """
        if plan.processes:
            return 1.0
        shares = [
            entry.share
            for seen, entry in self._entries.items()
            if seen.kind == "processes" and not entry.waits and entry.rounds >= FATE_ROUNDS
            if predicted_per_s < entry.model_per_s
        ]
        return max(SHARED_FATE, min(1.0, *shares)) if shares else 1.0


def _most_per_s(seen: Plan, entry: _Entry, plan: Plan) -> float:
    """What a plan can reach at most, as another one did not scale.

    Where waiting limited that one, no plan with as many calls at once does better. Else its threads got in each
    other's way, and each further process brings as much again.
    """
    if entry.waits:
        return entry.per_s if plan.workers >= seen.workers else inf
    if seen.threads > 1 and plan.threads > 1:
        return entry.per_s * max(1.0, max(plan.processes, 1) / max(seen.processes, 1))
    if seen.processes and plan.processes >= seen.processes and plan.threads >= seen.threads:
        return entry.per_s
    return inf
