"""What one does with flights: as rows, record batches, arrays and frames. ``NA`` is how R writes what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd

Sums = dict[Any, tuple[int, int, int]]
"""By group: flights, those whose delay is known, and the sum of their delays."""


def merge(a: Sums, b: Sums) -> Sums:
    total = dict(a)
    for key, value in b.items():
        total[key] = tuple(map(sum, zip(total.get(key, (0, 0, 0)), value, strict=True)))
    return total


def of_row(row: dict) -> Sums:
    late = row["dep_delay"]
    if late in ("NA", None, ""):
        return {(row["carrier"], row["origin"]): (1, 0, 0)}
    return {(row["carrier"], row["origin"]): (1, 1, int(late))}


def of_rows(rows: list[dict]) -> Sums:
    total: Sums = {}
    for row in rows:
        total = merge(total, of_row(row))
    return total


def of_batch(batch: pa.RecordBatch) -> Sums:
    table = pa.Table.from_batches([batch]).group_by(["carrier", "origin"])
    found = table.aggregate([([], "count_all"), ("dep_delay", "count"), ("dep_delay", "sum")]).to_pylist()
    return {
        (row["carrier"], row["origin"]): (
            row["count_all"],
            row["dep_delay_count"],
            row["dep_delay_sum"] or 0,
        )
        for row in found
    }


def of_frame(frame: pd.DataFrame) -> Sums:
    found = frame.groupby(["carrier", "origin"])["dep_delay"].agg(["size", "count", "sum"])
    return {
        key: tuple(map(int, row)) for key, row in zip(found.index, found.itertuples(index=False), strict=True)
    }


def of_arrays(arrays: dict[str, np.ndarray]) -> Sums:
    delay, month = arrays["arr_delay"].astype(float), arrays["month"]
    found = {}
    for each in np.unique(month):
        here = delay[month == each]
        known = here[~np.isnan(here)]
        found[int(each)] = (len(here), len(known), int(known.sum()))
    return found


def late(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Those that were late by an hour, with the speed they flew at."""
    batch = batch.filter(pc.greater_equal(batch["dep_delay"], 60))
    speed = pc.divide(
        pc.cast(batch["distance"], pa.float64()), pc.divide(pc.cast(batch["air_time"], pa.float64()), 60)
    )
    return batch.select(["month", "day", "carrier", "flight", "tailnum", "dep_delay"]).append_column(
        "speed", speed
    )


def gained(row: dict) -> dict | None:
    """What a flight made good on its way."""
    if "NA" in (row["dep_delay"], row["arr_delay"]):
        return None
    return {"flight": row["carrier"] + row["flight"], "gained": int(row["dep_delay"]) - int(row["arr_delay"])}
