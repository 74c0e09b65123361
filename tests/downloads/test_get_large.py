"""A file past 4 GB: places beyond 2**31 and 2**32 are right in ranges, answers, the journal and the file.

Only some of it is fetched: the rest of the part is a hole that its journal says to be there.
"""

from __future__ import annotations

import json
import os
from array import array
from itertools import pairwise

import pytest
from get_help import fetch_one, files

import whichpool
from whichpool.downloads.fetch import _source
from whichpool.downloads.folder import Folder
from whichpool.downloads.journal import Identity
from whichpool.downloads.part import Part
from whichpool.downloads.ranges import Ranges

TOTAL = 5 * 2**30 + 12_345
ETAG = '"v1"'
AROUND = 60_000
ENDS = [
    (0, AROUND),
    (2**31 - AROUND, 2**31 + AROUND),
    (2**32 - AROUND, 2**32 + AROUND),
    (TOTAL - AROUND, TOTAL),
]
"""What is missing."""


def made_up(first, end):
    """The bytes of the thing from ``first`` up to ``end``: every eight of them are their place."""
    whole = array("Q", range(first // 8, end // 8 + 1)).tobytes()
    return whole[first % 8 : first % 8 + end - first]


def serve_made_up(visit, cut=None):
    """A range, to its end or up to the byte ``cut`` of the thing."""
    first, last = visit.request.range
    last = TOTAL - 1 if last is None else last
    assert last - first < 4 * AROUND, "it was there already"
    assert visit.request.headers["if-range"] == ETAG
    visit.head(
        206,
        [
            ("Content-Length", str(last - first + 1)),
            ("Content-Range", f"bytes {first}-{last}/{TOTAL}"),
            ("ETag", ETAG),
        ],
    )
    if cut is not None and first < cut <= last:
        visit.body(made_up(first, cut), first)
        return False
    visit.body(made_up(first, last + 1), first)
    return True


@pytest.fixture
def begun(tmp_path):
    """Makes what an earlier run has left: all but `ENDS`."""

    def begin(url):
        where = Folder(str(tmp_path / "data"))
        place = where.place("large")
        part = Part(place)
        part.begin(Identity(_source(url), TOTAL, ETAG, ETAG))
        os.truncate(tmp_path / "data" / "large.part", TOTAL)
        there = Ranges([(one[1], other[0]) for one, other in pairwise(ENDS)])
        part._journal.add(there, part.identity)
        part._let_go()
        place.close()
        where.close()
        return tmp_path / "data"

    return begin


def is_right(path):
    with open(path, "rb") as file:
        assert os.fstat(file.fileno()).st_size == TOTAL
        for first, end in ENDS:
            file.seek(first)
            assert file.read(end - first) == made_up(first, end), first


def test_its_ends_are_fetched_and_nothing_else(server, begun):
    url = server.at("/large", serve_made_up)
    folder = begun(url)
    (receipt,) = whichpool.download([url], folder, digest="", segment_bytes=AROUND // 2)
    assert (receipt.outcome, receipt.bytes, receipt.resumed) == ("fetched", TOTAL, True)
    assert receipt.fetched_bytes == sum(end - first for first, end in ENDS)
    assert [(span.first, span.end) for span in server.spans] == ENDS
    assert [p.name for p in folder.iterdir()] == ["large"]
    is_right(folder / "large")


def test_the_journal_knows_places_beyond_4_gb(server, begun):
    """It breaks off behind 2**32, and goes on there."""
    cut = 2**32 + 1_234
    url = server.at("/large", lambda visit: serve_made_up(visit, cut))
    folder = begun(url)
    (receipt,) = whichpool.download([url], folder, digest="", retries=0)
    assert (receipt.failure, receipt.fetched_bytes) == ("broken", 3 * AROUND + AROUND + 1_234)
    lines = (folder / "large.part.journal").read_bytes().splitlines()
    have = Ranges([tuple(r) for line in lines[1:] for r in json.loads(line[9:])["have"]])
    assert have.missing(TOTAL) == [(cut, 2**32 + AROUND), ENDS[3]]
    server.at("/large", serve_made_up)
    (receipt,) = whichpool.download([url], folder, digest="")
    assert receipt.ok
    assert [span.first for span in server.spans[3:]] == [cut, TOTAL - AROUND]
    is_right(folder / "large")


@pytest.mark.parametrize("by", [2**32, -(2**32), 2**31])
def test_a_range_that_is_off_by_a_power_of_two_is_not_taken(server, begun, by):
    """As of a server that counts in 32 bits: it begins anew."""
    short = b"all of it"

    def wraps(visit):
        if visit.request.range is None:
            visit.answer(200, short, ETag='"v2"')
            return
        first, last = visit.request.range
        last = TOTAL - 1 if last is None else last
        visit.head(
            206,
            [
                ("Content-Length", str(last - first + 1)),
                ("Content-Range", f"bytes {max(0, first - by)}-{max(0, first - by) + last - first}/{TOTAL}"),
                ("ETag", ETAG),
            ],
        )
        visit.body(made_up(first, last + 1), first)

    url = server.at("/large", serve_made_up, serve_made_up, wraps)
    folder = begun(url)
    receipt = fetch_one(url, folder, retries=1, digest="")
    assert files(folder) == {"large": short}
    assert receipt.attempts == 2
