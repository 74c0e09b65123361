"""The heartbeat: is the GIL taken?

A thread that sleeps for a millisecond needs the GIL to go on. If a function holds it, the thread gets it only when the
interpreter makes the holder let go (every 5 ms by default), and wakes late. Waiting for the GIL burns no CPU, so no
CPU clock can tell this; lateness can. Each beat also reads the CPU clock of what is watched: CPU that was burnt in a
late beat was burnt holding the GIL, the rest was not. On a busy machine a beat is also late because no core was free
for it; that time the kernel counts, and it is taken off.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock, get_ident
from time import perf_counter

from whichpool._worker.delay import run_delay_clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BEAT_S = 0.001
# On an idle 2-core Linux machine a beat comes 0.07 to 0.11 ms late, with a thread that holds the GIL 5.2 ms (2026,
# CPython 3.11, 100 beats each; medians).
LATE_S = 0.0002
# Code that holds the GIL lets go of it at every read of a file, and some beats come on time by that luck: of a function
# that reads and parses source files of 2 ms each, every fifth did. So this share of late beats is already all of them.
ALL_LATE = 0.8
# More CPU than this many times the wall clock was burnt by threads side by side. Then a beat is late only if it came so
# late, by share of the switch interval, that somebody kept the GIL until he was made to let go: threads that compute
# without it take it all the time for a moment, and one that has just been put off its core may have it. Guesses; two
# threads of NumPy on two cores were seen as 91 % with the GIL, by beats that came late by a moment.
SIDE_BY_SIDE = 1.2
KEPT = 0.5
# Multiples of this, modulo 1, fill the interval evenly and never repeat.
GOLDEN = 0.6180339887498949
# A beat in which less CPU than this was burnt says nothing of the GIL.
LEAST_CPU_S = 0.00005
# A call must have been watched for so long to say what all of it did. Seconds: ten beats, while whichpool's own modules
# may take a tenth of a second to load.
SEEN_S = 0.010
# What was seen so many seconds of beats ago counts half: a function may change its nature.
HALF_LIFE_S = 0.3


# The interpreter makes a thread that holds the GIL let go of it so often while a decision is being made: loading a
# module lets go of it dozens of times, each of which costs the usual 5 ms beside a function that computes.
QUICK_S = 0.0005

_quick_lock = allocate_lock()
_quick_users = 0
_usual_s = 0.005
_hooked = False


def _forget() -> None:
    """In a forked child: the threads that would put it back are the parent's."""
    global _quick_lock, _quick_users
    _quick_lock = allocate_lock()
    if _quick_users:
        _quick_users = 0
        sys.setswitchinterval(_usual_s)


class QuickSwitching:
    """Makes the GIL change hands quickly, for a while; nested and concurrent uses count as one."""

    def __init__(self) -> None:
        global _quick_users, _usual_s, _hooked
        if not _hooked and hasattr(os, "register_at_fork"):
            _hooked = True
            os.register_at_fork(after_in_child=_forget)
        self._on = True
        with _quick_lock:
            if _quick_users == 0:
                _usual_s = sys.getswitchinterval()
                if _usual_s > QUICK_S:
                    sys.setswitchinterval(QUICK_S)
            _quick_users += 1

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return not self._on

    def end(self) -> None:
        """Back to what it was, unless somebody else has set it since. Calling it again does nothing."""
        global _quick_users
        with _quick_lock:
            if not self._on:
                return
            self._on = False
            _quick_users -= 1
            if _quick_users == 0 and abs(sys.getswitchinterval() - QUICK_S) < 1e-7:
                sys.setswitchinterval(_usual_s)


class Heart:
    """Counts beats; ``share`` is the part of the CPU that was burnt holding the GIL."""

    def __init__(self) -> None:
        self._beater: int | None = None  # the thread that beats, and
        self._delay: Callable[[], float] = float  # its clock of time without a core
        self._turn = 0.0
        self._late_cpu_s = 0.0
        self._cpu_s = 0.0
        self._late_s = 0.0
        self._all_s = 0.0
        self.beats = 0
        self.sums_from = 0.0  # a beat that began before this is not summed
        self._beaten_s = 0.0
        self._burnt_s = 0.0

    def beat(
        self, sleep: Callable[[float], bool], cpu: Callable[[], float] | None, beat_s: float = BEAT_S
    ) -> bool:
        """One beat: ``sleep`` for ``beat_s``, and note how late it ended; returns what ``sleep`` returned.

        ``cpu`` reads the CPU seconds of what is watched; without it the wall clock must do.
        """
        if self._beater != get_ident():
            self._beater, self._delay = get_ident(), run_delay_clock()
        # Unequal beats, so that they do not fall in step with batches of about a millisecond, always between two.
        self._turn = (self._turn + GOLDEN) % 1.0
        beat_s *= 0.75 + self._turn / 2
        before = cpu() if cpu is not None else 0.0
        entered = perf_counter()
        without_core = self._delay()
        woken = sleep(beat_s)
        took, without_core = perf_counter() - entered, self._delay() - without_core
        if not woken:
            burnt = cpu() - before if cpu is not None else None
            self.note(beat_s, took, burnt, entered >= self.sums_from, without_core)
        return woken

    def rest(self) -> None:
        """Let go of the clock, a descriptor; on the thread that beats. The counts stay."""
        self._beater, self._delay = None, float

    def note(
        self,
        beat_s: float,
        took_s: float,
        cpu_s: float | None,
        summed: bool = True,
        without_core_s: float = 0.0,
    ) -> None:
        """Count one beat that was to take ``beat_s`` and took ``took_s``, while ``cpu_s`` were burnt.

        It is no later for the time in which it had no core, but what is watched may have burnt CPU in all of it.
        """
        fade = 0.5 ** (took_s / HALF_LIFE_S)
        side_by_side = cpu_s is not None and cpu_s > SIDE_BY_SIDE * took_s
        late_s = took_s - max(without_core_s, 0.0) - beat_s
        late = late_s > (KEPT * sys.getswitchinterval() if side_by_side else LATE_S)
        self.beats += 1
        self._all_s = self._all_s * fade + took_s
        self._late_s = self._late_s * fade + (took_s if late else 0.0)
        if cpu_s is not None and summed:
            self._beaten_s += took_s
            self._burnt_s += min(cpu_s, took_s)
        if cpu_s is not None and cpu_s >= LEAST_CPU_S:
            self._cpu_s = self._cpu_s * fade + cpu_s
            self._late_cpu_s = self._late_cpu_s * fade + (min(cpu_s, took_s) if late else 0.0)

    @property
    def share(self) -> float | None:
        """Of the CPU burnt, the part that held the GIL, 0 to 1; ``None``: no CPU was burnt while it looked."""
        return min(self._late_cpu_s / self._cpu_s / ALL_LATE, 1.0) if self._cpu_s > 0 else None

    @property
    def sums(self) -> tuple[float, float]:
        """Since the beginning, without fading: seconds of beats, and CPU seconds of what is watched during them.

        Who takes them to compare with later ones sets ``sums_from`` to the time: the beat in progress began before it.
        """
        return self._beaten_s, self._burnt_s

    def idle_share(self, since: tuple[float, float], took_s: float, ready_s: float) -> float | None:
        """Of a time in which calls ran, the share that they waited for something that is not whichpool.

        During a beat nothing of whichpool's runs; between beats it loads modules and decides, which a call that needs
        the GIL has to wait for. So what was seen in the beats is taken for all of it.

        Args:
            since: The `sums` when that time began.
            took_s: Seconds of it.
            ready_s: The part in which the calls were ready to run, but had no core.

        Returns:
            ``None`` if they were watched for less than `SEEN_S`.
        """
        beaten_s = self._beaten_s - since[0]
        if beaten_s < SEEN_S or took_s <= 0:
            return None
        idle = 1.0 - (self._burnt_s - since[1]) / beaten_s - ready_s / took_s
        return min(max(idle, 0.0), 1.0)

    @property
    def late_share(self) -> float | None:
        """Of the time, the part in which the GIL was taken, whoever held it; ``None`` before the first beat."""
        return self._late_s / self._all_s if self._all_s > 0 else None
