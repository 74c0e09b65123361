"""The worker processes of one run: who is there, how they are waited for, how they leave."""

from __future__ import annotations

import select
import socket
from time import perf_counter

from whichpool._pools import fleet
from whichpool._pools.member import Member
from whichpool._worker import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from whichpool._pools.hearing import Hearing
    from whichpool._worker.luggage import Packed

__all__ = ["Roster"]

# A function with no more bytes than this is sent along with the first batch, and forgotten with the next one's.
SMALL_JOB_BYTES = 100_000
# A worker that was killed is waited for so long: the kernel takes about a millisecond, a core dump longer.
LAST_WAIT_S = 0.3
# A failed run waits so long for its workers to stop between two items, and lets those go that are in a longer one.
QUIETEN_S = 0.100


class Roster:
    """Leases workers, prepares them for the job, and gives them back.

    Args:
        packed: The function and what it captures.
        cores: To be shared among the workers.
        hearing: Who hands on what workers say.
    """

    def __init__(self, packed: Packed, cores: float, hearing: Hearing, *, tight: bool = False) -> None:
        self.job = fleet.new_job_number()
        self.wanted = 0
        self._packed = packed
        self._cores = cores
        self._hearing = hearing
        self._tight = tight  # their memory is limited
        self._threads = 1
        self._members: dict[int, Member] = {}
        self._poll = select.poll()
        self._waker: tuple[socket.socket, socket.socket] | None = None  # wait here, write here

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    @property
    def ready(self) -> int:
        """Workers that are up."""
        return sum(member.worker.pid is not None for member in self)

    @property
    def busy(self) -> int:
        """Batches in the workers' hands."""
        return sum(len(member.batches) for member in self)

    # -- coming and going ----------------------------------------------------------------------------------------

    def hire(self, wanted: int) -> None:
        """Have so many workers; new ones start in the background.

        Raises:
            fleet.CannotStart: None can be had.
        """
        self.wanted = wanted
        missing = wanted - len(self._members)
        if missing > 0:
            for worker in fleet.lease(missing):
                self._join(worker)

    def replace(self) -> None:
        """Have one more in the place of one that left, if there are fewer than wanted; see `hire`."""
        if len(self._members) < self.wanted:
            for worker in fleet.lease(1):
                self._join(worker)

    def shrink(self) -> None:
        """One has left, and shall not be replaced."""
        self.wanted = max(self.wanted - 1, 1)

    def _join(self, worker: fleet.Worker) -> None:
        self._members[worker.fd] = Member(worker)
        self._poll.register(worker.fd, select.POLLIN)
        worker.set_up(self._threads, self._share, self._tight)
        worker.cancel(0)
        self._hearing.later(worker.stray)
        load = self._packed.frame(self.job, worker.send_fd)
        if worker.pid is not None and len(self._packed) < SMALL_JOB_BYTES:
            worker.send_later(load)
        else:
            worker.send(load)  # it loads, and imports what it needs, while the work goes on elsewhere

    def strike(self, member: Member) -> bool:
        """Take a worker off the list; False: it is off already."""
        if self._members.pop(member.worker.fd, None) is None:
            return False
        self._poll.unregister(member.worker.fd)
        return True

    def set_threads(self, threads: int) -> None:
        """Have so many threads in each worker."""
        if threads != self._threads:
            self._threads = threads
            for member in self:
                member.worker.set_up(threads, self._share, self._tight)

    @property
    def _share(self) -> int:
        """Cores for each worker."""
        return max(1, int(self._cores / max(self.wanted, 1)))

    # -- waiting for them ----------------------------------------------------------------------------------------

    def let_wake(self) -> None:
        """Prepare for `wake`, which costs a pair of sockets; before `wait` is first called."""
        if self._waker is None:
            self._waker = socket.socketpair()
            for end in self._waker:
                end.setblocking(False)
            self._poll.register(self._waker[0].fileno(), select.POLLIN)

    @property
    def can_be_woken(self) -> bool:
        """Whether `wake` does anything."""
        return self._waker is not None

    def wake(self) -> None:
        """Make `wait` return; from any thread. Does nothing before `let_wake`."""
        if self._waker is not None:
            try:
                self._waker[1].send(b"\0")
            except OSError:
                pass  # full: it will wake anyway; closed: nobody waits

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Wait for the sockets: their descriptors, and poll's word on each."""
        return self._poll.poll(max(timeout_s, 0.0) * 1000)

    def named(self, ready: list[tuple[int, int]]) -> Iterator[tuple[Member, bool, bool]]:
        """The workers that `wait` named: can be written to, has something to say; who woke it is seen to here."""
        for fd, event in ready:
            if self._waker is not None and fd == self._waker[0].fileno():
                try:
                    self._waker[0].recv(4096)
                except BlockingIOError:
                    pass
                continue
            member = self._members.get(fd)
            if member is not None:
                yield member, bool(event & select.POLLOUT), bool(event & ~select.POLLOUT)

    def listen(self, member: Member, writing: bool) -> None:
        """Wait for room in its socket too, or no more."""
        if writing != member.writing:
            member.writing = writing
            self._poll.modify(member.worker.fd, select.POLLIN | (select.POLLOUT if writing else 0))

    # -- the end -------------------------------------------------------------------------------------------------

    def _quieten(self) -> None:
        """Have busy workers stop after the item in hand, and wait a little for those whose items are short."""
        busy = [member for member in self if member.batches]
        for member in busy:
            member.worker.cancel(self.job)
        deadline = perf_counter() + QUIETEN_S
        while any(member.batches for member in busy) and (left := deadline - perf_counter()) > 0:
            for fd, _ in self.wait(left):
                quiet = self._members.get(fd)
                if quiet is None:
                    continue
                try:
                    for frame in quiet.worker.receive():
                        if frame.kind == wire.DONE:
                            quiet.batches.pop(frame.number, None)
                        elif frame.kind == wire.TALK:
                            self._hearing.hear(frame)
                except (EOFError, wire.BrokenFrame):
                    self._poll.unregister(fd)
                    busy = [other for other in busy if other is not quiet]

    def stop(self, kill: bool) -> None:
        """The run is over. Idle workers go back to the fleet; a busy one starts nothing more; ``kill``: it is ended."""
        if kill:
            for member in self:
                member.worker.kill()
            for member in self:
                member.worker.exit_code(LAST_WAIT_S)  # once this returns, nothing of the run goes on
            self._members.clear()
        else:
            self._quieten()
        for member in self:
            worker = member.worker
            self._hearing.last_words(worker)
            if member.batches or worker.sending:
                worker.close()  # it ends when its current item does, and finds nobody to tell
            else:
                forget = wire.frame(wire.FORGET, self.job, b"")
                if len(self._packed) < SMALL_JOB_BYTES:
                    worker.send_later(forget)
                else:
                    worker.send(forget)
                fleet.give_back(worker)
        self._members.clear()
        self._packed.close()
        if self._waker is not None:
            for end in self._waker:
                end.close()
