"""A running estimate of the Demand: every finished batch and every heartbeat goes in, the newest count most."""

from __future__ import annotations

from _thread import allocate_lock

from whichpool._measure.gil import Heart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._records import Demand

# What was seen counts half after so many seconds of work, and not before so many calls have followed.
HALF_LIFE_S = 0.5
HALF_LIFE_CALLS = 4
# Where the threads of a process are this busy together, a call's waiting may be waiting for the GIL, and is not
# believed. Low, because a thread that holds the GIL may itself be waiting for a core.
BUSY = 0.3
# Process CPU / thread CPU below this is one thread and the noise of the heartbeat.
NATIVE_FROM = 1.3


class Profile:
    """Fed by any thread; `demand` sums it up."""

    def __init__(self) -> None:
        self.heart = Heart()
        self.ship_s: float | None = None
        self.land_s: float | None = None
        self.payload_bytes: float | None = None
        self.native = 1.0
        self.samples = 0
        self.total_calls = 0  # since the run began: with `total_wall_s`, for means over a window
        self.total_wall_s = 0.0
        self._lock = allocate_lock()
        self._provisional = False  # the only batch so far is the first
        self._calls = 0.0
        self._cpu_s = 0.0
        self._wait_calls = 0.0
        self._wait_s = 0.0
        self._first_wait_s = 0.0  # what the first call waited, or was seen to before it ended: it was alone
        self._mean_s = 0.0
        self._spread_weight = 0.0
        self._square_s = 0.0

    def add_local(self, calls: int, wall_s: float, cpu_s: float, process_cpu_s: float | None) -> None:
        """A batch that a thread of this process ran.

        ``wall_s`` is without time spent ready to run but without a core, here and below; here also without time spent
        waiting for whichpool. ``process_cpu_s``: CPU of the whole process meanwhile; ``None``: no other thread ran
        calls.
        """
        self._add(calls, wall_s, cpu_s, process_cpu_s is None or process_cpu_s < BUSY * wall_s)

    def add_remote(
        self, calls: int, wall_s: float, cpu_s: float, process_cpu_s: float, land_s: float, alone: bool
    ) -> None:
        """A batch that a worker process ran; ``alone``: on its only thread."""
        with self._lock:
            land = land_s / calls
            self.land_s = land if self.land_s is None else self.land_s + 0.2 * (land - self.land_s)
        self._add(calls, wall_s, cpu_s, alone or process_cpu_s < BUSY * wall_s)

    def add_ship(self, calls: int, ship_s: float, payload_bytes: int | None) -> None:
        """What the parent spent on sending a batch and on taking its results."""
        with self._lock:
            ship = ship_s / calls
            self.ship_s = ship if self.ship_s is None else self.ship_s + 0.2 * (ship - self.ship_s)
            if payload_bytes is not None:
                each = payload_bytes / calls
                old = self.payload_bytes
                self.payload_bytes = each if old is None else old + 0.2 * (each - old)

    def add_native(self, process_cpu_s: float, thread_cpu_s: float) -> None:
        """CPU of the process and of the one thread that ran calls, over the same time."""
        if thread_cpu_s > 0.005:
            ratio = process_cpu_s / thread_cpu_s
            self.native = ratio if ratio >= NATIVE_FROM else 1.0

    def _add(self, calls: int, wall_s: float, cpu_s: float, believe_wait: bool) -> None:
        fade = 0.5 ** min(wall_s / HALF_LIFE_S, calls / HALF_LIFE_CALLS)
        each = wall_s / calls
        with self._lock:
            if self._provisional:
                # The first call of a process may load what the others find loaded: it counts until there are others.
                self._provisional = False
                if self._wait_calls:
                    self._first_wait_s = self._wait_s / self._wait_calls
                self._calls = self._cpu_s = self._wait_calls = self._wait_s = 0.0
                self._spread_weight = self._square_s = 0.0
            elif not self.samples:
                self._provisional = True
            self.samples += calls
            self.total_calls += calls
            self.total_wall_s += wall_s
            self._calls = self._calls * fade + calls
            self._cpu_s = self._cpu_s * fade + min(cpu_s, wall_s)
            if believe_wait:
                self._wait_calls = self._wait_calls * fade + calls
                self._wait_s = self._wait_s * fade + max(wall_s - cpu_s, 0.0)
            if self._spread_weight:
                # The mean of n calls strays sqrt(n) times less than one call does.
                self._square_s = self._square_s * fade + calls * (each - self._mean_s) ** 2
                self._mean_s += (each - self._mean_s) * calls / self._calls
            else:
                self._mean_s = each
            self._spread_weight = self._spread_weight * fade + 1

    @property
    def call_s(self) -> float | None:
        """Mean seconds of a call, as it was seen; ``None`` before the first one ended."""
        with self._lock:
            return self._mean_s if self.samples else None

    def demand(
        self,
        running_s: float | None = None,
        running_cpu_s: float | None = None,
        waited_s: float | None = None,
    ) -> Demand | None:
        """The estimate now; ``None`` if nothing is known.

        Until a call has ended, it is from the one in progress: how long it has run, what CPU it has burnt, and for how
        long it was seen to wait (`Heart.idle_share`).
        """
        from whichpool._records import Demand

        share = self.heart.share
        with self._lock:
            if not self.samples:
                if running_s is None:
                    return None
                cpu = min(running_cpu_s, running_s) if running_cpu_s is not None else running_s
                if running_cpu_s is None and (self.heart.late_share or 0.0) < 0.5:
                    cpu = 0.0
                wait, spread = running_s - cpu, None
                if waited_s is not None and running_cpu_s is not None:
                    wait = min(wait, waited_s)
                self._first_wait_s = wait
            else:
                cpu = self._cpu_s / self._calls
                if self._wait_calls:
                    wait = self._wait_s / self._wait_calls
                else:  # all that ended did so beside others; the first was seen while it was alone
                    wait = min(self._first_wait_s, max(self._mean_s - cpu, 0.0))
                spread = None
                if self._spread_weight > 1 and self._mean_s > 0:
                    spread = (self._square_s / (self._spread_weight - 1 + 1e-9)) ** 0.5 / self._mean_s
            # Computing that was never seen at a heartbeat is taken to hold the GIL: the common case, and the one in
            # which threads would do harm.
            gil = cpu * (1.0 if share is None else share)
            return Demand(
                wait_s=wait,
                gil_s=gil,
                free_s=cpu - gil,
                ship_s=self.ship_s,
                land_s=self.land_s,
                payload_bytes=self.payload_bytes,
                native=self.native,
                samples=self.samples,
                spread=spread,
            )
