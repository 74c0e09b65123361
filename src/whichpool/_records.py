"""The records that travel through whichpool, in the order in which they flow.

    Host, Demand  ->  Plan, Verdict  ->  Failure  ->  RunReport
    what machine,     what runs best,    what went    what ran,
    what work         and why            wrong        and why

All are frozen. Units stand in the names: ``_s`` seconds, ``_bytes`` bytes, ``_per_s`` items a second.
``None`` means *not measured*; it never means zero.
"""

from __future__ import annotations

from whichpool._record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, MutableMapping
    from typing import Any, ClassVar, Literal

__all__ = [
    "Demand",
    "Failure",
    "Hazard",
    "Host",
    "Limit",
    "LimitReached",
    "Plan",
    "PlanRow",
    "Retry",
    "RunReport",
    "StartCosts",
    "Step",
    "Verdict",
]


@record(frozen=True, slots=True)
class StartCosts:
    """What it costs on this machine, under this interpreter, to bring in workers.

    The defaults are guesses, used until a first start has been measured (2-core Linux, CPython 3.11, 2026).
    """

    thread_s: float = 0.0001
    """Seconds to start one thread."""
    first_worker_s: float = 0.080
    """Seconds from the request until the first worker process takes an item."""
    worker_s: float = 0.005
    """Seconds for each further worker process."""
    measured: bool = False
    """Whether these were measured here, or are the defaults."""


@record(frozen=True, slots=True)
class Host:
    """The machine as whichpool may use it."""

    cores: float
    """Cores that this process may use: the least of machine, affinity, cgroup quota and ``WHICHPOOL_CORES``."""
    machine_cores: int
    affinity_cores: int | None = None
    quota_cores: float | None = None
    """The cgroup's CPU quota in cores; ``None``: no quota, or none that can be read."""
    override_cores: float | None = None
    """``WHICHPOOL_CORES``; ``None``: not set."""
    memory_free_bytes: int | None = None
    """What host and cgroup have left, whichever is less."""
    worker_bytes: int | None = None
    """Resident size of one worker process; ``None``: none has been seen yet."""
    gil: bool = True
    """Whether this interpreter holds a GIL *now* (an extension may bring it back on a free-threaded build)."""
    python: str = ""
    """For example ``CPython 3.11.7``."""
    platform: str = ""
    """For example ``linux x86_64``."""
    nested: bool = False
    """Whether this process is itself a worker of whichpool; then it starts no processes of its own."""
    start: StartCosts = field(default_factory=StartCosts)


@record(frozen=True, slots=True)
class Demand:
    """What one item asks of the machine, as measured; seconds per item."""

    wait_s: float
    """Blocked: network, disk, sleep, lock, child process. Waiting for the GIL is not counted."""
    gil_s: float
    """Computing while holding the GIL."""
    free_s: float
    """Computing with the GIL released."""
    ship_s: float | None = None
    """The parent's cost to send the item to a process and take the result back."""
    land_s: float | None = None
    """The worker process's cost for the same."""
    payload_bytes: float | None = None
    """Pickled size of the item and its result together."""
    native: float = 1.0
    """Cores that one call keeps busy by itself: process CPU / thread CPU (BLAS, OpenMP); at least 1."""
    samples: int = 0
    """Finished calls behind these numbers; 0: read off a call that is still running."""
    spread: float | None = None
    """Standard deviation of the call's duration / its mean."""

    @property
    def call_s(self) -> float:
        """Seconds of one call that runs alone."""
        return self.wait_s + self.gil_s + self.free_s


@record(frozen=True, slots=True, order=True)
class Plan:
    """Two numbers: worker processes, and threads in each (or in this process, with no worker processes).

    >>> str(Plan(0, 1)), str(Plan(0, 8)), str(Plan(2, 1)), str(Plan(2, 8))
    ('loop', '8 threads', '2 processes', '2 processes x 8 threads')
    """

    processes: int
    threads: int

    LOOP: ClassVar[Plan]

    @property
    def workers(self) -> int:
        """Calls that can be in progress at once."""
        return max(self.processes, 1) * self.threads

    @property
    def kind(self) -> Literal["loop", "threads", "processes", "mixed"]:
        """Which family of plans this one belongs to."""
        if self.processes == 0:
            return "loop" if self.threads == 1 else "threads"
        return "processes" if self.threads == 1 else "mixed"

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + "s" * (self.threads != 1)
        processes = f"{self.processes} process" + "es" * (self.processes != 1)
        return {
            "loop": "loop",
            "threads": threads,
            "processes": processes,
            "mixed": f"{processes} x {threads}",
        }[self.kind]


Plan.LOOP = Plan(0, 1)


@record(frozen=True, slots=True)
class Retry:
    """What becomes of an item that failed: how often it is tried again, after which failures, how long after.

    The n-th wait is ``first_wait_s * factor ** (n - 1)`` seconds, ``most_wait_s`` at the most; up to the share
    ``jitter`` of it is taken off at random, so that many items that failed together do not come back together.
    """

    times: int = 3
    """Further tries of an item after the first."""
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception
    """The failures that are tried again; `WorkerDied` and `ItemTimeout` are exceptions like others."""
    first_wait_s: float = 0.1
    factor: float = 2.0
    most_wait_s: float = 30.0
    jitter: float = 0.5
    """From 0, the waits are exact, to 1, they are anything up to that."""


@record(frozen=True, slots=True)
class Limit:
    """How many items may be in progress at once: in all, and of those that have a key in common (a host, a disk).

    The limit of each key adapts. It starts at ``first``, grows while the key's throughput follows, keeps when it does
    not, is halved when a call ends with one of ``slow_on``, once for all calls that had begun before, and then grows
    again. If such an exception has a number as ``retry_after_s``, nothing of that key begins for so many seconds, while
    other keys go on; with ``retries=`` the item is tried again when both its own wait and the pause are over.

    Items whose key has no room are kept aside, 1,000 at the most (those that wait for another try included), and items
    of other keys go on. Within a key the order is that of the items. Items are handed out one at a time.

    Without ``slow_on``, a ``first`` that is not below ``per_key`` is a fixed limit of ``per_key`` for each key: nothing
    adapts.

    >>> import whichpool
    >>> by_host = whichpool.Limit(32, key=lambda url: url.split("/")[2], per_key=8, slow_on=ConnectionError)
    >>> whichpool.map(len, ["http://a/1", "http://b/2"], limit=by_host)
    [10, 10]
    """

    most: int | None = None
    """Items in progress at once over all keys; ``None``: as the plan has it."""
    key: Callable[..., Hashable] | None = None
    """Of an item, as the function gets it (of several; of a submitted call's arguments): what it counts against. What
    it raises ends the run. ``None``: one key for all."""
    per_key: int = 16
    """One key has no more in progress than this."""
    first: int = 4
    """Where a key starts (at ``per_key``, if that is less)."""
    slow_on: type[BaseException] | tuple[type[BaseException], ...] = ()
    """Exceptions of a call that say that there were too many."""
    amount: Callable[[Any], float] | None = None
    """Of a result: how much was done, in bytes, say; throughput is then in that. ``None``: 1 for each call."""
    learned: MutableMapping[Any, int] | None = None
    """Key -> what its limit reached: read for where a key starts, and updated as it goes, for the next run."""


@record(frozen=True, slots=True)
class LimitReached:
    """What the limit of one key reached."""

    key: str | None
    """A short ``repr`` of the key; ``None``: there is one for all items."""
    at_once: int
    """Items of it that may be in progress at once, at the end."""
    items: int
    """Calls of it that ended, further tries counted."""
    slowed: int
    """How often the limit was halved."""
    paused_s: float
    """Seconds for which nothing of it was to begin, in all."""


@record(frozen=True, slots=True)
class Hazard:
    """Why a function may not run beside itself, or not in another process."""

    kind: Literal["writes", "changes_item", "shares", "cannot_travel", "not_thread_safe"]
    """``writes``: changes what others can see. ``changes_item``: changes, or uses up, the item that it is called with,
    which matters only where the caller keeps that item, or gives it twice. ``shares``: draws on captured state whose
    next value depends on the order of calls (a generator, an iterator, a random state). ``cannot_travel``: cannot be
    pickled. ``not_thread_safe``: a captured object that must not be used by several threads."""
    name: str
    """What it is about, as the user wrote it: ``total``, ``self.count``, ``stats.hits``."""
    where: str
    """``file.py:12`` or the function's name."""
    why: str
    """One clause that completes "`name` ..."; for example "is written by every call"."""
    advice: str
    """What to do instead, one sentence."""
    rules_out: frozenset[Literal["threads", "processes"]]
    """The workers that it rules out."""

    @property
    def needs_order(self) -> bool:
        """Whether it matters in which order calls run, and on whose copy; else it is about a captured object."""
        return self.kind in ("writes", "changes_item", "shares")

    def __str__(self) -> str:
        return f"{self.name} ({self.where}) {self.why}. {self.advice}"


@record(frozen=True, slots=True)
class PlanRow:
    """One plan as the chooser sees it."""

    plan: Plan
    bound_per_s: float | None
    """No more items a second than this, start-up not counted; ``None`` before anything was measured."""
    limit: str
    """What limits it, in words: "one GIL is full", "the cores are full", "the workers only wait", ..."""
    predicted_s: float | None
    """Predicted seconds for the remaining work, start-up counted; ``None``: unknown."""
    measured_per_s: float | None = None
    """Items a second while it ran; ``None``: it did not run long enough to tell."""
    why_not: str | None = None
    """Why it is not available; ``None``: it is."""


@record(frozen=True, slots=True)
class Verdict:
    """Which plan, and why."""

    plan: Plan
    reason: str
    """One sentence with the numbers that decided it."""
    rows: tuple[PlanRow, ...] = ()
    """Every plan that was considered, the best first."""
    runner_up: Plan | None = None
    margin: float | None = None
    """Predicted time of the runner-up / predicted time of the plan chosen."""


@record(frozen=True, slots=True)
class Step:
    """A change of plan during a run."""

    at_s: float
    """Seconds since the run began."""
    plan: Plan
    reason: str


@record(frozen=True, slots=True, eq=False)
class Failure:
    """Takes the place of a result where an item failed and ``on_error="return"``.

    A ``Failure`` is false, so ``[r for r in results if r]`` drops failures (and false results with them).
    """

    index: int
    """The item's position, from 0."""
    item: str
    """A short ``repr`` of the item."""
    error: BaseException
    """The exception; with the remote traceback as its ``__cause__`` when it came from a worker process."""
    traceback: str = ""
    """The traceback as text, from where it was raised."""

    def __bool__(self) -> bool:
        return False


@record(frozen=True, slots=True)
class RunReport:
    """What ran, how, and why."""

    function: str
    items: int
    """Items that came to an end, failures counted."""
    failures: int
    wall_s: float
    plan: Plan
    """The plan in force at the end."""
    steps: tuple[Step, ...]
    """The plans in the order in which they were in force; the first is where the run began."""
    demand: Demand | None
    """``None``: the run was over before anything was worth measuring."""
    verdict: Verdict
    hazards: tuple[Hazard, ...]
    host: Host
    loop_s: float | None = None
    """Predicted seconds of the plain loop over the same items; ``None``: not measured."""
    attempts: tuple[tuple[int, int], ...] = ()
    """Of each item that was tried more than once: its index, and how often."""
    notes: tuple[str, ...] = ()
    """What else a person should know: a worker that was replaced, a measurement that could not be made."""
    limits: tuple[LimitReached, ...] = ()
    """What the limits by key reached, of the 20 keys with the most calls; empty without a `Limit`."""

    def __str__(self) -> str:
        from whichpool.report import text

        return text(self)
