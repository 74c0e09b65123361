"""Rows of Python, as fast as they can be made: what takes longest where a function is called with each."""

from __future__ import annotations

import csv
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from whichpool.dataset.records import Dialect

__all__ = ["dicts", "lists_of_plain", "rows_of_batch"]

# Of so many columns a function is made that writes the dictionaries as a program would, key by key. Compiling that
# for many more would be felt. A guess, not measured.
MOST_COLUMNS = 500


@lru_cache(maxsize=64)
def dicts(
    names: tuple[str, ...], wanted: tuple[str, ...] | None = None
) -> Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]]:
    """What makes dictionaries of rows that all have as many values as there are names.

    A literal ``{"a": a, "b": b}`` is made in 60 to 80 % of the time of ``dict(zip(names, row))``.

    Args:
        names: Of the columns, in the order in which they are in a row.
        wanted: The keys of the dictionaries, in their order; ``None``: all.

    >>> dicts(("a", "b", "c"), ("c", "a"))([(1, 2, 3), (4, 5, 6)])
    [{'c': 3, 'a': 1}, {'c': 6, 'a': 4}]
    """
    places = range(len(names)) if wanted is None else [names.index(name) for name in wanted]
    keys = names if wanted is None else wanted
    if not 0 < len(names) <= MOST_COLUMNS:
        return lambda rows: [
            {key: row[place] for key, place in zip(keys, places, strict=True)} for row in rows
        ]
    needed = {*places}
    targets = ", ".join(f"v{place}" if place in needed else "_" for place in range(len(names)))
    items = ", ".join(f"{str(key)!r}: v{place}" for key, place in zip(keys, places, strict=True))
    # The names are in it as literals only: whatever is in them is text.
    made: Callable[[Iterable[Sequence[Any]]], list[dict[str, Any]]] = eval(
        f"lambda rows: [{{{items}}} for ({targets},) in rows]", {"__builtins__": {}}
    )
    return made


def rows_of_batch(batch: Any) -> list[dict[str, Any]]:
    """The rows of a `pyarrow.RecordBatch`, as its ``to_pylist`` gives them."""
    names = tuple(batch.schema.names)
    if not names or len({*names}) < len(names):
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows
    return dicts(names)(zip(*[column.to_pylist() for column in batch.columns], strict=True))


def lists_of_plain(text: str, dialect: Dialect) -> Iterator[list[str]] | None:
    """The rows of CSV in which nothing is quoted or escaped, blank lines left out; ``None``: `csv` must read it.

    Cutting such lines at the delimiter gives what `csv.reader` gives in half of its time.
    """
    delimiter = dialect.delimiter
    quote = dialect.quotechar if dialect.quoting != csv.QUOTE_NONE else None
    if dialect.quoting not in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE) or dialect.skipinitialspace:
        return None
    if len(delimiter) != 1 or delimiter in "\r\n":
        return None  # `csv` says what is wrong with it
    if any(character and character in text for character in (quote, dialect.escapechar)):
        return None
    returns = text.count("\r")
    end = "\r\n" if returns else "\n"
    if returns and not returns == text.count("\r\n") == text.count("\n"):
        return None
    lines = text.split(end)
    if max(map(len, lines)) > csv.field_size_limit():
        return None
    return (line.split(delimiter) for line in lines if line)
