"""The work of one run: items not yet taken, batches in progress, what has come back.

Every pool, the caller's thread included, pulls from here and puts back here (the contract is `_pools.base.Hub`). The
rules that make a concurrent run look like a loop are all in this file:

- an item is handed out once; a batch that comes back unstarted is handed out again, before anything new;
- after a failure nothing new starts, but what is before the failing item is still finished, because the *earliest*
  failing item is the one to report;
- no more is taken from the iterable than `limit` and the consumer's pace allow.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from heapq import heappop, heappush
from itertools import islice

from whichpool._pools.base import Batch, Signal
from whichpool._run.gate import Gate
from whichpool._run.pace import Pace
from whichpool._run.sinks import ListSink
from whichpool._run.straight import Straight
from whichpool._worker.calls import NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from whichpool._run.again import Again
    from whichpool._run.feeder import Feeder
    from whichpool._run.run import Run
    from whichpool._run.sinks import StreamSink, TreeSink
    from whichpool._worker.calls import Job


class Work(Straight):
    """See the module's text. Attributes are read freely, and changed only here, under the lock."""

    def __init__(
        self,
        job: Job,
        items: Iterator[Any],
        length: int | None,
        sink: ListSink | StreamSink | TreeSink,
        *,
        limit: int | None = None,
        return_failures: bool = False,
        local_is_fine: bool = False,
    ) -> None:
        self.job = job
        self.length = length
        self.sink = sink
        self.taken = 0
        self.done = 0
        self.recalled = 0  # of those: with a result that was there before the run
        self.failed = 0
        self.in_progress = 0
        self.exhausted = False
        self.finished = False
        self.closed = False
        self.error: BaseException | None = None
        self.error_at: int | None = None  # no item from this index on is started any more
        self.blamed: str | None = None  # which item, in words
        self.last_values: Any = None  # of the newest batch: what a result looks like
        self.last_item: Any = None
        self.caller = get_ident()
        self.caller_signal = Signal()
        self.timeout_s: float | None = None  # what one call may take
        self.again: Again | None = None  # what is to be tried again; None: nothing is
        self.on_change: Callable[[], None] | None = None  # called under the lock
        self.on_arrival: Callable[[], None] | None = None  # called without it
        # Of lists, which the function may make longer while they are worked off, as in any loop.
        self.length_now: Callable[[], int] | None = None
        self._items = items
        self._limit = limit
        self._return_failures = return_failures
        self.local_is_fine = local_is_fine
        self.pace = Pace(limit, bounded=hasattr(sink, "ready"))
        self._running: dict[int, Batch] = {}
        self._returned: list[Batch] = []
        self._local: list[Batch] = []
        self._parked: list[Signal] = []
        self._feeder: Feeder | None = None
        self._lock = allocate_lock()
        self._gate = Gate(self._gate_is_free)

    def open(self, run: Run) -> None:
        """Before anything is taken: make ready what this kind of work needs."""

    # -- taking -------------------------------------------------------------------------------------------------

    def take(self, most: int) -> Batch | None:
        """See `Hub.take`."""
        if self._is_fed():
            return self._take_fed(most)
        if self.length is None:
            most = 1  # the next one may take its time, or wait for what comes of this one
        if not self._gate.enter():
            with self._lock:
                return None if self.closed or self.finished else self._again(self._returned, most)
        try:
            if self._is_fed():  # the feeder has come meanwhile, and takes all
                return self._take_fed(most)
            with self._lock:
                if self.closed or self.finished:
                    return None
                again = self._again(self._returned, most)
                if again is not None:
                    return again
                room = 0 if self.exhausted or self.error is not None else self._room(most)
                if self.length_now is not None:
                    # Never beyond the end: asked once too often, the list's iterator would be over for good.
                    self.length = self.length_now()
                    room = min(room, self.length - self.taken)
                    if room <= 0 and not self.in_progress:
                        self._settle()
                if room <= 0:
                    self._gate.refused = False  # whoever makes room wakes all
                    return None
            items, error = self._pull(room)
            with self._lock:
                if error is not None:
                    self._stop(self.taken + len(items), error, of_items=True)
                elif len(items) < room and self._dry:
                    self.exhausted = True
                batch = Batch(self.taken, items)
                self.taken += len(items)
                if not self.is_open():
                    return None
                if not items:
                    if self.exhausted or self.error is not None:
                        self._settle()
                    return None
                return self._started(batch)
        finally:
            self._gate.leave()

    def _gate_is_free(self) -> None:
        """Somebody was refused at the gate. One is let in after the other: each lets in the next."""
        with self._lock:
            Work._wake(self, 1)
            self._gate.refused = bool(self._parked)
            if self.on_change is not None:
                self.on_change()
        self.caller_signal.set()

    def take_without_waiting(self, most: int) -> Batch | None:
        """As `take`, for a pool that must not wait for an iterable: it has results to see to meanwhile.

        An iterable of unknown length may take its time, or even wait for results of earlier items. From now on a thread
        of its own takes from it, item by item.
        """
        if self.length is not None:
            return self.take(most)
        if self._feeder is None:
            from whichpool._run.feeder import Feeder

            self._feeder = Feeder(self._items, self._gate, self.is_open, self._fed_news)
            try:
                self._feeder.start()  # it is known to be there before it takes anything
            except RuntimeError:  # the system starts no more threads: then this one waits for the iterable
                self._feeder = None
                return self.take(most)
        return self._take_fed(most)

    def _is_fed(self) -> bool:
        return self._feeder is not None

    def _take_fed(self, most: int) -> Batch | None:
        with self._lock:
            feeder = self._feeder
            if self.closed or self.finished or feeder is None:
                return None
            again = self._again(self._returned, most)
            if again is not None or self.exhausted or self.error is not None:
                return again
            room = self._room(most)
            if room <= 0:
                return None
            items = feeder.take(room, most if self._limit is None else min(most, self._limit))
            if items:
                batch = Batch(self.taken, items)
                self.taken += len(items)
                return self._started(batch)
            if feeder.over:
                if feeder.error is not None:
                    self._stop(self.taken, feeder.error, of_items=True)
                self.exhausted = True
                self._settle()
            return None

    def _fed_news(self) -> None:
        with self._lock:
            self._wake()
            if self.on_change is not None:
                self.on_change()
        self.caller_signal.set()

    @property
    def has_local(self) -> bool:
        """Whether something waits that must be run in this process."""
        return bool(self._local)

    def take_local(self, most: int) -> Batch | None:
        """As `take`, but only what must be run in this process."""
        with self._lock:
            return None if self.closed else self._again(self._local, most)

    def _again(self, heap: list[Batch], most: int) -> Batch | None:
        """A batch that came back, if there is one that is still wanted, and if the limit has room for it."""
        if self._limit is not None:
            most = min(most, self._limit - self.in_progress)
        while heap and most > 0:
            batch = heappop(heap)
            if self.error_at is not None and batch.start >= self.error_at:
                continue
            if len(batch) > most:
                batch, rest = batch.split(most)
                heappush(heap, rest)
            return self._started(batch)
        return None

    def _started(self, batch: Batch) -> Batch:
        self._running[batch.start] = batch
        self.in_progress += len(batch)
        return batch

    def _keep(self, failed: Batch) -> None:
        """It waits for another try: still in progress, in nobody's hands."""
        self._started(failed)

    def _back(self, batch: Batch) -> None:
        """Nothing of the batch has been run: it is handed out again, before anything new."""
        heappush(self._returned, batch)

    def nudge(self) -> None:
        """See `Hub.nudge`."""
        with self._lock:
            self._wake(1)

    def _room(self, most: int) -> int:
        return self.pace.room(most, self.in_progress, self.sink.waiting if self.pace.bounded else 0)

    def _pull(self, most: int) -> tuple[list[Any], BaseException | None]:
        """Take items from the iterable; what was taken before it raised is kept."""
        items: list[Any] = []
        self._dry = False
        try:
            items.extend(islice(self._items, most))
            self._dry = len(items) < most
        except BaseException as error:
            if not isinstance(error, Exception) and get_ident() == self.caller:
                raise  # Ctrl-C in the caller's thread is the caller's
            return items, error
        return items, None

    # -- putting back -------------------------------------------------------------------------------------------

    def put(
        self,
        batch: Batch,
        values: list[Any],
        error: BaseException | None = None,
        *,
        unrun: int = 0,
        nodes: list[Any] | None = None,
    ) -> None:
        """See `Hub.put`. ``nodes`` replaces ``values`` where a worker has combined them; then ``values`` has none."""
        if error is not None and self.try_again(batch, values, error):
            return
        n = len(batch)
        ran = n - unrun
        failure = None
        if error is not None and self._return_failures and isinstance(error, Exception):
            failure = self.failure(batch.start + len(values), batch.items[len(values)], error, "")
            unrun = n - len(values) - 1
            ran = len(values) + 1
        with self._lock:
            if not self._ended(batch) or self.closed:
                return
            if failure is not None:
                self.failed += 1
                values.append(NOTHING if hasattr(self.sink, "tree") else failure)
            elif error is not None:
                self._stop(batch.start + len(values), error, batch.items[len(values)])
                ran = len(values)
            self._accept(batch, values, nodes)
            self.done += ran
            if unrun and (error is None or failure is not None):
                self._back(batch.split(n - unrun)[1])
            self._settle()

    def _ended(self, batch: Batch) -> bool:
        """Take it off the books; False: it is not there, for it was given up meanwhile."""
        if self._running.get(batch.start) is not batch:
            return False
        del self._running[batch.start]
        self.in_progress -= len(batch)
        return True

    def _accept(self, batch: Batch, values: list[Any], nodes: list[Any] | None = None) -> None:
        if values:
            self.last_values = values[-1]
            self.last_item = batch.items[len(values) - 1]
        try:
            if nodes is None:
                self.sink.accept(batch.start, values)
            else:
                self.sink.accept_nodes(nodes)  # type: ignore[union-attr]  # only a reduction has nodes
        except BaseException as combine_error:
            self._stop(batch.start, combine_error, batch.items[0])

    def try_again(self, batch: Batch, values: list[Any], error: BaseException) -> bool:
        """After ``values`` an item of the batch raised ``error``; if it has another try, see to all of the batch."""
        at = batch.start + len(values)
        if self.again is None or self.closed or (self.error_at is not None and at >= self.error_at):
            return False
        wait_s = self.again.wait_s(at, error)
        if wait_s is None:
            return False
        with self._lock:
            if not self._ended(batch):
                return True
            self._accept(batch, values)
            self.done += len(values)
            failed, rest = batch.split(len(values))[1].split(1)
            if rest.items:
                self._back(rest)
            self._keep(failed)
            self._settle()
        self.again.later(failed, wait_s, error)
        return True

    def give_back(self, batch: Batch) -> None:
        """See `Hub.give_back`."""
        with self._lock:
            if not self._ended(batch):
                return
            if batch.local:
                heappush(self._local, batch)
            else:
                self._back(batch)
            self._settle()

    def isolate(self, batch: Batch, parts: list[tuple[int, int]]) -> list[Batch]:
        """See `Hub.isolate`."""
        apart = []
        with self._lock:
            if not self._ended(batch):
                return []
            rest = batch
            for first, end in sorted(parts):
                before, rest = rest.split(batch.start + first - rest.start)
                alone, rest = rest.split(end - first)
                if before.items:
                    self._back(before)
                apart.append(self._started(alone))
            if rest.items:
                self._back(rest)
            self._settle()
        return apart

    def keep_local(self, batch: Batch, why: BaseException) -> bool:
        """See `Hub.keep_local`."""
        if not self.local_is_fine:
            return False
        batch.local = True
        self.give_back(batch)
        self.caller_signal.set()
        return True

    def failure(self, index: int, item: Any, error: BaseException, text: str) -> Any:
        """See `Hub.failure`."""
        from whichpool._run.blame import failure

        return failure(index, item, error, text)

    def count_failures(self, n: int) -> None:
        """So many failures stand in results that were put."""
        with self._lock:
            self.failed += n

    def _stop(self, at: int, error: BaseException, item: Any = None, of_items: bool = False) -> None:
        """Item ``at`` failed (or could not be had): nothing from it on is started; the earliest failure wins."""
        if self.error_at is None or at < self.error_at:
            from whichpool._run.blame import describe

            self.error, self.error_at = error, at
            self.blamed = describe(at, item, of_items)

    def fail(self, error: BaseException) -> None:
        """The run as a whole cannot go on: everything ends with this error, whatever was done."""
        with self._lock:
            self.error, self.error_at, self.blamed = error, 0, None
            self._settle()

    # -- the end ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Something changed: find out whether all is over, and wake who waits for news."""
        if self.error_at is not None:
            at = self.error_at
            self.finished = not any(
                batch.start < at
                for batches in (self._running.values(), self._returned, self._local)
                for batch in batches
            )
        elif not self._running and not self._returned and not self._local:
            if self.length_now is not None and not self.exhausted:
                self.exhausted = self.taken >= self.length_now()
            self.finished = self.finished or self.exhausted
        if self.finished or self.pace.bounded or self._returned or self._local or self._limit is not None:
            self.caller_signal.set()  # there may be something for the caller's thread again
        grown = self.length_now is not None and self.length_now() > (self.length or 0)
        if self.finished or self._returned or self._limit is not None or grown:
            self._wake()
        elif self.on_change is not None and self.closed:
            self.on_change()

    def _wake(self, most: int | None = None) -> None:
        """Have so many parked threads (all of them, by default) ask for work again, and the workers' server too."""
        if self._feeder is not None and not self.is_open():
            self._feeder.go_on()
        for signal in self._parked[:most]:
            signal.set()
        del self._parked[:most]
        if self.on_change is not None and (self.finished or self._returned or self.closed):
            self.on_change()

    def consumed(self) -> None:
        """The consumer has taken results: if there is room again, whoever was told "nothing now" should ask again."""
        if not self.pace.resumes(self.sink.waiting):
            return
        with self._lock:
            self._wake()
            if self.on_change is not None:
                self.on_change()

    def close(self) -> None:
        """Nothing more is wanted: batches that come back are dropped."""
        with self._lock:
            self.closed = self.finished = True
            self._returned.clear()
            self._local.clear()
            self._wake()
        self.caller_signal.set()

    def drop_sink(self) -> None:
        """The results are the caller's now; holding on to them would keep them alive as long as the report."""
        self.sink = ListSink([])

    def release(self) -> None:
        """The run is over: let go of the caller's items and of what was to be done."""
        with self._lock:
            self._items, self.length_now, self._feeder = iter(()), None, None
            self.last_item = self.last_values = None
            self._running.clear()
            self._returned.clear()
            self._local.clear()

    def park(self, signal: Signal) -> bool:
        """Have ``signal`` raised at the next change; False: it is all over, do not wait."""
        with self._lock:
            if self.finished or self.closed:
                return False
            self._parked.append(signal)
            return True

    def is_open(self) -> bool:
        """See `Hub.is_open`."""
        return not (self.finished or self.closed)

    @property
    def ran(self) -> int:
        """Items that were run to their end."""
        return self.done - self.recalled

    @property
    def remaining(self) -> int | None:
        """Items not finished, those in progress included; ``None`` where the length is not known."""
        if self.exhausted:
            return self.taken - self.done
        return None if self.length is None else max(self.length - self.done, 0)
