"""What all files of one call share."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.downloads.board import Board
from whichpool.downloads.disk import Space
from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.folder import Folder
from whichpool.downloads.home import Home
from whichpool.downloads.names import Names
from whichpool.downloads.rate import Rate
from whichpool.downloads.records import Receipt, Settings

if TYPE_CHECKING:
    from whichpool.downloads.transport import Transport

__all__ = ["Context", "Stopped"]

CHORES = 4
"""Threads for bringing data to the disk and for hashing large files: two of each. A guess."""


class Stopped(Exception):
    """The call is being ended: no failure of anybody's."""


class Context:
    """See the module's text. Thread-safe; `close` it.

    Attributes:
        stop: Set when the call is being ended: what is in progress puts down what it has.
        full: The failure that showed that nothing more fits; nothing new is begun then.
        caller: The thread that takes the results, and fetches files as well.
    """

    def __init__(
        self,
        folder: Folder,
        transport: Transport,
        settings: Settings,
        board: Board,
        on_event: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> None:
        self.folder = folder
        self.transport = transport
        self.settings = settings
        self.board = board
        self.names = Names()
        self.stop = threading.Event()
        self.space = Space(folder.fd, folder.path)
        self.rate = Rate(settings.rate, self.stop.wait) if settings.rate is not None else None
        self.full: DownloadFailed | None = None
        # Code of the caller's that runs on these threads may start others, which would be bound, too.
        self.home = None if on_event is not None or board.tells else Home()
        self.caller = 0
        self._lock = threading.Lock()
        self._in_use: Counter[str] = Counter()  # connections, by host
        self._unranged: set[str] = set()  # hosts that do not send ranges
        self._busy = threading.Condition(self._lock)
        self._tries = 0
        self._pools: dict[str, whichpool.Pool] = {}
        self._closed = False
        self._deserted = False  # nobody waits any more for what is in progress
        self._on_event = on_event

    def tell(self, event: str, **what: Any) -> None:
        """Let whoever wants to know hear of it."""
        if self._on_event is not None:
            self._on_event({"event": event, **what})

    def ended(self, receipt: Receipt) -> None:
        """One request is done with, and this is what is given to the caller."""
        if receipt.outcome != "fetched":
            self.board.note(receipt.outcome, receipt.bytes)
        if self._on_event is not None:
            self.tell("end", **{key: value for key, value in asdict(receipt).items() if value is not None})

    def check(self) -> None:
        """Raise `Stopped` if the call is being ended."""
        if self.stop.is_set():
            raise Stopped

    # -- connections -----------------------------------------------------------------------------------------------

    def enter(self, host: str) -> None:
        """A file's first connection to that host: `whichpool.imap` has seen to it that it may."""
        with self._lock:
            self._in_use[host] += 1
            self._tries += 1

    def leave(self, host: str) -> None:
        """It is over."""
        with self._lock:
            self._release(host)
            self._tries -= 1
            if not self._tries:
                self._busy.notify_all()
            last = self._deserted and not self._tries
        if last:
            self.folder.close()

    def further(self, host: str) -> bool:
        """A further connection of a file; False: there are enough, or the host sends no ranges."""
        with self._lock:
            if (
                self._closed
                or host in self._unranged
                or self._in_use[host] >= self.settings.per_host
                or sum(self._in_use.values()) >= self.settings.most
            ):
                return False
            self._in_use[host] += 1
            return True

    def crowded(self, host: str) -> bool:
        """Whether a file has come that needs the connection of a further one; looked at for each piece, so unlocked."""
        return self._in_use[host] > self.settings.per_host

    def done_with(self, host: str) -> None:
        """A further connection is over."""
        with self._lock:
            self._release(host)

    def _release(self, host: str) -> None:
        self._in_use[host] -= 1
        if not self._in_use[host]:
            del self._in_use[host]

    def sends_no_ranges(self, host: str) -> None:
        """It has shown so: no further connections."""
        with self._lock:
            self._unranged.add(host)

    def settle(self) -> None:
        """The calling thread fetches a small file, as far as is known: see `Home`."""
        if self.home is not None and threading.get_ident() != self.caller:
            self.home.settle()

    def roam(self) -> None:
        """It fetches what may be larger."""
        if self.home is not None:
            self.home.roam()

    # -- other threads ---------------------------------------------------------------------------------------------

    def later(self, chore: Callable[[], None]) -> None:
        """Have it done soon, on another thread; here and now if there are none any more."""
        self.roam()  # a thread that is started now begins where this one may run
        try:
            self._pool("chores", CHORES).submit(chore)
        except RuntimeError:
            chore()

    def help(self, fetch: Callable[..., None], *args: Any) -> None:
        """Have a further connection read, on another thread.

        Raises:
            RuntimeError: The call is being ended.
        """
        self.roam()
        self._pool("segments", self.settings.most).submit(fetch, *args)

    def _pool(self, name: str, threads: int) -> whichpool.Pool:
        pool = self._pools.get(name)
        if pool is None:
            with self._lock:
                if self._closed:
                    raise RuntimeError("closed")
                pool = self._pools.get(name)
                if pool is None:
                    pool = self._pools[name] = whichpool.Pool(plan=(0, threads), shared="ok")
        return pool

    def end(self) -> None:
        """End what is in progress: it puts down what it has, even if it waits for a server that is silent."""
        self.stop.set()
        self.transport.cut()

    def close(self, most_s: float) -> None:
        """As `end`; and wait for that, but not for longer than so."""
        self.end()
        with self._lock:
            self._closed = True
            self._busy.wait_for(lambda: not self._tries, most_s)
            self._deserted = still = self._tries > 0
        self.transport.close()
        for pool in self._pools.values():
            pool.close(wait=not still)
        if not still:
            self.folder.close()
