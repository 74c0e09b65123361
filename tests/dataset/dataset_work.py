"""Functions that the tests of datasets run, in a module that workers can import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def add(a: Any, b: Any) -> Any:
    return a + b


def merge(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in [*a, *[key for key in b if key not in a]]}


def joined(a: str, b: str) -> str:
    return a + b


def same(rows: list[dict]) -> list[dict]:
    return rows


def same_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def doubled(row: dict) -> dict:
    return {"id": row["id"], "twice": int(row["x"]) * 2}


def same_row(row: dict) -> dict:
    return row


def not_200(row: dict) -> int:
    if row["x"] == 200:
        raise ValueError("two hundred")
    return 1


def picky(row: dict) -> dict:
    if row["x"] == "13":
        raise ValueError("thirteen")
    return row


def picky_batch(rows: list[dict]) -> list[dict]:
    return [picky(row) for row in rows]


def picky_arrow(batch: pa.RecordBatch) -> pa.RecordBatch:
    if 13 in batch.column("x").to_pylist():
        raise ValueError("thirteen")
    return batch


def count(rows: list[dict]) -> int:
    return len(rows)


def total(batch: pa.RecordBatch) -> float:
    return sum(batch.column("f").to_pylist())


def ids(row: dict) -> str:
    return row["id"] + ";"


def words(lines: list[str]) -> int:
    return sum(len(line.split()) for line in lines)


def size(content: bytes) -> int:
    return len(content)


def shout(path: Path) -> bytes:
    return path.read_bytes().upper()


class Model:
    """Made once in each worker."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.factor = 3

    def __call__(self, row: dict) -> dict:
        return {"x": int(row["x"]) * self.factor, "made": type(self).made}


SEEN = 0


def counting(rows: list[dict]) -> list[dict]:
    global SEEN
    SEEN += len(rows)
    return [{"seen": SEEN}]


def changing(rows: list[dict]) -> list[dict]:
    for row in rows:
        row["x"] = "0"
    return rows


def killed_by_memory(rows: list[dict]) -> list[dict]:
    """Stands for a function whose worker the kernel ends where it is given more than 40 rows."""
    import os
    import signal

    if len(rows) > 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows


def no_memory(rows: list[dict]) -> list[dict]:
    raise MemoryError


def short_of_memory(rows: list[dict]) -> list[str]:
    """Raises as Python does where it gets no memory, if it is given more than 40 rows."""
    if len(rows) > 40:
        raise MemoryError
    return [row["id"] for row in rows]


def ids_unless_killed(rows: list[dict]) -> list[str]:
    return [row["id"] for row in killed_by_memory(rows)]


def traced(rows: list[dict]) -> list[str]:
    """Notes what it is given; its worker is ended at the row that the environment names, as by the kernel."""
    import os
    import signal

    with open(os.environ["DATASET_TEST_TRACE"], "a", encoding="utf-8") as file:
        file.write(f"{rows[0]['id']} {len(rows)}\n")
    if len(rows) > 5 and any(row["id"] == "r300" for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)
    return [row["id"] for row in rows]


def stops_at(row: dict) -> dict:
    """Ends the whole run, as `kill -9` would, when the file that the environment names is there."""
    import os
    import signal

    mark = os.environ.get("DATASET_TEST_KILL")
    if mark and row["x"] == "400" and Path(mark).exists():
        os.kill(int(os.environ["DATASET_TEST_PID"]), signal.SIGKILL)
        os._exit(1)
    if trace := os.environ.get("DATASET_TEST_TRACE"):
        with open(trace, "a", encoding="utf-8") as file:
            file.write(row["x"] + "\n")
    return row


def takes_much(batch: list[dict]) -> int:
    """About 150 bytes of memory for each byte of the rows, for a while."""
    held = bytearray(b"x") * (150 * sum(len(value) for row in batch for value in row.values()))
    digest = 0
    for _ in range(10):
        digest ^= hash(bytes(held[:1_000_000]))
    return len(batch) if digest is not None else 0


_kept: list[bytearray] = []


def keeps(row: dict) -> int:
    """Holds on to 4 KB of each row."""
    _kept.append(bytearray(b"x") * 4_000)
    return 1


def as_float(row: dict) -> float:
    return float(row["f"])


def slow_ids(rows: list[dict]) -> list[dict]:
    import time

    time.sleep(0.05)
    return rows


class Logging:
    """Appends the length of what it is called with to a file."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, content: bytes) -> bytes:
        with open(self.log, "a") as file:
            file.write(f"{len(content)}\n")
        return content
