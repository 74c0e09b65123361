"""Write a machine's files into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

Layout = Callable[[Mapping[str, str]], str]


def lay_out(root: Path, files: Mapping[str, str]) -> str:
    """Write files of absolute paths below a root; return the root as the readers take it."""
    for path, text in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return str(root)
