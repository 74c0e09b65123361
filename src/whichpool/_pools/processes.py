"""Worker processes: batches go out, results come in, deaths are noticed; all from one thread at a time.

    hub --take--> [Worker, Worker, ...] --put--> hub
                   |  up to `depth` batches each: so many being run, one at hand

`step` does what can be done now and then waits for the sockets. Nothing here blocks on a worker: a message that does
not fit is sent on when there is room, so that a worker which is itself waiting for us to read is never waited for.
"""

from __future__ import annotations

import select
import socket
import threading
from signal import SIGKILL
from time import perf_counter

from whichpool._pools import fleet
from whichpool._pools.packing import Packer, cannot_be_sent, first_unsendable
from whichpool._pools.remains import (
    check_sums,
    died,
    how_it_ended,
    not_loaded,
    not_received,
    read_answer,
    read_loss,
    unpack_error,
)
from whichpool._pools.suspects import halves, suspects
from whichpool._worker import wire
from whichpool._worker.main import UNREADABLE
from whichpool.errors import CannotTravel, WorkerLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from whichpool._pools.base import Batch, Hub
    from whichpool._worker.calls import PackedError

    class Sizer(Protocol):
        """Says how many items a batch has, and whether a worker should have one at hand."""

        def next(self, remaining: int | None, workers: int) -> int: ...
        def prefetch(self) -> bool: ...

    class Meter(Protocol):
        """Is told what was measured."""

        def add_remote(
            self, calls: int, wall_s: float, cpu_s: float, process_cpu_s: float, land_s: float, alone: bool
        ) -> None: ...
        def add_ship(self, calls: int, ship_s: float, payload_bytes: int | None) -> None: ...


# A function with no more bytes than this is sent along with the first batch, and forgotten with the next one's.
SMALL_JOB_BYTES = 100_000
# After so many deaths with no item finished or blamed in between, the fault is taken to be the machine's.
MOST_DEATHS = 5
# A worker that was killed is waited for so long: the kernel takes about a millisecond, a core dump longer.
LAST_WAIT_S = 0.3
# A worker whose socket has closed has mostly ended, and the kernel says so within milliseconds; after so long it is
# taken to have closed the socket itself and to go on, and is ended. One that only ends slowly keeps its own exit code.
LET_GO_S = 0.25
# A failed run waits so long for its workers to stop between two items, and lets those go that are in a longer one.
QUIETEN_S = 0.100


class Member:
    """One worker of the crew, and what it has in hand."""

    def __init__(self, worker: fleet.Worker) -> None:
        self.worker = worker
        self.batches: dict[
            int, Batch
        ] = {}  # number on the wire -> batch, in the order in which they were sent
        self.writing = False
        self.new = True  # its first batch, in which it may load what the others find loaded, does not count
        self.suspect = False  # it was given one item alone, to see whether that item kills


class Processes:
    """The crew of one run."""

    def __init__(
        self,
        hub: Hub,
        job_bytes: bytes,
        sizer: Sizer,
        meter: Meter,
        remaining: Callable[[], int | None],
        cores: float = 1.0,
    ) -> None:
        self._hub = hub
        self._job_bytes = job_bytes
        self._job = fleet.new_job_number()
        self._sizer = sizer
        self._meter = meter
        self._remaining = remaining
        self._packer = Packer(hub.job)
        self._cores = cores
        self._members: dict[int, Member] = {}
        self._wanted = 0
        self._threads = 1
        self._feeding = False
        self._width = 1
        self._sent = 0
        self._deaths = 0
        self._measured = False
        self._suspects: list[Batch] = []  # each to be tried alone, to see whether it kills
        self._poll = select.poll()
        self._news = True  # since `step` last gave out, there may be more to give
        self._waker: tuple[socket.socket, socket.socket] | None = None  # wait here, write here
        self._lock = threading.Lock()  # held by whoever gives out or takes in; not while waiting
        self.replaced: list[str] = []  # what became of workers that ended, for the report
        self.lost: CannotTravel | WorkerLost | None = (
            None  # no worker can do it: the function does not load, or they end
        )
        self.wrote: list[str] = []  # names that a worker saw change
        self.resident_bytes: int | None = None

    # -- what the run wants --------------------------------------------------------------------------------------

    def hire(self, wanted: int) -> None:
        """Have so many workers; new ones start in the background.

        Raises:
            fleet.CannotStart: None can be had.
        """
        self._wanted = wanted
        missing = wanted - len(self._members)
        if missing > 0:
            for worker in fleet.lease(missing):
                self._join(worker)

    def _join(self, worker: fleet.Worker) -> None:
        self._members[worker.fd] = Member(worker)
        self._poll.register(worker.fd, select.POLLIN)
        worker.set_up(self._threads, self._share)
        worker.cancel(0)
        load = wire.frame(wire.LOAD, self._job, self._job_bytes)
        if worker.pid is not None and len(self._job_bytes) < SMALL_JOB_BYTES:
            worker.send_later(load)
        else:
            worker.send(load)  # it loads, and imports what it needs, while the work goes on elsewhere

    def feed(self, processes: int, threads: int) -> None:
        """Give batches to this many workers from now on, so many at a time to each; 0 processes: to none."""
        self._feeding = processes > 0
        self._news = True
        if threads != self._threads:
            self._threads = threads
            for member in self._members.values():
                member.worker.set_up(threads, self._share)
        self._width = threads

    @property
    def _share(self) -> int:
        """Cores for each worker."""
        return max(1, int(self._cores / max(self._wanted, 1)))

    @property
    def ready(self) -> int:
        """Workers that are up."""
        return sum(member.worker.pid is not None for member in self._members.values())

    @property
    def busy(self) -> int:
        """Batches in the workers' hands."""
        return sum(len(member.batches) for member in self._members.values())

    def let_wake(self) -> None:
        """Prepare for `wake`, which costs a pair of sockets; before `step` is first called."""
        if self._waker is None:
            self._waker = socket.socketpair()
            for end in self._waker:
                end.setblocking(False)
            self._poll.register(self._waker[0].fileno(), select.POLLIN)

    def wake(self) -> None:
        """Make `step` return from its wait; from any thread. Does nothing before `let_wake`."""
        if self._waker is not None:
            self._news = True
            try:
                self._waker[1].send(b"\0")
            except OSError:
                pass  # full: it will wake anyway; closed: nobody waits

    def offer(self) -> None:
        """There is something to give out: do so at once, on the calling thread, or have `step` do it."""
        if not self._feeding or not self._lock.acquire(blocking=False):
            self.wake()
            return
        try:
            self._give()
            if any(member.writing for member in self._members.values()):
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
        if self._news or self._waker is None:
            # Where nobody can tell of news there may always be some.
            with self._lock:
                self._news = False
                if self._feeding or self._suspects:
                    self._give()
                if not self._hub.is_open() and not self.busy:
                    return
        ready = self._poll.poll(max(timeout_s, 0.0) * 1000)
        with self._lock:
            self._take_in(ready)
            if self._feeding or self._suspects:  # these are tried in no other place
                self._give()

    def _take_in(self, ready: list[tuple[int, int]]) -> None:
        """See to the sockets that poll named."""
        for fd, event in ready:
            if self._waker is not None and fd == self._waker[0].fileno():
                try:
                    self._waker[0].recv(4096)
                except BlockingIOError:
                    pass
                continue
            member = self._members.get(fd)
            if member is None:
                continue
            if event & select.POLLOUT and member.worker.flush() and not member.worker.sending:
                self._listen(member, writing=False)
            if event & ~select.POLLOUT:
                self._hear(member)

    def _listen(self, member: Member, writing: bool) -> None:
        if writing != member.writing:
            member.writing = writing
            self._poll.modify(member.worker.fd, select.POLLIN | (select.POLLOUT if writing else 0))

    def _give(self) -> None:
        """Hand out batches, to the workers with the fewest first, until all have enough or there are no more."""
        depth = self._width + (1 if self._sizer.prefetch() else 0)
        for level in range(depth):
            for member in list(self._members.values()):
                if member.worker.pid is None or len(member.batches) != level or member.suspect:
                    continue
                if self._suspects:
                    if level == 0:
                        member.suspect = True
                        self._send(member, self._suspects.pop(0))
                    continue
                if not self._feeding:
                    return
                workers = max(len(self._members), 1) * self._width
                batch = self._hub.take_without_waiting(self._sizer.next(self._remaining(), workers))
                if batch is None:
                    return
                if batch.local:
                    self._hub.give_back(batch)
                    continue
                self._send(member, batch)

    def _send(self, member: Member, batch: Batch) -> None:
        began = perf_counter()
        try:
            body, buffers = self._packer.pack(batch.items)
        except Exception as error:
            self._cannot_send(member, batch, error)
            return
        self._sent = (self._sent + 1) & 0x7FFFFFFF
        member.batches[self._sent] = batch
        head = wire.BATCH_HEAD.pack(batch.start, self._job)
        alive = member.worker.send(wire.frame(wire.BATCH, self._sent, body, buffers, head))
        size = len(body) + sum([buffer.nbytes for buffer in buffers])
        self._meter.add_ship(len(batch), perf_counter() - began, size)
        if not alive:
            self._bury(member)
        elif member.worker.sending:
            self._listen(member, writing=True)

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
                elif frame.kind == wire.LOST:
                    if frame.number == self._job:  # else of a run that was over before this was known
                        self._dismiss(member, not_loaded(self._hub.job.fn, read_loss(frame)))
                        return
                elif frame.kind != wire.READY:
                    raise wire.BrokenFrame(f"a message of kind {frame.kind}")
        except EOFError:
            self._bury(member)
        except (wire.BrokenFrame, wire.StructError) as error:
            self.replaced.append(f"{member.worker!r} sent what is no message ({error}) and was ended")
            self._bury(member, babbled=True)

    def _done(self, member: Member, frame: wire.Frame) -> None:
        batch = member.batches.get(frame.number)
        if batch is None:
            raise wire.BrokenFrame(f"an answer to batch {frame.number}, which it does not have")
        began = perf_counter()
        ran, back, wall_s, cpu_s, process_s, land_s = wire.DONE_HEAD.unpack_from(frame.body)
        check_sums(ran, back, (wall_s, cpu_s, process_s, land_s), len(batch))
        values, errors, wrote = read_answer(frame, wire.DONE_HEAD.size, len(batch), back, self._hub.job)
        del member.batches[frame.number]
        member.suspect = False
        self._deaths = 0
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
        del self._members[member.worker.fd]
        self._poll.unregister(member.worker.fd)
        for batch in member.batches.values():
            self._hub.give_back(batch)
        member.worker.close()

    # -- deaths --------------------------------------------------------------------------------------------------

    def _bury(self, member: Member, babbled: bool = False) -> None:
        """A worker has ended, or ``babbled`` and is ended. What it had in hand and cannot be the cause runs elsewhere.

        If one item alone can be the cause, it has failed. Else each of those that can is tried again: those that were
        running alone, others in halves. None of their results had arrived.
        """
        worker = member.worker
        if self._members.pop(worker.fd, None) is None:
            return
        self._poll.unregister(worker.fd)
        self._news = True
        if babbled:
            worker.server.kill(worker.token)
        code = worker.exit_code(LET_GO_S)
        severed = code is None and not babbled
        if code is None:
            worker.server.kill(worker.token)
            code = worker.exit_code()
            severed = severed and code == -SIGKILL  # one that was just about to end has a code of its own
        running = worker.running()
        suspected = suspects(
            list(member.batches.values()), running, worker.handling(), self._width if babbled else None
        )
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
                error = died(index, item, code, running=index in running, babbled=babbled, severed=severed)
                self._hub.put(apart[0], [], error)
            else:
                self._suspects += apart
        # Where an item is to blame the run has come nearer to its end: it fails, or there are fewer left to suspect.
        self._deaths = 0 if suspected else self._deaths + 1
        if self._deaths >= MOST_DEATHS + self._wanted:
            raise WorkerLost(
                f"{self._deaths} worker processes ended one after the other without finishing anything; the last one "
                f"{how_it_ended(code)}. The machine may be out of memory or of processes (see `whichpool doctor`), or "
                "importing what the function needs may end a process."
            )
        if self._hub.is_open() and len(self._members) < self._wanted:
            for replacement in fleet.lease(1):
                self._join(replacement)

    # -- the end -------------------------------------------------------------------------------------------------

    def _quieten(self) -> None:
        """Have busy workers stop after the item in hand, and wait a little for those whose items are short."""
        busy = [member for member in self._members.values() if member.batches]
        for member in busy:
            member.worker.cancel(self._job)
        deadline = perf_counter() + QUIETEN_S
        while any(member.batches for member in busy) and (left := deadline - perf_counter()) > 0:
            for fd, _ in self._poll.poll(left * 1000):
                quiet = self._members.get(fd)
                if quiet is None:
                    continue
                try:
                    for frame in quiet.worker.receive():
                        if frame.kind == wire.DONE:
                            quiet.batches.pop(frame.number, None)
                except (EOFError, wire.BrokenFrame):
                    self._poll.unregister(fd)
                    busy = [other for other in busy if other is not quiet]

    def stop(self, kill: bool) -> None:
        """The run is over. Idle workers go back to the fleet; a busy one starts nothing more; ``kill``: it is ended."""
        if kill:
            for member in self._members.values():
                member.worker.kill()
            for member in self._members.values():
                member.worker.exit_code(LAST_WAIT_S)  # once this returns, nothing of the run goes on
            self._members.clear()
        else:
            self._quieten()
        for member in self._members.values():
            worker = member.worker
            if member.batches or worker.sending:
                worker.close()  # it ends when its current item does, and finds nobody to tell
            else:
                forget = wire.frame(wire.FORGET, self._job, b"")
                if len(self._job_bytes) < SMALL_JOB_BYTES:
                    worker.send_later(forget)
                else:
                    worker.send(forget)
                fleet.give_back(worker)
        self._members.clear()
        if self._waker is not None:
            for end in self._waker:
                end.close()
