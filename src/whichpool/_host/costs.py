"""What starting threads and worker processes costs here: measured at each real start, and remembered.

One small JSON file for each machine and interpreter, in the user's cache folder. It is a convenience: where
it cannot be read or written, the costs of this process alone are used, and nobody is told.

    load()    what is known      no I/O after the first call
    record()  one real start     arithmetic; writes at most once a minute
    flush()   write now          also at exit

Which folder that is: `whichpool.files.cache_folder`.
"""

from __future__ import annotations

import os
import sys
import time

from whichpool.files import cache_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from whichpool._records import StartCosts

WEIGHT = 0.3
"""Share of the newest start in the mean. A guess: five starts after a change, 83 % of it is known."""
OUTLIER = 4.0
"""A start counts as no more than this many times the mean, and as no less than its inverse; so one start on a
machine that was swapping does not rule processes out for the next ten. A guess; a lasting change still gets
through, at nearly twice the mean a start."""
WRITE_EVERY_S = 60.0
"""Seconds between two writes of one process: a write takes 0.2 ms on a local disk, more over a network."""
WORTH_WRITING = 0.1
"""A relative change smaller than this is not written: starts vary more than that from one to the next."""

_LIMITS_S = {
    # Name -> the least and the most seconds that are believed; outside, a clock jumped or a process stood
    # still.
    "thread_s": (1e-6, 1.0),
    "first_worker_s": (1e-4, 60.0),
    "worker_s": (1e-4, 60.0),
}
_MOST_BYTES = 4096
"""Bytes read of a costs file; ours have 100."""


class CostBook:
    """The start costs of one machine and interpreter, and the file that keeps them.

    Threads may use one book together without a lock: what is known is a dict that is replaced, never changed.
    Two records at once may lose one of the two, which a mean does not mind; so no fork can find a lock held.

    Args:
        path: The file; ``None``: memory only.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._on_disk: dict[str, float] = _read(path) if path is not None else {}
        self._known = self._on_disk
        self._wrote_at = time.monotonic()
        self._costs: tuple[dict[str, float], StartCosts] | None = None

    def load(self) -> StartCosts:
        """Give the costs; a cost never measured here has its default. The same object until one changes."""
        made, known = self._costs, self._known
        if made is not None and made[0] is known:
            return made[1]
        from whichpool._records import StartCosts

        # Threads cost so little that their default is no guess worth mentioning; processes do.
        costs = StartCosts(**known, measured="first_worker_s" in known)
        self._costs = (known, costs)
        return costs

    def record(self, **seconds: float | None) -> None:
        """Correct the costs by one real start; see the function `record`."""
        known = dict(self._known)
        for name, value in seconds.items():
            least, most = _LIMITS_S[name]
            if value is None or not 0.0 < value < float("inf"):  # also NaN
                continue
            value = min(max(value, least), most)
            mean = known.get(name)
            if mean is None:
                known[name] = value
            else:
                value = min(max(value, mean / OUTLIER), mean * OUTLIER)
                known[name] = mean + WEIGHT * (value - mean)
        self._known = known
        if time.monotonic() - self._wrote_at >= WRITE_EVERY_S:
            self.flush()

    def flush(self) -> bool:
        """Write what differs by more than a tenth from what is on disk; tell whether it was written."""
        self._wrote_at = time.monotonic()
        known, before = self._known, self._on_disk
        if self.path is None or not any(
            name not in before or abs(value - before[name]) > WORTH_WRITING * before[name]
            for name, value in known.items()
        ):
            return False
        written = _write(self.path, known)
        if written:
            self._on_disk = known
        return written


_book: CostBook | None = None


def load() -> StartCosts:
    """Give the start costs of this machine and interpreter.

    Returns:
        The costs; the same object until a start is recorded. ``measured`` is true once the start of a first
        worker process has been measured here, by this process or an earlier one.
    """
    return _the_book().load()


def record(
    first_worker_s: float | None = None,
    worker_s: float | None = None,
    thread_s: float | None = None,
) -> None:
    """Correct the costs by one real start: an exponential mean, in which an outlier counts little.

    Never raises for what it is given or for a disk; numbers that are not finite and above 0 are passed over.

    Args:
        first_worker_s: Seconds from the request until the first worker process could take an item.
        worker_s: Seconds that one further worker process took.
        thread_s: Seconds that one thread took.
    """
    _the_book().record(first_worker_s=first_worker_s, worker_s=worker_s, thread_s=thread_s)


def flush() -> None:
    """Write what is known to the cache folder now, if it differs enough from what is there. Never raises."""
    if _book is not None:
        _book.flush()


def _the_book() -> CostBook:
    global _book
    book = _book
    if book is None:
        book = _book = CostBook(costs_file())
        if book.path is not None and os.environ.get("WHICHPOOL_WORKER") != "1":
            import atexit

            from whichpool._host.ending import undisturbed

            atexit.register(undisturbed, flush)
    return book


def costs_file() -> str | None:
    """Name the file of this machine and interpreter; ``None``: none is to be kept.

    Homes are shared between machines, and machines have several interpreters, so both stand in the name.
    """
    folder = cache_folder()
    if folder is None:
        return None
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    # sys.version tells builds apart, free-threaded ones too.
    key = "\n".join([host, _machine_id(), sys.executable or "", sys.implementation.name, sys.version])
    # A remainder by a large prime is hash enough for a handful of files, without an import (hashlib: 2.5 ms).
    digest = int.from_bytes(key.encode("utf-8", "surrogateescape"), "big") % ((1 << 61) - 1)
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in host)[:40]
    return os.path.join(folder, f"start-{plain}-{sys.implementation.cache_tag}-{digest:016x}.json")


def _machine_id() -> str:
    from whichpool._host.cgroups import read_text

    return (read_text("/etc/machine-id") or "").strip()


def _read(path: str) -> dict[str, float]:
    """Read a costs file; what is missing, damaged or not to be believed is left out."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        return {}
    try:
        text = os.read(fd, _MOST_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return {}
    finally:
        os.close(fd)
    if not (text.startswith("{") and text.endswith("}")):  # cut short
        return {}
    known: dict[str, float] = {}
    # One flat object of numbers needs no parser (json: 5.5 ms to import).
    for pair in text[1:-1].split(","):
        name, _, number = pair.partition(":")
        name = name.strip().strip('"')
        try:
            value = float(number)
        except ValueError:
            continue
        least, most = _LIMITS_S.get(name, (1.0, 0.0))
        if least <= value <= most:
            known[name] = value
    return known


def _write(path: str, known: dict[str, float]) -> bool:
    """Replace the file as a whole, so that readers and other writers see the old one or the new one."""
    import _thread

    text = "{\n" + ",\n".join(f'  "{name}": {value!r}' for name, value in sorted(known.items())) + "\n}\n"
    part = f"{path}.{os.getpid()}-{_thread.get_ident()}.part"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)
        os.replace(part, path)
    except (OSError, ValueError):
        _remove(part)
        return False
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except (OSError, ValueError):
        return
