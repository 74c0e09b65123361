"""What it costs to send an item to a process and take its result, measured on a real item before any process exists.

`pickle` (6 ms to load) is imported where it is used: work that waits is moved to threads, and never asks.
"""

from __future__ import annotations

import os
from _functools import partial  # type: ignore[import-not-found]  # `functools` loads much more
from time import perf_counter
from types import FunctionType, MethodType

from whichpool._worker.calls import dump_anything

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._worker.calls import Job
    from whichpool._worker.luggage import Packed

# Through a Unix socket, from the sender's memory to the receiver's: about 1.5 GB/s for each of the two copies (2-core
# Linux machine, 2026; the benchmarks' 16 MB arrays).
COPY_BYTES_PER_S = 1.5e9
# Into memory that both sides share, which is all that a large buffer costs there once the memory is warm: 64 MB in 7.9
# to 10 ms (`python -m benchmarks.transport`, same machine). Without such memory it is the socket's.
SHARED_BYTES_PER_S = 6e9 if hasattr(os, "memfd_create") else COPY_BYTES_PER_S
# What a function captures is written to new memory once (64 MB: 54 ms), and its pages are brought into each worker
# when they are looked at (30 ms); same machine, `map` of four items beside one that captures nothing. Bytes are copied
# in each worker too (about 120 ms): the rate lies between the two. Without memory to share all of it goes through each
# socket, and is unpickled.
LUGGAGE_BYTES_PER_S = 1.2e9
UNPACK_BYTES_PER_S = 1e9 if hasattr(os, "memfd_create") else COPY_BYTES_PER_S / 3
# Two system calls and a wake-up on each side, for each batch.
MESSAGE_S = 0.000030
# A payload is not measured beyond this: past it no plan with processes is worth a look.
BUDGET_S = 0.050


def pack(obj: object) -> tuple[bytes, bool]:
    """Pickle a job: plainly, or by value where it names things of ``__main__``; and which of the two it was.

    Workers never import the caller's main script, so what lives there travels by value.

    Raises:
        Exception: It cannot be pickled at all; whatever pickling raised.
    """
    import pickle

    try:
        data = pickle.dumps(obj, protocol=5)
        if b"__main__" not in data:
            return data, False
    except Exception:
        pass
    from whichpool._worker import byvalue

    return byvalue.dumps(obj), True


def pack_job(job: Job) -> tuple[Packed, bool]:
    """As `pack`, with what is large in it put where all workers can have it.

    Raises:
        Exception: It cannot be pickled at all; whatever pickling raised.
    """
    from whichpool._worker import luggage, wire

    by_value = False
    try:
        body, buffers = wire.dumps(job)
        by_value = b"__main__" in body
    except Exception:
        by_value = True
    if by_value:
        from whichpool._worker import byvalue

        body, buffers = wire.dumps(job, byvalue.dumps)
    if len(body) >= luggage.LEAST_BYTES:
        from whichpool._worker import apart

        # There may be bytes in it that C's pickler asks nobody about: they are looked for in a second go.
        body, buffers = wire.dumps(job, byvalue.dumps_loosely if by_value else apart.dumps_loosely)
    packed = luggage.pack(body, buffers)
    return (packed, by_value) if packed is not None else (luggage.Packed(pack(job)[0]), by_value)


def captured_bytes(fn: Any) -> int:
    """About how many bytes the function carries with it to each worker: large buffers and texts that it captures.

    An estimate from sizes alone, made before anything is pickled; what is small or unknown counts as nothing.
    """
    values: list[Any] = []
    while type(fn) is partial:
        values += fn.args
        values += fn.keywords.values()
        fn = fn.func
    if type(fn) is MethodType:
        values.append(fn.__self__)
        values += _attributes(fn.__self__)
        fn = fn.__func__
    if type(fn) is FunctionType:
        values += fn.__defaults__ or ()
        for cell in fn.__closure__ or ():
            try:
                values.append(cell.cell_contents)
            except ValueError:
                pass  # not set yet
        if fn.__module__ == "__main__":
            names = fn.__globals__
            values += [names[name] for name in fn.__code__.co_names if name in names]
    else:
        values += _attributes(fn)
    return sum([_bytes_of(value) for value in values])


def _attributes(obj: Any) -> list[Any]:
    """What the object's own dictionary holds, without asking the object: it may answer with code of its own."""
    try:
        return list(object.__getattribute__(obj, "__dict__").values())
    except AttributeError:
        return []


def _bytes_of(value: Any) -> int:
    kind = type(value)
    if kind in (bytes, bytearray, str):
        return len(value)
    if kind in (list, tuple, dict, set, frozenset):
        return len(value) * 16  # a few bytes an element once pickled; objects behind them are not looked at
    # Asked of the class, for the object may answer to any name with code of its own.
    if not any("nbytes" in vars(base) for base in kind.__mro__):
        return 0
    nbytes = value.nbytes
    return nbytes if type(nbytes) is int else 0


class Payload:
    """What one item and its result cost, for each of the two sides; seconds and bytes."""

    __slots__ = ("land_s", "payload_bytes", "ship_s")

    def __init__(self, ship_s: float, land_s: float, payload_bytes: int) -> None:
        self.ship_s = ship_s
        self.land_s = land_s
        self.payload_bytes = payload_bytes


def measure(item: Any, result: Any, call_s: float) -> Payload:
    """Pickle both and load both again; ``call_s`` says how many calls will share one message.

    Raises:
        Exception: One of them cannot travel; whatever pickling raised.
    """
    out_s, in_s, size, beside = _round_trip(item)
    back_out_s, back_in_s, back_size, back_beside = _round_trip(result)
    both_s = (size + back_size) / COPY_BYTES_PER_S + MESSAGE_S * min(1.0, call_s / 0.010)
    if SHARED_BYTES_PER_S == COPY_BYTES_PER_S:  # nothing is shared: each side copies all of it
        beside = back_beside = beside + back_beside
    return Payload(
        out_s + back_in_s + both_s + beside / SHARED_BYTES_PER_S,
        in_s + back_out_s + both_s + back_beside / SHARED_BYTES_PER_S,
        size + back_size + beside + back_beside,
    )


def _round_trip(obj: Any) -> tuple[float, float, int, int]:
    """Seconds to pickle and to unpickle; bytes of the pickle, and of the buffers beside it."""
    import pickle

    from whichpool._worker.apart import Apart

    # Many small objects share a pickle, so what counts is each one's part, not the call's overhead.
    began = perf_counter()
    try:
        body, buffers = Apart(by_name=True).dumps([obj])
        many = [obj] * 16 if perf_counter() - began < 0.0001 and not buffers else None
    except Exception:
        many = None
        buffers = []
        began = perf_counter()
        body = dump_anything([obj])
    dumped = perf_counter()
    pickle.loads(body, buffers=buffers)
    out_s, in_s = dumped - began, perf_counter() - dumped
    size = len(body)
    if many is not None and b"__main__" not in body:
        # Copies, not one object sixteen times, which pickle would send once.
        many = pickle.loads(pickle.dumps([pickle.loads(body)[0] for _ in many], protocol=5))
        began = perf_counter()
        body = pickle.dumps(many, protocol=5)
        dumped = perf_counter()
        pickle.loads(body)
        out_s, in_s = (dumped - began) / 16, (perf_counter() - dumped) / 16
        size = max(len(body) // 16, 1)
    return out_s, in_s, size, sum([buffer.nbytes for buffer in buffers])
