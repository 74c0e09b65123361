"""A real server behind a line that delays, stalls, cuts and resets connections at random: all arrives, whole."""

from __future__ import annotations

import os
from pathlib import Path

from get_help import digest, fetch, only

from whichpool.downloads import manners
from whichpool.downloads.records import Request

SEED = int(os.environ.get("WHICHPOOL_CHAOS_SEED", "20261125"))


def test_a_real_server_behind_a_bad_line(nginx, lossy, tmp_path, certificates, monkeypatch):
    """Small files encrypted, a large one plain; every second with a digest."""
    monkeypatch.setattr(manners, "FIRST_WAIT_S", 0.0)
    plain, encrypted = (
        lossy(int(origin.rpartition(":")[2]), SEED, every)
        for origin, every in ((nginx.http, 8_000_000), (nginx.https, 10_000))
    )
    names = ["large.bin"] + [f"small/{n:04}.bin" for n in range(0, 300, 10)]
    content = {Path(name).name: (nginx.root / name).read_bytes() for name in names}
    large = f"http://127.0.0.1:{plain.port}/large.bin"
    urls = [large] + [f"https://127.0.0.1:{encrypted.port}/{name}" for name in names[1:]]
    requests = [
        Request(url, digests=digest(body) if n % 2 else {})
        for n, (url, body) in enumerate(zip(urls, content.values(), strict=True))
    ]
    receipts = fetch(
        requests,
        tmp_path / "data",
        ca_bundle=certificates.bundle,
        retries=40,
        stall_s=0.2,
        stall_bytes=1000,
        first_byte_s=0.2,
        connect_s=1.0,
    )
    assert {url: r.message for url, r in receipts.items() if not r.ok} == {}
    only(tmp_path / "data", content)
    assert plain.losses > 2, plain.done
    assert encrypted.losses > 2, encrypted.done
    assert receipts[large].resumed
    assert receipts[large].fetched_bytes == len(content["large.bin"])  # no byte was written twice
