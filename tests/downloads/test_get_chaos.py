"""Files from a server that does something wrong at random, each a few times in a row: all arrive, and all are right."""

from __future__ import annotations

import os
import random

import hostile as h
from get_help import digest, fetch, only

from whichpool.downloads.records import Request

FILES = int(os.environ.get("WHICHPOOL_CHAOS_FILES", "60"))
"""More of them: ``WHICHPOOL_CHAOS_FILES=2000 pytest tests/downloads/test_get_chaos.py``."""
SEED = int(os.environ.get("WHICHPOOL_CHAOS_SEED", "20261125"))
MOST_FAULTS = 4


def faults(rng, body, wrong):
    """A fault that shows, whatever is known of the thing; ``wrong`` is another content of the same length."""
    answer = h.whole(body, [("ETag", '"v1"')])
    # Never the tag of the older version: nobody can tell two contents apart that have one strong tag and one length.
    etag = rng.choice(['"v1"', None, 'W/"v1"', '"v2"'])
    place = rng.randrange(len(body))
    return rng.choice(
        [
            lambda: h.cut(answer, rng.randrange(len(answer)), reset=rng.random() < 0.5),
            # An older version, not to its end: nothing of it may be in the file.
            lambda: never_whole(wrong, place, rng.choice(["reset", "close"])),
            lambda: h.serve(body, stop_at=place, then=rng.choice(["reset", "close"]), etag=etag),
            lambda: h.serve(body, stop_at=place, then="reset", ranges=False),
            lambda: h.status(rng.choice([408, 425, 429, 500, 502, 503, 504])),
            lambda: h.status(503, [("Retry-After", rng.choice(["0", "soon", "-1"]))]),
            lambda: h.broken_chunks(
                body, rng.choice([how for how in h.CHUNK_FAULTS if how != "no line end"])
            ),
            lambda: h.raw(rng.randbytes(rng.randrange(1, 300))),
            lambda: h.refuse,
            # The whole of the older version would be right without a digest: it has no whole.
            lambda: only_ranges(h.late_or_early(wrong, by=rng.choice([-7, 7]), etag='"v0"'), h.refuse),
        ]
    )()


def never_whole(wrong, place, then):
    """An older version up to that place, or to where it is gone on with: all of it would be a right file."""

    def script(visit):
        first = visit.request.range[0] if visit.request.range else 0
        h.serve(wrong, stop_at=max(place, first), then=then, etag='"v0"')(visit)

    return script


def only_ranges(script, otherwise):
    """What is wrong with ranges only; for all of it there is another."""
    return lambda visit: (otherwise if visit.request.range is None else script)(visit)


def test_chaos(server, tmp_path, noise):
    rng = random.Random(SEED)
    requests, content = [], {}
    for n in range(FILES):
        size = rng.choice([1_000, 60_000, 400_000])
        body, wrong = noise(size, seed=2 * n), noise(size, seed=2 * n + 1)
        scripts = [faults(rng, body, wrong) for _ in range(rng.randrange(MOST_FAULTS + 1))]
        url = server.at(f"/{n}", *scripts, h.serve(body))
        requests.append(Request(url, digests=digest(body) if rng.random() < 0.5 else {}))
        content[str(n)] = body
    receipts = fetch(requests, tmp_path / "data", retries=3 * MOST_FAULTS, segment_bytes=100_000)
    assert {url: r.message for url, r in receipts.items() if not r.ok} == {}
    only(tmp_path / "data", content)
