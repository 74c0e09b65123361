"""Worker processes: batches go out, results come in, deaths are noticed; all from one thread at a time.

    hub --take--> [Worker, Worker, ...] --put--> hub
                   |  up to `depth` batches each: so many being run, one at hand

`step` does what can be done now and then waits for the sockets. Nothing here blocks on a worker: a message that does
not fit is sent on when there is room, so that a worker which is itself waiting for us to read is never waited for.
"""

from __future__ import annotations

import threading
from time import perf_counter

from whichpool._pools import fleet
from whichpool._pools.health import Health
from whichpool._pools.hearing import Hearing
from whichpool._pools.overtime import CallLimit, StopWatch
from whichpool._pools.packing import Packer, cannot_be_sent, first_unsendable
from whichpool._pools.remains import (
    Why,
    check_sums,
    died,
    does_not_fit,
    end,
    how_it_ended,
    not_loaded,
    not_received,
    read_answer,
    read_loss,
    too_large,
    too_long,
    unpack_error,
)
from whichpool._pools.roster import Roster
from whichpool._pools.suspects import halves, suspects
from whichpool._worker import wire
from whichpool._worker.main import HANDLING, IDLE, UNREADABLE
from whichpool.errors import CannotTravel, WorkerLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from whichpool._pools.base import Batch, Hub, Meter, Sizer
    from whichpool._pools.budget import Budget
    from whichpool._pools.member import Member
    from whichpool._worker.calls import PackedError
    from whichpool._worker.luggage import Packed


# After so many deaths with no item finished or blamed in between, the fault is taken to be the machine's.
MOST_DEATHS = 5


class Processes:
    """The crew of one run."""

    def __init__(
        self,
        hub: Hub,
        packed: Packed,
        sizer: Sizer,
        meter: Meter,
        remaining: Callable[[], int | None],
        cores: float = 1.0,
        timeout_s: float | None = None,
        health: Health | None = None,
        context: Context | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._hub = hub
        self._budget = budget
        self._wanted = 0  # workers
        self._kept: Batch | None = None  # there was no memory for it
        self._hearing = Hearing(hub.fail, context)
        self._roster = Roster(packed, cores, self._hearing, tight=budget is not None)
        self._sizer = sizer
        self._meter = meter
        self._remaining = remaining
        self._packer = Packer(hub.job)
        self._health = health if health is not None else Health(None, None)
        self._stop_watch = StopWatch()
        self._limit = CallLimit(timeout_s) if timeout_s is not None else None
        self._feeding = False
        self._width = 1
        self._beside = 0
        self._sent = 0
        self._deaths = 0
        self._measured = False
        self._suspects: list[Batch] = []  # each to be tried alone, to see whether it kills
        self._news = True  # since `step` last gave out, there may be more to give
        self._lock = threading.Lock()  # held by whoever gives out or takes in; not while waiting
        self.replaced: list[str] = []  # what became of workers that ended, for the report
        self.lost: CannotTravel | None = None  # the function cannot be loaded in a worker
        self.wrote: list[str] = []  # names that a worker saw change

    # -- what the run wants --------------------------------------------------------------------------------------

    def hire(self, wanted: int) -> None:
        """Have so many workers; new ones start in the background.

        Raises:
            fleet.CannotStart: None can be had.
        """
        self._wanted = wanted
        # Where memory is limited one shows first what it takes; the others are hired when there is room (`_grow`).
        self._roster.hire(wanted if self._budget is None else min(wanted, max(len(self._roster), 1)))

    def feed(self, processes: int, threads: int, beside: int = 0) -> None:
        """Give batches to this many workers from now on, so many at a time to each; 0 processes: to none.

        ``beside``: so many threads of this process run items of the same work.
        """
        self._feeding = processes > 0
        self._beside = beside
        self._news = True
        if not self._feeding and self._kept is not None:
            batch, self._kept = self._kept, None
            self._hub.give_back(batch)
        self._roster.set_threads(threads)
        self._width = threads

    @property
    def ready(self) -> int:
        """Workers that are up."""
        return self._roster.ready

    @property
    def busy(self) -> int:
        """Batches in the workers' hands."""
        return self._roster.busy

    def let_wake(self) -> None:
        """Prepare for `wake`, which costs a pair of sockets; before `step` is first called."""
        self._roster.let_wake()

    def wake(self) -> None:
        """Make `step` return from its wait; from any thread. Does nothing before `let_wake`."""
        self._news = True
        self._roster.wake()

    def offer(self) -> None:
        """There is something to give out: do so at once, on the calling thread, or have `step` do it."""
        if not self._feeding or not self._lock.acquire(blocking=False):
            self.wake()
            return
        try:
            self._give()
            if any(member.writing for member in self._roster):
                self.wake()  # what did not fit is sent by `step`, which must know that it should wait for room
        except Exception as error:
            self._hub.fail(error)
        finally:
            self._lock.release()

    # -- the step ------------------------------------------------------------------------------------------------

    def step(self, timeout_s: float) -> None:
        """Give out what can be given, wait for news for so long, take in what came.

        Raises:
            WorkerLost: Workers keep ending without finishing anything.
            CannotTravel: The function cannot be loaded in a worker.
        """
        if self._news or not self._roster.can_be_woken:
            # Where nobody can tell of news there may always be some.
            with self._lock:
                self._news = False
                if self._feeding or self._suspects:
                    self._give()
                if not self._hub.is_open() and not self.busy:
                    return
        if self._limit is not None:
            timeout_s = min(timeout_s, self._limit.look_s)
        if self._budget is not None:
            timeout_s = min(timeout_s, self._budget.look_s)
        ready = self._roster.wait(timeout_s)
        with self._lock:
            self._take_in(ready)
            if self._limit is not None:
                for member, word in self._limit.over(self._roster):
                    self._bury(member, Why.LATE, word)
            if self._budget is not None and (over := self._budget.over(self._roster)) is not None:
                self._spare(over[0], end_it=over[1])
            for member in self._stop_watch.over(self._roster):
                self._bury(member, Why.STOPPED)
            if self._feeding or self._suspects:  # these are tried in no other place
                self._give()

    def _take_in(self, ready: list[tuple[int, int]]) -> None:
        """See to the sockets that are ready."""
        for member, has_room, has_news in self._roster.named(ready):
            if has_room and member.worker.flush() and not member.worker.sending:
                self._roster.listen(member, writing=False)
            if has_news:
                self._hear(member)

    def _give(self) -> None:
        """Hand out batches, to the workers with the fewest first, until all have enough or there are no more."""
        workers = max(len(self._roster), 1) * self._width + self._beside
        # What waits behind another batch cannot be weighed against what is held when its turn comes.
        at_hand = self._sizer.prefetch(self._width, self._remaining(), workers) if self._budget is None else 0
        for level in range(self._width + at_hand):
            for member in self._roster:
                if member.worker.pid is None or len(member.batches) != level or member.suspect:
                    continue
                worn = self._health.worn(member.worker)
                if worn is not None:
                    if level == 0:
                        self._retire(member, worn)
                    continue
                if self._suspects:
                    if level == 0:
                        member.suspect = True
                        self._send(member, self._suspects.pop(0))
                    continue
                if not self._feeding:
                    return
                size = self._sizer.next(self._remaining(), workers)
                room = self._health.room(member.worker)
                if room is not None:
                    size = min(size, room - sum([len(batch) for batch in member.batches.values()]))
                    if size <= 0:
                        continue
                batch, self._kept = self._kept or self._hub.take_without_waiting(size), None
                if batch is None:
                    return
                if batch.local:
                    self._hub.give_back(batch)
                    continue
                if batch.alone and level:
                    self._suspects.append(batch)
                    continue
                if self._budget is not None and not self._has_memory(member, batch, self._budget):
                    return
                member.suspect = batch.alone
                self._send(member, batch)
        if self._budget is not None and self._feeding:
            self._grow(self._budget)

    def _grow(self, budget: Budget) -> None:
        """All workers have enough: one more, if there is something for it to do, and memory."""
        crew = list(self._roster)
        if len(crew) >= self._wanted or any(not member.batches for member in crew):
            return
        self._kept = self._kept or self._hub.take_without_waiting(1)
        if self._kept is not None and budget.fits(None, crew, self._kept):
            self._roster.hire(len(crew) + 1)

    def _has_memory(self, member: Member, batch: Batch, budget: Budget) -> bool:
        """Whether it may begin. Else what can be done is done: wait for others, a fresh worker, or fewer workers."""
        crew = list(self._roster)
        if budget.fits(member, crew, batch):
            return True
        self._kept = batch
        if (
            not member.batches
            and budget.would_help(member, batch)
            and budget.fits(member, crew, batch, renewed=True)
        ):
            self._retire(member, "had grown, and made room under max_memory")
        elif not self.busy:
            fleet.dismiss()
            for other in crew:
                if other is not member and other.worker.pid is not None:
                    self._retire(other, "made room under max_memory", replace=False)
            crew = [member]
            if budget.fits(member, crew, batch):
                self._kept = None
                return True
            if budget.would_help(member, batch):
                self._retire(member, "had grown, and made room under max_memory")
            else:
                self._kept = None
                first = self._hub.isolate(batch, [(0, 1)])[0]
                why, of_item = budget.why_not(member, batch)
                self._hub.put(first, [], does_not_fit(first, why, of_item=of_item))
        return False

    def _spare(self, large: Member, *, end_it: bool) -> None:
        """The tree is about to hold more than it may: idle workers go, and if need be the one that took on most."""
        for member in self._roster:
            if not member.batches and member.worker.pid is not None:
                self._retire(member, "made room under max_memory", replace=False)
        fleet.dismiss()
        if end_it:
            self._bury(large, Why.LARGE)

    def _send(self, member: Member, batch: Batch) -> None:
        began = perf_counter()
        try:
            body, buffers = self._packer.pack(batch.items)
        except Exception as error:
            self._cannot_send(member, batch, error)
            return
        if buffers:
            buffers = member.worker.shared.put(buffers)
        self._sent = (self._sent + 1) & 0x7FFFFFFF
        if self._budget is not None:
            self._budget.begin(member, batch)
        member.batches[self._sent] = batch
        head = wire.BATCH_HEAD.pack(batch.start, self._roster.job)
        alive = member.worker.send(wire.frame(wire.BATCH, self._sent, body, buffers, head))
        size = len(body) + sum([buffer.nbytes for buffer in buffers])
        self._meter.add_ship(len(batch), perf_counter() - began, size)
        if not alive:
            self._bury(member)
        elif member.worker.sending:
            self._roster.listen(member, writing=True)

    def _cannot_send(self, member: Member, batch: Batch, error: Exception) -> None:
        """An item of the batch cannot be pickled: the others go, that one is run here or is a failure."""
        member.suspect = False
        self._news = True  # the others of the batch
        batch = self._hub.isolate(batch, [first_unsendable(batch.items)])[0]
        if not self._hub.keep_local(batch, error):
            self._hub.put(batch, [], cannot_be_sent(batch, error))

    # -- news from a worker --------------------------------------------------------------------------------------

    def _hear(self, member: Member) -> None:
        try:
            for frame in member.worker.receive():
                if frame.kind == wire.DONE:
                    self._done(member, frame)
                elif frame.kind == wire.TALK:
                    self._hearing.hear(frame)
                elif frame.kind == wire.LOST:
                    if frame.number == self._roster.job:  # else of a run that was over before this was known
                        self._dismiss(member, not_loaded(self._hub.job.fn, read_loss(frame)))
                        return
                elif frame.kind not in (wire.READY, wire.FREED):
                    raise wire.BrokenFrame(f"a message of kind {frame.kind}")
        except EOFError:
            self._bury(member)
        except (wire.BrokenFrame, wire.StructError) as error:
            self.replaced.append(f"{member.worker!r} sent what is no message ({error}) and was ended")
            self._bury(member, Why.BABBLED)

    def _done(self, member: Member, frame: wire.Frame) -> None:
        batch = member.batches.get(frame.number)
        if batch is None:
            raise wire.BrokenFrame(f"an answer to batch {frame.number}, which it does not have")
        began = perf_counter()
        ran, back, wall_s, cpu_s, process_s, land_s = wire.DONE_HEAD.unpack_from(frame.body)
        check_sums(ran, back, (wall_s, cpu_s, process_s, land_s), len(batch))
        values, errors, wrote = read_answer(frame, wire.DONE_HEAD.size, len(batch), back, self._hub.job)
        del member.batches[frame.number]
        member.since.clear()
        member.suspect = False
        self._deaths = 0
        self._health.note(member.worker, ran)
        if self._budget is not None:
            self._budget.end(member)
        if UNREADABLE in errors:
            self._not_received(batch, errors[UNREADABLE])
            return
        if ran and not (member.new and self._measured):
            self._measured = True
            self._meter.add_remote(ran, wall_s, cpu_s, process_s, land_s, alone=self._width == 1)
        member.new = False
        if wrote:
            self.wrote.extend(wrote)
        self._settle(batch, values, errors, back)
        self._meter.add_ship(
            max(ran, 1), perf_counter() - began, len(frame.body) + sum(map(len, frame.buffers))
        )

    def _not_received(self, batch: Batch, packed: PackedError) -> None:
        """A batch could not be unpickled, and nothing of it was run: which item is it?"""
        if len(batch) > 1:
            self._suspects += self._hub.isolate(batch, halves(len(batch)))
            return
        failure = not_received(batch, packed)
        if not self._hub.keep_local(batch, failure):
            self._hub.put(batch, [], failure)

    def _settle(self, batch: Batch, values: list[Any], errors: dict[int, PackedError], back: int) -> None:
        """Put what a worker answered."""
        hub = self._hub
        reduced = hub.job.combine is not None
        first: BaseException | None = None
        at = 0
        for offset in sorted(errors):
            error = unpack_error(errors[offset])
            if not hub.job.keep_going or not isinstance(error, Exception):
                first, at = error, offset
                break
            if not reduced:
                failure = hub.failure(batch.start + offset, batch.items[offset], error, errors[offset][3])
                if offset < len(values):
                    values[offset] = failure
                else:
                    values.append(failure)
        failed = len([offset for offset in errors if first is None or offset < at])
        if failed:
            hub.count_failures(failed)
        if reduced:
            hub.put(batch, [None] * at, first, unrun=back, nodes=[] if first is not None else values)
        else:
            hub.put(batch, values[:at] if first is not None else values, first, unrun=back)

    def _dismiss(self, member: Member, lost: CannotTravel) -> None:
        """A worker could not load the function: none of its batches was run, nor would any other worker's be.

        Raises:
            CannotTravel: If this process is not to run them.
        """
        if not self._hub.local_is_fine:
            raise lost
        self.lost = lost
        self._feeding = False
        self._roster.strike(member)
        for batch in member.batches.values():
            self._hub.give_back(batch)
        member.worker.close()

    def _retire(self, member: Member, why: str, *, replace: bool = True) -> None:
        """A worker with nothing in hand makes room, for a fresh one or for what the others do."""
        self._roster.strike(member)
        self._hearing.last_words(member.worker)
        member.worker.close()
        self.replaced.append(f"worker {member.worker.pid} {why}" + (" and was replaced" if replace else ""))
        if replace:
            self._roster.replace()
        else:
            self._roster.shrink()

    # -- deaths --------------------------------------------------------------------------------------------------

    def _bury(self, member: Member, why: Why = Why.ENDED, word: int = IDLE) -> None:
        """A worker has ended, or is ended; ``word``: what on its board is over its time.

        What it had in hand and cannot be the cause runs elsewhere.

        If one item alone can be the cause, it has failed. Else each of those that can is tried again: those that were
        running alone, others in halves. None of their results had arrived.
        """
        worker = member.worker
        if not self._roster.strike(member):
            return
        self._news = True
        running, handling = worker.running(), worker.handling()
        code, why = end(worker, why)
        if why is Why.LATE:
            running = [index for index in running if index == word]
            handling = [index for index in handling if HANDLING - index == word]
        else:
            running, handling = worker.running(), worker.handling()
        babbled = why is Why.BABBLED
        to_blame = member.new and not self.busy  # else it may run in a fresh one, or alone
        if not babbled:
            self._hearing.last_words(worker)
        suspected = suspects(
            list(member.batches.values()), running, handling, self._width if babbled else None
        )
        if why is Why.LARGE and not to_blame:
            suspected = []
        worker.close()
        if member.batches and not babbled:
            self.replaced.append(f"worker {worker.pid} {how_it_ended(code)}; it was replaced")
        for batch in member.batches.values():
            if not any(batch is other for other, _ in suspected):
                self._hub.give_back(batch)
        member.batches.clear()
        certain = len(suspected) == 1 and [end - first for first, end in suspected[0][1]] == [1]
        for batch, parts in suspected:
            apart = self._hub.isolate(batch, parts)
            if certain:
                index, item = apart[0].start, apart[0].items[0]
                error: Exception
                if why is Why.LATE and self._limit is not None:
                    error = too_long(index, item, self._limit.timeout_s, ended=True)
                elif why is Why.LARGE and self._budget is not None:
                    error = too_large(index, item, self._budget.most_bytes)
                else:
                    known = self._health.of_the_dead(worker, code)
                    error = died(index, item, code, why, running=index in running, known=known)
                self._hub.put(apart[0], [], error)
            else:
                self._suspects += apart
        # Where an item is to blame the run has come nearer to its end: it fails, or there are fewer left to suspect.
        self._deaths = 0 if suspected else self._deaths + 1
        if self._deaths >= MOST_DEATHS + self._roster.wanted:
            raise WorkerLost(
                f"{self._deaths} worker processes ended one after the other without finishing anything; the last one "
                f"{how_it_ended(code)}. The machine may be out of memory or of processes (see `whichpool doctor`), or "
                "importing what the function needs may end a process."
            )
        if self._hub.is_open():
            self._roster.replace()

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self, kill: bool) -> None:
        """The run is over. Idle workers go back to the fleet; a busy one starts nothing more; ``kill``: it is ended."""
        self._roster.stop(kill)
