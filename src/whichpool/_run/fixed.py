"""A plan that the caller fixed: guard it, bring in its workers, serve them."""

from __future__ import annotations

from sys import modules
from time import perf_counter

from whichpool._host import costs, look
from whichpool._pools.base import CannotStart
from whichpool._run.sizing import Sizer
from whichpool._worker.calls import short_repr
from whichpool.errors import CannotTravel, SharedWrite, WorkerLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._measure.hazards import Guard
    from whichpool._run.run import Run
    from whichpool._worker.luggage import Packed

__all__ = ["Fixed", "shared_write"]

# A step with worker processes but nothing else to do waits at most so long for their sockets.
LONGEST_STEP_S = 0.050
# Share of the time that a first worker usually takes, in which a fork server is sure to be still starting. A guess.
SURELY_BOOTING = 0.5


class Fixed:
    """A plan that stays."""

    def __init__(self, run: Run, plan: tuple[int, int]) -> None:
        self.run = run
        self.plan = plan
        self.guard: Guard | None = None
        self.guarded = False
        self._asked_at: float | None = None
        self._start_shows: str | None = None  # which start cost the workers that were asked for will show

    # -- bringing in workers -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring in the workers of the plan.

        Raises:
            SharedWrite: The function writes what others can see, and the guard is on.
            CannotTravel: It cannot be sent to a process.
            WorkerLost: No process can be started.
        """
        processes, threads = self.plan
        if processes:
            self._start_server()
        self.look_at_function()
        self.refuse(processes)
        if not processes:
            there_are = self.run.set_threads(threads)
            if there_are < threads:
                self.run.enter((0, there_are), "the system starts no more threads")
            return
        try:
            self.hire(processes)
        except CannotStart as error:
            raise WorkerLost(f"worker processes cannot be had: {error}") from error
        assert self.run.crew is not None
        self.run.crew.feed(processes, threads)

    def _start_server(self) -> None:
        """First of all: the server starts on another core while the function is looked at here."""
        from whichpool._pools import fleet

        self._note_asked()
        try:
            self.run.undisturbed(fleet.start_server)
        except CannotStart as error:
            raise WorkerLost(f"worker processes cannot be had: {error}") from error

    def look_at_function(self) -> None:
        """Find out what the function writes, before anything runs beside it."""
        from whichpool._measure.hazards import Guard

        self.guard = Guard(self.run.job.fn)
        self.run.hazards = tuple(self.guard.read())
        if not self.run.options.shared_ok:
            self.run.job.watch = self.guard.ignore

    def refuse(self, processes: int) -> None:
        """Raise if the fixed plan cannot do what the loop does."""
        for hazard in self.run.hazards:
            if hazard.kind == "cannot_travel" and processes:
                raise CannotTravel(f"the function cannot go to a worker process: {hazard}")
            family = "processes" if processes else "threads"
            if (
                family in hazard.rules_out
                and hazard.kind != "cannot_travel"
                and not self.run.options.shared_ok
            ):
                raise SharedWrite(
                    f"{hazard} Under plan={self.run.options.plan!r} the result could differ from the loop's; "
                    'shared="ok" runs it all the same.'
                )
        if not processes and self.guard is not None and not self.run.options.shared_ok:
            self.guard.before()
            self.guarded = True

    def hire(self, processes: int) -> None:
        """Have so many workers started, or taken from those that wait.

        Raises:
            CannotStart: None can be had.
            CannotTravel: The function cannot be pickled.
        """
        from whichpool._pools.health import Health
        from whichpool._pools.processes import Processes

        run = self.run
        if run.crew is None:
            budget = None
            if run.options.memory is not None:
                from whichpool._pools import fleet
                from whichpool._pools.budget import Budget

                fleet.dismiss()  # what workers of earlier runs have grown to says nothing of this one
                most = run.options.memory.most
                assert isinstance(most, int)
                budget = Budget(most, run.options.memory.weigh)
            if self._asked_at is None:
                self._note_asked()
            packed = self.pack_job()
            crew = Processes(
                run.work,
                packed,
                Sizer(run.profile, run.options.most is not None or run.options.by_key is not None),
                run.profile,
                lambda: run.work.remaining,
                cores=look().cores,
                timeout_s=run.options.timeout,
                health=Health(run.options.max_worker_bytes, run.options.max_items_per_worker),
                context=run.context,
                budget=budget,
            )
            if (
                run.open_ended
                or not run.caller_helps
                or run.options.plan == "auto"
                or run.options.by_key is not None
            ):
                # Not the caller's own thread will serve it, or a pause ends meanwhile: others must be able to wake
                # who does.
                try:
                    crew.let_wake()
                except OSError as error:  # too many open files
                    raise CannotStart(str(error)) from error
                run.work.on_change = crew.wake
                run.work.on_arrival = crew.offer
            run.crew = crew
        crew = run.crew
        run.undisturbed(lambda: crew.hire(processes))

    def pack_job(self) -> Packed:
        """The function and all that it captures, pickled once for all workers.

        Raises:
            CannotTravel: It cannot be pickled.
        """
        from whichpool._measure.payload import pack_job

        fn = self.run.job.fn
        if (self.run.context or "decimal" in modules) and not self.run.open_ended:
            from whichpool._worker.context import pack_context

            self.run.job.context = pack_context(self.run.context)
        if not self.run.open_ended:
            from whichpool._worker.state import module_state

            self.run.job.state = module_state(fn, self.run.job.combine)
        try:
            packed, by_value = pack_job(self.run.job)
        except Exception as error:
            raise CannotTravel(
                f"the function {short_repr(fn)} cannot be pickled, so it cannot go to a worker process: "
                f"{type(error).__name__}: {error}. Make what it captures inside the function instead, or use "
                'plan="threads".'
            ) from error
        if by_value:
            from whichpool._pools import fleet

            fleet.preload()
        return packed

    def _note_asked(self) -> None:
        """Workers are asked for now, or were when the fork server was started for them a moment ago."""
        from whichpool._pools import fleet

        age_s = fleet.server_age_s()
        self._asked_at = perf_counter()
        if age_s is None or age_s < SURELY_BOOTING * costs.load().first_worker_s:
            self._start_shows = "first_worker_s"
            self._asked_at -= age_s or 0.0
        elif fleet.has_forked() and not fleet.idle_count():
            self._start_shows = "worker_s"
        else:
            self._start_shows = None  # a worker that waits costs nothing; a server may be up by now, or not

    def note_start(self) -> None:
        """The first worker is up: remember what that took, for the next decision."""
        crew = self.run.crew
        if self._asked_at is not None and crew is not None and crew.ready:
            if self._start_shows is not None:
                costs.record(**{self._start_shows: perf_counter() - self._asked_at})
            self._asked_at = None

    # -- serving them --------------------------------------------------------------------------------------------

    def serve(self, until: float = -1) -> None:
        """Serve the workers until all is done, or so many seconds have passed, or the caller has something to do."""
        run = self.run
        crew = run.crew
        deadline = None if until < 0 else perf_counter() + until
        assert crew is not None
        while run.work.is_open():
            left = LONGEST_STEP_S if deadline is None else min(LONGEST_STEP_S, deadline - perf_counter())
            if left < 0:
                return
            crew.step(left)
            self.note_start()
            self.check_wrote()
            if run.stop_signal.wait(0):
                return

    def check_wrote(self) -> None:
        """End the run if a worker saw the function write what others can see."""
        crew = self.run.crew
        if crew is not None and crew.wrote:
            self.run.work.fail(shared_write(sorted(set(crew.wrote))))

    def last_look(self) -> BaseException | None:
        """After the run: was something written while calls ran concurrently?"""
        if self.guarded and self.guard is not None:
            found = [hazard for hazard in self.guard.after() if "threads" in hazard.rules_out]
            if found:
                return shared_write([hazard.name for hazard in found])
        return None


def shared_write(names: list[str]) -> SharedWrite:
    which = ", ".join(dict.fromkeys(names))
    return SharedWrite(
        f"{which} changed while calls of the function, which can see it, ran concurrently, so the results may differ "
        "from the loop's. If the function writes it, return the value instead; if whoever takes the results writes it, "
        'do so after the last of them; or use plan="loop"; or, if the order of these writes does not matter and losing '
        'them in worker processes is fine, shared="ok".'
    )
