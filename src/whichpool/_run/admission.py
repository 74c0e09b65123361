"""Limits by key: which items may begin, and which are kept aside until there is room for theirs.

    iterable -> key of the item -> room?  yes: begins
                                          no:  kept aside, behind others of its key, and the next item is looked at

A kind of `Work`, so that pools see nothing of it: what comes back (a retry, a batch of a lost worker) is kept in the
same place as what could not begin yet. Items are handed out one at a time. How many calls a key may have is
`_choose`'s to say (`Allowance`); time is read here.
"""

from __future__ import annotations

from _thread import get_ident
from heapq import nlargest
from time import monotonic, process_time, sleep
from typing import Any

from whichpool._choose.allowance import Allowance
from whichpool._host import gil_enabled
from whichpool._pools.base import Batch
from whichpool._records import LimitReached
from whichpool._run.aside import Aside, Key
from whichpool._run.timekeeper import Timekeeper
from whichpool._run.work import Work
from whichpool._worker.calls import ONE, STAR, short_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from whichpool._records import Limit

__all__ = ["MOST_ASIDE", "keyed"]

# So many items, at the most, are kept aside because there is no room for their key, or wait for another try. A guess:
# a thousand names or URLs take a megabyte at the most, and look a thousand items ahead for another key.
MOST_ASIDE = 1_000
# Once so many are, further ones are looked for when this share of them has gone, in one go: for each one that goes,
# another thread would be woken. A guess.
REFILL = 1 / 32
# What is known of so many keys is remembered; of more, the half that was used longest ago is forgotten, if it is at
# rest. A guess: 1 KB each.
MOST_KEYS = 10_000
# The report has so many keys.
REPORTED = 20
# Where nothing is said of the whole, as many as there are.
NO_LIMIT = 1 << 60


class Admission(Work):
    """Work of which only so much may be in progress, in all and for each key."""

    def __init__(self, *args: Any, limit: Limit, **options: Any) -> None:
        super().__init__(*args, limit=limit.most, **options)
        self._wish = limit
        self._most = limit.most if limit.most is not None else NO_LIMIT
        self._limit = self._most  # for `Work`: there is one, so whoever makes room says so
        self._returned = self._aside = Aside()  # type: ignore[assignment]  # all that `Work` does with it, it has
        self._keys: dict[Hashable, Key] = {}
        self._slots: dict[int, tuple[Key, float]] = {}  # of items in progress: when they began
        self._kept = 0  # items that wait for another try, in nobody's hands
        self._began = 0  # items so far
        self._comes_back = False  # who puts something back asks for more next
        self._full = False  # as many are aside as may be, or have been until a moment ago
        self._one_core = gil_enabled()  # whether the threads of this process have one between them
        self._pauses = Timekeeper(self.fail)
        self._reached: tuple[LimitReached, ...] = ()

    # -- keys ----------------------------------------------------------------------------------------------------

    def _name_of(self, item: Any) -> Hashable:
        key = self._wish.key
        if key is None:
            return None
        shape = self.job.shape
        if shape == ONE:
            name = key(item)
        elif shape == STAR:
            name = key(*item)
        else:  # a submitted call: ((fn, args, kwargs), {})
            name = key(*item[0][1], **item[0][2])
        hash(name)
        return name

    def _key(self, name: Hashable) -> Key:
        """What is known of a key."""
        key = self._keys.get(name)
        if key is None:
            wish = self._wish
            first = wish.first
            if wish.learned is not None:
                try:
                    known = wish.learned.get(name)
                except Exception as error:  # a mapping of the caller's own
                    self._stop(self.taken, error)
                    known = None
                if isinstance(known, int) and not isinstance(known, bool):
                    first = known
            fixed = wish.first >= wish.per_key and not wish.slow_on
            allowance = Allowance(wish.per_key if fixed else first, wish.per_key, fixed=fixed)
            if len(self._keys) >= MOST_KEYS:
                self._forget()
            key = self._keys[name] = Key(name, allowance)
        return key

    def _forget(self) -> None:
        """Of the keys at rest, those that were not used for longest."""
        now = monotonic()
        rest = [
            key
            for key in self._keys.values()
            if not key.aside and not key.allowance.in_progress and key.allowance.paused_until <= now
        ]
        rest.sort(key=lambda key: key.used)
        held = {id(batch.key) for batch in self._running.values()}
        for key in rest[: MOST_KEYS // 2]:
            if id(key) not in held:
                del self._keys[key.name]

    # -- taking --------------------------------------------------------------------------------------------------

    @property
    def goes_through(self) -> bool:
        """Never: each item is looked at first."""
        return False

    @property
    def _active(self) -> int:
        """Items that are being run, or are in the hands of who will."""
        return self.in_progress - self._kept

    def _may_take(self) -> bool:
        """Whether one more item may be taken from the iterable."""
        if self.exhausted or self.error is not None:
            return False
        aside = len(self._aside) + self._kept
        if aside >= (MOST_ASIDE - int(REFILL * MOST_ASIDE) if self._full else MOST_ASIDE):
            self._full = True
            return False
        self._full = False
        if self._wish.key is None and (self._aside or self._key(None).allowance.room(monotonic()) <= 0):
            return False
        return self._room(1) > 0

    def _room(self, most: int) -> int:
        return self.pace.room(most, self._active, self.sink.waiting if self.pace.bounded else 0)

    def _again(self, heap: list[Batch], most: int) -> Batch | None:
        if self._active >= self._most or most <= 0:
            return None
        now = monotonic()
        if heap is self._local:
            for batch in sorted(heap):
                if batch.key.allowance.room(now) > 0 and self._is_wanted(batch):
                    heap.remove(batch)
                    heap.sort()
                    return self._started(batch)
            return None
        if self.pace.bounded and self._room(1) <= 0:
            # Results lie about. In order, though, they may wait for an item that is kept aside.
            found = self._aside.pop_at(self.sink.awaited, now)  # type: ignore[union-attr]  # a stream's
            return self._on_with(found) if found is not None and self._is_wanted(found) else None
        while (found := self._aside.pop(now)) is not None:
            if self._is_wanted(found):
                return self._on_with(found)
            self._aside.list_(found.key, now)
        return None

    def _is_wanted(self, batch: Batch) -> bool:
        return self.error_at is None or batch.start < self.error_at

    def _on_with(self, batch: Batch) -> Batch:
        """It begins; another thread may look for the next."""
        self._started(batch)
        self._aside.list_(batch.key, monotonic())
        self._wake(1)
        return batch

    def take(self, most: int) -> Batch | None:
        """As `Work.take`: one item, for which there is room."""
        while True:
            if self._is_fed():
                return self._take_fed(most)
            with self._lock:
                if self.closed or self.finished:
                    return None
                back = self._again(self._returned, most)
                if back is not None:
                    return back
                if self.length_now is not None:
                    self.length = self.length_now()
                    if self.taken >= self.length:
                        if not self.in_progress:
                            self._settle()
                        return None
                if not self._may_take():
                    self._gate.refused = False  # whoever makes room wakes others
                    return None
            if not self._gate.enter():
                return None
            try:
                done, batch = self._take_one()
            finally:
                self._gate.leave()
            if done:
                return batch

    def _take_one(self) -> tuple[bool, Batch | None]:
        """In the gate: the next item, if it may begin; False: look again."""
        with self._lock:  # others were here meanwhile
            if self._is_fed() or not self.is_open() or not self._may_take():
                return False, None
            if self.length_now is not None and self.taken >= self.length_now():
                return False, None
        items, error = self._pull(1)
        name: Hashable = None
        of_items = error is not None
        if items:
            try:
                name = self._name_of(items[0])
            except BaseException as raised:
                if not isinstance(raised, Exception) and get_ident() == self.caller:
                    raise
                error = raised
        with self._lock:
            if error is not None:
                self._stop(self.taken, error, items[0] if items else None, of_items=of_items)
            elif not items:
                self.exhausted = self._dry
            if error is not None or not items:
                self.taken += len(items)
                if self.is_open():
                    self._settle()
                return True, None
            batch = self._arrived(items, name)
            if not self.is_open():
                return True, None
            return batch is not None, batch

    def _take_fed(self, most: int) -> Batch | None:
        with self._lock:
            feeder = self._feeder
            if self.closed or self.finished or feeder is None:
                return None
            back = self._again(self._returned, most)
            if back is not None:
                return back
            while self._may_take():
                items = feeder.take(1, 1)
                if not items:
                    break
                try:
                    name = self._name_of(items[0])
                except BaseException as error:
                    self._stop(self.taken, error, items[0])
                    self.taken += 1
                    self._settle()
                    return None
                batch = self._arrived(items, name)
                if batch is not None:
                    return batch
            if feeder.over and not self.exhausted:
                if feeder.error is not None:
                    self._stop(self.taken, feeder.error, of_items=True)
                self.exhausted = True
                self._settle()
            return None

    def _arrived(self, items: list[Any], name: Hashable) -> Batch | None:
        """A new item: begun if there is room, else kept aside, behind those of its key."""
        key = self._key(name)
        batch = Batch(self.taken, items, key=key)
        self.taken += 1
        now = monotonic()
        if key.aside or key.allowance.room(now) <= 0 or self._active >= self._most:
            self._aside.add(batch, now)
            return None
        return self._on_with(batch)

    def _started(self, batch: Batch) -> Batch:
        key: Key = batch.key
        self._began += 1
        key.used = self._began
        key.allowance.begin()
        self._slots[batch.start] = key, monotonic()
        return super()._started(batch)

    def _keep(self, failed: Batch) -> None:
        """While it waits for another try it takes no room from others."""
        super()._started(failed)
        self._kept += 1

    def _back(self, batch: Batch) -> None:
        self._aside.add(batch, monotonic())

    def _ended(self, batch: Batch) -> bool:
        if not super()._ended(batch):
            return False
        slot = self._slots.pop(batch.start, None)
        if slot is None:
            self._kept -= 1
        else:
            slot[0].allowance.leave()
            self._aside.list_(slot[0], monotonic())
        return True

    def _accept(self, batch: Batch, values: list[Any], nodes: list[Any] | None = None) -> None:
        super()._accept(batch, values, nodes)
        self._comes_back = batch.asks_next == get_ident()  # and not, say, the clock's, which gave it up

    def _settle(self) -> None:
        super()._settle()
        self._comes_back = False

    def _wake(self, most: int | None = None) -> None:
        """Wake one thread if there is something for it, which wakes the next: not a crowd for one place.

        None where the thread that makes room is a pool's, which asks next: handed from thread to thread, an item of a
        tenth of a millisecond costs as much again.
        """
        if self.is_open() and self.error_at is None:
            if self._comes_back and most is None:
                super()._wake(0)
                return
            startable = self._active < self._most and (self._aside.is_ready or self._may_take())
            if not startable and most is not None:
                return
            most = 1 if startable else 0
        super()._wake(most)

    # -- what came of them ---------------------------------------------------------------------------------------

    def observe(self, batch: Batch, values: list[Any], error: BaseException | None) -> None:
        """A call ended, whether it is tried again or not: what the key's allowance makes of it."""
        wish, amount, wrong, pause_s = self._wish, 1.0, None, 0.0
        if error is None and values and wish.amount is not None:
            try:
                amount = float(wish.amount(values[0]))
            except Exception as raised:
                wrong = raised
        too_much = error is not None and isinstance(error, wish.slow_on)
        if too_much:
            pause_s = _seconds(getattr(error, "retry_after_s", None))
        now, longer = monotonic(), False
        with self._lock:
            slot = self._slots.get(batch.start)
            if slot is None or self._running.get(batch.start) is not batch:
                return
            key, began = slot
            key.items += 1
            before = key.allowance.settled
            if too_much:
                key.allowance.too_much(now, began)
                longer = pause_s > 0 and key.allowance.pause(now, pause_s)
            elif error is None and values and wrong is None:
                key.allowance.did(now, began, amount, process_time() if self._one_core else 0.0)
            after = key.allowance.settled
            if after != before and wish.learned is not None:
                try:
                    wish.learned[key.name] = after
                except Exception as raised:
                    wrong = raised
        if longer:
            self._pause(key, key.allowance.paused_until - now)
        if wrong is not None:
            self.fail(wrong)

    def _pause(self, key: Key, seconds: float) -> None:
        def over() -> None:
            with self._lock:
                self._aside.list_(key, monotonic())
                if not self.is_open() or not key.aside:
                    return
                self._wake()
                if self.on_change is not None:
                    self.on_change()
            self.caller_signal.set()

        # A little later than the end, which is then surely past.
        if not self._pauses.after(seconds + 0.001, over):
            sleep(seconds)  # the system starts no thread that would see to it
            over()

    def usable(self) -> int:
        """How many calls at once could be of use now, or soon: by the keys that have work, and one that may come."""
        with self._lock:
            keys = {id(key): key for key in self._aside.keys}
            keys.update((id(key), key) for key, _ in self._slots.values())
            calls = sum([key.allowance.level for key in keys.values()])
            if self._wish.key is not None and not self.exhausted and len(self._aside) < MOST_ASIDE:
                calls += min(self._wish.first, self._wish.per_key)
            return max(1, min(calls or self._wish.first, self._most))

    # -- the end -------------------------------------------------------------------------------------------------

    def reached(self) -> tuple[LimitReached, ...]:
        """Of the busiest keys: what their limits reached."""
        with self._lock:
            if not self._keys:
                return self._reached
            busiest = nlargest(REPORTED, self._keys.values(), key=lambda key: key.items)
            return tuple(
                [
                    LimitReached(
                        key=None if self._wish.key is None else short_repr(key.name, 60),
                        at_once=key.allowance.settled,
                        items=key.items,
                        slowed=key.allowance.slowed,
                        paused_s=key.allowance.paused_s,
                    )
                    for key in busiest
                    if key.items
                ]
            )

    def release(self) -> None:
        """As `Work.release`."""
        self._pauses.stop()
        self._reached = self.reached()
        super().release()
        with self._lock:
            self._slots.clear()
            self._keys.clear()


class Observed:
    """What a pool puts is seen here first, before any kind of work makes something else of it."""

    if TYPE_CHECKING:

        def observe(self, batch: Batch, values: list[Any], error: BaseException | None) -> None: ...

    def put(self, batch: Batch, values: list[Any], error: BaseException | None = None, **more: Any) -> None:
        self.observe(batch, values, error)
        super().put(batch, values, error, **more)  # type: ignore[misc]  # of the kind of work beside it


def keyed(kind: type[Work]) -> Callable[..., Any]:
    """This kind of work, with limits by key."""
    bases = (Observed, Admission) if kind is Work else (Observed, kind, Admission)
    return type(f"Keyed{kind.__name__}", bases, {})


def _seconds(value: object) -> float:
    """A number of seconds that an exception names; 0: it names none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        return 0.0
    return float(value)
