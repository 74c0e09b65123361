"""The functions that the benchmarks run, importable by every peer's workers.

Kept free of heavy imports: workers that start as fresh interpreters import this module, and what it loads at
its top would be a start-up cost of the benchmark, not of the peer. Functions that need a library import it
when called.

"Python work" is a linear congruential generator stepped ``n`` times: pure byte code that holds the GIL, whose
result can be checked in O(log n) (`stepped`) without doing the work again.
"""

from __future__ import annotations

import time
import zlib
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The constants of the C standard's example generator: full period modulo every power of two up to 2**31.
MULTIPLIER = 1103515245
INCREMENT = 12345
MASK = 0x7FFFFFFF

ARRAY_VALUES = 2 * 1024 * 1024
"""Values in one array: 2 Mi x 8 bytes = 16 MB."""


def spin(item: tuple[int, int]) -> int:
    """Pure Python: step the generator ``n`` times from ``seed``."""
    x, n = item
    for _ in range(n):
        x = (x * MULTIPLIER + INCREMENT) & MASK
    return x


def stepped(seed: int, n: int) -> int:
    """What ``spin((seed, n))`` returns, in O(log n): the affine step is squared, as in fast
    exponentiation."""
    a, c = MULTIPLIER, INCREMENT
    x = seed
    while n:
        if n & 1:
            x = (x * a + c) & MASK
        c = (a * c + c) & MASK
        a = (a * a) & MASK
        n >>= 1
    return x


def square_plus_one(x: int) -> int:
    """The smallest function one would map."""
    return x * x + 1


def compress(block: bytes) -> bytes:
    """Computes with the GIL released."""
    return zlib.compress(block)


def nap(seconds: float) -> float:
    """Waits and does nothing else."""
    time.sleep(seconds)
    return seconds


def fetch(url: str) -> bytes:
    """One HTTP request on a connection of its own. ``url`` is ``http://host:port/path``."""
    import http.client

    host, path = url.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request("GET", "/" + path)
        return connection.getresponse().read()
    finally:
        connection.close()


def wait_then_spin(item: tuple[int, int, float]) -> int:
    """Waits, then computes in Python; either may be nothing."""
    seed, n, wait_s = item
    if wait_s:
        time.sleep(wait_s)
    return spin((seed, n))


def array_in(array: Any) -> float:
    """A 16 MB array comes in, a number goes out; some 5 ms of NumPy."""
    import numpy as np

    return float(np.sqrt(array).sum())


def array_out(seed: int) -> Any:
    """A number comes in, a 16 MB array goes out; some 10 ms of NumPy."""
    import numpy as np

    return np.random.default_rng(seed).random(ARRAY_VALUES)


def look_up(table: bytes, item: tuple[int, int]) -> int:
    """Pure Python over a big table: the sum of ``n`` entries at pseudo-random places."""
    x, n = item
    size = len(table)
    total = 0
    for _ in range(n):
        x = (x * MULTIPLIER + INCREMENT) & MASK
        total += table[x % size]
    return total


def looked_up(seed: int, n: int) -> int:
    """What ``look_up(table, (seed, n))`` returns where ``table[i] == i % 256`` and its size is a multiple of
    256.

    The low byte of the generator is itself a generator with the full period 256, whose sum is that of 0..255.
    """
    total = n // 256 * sum(range(256))
    x = seed
    for _ in range(n % 256):
        x = (x * MULTIPLIER + INCREMENT) & MASK
        total += x & 255
    return total


def closure_over(table: bytes) -> Callable[[tuple[int, int]], int]:
    """A closure that holds ``table``: what a user writes, and what plain pickle refuses."""

    def look(item: tuple[int, int]) -> int:
        x, n = item
        size = len(table)
        total = 0
        for _ in range(n):
            x = (x * MULTIPLIER + INCREMENT) & MASK
            total += table[x % size]
        return total

    return look


_model: int | None = None
_loading = allocate_lock()


def _load(n: int) -> int:
    """Load the "model" once per process, as one loads weights or a dictionary; with a lock, as an expert
    would."""
    global _model
    if _model is None:
        with _loading:
            if _model is None:
                _model = spin((1, n))
    return _model


def slow_first(first_n: int, item: tuple[int, int]) -> int:
    """Pure Python whose first call in each process takes far longer than the others: it loads what they share."""
    _load(first_n)
    return spin(item)


def no_op(x: Any) -> Any:
    """Nothing: what is left is the engine's own cost."""
    return x
