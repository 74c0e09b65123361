"""What ``whichpool get`` shows while it runs and at its end: bars, lines, events, or nothing but errors."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.cli.standard import not_written
from whichpool.cli.talk import say
from whichpool.report.units import about, count, duration, size

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TextIO

    from rich.console import Console, Group
    from rich.live import Live

    from whichpool.downloads.board import Progress, Snapshot
    from whichpool.downloads.records import Receipt

__all__ = [
    "Events",
    "Lines",
    "Screen",
    "Tally",
    "Ticker",
    "View",
    "by_class",
    "bytes_per_s",
    "chosen",
    "clean",
    "entries",
    "progress_line",
]

SCHEMA = "whichpool.get"
VERSION = 1

# Seconds between two looks. A terminal's is what an eye follows; of lines in a log fewer are wanted.
SCREEN_S = 0.2
LINES_S = 5.0
EVENTS_S = 0.5
# Columns of a terminal: the longest bar, the shortest that is one, what is to be beside it, and the width below which a
# percentage must do.
_BAR, _LEAST_BAR, _BESIDE, _NARROW = 24, 8, 62, 60
FAILURES_SHOWN = 50
"""Failures that are told one by one; further ones are counted, and are in the receipts. A guess at what is read."""


class Tally:
    """What became of all, as it is told at the end."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.received = 0
        self.bytes = 0
        self.bad = 0

    def add(self, receipt: Receipt) -> None:
        """One more is done with."""
        self.outcomes[receipt.outcome] += 1
        self.received += receipt.fetched_bytes
        if receipt.ok:
            self.bytes += receipt.bytes or 0
        else:
            self.failures[receipt.failure or "failed"] += 1

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def text(self) -> str:
        """In a line or two."""
        elapsed_s = self.elapsed_s
        fetched, unchanged = self.outcomes["fetched"], self.outcomes["unchanged"]
        said = f"{count(fetched, 'file')}, {size(self.received)} in {duration(elapsed_s)}"
        if self.received:
            said += f", {bytes_per_s(self.received / elapsed_s)}"
        if unchanged:
            said += f"; {unchanged:,} there already"
        if self.failures:
            said += f"; {sum(self.failures.values()):,} failed: {by_class(self.failures)}"
        if self.bad:
            said += f"; {entries(self.bad)} of lists left out"
        return said


def entries(number: int) -> str:
    """So many."""
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


def by_class(failures: Counter[str]) -> str:
    """``3 gone, 1 timedout``: the most frequent first."""
    return ", ".join(f"{number:,} {kind}" for kind, number in failures.most_common())


def bytes_per_s(rate: float | None) -> str:
    """A rate with its unit."""
    return "-" if rate is None else f"{size(rate)}/s"


def clean(text: str) -> str:
    """For a terminal: what a server has said must not move the cursor."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+", " ", text)


class View:
    """Shows errors only; the base of the others.

    Of one view, `tick` may be called on another thread than the rest.
    """

    every_s: float | None = None
    """Seconds between two looks at the board; ``None``: none are needed."""
    talks = False
    """Whether more than errors is said on standard error."""
    sums_up = False
    """Whether `end` tells what has failed in all."""

    def __init__(self) -> None:
        self._failures = 0

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is shown any more."""

    def tick(self, seen: Snapshot) -> None:
        """How far it is."""

    def bad(self, line: int, message: str) -> None:
        """An entry of a list is none."""
        self._error(message)

    def receipt(self, receipt: Receipt) -> None:
        """One is done with."""
        if receipt.ok:
            return
        self._failures += 1
        if self._failures <= FAILURES_SHOWN:
            self._error(f"{receipt.url}: {receipt.message or receipt.failure} [{receipt.failure}]")
        elif self._failures == FAILURES_SHOWN + 1:
            self._error("further failures are only counted; --receipt has them all")

    def end(self, tally: Tally, code: int, **more: Any) -> None:
        """All are done with."""

    def _error(self, message: str) -> None:
        say(clean(message))


class Lines(View):
    """A line every few seconds on standard error."""

    every_s = LINES_S
    talks = True
    sums_up = True

    def tick(self, seen: Snapshot) -> None:
        """A line; not before there is something to say."""
        if seen.elapsed_s >= 1.0:
            say(progress_line(seen))

    def end(self, tally: Tally, code: int, **more: Any) -> None:
        """The summary."""
        say(tally.text())


def progress_line(seen: Snapshot) -> str:
    """All in one line."""
    of = "" if seen.files is None else f" of {seen.files:,}"
    all_of = "" if seen.total is None else f" of {size(seen.total)}"
    said = f"{seen.ended:,}{of} files, {size(seen.done)}{all_of}"
    if seen.per_s is not None:
        said += f", {bytes_per_s(seen.per_s)}"
    if seen.left_s:
        said += f", {about(seen.left_s)} left"
    if failed := seen.outcomes.get("failed", 0):
        said += f", {failed:,} failed"
    return said


class Screen(Lines):
    """Bars on a terminal: all, and the busiest files."""

    every_s = SCREEN_S

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console: Console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        # It draws when it is told to, on the ticker's thread, and needs none of its own.
        self._live: Live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The bars go."""
        with suppress(OSError):
            self._live.stop()

    def tick(self, seen: Snapshot) -> None:
        """Draw anew."""
        with suppress(OSError):
            self._live.update(self._drawn(seen), refresh=True)

    def end(self, tally: Tally, code: int, **more: Any) -> None:
        """The bars make room for the summary."""
        self.__exit__(None, None, None)
        super().end(tally, code)

    def _error(self, message: str) -> None:
        # Above the bars.
        with suppress(OSError):
            self._console.print(f"whichpool: {clean(message)}", soft_wrap=True)

    def _drawn(self, seen: Snapshot) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        files = Table.grid(padding=(0, 1), expand=True)
        files.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        # What a narrow terminal has no room for goes, before the names do.
        bar = min(_BAR, self._console.width - _BESIDE)
        bars, sums = bar >= _LEAST_BAR, self._console.width >= _NARROW
        for _ in range(4 if bars else 3):
            files.add_column(justify="right", no_wrap=True)

        def row(name: str, done: int, total: int | None, per_s: float | None, left_s: float | None) -> None:
            drawn = ProgressBar(total=total, completed=done, width=bar) if total else Text(" " * bar)
            if total is None:
                amount = size(done)
            else:
                amount = f"{size(done)} of {size(total)}" if sums else f"{done / (total or 1):.0%}"
            said = (amount, bytes_per_s(per_s), about(left_s) if left_s else "")
            files.add_row(Text(clean(name)), *([drawn] if bars else []), *map(Text, said))

        of = "" if seen.files is None else f" of {seen.files:,}"
        row(f"{seen.ended:,}{of} files", seen.done, seen.total, seen.per_s, seen.left_s)
        # By name, so that those that stay among them keep their places.
        for one in sorted(seen.busiest, key=lambda one: one.name):
            row(f"  {one.name}", one.done, one.total, one.per_s, one.left_s)
        return Group(files)


class Events(View):
    """One line of JSON for each event, on standard output.

    Args:
        stream: Standard output.
        folder: Where the files go.
    """

    every_s = EVENTS_S
    sums_up = True

    def __init__(self, stream: TextIO, folder: str) -> None:
        super().__init__()
        self._stream = stream
        self._lock = threading.Lock()
        self._write("start", schema=SCHEMA, version=VERSION, whichpool=whichpool.__version__, folder=folder)

    def tick(self, seen: Snapshot) -> None:
        """How far it is."""
        self._write(
            "progress",
            elapsed_s=round(seen.elapsed_s, 3),
            received_bytes=seen.received,
            bytes_per_s=seen.per_s and round(seen.per_s),
            left_s=seen.left_s and round(seen.left_s, 1),
            active=seen.active,
            ended=seen.ended,
            files=seen.files,
            done_bytes=seen.done,
            total_bytes=seen.total,
            outcomes=dict(seen.outcomes),
            busiest=[_one(one) for one in seen.busiest],
        )

    def bad(self, line: int, message: str) -> None:
        """An entry of a list is none."""
        self._write("bad", line=line, message=message)

    def receipt(self, receipt: Receipt) -> None:
        """One is done with."""
        from whichpool.downloads.receipts import to_dict

        self._write("receipt", **to_dict(receipt))

    def file(self, **fields: Any) -> None:
        """What ``--dry-run`` or ``--verify`` has found."""
        self._write("file", **fields)

    def end(self, tally: Tally, code: int, **more: Any) -> None:
        """All are done with."""
        elapsed_s = tally.elapsed_s
        self._write(
            "end",
            code=code,
            elapsed_s=round(elapsed_s, 3),
            files=sum(tally.outcomes.values()),
            received_bytes=tally.received,
            bytes_per_s=round(tally.received / elapsed_s) if elapsed_s else None,
            outcomes=dict(tally.outcomes),
            failures=dict(tally.failures),
            bad=tally.bad,
            **more,
        )

    def _write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}, ensure_ascii=True, allow_nan=False)
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except OSError as error:
            raise not_written("standard output", error) from error


def _one(one: Progress) -> dict[str, Any]:
    return {
        "name": one.name,
        "url": one.url,
        "done_bytes": one.done,
        "total_bytes": one.total,
        "bytes_per_s": one.per_s and round(one.per_s),
        "left_s": one.left_s and round(one.left_s, 1),
    }


class Ticker:
    """Calls the view again and again, on a thread of its own, while the block runs.

    Args:
        view: What is told.
        look: Gives the snapshot.

    Attributes:
        failed: What the view has raised; the thread that made the ticker has been interrupted then, as by Ctrl-C.
    """

    def __init__(self, view: View, look: Callable[[], Snapshot]) -> None:
        self._view = view
        self._look = look
        self._caller = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="whichpool-get-view", daemon=True)
        self.failed: Exception | None = None

    def __enter__(self) -> Ticker:
        if self._view.every_s is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No call is made any more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._view.every_s):
            try:
                self._view.tick(self._look())
            except Exception as error:
                # Nobody reads any more, say. The main thread may be waiting for a receipt that is hours away; a real
                # signal ends every wait.
                self.failed = error
                signal.pthread_kill(self._caller, signal.SIGINT)
                return


def chosen(*, as_json: bool, quiet: bool, stream: TextIO | None, folder: str) -> View:
    """The view that the options and the terminal ask for."""
    if as_json:
        assert stream is not None
        return Events(stream, folder)
    if quiet:
        return View()
    return Screen() if sys.stderr.isatty() else Lines()
