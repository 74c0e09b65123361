"""What a function asked of the machine in an earlier run: believed in the first moments of the next one.

A run has to watch a call or two before it knows what they do, and what it then decides comes too late for what has
begun: of calls that wait first and compute then, many threads begin as many as they are, where processes were the
answer. Who calls `map` with the same function again need not pay for that again.

It is believed only as long as what is seen agrees with it, and until some calls of this run have ended. It decides
nothing that could be wrong: which plan is tried first, no more.
"""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from whichpool._record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._records import Demand

# Functions that are remembered; beyond, the one that was not seen for longest is forgotten.
MOST_FUNCTIONS = 256
# So many calls must have ended for their demand to be worth remembering; and so many of a run speak for themselves.
ENOUGH_CALLS = 4
# The demand that is believed counts as if so many calls had been seen. A guess: few, so that a call that outlasts
# it counts.
AS_IF_CALLS = 8
# A call in progress must have run for so long to agree or not. Seconds: one beat.
LOOK_S = 0.001
# A call agrees if it takes no more than this many times what is remembered, more where calls are uneven, and so many
# seconds; one in progress, unless more of it than this share is against that: while whichpool decides, a call that
# computes waits for the GIL. Guesses.
TIMES = 2.0
SLACK_S = 0.0005
MOST_OF_IT = 0.6
# Less waiting than this share of a call is not remembered: calls that ran beside whichpool's own work have waited for
# the GIL, up to a sixth of 10 ms.
LITTLE_WAITING = 0.25

_known: dict[Any, Demand] = {}


class Earlier:
    """The demand of an earlier run, until this one speaks for itself, or against it."""

    __slots__ = ("_demand", "_over")

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._over = False

    @property
    def call_s(self) -> float | None:
        """Seconds of one call, as long as it is believed."""
        return None if self._over else self._demand.call_s

    def complete(self, seen: Demand | None) -> Demand | None:
        """What to go by: what was seen in this run, or what is remembered if that agrees with it.

        Args:
            seen: The demand so far; of 0 samples it is that of a call in progress.
        """
        if self._over or seen is None:
            return seen
        if not seen.samples and seen.call_s < LOOK_S:
            return seen
        if seen.samples >= ENOUGH_CALLS or not self._agrees(seen):
            self._over = True
            return seen
        known = self._demand
        return replace(
            known,
            samples=AS_IF_CALLS,
            ship_s=known.ship_s if seen.ship_s is None else seen.ship_s,
            land_s=known.land_s if seen.land_s is None else seen.land_s,
            payload_bytes=known.payload_bytes if seen.payload_bytes is None else seen.payload_bytes,
        )

    def _agrees(self, seen: Demand) -> bool:
        known, times = self._demand, TIMES * (1.0 + (self._demand.spread or 0.0))
        much_s = 0.0 if seen.samples else MOST_OF_IT * seen.call_s
        if seen.wait_s > max(times * known.wait_s + SLACK_S, much_s):
            return False
        if seen.gil_s + seen.free_s > max(times * (known.gil_s + known.free_s) + SLACK_S, much_s):
            return False
        return not seen.samples or times * seen.call_s + SLACK_S > known.call_s


def recall(fn: Any) -> Earlier | None:
    """What is remembered of the function; ``None``: nothing."""
    if not _known:
        return None
    demand = _known.get(_key(fn))
    return None if demand is None else Earlier(demand)


def remember(fn: Any, demand: Demand | None) -> None:
    """Keep what a run has found out about the function, if that is enough."""
    key = _key(fn)
    if key is None or demand is None or demand.samples < ENOUGH_CALLS:
        return
    if demand.wait_s < LITTLE_WAITING * demand.call_s:
        demand = replace(demand, wait_s=0.0)
    _known.pop(key, None)
    _known[key] = demand
    for oldest in list(_known)[:-MOST_FUNCTIONS]:
        _known.pop(oldest, None)


def _key(fn: Any) -> Any:
    """What functions have in common that are likely to ask the same; ``None``: it is not known.

    The code: a function that is defined anew for each call, as a lambda is, has the same. A callable object is not
    remembered: its class may stand for any work.
    """
    while type(fn) is partial:
        fn = fn.func
    if type(fn) is MethodType:
        return (type(fn.__self__), getattr(fn.__func__, "__code__", None))
    if type(fn) is FunctionType:
        return fn.__code__
    if type(fn) is BuiltinFunctionType and isinstance(fn.__self__, ModuleType):
        return fn
    return None
