"""The nginx of the tests is there and serves; without it, CI fails."""

from __future__ import annotations

import urllib.request


def test_it_serves(nginx):
    with urllib.request.urlopen(nginx.http + "/small/0007.bin", timeout=20) as answer:
        assert answer.read() == (nginx.root / "small" / "0007.bin").read_bytes()
        assert answer.headers["ETag"]
        assert answer.headers["Accept-Ranges"] == "bytes"
