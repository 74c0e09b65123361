"""What worker processes have in the place of pytest, whose import takes 80 to 125 ms of CPU (measured with getrusage).

A worker imports the test module whose function it runs, and of pytest needs only what stands at that module's top:
marks and fixtures, which mean nothing there. `tests/conftest.py` puts this folder first on ``sys.path``, which workers
take over; the test run itself has loaded the real one long before. Whatever else a function calls of pytest *in* a
worker is not here, and fails with an AttributeError.
"""

from __future__ import annotations

from importlib import import_module

__all__ = ["fixture", "importorskip", "mark", "param"]


def fixture(function=None, **options):
    """Leaves the function as it is."""
    return function or (lambda its: its)


def param(*values, **options):
    """For the lists of `parametrize`, which nobody reads."""
    return values


def importorskip(name, *args, **options):
    """In the test run it was there."""
    return import_module(name)


class _Mark:
    def __getattr__(self, name):
        return lambda *args, **options: lambda its: its


mark = _Mark()
