"""What the demo runs: four functions of the kinds that people have in their loops.

They live in a module of their own, like anybody's functions, so that worker processes import no more than
this.
"""

from __future__ import annotations

__all__ = ["compress", "count_names", "fetch", "fetch_and_count", "merge"]

# The lzma level: 6, the default, takes 94 MB in each worker for files of 18 kB; 4 takes 48 MB (manual of xz).
# The levels below 4 are so quick that there is nothing to see (0.9 ms a file, 4: 2.3 ms; 2-core Linux,
# November 2026).
_LEVEL = 4
# A local server that has not answered by then is gone. Seconds.
_TIMEOUT_S = 30.0


def fetch(address: tuple[int, str]) -> bytes:
    """Get one file from the demo's server: the thread waits, and hardly computes.

    Args:
        address: The server's port on this machine, and the path to ask for.
    """
    from http.client import HTTPConnection

    port, path = address
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"the demo's server answered {response.status} {response.reason} to {path}")
    return body


def count_names(path: str) -> dict[str, int]:
    """Parse one source file and count the names in it: pure Python, the GIL is held all the time."""
    with open(path, "rb") as file:
        return _names(file.read())


def compress(path: str) -> tuple[int, int]:
    """Compress one file: the GIL is released meanwhile.

    Returns:
        The compressed size in bytes, and a checksum of it.
    """
    from lzma import compress as lzma_compress
    from zlib import crc32

    with open(path, "rb") as file:
        packed = lzma_compress(file.read(), preset=_LEVEL)
    return len(packed), crc32(packed)


def fetch_and_count(address: tuple[int, str]) -> dict[str, int]:
    """Both: wait for the server, then hold the GIL."""
    return _names(fetch(address))


def merge(tables: list[dict[str, int]]) -> dict[str, int]:
    """One table of names from many."""
    total: dict[str, int] = {}
    for table in tables:
        for name, times in table.items():
            total[name] = total.get(name, 0) + times
    return total


def _names(source: bytes) -> dict[str, int]:
    import ast

    found: dict[str, int] = {}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        # Python's own tests have files that are there to be wrong; they have no names.
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found[node.id] = found.get(node.id, 0) + 1
    return found
