"""The downloader: waiting work, on whichpool's public API. `whichpool.download` and ``whichpool get``.

What is asked for, how, and what came of it are `Request`, `Settings` and `Receipt`; why something failed, the classes
below `DownloadFailed`.
"""

from whichpool.downloads.failures import (
    BadRedirect,
    Broken,
    Busy,
    Changed,
    Corrupt,
    DiskFailed,
    DownloadFailed,
    Gone,
    NoSuchHost,
    NotTrusted,
    Refused,
    TimedOut,
    Unreachable,
    Unsafe,
    Unsupported,
)
from whichpool.downloads.records import Receipt, Request, Settings

__all__ = [
    "BadRedirect",
    "Broken",
    "Busy",
    "Changed",
    "Corrupt",
    "DiskFailed",
    "DownloadFailed",
    "Gone",
    "NoSuchHost",
    "NotTrusted",
    "Receipt",
    "Refused",
    "Request",
    "Settings",
    "TimedOut",
    "Unreachable",
    "Unsafe",
    "Unsupported",
]
