"""The chooser is loaded while the work runs: whatever it imports, the work waits for (the GIL)."""

from __future__ import annotations

import subprocess
import sys

# 3-15 ms together on a 2-core machine, CPython 3.11.
DEAR = {"dataclasses", "enum", "inspect", "re", "typing"}


def test_it_loads_nothing_dear() -> None:
    # -S: nothing of `site`, and of what .pth files in it import, is loaded before.
    code = "import sys; sys.path[:] = eval(sys.argv[1]); import whichpool._choose; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code, repr(sys.path)]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "whichpool._choose.conductor" in loaded
    assert not loaded & DEAR
