"""`import whichpool` costs next to nothing: what a program does not use is never loaded."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

LIMIT_S = 0.025
"""The promise: no more than this beyond the bare interpreter."""

HEAVY = {
    "click",
    "cloudpickle",
    "concurrent.futures",
    "dataclasses",
    "multiprocessing",
    "numpy",
    "pickle",
    "rich",
    "socket",
    "threading",
    "threadpoolctl",
    "typing",
}


def run(code: str) -> str:
    # -I -S would be barer still, but then the installed package could not be found.
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def modules_after(code: str) -> set[str]:
    return set(json.loads(run(f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))")))


def test_import_loads_nothing_heavy():
    added = modules_after("import whichpool") - modules_after("")
    assert "whichpool" in added
    assert not added & HEAVY
    assert {name for name in added if name.startswith("whichpool")} == {"whichpool"}


def test_import_takes_less_than_the_limit():
    # Timed inside fresh interpreters, so that the interpreter's own start, longer and noisier, is not in it.
    code = "from time import perf_counter as now; a = now(); import whichpool; print(now() - a)"
    bare = "from time import perf_counter as now; a = now(); print(now() - a)"
    with_it, without = [], []
    for _ in range(5):  # interleaved, so that a busy moment falls on both
        with_it.append(float(run(code)))
        without.append(float(run(bare)))
    assert statistics.median(with_it) - statistics.median(without) < LIMIT_S


def test_the_version_needs_nothing_else():
    assert run("import whichpool; print(whichpool.__version__)").strip().count(".") == 2
