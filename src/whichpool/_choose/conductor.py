"""The state machine that picks the plan: a `View` goes in, actions come out. The loop never waits for it.

    listening   nothing is known yet: a call runs, nothing has come of it
    comparing   each step predicts the end under every plan, from here. What can be had at once (threads, workers that
                are up) is switched to on a clear gain; what must be started first is prepared while the rest goes on
    settled     the plan in force is the best: the same comparison, less often, with what was measured counted in

There is no state for "starting": processes that were asked for are one more fact in the comparison.
"""

from __future__ import annotations

from math import ceil, inf, sqrt

from whichpool._choose.bounds import MOSTLY_WAITING, load, rate
from whichpool._choose.expect import (
    OUTLASTS,
    STANDARD_ERRORS,
    expected_demand,
    expected_items,
    steadied,
    untried,
)
from whichpool._choose.forecast import NOISE, Forecast, rank
from whichpool._choose.ledger import Ledger, Stopwatch
from whichpool._choose.limiter import Limiter
from whichpool._choose.plans import (
    always_waiting,
    candidates,
    hired,
    most_workers,
    simplicity,
    takes_part,
    why_not,
)
from whichpool._choose.records import Prepare, Switch
from whichpool._choose.verdict import demand_in_words, no_verdict, seconds_in_words, verdict
from whichpool._record import record
from whichpool._records import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from whichpool._choose.records import Action, View
    from whichpool._records import Demand, Host, Verdict

__all__ = ["Conductor"]

# Calls at once before anything is known about what they wait for. ThreadPoolExecutor's ceiling on most machines (32),
# which servers have learnt to live with.
FIRST_CALLS = 64
# A call that has run so long without an end does not hold back others like it: each time that it doubles, so may they.
# Seconds. A guess: four times what the heartbeat needs to tell what a call does.
PATIENCE_S = 0.080
# Calls at once before the first one has ended, where there are many items and other processes may suit them better:
# so many, more for each further such time that the first one has only waited, and at most what the GIL of this process
# could do while all cores do the rest. Seconds. Guesses: what the heartbeat needs to tell what a call does.
FEW_UNSEEN = 8.0
FIRST_PATIENCE_S = 0.020
# Computing threads at once on a free-threaded build before they are seen to scale. A guess: calls that a hidden lock
# makes wait for each other cannot be taken back.
FIRST_FREE_THREADS = 4
# More of them may begin what would all be over in so many seconds one after another, a batch of tiny calls counted as
# one of the second length. Guesses: what is lost there if they do not scale is hardly more than a run may cost anyway.
UNPROVEN_S = 0.020
LEAST_BATCH_S = 0.001
# A plan is changed only if the predicted saving is this share of the rest, seconds; each return to a plan that was
# already left widens it by the second share. Guesses; the simulation in tests/choose shows that they do not oscillate.
DEAD_BAND = 0.12
DEAD_BAND_MORE = 0.10
# A return also needs two standard errors of what was measured, this share at most: a few uneven items prove nothing.
MOST_ERROR = 0.5
# Work that holds the GIL for this share of its calls goes back from processes to this one's GIL only by the model (they
# are too short to be shipped, say) or where the rest would take so much less: neighbours on the cores can make a
# quarter of a second of processes look like a loop. Guesses.
MOSTLY_GIL = 0.5
OVERWHELMING = 0.5
# Threads of this process are no stopgap where the GIL is held for this share of the computing, and waiting is below the
# second share of it. The heartbeat errs by more than the rest is worth: it took parsing, all GIL, for 70 %.
FIGHTS = 2 / 3
WORTH_COVERING = 0.25
# Savings below this are not worth a change, seconds. A guess: a switch costs a few wake-ups of 0.1 ms.
LEAST_GAIN_S = 0.001
# Throughput counts after so many seconds: batches of 5-20 ms arrive in lumps.
SECONDS_TO_MEASURE = 0.03
# More worker processes are held back for this share of a call while only first calls have ended. A guess.
HOLD = 0.1
# Worker processes begin nothing while the very first call computes, for so long: if it is slow only because it is the
# first (an import, a model that is loaded), they would be slow as well, and a quick loop would have been over before
# them. Seconds, guesses: as long as loading usually takes, where there are so many items for each core that waiting
# costs little beside them; else a small part of what a person notices. Where the loop goes on beside the workers, no
# more can be lost than the time until they begin: with many items they begin soon, if the code shows nothing that a
# first call would do for the others, and the call is not seen importing modules.
PATIENCE_WITH_MANY_S = 2.0
PATIENCE_BESIDE_S = 0.15
PATIENCE_WITH_FEW_S = 0.35
ROUNDS_TO_WAIT = 4.0
# Steps: while nothing is known; while processes start; at most. Seconds. Between, a share of the time spent so far,
# so that a late reaction never costs more than that share.
LISTEN_S = 0.001
STARTING_S = 0.005
SETTLED_S = 0.050
SHARE_OF_PAST = 0.05
FAILED = "worker processes could not be started"


@record(frozen=True, slots=True)
class _Choice:
    seconds: float
    plan: Plan


class Conductor:
    """Decides which plan runs the rest of the work.

    Args:
        host: The machine.
        limit: The most calls in progress at once; ``None``: as the host allows.
        start: The plan in force when the run begins.
    """

    def __init__(self, host: Host, *, limit: int | None = None, start: Plan = Plan.LOOP) -> None:
        # What it is doing; for tests and people, it decides nothing.
        self.phase: Literal["listening", "comparing", "settled"] = "listening"
        self._host = host
        self._limit = limit
        self._most = most_workers(host, limit)
        self._limiter = Limiter(max(FIRST_CALLS, ceil(host.cores)))
        self._scaling = Limiter(FIRST_FREE_THREADS)
        self._ledger = Ledger()
        self._watch = Stopwatch()
        self._measured: dict[Plan, float] = {}
        self._asked = 0  # processes that were asked for
        self._asked_at_s: float | None = None
        self._left = {start}  # plans that were in force
        self._returns = 0
        self._first_s = 0.0  # what the first call took, or has taken so far
        self._used = 0  # the most worker processes of a plan in force
        self._first_end_s = inf  # when the first call was seen to have ended
        self._next_s = LISTEN_S
        self._usable: int | None = None  # the most calls that limits by key had room for, so far

    def next_step_s(self) -> float:
        """Seconds until it wants to be asked again."""
        return self._next_s

    def step(self, view: View) -> tuple[Action, ...]:
        """Takes in what the engine sees, and returns what it should do now (usually nothing)."""
        self._follow(view)
        demand = expected_demand(view, self._host)
        if demand is None:
            self._next_s = LISTEN_S
            return ()
        self._pace(view)
        items, sure_items = expected_items(view, self._host)
        if items <= 0:
            self.phase = "settled"
            return ()
        self._learn(view, demand)
        demand = steadied(self._ledger.reconcile(demand), view)
        if not self._used and view.plan == Plan.LOOP:
            demand = untried(demand)
        forecast = self._forecast(view, demand, sure_items)
        choices = self._compare(view, forecast)
        actions: list[Action] = []
        hoped = forecast if items == sure_items else self._forecast(view, demand, items)
        prepare = self._prepare(view, hoped, choices if hoped is forecast else self._compare(view, hoped))
        if prepare is not None:
            actions.append(prepare)
        here = [choice for choice in choices if hired(choice.plan, view.joins) <= view.ready_processes]
        reachable = _simplest(self._without_fights(view, forecast, choices, here))
        if hoped is not forecast and not reachable.plan.processes and not view.plan.processes:
            # Unknown length: more items are hoped for, which is good enough for threads.
            forecast = hoped
            choices = self._compare(view, forecast)
            reachable = _simplest([choice for choice in choices if not choice.plan.processes])
        switch = self._switch(view, forecast, reachable)
        if switch is not None:
            actions.append(switch)
        self.phase = "comparing" if actions or view.processes == "starting" else "settled"
        return tuple(actions)

    def verdict(self, view: View, forced: Plan | None = None) -> Verdict:
        """Says which plan is in force or would be, and why.

        Predictions are for what remains; at the end of a run, for the same work again.

        Args:
            view: What the engine sees.
            forced: The plan that the caller asked for.
        """
        demand = expected_demand(view, self._host)
        if demand is None:
            return no_verdict(forced or view.plan, forced is not None)
        demand = self._ledger.reconcile(demand)
        over = view.remaining == 0
        items = float(max(1, view.done)) if over else max(1.0, expected_items(view, self._host)[1])
        rows = rank(
            demand,
            self._host,
            items,
            limit=self._limit,
            ruled_out=self._ruled_out(view),
            measured=self._measured,
            forecast=self._forecast(view, demand, items),
            also=(view.plan,) if forced is None else (view.plan, forced),
        )
        chosen = forced or (view.plan if over else rows[0].plan)
        return verdict(demand, rows, chosen, items=items, forced=forced is not None, over=over)

    # -- what is known ------------------------------------------------------------------------------------------

    def _follow(self, view: View) -> None:
        """Where limits by key have more room than ever, what was found out below says nothing about more calls."""
        usable, before = view.usable, self._usable
        if usable is None or (before is not None and usable <= before):
            return
        self._usable = self._limit = usable
        self._most = most_workers(self._host, usable)
        if before is not None:
            self._limiter.reset()
            self._scaling.reset()
            self._limiter.allowed = max(self._limiter.allowed, view.plan.workers)
            self._ledger.forget()
            self._watch.restart(view)

    def _learn(self, view: View, demand: Demand) -> None:
        """Takes in the measured throughput of the plan in force."""
        if view.rate_per_s is not None:
            self._measured[view.plan] = view.rate_per_s
        self._used = max(self._used, view.plan.processes)
        if view.demand is not None and view.demand.samples <= 1:
            self._first_s = max(self._first_s, view.demand.call_s)
        if demand.samples:
            self._first_end_s = min(self._first_end_s, view.now_s)
        if view.processes == "ready":
            self._asked = view.ready_processes
        if demand.samples and self._ledger.changed(demand):
            self._limiter.reset()
            self._scaling.reset()
            self._limiter.allowed = max(self._limiter.allowed, view.plan.workers)
            self._left = {view.plan}
            self._watch.restart(view)
        seen = self._watch.read(view)
        plan = view.plan
        if seen is None or plan.workers <= 1 or demand.samples == 0:
            return
        if view.latency_s is not None:
            for limiter in (self._limiter, self._scaling):
                limiter.observe(
                    plan.workers,
                    seen.finished,
                    seen.least_per_s,
                    seen.most_per_s,
                    view.latency_s,
                    demand.call_s,
                )
        if seen.seconds >= SECONDS_TO_MEASURE:
            asks = load(demand, processes=plan.processes > 0)
            waits = asks.wait_s >= MOSTLY_WAITING * asks.call_s
            predicted = rate(asks, self._host, plan, self._most)
            self._ledger.note(plan, seen, predicted, demand.spread or 0.0, waits=waits)

    def _ruled_out(self, view: View) -> Mapping[str, str]:
        if view.processes == "failed" and "processes" not in view.ruled_out:
            return {**view.ruled_out, "processes": FAILED}
        return view.ruled_out

    def _warm_up_s(self, demand: Demand) -> float:
        """What the first call in each process takes longer, as far as the first one of all showed it."""
        return self._first_s - demand.call_s if self._first_s > OUTLASTS * demand.call_s else 0.0

    def _forecast(self, view: View, demand: Demand, items: float) -> Forecast:
        starting_s = None
        if view.processes == "starting" and self._asked_at_s is not None:
            starting_s = view.now_s - self._asked_at_s
        return Forecast(
            demand,
            self._host,
            items,
            current=view.plan,
            ready=view.ready_processes,
            joins=view.joins,
            starting_s=starting_s,
            limit=self._limit,
            warm_up_s=self._warm_up_s(demand),
            used=self._used,
            learnt=self._ledger.correct,
        )

    # -- what to do about it ------------------------------------------------------------------------------------

    def _compare(self, view: View, forecast: Forecast) -> list[_Choice]:
        """Predicts the end under every plan that may be had, now or after a start."""
        ruled_out = self._ruled_out(view)
        demand = forecast.demand
        left = inf if view.remaining is None else float(view.remaining)
        plans = candidates(demand, self._host, left, most=self._most, ruled_out=ruled_out)
        ready = view.ready_processes
        # Workers are taken on as they come up, whatever their number.
        plans += {Plan(ready, plan.threads) for plan in plans if plan.processes > ready >= 2}
        if ready and takes_part(up := Plan(ready + 1, 1), view.joins):
            plans += {up for plan in plans if plan.processes > up.processes}
        waiting = "threads" not in ruled_out and always_waiting(demand, int(min(self._most, left)))
        most_threads, most_calls = self._allowed(view, demand, left)
        return [
            _Choice(forecast.seconds(plan), plan)
            for plan in plans
            if plan.workers <= (most_calls if plan.processes else most_threads)
            and not (plan.processes and waiting and plan != view.plan)
            and (plan == Plan.LOOP or why_not(plan, demand, self._host, ruled_out) is None)
        ]

    def _allowed(self, view: View, demand: Demand, left: float) -> tuple[float, float]:
        """The most threads of this process, and the most calls in worker processes, as far as they were tried."""
        allowed = self._limiter.allowed
        if demand.samples == 0:
            allowed = self._allowed_unseen(view, left)
        elif left <= 2 * FIRST_CALLS:
            allowed = max(allowed, int(left))  # rather than a last round of a few
        computes = demand.wait_s < MOSTLY_WAITING * demand.call_s
        threads = self._scaling.allowed if computes and not self._host.gil else allowed
        if computes and not self._host.gil and demand.samples:
            threads = max(threads, int(UNPROVEN_S / max(demand.call_s, LEAST_BATCH_S)))
        if computes and demand.samples:
            threads = min(threads, self._filling(demand))
        now = view.plan.workers
        return max(threads, now), self._most if computes else max(allowed, now)

    def _filling(self, demand: Demand) -> int:
        """The threads of this process that fill the cores with calls that compute; where they also wait, twice as many.

        On paper more would end together; measured, they get in each other's way (memory, caches, the GIL for a moment).
        """
        computing_s = demand.gil_s + demand.free_s
        fill = self._host.cores * demand.call_s / max(computing_s * max(demand.native, 1.0), 1e-9)
        return max(1, ceil(fill * (2 if demand.wait_s > WORTH_COVERING * computing_s else 1) - 1e-6))

    def _allowed_unseen(self, view: View, left: float) -> int:
        """The most calls at once before the first one has ended.

        What only waits so far may compute in the end (fetch, then parse), and calls that have begun cannot be moved
        to other processes. Where processes could take them, either all are begun (few items: then one round of
        waiting is all there is), or so few that the GIL of this process cannot become the longest queue.
        """
        cores = self._host.cores
        waited_s = view.oldest_s or 0.0
        if cores <= 2 or "processes" in self._ruled_out(view):
            # Who takes so long is not answering others instead.
            return int(min(float(self._most), FIRST_CALLS * max(1.0, waited_s / PATIENCE_S)))
        if left <= FIRST_CALLS:
            return FIRST_CALLS
        few = max(FEW_UNSEEN, left / (4 * cores))
        most = FIRST_CALLS if left == inf else max(FEW_UNSEEN, left / cores)
        return int(min(float(self._most), most, few * max(1.0, waited_s / FIRST_PATIENCE_S)))

    def _prepare(self, view: View, forecast: Forecast, choices: list[_Choice]) -> Prepare | None:
        """Starts worker processes if they would pay, compared with the best that can be had without them."""
        if view.processes == "failed":
            return None
        best = _simplest(choices)
        wanted = hired(best.plan, view.joins)
        if wanted <= max(self._asked, view.ready_processes):
            return None
        otherwise = _simplest(
            [choice for choice in choices if hired(choice.plan, view.joins) <= view.ready_processes]
        )
        saving_s = otherwise.seconds - best.seconds
        if saving_s <= max(DEAD_BAND * otherwise.seconds, LEAST_GAIN_S):
            return None
        self._asked, self._asked_at_s = wanted, view.now_s
        return Prepare(wanted, self._because(forecast, best, otherwise))

    def _without_fights(
        self, view: View, forecast: Forecast, choices: list[_Choice], here: list[_Choice]
    ) -> list[_Choice]:
        """Leaves out threads for calls that mostly hold the GIL where processes are the answer, and on their way.

        What threads could hide is little, and what they begin cannot be moved to the processes.
        """
        demand = forecast.demand
        computing_s = demand.gil_s + demand.free_s
        without = [
            choice for choice in here if choice.plan.processes or choice.plan in (Plan.LOOP, view.plan)
        ]
        if demand.samples == 1 and view.ready_processes + view.joins > 1 and view.demand is not None:
            # The second call must show whether all take as long as the first; if then processes are the answer, they
            # are there for them.
            as_the_first = self._forecast(view, view.demand, forecast.items)
            if min(here, key=lambda choice: as_the_first.seconds(choice.plan)).plan.processes:
                return without
        fights = self._host.gil and demand.gil_s >= FIGHTS * computing_s
        if not fights or demand.wait_s > WORTH_COVERING * computing_s:
            return here
        best = min(choices, key=lambda choice: choice.seconds).plan
        return without if best.processes > 1 else here

    def _first_still_computes(self, view: View, demand: Demand, beside: bool) -> bool:
        """Whether all that is known is one call that has not ended: it may be slow because it is the first.

        In each worker process the first call would be slow again, and begun ones cannot be taken back. ``beside``: the
        loop would go on beside the workers.
        """
        if demand.samples or demand.wait_s >= MOSTLY_WAITING * demand.call_s:
            return False
        many = view.remaining is not None and view.remaining >= ROUNDS_TO_WAIT * self._host.cores
        patience_s = PATIENCE_WITH_MANY_S if many else PATIENCE_WITH_FEW_S
        if beside and many and not view.keeps:
            patience_s = min(patience_s, view.importing_s + PATIENCE_BESIDE_S)
        return (view.oldest_s or 0.0) < patience_s

    def _switch(self, view: View, forecast: Forecast, best: _Choice) -> Switch | None:
        """Changes the plan on a clear gain over the one in force."""
        plan = view.plan
        if best.plan == plan or not view.may_switch or not self._may_leave(view, forecast, best.plan):
            return None
        if best.plan.processes > plan.processes and self._only_first_calls(view, forecast.demand):
            return None
        if plan == Plan.LOOP and best.plan.processes:
            beside = takes_part(best.plan, view.joins)
            if self._first_still_computes(view, forecast.demand, beside):
                return None
        why = why_not(plan, forecast.demand, self._host, self._ruled_out(view)) if plan != Plan.LOOP else None
        stay = _Choice(forecast.seconds(plan), plan)
        returns = best.plan in self._left
        if why is None:
            band = DEAD_BAND + DEAD_BAND_MORE * (self._returns + returns)
            if returns:
                if not (self._known(plan, forecast.demand) and self._known(best.plan, forecast.demand)):
                    return None
                error = STANDARD_ERRORS * (forecast.demand.spread or 0.0) / sqrt(max(view.plan_done, 1))
                band += min(error, MOST_ERROR)
            if plan.processes and not best.plan.processes and self._holds_the_gil(forecast, best.plan):
                band = max(band, OVERWHELMING)
            if stay.seconds - best.seconds <= max(band * stay.seconds, LEAST_GAIN_S):
                return None
        self._returns += returns
        self._left.add(best.plan)
        return Switch(best.plan, why or self._because(forecast, best, stay))

    def _known(self, plan: Plan, demand: Demand) -> bool:
        """Whether the plan was measured on the work as it is; of one call at a time the demand itself says enough."""
        return self._ledger.measured(plan) or (plan == Plan.LOOP and demand.samples > 0)

    def _holds_the_gil(self, forecast: Forecast, home: Plan) -> bool:
        """Whether only a slow measurement, and not the model, speaks for leaving processes for this one's GIL."""
        demand = forecast.demand
        if not self._host.gil or demand.gil_s < MOSTLY_GIL * demand.call_s or self._warm_up_s(demand):
            return False
        return forecast.model_per_s(home) < forecast.model_per_s(forecast.current)

    def _only_first_calls(self, view: View, demand: Demand) -> bool:
        """Whether all that ended may have been slow for once, each the first in its process; then it waits a little."""
        if not 1 <= demand.samples <= view.plan.processes + 1 or not view.plan.processes:
            return False
        return view.now_s - self._first_end_s < HOLD * demand.call_s

    def _may_leave(self, view: View, forecast: Forecast, plan: Plan) -> bool:
        """Whether the plan in force has had its chance: growing is free, all else waits for a round of calls."""
        now = view.plan
        if plan.processes > now.processes == 0:
            return True  # calls in progress stay where they are; the others need not join their queue
        if plan.processes >= now.processes and plan.workers >= now.workers:
            return True
        call_s = forecast.asks(now).call_s
        return view.plan_done >= now.workers or view.plan_age_s >= 2 * call_s + SECONDS_TO_MEASURE

    def _because(self, forecast: Forecast, best: _Choice, other: _Choice) -> str:
        return (
            f"{demand_in_words(forecast.demand)}, {forecast.items:,.0f} items left: "
            f"{best.plan} {seconds_in_words(best.seconds)}, {other.plan} {seconds_in_words(other.seconds)}"
        )

    def _pace(self, view: View) -> None:
        most_s = STARTING_S if view.processes == "starting" else SETTLED_S
        self._next_s = min(max(LISTEN_S, SHARE_OF_PAST * view.now_s), most_s)


def _simplest(choices: list[_Choice]) -> _Choice:
    """The simplest of the plans that are within the noise of the soonest end."""
    soonest_s = min(choice.seconds for choice in choices)
    near = [choice for choice in choices if choice.seconds <= soonest_s * (1 + NOISE)]
    return min(near, key=lambda choice: simplicity(choice.plan))
