"""Fingerprints: every real change is reported by name, what is benign is not, and no user code runs."""

from __future__ import annotations

import array
import collections
import functools
import itertools
import logging
import random
import subprocess
import sys
import threading
import types
from typing import Any

import pytest

from whichpool._worker.watch import MARKS_MAX, Watch, is_user_code, item_changed, item_look, unwrap

total = 0
text = "a"
ratio = 0.5
stats: dict[str, Any] = {"hits": 0}
results: list[Any] = []
seen: set[int] = set()
recent: collections.deque[int] = collections.deque([1, 2], maxlen=3)
raw = bytearray(10)
numbers = array.array("i", [1, 2])
table: dict[int, int] = {}
groups: dict[str, list[int]] = {"a": []}
model: Any = None
logger = logging.getLogger("whichpool.tests.watch")
lock = threading.Lock()


def written(fn: Any, *args: Any, times: int = 1, ignore: frozenset[str] = frozenset()) -> list[str]:
    """What the watch reports around calls of a function."""
    watch = Watch(fn, ignore)
    before = watch.look()
    for _ in range(times):
        fn(*args)
    return watch.changed(before, watch.look())


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global total, text, ratio, model
    total, text, ratio, model = 0, "a", 0.5, None
    stats.clear()
    stats["hits"] = 0
    results.clear()
    seen.clear()
    recent.clear()
    raw[:] = bytes(10)
    numbers[0] = 1
    table.clear()
    groups.clear()
    groups["a"] = []
    Thing.made = 0


class Thing:
    """An object of a class of the user's."""

    made = 0

    def __init__(self) -> None:
        self.n = 0
        self.parts: list[int] = []
        self.model: Any = None
        self.inner: Any = None

    def count(self, x: int) -> int:
        self.n += 1
        return self.n

    def keep(self, x: int) -> None:
        self.parts.append(x)

    def lazy(self, x: int) -> Any:
        if self.model is None:
            self.model = object()
        return self.model

    def deep(self, x: int) -> None:
        self.inner.n += 1

    def reads(self, x: int) -> int:
        return self.n + x

    @functools.cached_property
    def constant(self) -> int:
        return 3

    def uses_constant(self, x: int) -> int:
        return self.constant

    def __call__(self, x: int) -> None:
        self.n += x


class Slotted:
    """An object with slots."""

    __slots__ = ("kept", "n")

    def __init__(self) -> None:
        self.n = 0
        self.kept: list[int] = []

    def count(self, x: int) -> None:
        self.n += 1

    def keep(self, x: int) -> None:
        self.kept.append(x)


def add_total(x: int) -> None:
    global total
    total += x


def set_text(x: int) -> None:
    global text
    text = text + "b"


def set_ratio(x: int) -> None:
    global ratio
    ratio = ratio * 2


def set_key(x: int) -> None:
    stats["hits"] += 1


def append(x: int) -> None:
    results.append(x)


def add(x: int) -> None:
    seen.add(x)


def push(x: int) -> None:
    recent.append(x)


def set_byte(x: int) -> None:
    raw[3] = x


def set_number(x: int) -> None:
    numbers[0] = 77


def memo(x: int) -> int:
    if x not in table:
        table[x] = x
    return table[x]


def group(x: int) -> None:
    groups["a"].append(x)


def made(x: int) -> None:
    Thing.made += 1


def mutable_default(x: int, acc: list[int] = []) -> None:  # noqa: B006
    acc.append(x)


def keyword_default(x: int, *, acc: list[int] = []) -> None:  # noqa: B006
    acc.append(x)


def through(x: int) -> None:
    add_total(x)


def through_twice(x: int) -> None:
    through(x)


def in_comprehension(x: int) -> list[None]:
    return [results.append(part) for part in range(x)]  # type: ignore[func-returns-value]


def swap(x: int) -> None:
    global results
    results = [*results, x]


def drop_model(x: int) -> None:
    global model
    model = (model or 0) + 1


def function_attribute(x: int) -> None:
    append.calls = x  # type: ignore[attr-defined]


def closure() -> tuple[Any, Any]:
    n = 0
    kept: list[int] = []

    def adds(x: int) -> int:
        nonlocal n
        n += x
        return n

    return adds, lambda x: kept.append(x)


adds, keeps = closure()
thing = Thing()


def count_thing(x: int) -> int:
    return thing.count(x)


CHANGES: list[tuple[Any, list[str]]] = [
    (add_total, ["total"]),
    (set_text, ["text"]),
    (set_ratio, ["ratio"]),
    (set_key, ["stats[...]"]),
    (append, ["results"]),
    (add, ["seen"]),
    (push, ["recent"]),
    (set_byte, ["raw"]),
    (set_number, ["numbers"]),
    (memo, ["table[...]"]),
    (group, ["groups[...]"]),
    (made, ["Thing.made"]),
    (mutable_default, ["acc"]),
    (keyword_default, ["acc"]),
    (through, ["total"]),
    (through_twice, ["total"]),
    (in_comprehension, ["results"]),
    (swap, ["results"]),
    (adds, ["n"]),
    (keeps, ["kept"]),
    (count_thing, ["thing.n"]),
    (Thing().count, ["self.n"]),
    (Thing().keep, ["self.parts"]),
    (Thing(), ["self.n"]),
    (Slotted().count, ["self.n"]),
    (Slotted().keep, ["self.kept"]),
    ([].append, ["list"]),
    (functools.partial(mutable_default, acc=[]), ["acc"]),
    (functools.partial(lambda kept, x: kept.append(x), []), ["kept"]),
]


@pytest.mark.parametrize(("fn", "names"), CHANGES, ids=[str(i) for i in range(len(CHANGES))])
def test_a_change_is_reported_by_name(fn: Any, names: list[str]) -> None:
    assert written(fn, 3) == names


def test_a_function_attribute_that_changes_is_reported() -> None:
    append.calls = 0  # type: ignore[attr-defined]
    assert written(function_attribute, 3) == ["append.calls"]


def test_an_object_inside_an_object_is_watched() -> None:
    outer = Thing()
    outer.inner = Thing()
    assert written(outer.deep, 3) == ["self.inner.n"]


def lazy_global(x: int) -> Any:
    global model
    if model is None:
        model = object()
    return model


def lazy_absent(x: int) -> Any:
    global absent
    try:
        return absent
    except NameError:
        absent = object()
        return absent


@functools.cache
def cached(x: int) -> int:
    return x


def uses_cached(x: int) -> int:
    logger.info("x")
    return cached(x)


def reads(x: int) -> Any:
    with lock:
        return stats["hits"], total, len(results), thing.n, Thing.made


BENIGN = [
    lazy_global,
    lazy_absent,
    uses_cached,
    cached,
    reads,
    Thing().lazy,
    Thing().reads,
    Thing().uses_constant,
    abs,
    int,
    lambda x: random.random() + x,
    functools.partial(int, base=10),
    lambda x: [x],
    types.SimpleNamespace,
]


@pytest.mark.parametrize("fn", BENIGN, ids=[str(i) for i in range(len(BENIGN))])
def test_what_is_benign_is_not_reported(fn: Any) -> None:
    watch = Watch(fn)
    before = watch.look()
    if fn is not types.SimpleNamespace:
        for _ in range(3):
            fn("3" if isinstance(fn, functools.partial) else 3)
    assert watch.changed(before, watch.look()) == []


def test_set_once_is_forgiven_but_not_twice() -> None:
    watch = Watch(drop_model)
    before = watch.look()
    drop_model(1)
    after = watch.look()
    assert watch.changed(before, after) == []
    drop_model(1)
    assert watch.changed(after, watch.look()) == ["model"]


def test_names_to_ignore_are_ignored() -> None:
    assert written(set_key, 1, ignore=frozenset({"stats[...]"})) == []
    assert written(add_total, 1, ignore=frozenset({"total"})) == []
    assert written(append, 1, ignore=frozenset({"total"})) == ["results"]


def test_a_container_that_is_replaced_is_reported_once() -> None:
    assert written(swap, 1, times=3) == ["results"]


class Hostile:
    """Every hook fails."""

    def __init__(self) -> None:
        object.__setattr__(self, "n", 0)

    def _fail(self, *args: object) -> Any:
        raise AssertionError("user code was run")

    __getattr__ = __getattribute__ = __len__ = __eq__ = __bool__ = __iter__ = _fail  # type: ignore[assignment]
    __hash__ = __lt__ = __getitem__ = __contains__ = __repr__ = __str__ = _fail  # type: ignore[assignment]
    __reduce__ = __reduce_ex__ = __index__ = __int__ = __float__ = __call__ = _fail  # type: ignore[assignment]


class HostileList(list[Any]):
    """A list whose hooks fail."""

    def _fail(self, *args: object) -> Any:
        raise AssertionError("user code was run")

    __len__ = __iter__ = __getitem__ = __eq__ = __bool__ = _fail  # type: ignore[assignment]


class HostileDict(dict[str, Any]):
    """A dict whose hooks fail."""

    def _fail(self, *args: object) -> Any:
        raise AssertionError("user code was run")

    __len__ = __iter__ = __getitem__ = __eq__ = items = keys = values = get = _fail  # type: ignore[assignment]


def test_no_user_code_is_run() -> None:
    hostile, many, book = Hostile(), HostileList([1]), HostileDict(a=1)
    mixed = [hostile, many, book, {"k": hostile}, {many.__class__: many}]

    def uses(x: int) -> Any:
        object.__setattr__(hostile, "n", x)
        list.append(many, x)
        dict.__setitem__(book, "a", x)
        mixed.append(x)

    watch = Watch(uses)
    before = watch.look()
    uses(4)
    assert sorted(watch.changed(before, watch.look())) == ["book[...]", "hostile.n", "many", "mixed"]
    assert Watch(hostile).look() is not None
    assert item_look(hostile) is not None


def test_big_things_cost_little_and_stay_bounded() -> None:
    big = list(range(200_000))
    deep = {str(i): [Thing() for _ in range(20)] for i in range(300)}
    things = [Thing() for _ in range(2000)]
    wide = types.SimpleNamespace(**{f"a{i}": i for i in range(3000)})

    class Wide:
        def __init__(self) -> None:
            self.__dict__.update(vars(wide))

    user_wide = Wide()
    watch = Watch(lambda x: (big, deep, things, user_wide))
    marks = watch.look()
    assert len(marks) <= MARKS_MAX + 20
    big.append(1)
    assert watch.changed(marks, watch.look()) == ["big"]


def test_marks_keep_nothing_alive() -> None:
    import gc
    import weakref

    thing = Thing()
    holder: dict[str, Any] = {"thing": thing}
    watch = Watch(lambda x: holder)
    marks = watch.look()
    gone = weakref.ref(thing)
    holder.clear()
    del thing
    gc.collect()
    assert gone() is None
    assert watch.changed(marks, watch.look()) == ["holder[...]"]


def test_a_container_changed_by_another_thread_while_it_is_read_is_no_error() -> None:
    class Growing(dict[int, int]):
        pass

    book = Growing()
    stop = threading.Event()

    def grow() -> None:
        for i in itertools.count():
            book[i] = i
            if len(book) > 1000:
                book.clear()
            if stop.is_set():
                return

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        watch = Watch(lambda x: book)
        for _ in range(200):
            watch.changed(watch.look(), watch.look())
    finally:
        stop.set()
        thread.join()


def test_arrays_are_sampled() -> None:
    np = pytest.importorskip("numpy")
    small, large, grid = np.zeros(10), np.zeros(100_000), np.zeros((300, 300)).T
    objects = np.array([object()], dtype=object)

    def small_write(x: int) -> None:
        small[3] = x

    def large_write(x: int) -> None:
        large[:] = x

    def grid_write(x: int) -> None:
        grid[...] = x

    def only_reads(x: int) -> Any:
        return small.sum() + large.mean() + grid[0, 0], objects

    assert written(only_reads, 3) == []
    assert written(small_write, 3) == ["small[...]"]
    assert written(large_write, 3) == ["large[...]"]
    assert written(grid_write, 3) == ["grid[...]"]


class Blocks:
    """What pandas keeps the columns of a frame in, as far as it is looked at."""

    def __init__(self, columns: list[Any]) -> None:
        self.columns = columns
        self.axes = [list(range(len(columns)))]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.columns), len(self.columns[0])

    def iget_values(self, at: int) -> Any:
        return self.columns[at]


def test_frames_are_sampled() -> None:
    np = pytest.importorskip("numpy")

    def start(self: Any, columns: list[Any]) -> None:
        self._mgr = Blocks(columns)

    make = type("DataFrame", (), {"__module__": "pandas.core.frame", "__init__": start})
    frame: Any = make([np.array([1, 2]), np.array([1.5, 2.5])])

    def only_reads(x: int) -> Any:
        return frame._mgr.shape

    def adds_column(x: int) -> None:
        frame._mgr.columns.append(np.array([1, 2]))

    def sets_cell(x: int) -> None:
        frame._mgr.columns[1][0] = x

    assert written(only_reads, 3) == []
    assert "frame[...]" in written(sets_cell, 3)
    assert "frame[...]" in written(adds_column, 3)


# items


def item_written(fn: Any, item: Any) -> list[str]:
    """What the watch reports about an item around one call."""
    before = item_look(item)
    fn(item)
    return item_changed(before, item_look(item))


def bump(thing: Thing) -> None:
    thing.n += 1


ITEMS: list[tuple[Any, Any, list[str]]] = [
    (lambda x: x.append(1), [], ["item"]),
    (lambda x: x.add(1), set(), ["item"]),
    (lambda x: x.update(a=1), {}, ["item[...]"]),
    (lambda x: x.update(a=2), {"a": 1}, ["item[...]"]),
    (lambda x: x.extend(b"a"), bytearray(), ["item"]),
    (bump, Thing(), ["item.n"]),
    (lambda x: x[1].append(1), (1, []), ["item[1]"]),
    (lambda x: x[0].update(a=1), [{"a": 0}], ["item"]),
    (len, [1, 2], []),
    (lambda x: x + 1, 3, []),
    (lambda x: x.upper(), "a", []),
    (list, iter([1, 2]), ["item"]),
    (lambda x: next(x), (n for n in range(3)), ["item"]),
    (lambda x: x, iter([1, 2]), []),
    (lambda x: x.lazy(1), Thing(), []),
    (lambda x: x.constant, Thing(), []),
    (sorted, {"b": 1, "a": 2}, []),
]


@pytest.mark.parametrize(("fn", "item", "names"), ITEMS, ids=[str(i) for i in range(len(ITEMS))])
def test_a_changed_item_is_found_out(fn: Any, item: Any, names: list[str]) -> None:
    assert item_written(fn, item) == names


def test_what_cannot_change_has_no_fingerprint() -> None:
    for item in (1, "a", b"a", 2.5, None, True, iter([]), (1, "a")):
        before = item_look(item)
        assert item_changed(before, item_look(item)) == []
    assert item_look("a") is None


# what it stands on


def test_user_code_is_told_from_installed_code() -> None:
    assert is_user_code(__file__)
    assert is_user_code("<stdin>")
    assert is_user_code("<ipython-input-3-abc>")
    assert not is_user_code("<frozen importlib._bootstrap>")
    assert not is_user_code(subprocess.__file__)
    assert not is_user_code("/somewhere/lib/python3.11/site-packages/numpy/core.py")
    assert not is_user_code(sys.modules["whichpool._worker.watch"].__file__ or "")


def test_unwrap_takes_partials_methods_and_objects_apart() -> None:
    thing = Thing()
    fn, owner, args, kwargs = unwrap(functools.partial(functools.partial(thing.count, 1), x=2))
    assert (fn, owner, args, kwargs) == (Thing.count, thing, (1,), {"x": 2})
    fn, owner, args, kwargs = unwrap(thing)
    assert fn is Thing.__call__
    assert owner is thing
    assert unwrap(abs)[0] is abs
    assert unwrap(Thing)[0] is Thing


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import whichpool._worker.watch; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "whichpool._worker.watch" in loaded
    assert not loaded & {"typing", "inspect", "dis", "dataclasses", "threading", "collections", "re"}
