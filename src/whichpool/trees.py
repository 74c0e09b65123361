"""How values become one, whoever was first: for applications that combine as `map_reduce` does, but elsewhere."""

from whichpool._worker.calls import NOTHING, Tree

__all__ = ["NOTHING", "Tree"]
