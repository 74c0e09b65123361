"""What was fetched is gone on with if it is certain that it is the same thing; nothing is ever put together of two."""

from __future__ import annotations

import gzip
import itertools
import os
import time

import hostile as h
import pytest
from get_help import digest, fetch, fetch_one, files, finished, only

from whichpool.downloads import manners
from whichpool.downloads.records import Request

SIZE = 3_000_000
CUT = 2_000_000
SOME_BYTES = 1_500_000
"""What may be fetched twice after a cut at `CUT`: what was not on the disk yet."""
LONG_AGO = 1_600_000_000


@pytest.fixture
def body(noise):
    return noise(SIZE)


@pytest.fixture
def other(noise):
    """Another version, of the same length."""
    return noise(SIZE, seed=1)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def half(server, folder, path="/a", body=None, request=None, **how):
    """A first run that got to `CUT`, and no further: the parts are in the folder."""
    url = server.at(path, h.serve(body, stop_at=CUT, then="reset", **how))
    receipt = fetch_one(request or url, folder, retries=0)
    assert receipt.failure == "broken"
    assert finished(folder) == {}
    return url


def ranges(server, path="/a"):
    return [r.range for r in server.asked(path)]


def test_a_try_goes_on_where_the_last_one_ended(server, folder, body):
    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), h.serve(body))
    receipt = fetch_one(url, folder)
    assert (receipt.outcome, receipt.attempts, receipt.resumed) == ("fetched", 2, True)
    first, second = server.asked("/a")
    assert first.range is None
    assert CUT - SOME_BYTES <= second.range[0] <= CUT
    assert second.headers["if-range"] == '"v1"'
    assert server.twice("/a") <= SOME_BYTES
    only(folder, {"a": body})


def test_a_run_goes_on_where_the_last_one_ended(server, folder, body):
    url = half(server, folder, body=body)
    server.at("/a", h.serve(body))
    receipt = fetch_one(url, folder)
    assert (receipt.outcome, receipt.attempts, receipt.resumed) == ("fetched", 1, True)
    assert SIZE - CUT <= receipt.fetched_bytes <= SIZE - CUT + SOME_BYTES
    assert receipt.digests["sha256"] == digest(body)["sha256"]
    assert server.asked("/a")[-1].headers["if-range"] == '"v1"'
    only(folder, {"a": body})


def test_many_cuts_come_to_an_end(server, folder, body):
    cuts = [
        h.serve(body, stop_at=n, then="reset" if n % 2 else "close") for n in range(500_001, SIZE, 700_000)
    ]
    url = server.at("/a", *cuts, h.serve(body))
    assert fetch_one(url, folder, retries=len(cuts)).ok
    only(folder, {"a": body})


def test_the_last_byte_alone(server, folder, body):
    url = server.at("/a", h.serve(body, stop_at=SIZE - 1, then="close"), h.serve(body))
    assert fetch_one(url, folder).ok
    only(folder, {"a": body})


def test_last_modified_is_a_validator_if_it_is_old(server, folder, body):
    url = half(server, folder, body=body, etag=None, last_modified=LONG_AGO)
    server.at("/a", h.serve(body, etag=None, last_modified=LONG_AGO))
    assert fetch_one(url, folder).resumed
    assert server.asked("/a")[-1].headers["if-range"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    only(folder, {"a": body})


UNSURE = {
    "nothing": {"etag": None},
    "a weak tag": {"etag": 'W/"v1"'},
    "a date of now": {"etag": None, "last_modified": "now"},
    "no tag in fact": {"etag": "not quoted"},
    "a date, and nothing to compare it with": {"etag": None, "last_modified": LONG_AGO, "drop": ["Date"]},
}


def two_versions(server, folder, runs, versions):
    """For each, a first version that is cut and a second: in one run, or in two. The second is what must be there."""
    urls = [server.at(f"/{n}", *scripts) for n, scripts in enumerate(versions.values())]
    if runs == 2:
        assert {r.failure for r in fetch(urls, folder, retries=0).values()} == {"broken"}
    receipts = fetch(urls, folder)
    failures = {what: receipts[url].failure for what, url in zip(versions, urls, strict=True)}
    assert failures == dict.fromkeys(versions)
    found = files(folder)
    assert sorted(found) == sorted(str(n) for n in range(len(urls)))
    return {what: found[str(n)] for n, what in enumerate(versions)}


@pytest.mark.parametrize("runs", [1, 2], ids=["tries", "runs"])
def test_nothing_is_gone_on_with_that_could_be_another(server, folder, body, other, runs):
    """No strong validator: the second version has the same tag or date, and the server gives any range of it."""
    versions = {}
    for what, how in UNSURE.items():
        if how.get("last_modified") == "now":
            how = {**how, "last_modified": int(time.time())}
        versions[what] = h.serve(body, stop_at=CUT, then="reset", **how), h.serve(other, honest=False, **how)
    got = two_versions(server, folder, runs, versions)
    assert [what for what, content in got.items() if content != other] == []


CHANGED = {
    "tag": ({}, {"etag": '"v2"'}),
    "tag, not honest": ({}, {"etag": '"v2"', "honest": False}),
    "tag became weak": ({}, {"etag": 'W/"v1"', "honest": False}),
    "tag went": ({}, {"etag": None, "honest": False}),
    "date": ({"etag": None, "last_modified": LONG_AGO}, {"etag": None, "last_modified": LONG_AGO + 5}),
    "date, not honest": (
        {"etag": None, "last_modified": LONG_AGO},
        {"etag": None, "last_modified": LONG_AGO + 5, "honest": False},
    ),
    "older date, not honest": (
        {"etag": None, "last_modified": LONG_AGO},
        {"etag": None, "last_modified": LONG_AGO - 5, "honest": False},
    ),
    "no ranges any more": ({}, {"etag": '"v2"', "ranges": False}),
    "same tag, no ranges": ({}, {"ranges": False}),
}


@pytest.mark.parametrize("runs", [1, 2], ids=["tries", "runs"])
def test_what_has_changed_is_fetched_as_a_whole(server, folder, body, other, runs):
    versions = {
        what: (h.serve(body, stop_at=CUT, then="reset", **before), h.serve(other, **after))
        for what, (before, after) in CHANGED.items()
    }
    got = two_versions(server, folder, runs, versions)
    assert [what for what, content in got.items() if content != other] == []


@pytest.mark.parametrize("size", [1_000, CUT - 1, CUT, CUT + 1, SIZE + 1, SIZE * 2, 0])
def test_what_has_another_length_now(server, folder, body, noise, size):
    """Shorter than what is there, and longer than it was; under the same tag."""
    other = noise(size, seed=2)
    url = half(server, folder, body=body)
    server.at("/a", h.serve(other))
    assert fetch_one(url, folder).ok
    only(folder, {"a": other})


WRONG_RANGES = {
    "early": {"by": -1_000},
    "late": {"by": 1_000},
    "from the start": {"by": -SIZE},
    "another total": {"total": SIZE + 1},
    "a smaller total": {"total": 10},
    "no Content-Range": {"said": ""},
    "garbage": {"said": "all of it"},
    "another unit": {"said": f"lines {CUT}-{SIZE - 1}/{SIZE}"},
    "backwards": {"said": f"bytes {SIZE - 1}-{CUT}/{SIZE}"},
    "unsatisfied": {"said": f"bytes */{SIZE}"},
    "negative": {"said": f"bytes -{CUT}-{SIZE - 1}/{SIZE}"},
    "no tag": {"etag": None},
    "another tag": {"etag": '"v2"'},
    "an endless number": {"said": f"bytes {'9' * 5_000}-{'9' * 5_001}/*"},
}


@pytest.mark.parametrize("runs", [1, 2], ids=["tries", "runs"])
def test_a_range_that_is_not_what_was_asked_for(server, folder, body, other, runs):
    """The bytes are of another version each time: one of them in a file would show."""
    versions = {
        what: (h.serve(body, stop_at=CUT, then="reset"), h.late_or_early(other, **how))
        for what, how in WRONG_RANGES.items()
    }
    got = two_versions(server, folder, runs, versions)
    assert [what for what, content in got.items() if content != other] == []


@pytest.mark.parametrize("status", [400, 404, 501])
def test_a_server_that_gives_all_of_it_and_no_range(server, folder, body, status, monkeypatch):
    """It begins anew. With a status that may pass only after two tries in vain, and when all of it does come."""

    monkeypatch.setattr(manners, "FIRST_WAIT_S", 0.0)

    def no_ranges(visit):
        h.serve(body)(visit) if visit.request.range is None else h.status(status)(visit)

    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), no_ranges)
    receipt = fetch_one(url, folder)
    assert (receipt.outcome, receipt.attempts) == ("fetched", 3 if status >= 500 else 2)
    only(folder, {"a": body})


@pytest.mark.parametrize("status", [403, 500])
def test_a_part_is_kept_where_nothing_is_given(server, folder, body, status, monkeypatch):
    monkeypatch.setattr(manners, "FIRST_WAIT_S", 0.0)
    url = half(server, folder, body=body)
    server.at("/a", h.status(status))
    assert not fetch_one(url, folder, retries=3).ok
    server.at("/a", h.serve(body))
    receipt = fetch_one(url, folder)
    assert receipt.resumed
    assert receipt.fetched_bytes <= SIZE - CUT + SOME_BYTES
    only(folder, {"a": body})


def test_a_range_in_gzip(server, folder, body, other):
    def half_coded(visit):
        if visit.request.range is None:
            return h.serve(other, etag='"v1"')(visit)
        first = visit.request.range[0]
        place = f"bytes {first}-{SIZE - 1}/{SIZE}"
        names = [("ETag", '"v1"'), ("Content-Range", place), ("Content-Encoding", "gzip")]
        visit.head(206, [*names, ("Content-Length", str(SIZE - first))])
        visit.body(other[first:], first)

    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), half_coded)
    assert fetch_one(url, folder).ok
    only(folder, {"a": other})


def test_what_comes_in_gzip_is_not_gone_on_with(server, folder, body, other):
    """A server that packs as it sends gives other bytes each time, under one tag."""
    one, two = gzip.compress(body[:CUT], 1), gzip.compress(other[:CUT], 1)
    gz = [("Content-Encoding", "gzip")]
    url = server.at("/a", h.serve(one, stop_at=CUT // 2, then="reset", headers=gz), h.serve(two, headers=gz))
    receipt = fetch_one(url, folder)
    if receipt.ok:
        assert finished(folder) == {receipt.path: two}
    assert all(r.range is None for r in server.asked("/a"))


def test_several_ranges_in_one_answer(server, folder, body):
    def multipart(visit):
        if visit.request.range is None:
            return h.serve(body)(visit)
        part = (
            b"--x\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (CUT, SIZE - 1, SIZE)
            + body[CUT:]
            + b"\r\n--x--\r\n"
        )
        kind = ("Content-Type", "multipart/byteranges; boundary=x")
        visit.head(206, [("ETag", '"v1"'), kind, ("Content-Length", str(len(part)))])
        visit.raw(part)

    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), multipart)
    assert fetch_one(url, folder).ok
    only(folder, {"a": body})


def test_a_range_that_is_shorter_than_was_asked_for(server, folder, body):
    """A server may give less than it was asked for; the rest is asked for again."""

    def stingy(visit):
        if visit.request.range is None:
            return h.serve(body)(visit)
        first = visit.request.range[0]
        last = min(first + 499_999, SIZE - 1)
        place = ("Content-Range", f"bytes {first}-{last}/{SIZE}")
        visit.head(206, [("ETag", '"v1"'), place, ("Content-Length", str(last + 1 - first))])
        visit.body(body[first : last + 1], first)

    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), stingy)
    assert fetch_one(url, folder).ok
    only(folder, {"a": body})


def test_a_range_that_is_longer_than_was_asked_for(server, folder, body):
    def generous(visit):
        if visit.request.range is None:
            return h.serve(body)(visit)
        first = visit.request.range[0]
        place = ("Content-Range", f"bytes {first}-{SIZE - 1}/{SIZE}")
        visit.head(206, [("ETag", '"v1"'), place, ("Content-Length", str(SIZE + 100 - first))])
        visit.body(body[first:] + bytes(100), first)
        visit.close()

    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), generous)
    receipt = fetch_one(url, folder, retries=2)
    assert finished(folder) == ({"a": body} if receipt.ok else {})


def test_another_url_of_the_same_name(server, folder, body, other):
    """The parts of one thing are not gone on with as another's; tags are a server's own, and these are the same."""
    half(server, folder, "/one/a", body)
    url = server.at("/two/a", h.serve(other))
    assert fetch_one(url, folder).ok
    only(folder, {"a": other})


SIGNED = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={0}T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={0}",
    "AWSAccessKeyId=AKIA&Expires={0}&Signature={0}%3D",
    "X-Goog-Date={0}&X-Goog-Signature={0}",
    "Policy={0}&Signature={0}&Key-Pair-Id=K1",
    "sv=2024-11-04&se={0}&sr=b&sp=r&sig={0}",
]


@pytest.mark.parametrize("query", SIGNED)
def test_a_url_that_is_signed_anew_is_the_same_url(server, folder, body, query):
    half(server, folder, "/a?part=1&" + query.format(20261124), body)
    url = server.at("/a?part=1&" + query.format(20261125), h.serve(body))
    receipt = fetch_one(url, folder)
    assert receipt.resumed
    assert ranges(server)[-1][0] >= CUT - SOME_BYTES
    only(folder, {"a": body})


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("part=1&X-Amz-Signature=1", "part=2&X-Amz-Signature=2"),
        ("part=1&token=1", "part=1&token=2"),
        ("part=1&Expires=1", "part=1&Expires=2"),
    ],
)
def test_another_query_is_another_url(server, folder, body, other, first, then):
    """Without a digest, a tag is comparable with those of the same thing only."""
    half(server, folder, "/a?" + first, body)
    url = server.at("/a?" + then, h.serve(other))
    assert not fetch_one(url, folder).resumed
    only(folder, {"a": other})


def test_a_url_that_is_signed_anew_and_has_changed(server, folder, body, other):
    """The validator decides."""
    half(server, folder, "/a?X-Amz-Signature=1", body)
    url = server.at("/a?X-Amz-Signature=2", h.serve(other, etag='"v2"'))
    assert not fetch_one(url, folder).resumed
    only(folder, {"a": other})


def test_tries_that_bring_something_are_not_counted(server, folder, body):
    """A bad line: it is cut more often than there are tries, and comes further each time."""
    cuts = [h.serve(body, stop_at=n, then="reset") for n in range(300_000, SIZE, 300_000)]
    receipt = fetch_one(server.at("/a", *cuts, h.serve(body)), folder, retries=1)
    assert (receipt.outcome, receipt.attempts) == ("fetched", len(cuts) + 1)
    only(folder, {"a": body})


@pytest.mark.parametrize(
    "how", ["stuck", "small", "a byte each", "from the start", "another each", "without a validator"]
)
def test_tries_that_bring_nothing_new_come_to_an_end(server, folder, body, noise, how):
    numbers = itertools.count(1)

    def script(visit):
        n = next(numbers)
        step = 1 if how == "a byte each" else 0 if how in ("stuck", "small") else 40_000
        stop_at = (200_000 if how == "small" else 1_000_000) + n * step
        tag = {"another each": f'"v{n}"', "without a validator": None}.get(how, '"v1"')
        content = body[:250_000] if how == "small" else body
        h.serve(content, etag=tag, ranges=how != "from the start", stop_at=stop_at, then="close")(visit)

    receipt = fetch_one(server.at("/a", script), folder, retries=2)
    assert receipt.failure == "broken", receipt
    assert receipt.attempts == 3
    assert finished(folder) == {}


def test_a_mirror_is_not_gone_on_with(server, servers, folder, body, other):
    """Unless a digest says in the end that it is right."""
    mirror = servers()
    url = server.at("/a", h.serve(body, stop_at=CUT, then="reset"), h.status(404))
    spare = mirror.at("/a", h.serve(other))
    receipt = fetch_one(Request(url, mirrors=(spare,)), folder)
    assert receipt.ok
    assert receipt.final_url == spare
    only(folder, {"a": other})


def spoil_journal(folder, how):
    journal = next(folder.glob("*.part.journal"))
    part = next(folder.glob("*.part"))
    text = journal.read_bytes()
    if how == "garbage":
        journal.write_bytes(os.urandom(200))
    elif how == "empty":
        journal.write_bytes(b"")
    elif how == "torn":
        journal.write_bytes(text[: len(text) * 2 // 3])
    elif how == "torn at its end":
        journal.write_bytes(text[:-3])
    elif how == "missing":
        journal.unlink()
    elif how == "zeros at its end":
        journal.write_bytes(text + bytes(4096))
    elif how == "a folder":
        journal.unlink()
        journal.mkdir()
    elif how == "the part is missing":
        part.unlink()
    elif how == "the part is shorter":
        os.truncate(part, 1_000)
    elif how == "the part is longer":
        os.truncate(part, SIZE * 2)
    elif how == "the part is empty":
        part.write_bytes(b"")
    elif how == "not text":
        journal.write_bytes(b"\xff\xfe" + text)
    elif how == "other JSON":
        journal.write_bytes(b"[]\n3\nnull\n{}\n")


@pytest.mark.parametrize(
    "how",
    [
        *(
            "garbage",
            "empty",
            "torn",
            "torn at its end",
            "missing",
            "zeros at its end",
            "not text",
            "other JSON",
        ),
        *("the part is missing", "the part is shorter", "the part is longer", "the part is empty"),
    ],
)
def test_parts_and_journals_that_do_not_fit(server, folder, body, how):
    """After a crash of the machine, anything may be left of them."""
    url = half(server, folder, body=body)
    spoil_journal(folder, how)
    server.at("/a", h.serve(body))
    assert fetch_one(url, folder).ok
    only(folder, {"a": body})


def test_a_journal_that_is_a_folder(server, folder, body):
    url = half(server, folder, body=body)
    spoil_journal(folder, "a folder")
    server.at("/a", h.serve(body))
    receipt = fetch_one(url, folder, retries=0)
    assert finished(folder) == ({"a": body} if receipt.ok else {})


# --- segments -------------------------------------------------------------------------------------------------

MB = 1_000_000
LARGE = 6 * MB
EACH = 2.5 * MB
"""Bytes a second of one connection: a second one is worth it."""
SEGMENTS = {"segments": 4, "segment_bytes": MB}


@pytest.fixture
def large(noise):
    return noise(LARGE, seed=7)


@pytest.fixture
def large_other(noise):
    return noise(LARGE, seed=8)


def test_segments(server, folder, large):
    url = server.at("/a", h.serve(large, rate=EACH))
    receipt = fetch_one(url, folder, **SEGMENTS)
    only(folder, {"a": large})
    assert receipt.segments > 1
    assert receipt.segments == server.busiest
    assert receipt.digests["sha256"] == digest(large)["sha256"]
    for asked in server.asked("/a")[1:]:
        assert asked.headers["if-range"] == '"v1"'
    # The first connection is not cut off the moment that another has begun where it will end.
    assert server.twice("/a") <= MB


def lying(visit, large, **how):
    """The ranges are another's."""
    if visit.request.range is None:
        return h.serve(large, rate=EACH)(visit)
    return h.serve(how.pop("of"), honest=False, **how)(visit)


def test_segments_that_are_wrong(server, folder, large, large_other):
    """The first connection goes well; each further one is wrong: the file is right, or there is none."""

    def unless_ranged(then):
        return lambda visit: (h.serve(large, rate=EACH) if visit.request.range is None else then)(visit)

    faults = {
        "new tag": unless_ranged(h.serve(large_other, honest=False, etag='"v2"')),
        "no ranges": unless_ranged(h.serve(large_other, ranges=False)),
        "shifted": unless_ranged(h.late_or_early(large, by=-1_000)),
        "total": unless_ranged(h.late_or_early(large, total=LARGE + 5)),
        "gzip": unless_ranged(h.serve(large_other, headers=[("Content-Encoding", "gzip")])),
        "404": unless_ranged(h.status(404)),
        "reset": unless_ranged(h.refuse),
        "429": unless_ranged(h.status(429)),
        "lie": unless_ranged(h.serve(large_other)),
    }
    urls = {what: server.at(f"/{n}", script) for n, (what, script) in enumerate(faults.items())}
    requests = [Request(u, digests=digest(large)) if what == "lie" else u for what, u in urls.items()]
    receipts = fetch(requests, folder, retries=1, **SEGMENTS)
    found = finished(folder)
    for n, (what, url) in enumerate(urls.items()):
        if receipts[url].ok:
            assert found.pop(str(n)) in ((large_other, large) if what == "new tag" else (large,)), what
        else:
            # What one connection brings alone is not given up for what the others do wrong.
            assert what in {"new tag", "lie"}, receipts[url]
    assert found == {}


def test_segments_are_gone_on_with(server, folder, large):
    """Each where it was: a first run is stopped with several in progress."""

    def until(place):
        if server.busiest >= 2 and server.sent("/a") > 3 * MB:
            raise ConnectionResetError

    url = server.at("/a", h.serve(large, rate=EACH, pace=until))
    first = fetch_one(url, folder, retries=0, **SEGMENTS)
    if first.ok:
        pytest.fail(f"never two at once: {first}")
    server.at("/a", h.serve(large))
    sent = server.sent("/a")
    second = fetch_one(url, folder, **SEGMENTS)
    assert second.ok
    assert second.resumed
    only(folder, {"a": large})
    assert server.sent("/a") - sent < LARGE - MB


def test_a_bad_line_under_all_segments(server, folder, large):
    """Each connection breaks after a while, whoever has it; there are more of them than tries."""

    def breaks(visit):
        first = visit.request.range[0] if visit.request.range else 0
        h.serve(large, rate=EACH, stop_at=first + 2 * MB, then="reset")(visit)

    receipt = fetch_one(server.at("/a", breaks), folder, retries=1, **SEGMENTS)
    assert receipt.ok, receipt
    assert receipt.attempts > 2
    only(folder, {"a": large})


def test_no_segments_where_they_are_not_wanted(server, folder, large):
    url = server.at("/a", h.serve(large, rate=EACH * 2))
    assert fetch_one(url, folder, segments=1, segment_bytes=MB).segments == 1
    assert ranges(server) == [None]
    small = server.at("/small", h.serve(large[:900_000], rate=EACH / 2))
    assert fetch_one(small, folder, **SEGMENTS).segments == 1
    none = server.at("/none", h.serve(large, ranges=False, rate=EACH * 2))
    assert fetch_one(none, folder, **SEGMENTS).segments == 1
    assert finished(folder) == {"a": large, "small": large[:900_000], "none": large}
