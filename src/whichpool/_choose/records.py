"""What goes into the conductor and what comes out of it."""

from __future__ import annotations

from whichpool._record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from whichpool._records import Demand, Plan

__all__ = ["Action", "Prepare", "Switch", "View"]


@record(frozen=True, slots=True)
class View:
    """What the engine sees at one moment."""

    now_s: float
    """Seconds since the run began."""
    done: int
    """Items finished."""
    remaining: int | None
    """Items not finished, those in progress included; ``None``: unknown length."""
    in_progress: int
    oldest_s: float | None
    """Age of the oldest call in progress; ``None``: none is, or unknown."""
    demand: Demand | None
    """The best estimate now. ``samples == 0``: read off a call still running, its times are those so far."""
    plan: Plan
    """In force."""
    plan_age_s: float
    """Seconds since it came into force."""
    plan_done: int
    """Items finished since then."""
    rate_per_s: float | None
    """Throughput over a recent window within this plan; ``None``: too early."""
    latency_s: float | None
    """Mean duration of the calls that finished in that window."""
    processes: Literal["none", "starting", "ready", "failed"]
    ready_processes: int
    """Worker processes that are up."""
    ruled_out: Mapping[str, str]
    """``"threads"`` or ``"processes"`` -> why; may change between steps."""
    usable: int | None = None
    """Calls at once that limits by key have room for; ``None``: there are no such limits."""
    joins: bool = False
    """Whether the caller's process goes on running items where the plan is processes (`plans.hired`)."""
    importing_s: float = 0.0
    """Of the oldest call's age, the seconds until it was last seen importing modules."""
    may_switch: bool = True
    """Whether the plan can be changed now; workers may be prepared all the same."""


@record(frozen=True, slots=True)
class Prepare:
    """Start worker processes in the background until there are so many; what runs goes on meanwhile."""

    processes: int
    reason: str


@record(frozen=True, slots=True)
class Switch:
    """Work under this plan from now on."""

    plan: Plan
    reason: str


Action = Prepare | Switch
