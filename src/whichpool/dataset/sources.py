"""From what the caller names to files in a fixed order, each with its format; and their bytes, decompressed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from whichpool import MissingExtra
from whichpool.dataset.failures import BadInput
from whichpool.dataset.records import Source
from whichpool.dataset.storage import find, is_remote, local_path, open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader
    from types import ModuleType
    from typing import Any

__all__ = ["FORMATS", "open_bytes", "pyarrow", "resolve"]

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
        source: A path, a URL that fsspec knows, a glob, a folder, or a list of these.
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
    if is_remote(path):
        return _remote(path, wanted, whole_files)
    path = local_path(path)
    if os.path.isdir(path):
        folders[path] = True
        found = sorted(_walk(path))
        kind = wanted or _of_folder(found, whole_files)
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


def _of_folder(names: list[str], whole_files: bool) -> str:
    """The format of a folder's files, where nobody says it: their own if it is one, else they are files."""
    kinds = {_by_name(name)[0] for name in names}
    single = kinds.pop() if len(kinds) == 1 else None
    return single if single in ("csv", "jsonl", "parquet") and not whole_files else "file"


def _remote(url: str, wanted: str | None, whole_files: bool) -> list[Source]:
    fs, found, is_folder = find(url)
    kind = wanted or (_of_folder([name for _, _, name, _, _ in found], whole_files) if is_folder else None)
    made = []
    for told, inner, name, size, version in found:
        own, compression = _by_name(name)
        of = kind or own or "file"
        if of in ("file", "parquet"):
            compression = None
        # One whose length is not told can only be read to its end.
        made.append(Source(told, of, size or 0, 0, compression, name, version, size is not None, inner, fs))
    return made


def _walk(folder: str) -> Iterator[str]:
    """The files in a folder and its folders, by their paths from there; hidden ones are left out."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield Path(place, name).relative_to(folder).as_posix()


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
    made = Source(path, kind, state.st_size, state.st_mtime_ns, compression, name)
    if compression:
        with open(path, "rb") as file:
            _check_magic(made, file.read(8))
    return made


@contextmanager
def open_bytes(source: Source) -> Iterator[BinaryIO]:
    """The content from its beginning, decompressed.

    Raises:
        BadInput: It is not compressed as its name says.
        RemoteFailed: It cannot be opened.
    """
    with open_file(source) as file:
        if source.compression is None:
            yield file
            return
        if source.fs is not None and source.compression is not None:
            begins = cast("BufferedReader", file).peek(len(MAGIC[source.compression]))
            _check_magic(source, begins)
        if source.compression == "gz":
            import gzip

            with gzip.open(file, "rb") as inner:
                yield cast("BinaryIO", inner)
        elif source.compression == "bz2":
            import bz2

            with bz2.open(file, "rb") as inner:
                yield cast("BinaryIO", inner)
        elif source.compression == "xz":
            import lzma

            with lzma.open(file, "rb") as inner:
                yield cast("BinaryIO", inner)
        else:
            arrow = pyarrow()
            with arrow.CompressedInputStream(arrow.PythonFile(file, "r"), "zstd") as inner:
                yield cast("BinaryIO", inner)


def _check_magic(source: Source, begins: bytes) -> None:
    compression = source.compression
    if compression and begins and not begins.startswith(MAGIC[compression]):
        raise BadInput(
            f"{source.path} is not what its name says: it does not begin as a .{compression} file does. If it was "
            f"decompressed on its way here, give it a name without .{compression}; else fetch it again"
        )
