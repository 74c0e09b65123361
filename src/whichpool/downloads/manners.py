"""How hosts are treated by all that asks them: how many requests at once, and how often again."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import whichpool
from whichpool.downloads.failures import Broken, Busy, DownloadFailed, TimedOut, Unreachable
from whichpool.downloads.jobs import host_of
from whichpool.downloads.records import FIRST_PER_HOST, Settings

__all__ = ["manners"]

FIRST_WAIT_S = 0.3
"""Before the second try; each further wait is twice as long: with five of them, 9 s in all. A guess."""


def manners(
    settings: Settings,
    url_of: Callable[[Any], str],
    *,
    amount: Callable[[Any], float] | None = None,
    learned: MutableMapping[Any, int] | None = None,
) -> dict[str, Any]:
    """The options of `whichpool.imap` for items that each ask one host.

    Args:
        settings: As the caller wants it.
        url_of: Of an item: what it will ask for next.
        amount: Of a result: the bytes that it has brought.
        learned: What each host could take, from an earlier run.
    """
    return {
        "plan": (0, settings.most),
        "shared": "ok",
        "on_error": "return",
        "retries": whichpool.Retry(times=settings.retries, on=DownloadFailed, first_wait_s=FIRST_WAIT_S),
        "limit": whichpool.Limit(
            settings.most,
            key=lambda item: host_of(url_of(item)),
            per_key=settings.per_host,
            first=FIRST_PER_HOST,
            slow_on=(Busy, Broken, TimedOut, Unreachable),
            amount=amount,
            learned=learned,
        ),
    }
