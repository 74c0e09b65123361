"""What the tests of downloads share."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import whichpool
from whichpool.downloads.records import Receipt, Request
from whichpool.downloads.resolve import Resolver

__all__ = ["digest", "fetch", "fetch_one", "files", "finished", "names", "only", "outside", "read"]

KINDS = {
    *(
        "gone",
        "refused",
        "nosuchhost",
        "unreachable",
        "timedout",
        "broken",
        "busy",
        "badredirect",
        "nottrusted",
    ),
    *("unsafe", "changed", "corrupt", "diskfailed", "downloadfailed", "unsupported"),
}


def digest(content: bytes, algorithm: str = "sha256") -> dict[str, str]:
    return {algorithm: hashlib.new(algorithm, content).hexdigest()}


def fetch(requests: list[str | Request], folder: Path, **settings: object) -> dict[str, Receipt]:
    """The receipts, by URL as asked for, after checks that hold for all: one for each, and what it says is so."""
    receipts = whichpool.download(requests, folder, **settings)
    assert len(receipts) == len(requests)
    for receipt in receipts:
        check(receipt, folder)
    urls = [r if isinstance(r, str) else r.url for r in requests]
    by_url = {r.url: r for r in receipts}
    if set(by_url) == set(urls):
        return by_url
    return dict(zip(urls, receipts, strict=True))  # with credentials in the URL they are another's


def fetch_one(request: str | Request, folder: Path, **settings: object) -> Receipt:
    return next(iter(fetch([request], folder, **settings).values()))


def check(receipt: Receipt, folder: Path) -> None:
    """A receipt against the folder."""
    assert receipt.outcome in {"fetched", "unchanged", "failed"}
    assert receipt.ok == (receipt.failure is None), receipt
    if not receipt.ok:
        assert receipt.failure in KINDS, receipt
        assert receipt.message, receipt
        assert receipt.attempts >= 1
        return
    assert receipt.path is not None, receipt
    path = folder / receipt.path
    assert not os.path.isabs(receipt.path), receipt
    assert ".." not in receipt.path.split("/"), receipt
    assert path.resolve().is_relative_to(folder.resolve()), receipt
    content = path.read_bytes()
    assert receipt.bytes == len(content), receipt
    for algorithm, value in receipt.digests.items():
        assert hashlib.new(algorithm, content).hexdigest() == value, receipt


def files(folder: Path) -> dict[str, bytes]:
    """All files in a folder, parts and journals too, by their path in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def finished(folder: Path) -> dict[str, bytes]:
    """Those that somebody would take for whole."""
    return {n: c for n, c in files(folder).items() if not n.endswith((".part", ".part.journal"))}


def only(folder: Path, expected: dict[str, bytes]) -> None:
    """These files are there with this content, and nothing else: no part, no journal."""
    found = files(folder)
    assert sorted(found) == sorted(expected)
    for name, content in expected.items():
        assert found[name] == content, f"{name} is not what was served"


def outside(folder: Path) -> set[str]:
    """What there is beside the folder, to see that it stays the same."""
    return {str(p) for p in folder.parent.rglob("*") if not p.is_relative_to(folder)}


def names(**where: str) -> Resolver:
    """A resolver that knows these names (``_`` stands for ``.``), and no other."""

    def ask(host: str, port: int, family: int, kind: int) -> list[tuple[object, ...]]:
        known = {name.replace("_", "."): address for name, address in where.items()}
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, kind, 6, "", (known[host], port))]

    return Resolver(ask)  # type: ignore[arg-type]


def read(answer, most=1 << 20):
    """The whole body."""
    parts = []
    while data := answer.read(most):
        parts.append(data)
    return b"".join(parts)
