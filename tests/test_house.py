"""The house: imports point down its table only, and each room stays small enough to read."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import whichpool

PACKAGE = Path(whichpool.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
of_the_source = pytest.mark.once("reads the source, which is the same for all")

APPLICATIONS = {"cli", "report", "downloads", "dataset", "lab", "__main__"}
"""They are written against the public names, as a user's own program is."""

# Room -> the rooms that it may import. A path names one module of a room.
MAY_IMPORT: dict[str, set[str]] = {
    "_executor": {"_pool", "_run", "errors", "_records", "_record"},
    "_pool": {"_api", "_run", "errors", "_records", "_record"},
    "_api": {"_run", "_measure", "_choose", "_pools", "_worker", "_host", "errors", "_records", "_record"},
    "_run": {
        "_measure",
        "_choose",
        "_pools",
        "_worker",
        "_host",
        "errors",
        "files",
        "sizes",
        "_records",
        "_record",
    },
    "_measure": {"_worker", "_host", "errors", "_records", "_record"},
    "_choose": {"_records", "_record"},
    "_pools": {"_worker", "_host", "errors", "_records", "_record"},
    "_worker": set(),
    "_host": {"errors", "files", "_records", "_record"},
    "errors": set(),
    "files": set(),
    "sizes": {"errors"},
    "trees": {"_worker"},
    "_records": {"_record"},
    "_record": set(),
}

# The public face loads its parts at first use, by name; and a record that is printed asks the application that prints
# records. Both point up or out on purpose, at call time only.
ALLOWED_ARROWS = {("_records", "report")}

MAX_LINES = 500
"""A module reads in one sitting."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """``_pools.fleet`` -> ``_pools``; the package itself -> ``""``."""
    return name.split(".", 1)[0]


@cache
def imports_of(path: Path) -> set[tuple[str, str]]:
    """What a module imports, anywhere in it, for its types included: ``(dotted name, name taken from it or "")``."""
    name = module_name(path)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["whichpool", *package][: len(package) + 2 - node.level]
                base = ".".join([*above, base] if base else above)
            found |= {(base, alias.name) for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, without the ``whichpool.``; the package itself is ``""``."""
    found = set()
    for module, taken in imports_of(path):
        if module != "whichpool" and not module.startswith("whichpool."):
            continue
        inner = module[len("whichpool.") :]
        as_module = f"{inner}.{taken}" if inner else taken
        place = PACKAGE.joinpath(*as_module.split("."))
        is_module = bool(taken) and (place.with_suffix(".py").exists() or (place / "__init__.py").exists())
        found.add(as_module if is_module else inner)
    return found


def test_the_walk_sees_the_package():
    names = {module_name(path) for path in MODULES}
    assert {"", "_records", "errors", "_api", "_choose.conductor"} <= names
    assert "_records" in own_imports(PACKAGE / "_choose" / "bounds.py")


@of_the_source
@pytest.mark.parametrize("path", MODULES, ids=lambda path: module_name(path) or "whichpool")
def test_imports_point_down(path):
    name = module_name(path)
    room = room_of(name)
    wrong = []
    for target in own_imports(path):
        if room == "" or room_of(target) == room or (room, room_of(target)) in ALLOWED_ARROWS:
            continue
        if room in APPLICATIONS:
            if room_of(target).startswith("_") and target != "__version__":
                wrong.append(f"{name} is an application and imports the private {target}")
            continue
        allowed = MAY_IMPORT.get(room)
        assert allowed is not None, f"{name} is in a room that the table does not have"
        if not any(target == door or target.startswith(door + ".") for door in allowed):
            wrong.append(f"{name} -> {target or 'the public names'}")
    assert not wrong, "arrows that point up:\n" + "\n".join(sorted(wrong))


@of_the_source
@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if room_of(module_name(p)) in APPLICATIONS],
    ids=lambda path: module_name(path),
)
def test_applications_take_no_private_name(path):
    taken = {f"{module}.{name}" for module, name in imports_of(path) if module.startswith("whichpool")}
    private = {
        name for name in taken if any(part.startswith("_") and part[1] != "_" for part in name.split("."))
    }
    room = room_of(module_name(path))
    assert not {name for name in private if not name.startswith(f"whichpool.{room}")}
    text = path.read_text("utf-8")
    assert not re.findall(r"\bwhichpool\._(?!_)\w+", text)


# What it is for is to add to cloudpickle; the others load it only when a function travels by value.
ADDS_TO_CLOUDPICKLE = {"_worker.byvalue"}


@of_the_source
@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(module_name(p)) == "_worker"], ids=lambda path: module_name(path)
)
def test_the_worker_needs_the_standard_library_only(path):
    import sys

    # What a message needs is imported when it comes; cloudpickle reads the functions, and may not be needed at all.
    allowed = set(sys.stdlib_module_names) | {"whichpool", "cloudpickle", "threadpoolctl", "numpy"}
    top = {module.split(".")[0] for module, _ in imports_of(path)}
    assert top <= allowed
    at_import = {
        name
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    }
    if module_name(path) in ADDS_TO_CLOUDPICKLE:
        return
    assert not at_import & {"cloudpickle", "threadpoolctl", "numpy"}
    assert not {name for name in at_import if name and name.split(".")[-1] in {"byvalue"}}, (
        "loads cloudpickle at its top"
    )


@of_the_source
def test_the_chooser_is_pure():
    forbidden = {
        "time",
        "threading",
        "_thread",
        "random",
        "os",
        "io",
        "socket",
        "subprocess",
        "select",
        "asyncio",
    }
    for path in PACKAGE.joinpath("_choose").glob("*.py"):
        used = {module.split(".")[0] for module, _ in imports_of(path)} & forbidden
        assert not used, f"{path.name} imports {used}"


# They read /proc outside the room for it, and why they may.
READS_PROC = {"_worker.delay": "runs in the worker as well, which imports the standard library only"}


@of_the_source
def test_only_the_host_room_reads_the_system():
    """`/proc` and `/sys` are read in one room."""
    for path in MODULES:
        if room_of(module_name(path)) in {"_host", *APPLICATIONS} or module_name(path) in READS_PROC:
            continue
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not {text for text in strings if text.startswith(("/proc/", "/sys/"))}, path


@of_the_source
@pytest.mark.parametrize("path", MODULES, ids=lambda path: module_name(path) or "whichpool")
def test_a_module_reads_in_one_sitting(path):
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@of_the_source
def test_every_module_says_what_it_is_for():
    silent = [module_name(p) for p in MODULES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not silent


def test_no_empty_folders():
    folders = [p for p in PACKAGE.rglob("*") if p.is_dir() and p.name != "__pycache__"]
    assert not [folder for folder in folders if not any(folder.rglob("*.py"))]


def test_public_names_are_there():
    assert whichpool.__all__ == sorted(whichpool.__all__)
    for name in whichpool.__all__:
        assert getattr(whichpool, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        whichpool.nonsense  # noqa: B018  # looking it up is the test
    assert dir(whichpool) == whichpool.__all__


def test_public_functions_are_documented():
    for name in whichpool.__all__:
        thing = getattr(whichpool, name)
        if callable(thing):
            assert thing.__doc__, name


# Words that promise without saying, and notes to oneself.
UNWANTED = re.compile(r"\b(TODO|FIXME|XXX|HACK|blazing\w*|seamless\w*|effortless\w*|simply|obviously)\b")


@of_the_source
@pytest.mark.parametrize("path", MODULES, ids=lambda path: module_name(path) or "whichpool")
def test_no_unwanted_words(path):
    assert not UNWANTED.findall(path.read_text("utf-8"))
