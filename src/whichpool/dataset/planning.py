"""What is to be done, from what the caller asked for: checked, and nothing touched yet.

goal_of   what becomes of results and of bad records
target_of where the output will be, and what its parts are
reading_of how the input becomes batches
=   Job
"""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import whichpool
from whichpool.dataset.bad import MODES, Limit
from whichpool.dataset.failures import BadOutput
from whichpool.dataset.formats import ARROW_ROWS, ROWS
from whichpool.dataset.records import Dialect, Reading
from whichpool.dataset.writers import KINDS, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from whichpool.dataset.records import Source

__all__ = ["Goal", "Job", "Target", "engine_options", "goal_of", "limited", "reading_of", "target_of"]

# Splits in progress for each core, if nobody says how many. Each takes memory, so there are fewer than the engine might
# want for a function that waits. A guess: what waits for the disk or for a core leaves it to the other.
SPLITS_A_CORE = 2

_ENGINE = ("plan", "limit", "shared", "seed", "retries", "deadline", "timeout", "max_worker_memory")


@dataclass(frozen=True, slots=True)
class Goal:
    """What becomes of results and of bad records."""

    function: Any
    combine: Callable[[Any, Any], Any] | None
    output: str | None
    """The path; ``None``: results are combined."""
    output_format: str | None
    """Of the parts in an output folder, where that was said."""
    bad: str
    limit: Limit
    """How many records may be bad."""
    aside: str | None
    """The file for bad records; ``None``: there is none."""
    ordered: bool
    """The output has the order of the input."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the output will be."""

    output: str | None
    """The path; ``None``: results are combined."""
    kind: str | None = None
    """What the file, or each part of the folder, is; ``None``: files with names of their own, or no output."""
    is_folder: bool = False
    header: bool = False
    """Each part has a header of its own."""


@dataclass(frozen=True, slots=True)
class Job:
    """All of it, ready to run."""

    goal: Goal
    target: Target
    sources: list[Source]
    reading: Reading
    split_bytes: int
    engine: dict[str, Any]
    """Options for whichpool."""


def goal_of(
    fn: Any,
    output: Any,
    combine: Any,
    bad: str,
    max_bad: Any,
    quarantine: Any,
    output_format: Any,
    ordered: bool,
) -> Goal:
    """As `whichpool.process` takes them.

    Raises:
        PlanError: They do not go together.
        TypeError: What should be called cannot be.
    """
    if not callable(fn):
        raise TypeError(f"fn must be a function or a class, not {type(fn).__name__}")
    if combine is not None and not callable(combine):
        raise TypeError(f"combine must be a function of two values, not {type(combine).__name__}")
    if (output is None) == (combine is None):
        raise whichpool.PlanError(
            "give output=, where results go, or combine=, which makes one value of them"
        )
    if combine is not None and not ordered:
        raise whichpool.PlanError(
            "ordered=False is for an output: values are combined with their neighbours, in the order of the input"
        )
    if bad not in MODES:
        raise whichpool.PlanError(f"bad must be one of {', '.join(MODES)}, not {bad!r}")
    if output_format is not None and output_format not in KINDS.values():
        raise whichpool.PlanError(f"output_format must be one of {', '.join(sorted({*KINDS.values()}))}")
    limit = Limit(max_bad)
    path = os.fspath(output) if output is not None else None
    aside = os.fspath(quarantine) if quarantine is not None else None
    if path is not None:
        kind_of(path)  # raises, if it is of no kind that is known
    if bad == "quarantine" and aside is None:
        if path is None:
            raise whichpool.PlanError('bad="quarantine" without an output needs quarantine=, a file to write')
        aside = path.rstrip("/") + ".bad.jsonl"
    return Goal(fn, combine, path, output_format, bad, limit, aside, ordered)


def engine_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options for whichpool.

    Raises:
        PlanError: One is not for `whichpool.process`.
    """
    unknown = sorted(asked.keys() - {*_ENGINE})
    if unknown:
        raise whichpool.PlanError(f"process() has no option {unknown[0]!r}")
    return dict(asked)


def limited(engine: dict[str, Any], sources: list[Source]) -> dict[str, Any]:
    """The options, with the most splits in progress where nobody has said how many."""
    if sources[0].format == "file" or engine.get("plan", "auto") != "auto" or "limit" in engine:
        return engine
    return {**engine, "limit": max(1, round(SPLITS_A_CORE * whichpool.doctor().cores))}


def target_of(goal: Goal, sources: list[Source], folders: dict[str, bool]) -> Target:
    """Where the output will be, which is possible there.

    Raises:
        BadOutput: It is in the input, or is there and not empty, or its folder is missing.
    """
    output = goal.output
    if output is None:
        return Target(None)
    kind = kind_of(output)
    is_folder = kind is None
    place = os.path.realpath(output)
    for source in sources:
        if os.path.realpath(source.path) == place:
            raise BadOutput(f"the output {output} is a file of the input: give another name")
    for folder, is_all_input in folders.items():
        inside = os.path.realpath(folder)
        if place == inside or (place.startswith(os.path.join(inside, "")) and (is_all_input or is_folder)):
            raise BadOutput(f"the output {output} is inside the input {folder}: the next run would read it")
    if not os.path.isdir(os.path.dirname(place)):
        raise BadOutput(f"the folder of {output} is not there: make it first")
    if is_folder and os.path.exists(place) and (not os.path.isdir(place) or os.listdir(place)):
        raise BadOutput(f"{output} is there, and not empty: remove it, or give another name")
    if is_folder and (sources[0].format != "file" or goal.output_format):
        kind = goal.output_format or "parquet"
        return Target(output, kind, is_folder, header=kind == "csv")
    return Target(output, kind, is_folder)


def reading_of(
    batch: str,
    sources: list[Source],
    columns: Sequence[str] | None,
    where: Sequence[tuple[str, str, Any]] | None,
    batch_rows: int | None,
    encoding: str,
    dialect: Dialect | Mapping[str, Any] | None,
) -> Reading:
    """How the input becomes batches.

    Raises:
        PlanError: An option that cannot be.
    """
    rows = ROWS.get(batch, ARROW_ROWS) if batch_rows is None else batch_rows
    given = _dialect(dialect, sources)
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise whichpool.PlanError(f"encoding= is not one that Python has: {error}") from error
    if rows < 1:
        raise whichpool.PlanError(f"batch_rows must be at least 1, not {batch_rows}")
    wanted = tuple(columns) if columns is not None else None
    return Reading(batch, wanted, tuple(where) if where else None, rows, encoding, given)


def _dialect(given: Dialect | Mapping[str, Any] | None, sources: list[Source]) -> Dialect:
    if isinstance(given, Dialect):
        return given
    if given is not None:
        try:
            return Dialect(**given)
        except TypeError as error:
            raise whichpool.PlanError(f"dialect= takes the names that csv.reader has: {error}") from None
    names = [source.path.lower() for source in sources]
    tabs = [".tsv" in os.path.basename(name)[-8:] for name in names]
    return Dialect(delimiter="\t") if tabs and all(tabs) else Dialect()
