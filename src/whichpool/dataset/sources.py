"""From what the caller names to files in a fixed order, each with its format; and their bytes, decompressed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from glob import glob, has_magic
from typing import TYPE_CHECKING, BinaryIO, cast

from whichpool import MissingExtra
from whichpool.dataset.failures import BadInput
from whichpool.dataset.hints import check_regular, suggestion
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
    found = _Found(wanted, whole_files)
    each: Iterable[Any] = source if isinstance(source, (list, tuple)) else [source]
    for one in each:
        found.add(one)
    sources = found.sources
    if not sources:
        raise BadInput(f"{source!r} names no files")
    formats = sorted({each.format for each in sources})
    if len(formats) > 1:
        raise BadInput(f"the input has files of several formats: {', '.join(formats)}; give one, or format=")
    return sources, found.folders


class _Found:
    """The files of the input. One that is found by a glob or in a folder is taken once, whatever else finds it."""

    def __init__(self, wanted: str | None, whole_files: bool) -> None:
        self.sources: list[Source] = []
        self.folders: dict[str, bool] = {}
        self._wanted = wanted
        self._whole_files = whole_files
        self._named: set[str] = set()
        self._looked_up: set[str] = set()
        self._real: dict[str, str] = {}  # of each folder, where it is: a look at each one above it

    def add(self, one: Any) -> None:
        """What one entry of the input names."""
        try:
            path = os.fspath(one)
        except TypeError:
            raise BadInput(f"an input is a path, or a list of paths, not a {type(one).__name__}") from None
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not path:
            raise BadInput("the name of an input is empty")
        if is_remote(path):
            self._add_remote(path)
            return
        path = local_path(path)
        if os.path.isdir(path):
            self.folders[path] = True
            names = sorted(_walk(path))
            if not names:
                raise BadInput(f"there is no file in the folder {path} (hidden ones are left out)")
            kind = self._wanted or _of_folder(names, self._whole_files)
            begins = os.path.join(path, "")
            for name in names:
                if self._is_new(place := begins + name):
                    self.sources.append(_source(place, kind, name))
        elif not os.path.lexists(path) and has_magic(path):
            places = [place for place in sorted(glob(path, recursive=True)) if not os.path.isdir(place)]
            if not places:
                raise BadInput(f"no file matches {path!r}{suggestion(path)}")
            for place in places:
                self.folders.setdefault(os.path.dirname(place) or ".", False)
                if self._is_new(place):
                    self.sources.append(_source(place, self._wanted, os.path.basename(place)))
        elif not os.path.lexists(path):
            raise BadInput(f"there is no file {path}{suggestion(path)}")
        elif self._is_new(path, named=True):
            self.sources.append(_source(path, self._wanted, os.path.basename(path)))

    def _is_new(self, path: str, *, named: bool = False) -> bool:
        """Whether it is to be taken; what is named twice by itself is meant twice.

        Folders may be links to one another, and a glob follows them round and round.
        """
        key = path
        if not is_remote(path):
            folder, name = os.path.split(path)
            real = self._real.get(folder)
            if real is None:
                real = self._real[folder] = os.path.join(os.path.realpath(folder), "")
            key = real + name
        if key in self._looked_up or (not named and key in self._named):
            return False
        (self._named if named else self._looked_up).add(key)
        return True

    def _add_remote(self, url: str) -> None:
        fs, found, several = find(url)
        is_folder = several and not has_magic(url)
        names = [name for _, _, name, _, _ in found]
        kind = self._wanted or (_of_folder(names, self._whole_files) if is_folder else None)
        for told, inner, name, size, version in found:
            own, compression = _by_name(name)
            of = kind or own or "file"
            if of in ("file", "parquet"):
                compression = None
            if self._is_new(told, named=not several):
                # One whose length is not told can only be read to its end.
                known = size is not None
                self.sources.append(
                    Source(told, of, size or 0, 0, compression, name, version, known, inner, fs)
                )


def _of_folder(names: list[str], whole_files: bool) -> str:
    """The format of a folder's files, where nobody says it: their own if it is one, else they are files."""
    single = _by_name(names[0])[0]
    if whole_files or single not in ("csv", "jsonl", "parquet"):
        return "file"
    return single if all(_by_name(name)[0] == single for name in names) else "file"


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
    kind, compression = wanted, None
    if kind not in ("file", "parquet"):
        found, compression = _by_name(path)
        kind = wanted or found or "file"
        if kind in ("file", "parquet"):
            compression = None
    state = check_regular(path)
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
        if source.fs is not None:
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
    magic = MAGIC[source.compression] if source.compression else b""
    if begins[: len(magic)] != magic[: len(begins)]:
        raise BadInput(
            f"{source.path} is not what its name says: it does not begin as a .{source.compression} file does. If it "
            f"was decompressed on its way here, give it a name without .{source.compression}; else fetch it again"
        )
