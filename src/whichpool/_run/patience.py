"""Calls on threads of this process that take longer than they may: their items fail, and they are abandoned.

Nothing can end a call on a thread from outside. It goes on by itself, another thread takes its place, and what comes of
it in the end is dropped.
"""

from __future__ import annotations

from time import monotonic

from whichpool._pools.remains import too_long

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._pools.base import Batch
    from whichpool._run.inline import Runner
    from whichpool._run.run import Run

__all__ = ["Patience"]

ABANDONED = (
    "a call took longer than timeout= on a thread of this process, where it can only be abandoned: it may still be "
    'running. plan="processes" ends such calls for certain'
)


class Patience:
    """Looks at what the threads have in hand; a call's time counts from the first look at it.

    Args:
        run: Whose threads.
        timeout_s: What a call may take.
    """

    def __init__(self, run: Run, timeout_s: float) -> None:
        self._run = run
        self._timeout_s = timeout_s
        self._seen: dict[Runner, tuple[Batch, int, float]] = {}

    def look(self) -> None:
        """Abandon what is over its time."""
        run, now = self._run, monotonic()
        for runner in list(run.runners):
            batch, done = runner.in_hand()
            if batch is None:
                self._seen.pop(runner, None)
                continue
            seen = self._seen.get(runner)
            if seen is None or seen[0] is not batch or seen[1] != done:
                self._seen[runner] = batch, done, now
            elif now - seen[2] > self._timeout_s:
                del self._seen[runner]
                self._give_up(runner, batch, done)

    def _give_up(self, runner: Runner, batch: Batch, done: int) -> None:
        run = self._run
        values = runner.give_up(batch, done)
        if values is None:
            return  # it ended at the last moment
        if runner in run.runners:
            run.runners.remove(runner)
        if run.threads is not None:
            run.threads.abandon(runner)
        if ABANDONED not in run.notes:
            run.notes.append(ABANDONED)
        error = too_long(batch.start + done, batch.items[done], self._timeout_s, ended=False)
        run.work.put(batch, values, error)
