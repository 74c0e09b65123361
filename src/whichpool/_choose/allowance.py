"""How many calls of one key (a host, a disk) may be in progress at once, found by trying, for as long as the run lasts.

    measure    the level in force, over a round of calls
    up         a higher level: kept if throughput follows, else back
    down       after that a lower one: kept if throughput does not fall, else back
    hold       so many rounds at the level in force, then up again, since what answers may have more to give by now

Throughput at a level is level x (what was done / seconds that calls took), by Little's law. What was done is counted in
calls and in what the caller says (bytes), and the count that is surer of itself decides. A level is left only where the
difference is beyond its standard error, so that sizes that vary a lot move nothing. A call that says that there were
too many halves the level, once for all that had begun before, as TCP does for one loss.

Where this process itself is what is full (threads that take turns at one GIL), more calls only pass it round: then half
as many are tried before more are, and half of that, for as long as throughput does not fall.

Events and times go in; it reads no clock.
"""

from __future__ import annotations

from math import inf, log, sqrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

__all__ = ["Allowance"]

# A round has so many calls for each that may be in progress, and so many in all, at the least. Guesses: two, so that
# most have begun among others of that level, and one while levels double, so that a distant host is asked for twice as
# much after each round trip; of less than six no spread can be told.
ROUND = 2
FIRST_ROUND = 1
LEAST_CALLS = 6
# Where the difference is within its error, a round goes on for so many calls for each in progress. A guess.
LONGEST_ROUND = 12
# Levels double until one brings nothing; later steps are by this factor, which bounds how far from the best it rests.
STEP = 1.25
STEP_DOWN = 0.8
# A step counts if it brings this share of what it would bring if all scaled: the middle between all and nothing.
FOLLOWS = 0.5
# A difference of so many standard errors counts, and more of them for a lower level, so that what is called wrongly is
# called so to the side of more. Guesses, tried in the simulation in tests/choose.
ERRORS = 1.5
ERRORS_DOWN = 2.5
# Calls that end while fewer than this share of the level are in progress say nothing about it. A guess.
FULL = 0.75
# With so much CPU a second of the one core that threads with a GIL have, less is tried before more. Below 1, since
# handing the GIL on takes time that is nobody's CPU: 2,000 small files from loopback took 1.1 with 16 connections, 0.9
# with one; with 20 ms of latency 0.3 to 0.6.
BUSY = 0.85
# Then a step up must bring so many times the throughput, and a step down may cost as much, told by so many calls at the
# least. Guesses: noise is as much, and fewer threads leave more of the machine to others.
WORTH = 1.05
LEAST_BUSY = 16
# Rounds at a level before it is tried anew; doubled each time that nothing came of it or that it was too much. Guesses.
HOLD_ROUNDS = 4
MOST_HOLD_ROUNDS = 32


class _Round:
    """What calls took and did at one level: sums, from which a ratio and its error follow."""

    __slots__ = ("amount", "amount2", "calls", "cpu", "cross", "level", "since", "time", "time2")

    def __init__(self, level: int) -> None:
        self.level = level
        self.calls = 0
        self.since: float | None = None  # when the first call of it ended, and the CPU seconds until then
        self.cpu = 0.0
        self.time = self.time2 = self.amount = self.amount2 = self.cross = 0.0

    def add(self, seconds: float, amount: float) -> None:
        self.calls += 1
        self.time += seconds
        self.time2 += seconds * seconds
        self.amount += amount
        self.amount2 += amount * amount
        self.cross += seconds * amount

    def by_calls(self) -> tuple[float, float]:
        """Logarithm of calls a call-second, and its variance."""
        return self._ratio(self.calls, self.calls, self.time)

    def by_amount(self) -> tuple[float, float]:
        """Logarithm of what was done in a call-second, and its variance."""
        return self._ratio(self.amount, self.amount2, self.cross)

    def _ratio(self, done: float, done2: float, cross: float) -> tuple[float, float]:
        # The ratio estimator of sampling theory: var(y/x) / (y/x)^2 = sum (y - r x)^2 / (sum y)^2.
        if done <= 0 or self.time <= 0:
            return 0.0, inf
        r = done / self.time
        scatter = max(done2 - 2 * r * cross + r * r * self.time2, 0.0)
        return log(r), scatter / (done * done)


class Allowance:
    """The limit of one key.

    Args:
        first: Where it starts.
        most: It never goes beyond.
        fixed: It stays at ``first``.
    """

    __slots__ = (
        "_anew",
        "_base",
        "_ceiling",
        "_doubling",
        "_fixed",
        "_halved_at",
        "_hold",
        "_left",
        "_most",
        "_phase",
        "_round",
        "_since",
        "in_progress",
        "level",
        "paused_s",
        "paused_until",
        "slowed",
    )

    def __init__(self, first: int, most: int, *, fixed: bool = False) -> None:
        self.level = max(1, min(first, most))
        self.in_progress = 0
        self.slowed = 0  # how often it was halved
        self.paused_until = -inf
        self.paused_s = 0.0  # in all
        self._most = most
        self._fixed = fixed
        self._phase: Literal["measure", "up", "down", "hold"] = "measure"
        self._base: _Round | None = None  # the level that is known to be good
        self._ceiling: int | None = None  # levels beyond this were too much
        self._doubling = True
        self._anew = False  # the round at this level is the second
        self._hold = HOLD_ROUNDS
        self._left = 1  # rounds that it holds still; at first, that are made again
        self._halved_at = self._since = -inf
        self._round = _Round(self.level)

    def room(self, now: float) -> int:
        """How many more calls may begin; 0 or less: none now."""
        return 0 if now < self.paused_until else self.level - self.in_progress

    @property
    def settled(self) -> int:
        """The level that is known to be good: not the one that is only being tried."""
        base = self._base
        return self.level if base is None else base.level

    def begin(self) -> None:
        """A call begins."""
        self.in_progress += 1

    def leave(self) -> None:
        """A call is not in progress any more."""
        self.in_progress -= 1

    def did(self, now: float, began: float, amount: float = 1.0, cpu_s: float = 0.0) -> None:
        """A call that began then has now done so much; it is still counted as in progress.

        Args:
            now: The time, in seconds.
            began: When the call began.
            amount: What it did.
            cpu_s: CPU seconds of this process so far, where its threads have one core between them.
        """
        if self._fixed or began < self._since or self.in_progress < FULL * self.level:
            return
        made = self._round
        if made.since is None:
            made.since, made.cpu = now, cpu_s
        made.add(max(now - began, 0.0), amount)
        grows = self._doubling and self._phase in ("measure", "up")
        if made.calls >= max((FIRST_ROUND if grows else ROUND) * self.level, LEAST_CALLS):
            self._judge(now, cpu_s - made.cpu >= BUSY * (now - made.since) > 0)

    def too_much(self, now: float, began: float) -> None:
        """A call that began then was told that there are too many."""
        if self._fixed or began < self._halved_at:
            return
        self.slowed += 1
        base = self._base
        if self._phase == "up" and base is not None:
            self._ceiling = base.level
        else:
            self._ceiling = max(1, min(int(self.level * STEP_DOWN), self.level - 1))
        self._halved_at = now
        self._doubling = False
        self._hold = min(2 * self._hold, MOST_HOLD_ROUNDS)
        self._base = None
        self._enter(max(1, self.level // 2), "measure", now)

    def pause(self, now: float, seconds: float) -> bool:
        """Nothing begins for so long; whether that is longer than it was so far."""
        until = now + seconds
        if until <= self.paused_until:
            return False
        self.paused_s += until - max(self.paused_until, now)
        self.paused_until = until
        return True

    def _enter(self, level: int, phase: Literal["measure", "up", "down", "hold"], now: float) -> None:
        self.level, self._phase, self._since, self._anew = level, phase, now, False
        self._round = _Round(level)

    def _judge(self, now: float, busy: bool) -> None:
        """A round is over; this process was busy in it, or was not."""
        made, base = self._round, self._base
        if self._phase == "hold":
            self._left -= 1
            self._base = made
            if self._left > 0:
                self._round = _Round(self.level)
            else:
                self._try_more(now, held=True)
            return
        if base is None:
            if busy and self._left:
                self._left = 0  # what is loaded at the start takes CPU, too: once more
                self._round = _Round(self.level)
                return
            self._base = made
            if busy:
                self._try_less(now, busy)
            else:
                self._try_more(now)
            return
        if busy and made.calls >= LEAST_BUSY:
            # At once, by what was seen: what a wrong step costs here is less than what finding out would.
            follows: bool | None = self._gain(base, made)[0] > (
                log(WORTH) if made.level > base.level else -log(WORTH)
            )
        elif busy:
            return
        else:
            follows = self._follows(base, made)
        if follows is None:
            if made.calls < LONGEST_ROUND * max(made.level, base.level):
                return
            # Still within the error: what is known to be good stays.
            follows = self._phase == "up" and self._follows(base, made, sure=False)
        if self._phase == "up":
            if follows:
                self._base = made
                self._hold = HOLD_ROUNDS if self._ceiling is None else self._hold
                if self._ceiling is not None and made.level > self._ceiling:
                    self._ceiling = None
                self._try_more(now)
                return
            if self._doubling and not self._anew and not busy:
                # The first calls at a level may be longer than all that follow: each makes a connection. Once more.
                self._anew, self._since, self._round = True, now, _Round(self.level)
                return
            self._doubling = False
            self._try_less(now, busy)
        elif follows:  # a lower level does as much
            self._base = made
            self._doubling = False
            self._try_less(now, busy)
        elif self._doubling:  # it was busy, and not for nothing
            self.level = base.level
            self._try_more(now)
        else:
            self._rest(now)

    def _follows(self, base: _Round, made: _Round, sure: bool = True) -> bool | None:
        """Whether throughput follows the step up; of a step down: whether it does not. ``None``: it cannot be told."""
        up = made.level > base.level
        gain, variance = self._gain(base, made)
        gain -= log(1 + FOLLOWS * (made.level / base.level - 1))
        if sure and abs(gain) <= (ERRORS if up else ERRORS_DOWN) * sqrt(variance):
            return None
        return gain > 0

    @staticmethod
    def _gain(base: _Round, made: _Round) -> tuple[float, float]:
        """Logarithm of how many times the throughput of ``base`` the other one had, and its variance."""
        best: tuple[float, float] = (0.0, inf)
        for before, after in (
            (base.by_calls(), made.by_calls()),
            (base.by_amount(), made.by_amount()),
        ):
            if before[1] + after[1] < best[1]:
                best = after[0] - before[0], before[1] + after[1]
        return log(made.level / base.level) + best[0], best[1]

    def _try_more(self, now: float, held: bool = False) -> None:
        """The level in force is good: the next one, if there is one."""
        level = self.level
        ceiling = self._ceiling
        if level >= self._most:
            if held:
                self._try_less(now)
            else:
                self._rest(now)
            return
        if ceiling is not None and level >= ceiling:
            if not held:
                self._rest(now)
                return
            above = level + 1
        else:
            above = 2 * level if self._doubling else max(level + 1, round(STEP * level))
            if ceiling is not None:
                above = min(above, ceiling)
        self._enter(min(above, self._most), "up", now)

    def _try_less(self, now: float, busy: bool = False) -> None:
        """More brought nothing, or cannot bring anything: perhaps less does as much."""
        base = self._base
        assert base is not None
        below = base.level // 2 if busy else min(round(STEP_DOWN * base.level), base.level - 1)
        if below < 1:
            self._rest(now)
        else:
            self._enter(below, "down", now)

    def _rest(self, now: float) -> None:
        """Stay at the level that is known to be good, for some rounds; longer each time."""
        base = self._base
        assert base is not None
        self._left = self._hold
        self._hold = min(2 * self._hold, MOST_HOLD_ROUNDS)
        self._enter(base.level, "hold", now)
