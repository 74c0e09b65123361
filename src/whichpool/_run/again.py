"""Items that failed and have another try: how often they were tried, and when they are handed out again."""

from __future__ import annotations

from random import Random
from time import sleep

from whichpool.errors import WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._records import Retry
    from whichpool._run.timekeeper import Timekeeper

__all__ = ["Again"]


class Again:
    """The tries of one run.

    Args:
        retry: What the caller allows.
        give_back: Hands an item out again.
        in_line: Whether the items are being run one after the other: then the next ones wait too, as in a loop with a
            ``try`` in it.
        timekeeper: Who sees to it that the others need not wait.
    """

    def __init__(
        self,
        retry: Retry,
        give_back: Callable[[Batch], None],
        in_line: Callable[[], bool],
        timekeeper: Timekeeper,
    ) -> None:
        self._retry = retry
        self._give_back = give_back
        self._in_line = in_line
        self._timekeeper = timekeeper
        self._random = Random()  # not the caller's, whose numbers are to stay what they were
        self.failed: dict[int, int] = {}  # index -> failures so far
        self._further: dict[int, int] = {}  # index -> those of them before the item came further last

    def wait_s(self, index: int, error: BaseException) -> float | None:
        """The item failed: seconds until it is tried again, or ``None`` if it is not."""
        failures = self.failed.get(index, 0) + 1
        if getattr(error, "progressed", False) is True and self._retry.times:
            self._further[index] = failures - 1
        in_vain = failures - self._further.get(index, 0)
        if in_vain > self._retry.times or not isinstance(error, self._retry.on):
            if failures > 1:
                error.add_note(f"whichpool: item {index} was tried {failures} times")
            self._further.pop(index, None)
            return None
        self.failed[index] = failures
        # Here, since most runs fail nowhere: it takes 10 ms and more to import.
        from tenacity import RetryCallState, Retrying, wait_exponential

        retry = self._retry
        wait = wait_exponential(multiplier=retry.first_wait_s, max=retry.most_wait_s, exp_base=retry.factor)
        state: Any = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = in_vain
        return wait(state) * (1 - self._retry.jitter * self._random.random())

    def later(self, failed: Batch, wait_s: float, error: BaseException) -> None:
        """Hand it out again after so long."""
        failed.alone = isinstance(error, WorkerDied)
        if self._in_line() or not self._timekeeper.after(wait_s, lambda: self._give_back(failed)):
            sleep(wait_s)
            self._give_back(failed)

    @property
    def attempts(self) -> tuple[tuple[int, int], ...]:
        """Of each item that was tried more than once: its index, and how often."""
        return tuple([(index, failures + 1) for index, failures in sorted(self.failed.items())])
