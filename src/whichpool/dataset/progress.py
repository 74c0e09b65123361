"""How far a run is, in records, bytes and time; told to a function, or drawn on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import whichpool
from whichpool.dataset.records import Progress
from whichpool.report.units import about, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from whichpool.dataset.records import Receipt, Split

    Tell = Callable[[Progress], object]

__all__ = ["Book", "bar", "check", "in_words", "listener"]

# Seconds between two times that somebody is told. What an eye follows, and the pace at which the engine asks.
EVERY_S = 0.1


class Book:
    """What has been done, and what of it was worth telling.

    Args:
        splits: All of them.
        tell: Who is told; ``None``: nobody.
        clock: Seconds.
    """

    def __init__(
        self, splits: list[Split], tell: Tell | None, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.rows = 0
        self.rejected = 0
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._sizes = sizes_of(splits)
        self._done = 0
        self._bytes = 0
        self._here = 0
        """Bytes that were read by this run, not by an earlier one."""

    def add(self, receipt: Receipt, *, earlier: bool = False) -> None:
        """A split has been done; by an earlier run, say."""
        amount = self._sizes.get(receipt.key, 0)
        self.rows += receipt.rows_in
        self.rejected += receipt.rejected
        self._done += 1
        self._bytes += amount
        if not earlier:
            self._here += amount
            self.tick()

    @property
    def rows_expected(self) -> float:
        """About how many records the input has, by the bytes of those that were read."""
        return self.rows * sum(self._sizes.values()) / self._bytes if self._bytes else self.rows

    def tick(self, *_: object) -> None:
        """Tell, if it is time to; the engine calls it as its ``progress``."""
        if self._tell is not None and self._clock() - self._told >= EVERY_S:
            self._told = self._clock()
            self._tell(self.seen())

    def end(self) -> None:
        """Tell of the end."""
        if self._tell is not None:
            self._tell(self.seen())

    def seen(self) -> Progress:
        """As it stands."""
        elapsed_s = self._clock() - self._began
        total = sum(self._sizes.values())
        per_s = self._here / elapsed_s if self._here and elapsed_s > 0 else None
        left_s = (total - self._bytes) / per_s if per_s else None
        if self._done == len(self._sizes):
            left_s = 0.0
        done, splits = self._done, len(self._sizes)
        return Progress(done, splits, self.rows, self.rejected, self._bytes, total, elapsed_s, per_s, left_s)


def sizes_of(splits: list[Split]) -> dict[str, int]:
    """Key -> bytes of the input, as they lie on the disk; of row groups, their share by number."""
    groups: dict[str, int] = {}
    for split in splits:
        if split.row_groups is not None:
            path = split.sources[0].path
            groups[path] = groups.get(path, 0) + len(split.row_groups)
    found = {}
    for split in splits:
        whole = sum(source.size_bytes for source in split.sources)
        if split.row_groups is not None:
            whole = whole * len(split.row_groups) // groups[split.sources[0].path]
        found[split.key] = split.length if split.length is not None else whole
    return found


def in_words(seen: Progress) -> str:
    """In one line: ``12,000 records, 3.20 MB of 10.0 MB, 1.10 MB/s, 6 s left``."""
    said = [f"{seen.rows:,} records", f"{size(seen.bytes)} of {size(seen.bytes_total)}"]
    if seen.bytes_per_s is not None:
        said.append(f"{size(seen.bytes_per_s)}/s")
    if seen.rejected:
        said.insert(1, f"{seen.rejected:,} rejected")
    if seen.left_s:
        said.append(f"{about(seen.left_s)} left")
    return ", ".join(said)


@contextmanager
def bar() -> Iterator[Tell]:
    """A bar on standard error, while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    # No refresh thread: it would take the GIL ten times a second from the work that is being measured.
    drawn = Bar(
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(bar_width=20, complete_style="cyan", finished_style="cyan"),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
    with drawn:
        task = drawn.add_task("", total=None)

        def tell(seen: Progress) -> None:
            drawn.update(
                task,
                completed=seen.bytes,
                total=seen.bytes_total or None,
                description=in_words(seen),
                refresh=True,
            )

        yield tell


def check(wish: Any) -> None:
    """Whether it is what `listener` takes.

    Raises:
        PlanError: It is not.
    """
    if not isinstance(wish, bool) and not callable(wish):
        raise whichpool.PlanError(f"progress={wish!r} is neither True, False nor a function of a Progress")


@contextmanager
def listener(wish: Any) -> Iterator[Tell | None]:
    """Who is told, while the block runs.

    Args:
        wish: ``False``: nobody. ``True``: a bar, on a terminal. A function.
    """
    if wish is not True:
        yield wish or None
    elif sys.stderr.isatty():
        with bar() as tell:
            yield tell
    else:
        yield None
