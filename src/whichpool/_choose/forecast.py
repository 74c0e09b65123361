"""How long the rest of the work takes under each plan, from here: start-up, steady throughput and the uneven end."""

from __future__ import annotations

from math import ceil, inf, log, sqrt

from whichpool._choose.bounds import bounds, limit_in_words, load, rate
from whichpool._choose.plans import (
    always_waiting,
    candidates,
    hired,
    most_workers,
    simplicity,
    takes_part,
    why_not,
)
from whichpool._records import Plan, PlanRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from whichpool._choose.bounds import Load
    from whichpool._records import Demand, Host

__all__ = ["NOISE", "Forecast", "rank"]

# Plans whose predictions differ by less than this are the same, and the simpler one wins. From the issue: timings on
# a quiet machine repeat within about 5 %.
NOISE = 0.05
# Spread beyond which more of it does not lengthen the predicted end: a sample of a heavy tail says little. A guess.
MOST_SPREAD = 2.0


class Forecast:
    """Predicts, for one moment of a run, the seconds that each plan needs for the rest.

    Args:
        demand: What an item asks.
        host: The machine and its start costs.
        items: Items left; those in progress may be counted in part.
        current: The plan in force.
        ready: Worker processes that are up.
        joins: Whether the caller's process may be one of the plan's.
        starting_s: Seconds since worker processes were asked for; ``None``: they were not.
        limit: The most calls in progress at once.
        warm_up_s: Seconds that the first call in each process takes longer.
        used: So many worker processes have that behind them.
        learnt: Corrects a predicted rate by what was measured: ``(plan, items a second) -> items a second``.
    """

    __slots__ = (
        "_at_home",
        "_away",
        "_away_in_part",
        "_current_per_s",
        "_learnt",
        "_most_calls",
        "_spread",
        "_used",
        "_warm_up_s",
        "current",
        "demand",
        "host",
        "items",
        "joins",
        "ready",
        "starting_s",
    )

    def __init__(
        self,
        demand: Demand,
        host: Host,
        items: float,
        *,
        current: Plan = Plan.LOOP,
        ready: int = 0,
        joins: bool = False,
        starting_s: float | None = None,
        limit: int | None = None,
        warm_up_s: float = 0.0,
        used: int = 0,
        learnt: Callable[[Plan, float], float] | None = None,
    ) -> None:
        self.demand = demand
        self.host = host
        self.items = items
        self.current = current
        self.ready = ready
        self.joins = joins
        self.starting_s = starting_s
        self._learnt = learnt
        self._warm_up_s = warm_up_s
        self._used = used
        self._most_calls = min(inf if limit is None else limit, max(1, ceil(items)) if items < inf else inf)
        self._spread = min(demand.spread or 0.0, MOST_SPREAD)
        self._at_home = load(demand, processes=False)
        self._away = load(demand, processes=True)
        self._away_in_part: dict[int, Load] = {}  # by processes, where one of them is the caller's
        self._current_per_s = self.rate_per_s(current)

    def asks(self, plan: Plan) -> Load:
        """What one item asks under this plan."""
        if not plan.processes:
            return self._at_home
        if not takes_part(plan, self.joins):
            return self._away
        found = self._away_in_part.get(plan.processes)
        if found is None:
            shipped = (plan.processes - 1) / plan.processes
            found = self._away_in_part[plan.processes] = load(self.demand, processes=True, shipped=shipped)
        return found

    def rate_per_s(self, plan: Plan) -> float:
        """Items a second while there is plenty to do, corrected by what was measured."""
        found = self.model_per_s(plan)
        return found if self._learnt is None else self._learnt(plan, found)

    def model_per_s(self, plan: Plan) -> float:
        """The same by the model alone."""
        return rate(self.asks(plan), self.host, plan, self._most_calls)

    def seconds(self, plan: Plan) -> float:
        """Seconds to the end of the work if this plan is begun now."""
        if self.items <= 0:
            return 0.0
        if plan == self.current:
            return self.items / self._current_per_s + self._end_s(plan)
        now_per_s, per_s = self._current_per_s, self.rate_per_s(plan)
        first_s, others_s = self._start_s(plan)
        left = self.items - now_per_s * first_s  # what is in force goes on meanwhile
        if left <= 0:
            return self.items / now_per_s
        warm_up_s = self._warm_up_s if plan.processes > self._used else 0.0
        if takes_part(plan, self.joins):  # the caller's process has that behind it
            left -= min(left, self.rate_per_s(Plan.LOOP) * warm_up_s)
        # Each worker begins as it comes: throughput rises evenly to what it will be.
        growing = (now_per_s + per_s) / 2 * others_s
        if left >= growing:
            return first_s + others_s + warm_up_s + (left - growing) / per_s + self._end_s(plan)
        slope = (per_s - now_per_s) / others_s
        rising_s = 2 * left / (now_per_s + sqrt(now_per_s * now_per_s + 2 * slope * left))
        return first_s + rising_s + warm_up_s + self._end_s(plan)

    def _start_s(self, plan: Plan) -> tuple[float, float]:
        """Seconds until the first of the plan's new workers is up, and from then until the last one is."""
        start = self.host.start
        if not plan.processes:
            running = self.current.threads if not self.current.processes else 1
            return 0.0, start.thread_s * max(0, plan.threads - running)
        missing = hired(plan, self.joins) - self.ready
        threads_s = start.thread_s * (plan.threads - 1)
        if missing <= 0:
            return 0.0, threads_s
        if self.ready:
            return 0.0, threads_s + start.worker_s * (missing + 1)
        first_s = start.first_worker_s
        if self.starting_s is not None:  # never quite there until it is: a late start may be later yet
            first_s = max(first_s - self.starting_s, 0.1 * first_s)
        return first_s, threads_s + start.worker_s * (missing - 1)

    def _end_s(self, plan: Plan) -> float:
        """Seconds at the end during which some workers have nothing left to do.

        Even items come in rounds, the last one of which may be nearly empty; uneven ones leave one late worker: of N
        exponential durations the longest is about ln N means above the mean.
        """
        calls = min(float(plan.workers), self._most_calls)
        if calls <= 1:
            return 0.0
        asks = self.asks(plan)
        rounds = self.items / calls
        even = (ceil(rounds) - rounds) * (1 - min(self._spread, 1.0))
        end_s = asks.call_s * max(even, self._spread * log(calls))
        if not self.host.gil or asks.gil_s <= 0 or asks.free_s <= 0:
            return end_s
        # Calls that begin together also queue together, first for the GIL and then for the cores: in the first round
        # (and in the last) one of the two stands idle.
        held_s = asks.gil_s * calls / min(float(max(plan.processes, 1)), calls)
        return end_s + min(held_s, asks.free_s * max(0.0, calls / self.host.cores))


def rank(
    demand: Demand,
    host: Host,
    remaining: float,
    *,
    current: Plan = Plan.LOOP,
    ready: int = 0,
    limit: int | None = None,
    ruled_out: Mapping[str, str] | None = None,
    measured: Mapping[Plan, float] | None = None,
    forecast: Forecast | None = None,
    also: Iterable[Plan] = (),
) -> tuple[PlanRow, ...]:
    """Compares all plans worth considering.

    Args:
        demand: What an item asks.
        host: The machine.
        remaining: Items left.
        current: The plan in force, which costs nothing to start.
        ready: Worker processes that are up.
        limit: The most calls in progress at once.
        ruled_out: ``"threads"`` or ``"processes"`` -> why.
        measured: Items a second of plans that ran; copied into their rows.
        forecast: Predicts; by default one made from the arguments above.
        also: Further plans to list.

    Returns:
        The best plan first: the simplest one of those within the noise of the soonest end; then the others that can
        be had, by predicted seconds; last those that cannot be had.
    """
    ruled_out = ruled_out or {}
    measured = measured or {}
    if forecast is None:
        forecast = Forecast(demand, host, remaining, current=current, ready=ready, limit=limit)
    plans = candidates(demand, host, remaining, most=most_workers(host, limit), ruled_out=ruled_out)
    timed = [
        (forecast.seconds(plan), plan, why_not(plan, demand, host, ruled_out))
        for plan in {*plans, *also, Plan.LOOP}
    ]
    timed.sort(key=lambda row: (row[2] is not None, row[0], simplicity(row[1])))
    soonest_s = timed[0][0]
    if "threads" not in ruled_out and always_waiting(demand, most_workers(host, limit)):
        soonest_s = min(row[0] for row in timed if row[2] is None and not row[1].processes)
        timed.sort(key=lambda row: row[1].processes > 0)
    near_s = soonest_s * (1 + NOISE)
    within = [row for row in timed if row[2] is None and row[0] <= near_s]
    first = min(within, key=lambda row: simplicity(row[1]))
    timed.remove(first)
    timed.insert(0, first)
    most_calls = inf if limit is None else limit
    return tuple(
        PlanRow(
            plan=plan,
            bound_per_s=bounds(forecast.asks(plan), host, plan, most_calls).least,
            limit=limit_in_words(demand, host, plan, limit),
            predicted_s=seconds,
            measured_per_s=measured.get(plan),
            why_not=why,
        )
        for seconds, plan, why in timed
    )
