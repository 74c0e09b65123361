"""Parquet is cut between row groups: several small ones together, a large one alone.

Where its rows go through Python one by one, a large one is several splits.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from whichpool import PlanError
from whichpool.dataset.failures import BadInput
from whichpool.dataset.sources import pyarrow

if TYPE_CHECKING:
    from whichpool.dataset.records import Source

__all__ = ["expression", "fragment_of", "groups_of", "open_parquet"]

# A part of a row group has at least so many rows: some 50 ms of Python, while reading over as many takes 2 ms (19
# columns of flights). And a row group has so many parts at the most: each reads over those before it, so eight of them
# read it four and a half times. Guesses.
LEAST_ROWS = 16_384
MOST_PARTS = 8
# The first two splits have so many: until they are done little is known of the work, and one core does it all. A guess:
# some 5 ms each.
PROBE_ROWS = 2_048


def open_parquet(source: Source) -> Any:
    """A `pyarrow.parquet.ParquetFile`, which its user closes.

    Raises:
        BadInput: It is no Parquet file, or its end is missing.
    """
    parquet, arrow = pyarrow("parquet"), pyarrow()
    try:
        return parquet.ParquetFile(source.path, memory_map=False)
    except (arrow.ArrowInvalid, arrow.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        with open(source.path, "rb") as file:
            begins = file.read(4) == b"PAR1"
        what = (
            "its end is missing, where a Parquet file says what is in it: it was cut short, or is still being written"
            if begins
            else "it is empty"
            if source.size_bytes == 0
            else "it is no Parquet file"
        )
        raise BadInput(f"{source.path} cannot be read: {what} ({error})") from error


def expression(where: tuple[tuple[str, str, Any], ...]) -> Any:
    """The condition as pyarrow takes it.

    Raises:
        PlanError: It has an operator that there is not.
    """
    try:
        return pyarrow("parquet").filters_to_expression(list(where))
    except (ValueError, TypeError) as error:
        raise PlanError(f"where is a list of (column, operator, value): {error}") from error


def fragment_of(source: Source, row_groups: tuple[int, ...] | None = None) -> Any:
    """The file, or some of its row groups, as something that can be filtered while it is read."""
    local = pyarrow("fs").LocalFileSystem()
    made = pyarrow("dataset").ParquetFileFormat()
    return made.make_fragment(os.path.abspath(source.path), local, row_groups=row_groups)


def groups_of(
    source: Source,
    split_bytes: int,
    where: tuple[tuple[str, str, Any], ...] | None,
    *,
    in_parts: bool = False,
    probe: bool = False,
) -> list[tuple[tuple[int, ...], tuple[int, int] | None]]:
    """The row groups of each split, and which rows of its one row group it has; ``None``: all.

    Args:
        source: The file.
        split_bytes: About how much a split should be.
        where: Row groups in which it cannot hold, by their statistics, are in none.
        in_parts: A large row group becomes several splits.
        probe: And the first one begins with two short splits.
    """
    with open_parquet(source) as file:
        meta = file.metadata
        sizes = [meta.row_group(index).total_byte_size for index in range(meta.num_row_groups)]
        rows = [meta.row_group(index).num_rows for index in range(meta.num_row_groups)]
    wanted = [index for index, count in enumerate(rows) if count]
    if where:
        fragment = fragment_of(source)
        condition = expression(where)
        try:
            left = fragment.split_by_row_group(condition, schema=fragment.physical_schema)
        except pyarrow().ArrowException as error:
            raise BadInput(f"{source.path}: where= cannot be asked of its columns: {error}") from error
        wanted = sorted({group.id for each in left for group in each.row_groups} & {*wanted})
    groups: list[list[int]] = []
    filled = 0
    for index in wanted:
        if not groups or filled + sizes[index] > split_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += sizes[index]
    return [
        (tuple(each), part)
        for number, each in enumerate(groups)
        for part in (
            _parts(rows[each[0]], probe=probe and number == 0) if in_parts and len(each) == 1 else [None]
        )
    ]


def _parts(rows: int, *, probe: bool) -> list[tuple[int, int] | None]:
    count = max(1, min(MOST_PARTS, rows // LEAST_ROWS))
    cuts = [rows * part // count for part in range(count + 1)]
    if probe and cuts[1] > 2 * PROBE_ROWS:
        cuts[1:1] = [PROBE_ROWS, 2 * PROBE_ROWS]
    return list(pairwise(cuts)) if len(cuts) > 2 else [None]
