"""Writes behind something: a cache, a dispatcher, a bound method, a partial, a chain of attributes."""

from __future__ import annotations

import bz2
import codecs
import collections
import functools
import hashlib
import importlib
import io
import itertools
import operator
import os
import random
import sys
import threading
import types
import weakref
import xml.etree.ElementTree as ET
import zlib
from typing import Any, NamedTuple
from unittest import mock

import pytest

from whichpool._measure.hazards import Guard, read

np = pytest.importorskip("numpy")

CASES: list[Any] = []


def case(*expected: str) -> Any:
    """A case: what is expected reads ``kind name workers``, workers being ``t``, ``p`` or ``tp``."""

    def register(fn: Any) -> Any:
        CASES.append(pytest.param(fn, set(expected), id=getattr(fn, "__name__", None)))
        return fn

    return register


def add(name: str, fn: Any, *expected: str) -> None:
    CASES.append(pytest.param(fn, set(expected), id=name))


def found_in(fn: Any) -> set[str]:
    return {
        f"{h.kind} {h.name} {''.join(sorted((w[0] for w in h.rules_out), reverse=True))}" for h in read(fn)
    }


seen: list[int] = []
table: dict[str, int] = {}


# behind functools


@case("writes seen tp")
@functools.cache
def cached_and_appends(x: int) -> int:
    seen.append(x)
    return len(seen)


@case("writes seen tp")
def calls_cached_that_appends(x: int) -> int:
    return cached_and_appends(x)


@case()
@functools.lru_cache(maxsize=4)
def cached(x: int) -> int:
    return x * 2


@case()
def calls_cached(x: int) -> int:
    return cached(x) + cached(3)


@functools.cache
def shared_list() -> list[int]:
    return []


@functools.cache
def shared_unknown() -> Any:
    return os.sched_getaffinity(0)


@case("writes shared_list() tp")
def changes_what_a_cache_keeps(x: int) -> int:
    rows = shared_list()
    rows.append(x)
    return len(rows)


@case()
def reads_what_a_cache_keeps(x: int) -> int:
    rows = list(shared_list())
    rows.append(x)
    total = len(shared_list())
    total += 1
    return len(rows) + total


class Single:
    def __init__(self) -> None:
        self.n = 0
        self.rows: list[int] = []
        self.made: Any = None

    def next(self) -> int:
        self.n += 1
        return self.n

    def get(self) -> Any:
        if self.made is None:
            self.made = object()
        return self.made


@functools.cache
def single() -> Single:
    return Single()


@case("writes single().n tp")
def counts_on_singleton(x: int) -> int:
    return single().next()


@case("writes single().rows tp")
def appends_to_singleton(x: int) -> None:
    single().rows.append(x)


@case()
def makes_once_on_singleton(x: int) -> Any:
    return single().get()


@functools.cache
def own_state() -> threading.local:
    return threading.local()


@case()
def thread_local_behind_cache(x: int) -> None:
    own_state().x = x


class Cached:
    @functools.cache  # noqa: B019
    def method(self, x: int) -> int:
        seen.append(x)
        return x

    @functools.cache  # noqa: B019
    def pure(self, x: int) -> int:
        return x


add("cached method that writes", Cached().method, "writes seen tp")
add("cached method", Cached().pure)


def test_what_a_cache_keeps_is_watched() -> None:
    @functools.cache
    def rows(n: int) -> list[int]:
        return [n]

    @functools.lru_cache
    def bounded(n: int) -> list[int]:
        return [n]

    def reads(x: int) -> int:
        return len(rows(x)) + len(bounded(x))

    def changes(x: int, change: Any = operator.methodcaller("append", 1)) -> None:
        change(rows(0))

    def changes_bounded(x: int, change: Any = operator.methodcaller("append", 1)) -> None:
        change(bounded(0))

    for fn, names in ((reads, []), (changes, ["rows()"]), (changes_bounded, ["bounded()"])):
        fn(0)
        guard = Guard(fn)
        guard.before()
        fn(1)
        fn(2)
        assert [h.name for h in guard.after()] == names


@functools.cache
def generator_for_all() -> random.Random:
    return random.Random(3)


def draws_from_cached(x: int) -> float:
    return generator_for_all().random()


def test_a_random_generator_that_a_cache_keeps() -> None:
    generator_for_all()
    assert found_in(draws_from_cached) == {"shares generator_for_all() tp"}


def test_what_is_set_once_is_ignored_under_its_other_names() -> None:
    class Model:
        def __init__(self) -> None:
            self.ready = False
            self.callback = self.predict

        def predict(self, x: int) -> int:
            if not self.ready:
                self.ready = True
            return x

    model = Model()
    predict, alias = model.predict, model

    def fn(x: int) -> Any:
        return predict(x), alias.predict(x), model.predict(x)

    guard = Guard(fn)
    guard.before()
    fn(1)
    assert guard.after() == ()


def test_a_module_that_the_first_call_loads_is_read_then(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whichpool_test_late.py").write_text(
        "total = 0\ndef add(x):\n    global total\n    total += x\n    return total\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def fn(x: int) -> int:
        from whichpool_test_late import add  # type: ignore[import-not-found]

        return int(add(x))

    guard = Guard(fn)
    assert guard.read() == ()
    guard.before()
    assert guard.after() == ()
    try:
        fn(1)
        assert [h.name for h in guard.after()] == ["total"]
        assert [h.name for h in guard.read()] == ["total"]
    finally:
        del sys.modules["whichpool_test_late"]


@functools.singledispatch
def dispatched(x: Any) -> int:
    raise TypeError


@dispatched.register
def _(x: int) -> int:
    seen.append(x)
    return len(seen)


CASES.append(pytest.param(dispatched, {"writes seen tp"}, id="dispatched"))


@case("writes seen tp")
def calls_dispatched(x: int) -> int:
    return dispatched(x)


@functools.singledispatch
def pure_dispatched(x: Any) -> int:
    return 0


@pure_dispatched.register
def _(x: int) -> int:
    with guarded:
        return x


guarded = threading.Lock()
CASES.append(pytest.param(pure_dispatched, set(), id="pure_dispatched"))


class Visitor:
    def __init__(self) -> None:
        self.names: list[str] = []

    @functools.singledispatchmethod
    def visit(self, x: Any) -> None:
        pass

    @visit.register
    def _(self, x: str) -> None:
        self.names.append(x)


visitor = Visitor()


@case("writes visitor.names tp")
def visits(x: str) -> None:
    visitor.visit(x)


@case()
def visits_anew(x: str) -> list[str]:
    own = Visitor()
    own.visit(x)
    return own.names


def test_an_implementation_that_writes_is_watched() -> None:
    guard = Guard(dispatched)
    guard.before()
    dispatched(3)
    assert [h.name for h in guard.after()] == ["seen"]
    assert guard.after()[0].where.startswith("test_hazards_indirect.py:")


# named tuples, weak references, partials, bound methods


class Rows(NamedTuple):
    rows: list[int]


rows = Rows([])
old_rows = collections.namedtuple("old_rows", "rows")([])


@case("writes rows.rows tp")
def appends_in_named_tuple(x: int) -> None:
    rows.rows.append(x)


@case("writes old_rows.rows tp")
def appends_in_old_named_tuple(x: int) -> None:
    old_rows.rows.append(x)


def test_a_list_in_a_tuple_is_watched() -> None:
    pair = (1, [2], "a")

    def fn(x: int, change: Any = operator.methodcaller("append", 1)) -> None:
        change(pair[1])

    guard = Guard(fn)
    guard.before()
    fn(1)
    assert [h.name for h in guard.after()] == ["pair[...]"]


kept_single = Single()
weak = weakref.ref(kept_single)


@case("writes weak().n tp")
def writes_through_weak_reference(x: int) -> int:
    weak().n += 1  # type: ignore[union-attr]
    return x


def collects(into: list[int], x: int) -> None:
    into.append(x)


collect = functools.partial(collects, seen)
tell = kept_single.next


@case("writes into tp")
def calls_partial(x: int) -> None:
    collect(x)


rand = random.Random(3).random
gauss = random.Random(3).gauss
np_rand = np.random.RandomState(3).rand
np_normal = np.random.default_rng(3).normal
count_next = itertools.count().__next__
partial_next = functools.partial(next, itertools.count())
any_rand = random.random
any_np_rand = np.random.rand
safe_rand = random.SystemRandom().random
read_line = io.StringIO("a\nb\n").readline
match = __import__("re").compile("a").match


@case("shares rand tp")
def draws_by_method(x: int) -> float:
    return rand()


@case("shares gauss tp")
def draws_by_python_method(x: int) -> float:
    return gauss(0, 1)


@case("shares np_rand tp")
def draws_by_numpy_method(x: int) -> float:
    return float(np_rand())


@case("shares np_normal tp")
def draws_by_numpy_generator_method(x: int) -> float:
    return float(np_normal())


@case("shares count_next tp")
def counts_by_method(x: int) -> int:
    return count_next()


@case("shares partial_next tp")
def counts_by_partial(x: int) -> int:
    return partial_next()


@case()
def harmless_methods(x: int) -> Any:
    return any_rand(), any_np_rand(), safe_rand(), match("a")


# chains, and what leads to one of several


class Node:
    def __init__(self, child: Node | None = None) -> None:
        self.child = child
        self.n = 0
        self.tags: list[int] = []
        self.value: Any = None


chain = Node(Node(Node(Node(Node(Node())))))


@case("writes chain.*.n tp")
def adds_far_down(x: int) -> None:
    node: Any = chain
    for _ in range(5):
        node = node.child
    node.n += 1


@case("writes chain.*.n tp")
def sets_far_down(x: int) -> None:
    node: Any = chain
    while node.child is not None:
        node = node.child
    setattr(node, "n", node.n + 1)  # noqa: B010


@case("writes chain.*.tags tp")
def appends_far_down(x: int) -> None:
    node: Any = chain
    while node.child is not None:
        node = node.child
    node.tags.append(x)


@case()
def walks(x: int) -> int:
    node: Any = chain
    total = 0
    while node is not None:
        total += node.n
        node = node.child
    return total


@case()
def fills_once_far_down(x: int) -> Any:
    node: Any = chain
    while node.child is not None:
        node = node.child
    if node.value is None:
        node.value = object()
    return node.value


@case()
def walks_its_own(x: int) -> int:
    node: Any = Node(Node(Node()))
    while node.child is not None:
        node = node.child
        node.n += 1
    return int(node.n)


@case("changes_item node.*.n tp")
def walks_the_item(node: Any) -> None:
    while node is not None:
        node.n = 1
        node = node.child


many: dict[int, list[int]] = {i: [] for i in range(1000)}


@case("writes many[500] tp".replace("[500]", "[...]"))
def hands_on_a_changer(x: int) -> None:
    list(map(many[500].append, [x]))


class Keeps:
    def __init__(self, callback: Any) -> None:
        self.callback = callback


@case()
def hands_on_to_one_that_keeps(x: int) -> Any:
    return Keeps(seen.append)


@case()
def hands_on_a_reader(x: int) -> list[Any]:
    return list(map(many.get, [x]))


@case()
def hands_on_its_own(x: int) -> list[int]:
    mine: list[int] = []
    list(map(mine.append, [x]))
    return mine


# NumPy


array = np.zeros(100_000)
matrix = np.zeros((1000, 30))


@case("writes array tp")
def adds_at(x: int) -> None:
    np.add.at(array, [500], 1)


@case()
def adds_at_its_own(x: int) -> Any:
    own = np.zeros(3)
    np.add.at(own, [1], 1)
    return own


def row_of(i: int) -> Any:
    return matrix[i]


@case("writes matrix[...] tp")
def adds_to_a_view(x: int) -> None:
    row = row_of(500)
    row += 1


@case("writes array[...] tp")
def adds_to_a_slice(x: int) -> None:
    part = array[5:10]
    part += 1


@case()
def adds_to_a_copy(x: int) -> Any:
    part = array[[1, 2]]
    part += 1
    other = array[array > 0]
    other += 1
    third = matrix[0].copy()
    third += 1
    number = array[5]
    number += 1
    return part, other, third, number


# state of objects of the standard library


tree = ET.Element("root")
digest = hashlib.sha256()
packer = zlib.compressobj()
packer_2 = bz2.BZ2Compressor()
decoder = codecs.getincrementaldecoder("utf8")()


@case("writes tree tp")
def adds_to_tree(x: int) -> None:
    ET.SubElement(tree, "child")


@case("writes tree tp")
def appends_to_tree(x: int) -> None:
    tree.append(ET.Element("child"))


@case("writes digest tp")
def hashes_on(x: int) -> str:
    digest.update(b"x")
    return digest.hexdigest()


@case()
def hashes_anew(x: int) -> str:
    own = digest.copy()
    own.update(b"x")
    return own.hexdigest() + hashlib.md5(b"a").hexdigest()


@case("writes packer tp", "writes packer_2 tp")
def packs_on(x: int) -> Any:
    return packer.compress(b"a"), packer_2.compress(b"a")


@case("writes decoder tp")
def decodes_on(x: int) -> str:
    return str(decoder.decode(b"a"))


@case()
def packs_anew(x: int) -> Any:
    own = zlib.compressobj()
    own_decoder = codecs.getincrementaldecoder("utf8")()
    return own.compress(b"a") + own.flush(), own_decoder.decode(b"a"), zlib.compress(b"a")


def test_a_module_that_is_imported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("whichpool_test_named")
    exec("total = 0\ndef add(x):\n    global total\n    total += x\n", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def fn(x: int) -> None:
        importlib.import_module("whichpool_test_named").add(x)

    assert found_in(fn) == {"writes total tp"}


# the state of the process


environment = os.environ


@case("writes environment tp")
def updates_environment(x: int) -> None:
    environment.update(WHICHPOOL_TEST_N=str(x))


@case("writes os.environ tp")
def updates_environment_by_name(x: int) -> None:
    os.environ.update(WHICHPOOL_TEST_N=str(x))


@case()
def constant_environment(x: int) -> Any:
    environment["WHICHPOOL_TEST_A"] = "1"
    os.environ.setdefault("WHICHPOOL_TEST_A", "1")
    os.environ.update(WHICHPOOL_TEST_A="1")
    environment.pop("WHICHPOOL_TEST_A", None)
    return environment.get("HOME")


@case("writes mock.patch.dict t")
def patches_for_a_while(x: int) -> None:
    with mock.patch.dict(os.environ, {"WHICHPOOL_TEST_N": str(x)}):
        pass


@case("writes mock.patch.dict tp")
def patches_for_good(x: int) -> None:
    mock.patch.dict(os.environ, {"WHICHPOOL_TEST_N": str(x)}).start()


@case("writes os.umask tp")
def changes_umask(x: int) -> None:
    os.umask(x)


buffer = io.StringIO()


@case("writes buffer tp", "not_thread_safe buffer t")
def prints_into_a_buffer(x: int) -> None:
    print(x, file=buffer)


@case()
def prints(x: int) -> None:
    out = io.StringIO()
    print(x, file=out)
    print(x, file=sys.stderr)


def test_the_position_in_a_buffer_is_watched() -> None:
    lines = io.StringIO("a\nb\n")

    def fn(x: int) -> str:
        return lines.readline()

    assert found_in(fn) == {"not_thread_safe lines t"}
    guard = Guard(fn)
    guard.before()
    fn(1)
    (hazard,) = guard.after()
    assert (hazard.name, hazard.rules_out) == ("lines", {"threads", "processes"})


# set once


def test_setting_a_name_once_that_does_not_exist_is_benign() -> None:
    space: dict[str, Any] = {}
    source = (
        "def f(x):\n    global known\n    try:\n        got = known\n    except NameError:\n"
        "        got = known = [1]\n    return got\n"
        "class C:\n    def get(self, x):\n        try:\n            return self.kept\n"
        "        except AttributeError:\n            self.kept = [1]\n            return self.kept\n"
        "one = C()\ndef g(x):\n    return one.get(x)\n"
        "def h(x):\n    global known\n    try:\n        got = other\n    except NameError:\n"
        "        got = known = [1]\n    return got\n"
    )
    exec(source, space)
    exec(
        "acc, total, lock = [0], 0, __import__('threading').RLock()\n"
        "def i(x):\n    try:\n        raise KeyError\n    except KeyError:\n        acc[0] += 1\n"
        "def j(x):\n    global total\n    try:\n        n = total\n        n = {}[n]\n"
        "    except KeyError:\n        total += n\n"
        "def k(x):\n    global total\n    try:\n        return acc[0]\n    finally:\n        try:\n"
        "            x = other\n        except NameError:\n            total = len('a')\n",
        space,
    )
    for fn, name in (("i", "acc[...]"), ("j", "total"), ("k", "total")):
        assert found_in(space[fn]) == {f"writes {name} tp"}
    for fn in (space["f"], space["g"]):
        assert found_in(fn) == set()
        guard = Guard(fn)
        guard.before()
        fn(1)
        assert guard.after() == ()
        assert found_in(fn) == set(), "read after it was set"
    assert found_in(space["h"]) == {"writes known tp"}


# items


@case("changes_item stream tp")
def takes_from_the_item(stream: Any) -> Any:
    return next(stream)


@case("changes_item row tp")
def takes_out_of_the_item(row: Any) -> Any:
    return row.pop("a")


@case()
def looks_at_the_first_of_the_item(things: Any) -> Any:
    return next(iter(things))


@case("changes_item stream tp")
def reads_a_line_of_the_item(stream: Any) -> Any:
    return stream.readline()


def generator() -> Any:
    yield 1
    yield 2


@pytest.mark.parametrize(
    "item",
    [
        io.StringIO("a\nb\n"),
        io.BytesIO(b"a\nb\n"),
        iter([1, 2]),
        iter("ab"),
        iter({"a": 1, "b": 2}),
        map(str, [1, 2]),
        itertools.count(),
        generator(),
        (3, iter([1, 2])),
    ],
    ids=lambda item: type(item).__name__,
)
def test_an_item_that_is_used_up_is_changed(item: Any) -> None:
    def fn(item: Any) -> Any:
        item = item[1] if type(item) is tuple else item
        return item.readline() if hasattr(item, "readline") else operator.methodcaller("__next__")(item)

    guard = Guard(fn)
    before = guard.item_before(item)
    fn(item)
    hazard = guard.item_after(item, before)
    assert hazard is not None
    assert hazard.rules_out == {"threads", "processes"}


def test_a_file_that_is_read_is_changed(tmp_path: Any) -> None:
    (tmp_path / "a").write_text("a\nb\n")
    guard = Guard(lambda file: file.readline())
    with open(tmp_path / "a") as file:
        before = guard.item_before(file)
        assert guard.item_after(file, before) is None
        file.readline()
        assert guard.item_after(file, before) is not None


@pytest.mark.parametrize(("fn", "expected"), CASES)
def test_reads_exactly_what_is_there(fn: Any, expected: set[str]) -> None:
    assert found_in(fn) == expected
