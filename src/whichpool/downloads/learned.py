"""What each host could take, remembered between runs.

One small JSON file in the user's cache folder. It is a convenience: where it cannot be read or written, each run finds
out for itself, and nobody is told. Which folder that is: `whichpool.files.cache_folder`.
"""

from __future__ import annotations

import json
import os
import tempfile

from whichpool.files import cache_folder

__all__ = ["load", "store"]

FILE = "hosts.json"
MOST_HOSTS = 1_000
"""The latest are kept; a file of some 30 kB."""
MOST_BYTES = 1_000_000
"""More than this was not written here."""
MOST_AT_ONCE = 1_024
"""No limit that is believed is higher."""


def load() -> dict[str, int]:
    """Host -> files that were fetched from it at once."""
    path = _path()
    if path is None:
        return {}
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MOST_BYTES))
        return {
            host: at_once
            for host, at_once in found.items()
            if isinstance(host, str) and type(at_once) is int and 1 <= at_once <= MOST_AT_ONCE
        }
    except (OSError, ValueError, AttributeError):
        return {}


def store(learned: dict[str, int], before: dict[str, int]) -> None:
    """Keep what changed; two runs that end at once may lose what one of them has learned."""
    changed = {host: at_once for host, at_once in learned.items() if before.get(host) != at_once}
    path = _path()
    if not changed or path is None:
        return
    known = load()
    for host in changed:
        known.pop(host, None)  # so that it is among the latest
    known.update(changed)
    latest = dict(list(known.items())[-MOST_HOSTS:])
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=FILE)
    except OSError:
        return
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(latest, file)
        os.replace(new, path)
    except OSError:
        try:
            os.unlink(new)
        except OSError:
            pass


def _path() -> str | None:
    folder = cache_folder()
    return os.path.join(folder, FILE) if folder else None
