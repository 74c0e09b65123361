"""A file system of a program's own, registered with fsspec, which workers can import."""

from __future__ import annotations

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Shelf(LocalFileSystem):
    """``shelf:///folder/file``: as on the disk; where ``DOWN`` is beside a file, its end cannot be had."""

    protocol = ("shelf",)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(os.fspath(path).removeprefix("shelf://"))

    def unstrip_protocol(self, name):
        return f"shelf://{self._strip_protocol(name)}"

    def cat_file(self, path, start=None, end=None, **kwargs):
        if start and start > 500 and os.path.exists(os.path.join(os.path.dirname(path), "DOWN")):
            raise ConnectionError("the line to shelf://me:secret@host is cut")
        return super().cat_file(path, start, end, **kwargs)


fsspec.register_implementation("shelf", Shelf, clobber=True)
