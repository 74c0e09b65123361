"""Which plan of processes x threads runs the work soonest? Pure: no clock, no thread, no I/O, no randomness.

expect     what the items that are left will ask
bounds     items a second that a plan can reach, and what limits it in words
plans      the plans worth comparing, and why some cannot be had
forecast   seconds to the end under each plan: start-up, throughput, the uneven end; `rank`
limiter    how many calls at once what they wait for can take
allowance  the same for one key of a `Limit`, as long as the run lasts
ledger     what the plans that ran really brought
conductor  the state machine: a `View` goes in, `Prepare` and `Switch` come out
verdict    the same in words, for the report
"""

from __future__ import annotations

from whichpool._choose.conductor import Conductor
from whichpool._choose.forecast import rank
from whichpool._choose.records import Action, Prepare, Switch, View

__all__ = ["Action", "Conductor", "Prepare", "Switch", "View", "rank"]
