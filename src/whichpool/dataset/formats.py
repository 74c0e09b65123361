"""What a function is given: batch formats, and which one the type hint of its argument asks for."""

from __future__ import annotations

import inspect
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from whichpool import PlanError
from whichpool.dataset.sources import pyarrow

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARROW", "ARROW_ROWS", "BATCHES", "ROWS", "convert", "format_for"]

BATCHES = ("arrow", "table", "pandas", "polars", "numpy", "dicts", "dict", "lines", "line", "bytes", "path")
"""``dict`` and ``line``: the function is called with each row or line; the others take a batch."""

ARROW = {"arrow", "table", "pandas", "polars", "numpy"}
"""Those that are read by pyarrow, whatever the file is."""

ROWS = {"dict": 1_024, "line": 1_024, "dicts": 8_192, "lines": 8_192}
"""The most records in a batch of Python objects, which take some ten times the bytes of the file. Guesses."""
ARROW_ROWS = 65_536
"""And of pyarrow's, which take about as much as in the file. Its own readers' usual size."""

# By the qualified name of the type, so that nothing is imported to find out.
_HINTS = {
    "RecordBatch": "arrow",
    "Table": "table",
    "ndarray": "numpy",
    "bytes": "bytes",
    "Path": "path",
    "PosixPath": "path",
    "PathLike": "path",
    "str": "line",
    "dict": "dict",
}
_DEFAULTS = {"parquet": "arrow", "csv": "dicts", "jsonl": "dicts", "text": "lines", "file": "path"}
_POSSIBLE = {
    "parquet": {*ARROW, "dicts", "dict"},
    "csv": {*ARROW, "dicts", "dict", "lines", "line", "bytes"},
    "jsonl": {*ARROW, "dicts", "dict", "lines", "line", "bytes"},
    "text": {"lines", "line", "bytes"},
    "file": {"path", "bytes", "line"},
}


def format_for(fn: Callable[..., Any], batch: str | None, source_format: str | None) -> str | None:
    """The batch format: the one that is asked for, or that the type hint names, or the one usual for the file.

    Args:
        fn: The function, or a class whose instances are called.
        batch: What the caller asks for.
        source_format: The format of the files; ``None``: not known yet, and then the answer may be ``None``.

    Raises:
        PlanError: There is no such format, or files of this kind have none such.
    """
    if batch is not None and batch not in BATCHES:
        raise PlanError(f"batch must be one of {', '.join(BATCHES)}, not {batch!r}")
    chosen = batch or _from_hint(fn)
    if source_format is None:
        return chosen
    chosen = chosen or _DEFAULTS[source_format]
    if chosen not in _POSSIBLE[source_format]:
        possible = ", ".join(name for name in BATCHES if name in _POSSIBLE[source_format])
        what = (
            f"batch={chosen!r}"
            if batch
            else f"{chosen!r}, which the type hint of the function's argument asks for,"
        )
        of = f"{source_format} input"
        more = ", or give format='file' for whole files" if chosen in _POSSIBLE["file"] else ""
        if source_format == "file":
            of = "files of no known kind"
            more = ", or give format=, if they are CSV, JSON lines, text or Parquet"
        raise PlanError(f"{what} cannot be had from {of}: take one of {possible}{more}")
    return chosen


def _from_hint(fn: Any) -> str | None:
    while isinstance(fn, partial):
        fn = fn.func
    called: Any = fn
    if isinstance(fn, type) or not (inspect.isroutine(fn) or inspect.isfunction(fn)):
        called = getattr(fn, "__call__", None)  # noqa: B004  # its hints are what is looked for
    try:
        parameters = list(inspect.signature(called).parameters)
    except (TypeError, ValueError):
        return None
    if isinstance(fn, type):
        parameters = parameters[1:]  # self
    if not parameters:
        return None
    try:
        hint = get_type_hints(called).get(parameters[0])
    except Exception:  # names that only the type checker sees
        hint = getattr(called, "__annotations__", {}).get(parameters[0])
    return _from_type(hint)


def _from_type(hint: Any) -> str | None:
    if isinstance(hint, str):
        text = hint.replace(" ", "")
        if text.startswith(("list[", "List[", "Sequence[")):
            inner = text.partition("[")[2]
            return (
                "dicts"
                if inner.startswith(("dict", "Dict"))
                else "lines"
                if inner.startswith("str")
                else None
            )
        if text.startswith("dict[") and "ndarray" in text:
            return "numpy"
        name = text.partition("[")[0]
        if name.endswith("DataFrame"):
            return "polars" if name.startswith(("pl.", "polars.")) else "pandas"
        return _HINTS.get(name.rpartition(".")[2])
    origin, inner_types = get_origin(hint), get_args(hint)
    if origin is dict and len(inner_types) == 2 and getattr(inner_types[1], "__name__", "") == "ndarray":
        return "numpy"
    if isinstance(origin, type) and issubclass(list, origin) and inner_types:
        inner = get_origin(inner_types[0]) or inner_types[0]
        return {dict: "dicts", str: "lines"}.get(inner)
    kind = origin or hint
    if not isinstance(kind, type):
        return None
    if kind.__name__ == "DataFrame":
        return "polars" if kind.__module__.startswith("polars") else "pandas"
    if issubclass(kind, os.PathLike):
        return "path"
    return _HINTS.get(kind.__name__)


def convert(records: Any, batch: str) -> Any:
    """A part of a batch, as it was read, in the form that the function takes."""
    if batch == "table":
        return pyarrow().Table.from_batches([records])
    if batch == "pandas":
        return records.to_pandas()
    if batch == "polars":
        import polars  # type: ignore[import-not-found,unused-ignore]

        return polars.from_arrow(records)
    if batch == "numpy":
        return {
            name: column.to_numpy(zero_copy_only=False)
            for name, column in zip(records.schema.names, records.columns, strict=True)
        }
    if batch in ("dict", "line", "bytes"):
        return records[0]
    if batch == "path":
        return Path(records[0])
    return records
