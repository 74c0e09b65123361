"""The measured process for memory: one call over one input, on two worker processes. Its last line is the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.dataset import work

if TYPE_CHECKING:
    import pyarrow as pa


def distance(batch: pa.RecordBatch) -> int:
    """Of all flights of a batch, together."""
    import pyarrow.compute as pc

    total: int = pc.sum(batch.column("distance")).as_py() or 0
    return total


def lines(part: bytes) -> int:
    """How many there are."""
    return part.count(b"\n")


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows-csv": ("csv", {"fn": work.score, "batch": "dict"}),
    "batches-csv": ("csv", {"fn": distance, "batch": "arrow"}),
    "batches-parquet": ("parquet", {"fn": distance, "batch": "arrow"}),
    "text": ("csv", {"fn": lines, "batch": "bytes", "format": "text"}),
}
"""Name -> the kind of file, and what is done with it: cheap functions, so that two gigabytes are read in a minute."""


def main() -> None:
    """Arguments: kind, source."""
    import whichpool

    kind, source = sys.argv[1], Path(sys.argv[2])
    begin = perf_counter()
    report = whichpool.process(source, combine=work.add, plan=(2, 1), **KINDS[kind][1])
    record = {"seconds": [perf_counter() - begin], "rows": report.rows_in, "splits": report.splits}
    print("\n" + json.dumps(record), flush=True)
