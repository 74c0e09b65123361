"""Items that cannot begin because there is no room for their key, and which of them is next."""

from __future__ import annotations

from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from whichpool._choose.allowance import Allowance
    from whichpool._pools.base import Batch

__all__ = ["Aside", "Key"]


class Key:
    """One key: its allowance, and its items that are kept aside."""

    __slots__ = ("allowance", "aside", "items", "listed", "name", "used")

    def __init__(self, name: Hashable, allowance: Allowance) -> None:
        self.name = name
        self.allowance = allowance
        self.aside: list[Batch] = []  # a heap
        self.listed = False  # it is among those that may begin something
        self.items = 0  # calls that ended, tries counted
        self.used = 0  # when, counted in items of the run


class Aside:
    """What is kept aside, by key; to `Work` a collection of batches, as the heap in its place is."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}  # those with something
        self._ready: list[tuple[int, int, Key]] = []  # those with room, the earliest item first
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        for key in self._keys:
            yield from key.aside

    @property
    def keys(self) -> list[Key]:
        """The keys with something aside."""
        return list(self._keys)

    def clear(self) -> None:
        for key in self._keys:
            key.aside.clear()
            key.listed = False
        self._keys.clear()
        self._ready.clear()
        self._count = 0

    def add(self, batch: Batch, now: float) -> None:
        """One more; it may begin when `list_` has seen room for its key."""
        key = batch.key
        heappush(key.aside, batch)
        self._keys[key] = None
        self._count += 1
        self.list_(key, now)

    def list_(self, key: Key, now: float) -> None:
        """There may be room for a key again."""
        if key.aside and not key.listed and key.allowance.room(now) > 0:
            key.listed = True
            heappush(self._ready, (key.aside[0].start, id(key), key))

    def pop(self, now: float) -> Batch | None:
        """The earliest item of the keys with room."""
        while self._ready:
            key = heappop(self._ready)[2]
            key.listed = False
            if not key.aside or key.allowance.room(now) <= 0:
                continue
            return self._first(key)
        return None

    def pop_at(self, index: int | None, now: float) -> Batch | None:
        """The item of this index, if it is there and there is room for its key."""
        for key in self._keys:
            if key.aside[0].start == index:
                return self._first(key) if key.allowance.room(now) > 0 else None
        return None

    def _first(self, key: Key) -> Batch:
        batch = heappop(key.aside)
        self._count -= 1
        if not key.aside:
            del self._keys[key]
        return batch

    @property
    def is_ready(self) -> bool:
        """Whether something may begin, as far as was seen."""
        return bool(self._ready)
