"""The first milliseconds: listen to the loop, and wake the machinery of decision only if it can pay for itself.

A run that is over in a few milliseconds must not pay for modules that decide about it. So this file imports next to
nothing, and beats until there is something to gain.
"""

from __future__ import annotations

import sys
from importlib import import_module
from time import perf_counter, process_time

from whichpool._host import look
from whichpool._pools.base import Signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._run.run import Run

# Seconds of work that must lie ahead before it is worth deciding about, and that must have been listened to: with the
# modules loaded, a decision costs under 1 ms; loading them costs 20 to 40 ms of CPU once (2-core Linux, 2026).
WARM_S = 0.003
COLD_S = 0.020
# Not loaded yet, it takes this much work ahead for them to pay, if the function computes: with the GIL, only processes
# help, which cost another 100 ms; without it, threads do at once, and what they need is loaded in 7 ms.
COLD_GIL_AHEAD_S = 0.250
COLD_FREE_AHEAD_S = 0.040
COLD_FREE_S = 0.010
# Beside so much work, by calls that have ended, loading them is next to nothing: there is no need to listen for longer.
# Seconds; guesses.
COLD_SURELY_AHEAD_S = 0.4
COLD_SURELY_S = 0.005
# What an earlier run has left has to agree with one beat. Seconds.
EARLIER_S = 0.001
# While the function waits, loading them costs nobody anything.
IDLE_S = 0.003
# Calls that wait for this share of their time need threads, and nothing that processes need.
ONLY_WAITS = 0.9
# What a decision may need, and the start of worker processes, which is three quarters of the time.
NEEDED = (
    "whichpool._choose.conductor",
    "whichpool._choose.records",
    "whichpool._measure.hazards",
    "whichpool._run.govern",
    "whichpool._measure.payload",
    "whichpool._pools.processes",
)
# Below this share of the computing the GIL is not held by what runs.
LEAVES_GIL = 0.5
# So much computing ahead is worth the start of a bare interpreter on another core. Seconds: a first worker takes a
# tenth of one, and two cores save half of it.
EARLY_AHEAD_S = 0.5
# The caller's thread comes by between two batches, which take a millisecond, or one call.
CHORE_WAIT_S = 0.015
LONGEST_CHORE_S = 1.0
# A caller's thread that burns less than this share of the time is waiting.
WAITING = 0.3


def listen(run: Run) -> bool:
    """Beat until the run is over (False) or a decision is worth its cost (True)."""
    heart = run.profile.heart
    cpu = run.caller_cpu
    began = perf_counter()
    cpu_began = cpu() if cpu is not None else process_time()
    read = cpu if cpu is not None else process_time
    while True:
        if run.open_ended and not run.work.remaining:
            if run.stop_signal.wait(0.010) or not run.work.is_open():
                return False  # it was dropped: nobody stops it
            continue
        if heart.beat(run.stop_signal.wait, cpu):
            return False
        if run.only_watch:
            return True
        passed = perf_counter() - began
        warm = "whichpool._run.govern" in sys.modules
        if passed > IDLE_S and read() - cpu_began < WAITING * passed:
            needed, ahead_needed = IDLE_S, IDLE_S
            run.seen_waiting = True
        elif warm:
            needed, ahead_needed = WARM_S, WARM_S
            if run.earlier is not None:
                needed = EARLIER_S
        else:
            needed, ahead_needed = COLD_S, COLD_GIL_AHEAD_S
            if _leaves_the_gil(run):
                needed, ahead_needed = COLD_FREE_S, COLD_FREE_AHEAD_S
        ahead_s = _ahead_s(run, passed)
        if ahead_s > COLD_SURELY_AHEAD_S and run.profile.samples > 1:
            needed = min(needed, COLD_SURELY_S)
        if passed >= needed and ahead_s > ahead_needed:
            return True


def _ahead_s(run: Run, passed_s: float) -> float:
    """Seconds of work that lie ahead in the loop, as far as one can tell; unknown lengths: as much again."""
    each, remaining = run.profile.call_s, run.work.remaining
    if remaining is None:
        return passed_s
    if each is None and run.earlier is not None:
        each = run.earlier.call_s
    # A first call that still runs takes at least as long as it has.
    return (passed_s if each is None else each) * remaining


def _leaves_the_gil(run: Run) -> bool:
    """Whether most of the computing was seen not to hold the GIL: then threads will do."""
    share = run.profile.heart.share
    return share is not None and share <= LEAVES_GIL


def waits(run: Run) -> bool:
    """Whether the calls have been seen to wait, and next to nothing else."""
    demand = run.profile.demand()
    if demand is None:
        return run.seen_waiting
    return demand.wait_s > ONLY_WAITS * demand.call_s


def _start_early(run: Run) -> None:
    """Have the fork server start on another core, if so much computing lies ahead that workers are likely to be wanted.

    It takes as long as it takes here to load what decides. Nobody's work is touched: a server without workers is a bare
    interpreter, and the next run finds it.
    """
    if not run.work.is_open() or run.options.most == 1 or run.only_watch:
        return
    each = run.profile.call_s
    if each is None:
        began = run.runner.began if run.runner is not None else None
        # A call that runs may take as long again.
        each = 2 * (perf_counter() - began) if began is not None else 0.0
    if each * (run.work.remaining or 0) < EARLY_AHEAD_S:
        return
    host = look()
    multiprocessing = sys.modules.get("multiprocessing")
    if host.cores < 2 or host.nested or (multiprocessing and multiprocessing.parent_process() is not None):
        return
    try:
        from whichpool._pools import fleet

        fleet.start_server()
    except Exception:  # nobody has asked for it yet; who does hears what is the matter
        pass


def wake(run: Run) -> None:
    """Load what decides, on the caller's thread if that is free to do it soon, else on this one.

    Loading a module lets go of the GIL dozens of times; beside a function that computes, each time is a wait. The
    caller's thread, between two short batches, has nobody to wait for. Beside calls that wait, or compute without the
    GIL, nobody is in the way.
    """
    if "whichpool._run.govern" in sys.modules or run.apart or waits(run) or _leaves_the_gil(run):
        return
    done = Signal()

    def chore() -> None:
        try:
            _start_early(run)
            for name in NEEDED:
                import_module(name)
        finally:
            done.set()

    run.chore = chore
    if done.wait(CHORE_WAIT_S):
        return
    if run.chore is chore:
        run.chore = None  # a long call is in progress: it is loaded here
        chore()
    else:
        done.wait(LONGEST_CHORE_S)
