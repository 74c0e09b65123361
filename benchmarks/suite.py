"""The fifteen workloads: how many items, what they are, and how a result is checked.

No dataclasses and no typing at run time: the measured process imports this module before its clock starts,
and what is loaded here would be missing from a peer's import cost.
"""

from __future__ import annotations

from benchmarks import workloads as work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

CLOSURE_BYTES = 50 * 1000 * 1000 // 256 * 256
"""50 MB, cut to a multiple of 256 (see `workloads.looked_up`)."""
FIRST_CALL_S = 0.3
"""Seconds of the slow first call: the order of loading a small model."""


class Setting:
    """What a workload's items depend on.

    Args:
        rate: steps of `workloads.spin` a second on this machine, when nothing else runs.
        scale: share of the full number of items; 1.0 = all.
        url: the test server, ``http://host:port``; empty where there is none.
    """

    __slots__ = ("rate", "scale", "url")

    def __init__(self, rate: float, scale: float = 1.0, url: str = "") -> None:
        self.rate = rate
        self.scale = scale
        self.url = url

    def count(self, full: int) -> int:
        """The number of items, of ``full``; at least 2, so that there is something to share out."""
        return max(2, round(full * self.scale))

    def steps(self, seconds: float) -> int:
        """Steps of `workloads.spin` that take ``seconds``."""
        return max(1, round(seconds * self.rate))


class Job:
    """One workload, ready to run.

    Args:
        function: what is mapped.
        items: over what.
        check: raises AssertionError unless the results are right; not timed.
        portable: the same function in a form that plain pickle can send, for the peers that cannot send a
            closure; ``None``: `function` itself can be sent.
    """

    __slots__ = ("check", "function", "items", "portable")

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        check: Callable[[Sequence[Any]], None],
        portable: Callable[[Any], Any] | None = None,
    ) -> None:
        self.function = function
        self.items = items
        self.check = check
        self.portable = portable


def _equals(expected: Sequence[Any]) -> Callable[[Sequence[Any]], None]:
    def check(results: Sequence[Any]) -> None:
        assert len(results) == len(expected), f"{len(results)} results for {len(expected)} items"
        for i, (got, want) in enumerate(zip(results, expected, strict=True)):
            assert got == want, f"result {i} is {got!r:.60}, not {want!r:.60}"

    return check


def _spins(setting: Setting, durations: Sequence[float]) -> Job:
    items = [(i + 1, setting.steps(d)) for i, d in enumerate(durations)]
    return Job(work.spin, items, _equals([work.stepped(*item) for item in items]))


def tiny(setting: Setting) -> Job:
    n = setting.count(200_000)
    return Job(work.square_plus_one, list(range(n)), _equals([x * x + 1 for x in range(n)]))


def python_50us(setting: Setting) -> Job:
    return _spins(setting, [50e-6] * setting.count(20_000))


def python_10ms(setting: Setting) -> Job:
    return _spins(setting, [0.010] * setting.count(200))


def python_500ms(setting: Setting) -> Job:
    return _spins(setting, [0.5] * setting.count(8))


def compress_1mb(setting: Setting) -> Job:
    import zlib

    words = [b"process", b"thread", b"the", b"of", b"measured", b"core", b"waits", b"and", b"item", b"\n"]
    x, parts, size = 1, [], 0
    while size < 1_000_000:
        x = (x * work.MULTIPLIER + work.INCREMENT) & work.MASK
        # The number keeps the text from compressing to nothing.
        parts.append(words[(x >> 16) % 10] + b" %d " % (x >> 20))
        size += len(parts[-1])
    text = b"".join(parts)[:1_000_000]
    blocks = [text[7919 * i :] + text[: 7919 * i] for i in range(setting.count(30))]

    def check(results: Sequence[Any]) -> None:
        assert len(results) == len(blocks)
        for i, (got, block) in enumerate(zip(results, blocks, strict=True)):
            assert zlib.decompress(got) == block, f"block {i} does not decompress to what it was"

    return Job(work.compress, blocks, check)


def sleeping(setting: Setting) -> Job:
    items = [0.010 + i * 1e-9 for i in range(setting.count(150))]
    return Job(work.nap, items, _equals(items))


def http_20ms(setting: Setting) -> Job:
    import http.client  # noqa: F401  # the workload's own need: loaded before the clock starts

    n = setting.count(100)
    return Job(
        work.fetch,
        [f"{setting.url}/page/{i}" for i in range(n)],
        _equals([b"/page/%d\n" % i * 100 for i in range(n)]),
    )


def wait_and_python(setting: Setting) -> Job:
    items = [(i + 1, setting.steps(0.005), 0.015) for i in range(setting.count(120))]
    return Job(work.wait_then_spin, items, _equals([work.stepped(s, n) for s, n, _ in items]))


def arrays_in(setting: Setting) -> Job:
    import numpy as np

    arrays = [np.full(work.ARRAY_VALUES, float((i + 1) ** 2)) for i in range(setting.count(12))]
    return Job(
        work.array_in, arrays, _equals([float(work.ARRAY_VALUES * (i + 1)) for i in range(len(arrays))])
    )


def arrays_out(setting: Setting) -> Job:
    import numpy as np

    seeds = list(range(setting.count(12)))

    def check(results: Sequence[Any]) -> None:
        assert len(results) == len(seeds)
        for seed, got in zip(seeds, results, strict=True):
            assert got.shape == (work.ARRAY_VALUES,), f"array {seed} has shape {got.shape}"
            head = np.random.default_rng(seed).random(1000)
            assert (got[:1000] == head).all(), f"array {seed} begins with other values"
            assert abs(float(got.mean()) - 0.5) < 0.01, f"array {seed} is not uniform to its end"

    return Job(work.array_out, seeds, check)


def closure_50mb(setting: Setting) -> Job:
    from functools import partial

    table = bytes(range(256)) * (CLOSURE_BYTES // 256)
    # One look-up takes about three times a step of `spin`; so about 10 ms an item.
    items = [(i + 1, setting.steps(0.0033)) for i in range(setting.count(80))]
    expected = [work.looked_up(*item) for item in items]
    return Job(work.closure_over(table), items, _equals(expected), portable=partial(work.look_up, table))


def skewed(setting: Setting) -> Job:
    # Pareto-like: most items take 2 to 4 ms, a few 100 to 250 ms; the same in each run.
    x, durations = 7, []
    for _ in range(setting.count(100)):
        x = (x * work.MULTIPLIER + work.INCREMENT) & work.MASK
        durations.append(min(0.25, 0.002 / ((x + 1) / (work.MASK + 1))))
    return _spins(setting, durations)


def slow_first_call(setting: Setting) -> Job:
    from functools import partial

    first = setting.steps(FIRST_CALL_S)
    items = [(i + 1, setting.steps(0.002)) for i in range(setting.count(300))]
    return Job(partial(work.slow_first, first), items, _equals([work.stepped(s, n) for s, n in items]))


def change_of_nature(setting: Setting) -> Job:
    half = setting.count(75)
    waits = [(i + 1, 0, 0.010) for i in range(half)]
    computes = [(i + 1, setting.steps(0.010), 0.0) for i in range(half)]
    items = waits + computes
    return Job(work.wait_then_spin, items, _equals([work.stepped(s, n) for s, n, _ in items]))


def ten_of_10us(setting: Setting) -> Job:
    return _spins(setting, [10e-6] * 10)


WORKLOADS: dict[str, tuple[str, Callable[[Setting], Job]]] = {
    "tiny": ("200,000 x (x*x+1)", tiny),
    "python-50us": ("20,000 x 50 us Python", python_50us),
    "python-10ms": ("200 x 10 ms Python", python_10ms),
    "python-500ms": ("8 x 500 ms Python", python_500ms),
    "zlib": ("zlib on 30 x 1 MB", compress_1mb),
    "sleep": ("150 x sleep 10 ms", sleeping),
    "http": ("100 x HTTP with 20 ms", http_20ms),
    "mixed": ("120 x (15 ms wait + 5 ms Python)", wait_and_python),
    "arrays-in": ("12 arrays of 16 MB in", arrays_in),
    "arrays-out": ("12 arrays of 16 MB out", arrays_out),
    "closure": ("80 x 10 ms, closure over 50 MB", closure_50mb),
    "skewed": ("100 skewed, 2-250 ms Python", skewed),
    "slow-first": ("300 x 2 ms, first call 300 ms", slow_first_call),
    "change": ("75 sleeps, then 75 Python, 10 ms each", change_of_nature),
    "ten": ("10 x 10 us Python", ten_of_10us),
}
"""Name -> (title, maker of the `Job`)."""
