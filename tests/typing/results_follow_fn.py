"""The type of what comes back follows ``fn``. Checked by mypy (tests/test_typing.py), never run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import assert_type

import whichpool
from whichpool import Failure, Results, RunReport


def area(width: int, height: float) -> float:
    return width * height


def shout(word: str) -> str:
    return word.upper()


def add(a: int, b: int) -> int:
    return a + b


# map
assert_type(whichpool.map(len, ["a"]), Results[int])
assert_type(whichpool.map(shout, ["a"]), Results[str])
assert_type(whichpool.map(area, [1, 2], [1.0, 2.0]), Results[float])
assert_type(whichpool.map(lambda word: len(word), ["a"]), Results[int])
assert_type(whichpool.map(len, ["a"]).report, RunReport)
assert_type(whichpool.map(len, ["a"])[0], int)
assert_type(whichpool.map(len, ["a"], plan=(2, 2), limit=4, seed=7, shared="ok", progress=True), Results[int])
limit = whichpool.Limit(8, key=len, per_key=2, slow_on=(OSError, ValueError), amount=float, learned={3: 4})
assert_type(whichpool.map(len, ["a"], limit=limit), Results[int])
assert_type(whichpool.map(len, ["a"], limit=limit).report.limits, tuple[whichpool.LimitReached, ...])
assert_type(whichpool.map(len, ["a"], on_error="raise"), Results[int])
assert_type(whichpool.map(len, ["a"], on_error="return"), Results[int | Failure])
for size in whichpool.map(len, ["a"]):
    assert_type(size, int)

# imap
for word in whichpool.imap(shout, ["a"], ordered=False):
    assert_type(word, str)
for maybe in whichpool.imap(shout, ["a"], on_error="return"):
    assert_type(maybe, str | Failure)
lazy = whichpool.imap(area, [1], [2.0])
assert_type(next(lazy), float)
assert_type(iter(lazy).__next__(), float)
lazy.close()
assert_type(lazy.report, RunReport)
as_iterator: Iterator[float] = lazy

# map_reduce, explain
assert_type(whichpool.map_reduce(len, ["a"], add), int)
assert_type(whichpool.map_reduce(len, ["a"], add, initial=0), int)
reports: list[RunReport] = []
assert_type(whichpool.map_reduce(len, ["a"], add, report=reports.append), int)
assert_type(whichpool.explain(len, ["a"]), RunReport)
assert_type(whichpool.explain(len, ["a"], budget_s=0.1).verdict.plan, whichpool.Plan)

# Pool and Executor
with whichpool.Pool(plan="processes") as pool:
    assert_type(pool.map(shout, ["a"]), Results[str])
    assert_type(pool.submit(area, 1, height=2.0), Future[float])
    assert_type(pool.submit(len, "a").result(), int)
    assert_type(pool.map_reduce(len, ["a"], add), int)
with whichpool.Executor() as executor:
    assert_type(executor.submit(len, "a"), Future[int])
    assert_type(executor.map(shout, ["a"]), Iterator[str])

# the rest
assert_type(whichpool.doctor(), whichpool.Host)
found = whichpool.salvage(ValueError())
assert found is not None
assert_type(len(found), int)
