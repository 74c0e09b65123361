"""What is read off a function: every case names exactly what must be found, and nothing else may be."""

from __future__ import annotations

import array
import collections
import contextlib
import csv
import dataclasses
import functools
import hashlib
import heapq
import io
import itertools
import json
import logging
import math
import operator
import os
import queue
import random
import re
import sqlite3
import string
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from whichpool._measure.hazards import Guard, read

Expected = set[tuple[str, str, str]]
CASES: list[Any] = []


def add(name: str, fn: Any, *expected: str) -> None:
    """A case; what is expected reads ``kind name workers``, workers being ``t``, ``p`` or ``tp``."""
    found: Expected = set()
    for line in expected:
        kind, rest = line.split(" ", 1)
        label, workers = rest.rsplit(" ", 1)
        found.add((kind, label, workers))
    CASES.append(pytest.param(fn, found, id=name))


def case(*expected: str) -> Any:
    """Makes a case of the function below."""

    def register(fn: Any) -> Any:
        add(fn.__qualname__.removeprefix("_"), fn, *expected)
        return fn

    return register


def found_in(fn: Any) -> Expected:
    """What the guard reads, in the form of `Expected`."""
    return {(h.kind, h.name, "".join(sorted((w[0] for w in h.rules_out), reverse=True))) for h in read(fn)}


total = 0
first = None
stats: dict[str, Any] = {"x": 0}
results: list[Any] = []
groups: collections.defaultdict[str, list[int]] = collections.defaultdict(list)
counts: collections.Counter[str] = collections.Counter()
seen: set[int] = set()
recent: collections.deque[int] = collections.deque(maxlen=4)
numbers = array.array("i", [1])
heap: list[int] = []
cache: dict[int, int] = {}
nested = {"a": {"b": [1]}}
rows = [{"n": 1}]
text_buffer = io.StringIO()
model = None
ready = False
settings: dict[str, Any] = {"model": None}
empty_store: dict[str, int] = {}
lock = threading.Lock()
rng = random.Random(7)
system_rng = random.SystemRandom()
ids = itertools.count()
squares = (n * n for n in range(10))
local_state = threading.local()
logger = logging.getLogger(__name__)
jobs: queue.Queue[int] = queue.Queue()
pattern = re.compile("a+")
table = {1: "one"}
namespace = types.SimpleNamespace(hits=0)
fake_module = types.ModuleType("fake_module")
fake_module.hits = 0  # type: ignore[attr-defined]


# writes


@case("writes total tp")
def adds_to_global(x: int) -> None:
    global total
    total += x


@case("writes total tp")
def adds_the_long_way(x: int) -> None:
    global total
    total = total + x


@case("writes total tp")
def sets_global(x: int) -> None:
    global total
    total = x


@case("writes total tp")
def deletes_global(x: int) -> None:
    global total
    del total


@case("writes stats[...] tp")
def sets_key(x: int) -> None:
    stats["x"] = x


@case("writes stats[...] tp")
def adds_to_key(x: int) -> None:
    stats["x"] += x


@case("writes stats[...] tp")
def adds_through_alias(x: int) -> None:
    d = stats
    d["x"] += x


@case("writes stats[...] tp")
def deletes_key(x: str) -> None:
    del stats[x]


@case("writes stats[...] tp")
def sets_key_with_brackets(x: int) -> None:
    stats["a[0]"] = x


@case("writes results tp")
def appends(x: int) -> None:
    results.append(x)


@case("writes results tp")
def appends_through_method_alias(x: list[int]) -> None:
    push = results
    for part in x:
        push.append(part)


@case("writes results tp")
def appends_in_comprehension(x: list[int]) -> list[None]:
    return [results.append(part) for part in x]  # type: ignore[func-returns-value]


@case("writes results tp")
def appends_in_lambda(x: list[int]) -> list[Any]:
    return list(map(lambda part: results.append(part), x))  # noqa: C417


@case("writes results tp")
def extends_in_place(x: list[int]) -> None:
    global_list = results
    global_list += x


@case("writes results tp")
def appends_behind_a_condition(x: int) -> int:
    if x > 3:
        results.append(x)
    return x


@case("writes results tp")
def appends_in_except(x: str) -> int:
    try:
        return int(x)
    except ValueError:
        results.append(x)
        return 0


@case("writes results tp")
def appends_under_a_lock(x: int) -> None:
    with lock:
        results.append(x)


@case("writes total tp")
def adds_under_a_lock(x: int) -> None:
    global total
    with lock:
        total += x


@case("writes groups[...] tp")
def appends_to_group(x: str) -> None:
    groups[x].append(1)


@case("writes groups tp")
def setdefault_and_append(x: str) -> None:
    groups.setdefault(x, []).append(1)


@case("writes counts tp")
def updates_counter(x: str) -> None:
    counts.update(x.split())


@case("writes counts[...] tp")
def adds_to_counter(x: str) -> None:
    counts[x] += 1


@case("writes seen tp")
def adds_to_set(x: int) -> bool:
    known = x in seen
    seen.add(x)
    return known


@case("writes recent tp")
def appends_to_deque(x: int) -> None:
    recent.append(x)


@case("writes numbers tp")
def appends_to_array(x: int) -> None:
    numbers.append(x)


@case("writes heap tp")
def pushes_on_heap(x: int) -> None:
    heapq.heappush(heap, x)


@case("writes results tp")
def shuffles(x: int) -> None:
    random.shuffle(results)


@case("writes results tp")
def sorts(x: int) -> Any:
    results.sort()
    return results[0]


@case("writes results[...] tp")
def assigns_slice(x: int) -> None:
    results[0:2] = [x]


@case("writes cache[...] tp")
def memo_by_hand(x: int) -> int:
    if x not in cache:
        cache[x] = x * x
    return cache[x]


@case("writes cache[...] tp")
def memo_by_get(x: int) -> int:
    value = cache.get(x)
    if value is None:
        value = cache[x] = x * x
    return value


@case("writes cache[...] tp")
def memo_by_try(x: int) -> int:
    try:
        return cache[x]
    except KeyError:
        cache[x] = x * x
        return cache[x]


@case("writes nested[...] tp")
def writes_deep(x: int) -> None:
    nested["a"]["b"].append(x)  # type: ignore[attr-defined]


@case("writes rows[...] tp")
def writes_elements(x: int) -> None:
    for row in rows:
        row["n"] += x


@case("writes text_buffer tp", "not_thread_safe text_buffer t")
def writes_shared_buffer(x: str) -> None:
    text_buffer.write(x)


@case("writes namespace.hits tp")
def sets_attribute(x: int) -> None:
    namespace.hits += 1


@case("writes namespace.hits tp")
def sets_attribute_by_name(x: int) -> None:
    setattr(namespace, "hits", x)  # noqa: B010


@case("writes fake_module.hits tp")
def sets_module_attribute(x: int) -> None:
    fake_module.hits += x  # type: ignore[attr-defined]


@case("writes appends.calls tp")
def sets_function_attribute(x: int) -> None:
    appends.calls = x  # type: ignore[attr-defined]


@case("writes total tp")
def writes_through_globals(x: int) -> None:
    globals()["total"] = x


@case("writes acc tp")
def mutable_default(x: int, acc: list[int] = []) -> list[int]:  # noqa: B006
    acc.append(x)
    return acc


@case("writes known[...] tp")
def memo_in_default(x: int, *, known: dict[int, int] = {}) -> int:  # noqa: B006
    if x not in known:
        known[x] = x
    return known[x]


def put_one(d: dict[str, int]) -> None:
    d["one"] = 1


def add_global(x: int) -> None:
    global total
    total += x


@case("writes stats[...] tp")
def writes_through_helper(x: int) -> None:
    put_one(stats)


@case("writes total tp")
def writes_in_helper(x: int) -> None:
    add_global(x)


@case("writes total tp")
def writes_in_helper_of_helper(x: int) -> None:
    writes_in_helper(x)


@case("writes os.environ[...] tp")
def sets_environment(x: str) -> None:
    os.environ["WHICHPOOL_TEST_NAME"] = x


@case("writes sys.stdout tp")
def redirects_by_hand(x: str) -> None:
    sys.stdout = io.StringIO()


@case("writes first tp")
def keeps_the_first_item(x: int) -> int:
    global first
    if first is None:
        first = x  # lazy, but from the item: which one is first depends on the order
    return x - first


@case("writes total tp")
def sets_if_set(x: int) -> None:
    global total
    if total is not None:
        total = 3


@case("writes jobs tp", "cannot_travel jobs p")
def puts(x: int) -> None:
    jobs.put(x)


@case("writes stats tp")
def unbound_method(x: int) -> None:
    dict.update(stats, x=x)


@case("writes random.seed t")
def reseeds(x: int) -> float:
    random.seed(x)
    return random.random()


@case("writes os.chdir tp")
def changes_directory(x: str) -> list[str]:
    os.chdir(x)
    return os.listdir(".")


@case("writes contextlib.redirect_stdout t")
def redirects(x: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print(x)
    return out.getvalue()


class Counter:
    """Counts; a class of the user's."""

    made = 0
    names: list[str] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.n = 0
        self.parts: list[int] = []
        self.rng = random.Random(3)
        self._model: Any = None
        self._table: dict[int, int] = {}

    def count(self, x: int) -> int:
        self.n += 1
        return self.n

    def keep(self, x: int) -> None:
        self.parts.append(x)

    def through(self, x: int) -> int:
        return self.count(x)

    def reads(self, x: int) -> int:
        return self.n + x

    def lazy(self, x: int) -> int:
        if self._model is None:
            self._model = object()
        return id(self._model) + x

    def lazy_by_hasattr(self, x: int) -> int:
        if not hasattr(self, "extra"):
            self.extra = 4
        return self.extra + x

    def memo(self, x: int) -> int:
        if x not in self._table:
            self._table[x] = x
        return self._table[x]

    def draws(self, x: int) -> float:
        return self.rng.random()

    @classmethod
    def make(cls, x: int) -> int:
        cls.made += 1
        return cls.made

    @staticmethod
    def static(x: int) -> int:
        return x + 1

    @functools.cached_property
    def constant(self) -> int:
        return 4

    def uses_cached(self, x: int) -> int:
        return self.constant + x


class Callable_:
    """An object that is called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: int) -> int:
        self.calls += 1
        return x


class Child(Counter):
    """Calls its parent's method."""

    def child(self, x: int) -> int:
        return super().count(x)


class Registered:
    """Registers each instance."""

    def __init__(self, x: int) -> None:
        self.x = x
        results.append(self)


class Slotted:
    """Has slots."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0

    def count(self, x: int) -> None:
        self.n += 1


counter = Counter()
add("bound method", Counter().count, "writes self.n tp")
add("bound method appends", Counter().keep, "writes self.parts tp")
add("bound method through another", Counter().through, "writes self.n tp")
add("bound method of a slotted class", Slotted().count, "writes self.n tp")
add("bound method of a child", Child().child, "writes self.n tp")
add("bound method with memo", Counter().memo, "writes self._table[...] tp")
add("class method", Counter.make, "writes Counter.made tp")
add("callable object", Callable_(), "writes self.calls tp")
add("class that registers", Registered, "writes results tp")
add("list.append", results.append, "writes list.append tp")
add("dict.setdefault", stats.setdefault, "writes dict.setdefault tp")
add("set.add", seen.add, "writes set.add tp")
add("queue.put", jobs.put, "writes Queue.put tp", "cannot_travel Queue p")
add("partial with a shared list", functools.partial(mutable_default, acc=results), "writes acc tp")
add("partial that puts a list first", functools.partial(lambda kept, x: kept.append(x), []), "writes kept tp")


@case("writes counter.n tp")
def calls_method_of_global(x: int) -> int:
    return counter.count(x)


@case("writes Counter.made tp")
def writes_class_attribute(x: int) -> None:
    Counter.made += 1


@case("writes Counter.names tp")
def appends_to_class_attribute(x: str) -> None:
    Counter.names.append(x)


def enclosing() -> dict[str, Any]:
    """Closures."""
    count = 0
    kept: list[int] = []
    helper_lock = threading.Lock()
    book = open(os.devnull)  # noqa: SIM115
    base = 10

    def adds(x: int) -> int:
        nonlocal count
        count += x
        return count

    def keeps(x: int) -> None:
        kept.append(x)

    def reads(x: int) -> int:
        return base + x

    def locks(x: int) -> int:
        with helper_lock:
            return x

    def opens(x: int) -> str:
        return book.readline()

    def through(x: int) -> None:
        keeps(x)

    book.close()
    return {"adds": adds, "keeps": keeps, "reads": reads, "locks": locks, "opens": opens, "through": through}


closures = enclosing()
add("closure adds", closures["adds"], "writes count tp")
add("closure keeps", closures["keeps"], "writes kept tp")
add("closure reads", closures["reads"])
add("closure calls closure", closures["through"], "writes kept tp")
add("closure over a lock", closures["locks"], "cannot_travel helper_lock p")
add("closure over a file", closures["opens"], "cannot_travel book p", "not_thread_safe book t")


def plain_decorator(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def counting_decorator(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(x: int) -> Any:
        stats["x"] += 1
        return fn(x)

    return wrapper


add("decorated", plain_decorator(appends), "writes results tp")
add("decorated twice", plain_decorator(plain_decorator(appends)), "writes results tp")
add("decorator counts", counting_decorator(abs), "writes stats[...] tp")
add("lambda", lambda x: results.append(x), "writes results tp")
add(
    "decorated, changes the item",
    plain_decorator(lambda row: row.__setitem__("a", 1) or row),
    "changes_item row tp",
)


# the item itself


@case("changes_item row[...] tp")
def changes_item(row: dict[str, int]) -> dict[str, int]:
    row["a"] = 1
    return row


@case("changes_item row[...] tp")
def deletes_from_item(row: dict[str, int]) -> dict[str, int]:
    del row["a"]
    return row


@case("changes_item thing.done tp")
def sets_item_attribute(thing: Any) -> None:
    thing.done = True


@case("changes_item row tp")
def appends_to_item(row: list[int]) -> list[int]:
    row.append(1)
    return row


@case("changes_item thing.tags tp")
def appends_to_part_of_item(thing: Any) -> None:
    thing.tags.append("a")


@case("changes_item part tp")
def changes_unpacked(pair: tuple[int, list[int]]) -> None:
    _, part = pair
    part.append(1)


@case("changes_item row[...] tp")
def changes_item_in_helper(row: dict[str, int]) -> None:
    put_one(row)


@case("changes_item b[...] tp")
def changes_second_item(a: int, b: dict[str, int]) -> None:
    b["a"] = a


@case("changes_item row tp")
def shuffles_item(row: list[int]) -> list[int]:
    random.shuffle(row)
    return row


@case("changes_item df tp")
def changes_frame_in_place(df: Any) -> Any:
    df.drop(columns=["a"], inplace=True)
    return df


# what is captured


@case("shares rng tp")
def draws(x: int) -> float:
    return rng.gauss(0, x)


@case("shares ids tp")
def counts_up(x: int) -> tuple[int, int]:
    return next(ids), x


@case("shares squares tp", "not_thread_safe squares t", "cannot_travel squares p")
def draws_from_generator(x: int) -> int:
    return next(squares) + x


add("bound method draws", Counter().draws, "shares self.rng tp")
add("method of a random generator", rng.random, "shares Random tp")
add("next of an iterator", itertools.count().__next__, "shares count tp")


def with_database() -> tuple[Any, Any]:
    connection = sqlite3.connect(":memory:")

    def queries(x: int) -> Any:
        return connection.execute("select ?", (x,)).fetchone()

    def no_use(x: int) -> int:
        return x

    return queries, connection


queries, connection = with_database()
add("database", queries, "cannot_travel connection p", "not_thread_safe connection t")


@case("not_thread_safe connection t")
def uses_module_level_database(x: int) -> Any:
    # A worker process makes its own when it imports this module.
    return connection.execute("select 1").fetchone()


def in_containers() -> Any:
    locks = [threading.Lock()]
    return lambda x: len(locks) + x


class HoldsLock:
    """Cannot be pickled."""

    def __init__(self) -> None:
        self.guard = threading.Lock()

    def run(self, x: int) -> int:
        return x


class PicklesItself(HoldsLock):
    """Leaves its lock behind."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


add("lock in a list", in_containers(), "cannot_travel locks[...] p")
add("lock in self", HoldsLock().run, "cannot_travel self.guard p")
add("lock that stays behind", PicklesItself().run)
add("lock in an argument", functools.partial(lambda held, x: x, threading.Lock()), "cannot_travel held p")
add("a generator's own next", (n for n in range(3)).__next__,
    "shares generator tp", "cannot_travel generator p", "not_thread_safe generator t")  # fmt: skip


def with_writer() -> Any:
    writer = csv.writer(io.StringIO())
    return lambda row: writer.writerow(row)


add("csv writer", with_writer(), "writes writer tp", "cannot_travel writer p", "not_thread_safe writer t")


# benign

for harmless in (
    abs,
    int,
    str.upper,
    math.sqrt,
    operator.itemgetter(1),
    operator.attrgetter("x"),
    json.loads,
    len,
):
    add(f"C or library: {harmless!r}", harmless)
add("random.random", random.random)
add("hashlib", hashlib.sha256)
add("string.capwords", string.capwords)
add("partial of a builtin", functools.partial(int, base=2))
add("Path", Path)
add("Path.exists", Path("/").joinpath)
add("pattern.findall", pattern.findall)
add("str.join", ", ".join)
add("dict.get", table.get)
add("dict.__getitem__", table.__getitem__)
add("class", Callable_)
add("dataclass", dataclasses.make_dataclass("Point", ["x"]))
add("namedtuple", collections.namedtuple("Pair", "x"))
add("bound method reads", Counter().reads)
add("bound method lazy", Counter().lazy)
add("bound method lazy by hasattr", Counter().lazy_by_hasattr)
add("bound method uses cached_property", Counter().uses_cached)
add("static method", Counter.static)


@case()
def only_locals(x: int) -> dict[str, int]:
    out: dict[str, int] = {}
    names = []
    for i in range(x):
        out[str(i)] = i
        names.append(i)
        names[0] += 1
    seen_here = set(names)
    seen_here.add(1)
    return out


@case()
def builds_string(x: list[str]) -> str:
    s = ""
    for part in x:
        s += part
    return s


@case()
def rebinds_parameter(x: int) -> int:
    x = x + 1
    x += 1
    return x


@case()
def copies_first(row: dict[str, int]) -> dict[str, int]:
    row = dict(row)
    row["a"] = 1
    return row


@case()
def copies_maybe(row: dict[str, int], copy: bool = True) -> dict[str, int]:
    if copy:
        row = row.copy()
    row["a"] = 1
    return row


@case()
def decodes_maybe(row: Any) -> Any:
    if isinstance(row, str):
        row = json.loads(row)
    row["a"] = 1
    return row


@case()
def default_none(x: int, acc: list[int] | None = None) -> list[int]:
    if acc is None:
        acc = []
    acc.append(x)
    return acc


@case()
def default_or(x: int, acc: list[int] | None = None) -> list[int]:
    acc = acc or []
    acc.append(x)
    return acc


@case()
def slices_and_sorts(x: list[int]) -> list[int]:
    part = x[1:]
    part.sort()
    part[0] = 3
    return sorted(x)


@case()
def slices_a_global(x: int) -> list[Any]:
    part = results[:]
    part.append(x)
    return part


@case()
def comprehension_over_parameter(x: list[int]) -> dict[int, int]:
    return {k: v * 2 for k, v in enumerate(x) if v}


@case()
def lazy_global(x: int) -> Any:
    global model
    if model is None:
        model = object()
    return model


@case()
def lazy_global_with_lock(x: int) -> Any:
    global model
    if model is None:
        with lock:
            if model is None:
                model = object()
    return model


@case()
def lazy_global_early_return(x: int) -> Any:
    global model
    if model is not None:
        return model
    model = object()
    return model


@case()
def lazy_by_or(x: int) -> Any:
    global model
    model = model or object()
    return model


@case("writes model tp")
def lazy_by_or_from_the_item(x: int) -> Any:
    global model
    model = model or x
    return model


@case()
def lazy_flag(x: int) -> int:
    global ready
    if not ready:
        logging.basicConfig()
        ready = True
    return x


@case()
def lazy_by_name_error(x: int) -> int:
    global not_yet_there
    try:
        return not_yet_there
    except NameError:
        not_yet_there = 4
        return not_yet_there


@case()
def lazy_by_globals(x: int) -> int:
    if "also_not_there" not in globals():
        globals()["also_not_there"] = 4
    return x


@case()
def lazy_key(x: int) -> Any:
    if settings["model"] is None:
        settings["model"] = object()
    return settings["model"]


@case()
def lazy_missing_key(x: int) -> int:
    if "a" not in empty_store:
        empty_store["a"] = 3
    return empty_store["a"]


def get_model() -> Any:
    global model
    if model is None:
        model = object()
    return model


@case()
def lazy_in_helper(x: int) -> int:
    return id(get_model()) + x


@functools.cache
def cached(x: int) -> int:
    return x * x


@functools.lru_cache(maxsize=8)
def loaded() -> dict[str, int]:
    return {}


add("functools.cache", cached)


@case()
def uses_cached(x: int) -> int:
    loaded()
    return cached(x)


@case()
def logs_and_prints(x: int) -> int:
    logger.info("at %s", x)
    logging.getLogger("other").warning("x")
    print(x, file=sys.stderr)
    sys.stdout.write("x")
    return x


@case()
def thread_local(x: int) -> int:
    local_state.value = x
    local_state.kept = [x]
    local_state.kept.append(1)
    return local_state.value  # type: ignore[no-any-return]


@case()
def reads_globals(x: int) -> Any:
    return table.get(x), stats["x"], total, pattern.match("a"), namespace.hits


@case()
def writes_own_file(x: str) -> None:
    with open(x, "w") as file:
        file.write("a")
    Path(x).write_text("b")


@case()
def own_buffer(x: str) -> str:
    out = io.StringIO()
    out.write(x)
    digest = hashlib.sha256()
    digest.update(x.encode())
    return out.getvalue() + digest.hexdigest()


@case()
def own_generator(x: int) -> float:
    mine = random.Random(x)
    return mine.random() + random.random()


@case()
def secure_random(x: int) -> float:
    return system_rng.random()


@case()
def own_closure(x: int) -> int:
    n = 0

    def inner(y: int) -> None:
        nonlocal n
        n += y

    for i in range(x):
        inner(i)
    return n


@case()
def own_list_in_closure(x: list[int]) -> list[int]:
    out: list[int] = []

    def visit(y: int) -> None:
        out.append(y)

    for part in x:
        visit(part)
    return out


@case()
def own_objects(x: int) -> int:
    c = Counter()
    c.count(x)
    c.n += 1
    c.parts.append(x)
    return c.n


@case()
def constant_setting(x: int) -> int:
    os.environ["WHICHPOOL_TEST_CONSTANT"] = "1"
    return x


@case()
def handles_errors(x: str) -> Any:
    try:
        return json.loads(x)
    except (ValueError, TypeError) as error:
        return str(error)
    finally:
        logger.debug("done")


@case()
def helper_with_own_list(x: int) -> dict[str, int]:
    mine: dict[str, int] = {}
    put_one(mine)
    return mine


@case()
def reads_lines_of_item(stream: Any) -> int:
    n = 0
    for line in stream:
        n += len(line)
    return n


@case()
def changes_fresh_rows(path: str) -> list[dict[str, str]]:
    out = []
    with open(path) as file:
        for row in csv.DictReader(file):
            row["extra"] = "1"
            out.append(row)
    return out


@case()
def matches(x: Any) -> int:
    match x:
        case {"a": int(n)}:
            return n
        case [first_, *_rest]:
            return len(first_)
        case _:
            return 0


@case()
def recursive(x: int) -> int:
    return 1 if x < 2 else x * recursive(x - 1)


@case()
def generator_function(x: int) -> Any:
    for i in range(x):
        yield i * i


@case()
def pure_methods(x: Any) -> Any:
    return x.add(1), x.sort(), x.update("b"), x.append(1)


@case()
def frame_of_a_filter(df: Any) -> Any:
    part = df[df["a"] > 1]
    part["b"] = 1
    return part


@case()
def prunes_walk(top: str) -> int:
    n = 0
    for _, dirs, files in os.walk(top):
        dirs[:] = [d for d in dirs if d != "x"]
        dirs.sort()
        n += len(files)
    return n


@pytest.mark.parametrize(("fn", "expected"), CASES)
def test_reads_exactly_what_is_there(fn: Any, expected: Expected) -> None:
    assert found_in(fn) == expected


def test_the_table_is_large_enough_to_mean_something() -> None:
    assert len(CASES) >= 120
    assert sum(bool(c.values[1]) for c in CASES) >= 60


def test_pyplot_is_for_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    plt = types.ModuleType("matplotlib.pyplot")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", plt)

    def draw(x: int) -> None:
        plt.plot([x])
        plt.savefig(f"{x}.png")

    assert found_in(draw) == {("not_thread_safe", "plt", "t")}


def test_much_code_is_read_in_part_and_not_given_up() -> None:
    lines = ["def leaf(x):", *(f"    y{i} = x + {i}" for i in range(3000)), "    return x"]
    lines += ["def much(x):", "    leaf(x)", "    results.append(x)"]
    lines += ["def top(x):", "    much(x)", "    kept.append(x)"]
    space: dict[str, Any] = {"results": [], "kept": []}
    exec("\n".join(lines), space)
    assert ("writes", "kept", "tp") in found_in(space["top"])


def test_names_set_once_are_ignored_by_the_watch() -> None:
    assert Guard(lazy_global).ignore == {"model"}
    assert Guard(lazy_flag).ignore == {"ready"}
    assert Guard(Counter().lazy).ignore == {"self._model"}
    assert Guard(lazy_key).ignore == {"settings[...]"}
    assert Guard(sets_global).ignore == frozenset()


def test_a_hazard_says_where_and_what_to_do_instead() -> None:
    (hazard,) = read(adds_to_global)
    line = adds_to_global.__code__.co_firstlineno + 3
    assert hazard.where == f"test_hazards.py:{line}"
    assert hazard.why == "is added to by every call"
    assert hazard.advice == "Return the value and add up the results: total = sum(whichpool.map(...))."
    assert str(hazard).startswith(f"total (test_hazards.py:{line}) is added to by every call. Return")


@pytest.mark.parametrize(
    ("fn", "word"),
    [
        (appends, "list of results"),
        (sets_key, "dict(whichpool.map(...))"),
        (memo_by_hand, "functools.cache"),
        (memo_by_get, "functools.cache"),
        (updates_counter, "map_reduce"),
        (adds_to_set, "set(whichpool.map(...))"),
        (changes_item, "Return a changed copy"),
        (draws, "seed="),
        (counts_up, "second iterable: whichpool.map(f, items, ids)"),
        (mutable_default, "default of None"),
        (reseeds, "seed="),
        (closures["opens"], "Open or make it inside the call"),
        (closures["keeps"], "list of results"),
        (Counter().count, "Return"),
        (puts, "whichpool.imap"),
        (writes_shared_buffer, "file.write(text)"),
    ],
)
def test_the_advice_fits(fn: Any, word: str) -> None:
    assert any(word in h.advice for h in read(fn)), [h.advice for h in read(fn)]


class Hostile:
    """An object whose every hook fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)

    def __len__(self) -> int:
        raise AssertionError

    def __eq__(self, other: object) -> bool:
        raise AssertionError

    def __hash__(self) -> int:
        raise AssertionError

    def __bool__(self) -> bool:
        raise AssertionError

    def __iter__(self) -> Any:
        raise AssertionError


def test_reading_runs_no_user_code() -> None:
    hostile = Hostile()
    kept = [hostile, {"a": hostile}]

    def uses(x: int) -> Any:
        kept[1]["b"] = hostile.value  # type: ignore[call-overload]
        return hostile

    assert found_in(uses) == {("writes", "kept[...]", "tp")}
    assert found_in(hostile) == set()


@pytest.mark.parametrize("thing", [None, 3, "text", object(), [], types, property(), Hostile], ids=repr)
def test_reading_never_raises(thing: Any) -> None:
    assert read(thing) == ()


def test_every_function_of_big_modules_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack model fits the interpreter: no reading stops half way, on functions of every style."""
    import argparse
    import asyncio.base_events
    import inspect
    import tarfile
    import typing

    from whichpool._measure.hazards import _frame, _reader

    failures: list[str] = []
    run = _frame.Frame.run

    def checked(self: Any) -> Any:
        try:
            return run(self)
        except Exception as error:
            failures.append(f"{self.code.co_qualname}: {error!r}")
            raise

    monkeypatch.setattr(_frame.Frame, "run", checked)
    count = 0
    for module in (argparse, asyncio.base_events, inspect, tarfile, typing, dataclasses):
        assert module.__file__ is not None
        top = compile(Path(module.__file__).read_text("utf-8"), module.__file__, "exec")
        stack = [top]
        while stack:
            code = stack.pop()
            stack.extend(c for c in code.co_consts if isinstance(c, types.CodeType))
            if code.co_flags & 2 and not code.co_freevars:  # a function, not a class body
                count += 1
                fn = types.FunctionType(code, vars(module))
                reader = _reader.Reader()
                frame_values = dict.fromkeys(code.co_varnames[: code.co_argcount], _frame.UNKNOWN)
                reader.code(code, frame_values, {}, fn.__globals__, frozenset(), 6, True)
    assert count > 500
    assert failures == []
