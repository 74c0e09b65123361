"""Parquet is cut between row groups: several small ones together, a large one alone.

Where its rows go through Python one by one, a large one is several splits.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, cast

from whichpool import PlanError
from whichpool.dataset.failures import BadInput
from whichpool.dataset.records import PartFooter, Split
from whichpool.dataset.sources import pyarrow
from whichpool.dataset.splits.footer import footer_of
from whichpool.dataset.storage import Ranges, read_range, same_file_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from whichpool.dataset.records import Source
    from whichpool.dataset.splits.footer import Footer

__all__ = ["expression", "fragment_of", "no_parts", "open_parquet", "opened", "part_of", "splits_of"]

# A part of a row group has at least so many rows: some 50 ms of Python, while reading over as many takes 2 ms (19
# columns of flights). And a row group has so many parts at the most: each reads over those before it, so eight of them
# read it four and a half times. Guesses.
LEAST_ROWS = 16_384
MOST_PARTS = 8
# The first two splits have so many: until they are done little is known of the work, and one core does it all. A guess:
# some 5 ms each.
PROBE_ROWS = 2_048


def open_parquet(source: Source, footer: bytes | None = None) -> Any:
    """A `pyarrow.parquet.ParquetFile`, which its user closes.

    Args:
        source: The file.
        footer: A part of its footer, to be used in place of the whole; see `Footer.cut`.

    Raises:
        BadInput: It is no Parquet file, or its end is missing.
    """
    parquet, arrow = pyarrow("parquet"), pyarrow()
    try:
        known = parquet.read_metadata(arrow.BufferReader(footer)) if footer is not None else None
        if source.fs is None:
            return parquet.ParquetFile(source.path, memory_map=False, metadata=known)
        fs, path = same_file_system(source)
        return parquet.ParquetFile(path, filesystem=fs, pre_buffer=True, metadata=known)
    except (arrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        begins = read_range(source, 0, 4) == b"PAR1"
        what = (
            "its end is missing, where a Parquet file says what is in it: it was cut short, or is still being written"
            if begins
            else "it is empty"
            if source.size_bytes == 0
            else "it is no Parquet file"
        )
        raise BadInput(f"{source.path} cannot be read: {what} ({error})") from error


def no_parts(source: Source) -> BadInput:
    """What is to be said of a remote file that can only be read from its beginning."""
    return BadInput(
        f"{source.path} cannot be read: Parquet is read from its end, and this server gives no part of a file without "
        "what is before it; fetch it first (whichpool get)"
    )


def opened(source: Source) -> tuple[Footer | None, Any]:
    """Its footer, if that is one that can be cut; and its columns, as Arrow has them.

    Raises:
        BadInput: It is no Parquet file, or its end is missing.
    """
    with Ranges(source) if source.fs is not None else open(source.path, "rb") as file:
        footer = footer_of(cast("BinaryIO", file))
    with open_parquet(source, footer.cut(()) if footer is not None else None) as parquet:
        return footer, parquet.schema_arrow


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
    fs, path = same_file_system(source)
    return pyarrow("dataset").ParquetFileFormat().make_fragment(path, fs, row_groups=row_groups)


def part_of(split: Split) -> tuple[Any, list[int], int]:
    """The file of a split, open, for its user to close.

    Returns:
        It; the numbers that the split's row groups have in it; the number of their first row in the whole file.
    """
    source, groups, footer = split.sources[0], split.row_groups or (), split.footer
    if footer is None:
        file = open_parquet(source)
        before = range(groups[0] if groups else 0)
        return file, list(groups), sum(file.metadata.row_group(index).num_rows for index in before)
    file = open_parquet(source, footer.data)
    places = [footer.row_groups.index(group) for group in groups]
    before = range(places[0] if places else 0)
    rows = sum(file.metadata.row_group(index).num_rows for index in before)
    return file, places, footer.first_row + rows


def splits_of(
    source: Source,
    footer: Footer | None,
    step: Callable[[int], int],
    where: tuple[tuple[str, str, Any], ...] | None,
    *,
    in_parts: bool = False,
    probe: bool = False,
) -> list[Split]:
    """The file, cut between row groups.

    Args:
        source: The file.
        footer: Of it; ``None``: one that cannot be cut.
        step: How much the next split is to have, of so much that is left.
        where: Row groups in which it cannot hold, by their statistics, are in none.
        in_parts: A large row group becomes several splits.
        probe: And the first one begins with two short splits.
    """
    if footer is not None:
        rows = [group.rows for group in footer.groups]
        sizes = [group.size_bytes for group in footer.groups]
    else:
        with open_parquet(source) as file:
            every = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            rows, sizes = [each.num_rows for each in every], [each.total_byte_size for each in every]
    wanted = [index for index, count in enumerate(rows) if count]
    if where:
        wanted = sorted(_possible(source, where) & {*wanted})
    groups: list[list[int]] = []
    filled, left = 0, sum(sizes[index] for index in wanted)
    for index in wanted:
        if not groups or filled + sizes[index] > step(left):
            left -= filled
            groups.append([])
            filled = 0
        groups[-1].append(index)
        filled += sizes[index]
    first = [0, *accumulate(rows)]
    splits: list[Split] = []
    for each in map(tuple, groups):
        # With a condition pyarrow reads the file by itself, and its footer whole.
        part = (
            PartFooter(footer.cut(each), each, first[each[0]]) if footer is not None and not where else None
        )
        size = sum(sizes[index] for index in each)
        parts: list[tuple[int, int] | None] = [None]
        if in_parts and len(each) == 1:
            parts = _parts(rows[each[0]], probe=probe and not splits)
        for some in parts:
            share = size if some is None else size * (some[1] - some[0]) // rows[each[0]]
            splits.append(Split(0, (source,), row_groups=each, rows=some, footer=part, size_bytes=share))
    return splits


def _parts(rows: int, *, probe: bool) -> list[tuple[int, int] | None]:
    """Which of its rows each split of a row group has; ``None``: all."""
    count = max(1, min(MOST_PARTS, rows // LEAST_ROWS))
    cuts = [rows * part // count for part in range(count + 1)]
    if probe and cuts[1] > 2 * PROBE_ROWS:
        cuts[1:1] = [PROBE_ROWS, 2 * PROBE_ROWS]
    return list(pairwise(cuts)) if len(cuts) > 2 else [None]


def _possible(source: Source, where: tuple[tuple[str, str, Any], ...]) -> set[int]:
    """The row groups in which the condition may hold."""
    fragment = fragment_of(source)
    condition = expression(where)
    try:
        left = fragment.split_by_row_group(condition, schema=fragment.physical_schema)
    except pyarrow().ArrowException as error:
        raise BadInput(f"{source.path}: where= cannot be asked of its columns: {error}") from error
    return {group.id for each in left for group in each.row_groups}
