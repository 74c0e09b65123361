"""The guard as the engine uses it: read, compare around the first items, and look at the items."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from typing import Any

from whichpool._measure.hazards import Guard, read

BOTH = frozenset({"threads", "processes"})

total = 0
model: Any = None
settings: dict[str, Any] = {"model": None}


def adds(x: int) -> int:
    global total
    total += x
    return total


def lazy(x: int) -> Any:
    global model
    if model is None:
        model = object()
    return model


def lazy_key(x: int) -> Any:
    if settings["model"] is None:
        settings["model"] = object()
    return settings["model"]


class Sink:
    """Writes where no byte code of the function shows it."""

    def __init__(self) -> None:
        self.n = 0

    def put(self, x: int) -> None:
        vars(self)["n"] = x


def hidden() -> tuple[Any, Sink]:
    sink = Sink()
    return (lambda x: sink.put(x)), sink


def test_a_write_that_was_read_is_reported_as_it_was_read() -> None:
    guard = Guard(adds)
    (known,) = guard.read()
    guard.before()
    adds(3)
    assert guard.after() == (known,)


def test_a_write_that_cannot_be_read_is_seen() -> None:
    fn, sink = hidden()
    guard = Guard(fn)
    assert guard.read() == ()
    guard.before()
    fn(3)
    (hazard,) = guard.after()
    assert sink.n == 3
    assert (hazard.kind, hazard.name, hazard.rules_out) == ("writes", "sink.n", BOTH)
    assert hazard.where.startswith("test_hazards_guard.py:")
    assert hazard.advice.startswith("Return the value instead of keeping it on sink")


def test_each_before_starts_afresh() -> None:
    fn, _ = hidden()
    guard = Guard(fn)
    guard.before()
    fn(3)
    assert len(guard.after()) == 1
    guard.before()
    assert guard.after() == ()


def test_after_without_before_says_nothing() -> None:
    assert Guard(adds).after() == ()


def test_what_is_set_once_is_benign_both_ways() -> None:
    for fn, name in ((lazy, "model"), (lazy_key, "settings[...]")):
        guard = Guard(fn)
        guard.before()
        fn(1)
        assert guard.after() == ()
        assert guard.read() == ()
        assert guard.ignore == frozenset({name})


def test_reading_is_done_once() -> None:
    guard = Guard(adds)
    assert guard.read() is guard.read()


def test_an_item_that_is_changed() -> None:
    def changes(row: dict[str, Any]) -> None:
        row.update(b=2) or row

    guard = Guard(changes)
    row = {"a": 1}
    before = guard.item_before(row)
    changes(row)
    hazard = guard.item_after(row, before)
    assert hazard is not None
    assert hazard.rules_out == BOTH
    assert (hazard.kind, hazard.name) == ("changes_item", "item[...]")
    assert "Return a changed copy" in hazard.advice


def test_an_item_that_stays_as_it_was() -> None:
    guard = Guard(len)
    for item in ([1, 2], {"a": 1}, "text", 3, None, iter([1]), Sink(), (1, [2])):
        before = guard.item_before(item)
        assert guard.item_after(item, before) is None


def test_nothing_is_raised_for_strange_callables() -> None:
    class Strange:
        __call__ = None

    class Loop:
        pass

    loop = Loop()
    loop.__dict__["__wrapped__"] = loop
    for fn in (
        Strange(),
        loop,
        functools.partial(functools.partial),
        type,
        object(),
        threading.Lock().acquire,
    ):
        guard = Guard(fn)
        guard.read()
        guard.before()
        assert guard.after() == ()


def test_code_made_by_exec_is_the_users() -> None:
    space: dict[str, Any] = {}
    exec("n = 0\ndef f(x):\n    global n\n    n += x\n", space)
    (hazard,) = read(space["f"])
    assert (hazard.name, hazard.where) == ("n", "<string>:4")


def test_a_function_of_an_installed_package_is_harmless() -> None:
    code = compile("n = 0\ndef f(x):\n    global n\n    n += x\n", "/x/site-packages/some/thing.py", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    assert read(space["f"]) == ()

    def calls(x: int) -> None:
        space["f"](x)

    assert read(calls) == ()


def test_a_global_of_main_travels_and_a_global_of_a_module_does_not() -> None:
    source = "import threading\nlock = threading.Lock()\ndef f(x):\n    with lock:\n        return x\n"
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    assert [(h.kind, h.name) for h in read(space["f"])] == [("cannot_travel", "lock")]
    module = type(sys)("whichpool_test_importable")
    exec(source, module.__dict__)
    sys.modules[module.__name__] = module
    try:
        assert read(module.f) == ()
    finally:
        del sys.modules[module.__name__]


def test_import_is_light() -> None:
    code = (
        "import sys; before = set(sys.modules); import whichpool._measure.hazards as h; h.read(len);"
        "h.read(lambda x: x + 1); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "whichpool._measure.hazards" in loaded
    assert not loaded & {"typing", "inspect", "dis", "dataclasses", "threading", "re", "whichpool._records"}
