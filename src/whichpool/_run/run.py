"""One call of whichpool, from its first item to its report.

The caller's thread runs items from the start (`Runner`). Where the plan is open, a governor thread watches, measures
and brings in threads or processes (`govern`); where the caller fixed a plan with processes, nobody needs to watch, and
the caller's thread itself serves them. Modules that are not needed for a plain loop are imported only when they are.
"""

from __future__ import annotations

from _thread import get_ident
from contextvars import copy_context
from sys import modules
from time import perf_counter

from whichpool._measure.profile import Profile
from whichpool._pools.base import LOOK_UP_S, Signal
from whichpool._run.inline import Runner
from whichpool._run.keys import Keys
from whichpool._run.options import DEFAULT_THREADS, length_now, length_of
from whichpool._run.overseer import Overseer
from whichpool._run.work import Work
from whichpool._worker.calls import ONE, STAR, Job, numpy_matters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from whichpool._pools.processes import Processes
    from whichpool._pools.threads import Threads
    from whichpool._records import Hazard, RunReport
    from whichpool._run.earlier import Earlier
    from whichpool._run.inline import KeptRandom
    from whichpool._run.options import Options, PlanWish
    from whichpool._run.sinks import ListSink, StreamSink, TreeSink
    from whichpool._run.timekeeper import Timekeeper

    T = TypeVar("T")

LOOP = (0, 1)
# Of short calls over an iterable of unknown length, one in so many is measured.
STREAK = 64
# The caller hears of progress about so often.
PROGRESS_S = 0.1
# After Ctrl-C the governor is given so long to end the workers; then it is left to do so alone.
ABORT_WAIT_S = 0.8


class Run:
    """State of one call. The caller's thread and the governor's share it; each attribute has one writer."""

    def __init__(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Any, ...],
        options: Options,
        sink: ListSink | StreamSink | TreeSink,
        *,
        combine: Callable[[Any, Any], Any] | None = None,
        caller_helps: bool = True,
    ) -> None:
        self.began = perf_counter()
        self.options = options
        by_key = options.by_key
        singly = options.retry is not None or options.journal is not None or by_key is not None
        numpy = options.seed is not None and numpy_matters(fn)
        self.job = Job(
            fn,
            ONE if len(iterables) == 1 else STAR,
            # With another try an item's failure is none yet, a failure is not recorded, and a limit by key sees each
            # call: so the rest of its batch comes back, and single values.
            combine=None if singly else combine,
            keep_going=options.return_failures and not singly,
            seed=options.seed,
            numpy=numpy,
        )
        items: Iterator[Any] = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables, strict=False)
        kind: Callable[..., Work] = Work
        if options.journal is not None:
            from whichpool._run.journaled import JournaledWork as kind
        if by_key is not None:
            from whichpool._run.admission import keyed

            kind = keyed(kind)  # type: ignore[arg-type]  # it is one of the two classes
        self.work = kind(
            self.job,
            items,
            length_of(iterables),
            sink,
            limit=options.limit,
            return_failures=options.return_failures,
            local_is_fine=options.plan == "auto",
        )
        self.work.length_now = length_now(iterables)
        self.profile = profile = Profile()
        self.work.pace.weigh = lambda: profile.payload_bytes
        # How many calls at once could be of use by the limits by key, which change; None: there are none.
        self.usable: Callable[[], int] | None = getattr(self.work, "usable", None)
        self.plan: tuple[int, int] = LOOP
        self.steps: list[tuple[float, tuple[int, int], str]] = []
        self.caller_cpu: Callable[[], float] | None = None  # the CPU clock of the thread that runs the loop
        self.runner: Runner | None = None
        self.runners: list[Runner] = []
        self.inline_open = True
        # The caller's thread runs items on every plan in this process.
        self.caller_helps = caller_helps and not options.by_the_clock
        # Under "auto" the caller's process is one of a plan's processes (`plans.hired`), unless workers are to be
        # replaced as they grow or age: it cannot be.
        renewed = bool(options.max_worker_bytes or options.max_items_per_worker or options.memory)
        self.may_join = not renewed and not options.by_the_clock
        # Of `imap`: whether its consumer is elsewhere, and waits there.
        self.absent: Callable[[float, Any], bool] | None = None
        self.open_ended = False  # items arrive while it runs
        self.apart = options.by_the_clock  # threads of a pool run even the loop
        self.chore: Callable[[], object] | None = (
            None  # something for the caller's thread to do between two batches
        )
        self.context = copy_context()
        self.seen_waiting = False  # while the first call has not ended: it waits
        self.only_watch = False  # measure and judge, but stay the loop
        self.earlier: Earlier | None = None  # what the function asked in an earlier run
        self.keys = Keys()
        self.stop_signal = Signal()
        self.hazards: tuple[Hazard, ...] = ()
        self.notes: list[str] = []
        self.wall_s: float | None = None
        self.threads: Threads | None = None
        self.crew: Processes | None = None
        self.governed: Any = None  # the governor, once it has taken over: it knows the verdict
        self.overseer = Overseer(self)
        self._kept_random: KeptRandom | None = None
        self.aborted = False
        self._over = False
        self.out_of_time = False
        self._clock: Timekeeper | None = None
        self._report: RunReport | None = None
        self._told_s = 0.0
        self._progress: Callable[[int, int | None], object] | None = None
        self._close_progress: Callable[[], object] | None = None

    # -- beginning -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, as the options wish."""
        options = self.options
        self.work.caller = get_ident()
        self.work.open(self)
        if options.by_the_clock or options.retry is not None:
            from whichpool._run.limits import start_clock

            self._clock = start_clock(self)
        nested = False
        if options.seed is not None:
            from whichpool._run.inline import KeptRandom, has_turn

            nested = has_turn()
            self._kept_random = KeptRandom(self.job.numpy)
        if options.progress is not False:
            from whichpool._run.progress import listener

            self._progress, self._close_progress = listener(options.progress)
        if nested:
            self._enter(LOOP, "seeded calls take turns, and this is a seeded call inside another")
            return
        if options.plan == "auto":
            began_as = "every run begins as the loop"
            if self.options.by_the_clock:
                began_as += ", which a time limit puts on a thread that can be left alone"
            self._enter(LOOP, began_as)
            if "whichpool._run.earlier" in modules and not (self.open_ended or self.only_watch):
                from whichpool._run.earlier import recall

                self.earlier = recall(self.job.fn)
            if self.apart:
                self.inline_open = False
                self.set_threads(1)
            else:
                from whichpool._host.clocks import own_cpu_clock

                self.caller_cpu = own_cpu_clock()
            self.overseer.watch()
            return
        plan = self.fixed_plan(options.plan)
        self._enter(plan, f"plan={options.plan!r} was asked for")
        if self.open_ended and not plan[0]:
            self.set_threads(plan[1])
            return
        if plan == LOOP or self.work.length == 0:
            if self.apart and self.work.length != 0:
                self.inline_open = False
                self.set_threads(1)
            return
        if not self.open_ended and (self.work.length is None or options.journal is not None):
            # Nothing is started for no items; and what is taken to find out is the first batch.
            first = self.work.take(1)
            if first is not None:
                self.work.give_back(first)
            elif not self.work.is_open():
                return
        from whichpool._run.fixed import Fixed

        self.governed = Fixed(self, plan)
        if plan[0] or not self.caller_helps:
            self.inline_open = False
        self.governed.start()
        if plan[0] and not self.caller_helps:
            self.overseer.serve(self.governed.serve)

    def fixed_plan(self, wish: PlanWish) -> tuple[int, int]:
        """The two numbers that a wish other than "auto" stands for."""
        n, limit = self.work.length, self.options.most
        if isinstance(wish, tuple):
            return wish
        if wish == "loop":
            return LOOP
        most = min([size for size in (n, limit) if size is not None], default=None)
        if wish == "threads":
            threads = DEFAULT_THREADS if most is None else max(1, min(DEFAULT_THREADS, most))
            return 0, threads
        from math import ceil

        from whichpool._host import look

        return max(1, min(ceil(look().cores), most if most is not None else 1 << 30)), 1

    def _enter(self, plan: tuple[int, int], reason: str) -> None:
        self.plan = plan
        self.steps.append((perf_counter() - self.began, plan, reason))

    def set_threads(self, threads: int) -> int:
        """Have so many threads of this process run items, the caller's among them where it helps.

        Returns:
            How many there are: fewer where the system starts no more, which is noted.

        Raises:
            RuntimeError: The system starts none, and the caller's thread does not help.
        """
        own = threads - 1 if self.caller_helps or (threads == 1 and not self.apart) else threads
        if self.threads is None and own > 0:
            from whichpool._pools.threads import Threads

            self.threads = Threads(self.work, self.new_runner, self.context)
        if self.threads is None:
            return threads
        pool, refusal = self.threads, ""
        try:
            self.undisturbed(lambda: pool.resize(own))
        except RuntimeError as error:
            if not self.caller_helps:
                raise
            refusal = f": {error}"
        there_are = threads - max(own - self.threads.count, 0)
        if there_are < threads:
            note = f"{threads} threads were wanted, and the system starts no more than {there_are}{refusal}"
            if note not in self.notes:
                self.notes.append(note)
            if there_are == 1 and not self.apart:
                self.threads.resize(0)  # one thread is the loop, and the caller's own thread runs that
        return there_are

    def enter(self, plan: tuple[int, int], reason: str) -> None:
        """From now on this plan is in force; called by who made it so."""
        self._enter(plan, reason)

    # -- the caller's thread -------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Run items and wait until all is done; whatever happens, nothing is left running behind it.

        Raises:
            BaseException: That of the earliest failing item, or of the iterable.
        """
        try:
            self.keys.listen()
            self.start()
            while self.work.is_open():
                self.help()
                if not self.work.is_open():
                    break
                if self.crew is not None and not self.overseer.at_work:
                    self.governed.serve(until=self.progress_due())
                else:
                    self.work.caller_signal.wait(self.progress_due())
                self.keys.check()
                self.tell()
        except BaseException as error:
            self.abort(error)
            raise
        self.finish()
        self.raise_error()

    def help(self, once: bool = False) -> bool:
        """Run items on the caller's thread, as long as there are any for it; returns whether there were."""
        runner = self.runner
        if runner is None:
            if not self.inline_open and not self.work.has_local:
                return False
            self.runner = runner = self.undisturbed(lambda: Runner(self.work, self.profile, self.is_loop))
            self.runners.append(runner)
        work, helped = self.work, False
        while True:
            if self.caller_helps and self.may_go_through():
                runner.run_through(work.run_through)
                self.keys.forget()
                helped = True
                if not work.is_open():
                    return helped
                continue
            batch = work.take(runner.size) if self.inline_open else work.take_local(1)
            if batch is None:
                return helped
            runner.run(batch)
            self.keys.forget()
            helped = True
            if self.chore is not None:
                chore, self.chore = self.chore, None
                chore()
            if self._progress is not None:
                self.tell()
            self.keys.check()
            if once:
                return helped

    def undisturbed(self, do: Callable[[], T]) -> T:
        """Do something short that takes descriptors or starts processes: Ctrl-C must not come between that and their
        being noted."""
        if get_ident() != self.work.caller:
            return do()
        listening = self.keys.listening
        self.keys.hold()
        try:
            return do()
        finally:
            if listening:
                self.keys.release()
            else:
                self.keys.leave(tell=True)

    def may_go_through(self) -> bool:
        """Whether the caller's thread should take items one by one while it runs them: short calls, in the loop."""
        runner = self.runner
        return (
            runner is not None
            and runner.size > 1
            and self.plan == LOOP
            and self.inline_open
            and self.options.seed is None
            and self.work.goes_through
        )

    def streak(self) -> Iterator[Any]:
        """Short calls in the loop, each result at once; for the consumer of `imap`."""
        assert self.runner is not None
        return self.work.streak(STREAK, self.runner.call, self.runner.timed)

    @property
    def joins(self) -> bool:
        """Whether the caller's process may be one of the plan's processes."""
        here = self.caller_helps or (self.absent and not self.absent(self.began, self.caller_cpu))
        return self.may_join and bool(here)

    def is_loop(self) -> bool:
        """Whether the plan in force runs one item after the other, in this process."""
        return self.plan == LOOP

    def new_runner(self) -> Runner:
        """For a thread of a pool."""
        runner = Runner(self.work, self.profile, self.is_loop)
        self.runners.append(runner)
        return runner

    def progress_due(self) -> float:
        """Seconds to wait at the most: progress should be told, and signals be looked for (`LOOK_UP_S`)."""
        return LOOK_UP_S if self._progress is None else PROGRESS_S

    def tell(self, last: bool = False) -> None:
        """Report progress, if it is time to."""
        if self._progress is None:
            return
        now = perf_counter()
        if last or now - self._told_s >= PROGRESS_S:
            self._told_s = now
            total = self.work.length if not self.work.exhausted else self.work.taken
            self._progress(self.work.done, total)

    # -- the end -------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """All is done: end the governor, let the workers go, wait for threads.

        Raises:
            KeyboardInterrupt: While a call on a thread came to its end; then nobody is waited for any more.
        """
        if self._over:
            return
        self._over = True
        if self.out_of_time:
            self._drop(None)
            return
        try:
            self.overseer.stop(-1)
            if self.crew is not None:
                self.keys.hold()
                self.stop_crew()
                self.keys.release()
            self.stop_threads()
        except BaseException as error:
            self._drop(error)
            raise
        self.wall_s = perf_counter() - self.began
        if self.governed is not None and self.work.error is None:
            wrote = self.governed.last_look()
            if wrote is not None:
                self.work.fail(wrote)
        self._tidy()
        self.keys.leave(tell=True)

    def abort(self, error: BaseException | None = None) -> None:
        """Drop everything: pending work is forgotten, worker processes are ended, nobody is waited for.

        Args:
            error: Why, if it is on its way to the caller.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile, and ``error`` is not that already.
        """
        if not self._over:
            self._over = True
            self._drop(error)

    def _drop(self, error: BaseException | None) -> None:
        self.aborted = True
        self.keys.hold()
        self.work.close()
        if self.overseer.stop(ABORT_WAIT_S):
            self.stop_crew()
            self.stop_threads()
        self.wall_s = perf_counter() - self.began
        self._tidy()
        self.keys.leave(tell=not isinstance(error, KeyboardInterrupt))

    def stop_crew(self) -> None:
        """Give the worker processes back, or end them where the run was aborted."""
        if self.crew is not None:
            crew, self.crew = self.crew, None
            self.notes += crew.replaced
            crew.stop(kill=self.aborted)

    def is_here(self) -> bool:
        """Whether it is one of its own threads that asks."""
        return self.threads is not None and self.threads.is_here()

    def stop_threads(self) -> None:
        """Have the threads end; wait for what is in progress on them unless the run was aborted."""
        if self.threads is not None:
            self.threads.stop(wait=not self.aborted)
            self.threads = None

    def stop_clock(self) -> None:
        """No time limit is kept any more, and nothing tried again."""
        if self._clock is not None:
            self._clock.stop()

    def _tidy(self) -> None:
        self.stop_clock()
        if self._kept_random is not None:
            self._kept_random.restore()
        if self._progress is not None:
            if not self.aborted:
                self.tell(last=True)
            if self._close_progress is not None:
                self._close_progress()
        # The report needs numbers only; items and results belong to the caller.
        self.work.release()
        self.runners.clear()
        if self.runner is not None:
            self.runner.close()
            self.runner = None

    def raise_error(self) -> None:
        """Raise what ended the run early, if anything did, with what a person needs to find the item."""
        error = self.work.error
        if error is None:
            return
        from whichpool._run.blame import blame

        raise blame(error, self.work)

    def report(self) -> RunReport:
        """What ran, and why; made when first asked for, or as it stands while the run goes on."""
        if self._report is not None:
            return self._report
        from whichpool._run.reporting import report

        made = report(self)
        if self._over:
            self._report = made
        return made
