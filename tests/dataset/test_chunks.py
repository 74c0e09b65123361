"""The bytes of a split go when nobody needs them any more, without waiting for the collector of cycles."""

from __future__ import annotations

import gc
import weakref

import pytest

from whichpool.dataset.bad import Rejects
from whichpool.dataset.chunks import chunks
from whichpool.dataset.readers import read
from whichpool.dataset.records import Reading, Split
from whichpool.dataset.sources import resolve


@pytest.mark.parametrize("batch", ["dicts", "lines", "bytes"])
def test_a_chunk_is_gone_with_its_last_batch(csv_file, batch):
    (source,), _ = resolve(csv_file)
    split = Split(0, (source,), 9, 2000, names=("id", "x", "f", "t"))
    reading = Reading(batch)
    gc.collect()
    gc.disable()
    try:
        chunk = next(chunks(split, reading))
        chunk.span(1)
        seen = weakref.ref(chunk)
        del chunk
        assert seen() is None
        batches = list(read(split, reading, Rejects(split, "skip")))
        kept = [weakref.ref(each.chunk) for each in batches if each.chunk is not None]
        del batches
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()
