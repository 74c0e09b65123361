"""The connections to one host that wait for a request: the last one put back is the first one taken.

`queue.LifoQueue`, which urllib3 uses, takes a lock and a condition for each call. Thousands of small files take and put
back a connection each, and nobody waits for one there.
"""

from __future__ import annotations

import queue
from math import inf
from threading import Condition
from time import monotonic
from typing import Any

__all__ = ["Idle"]


class Idle:
    """As much of `queue.LifoQueue` as urllib3 asks of one. Thread-safe: a list's `append` and `pop` are.

    Args:
        maxsize: So many fit.
    """

    def __init__(self, maxsize: int) -> None:
        self._most = maxsize
        self._there: list[Any] = []
        self._waiting = 0
        self._news = Condition()

    def put(self, item: Any, block: bool = False, timeout: float | None = None) -> None:
        """Put one back. Never waits.

        Raises:
            queue.Full: There are as many as there may be.
        """
        if len(self._there) >= self._most:
            raise queue.Full
        self._there.append(item)
        if self._waiting:  # who waits said so before its last look
            with self._news:
                self._news.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take one; with ``block``, wait so many seconds for it.

        Raises:
            queue.Empty: There is none.
        """
        try:
            return self._there.pop()
        except IndexError:
            if not block:
                raise queue.Empty from None
        until = inf if timeout is None else monotonic() + timeout
        with self._news:
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._there.pop()
                    except IndexError:
                        left_s = until - monotonic()
                    if left_s <= 0:
                        raise queue.Empty
                    self._news.wait(None if left_s == inf else left_s)
            finally:
                self._waiting -= 1
