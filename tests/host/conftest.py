"""Machines laid out in folders, and a `_host` that remembers nothing from other tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_layouts import Layout, lay_out

from whichpool import _host
from whichpool._host import costs


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return lambda files: lay_out(tmp_path / "root", files)


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WHICHPOOL_CORES", "WHICHPOOL_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WHICHPOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_host, "_seen", None)
    monkeypatch.setattr(costs, "_book", None)
