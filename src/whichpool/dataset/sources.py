"""From what the caller names to files in a fixed order, each with its format; and their bytes, decompressed."""

from __future__ import annotations

import os
from glob import glob, has_magic
from typing import TYPE_CHECKING, BinaryIO, cast

from whichpool import MissingExtra
from whichpool.dataset.failures import BadInput, InputChanged
from whichpool.dataset.records import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType
    from typing import Any

__all__ = ["FORMATS", "check_unchanged", "open_bytes", "pyarrow", "resolve"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".log": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
}
NAMES = ("csv", "jsonl", "text", "parquet", "file")
# What a compressed file begins with.
MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00", "zst": b"\x28\xb5\x2f\xfd"}


def pyarrow(part: str = "") -> ModuleType:
    """The module, or one of its parts (``"parquet"``).

    Raises:
        MissingExtra: It is not installed.
    """
    from importlib import import_module

    try:
        return import_module("pyarrow" + (f".{part}" if part else ""))
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "this needs pyarrow: pip install 'whichpool[data]' (text, JSON lines and CSV as dicts, lines or bytes, "
            "and folders of files, work without it)"
        ) from error


def resolve(
    source: Any, wanted: str | None = None, *, whole_files: bool = False
) -> tuple[list[Source], dict[str, bool]]:
    """The files of the input, in order: a list as it is given; a glob and a folder by their names.

    Args:
        source: A path, a glob, a folder, or a list of these.
        wanted: The format of all the files; ``None``: by their names.
        whole_files: The function takes whole files, so the files of a folder are not looked into.

    Returns:
        The files, and the folders that they were found in: whether all that is in it is input.

    Raises:
        BadInput: Nothing is there, or files of several formats.
    """
    if wanted is not None and wanted not in NAMES:
        raise BadInput(f"format must be one of {', '.join(NAMES)}, not {wanted!r}")
    sources: list[Source] = []
    folders: dict[str, bool] = {}
    each: Iterable[Any] = source if isinstance(source, (list, tuple)) else [source]
    for one in each:
        sources += _files(one, wanted, whole_files, folders)
    if not sources:
        raise BadInput(f"{source!r} names no files")
    formats = sorted({each.format for each in sources})
    if len(formats) > 1:
        raise BadInput(f"the input has files of several formats: {', '.join(formats)}; give one, or format=")
    return sources, folders


def _files(one: Any, wanted: str | None, whole_files: bool, folders: dict[str, bool]) -> list[Source]:
    try:
        path = os.fspath(one)
    except TypeError:
        raise BadInput(f"an input is a path, not a {type(one).__name__}") from None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if "://" in path:
        raise BadInput(f"{path} is not a local file: fetch it first, or mount the store that it is in")
    if os.path.isdir(path):
        folders[path] = True
        found = sorted(_walk(path))
        kind = wanted
        if kind is None:
            kinds = {_by_name(name)[0] for name in found}
            single = kinds.pop() if len(kinds) == 1 else None
            kind = single if single in ("csv", "jsonl", "parquet") and not whole_files else "file"
        return [_source(os.path.join(path, name), kind, name) for name in found]
    if not os.path.exists(path) and has_magic(path):
        names = sorted(name for name in glob(path, recursive=True) if os.path.isfile(name))
        if not names:
            raise BadInput(f"no file matches {path!r}")
        for name in names:
            folders.setdefault(os.path.dirname(name) or ".", False)
        return [_source(name, wanted, os.path.basename(name)) for name in names]
    if not os.path.exists(path):
        raise BadInput(f"there is no file {path}")
    return [_source(path, wanted, os.path.basename(path))]


def _walk(folder: str) -> Iterator[str]:
    """The files in a folder and its folders, by their paths from there; hidden ones are left out."""
    above = len(os.path.join(folder, ""))
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        inside = os.path.join(place, "")[above:].replace(os.sep, "/")
        for name in names:
            if not name.startswith("."):
                yield inside + name


def _by_name(path: str) -> tuple[str | None, str | None]:
    """The format and the compression, as the name says them."""
    stem, suffix = os.path.splitext(path.lower())
    compression = suffix[1:] if suffix[1:] in MAGIC else None
    if compression:
        suffix = os.path.splitext(stem)[1]
    return FORMATS.get(suffix), compression


def _source(path: str, wanted: str | None, name: str) -> Source:
    kind, compression = _by_name(path)
    kind = wanted or kind or "file"
    if kind in ("file", "parquet"):
        compression = None
    state = os.stat(path)
    if compression and state.st_size:
        with open(path, "rb") as file:
            if not file.read(8).startswith(MAGIC[compression]):
                raise BadInput(
                    f"{path} is not what its name says: it does not begin as a .{compression} file does"
                )
    return Source(path, kind, state.st_size, state.st_mtime_ns, compression, name)


def check_unchanged(source: Source) -> None:
    """Whether the file is still the one that was looked at.

    Raises:
        InputChanged: Its size or the time of its last change is another.
    """
    try:
        state = os.stat(source.path)
    except FileNotFoundError:
        raise InputChanged(f"{source.path} was removed while it was being read") from None
    if (state.st_size, state.st_mtime_ns) != (source.size_bytes, source.mtime_ns):
        raise InputChanged(
            f"{source.path} changed while it was being read (it had {source.size_bytes:,} bytes, "
            f"and has {state.st_size:,} now): run again when it is complete"
        )


def open_bytes(source: Source) -> BinaryIO:
    """The content from its beginning, decompressed."""
    if source.compression == "gz":
        import gzip

        return cast("BinaryIO", gzip.open(source.path, "rb"))
    if source.compression == "bz2":
        import bz2

        return cast("BinaryIO", bz2.open(source.path, "rb"))
    if source.compression == "xz":
        import lzma

        return cast("BinaryIO", lzma.open(source.path, "rb"))
    if source.compression == "zst":
        arrow = pyarrow()
        return cast("BinaryIO", arrow.CompressedInputStream(arrow.OSFile(source.path), "zstd"))
    return open(source.path, "rb")
