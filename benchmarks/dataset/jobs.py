"""The six jobs: what runs over what, and how the parts of the answer become one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from benchmarks.dataset import inputs, work


@dataclass(frozen=True)
class Job:
    """One kind of work.

    Attributes:
        title: What it is.
        shape: What its input is: ``"csv"`` or ``"parquet"`` (a call a row), ``"frame"`` (a call a data frame, of CSV)
            or ``"items"`` (a call for each of many strings: seeds, or paths).
        call: The function, as peers call it.
        combine: Of two results of it.
        make: The input, at a scale, in a folder; with what is said of it.
        ours: The arguments of `whichpool.process`, but for the source.
        imports: What the work itself imports: loaded before the clock starts.
    """

    title: str
    shape: str
    call: Callable[[Any], Any]
    combine: Callable[[Any, Any], Any]
    make: Callable[[Path, float, Setting], tuple[Path, str]]
    ours: dict[str, Any]
    imports: tuple[str, ...] = ()

    def items(self, source: Path) -> list[str]:
        """The strings of a job of items."""
        if source.is_dir():
            return sorted(str(file) for file in source.iterdir())
        return source.read_text().split()

    def fold(self, values: Iterable[Any]) -> Any:
        """The results of some calls, as one."""
        return reduce(self.combine, values)

    def answer(self, value: Any) -> str:
        """What is compared: a digest of the value, or of the folder that was written."""
        out = os.environ.get("BENCHMARK_OUT")
        if self is JOBS["thumbnails"] and out:
            return work.digest_of_folder(out)
        return work.digest(value)

    def clear(self) -> None:
        """An empty folder to write to; `whichpool.process` makes its own."""
        shutil.rmtree(os.environ["BENCHMARK_OUT"], ignore_errors=True)
        os.mkdir(os.environ["BENCHMARK_OUT"])


@dataclass(frozen=True)
class Setting:
    """Where real pages and pictures are."""

    html: Path = inputs.HTML
    images: Path = inputs.IMAGES


def _rows(scale: float, rows: int = inputs.ROWS) -> int:
    return max(100, round(rows * scale))


JOBS: dict[str, Job] = {
    "rows-csv": Job(
        "a row function, flights as CSV",
        "csv",
        work.score,
        work.add,
        lambda folder, scale, _: inputs.flights(folder, _rows(scale), "csv"),
        {"fn": work.score, "combine": work.add, "batch": "dict"},
    ),
    "rows-parquet": Job(
        "the same, flights as Parquet",
        "parquet",
        work.score,
        work.add,
        lambda folder, scale, _: inputs.flights(folder, _rows(scale), "parquet"),
        {"fn": work.score, "combine": work.add, "batch": "dict"},
    ),
    "pandas": Job(
        "a pandas batch function, CSV",
        "frame",
        work.summary,
        work.merge,
        lambda folder, scale, _: inputs.flights(folder, _rows(scale, inputs.FRAME_ROWS), "csv"),
        {"fn": work.summary, "combine": work.merge, "batch": "pandas"},
        ("pandas",),
    ),
    "words": Job(
        "word count, a folder of HTML",
        "items",
        work.words_of_file,
        work.merge,
        lambda folder, scale, at: inputs.pages(folder, round(inputs.HTML_BYTES * scale), at.html),
        {"fn": work.words, "combine": work.merge},
    ),
    "thumbnails": Job(
        "thumbnails with Pillow, PNGs",
        "items",
        work.thumbnail_to_file,
        work.add,
        lambda folder, scale, at: inputs.pictures(folder, max(4, round(inputs.PICTURES * scale)), at.images),
        {"fn": work.thumbnail, "batch": "bytes"},
        ("PIL.Image",),
    ),
    "simulation": Job(
        "Monte Carlo with NumPy, a seed a line",
        "items",
        work.simulate,
        work.add,
        lambda folder, scale, _: inputs.seeds(folder, max(4, round(inputs.SEEDS * scale))),
        {"fn": work.simulate, "combine": work.add, "batch": "line"},
        ("numpy",),
    ),
}
