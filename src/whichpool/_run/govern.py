"""The conductor's hands: look at the run, ask the conductor, do what it says. All of it on the governor thread."""

from __future__ import annotations

from sys import _current_frames, modules
from time import perf_counter, process_time, thread_time

from whichpool._host import gil_enabled, look
from whichpool._pools.base import CannotStart
from whichpool._run.earlier import remember
from whichpool._run.fixed import LONGEST_STEP_S, Fixed, shared_write
from whichpool._run.listen import waits
from whichpool._worker.calls import short_repr
from whichpool._worker.delay import run_delay_clock
from whichpool.errors import CannotTravel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._choose.records import View
    from whichpool._measure.gil import QuickSwitching
    from whichpool._records import Demand, Hazard, Host, Plan
    from whichpool._run.run import Run

# Quick switching costs what computes in Python a few percent: it ends with the first plan, or after so long.
QUICK_FOR_S = 0.250
# With nothing submitted, a stream looks up this seldom; a new call wakes the threads without it.
IDLE_STEP_S = 0.5
# The fingerprints of what the function could write are compared about so often while threads run it.
GUARD_S = 0.050
# A decision waits for one more call in the loop, between two looks at what it may write, if calls are no longer
# than this; of short ones it waits for two, so that one of them is whole.
LONGEST_LOOK_S = 0.050
SHORT_CALL_S = 0.005
# A function that carries less than this to its workers costs nothing worth counting.
LUGGAGE_BYTES = 1_000_000
# Of calls that only wait, it is measured so late what it would cost to send them to processes.
PAYLOAD_AFTER_S = 0.250
# Throughput is taken over at least this time, and so many items.
WINDOW_S = 0.100
WINDOW_ITEMS = 8
# Threads of a library's own are counted anew after so many CPU seconds of the loop: OpenBLAS's, just started, burn a
# core for some tens of milliseconds while they have nothing to do (a NumPy call of one thread was seen on 2.4 cores).
NATIVE_S = 0.010
# Where the code of the import system says that it stands; and who calls the function.
IMPORTS = "<frozen importlib._bootstrap>"
CALLS = "whichpool._run.inline"
# An item is looked at before and after its call in so many of the first batches.
ITEM_LOOKS = 3


def host_now() -> Host:
    """The machine, with what this process knows of its own workers."""
    host = look()
    if "whichpool._pools.fleet" in modules:
        from whichpool._pools import fleet
        from whichpool._record import replace

        host = replace(host, worker_bytes=fleet.worker_bytes())
        age_s = fleet.server_age_s()
        if age_s is not None:
            first_s = max(host.start.first_worker_s - age_s, host.start.worker_s)
            host = replace(host, start=replace(host.start, first_worker_s=first_s))
    return host


def with_luggage(host: Host, fn: Any) -> Host:
    """The start costs, with what it costs to bring the function's own data to each worker."""
    from whichpool._measure.payload import LUGGAGE_BYTES_PER_S, UNPACK_BYTES_PER_S, captured_bytes

    size = captured_bytes(fn)
    if size < LUGGAGE_BYTES:
        return host
    from whichpool._record import replace

    start = host.start
    once_s, each_s = size / LUGGAGE_BYTES_PER_S, size / UNPACK_BYTES_PER_S
    start = replace(
        start, first_worker_s=start.first_worker_s + once_s + each_s, worker_s=start.worker_s + each_s
    )
    return replace(host, start=start)


class Window:
    """Throughput and latency over the recent past.

    Batches come in lumps, so throughput is taken from one completion to another, not up to a moment between two: right
    after a lump it would look too high, and just before one too low. Only a silence longer than any gap so far counts.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[float, int, int, float]] = []
        self._longest_gap_s = 0.0

    def look(self, now: float, done: int, calls: int, wall_s: float) -> tuple[float | None, float | None]:
        """Items a second and seconds a call, or ``None`` where it is too early to tell."""
        marks = self._marks
        if not marks or done > marks[-1][1]:
            if marks:
                self._longest_gap_s = max(self._longest_gap_s, now - marks[-1][0])
            marks.append((now, done, calls, wall_s))
        while len(marks) > 2 and now - marks[1][0] > WINDOW_S and done - marks[1][1] >= WINDOW_ITEMS:
            del marks[0]
        first, last = marks[0], marks[-1]
        if last[1] == first[1]:
            return None, None
        silence_s = max(now - last[0] - self._longest_gap_s, 0.0)
        rate = (last[1] - first[1]) / (last[0] - first[0] + silence_s)
        latency = (last[3] - first[3]) / (last[2] - first[2]) if last[2] > first[2] else None
        return rate, latency


class Governor(Fixed):
    """Measures, asks the conductor, and does what it says."""

    def __init__(self, run: Run, quick: QuickSwitching) -> None:
        super().__init__(run, (0, 1))
        self._quick = quick
        self._quick_until = perf_counter() + QUICK_FOR_S
        from whichpool._choose.conductor import Conductor
        from whichpool._choose.plans import hired
        from whichpool._records import Plan

        self._hired = hired
        self._make_plan: Callable[[int, int], Plan] = Plan
        self._make_conductor = Conductor
        self.host = host_now()
        self.host = with_luggage(self.host, run.job.fn)
        self.conductor = Conductor(self.host, limit=run.options.most)
        self.ruled_out: dict[str, str] = {}
        self._processes: Any = "none"
        self._entered = (perf_counter(), 0)
        self._window = Window()
        self._measured_payload = False
        self._item_looks = ITEM_LOOKS
        self._item_hazards: list[Hazard] = []
        self._own_cpu = thread_time()
        self._cpu = run.caller_cpu
        self._cpu_began = (process_time(), self._cpu() if self._cpu is not None else 0.0)
        self._delay: Callable[[], float] | None = None
        self._guard_due = 0.0
        self._due = 0.0  # when the conductor is to be asked again
        self._looked_at = 0  # items done when the fingerprints were first taken
        self._imported_s = 0.0

    def govern(self) -> None:
        """Until the run is over. On the governor thread."""
        run = self.run
        self.look_at_function()
        self._rule_out(run.hazards)
        if self.guard is not None and not run.options.shared_ok:
            self.guard.before()
            self._looked_at = run.work.ran
            if run.runner is not None:
                run.runner.sampler = self._sample_item
        if self.host.nested:
            self.ruled_out["processes"] = "this process is itself a worker"
        decides_at_once = (
            run.earlier is not None
        )  # it was listened to for long enough to agree with that, or not
        while run.work.is_open():
            self._see_to_switching()
            if not decides_at_once:
                self._beat()
            decides_at_once = False
            if not run.work.is_open():
                return
            self._check_loaded()
            self._check_shared()
            self._see_to_caller()
            if perf_counter() < self._due and run.plan[0]:
                continue  # news of workers, which `crew.step` has seen to; a decision costs more than most of it
            self._measure()
            view = self.view()
            for action in self.conductor.step(view):
                with run.overseer.acting:
                    if not run.only_watch and run.work.is_open():
                        self._do(action)
            self._due = perf_counter() + min(self.conductor.next_step_s(), LONGEST_STEP_S)

    def close(self) -> None:
        """Let go of descriptors; what it knows is still wanted for the report, and by the next run."""
        self._quick.end()
        if not (self.run.open_ended or self.run.aborted) and self.run.work.error is None:
            remember(self.run.job.fn, self.run.profile.demand())
        self._delay = None
        self.run.profile.heart.rest()

    def _beat(self) -> None:
        """Wait until it is time for the next step; serve the workers meanwhile."""
        run, crew = self.run, self.run.crew
        if run.open_ended and not run.work.remaining and (crew is None or not run.plan[0]):
            run.stop_signal.wait(IDLE_STEP_S)
            return
        left_s = max(self._due - perf_counter(), 0.0)
        if crew is not None:
            self.note_start()
            if run.plan[0]:
                crew.step(left_s)
                run.stop_signal.wait(0)
                return
            crew.step(0)
        cpu = self._cpu if run.plan == (0, 1) and not run.apart else process_time
        run.profile.heart.beat(run.stop_signal.wait, cpu, max(left_s, 0.001))

    def _see_to_switching(self) -> None:
        """The GIL changes hands quickly while the loop is young, and while the caller's thread runs items beside
        workers: none of them is to wait 5 ms to be heard.
        """
        run = self.run
        quick = run.inline_open if run.plan[0] else run.plan == (0, 1) and perf_counter() < self._quick_until
        if not quick:
            self._quick.end()
        elif self._quick.ended:
            from whichpool._measure.gil import QuickSwitching

            self._quick = QuickSwitching()

    def _see_to_caller(self) -> None:
        """Where the consumer of `imap`, whose thread is one of the plan's, stays away, a worker takes its place."""
        run = self.run
        if not run.inline_open or not run.plan[0] or run.joins:
            return
        with run.overseer.acting:
            if not run.only_watch and run.work.is_open():
                run.may_join = False  # for good: workers that are there cost nothing more
                self._switch(*run.plan, "who takes the results waits elsewhere: a worker runs its share")

    # -- looking -------------------------------------------------------------------------------------------------

    def _rule_out(self, hazards: tuple[Hazard, ...] | list[Hazard]) -> None:
        for hazard in hazards:
            if self.run.options.shared_ok and hazard.needs_order:
                # The caller takes the risk for threads; in processes the writes would be lost without a trace.
                families = hazard.rules_out & {"processes"}
            elif self.run.options.shared_ok and hazard.kind == "not_thread_safe":
                families = frozenset()
            else:
                families = hazard.rules_out
            for family in families:
                self.ruled_out.setdefault(family, str(hazard))

    def _sample_item(self, item: Any) -> Callable[[], None]:
        """Before a call in the loop: look at its item, and again after."""
        guard = self.guard
        assert guard is not None
        self._item_looks -= 1
        if self._item_looks <= 0 and self.run.runner is not None:
            self.run.runner.sampler = None
        before = guard.item_before(item)

        def after() -> None:
            hazard = guard.item_after(item, before)
            if hazard is not None:
                self._item_hazards.append(hazard)

        return after

    def _saw_a_call(self, oldest_s: float) -> bool:
        """Whether a call began and ended between two looks at what the function reaches, or is too long to wait for."""
        each, seen = self.run.profile.call_s, self.run.work.ran - self._looked_at
        if each is None or each > LONGEST_LOOK_S or oldest_s > LONGEST_LOOK_S:
            return True
        return seen >= (1 if each > SHORT_CALL_S else 2)

    def _check_loaded(self) -> None:
        """Go on in this process if the function turns out not to load in a worker."""
        run, crew = self.run, self.run.crew
        if crew is None or crew.lost is None or self._processes == "failed":
            return
        self._processes = "failed"
        self.ruled_out["processes"] = str(crew.lost)
        if run.plan[0]:
            with run.overseer.acting:
                self._switch(0, 1, str(crew.lost))

    def _check_shared(self) -> None:
        """What the function was seen to write: before concurrency it rules plans out, after it ends the run."""
        run = self.run
        self.check_wrote()
        now = perf_counter()
        if self.guard is None or run.options.shared_ok or (now < self._guard_due and run.plan != (0, 1)):
            return
        self._guard_due = now + GUARD_S
        found = list(self.guard.after()) + self._item_hazards
        self._item_hazards = []
        if not found:
            return
        if run.plan == (0, 1) and not self.guarded:
            run.hazards += tuple(hazard for hazard in found if hazard not in run.hazards)
            self._rule_out(found)
        elif run.plan[0] == 0 or run.inline_open:
            bad = [hazard.name for hazard in found if "threads" in hazard.rules_out]
            if bad:
                run.work.fail(shared_write(bad))

    def _measure(self) -> None:
        """What can be measured only now: the payload, threads of the function's own, the state of the GIL."""
        run = self.run
        if run.plan == (0, 1) and self._cpu is not None and run.caller_helps:
            process, thread = process_time() - self._cpu_began[0], self._cpu() - self._cpu_began[1]
            own = thread_time()
            run.profile.add_native(process - (own - self._own_cpu), thread)
            if thread > NATIVE_S:
                self._own_cpu, self._cpu_began = own, (process_time(), self._cpu())
        gil = gil_enabled()
        if gil != self.host.gil:
            self.host = with_luggage(host_now(), run.job.fn)
            self.conductor = self._make_conductor(
                self.host, limit=run.options.most, start=self._make_plan(*run.plan)
            )
        if self._measured_payload or run.work.last_item is None or "processes" in self.ruled_out:
            return
        if waits(run) and perf_counter() - run.began < PAYLOAD_AFTER_S:
            return  # threads come first, and processes may never be asked for
        self._measured_payload = True
        item, result = run.work.last_item, run.work.last_values
        from whichpool._measure.payload import measure

        try:
            cost = measure(item, result, run.profile.call_s or 0.0)
        except Exception as error:
            self.ruled_out["processes"] = (
                f"an item ({short_repr(item, 40)}) or its result ({short_repr(result, 40)}) cannot be pickled: "
                f"{type(error).__name__}: {error}"
            )
            return
        profile = run.profile
        profile.ship_s, profile.land_s, profile.payload_bytes = cost.ship_s, cost.land_s, cost.payload_bytes

    def demand(self) -> Demand | None:
        """The estimate now; in the first moments it is what an earlier run has left."""
        earlier = self.run.earlier
        return self._seen() if earlier is None else earlier.complete(self._seen())

    def _seen(self) -> Demand | None:
        now = perf_counter()
        runner = self.run.runner
        began = runner.began if runner is not None else None
        if runner is None or began is None:
            return self.run.profile.demand()
        cpu = max(self._cpu() - runner.cpu_at_start, 0.0) if self._cpu is not None else None
        if self._delay is None:
            self._delay = run_delay_clock(runner.native_id)
        ready = max(self._delay() - runner.delay_at_start, 0.0)
        idle = runner.heart.idle_share(runner.heart_at_start, now - began, ready)
        waited = None if idle is None else idle * (now - began)
        return self.run.profile.demand(max(now - began - ready, cpu or 0.0), cpu, waited)

    def view(self) -> View:
        """What the conductor is to know now."""
        from whichpool._choose.records import View

        run, work, profile = self.run, self.run.work, self.run.profile
        now = perf_counter()
        done = work.ran
        rate, latency = self._window.look(now, done, profile.total_calls, profile.total_wall_s)
        oldest = None
        for runner in list(run.runners):
            began = runner.began
            if began is not None:
                oldest = max(oldest or 0.0, now - began)
        ready = run.crew.ready if run.crew is not None else 0
        if self._processes == "starting" and ready:
            self._processes = "ready"
        if self._processes == "none" and not ready and "whichpool._pools.fleet" in modules:
            from whichpool._pools import fleet

            ready = fleet.idle_count()
        return View(
            now_s=now - run.began,
            done=done,
            remaining=work.remaining,
            in_progress=work.in_progress,
            oldest_s=oldest,
            demand=self.demand(),
            plan=self._make_plan(*run.plan),
            plan_age_s=now - self._entered[0],
            plan_done=done - self._entered[1],
            rate_per_s=rate,
            latency_s=latency,
            processes=self._processes,
            ready_processes=ready,
            ruled_out=self.ruled_out,
            usable=run.usable() if run.usable is not None else None,
            joins=run.joins,
            keeps=self.guard is None or self.guard.keeps,
            importing_s=self._importing_s(oldest),
            may_switch=run.plan != (0, 1) or self.guard is None or self._saw_a_call(oldest or 0.0),
        )

    def _importing_s(self, oldest_s: float | None) -> float:
        """Seconds of the first call, while it is all that is known, until it was last seen importing modules."""
        runner = self.run.runner
        if oldest_s is None or runner is None or self.run.profile.samples:
            return 0.0
        frame = _current_frames().get(runner.ident)
        while frame is not None and frame.f_globals.get("__name__") != CALLS:  # below it may be imported, too
            if frame.f_code.co_filename == IMPORTS:
                self._imported_s = oldest_s
                break
            frame = frame.f_back
        return self._imported_s

    # -- doing ---------------------------------------------------------------------------------------------------

    def _do(self, action: Any) -> None:
        from whichpool._choose.records import Prepare

        if isinstance(action, Prepare):
            self._prepare(action.processes)
        else:
            self._switch(action.plan.processes, action.plan.threads, action.reason)

    def _prepare(self, processes: int) -> bool:
        try:
            self.hire(processes)
        except CannotTravel as error:
            self._processes = "failed"
            self.ruled_out["processes"] = str(error)
        except CannotStart as error:
            self._processes = "failed"
            self.ruled_out["processes"] = f"worker processes cannot be started: {error}"
            self.run.notes.append(self.ruled_out["processes"])
        else:
            if self._processes == "none":
                self._processes = "starting"
            return True
        return False

    def _switch(self, processes: int, threads: int, reason: str) -> None:
        run = self.run
        workers = self._hired(self._make_plan(processes, threads), run.joins)
        if processes and run.crew is None and not self._prepare(workers):
            return
        if run.plan == (0, 1) and self.guard is not None and not run.options.shared_ok:
            # From here on a write is an error: what is ruled out must be known now.
            found = list(self.guard.after()) + self._item_hazards
            if any(hazard.rules_out & {"threads" if not processes else "processes"} for hazard in found):
                run.hazards += tuple(hazard for hazard in found if hazard not in run.hazards)
                self._rule_out(found)
                return
            self.guarded = True
        if processes:
            here = processes - workers
            if run.threads is not None:
                run.threads.resize(0)
            assert run.crew is not None
            run.crew.hire(workers)
            run.crew.feed(workers, threads, beside=here)
            run.inline_open = here > 0
            if here:
                run.work.caller_signal.set()
        else:
            self._quick.end()  # else whoever starts the threads has to wait for the GIL at each
            try:
                threads = run.set_threads(threads)
            except RuntimeError as error:
                self.ruled_out["threads"] = f"no thread can be started: {error}"
                if run.apart:  # the caller's thread runs nothing: without the workers nobody would
                    if run.crew is None or run.crew.lost is not None:
                        raise
                    return
                threads = 1
            if run.crew is not None:
                run.crew.feed(0, 1)
            run.inline_open = not run.apart and (run.caller_helps or threads == 1)
            run.work.caller_signal.set()
        if (processes, threads) == run.plan and not processes:
            return  # the system starts no more threads
        run.enter((processes, threads), reason)
        self._entered = (perf_counter(), run.work.ran)
        self._window = Window()
