"""The engine in virtual time: exact discrete events, driven by the real `Conductor` or under a fixed plan.

Cores are shared evenly by whatever computes (processor sharing), each GIL by the threads of its process that hold or
want it; a call waits, computes under the GIL, computes without it, waits. The parent ships items one after another.
What the conductor sees is noisy, late, and sometimes wrong about the kind of computing. No clock is read and nothing
random is drawn without a seed: a run is its seed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from whichpool._choose import Conductor, Prepare, View
from whichpool._choose.plans import hired
from whichpool._records import Demand, Host, Plan, StartCosts

INF = math.inf
# The engine knows what a running call does after so many seconds (the heartbeat).
HEARTBEAT_S = 0.020
# A result from a worker process is seen this much later, seconds.
RESULT_LAG_S = 0.0005
# Throughput is measured over so many seconds at most.
WINDOW_S = 0.25


@dataclass(frozen=True, slots=True)
class Unit:
    """A batch of equal calls, run one after another by one thread: seconds of the whole batch."""

    wait_s: float
    gil_s: float
    free_s: float

    @property
    def call_s(self) -> float:
        return self.wait_s + self.gil_s + self.free_s


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be done, and the truth about it that the conductor has to find out."""

    name: str
    units: tuple[Unit, ...]
    host: Host
    calls_per_unit: int = 1
    ship_s: float = 0.0
    land_s: float = 0.0
    payload_bytes: float = 100.0
    known_length: bool = True
    slow_first_s: float = 0.0
    """What the first call in each process takes longer (an import, a cache), computing under the GIL."""
    servers: float = INF
    """So many waits are served at once; more of them share."""
    threads_share_a_gil: bool = True
    """The truth, where ``host.gil`` says otherwise: a free-threaded build that does not scale."""
    deaths: float = 0.0
    """The chance that a worker process dies with a unit."""
    warm: int = 0
    """Worker processes that an earlier call left."""
    start_factor: float = 1.0
    """True start costs / those that the host believes."""
    seed: int = 0

    @property
    def loop_s(self) -> float:
        return sum(unit.call_s for unit in self.units) + self.slow_first_s


class Process:
    """One process: its slots (threads) and its GIL, a server shared evenly by the calls in it."""

    __slots__ = (
        "attained",
        "holding",
        "idle",
        "name",
        "opened",
        "seen_phi",
        "slots",
        "version",
        "virgin",
        "wants",
    )

    def __init__(self, name: int) -> None:
        self.name = name
        self.slots = 0  # threads wished for
        self.opened = 0  # threads up
        self.idle = 0
        self.virgin = True
        self.wants: list[tuple[float, int, Call]] = []  # heap: attained service at which the call lets go
        self.attained = 0.0
        self.seen_phi = 0.0
        self.holding = 0
        self.version = 0


class Call:
    """A unit on its way through a slot."""

    __slots__ = ("begun_s", "first", "process", "step", "step_s", "steps", "unit")

    def __init__(self, unit: int, process: Process, steps: list[tuple[str, float]], begun_s: float) -> None:
        self.unit = unit
        self.process = process
        self.steps = steps
        self.step = -1
        self.first = process.virgin  # in its process
        self.begun_s = begun_s
        self.step_s = begun_s


@dataclass(slots=True)
class Estimate:
    """The engine's running estimate of the Demand, with its errors."""

    calls: int = 0
    wait_s: float = 0.0
    gil_s: float = 0.0
    free_s: float = 0.0
    mean_s: float = 0.0
    var: float = 0.0

    def add(self, wait_s: float, gil_s: float, free_s: float) -> None:
        self.calls += 1
        weight = 1 / min(self.calls, 16)
        self.wait_s += weight * (wait_s - self.wait_s)
        self.gil_s += weight * (gil_s - self.gil_s)
        self.free_s += weight * (free_s - self.free_s)
        off = wait_s + gil_s + free_s - self.mean_s
        self.mean_s += weight * off
        self.var = (1 - weight) * (self.var + weight * off * off)


@dataclass(slots=True)
class Result:
    seconds: float
    plan: Plan
    steps: list[tuple[float, Plan, str]] = field(default_factory=list)
    asked: list[tuple[float, int]] = field(default_factory=list)
    finished: int = 0
    peak: int = 0


class Engine:
    """Runs a workload, under a fixed plan or under a conductor.

    Args:
        work: What is to be done.
        plan: The fixed plan; ``None``: a `Conductor` decides.
        from_s: The fixed plan is begun then; before, and until its first worker process is up, the loop runs.
        joins: Whether the caller's process goes on beside worker processes; under a fixed plan it never does.
    """

    def __init__(
        self, work: Workload, plan: Plan | None = None, from_s: float = 0.0, *, joins: bool = True
    ) -> None:
        self.work = work
        self.host = work.host
        self.rng = random.Random(work.seed * 7919 + 1)
        self.fixed = plan
        self.joins = joins and plan is None
        self.from_s = from_s
        self.now = 0.0
        self.phi = 0.0  # seconds of computing that each computing call has had since the beginning
        self.psi = 0.0  # the same for waiting, where servers are few
        self.share = 1.0
        self.served = 1.0
        self.computing = 0
        self.waiting = 0
        self.seq = count()
        self.timers: list[tuple[float, int, str, object]] = []
        self.phis: list[tuple[float, int, object, int]] = []
        self.psis: list[tuple[float, int, Call]] = []
        self.home = Process(0)
        self.workers: list[Process] = []
        self.queue = deque(range(len(work.units)))
        self.shipped: deque[int] = deque()
        self.shipping = False
        self.busy = 0  # calls in progress
        self.calls: dict[int, Call] = {}  # by unit
        self.left = len(work.units)
        self.plan = Plan.LOOP
        self.plan_since = 0.0
        self.plan_done = 0
        self.result = Result(0.0, Plan.LOOP)
        self.estimate = Estimate()
        self.others = False  # whether calls ended that were not the first in their process
        self.unseen: deque[tuple[float, int, float, bool]] = deque()
        self.seen: list[float] = []  # when
        self.seen_s: list[float] = [0.0]  # durations, summed
        self.done = 0
        self.asked = 0
        self.up = 0
        self.starting = 0
        self.last_up_s = 0.0  # when the last worker asked for will be up
        # Computing taken for the other kind, as measured: 94-100 % of beats for Python code, 0-1 % for zlib.
        self.gil_missed = self.rng.uniform(0, 0.06)
        self.gil_imagined = self.rng.uniform(0, 0.01)
        self.ship_guess = self.rng.lognormvariate(0, 0.3)
        self.actual = StartCosts(
            self.host.start.thread_s * work.start_factor,
            self.host.start.first_worker_s * work.start_factor,
            self.host.start.worker_s * work.start_factor,
        )
        self.gil = work.threads_share_a_gil

    # -- time -----------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        for _ in range(self.work.warm):
            self._worker_up()
        conductor = None
        if self.fixed is None:
            conductor = Conductor(self.host)
            self._slots(self.home, 1, instantly=True)
            heappush(self.timers, (conductor.next_step_s(), next(self.seq), "step", None))
        elif self.from_s > 0:
            self._slots(self.home, 1, instantly=True)
            heappush(self.timers, (self.from_s, next(self.seq), "begin", None))
        elif self.fixed.processes:
            self._prepare(self.fixed.processes)
            self._adopt(self.fixed)
        else:
            self._slots(self.home, 1, instantly=True)
            self._adopt(self.fixed)
        patience_s = 100 * (self.work.loop_s + 1)
        while self.left:
            self._advance(conductor)
            assert self.now < patience_s, "the simulated engine hangs"
        self.result.seconds = self.now + (RESULT_LAG_S if self.plan.processes else 0.0)
        self.result.plan = self.plan
        return self.result

    def _advance(self, conductor: Conductor | None) -> None:
        at, what = INF, ""
        if self.timers:
            at, what = self.timers[0][0], "timer"
        phis = self.phis
        while phis:
            target, _, who, version = phis[0]
            if version >= 0 and who.version != version:  # type: ignore[attr-defined]
                heappop(phis)
                continue
            then = self.now + max(0.0, target - self.phi) / self.share
            if then < at:
                at, what = then, "phi"
            break
        if self.psis:
            then = self.now + max(0.0, self.psis[0][0] - self.psi) / self.served
            if then < at:
                at, what = then, "psi"
        assert at < INF, "the simulated engine hangs"
        passed = at - self.now
        self.now = at
        self.phi += passed * self.share
        self.psi += passed * self.served
        if what == "timer":
            _, _, kind, data = heappop(self.timers)
            self._timer(kind, data, conductor)
        elif what == "phi":
            target, _, who, version = heappop(phis)
            self.phi = max(self.phi, target)
            if version >= 0:
                self._gil_released(who)  # type: ignore[arg-type]
            else:
                self._computed(1)
                self._next_step(who)  # type: ignore[arg-type]
        else:
            target, _, call = heappop(self.psis)
            self.psi = max(self.psi, target)
            self._waits(-1)
            self._next_step(call)

    def _timer(self, kind: str, data: object, conductor: Conductor | None) -> None:
        if kind == "waited":
            self._next_step(data)  # type: ignore[arg-type]
        elif kind == "slot":
            process: Process = data  # type: ignore[assignment]
            if process.opened < process.slots:
                process.opened += 1
                process.idle += 1
                self._feed(process)
        elif kind == "worker":
            self.starting -= 1
            if not self.starting:
                self._computed(1)
            self._worker_up()
            if self.fixed is not None and self.plan != self.fixed:
                self._adopt(self.fixed)
        elif kind == "begin" and self.fixed is not None:
            self._prepare(self.fixed.processes)
            if self.up or not self.fixed.processes:
                self._adopt(self.fixed)
        elif kind == "shipped":
            self.shipping = False
            self._computed(1)
            if self.plan.processes:
                self.shipped.append(data)  # type: ignore[arg-type]
                self._feed_workers()
            else:
                self.queue.appendleft(data)  # type: ignore[arg-type]
                self._feed(self.home)
        elif kind == "step" and conductor is not None:
            for action in conductor.step(self._view()):
                if isinstance(action, Prepare):
                    self.result.asked.append((self.now, action.processes))
                    self._prepare(action.processes)
                else:
                    assert hired(action.plan, self.joins) <= self.up, "a plan that cannot be had"
                    self.result.steps.append((self.now, action.plan, action.reason))
                    self._adopt(action.plan)
            heappush(self.timers, (self.now + conductor.next_step_s(), next(self.seq), "step", None))

    def _computed(self, less: int) -> None:
        self.computing -= less
        self.share = min(1.0, self.host.cores / self.computing) if self.computing > 0 else 1.0

    def _waits(self, more: int) -> None:
        self.waiting += more
        self.served = min(1.0, self.work.servers / self.waiting) if self.waiting > 0 else 1.0

    # -- workers --------------------------------------------------------------------------------------------------

    def _prepare(self, processes: int) -> None:
        have = self.up + self.starting
        if processes > have and not self.starting:
            self._computed(-1)  # one after another: a start keeps one core busy
        for _ in range(processes - have):
            if self.up or self.starting:  # behind those that were asked for before
                self.last_up_s = max(self.last_up_s, self.now) + self.actual.worker_s
            else:
                self.last_up_s = self.now + self.actual.first_worker_s
            heappush(self.timers, (self.last_up_s, next(self.seq), "worker", None))
            self.starting += 1

    def _worker_up(self) -> None:
        process = Process(len(self.workers) + 1)
        process.seen_phi = self.phi
        self.workers.append(process)
        self.up += 1
        if self.plan.processes:
            self._slots(process, self.plan.threads)

    def _slots(self, process: Process, threads: int, *, instantly: bool = False) -> None:
        process.slots = threads
        idle_above = process.opened - threads
        if idle_above > 0:  # threads above the wish leave as they become idle
            gone = min(idle_above, process.idle)
            process.opened -= gone
            process.idle -= gone
        at = 0.0 if instantly or process.opened == 0 else self.actual.thread_s
        for _ in range(threads - process.opened):
            if at == 0.0:
                process.opened += 1
                process.idle += 1
            else:
                heappush(self.timers, (self.now + at, next(self.seq), "slot", process))
            at += self.actual.thread_s
        self._feed(process)

    def _adopt(self, plan: Plan) -> None:
        self.plan = plan
        self.plan_since = self.now
        self.plan_done = 0
        if plan.processes:
            workers = hired(plan, self.joins)
            self._slots(self.home, plan.processes - workers)
            for number, process in enumerate(self.workers):
                self._slots(process, plan.threads if number < workers else 0)
        else:
            while self.shipped:  # not begun: it comes back
                self.queue.appendleft(self.shipped.pop())
            for process in self.workers:
                self._slots(process, 0)
            self._slots(self.home, plan.threads)
        self._ship()

    # -- items ----------------------------------------------------------------------------------------------------

    def _feed(self, process: Process) -> None:
        if process is not self.home:
            self._feed_workers()
            return
        while process.idle > 0 and self.queue and process.opened <= process.slots:
            process.idle -= 1
            self._begin(self.queue.popleft(), process)

    def _feed_workers(self) -> None:
        if self.shipped:
            # The least loaded process first: threads of one process share its GIL.
            idle = sorted((p.opened - p.idle, p.name, p) for p in self.workers if p.idle > 0)
            for _, _, process in idle:
                if not self.shipped:
                    break
                process.idle -= 1
                self._begin(self.shipped.popleft(), process)
        self._ship()
        if self.shipped and any(p.idle > 0 for p in self.workers):
            self._feed_workers()

    def _ship(self) -> None:
        """Ships the next item, if a worker is free for it or will be soon."""
        while not self.shipping and self.queue and self.plan.processes and self.up:
            workers = hired(self.plan, self.joins)
            free = sum(p.idle for p in self.workers[:workers])
            if len(self.shipped) >= free + min(self.up, workers):
                return
            unit = self.queue.popleft()
            if self.work.ship_s <= 0:
                self.shipped.append(unit)
                if free > 0:
                    self._feed_workers()
                continue
            self.shipping = True
            self._computed(-1)
            slow = self.work.ship_s * self.work.calls_per_unit / self.share
            heappush(self.timers, (self.now + slow, next(self.seq), "shipped", unit))

    def _begin(self, number: int, process: Process) -> None:
        unit = self.work.units[number]
        gil_s = unit.gil_s
        if process is not self.home:
            gil_s += self.work.land_s * self.work.calls_per_unit
        if process.virgin:
            gil_s += self.work.slow_first_s
        steps = [("wait", unit.wait_s / 2), ("gil", gil_s), ("free", unit.free_s), ("wait", unit.wait_s / 2)]
        call = Call(number, process, [step for step in steps if step[1] > 0], self.now)
        process.virgin = False
        self.calls[number] = call
        self.busy += 1
        if process is not self.home and self.work.deaths and self.rng.random() < self.work.deaths:
            self._die(call)
            return
        self._next_step(call)

    def _die(self, call: Call) -> None:
        """The worker loses this unit (named in an error); the engine starts another process. Others are re-run."""
        process = call.process
        self._finish(call, lost=True)
        process.virgin = True
        heappush(self.timers, (self.now + self.actual.worker_s, next(self.seq), "slot", process))
        if process.idle > 0:
            process.idle -= 1
            process.opened -= 1

    def _next_step(self, call: Call) -> None:
        call.step += 1
        call.step_s = self.now
        if call.step >= len(call.steps):
            self._finish(call)
            return
        kind, seconds = call.steps[call.step]
        if kind == "wait":
            if self.work.servers < INF:
                self._waits(1)
                heappush(self.psis, (self.psi + seconds, next(self.seq), call))
            else:
                heappush(self.timers, (self.now + seconds, next(self.seq), "waited", call))
        elif kind == "free" or not self.gil:
            self._computed(-1)
            heappush(self.phis, (self.phi + seconds, next(self.seq), call, -1))
        else:
            self._gil_wanted(call, seconds)

    def _gil_wanted(self, call: Call, seconds: float) -> None:
        process = call.process
        if process.holding:
            process.attained += (self.phi - process.seen_phi) / process.holding
        else:
            self._computed(-1)
        process.seen_phi = self.phi
        process.holding += 1
        heappush(process.wants, (process.attained + seconds, next(self.seq), call))
        self._gil_next(process)

    def _gil_next(self, process: Process) -> None:
        process.version += 1
        if process.wants:
            target = self.phi + (process.wants[0][0] - process.attained) * process.holding
            heappush(self.phis, (target, next(self.seq), process, process.version))

    def _gil_released(self, process: Process) -> None:
        process.attained, _, call = heappop(process.wants)
        process.seen_phi = self.phi
        process.holding -= 1
        if not process.holding:
            self._computed(1)
        self._gil_next(process)
        self._next_step(call)

    def _finish(self, call: Call, *, lost: bool = False) -> None:
        process = call.process
        del self.calls[call.unit]
        self.busy -= 1
        self.left -= 1
        self.result.finished += 1
        self.result.peak = max(self.result.peak, self.busy + 1)
        if not lost:
            lag = 0.0 if process is self.home else RESULT_LAG_S
            self.unseen.append((self.now + lag, call.unit, self.now - call.begun_s, call.first))
        else:
            self.done += self.work.calls_per_unit
        if process.opened > process.slots:
            process.opened -= 1
            return
        process.idle += 1
        self._feed(process)

    # -- what the conductor sees ------------------------------------------------------------------------------------

    def _view(self) -> View:
        work, size = self.work, self.work.calls_per_unit
        alone = self.plan.workers == 1
        while self.unseen and self.unseen[0][0] <= self.now:
            when, number, took_s, first = self.unseen.popleft()
            self.done += size
            if when >= self.plan_since:
                self.plan_done += size
            self.seen.append(when)
            self.seen_s.append(self.seen_s[-1] + took_s)
            self._sample(work.units[number], took_s, alone, first=first)
        oldest = min((call.begun_s for call in self.calls.values()), default=None)
        since = max(self.plan_since, self.now - max(WINDOW_S, 4 * self.estimate.mean_s))
        first = bisect_left(self.seen, since)
        ended = len(self.seen) - first
        rate = latency = None
        if ended >= 2 and self.now - since > 0.005:
            rate = ended * size / (self.now - since)
            latency = (self.seen_s[-1] - self.seen_s[first]) / ended / size
        processes = "none"
        if self.starting:
            processes = "starting"
        elif self.up:
            processes = "ready"
        return View(
            now_s=self.now,
            done=self.done,
            remaining=len(work.units) * size - self.done if work.known_length else None,
            in_progress=self.busy * size,
            oldest_s=None if oldest is None else (self.now - oldest) / (size if self.estimate.calls else 1),
            demand=self._demand(),
            plan=self.plan,
            plan_age_s=self.now - self.plan_since,
            plan_done=self.plan_done,
            rate_per_s=rate,
            latency_s=latency,
            processes=processes,  # type: ignore[arg-type]
            ready_processes=self.up,
            ruled_out={},
            joins=self.joins,
        )

    def _sample(self, unit: Unit, took_s: float, alone: bool, *, first: bool) -> None:
        rng, size = self.rng, self.work.calls_per_unit
        # The first call in each process may be slow: it counts only until there are others.
        if first and self.others:
            return
        if not first and not self.others:
            self.others = True
            self.estimate = Estimate()
        gil_s = unit.gil_s + (self.work.slow_first_s if first and size == 1 else 0.0)
        noise = rng.lognormvariate(0, 0.05)
        wait_s = unit.wait_s * rng.lognormvariate(0, 0.03)
        if not alone:  # some of the queueing for GIL and cores is taken for waiting
            wait_s += min(max(0.0, took_s - unit.call_s) * rng.uniform(0, 0.1), 0.5 * unit.call_s)
        self.estimate.add(
            wait_s / size,
            noise * (gil_s * (1 - self.gil_missed) + unit.free_s * self.gil_imagined) / size,
            noise * (unit.free_s * (1 - self.gil_imagined) + gil_s * self.gil_missed) / size,
        )

    def _demand(self) -> Demand | None:
        work, found = self.work, self.estimate
        seen_ship = self.plan.processes > 0 and self.plan_done > 0
        factor = 1.0 if seen_ship else self.ship_guess
        parts = [found.wait_s, found.gil_s, found.free_s]
        spread: float | None = math.sqrt(found.var) / found.mean_s if found.mean_s > 0 else 0.0
        alone = work.calls_per_unit > 1 and work.slow_first_s > 0  # the slow call is judged by itself
        if (
            not found.calls and work.calls_per_unit > 1 and not alone
        ):  # tiny calls: the first few have long ended
            self._sample(work.units[0], 0.0, alone=True, first=False)
            found.calls = 1
        if not found.calls:
            call = min(self.calls.values(), key=lambda call: call.begun_s, default=None)
            if call is None or self.now - call.begun_s < HEARTBEAT_S:
                return None
            so_far = {"wait": 0.0, "gil": 0.0, "free": 0.0}
            for kind, seconds in call.steps[: call.step]:
                so_far[kind] += seconds
            so_far[call.steps[call.step][0]] += self.now - call.step_s
            parts = [seconds / (1 if alone else work.calls_per_unit) for seconds in so_far.values()]
            spread = None
        return Demand(
            *parts,
            ship_s=work.ship_s * factor,
            land_s=work.land_s * factor,
            payload_bytes=work.payload_bytes,
            samples=found.calls * work.calls_per_unit,
            spread=spread,
        )
