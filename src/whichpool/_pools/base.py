"""The contract between the work of a run and the pools that do it.

A pool pulls: it takes a batch when it has a worker free, and puts back what came of it. Each batch that was taken ends
in exactly one of `Hub.put` (some of its first items were run; the rest, if any, goes back) and `Hub.give_back` (none
was). That is all the bookkeeping there is, and what makes "each item once" true whatever dies.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from whichpool._worker.calls import Job

    class Hub(Protocol):
        """The work of one run, as pools see it. Every method may be called from any thread."""

        job: Job
        caller: int  # the ident of the thread that called whichpool
        timeout_s: float | None  # what one call may take
        local_is_fine: bool  # what cannot go to a worker may be run in this process

        def take(self, most: int) -> Batch | None:
            """The next items, ``most`` at the most; ``None``: nothing now (see `wait`), or nothing ever again."""

        def take_without_waiting(self, most: int) -> Batch | None:
            """As `take`, for a pool that must not wait for the iterable; `None` may become a batch a moment later."""

        def put(
            self,
            batch: Batch,
            values: list[Any],
            error: BaseException | None = None,
            *,
            unrun: int = 0,
            nodes: list[Any] | None = None,
        ) -> None:
            """The first items of the batch gave ``values``; then, if ``error``, the next one raised it.

            ``unrun``: so many items at the end were not started and go back. ``nodes``: in a reduction, what the
            worker has combined already, instead of values.
            """

        def give_back(self, batch: Batch) -> None:
            """No item of the batch was started."""

        def fail(self, error: BaseException) -> None:
            """The run as a whole cannot go on."""

        def isolate(self, batch: Batch, parts: list[tuple[int, int]]) -> list[Batch]:
            """These parts of the batch (from, to), each as a batch in progress; the others are handed out again."""

        def keep_local(self, batch: Batch, why: BaseException) -> bool:
            """The batch cannot travel. True: it will be run in this process; False: it is the pool's to fail."""

        def count_failures(self, n: int) -> None:
            """So many failures stand in the values of the next put."""

        def park(self, signal: Signal) -> bool:
            """Have ``signal`` raised at the next change; False: it is all over, do not wait."""

        def nudge(self) -> None:
            """Who was woken ends instead: somebody else should ask for work."""

        def failure(self, index: int, item: Any, error: BaseException, text: str) -> Any:
            """What stands for a failed item where failures are returned."""

        def is_open(self) -> bool:
            """Whether `take` may ever give something again."""

    class Sizer(Protocol):
        """Says how many items a batch has, and how many batches a worker of so many threads should have at hand."""

        def next(self, remaining: int | None, workers: int) -> int: ...
        def prefetch(self, width: int, remaining: int | None, workers: int) -> int: ...

    class Meter(Protocol):
        """Is told what was measured."""

        def add_remote(
            self, calls: int, wall_s: float, cpu_s: float, process_cpu_s: float, land_s: float, alone: bool
        ) -> None: ...
        def add_ship(self, calls: int, ship_s: float, payload_bytes: int | None) -> None: ...


# A thread that may be the program's main one waits no longer than this at a time. A signal that arrives after Python
# has looked for one and before the thread sleeps does not wake it; its handler runs when the wait is over. Seconds.
LOOK_UP_S = 0.25


class CannotStart(Exception):
    """No worker process can be started; the text says why."""


class Batch:
    """Consecutive items, from index ``start`` on."""

    __slots__ = ("alone", "asks_next", "items", "key", "local", "start")

    def __init__(self, start: int, items: list[Any], local: bool = False, key: Any = None) -> None:
        self.start = start
        self.items = items
        self.alone = False  # it may end its worker: no other shall be in that worker's hands
        self.local = local  # it cannot travel: run it in this process
        self.key = key  # what its items count against, where there are limits by key
        # The thread that runs it, if that is sure to ask for more once it has put back what came of it; 0: none is.
        self.asks_next = 0

    def __len__(self) -> int:
        return len(self.items)

    def __lt__(self, other: Batch) -> bool:
        return self.start < other.start

    def split(self, at: int) -> tuple[Batch, Batch]:
        """The first ``at`` items, and the others."""
        return (
            Batch(self.start, self.items[:at], self.local, self.key),
            Batch(self.start + at, self.items[at:], self.local, self.key),
        )


class Signal:
    """A flag that one thread waits for and others raise; raising it twice is raising it once.

    A bare lock does it, without the cost of importing `threading`; waiting is interrupted by Ctrl-C.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        from _thread import allocate_lock

        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is up already

    def wait(self, timeout_s: float = -1) -> bool:
        """Wait for the flag and lower it; False: it did not come in time."""
        return self._lock.acquire(True, timeout_s)
