"""Batches run in this process: by the caller's thread, or by a thread of a pool.

The one loop that must cost nothing: a function of 100 ns is called from here at the speed of the plain loop. So items
go through `map` in batches that grow until one takes about a millisecond, and clocks are read once a batch.
"""

from __future__ import annotations

from _thread import RLock, allocate_lock, get_ident, get_native_id
from time import perf_counter, process_time

from whichpool._worker.calls import reseed
from whichpool._worker.delay import run_delay_clock

try:
    from time import thread_time
except ImportError:  # pragma: no cover  (no per-thread CPU clock on this platform)
    from time import process_time as thread_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._measure.gil import Heart
    from whichpool._measure.profile import Profile
    from whichpool._pools.base import Batch, Hub

# A batch of this process takes about so long. Two locks and four clock reads a batch cost about 5 us, 0.5 % of it;
# ten times longer would delay the answer to a change of plan to where a person sees it.
BATCH_S = 0.001
# Items of at least this are run one at a time, so that each one's duration is known.
SINGLE_S = 0.0002
# A batch in this process has no more items than this: they are held twice while it runs.
MOST_ITEMS = 65_536

# The time without a core is read so often at the most.
DELAY_EVERY_S = 0.010
# And after a time between two batches in which the thread did something else. Seconds: one batch.
GAP_S = 0.001

# Seeded calls take turns: the global random generators are one per process. A call that has its turn may make seeded
# calls of its own, in the loop.
_turn = RLock()


def has_turn() -> bool:
    """Whether the calling thread is in a seeded call: others would wait for it."""
    return bool(_turn._is_owned())  # type: ignore[attr-defined]  # what `threading.Condition` uses, too


class Window:
    """A time in which the heart watched this thread run batches, one after another.

    Args:
        heart: The heart's sums when it began.
        wall_s: The clock then.
        cpu_s: The thread's CPU clock then.
    """

    __slots__ = ("batch_cpu_s", "cpu_s", "heart", "ready_s", "took_s", "wait_s", "wall_s")

    def __init__(self, heart: tuple[float, float], wall_s: float, cpu_s: float) -> None:
        self.heart, self.wall_s, self.cpu_s = heart, wall_s, cpu_s
        # Of the batches: seconds, CPU seconds, seconds without a core, and the rest, which looks like waiting.
        self.took_s = self.batch_cpu_s = self.ready_s = self.wait_s = 0.0

    def true_share(self, heart: Heart) -> float | None:
        """Of what looks like the batches' waiting, the part that was; ``None``: it was not watched for long enough.

        The heart sees all that the thread does: what it did between the batches (the consumer's work, the iterable's)
        is taken off, and where that was the most of it nothing is said of the batches.
        """
        whole_s = perf_counter() - self.wall_s
        idle = heart.idle_share(self.heart, whole_s, self.ready_s)
        if idle is None:
            return None
        if not self.wait_s or self.took_s < whole_s / 2:
            return 1.0
        between_s = max(whole_s - self.took_s - (thread_time() - self.cpu_s - self.batch_cpu_s), 0.0)
        return min(max(idle * whole_s - between_s, 0.0) / self.wait_s, 1.0)


class Runner:
    """Runs batches on one thread, and sizes them."""

    def __init__(self, hub: Hub, profile: Profile, alone: Callable[[], bool]) -> None:
        self._hub = hub
        self._profile = profile
        self._alone = alone
        self._call = hub.job.caller()
        self._seed = hub.job.seed
        self._numpy = hub.job.numpy
        self.size = 1
        self.began: float | None = None  # when the batch in progress began; None: none is
        self.cpu_at_start = self._began_s = 0.0
        self._ended_s = perf_counter()
        self.ident = get_ident()
        self.native_id = get_native_id()
        self._delay = run_delay_clock()
        self._delay_read = perf_counter()
        self.delay_at_start = self._delay()
        self._owed_s = 0.0
        self.heart = profile.heart
        self.heart_at_start = profile.heart.sums
        self._window: Window | None = None
        self._true_share = 1.0  # of what looks like waiting: what was not waiting for whichpool
        self._timed = hub.timeout_s is not None  # then others may look at what is in hand, and take it away
        self._hand = allocate_lock()
        self._batch: Batch | None = None
        self._values: list[Any] = []
        self.abandoned = False
        self.sampler: Callable[[Any], Callable[[], None]] | None = None

    def run(self, batch: Batch) -> None:
        """Run one batch and put back what came of it. Ctrl-C and the like pass through."""
        items = batch.items
        values: list[Any] = []
        n = len(items)
        error: BaseException | None = None
        look_after = self.sampler(items[0]) if self.sampler is not None else None
        alone = self._alone()
        process = process_time()
        if self._timed:
            self._values, self._batch = values, batch
        self._begin()
        cpu, wall = self.cpu_at_start, self._began_s
        try:
            if self._seed is not None:
                self._run_seeded(batch, values)
            elif n > 8 and not self._timed:
                values.extend(map(self._call, items))
                if len(values) < n:
                    raise StopIteration(
                        "whichpool: the function raised StopIteration; what it carried is lost"
                    )
            else:
                for item in items:
                    if values and (self.abandoned or not self._hub.is_open()):
                        return  # closed meanwhile: nothing more is started, and nobody wants the results
                    values.append(self._call(item))
        except BaseException as raised:
            error = raised
        finally:
            self.began = None
        took = perf_counter() - wall
        cpu = thread_time() - cpu
        if look_after is not None:
            look_after()
        if self._timed:
            with self._hand:
                self._batch = None
                if self.abandoned:
                    return  # what it had in hand was put back without it
        ran = len(values)
        # Alone from beginning to end: a call that others joined half way has waited for the GIL as well.
        together = None if alone and self._alone() else process_time() - process
        wall = self._own_s(took, cpu, watched=together is None)
        self._profile.add_local(max(ran, 1), wall, cpu, together)
        if error is not None and isinstance(error, KeyboardInterrupt) and self.ident == self._hub.caller:
            self._hub.put(batch, values, unrun=n - ran)
            raise error
        self._hub.put(batch, values, error)
        if ran:
            self._resize(took / ran, n)

    def run_through(self, through: Callable[[int, Callable[[Any], Any]], int]) -> None:
        """As `run`, where items are taken one by one while they are run (`Work.run_through`)."""
        n = self.size
        self._begin()
        cpu, began = self.cpu_at_start, self._began_s
        try:
            ran = through(n, self._call)
        finally:
            self.began = None
        took = perf_counter() - began
        cpu = thread_time() - cpu
        if ran:
            self._profile.add_local(ran, self._own_s(took, cpu), cpu, None)
            self._resize(took / ran, n)

    def timed(self, item: Any) -> Any:
        """One call, measured."""
        self._begin()
        cpu, began = self.cpu_at_start, self._began_s
        try:
            return self._call(item)
        finally:
            self.began = None
            took, cpu = perf_counter() - began, thread_time() - cpu
            self._profile.add_local(1, self._own_s(took, cpu), cpu, None)
            self._resize(took, 1)

    @property
    def call(self) -> Callable[[Any], Any]:
        """The function of one item."""
        return self._call

    def _begin(self) -> None:
        """A batch begins now."""
        self.heart_at_start = self.heart.sums
        self.cpu_at_start = thread_time()
        self.began = self._began_s = perf_counter()
        if self._began_s - self._ended_s > GAP_S:
            # The consumer's work, or the iterable's: what it spent without a core is not the function's.
            self._delay_read, self.delay_at_start = self._began_s, self._delay()
        if self._window is None and self.ident == self._hub.caller:
            self.heart.sums_from = self._began_s

    def _own_s(self, took_s: float, cpu_s: float, watched: bool = True) -> float:
        """The part of a batch's time that is the function's own: computing, and waiting for what is not whichpool.

        Args:
            took_s: From beginning to end.
            cpu_s: Its CPU.
            watched: Whether nothing else ran items meanwhile; then, on the caller's thread, the heart watched it.
        """
        self._ended_s = self._began_s + took_s
        ready_s = self._ready_s(took_s)
        wait_s = max(took_s - ready_s - cpu_s, 0.0)
        if not watched or self.ident != self._hub.caller:
            self._window = None
            return cpu_s + wait_s
        window = self._window
        if window is None:
            window = self._window = Window(self.heart_at_start, self._began_s, self.cpu_at_start)
        window.took_s += took_s
        window.batch_cpu_s += cpu_s
        window.ready_s += ready_s
        window.wait_s += wait_s
        share = window.true_share(self.heart)
        if share is not None:
            self._true_share, self._window = share, None
        return cpu_s + wait_s * self._true_share

    def _ready_s(self, took_s: float) -> float:
        """Of this batch's time, what the thread spent ready to run but without a core.

        Reading it lets go of the GIL: done between all batches, it would hide from the heartbeat that they hold it. So
        it is read once in a while, and what has come together is taken off the batches that follow.
        """
        now = perf_counter()
        if now - self._delay_read > DELAY_EVERY_S:
            self._delay_read = now
            delay = self._delay()
            self._owed_s += delay - self.delay_at_start
            self.delay_at_start = delay
        ready_s = min(self._owed_s, took_s)
        self._owed_s -= ready_s
        return ready_s

    def in_hand(self) -> tuple[Batch | None, int]:
        """The batch in progress, and how many of its items are done; where there is a time limit only."""
        batch = self._batch
        return batch, len(self._values)

    def give_up(self, batch: Batch, done: int) -> list[Any] | None:
        """Another thread gives up what this one is doing: what there is is its to put, and this thread puts nothing.

        Returns:
            ``None`` if the batch, or the item after ``done``, was over just now.
        """
        with self._hand:
            if self._batch is not batch or len(self._values) != done:
                return None
            self.abandoned = True
            return self._values[:done]

    def close(self) -> None:
        """Let go of the descriptor; the runner is not used any more."""
        close = getattr(self._delay, "close", None)
        if close is not None:
            close()

    def _resize(self, each_s: float, n: int) -> None:
        if each_s * n < BATCH_S / 2:
            self.size = min(n * 2, MOST_ITEMS)
        elif each_s > SINGLE_S:
            self.size = 1
        else:
            self.size = max(1, min(int(BATCH_S / each_s), MOST_ITEMS))

    def _run_seeded(self, batch: Batch, values: list[Any]) -> None:
        seed = self._seed or 0
        for index, item in enumerate(batch.items, batch.start):
            with _turn:
                reseed(seed, index, self._numpy)
                values.append(self._call(item))


class KeptRandom:
    """The caller's own random state is put back after seeded items ran in this process."""

    def __init__(self, numpy: bool) -> None:
        import random

        self._random = random.getstate()
        self._numpy: Any = None
        if numpy:
            import numpy as np

            self._numpy = np.random.get_state()

    def restore(self) -> None:
        import random

        random.setstate(self._random)
        if self._numpy is not None:
            import numpy as np

            np.random.set_state(self._numpy)
