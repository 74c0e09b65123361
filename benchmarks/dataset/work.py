"""The functions that are run over the datasets: the same ones for every peer. Imports nothing heavy."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

WORD = re.compile(r"[a-z]{2,}")
TAG = re.compile(r"<[^>]*>")
DRAWS, STEPS = 4_000, 64
"""Of one seed: paths and their steps. About 10 ms, most of it in NumPy."""
THUMBNAIL = (128, 128)


def score(row: Any) -> int:
    """Of one flight: how late it was for how far it went. Takes strings (CSV) and numbers (Parquet, data frames)."""
    delay, arrival, airtime = row["dep_delay"], row["arr_delay"], row["air_time"]
    for value in (delay, arrival, airtime):
        if value is None or value == "" or value != value:
            return 0
    minutes, late = int(delay), int(arrival)
    scheduled = int(row["sched_dep_time"])
    angle = 2 * math.pi * (scheduled // 100 * 60 + scheduled % 100) / 1440
    speed = int(row["distance"]) * 60 / max(1, int(airtime))
    weight = (
        2 + math.sin(angle) + (row["origin"] == "JFK") + (str(row["carrier"]).upper() in ("UA", "AA", "DL"))
    )
    recovered = max(0, minutes - late)
    return int(weight * (minutes + 0.5 * recovered) * math.log1p(speed))


def summary(frame: Any) -> dict[str, int]:
    """Of a data frame of flights: by carrier and hour, how many and how late; what a pandas user would write."""
    known = frame.dropna(subset=["dep_delay", "arr_delay"])
    carrier = known["carrier"].astype(str).str.lower().str.strip()
    label = carrier + "-" + (known["sched_dep_time"].astype(int) // 100).astype(str)
    late = known["arr_delay"].astype(int).clip(lower=0)
    groups = late.groupby(label).agg(["sum", "count"])
    found = {f"{name} late": int(value) for name, value in groups["sum"].items()}
    found.update({f"{name} flights": int(value) for name, value in groups["count"].items()})
    return found


def words(page: str) -> Counter[str]:
    """How often each word is in a page, without its tags."""
    return Counter(WORD.findall(TAG.sub(" ", page).lower()))


def words_of_file(path: str) -> Counter[str]:
    """`words`, of the page at a path."""
    return words(Path(path).read_text("utf-8", "replace"))


def thumbnail(content: bytes) -> bytes:
    """A picture, small, as a PNG."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        small = picture.convert("RGBA")
        small.thumbnail(THUMBNAIL)
        out = io.BytesIO()
        small.save(out, "PNG")
        return out.getvalue()


def thumbnail_to_file(path: str) -> int:
    """`thumbnail`, of the picture at a path, into the folder that ``BENCHMARK_OUT`` names."""
    Path(os.environ["BENCHMARK_OUT"], os.path.basename(path)).write_bytes(thumbnail(Path(path).read_bytes()))
    return 1


def simulate(seed: str) -> int:
    """How many of some random walks, drawn with this seed, end up above where they began by a good deal."""
    import numpy as np

    steps = np.random.default_rng(int(seed)).normal(size=(DRAWS, STEPS))
    return int((np.exp(0.02 * steps.cumsum(axis=1)).max(axis=1) > 1.2).sum())


def add(first: int, second: int) -> int:
    """Of two numbers."""
    return first + second


def merge(first: Any, second: Any) -> Any:
    """Of two counts by name; the first is added to."""
    for name, count in second.items():
        first[name] = first.get(name, 0) + count
    return first


def digest(answer: Any) -> str:
    """What answers are compared by: the same for equal ones, short enough to travel."""
    if isinstance(answer, dict):
        answer = sorted((str(name), int(count)) for name, count in answer.items())
    return hashlib.sha256(repr(answer).encode()).hexdigest()[:16]


def digest_of_folder(folder: str) -> str:
    """Of the names and the contents of the files in a folder."""
    files = sorted(Path(folder).iterdir())
    return digest([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])
