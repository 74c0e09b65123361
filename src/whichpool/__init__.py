"""Threads or processes? whichpool measures the function while the loop already runs, and acts on it.

>>> import whichpool
>>> results = whichpool.map(abs, [-1, 2, -3])
>>> results
[1, 2, 3]
>>> str(results.report.plan)
'loop'
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing.TYPE_CHECKING` without the cost of importing typing
if TYPE_CHECKING:
    from whichpool._api import Results, doctor, explain, imap, map, map_reduce, salvage
    from whichpool._executor import Executor
    from whichpool._pool import Pool
    from whichpool._records import (
        Demand,
        Failure,
        Hazard,
        Host,
        Limit,
        LimitReached,
        MemoryLimit,
        Plan,
        PlanRow,
        Retry,
        RunReport,
        StartCosts,
        Step,
        Verdict,
    )
    from whichpool.dataset.run import process
    from whichpool.downloads.run import download, idownload
    from whichpool.errors import (
        CannotTravel,
        DeadlineExceeded,
        ItemTimeout,
        JournalMismatch,
        MissingExtra,
        OverMemory,
        PlanError,
        RemoteError,
        RemoteTraceback,
        SharedWrite,
        WhichpoolError,
        WorkerDied,
        WorkerLost,
    )

__version__ = "0.1.0"

# Public name -> the module that holds it. Loaded at first use: `import whichpool` costs next to nothing,
# and what a program does not use is never loaded.
_WHERE = {
    "Executor": "_executor",
    "Pool": "_pool",
    "download": "downloads.run",
    "idownload": "downloads.run",
    "process": "dataset.run",
    **dict.fromkeys(
        ["Results", "doctor", "explain", "imap", "map", "map_reduce", "salvage"],
        "_api",
    ),
    **dict.fromkeys(
        [
            "Demand",
            "Failure",
            "Hazard",
            "Host",
            "Limit",
            "LimitReached",
            "MemoryLimit",
            "Plan",
            "PlanRow",
            "Retry",
            "RunReport",
            "StartCosts",
            "Step",
            "Verdict",
        ],
        "_records",
    ),
    **dict.fromkeys(
        [
            "CannotTravel",
            "DeadlineExceeded",
            "ItemTimeout",
            "JournalMismatch",
            "MissingExtra",
            "OverMemory",
            "PlanError",
            "RemoteError",
            "RemoteTraceback",
            "SharedWrite",
            "WhichpoolError",
            "WorkerDied",
            "WorkerLost",
        ],
        "errors",
    ),
}

__all__ = [
    "CannotTravel",
    "DeadlineExceeded",
    "Demand",
    "Executor",
    "Failure",
    "Hazard",
    "Host",
    "ItemTimeout",
    "JournalMismatch",
    "Limit",
    "LimitReached",
    "MemoryLimit",
    "MissingExtra",
    "OverMemory",
    "Plan",
    "PlanError",
    "PlanRow",
    "Pool",
    "RemoteError",
    "RemoteTraceback",
    "Results",
    "Retry",
    "RunReport",
    "SharedWrite",
    "StartCosts",
    "Step",
    "Verdict",
    "WhichpoolError",
    "WorkerDied",
    "WorkerLost",
    "__version__",
    "doctor",
    "download",
    "explain",
    "idownload",
    "imap",
    "map",
    "map_reduce",
    "process",
    "salvage",
]


def __getattr__(name: str) -> object:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'whichpool' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module("whichpool." + where), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
