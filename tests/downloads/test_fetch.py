"""One file: resumed only where it is proved to be the same, and never anything else than whole."""

import errno
import hashlib
import os
from email.utils import parsedate_to_datetime

import pytest
import scripted
from scripted import OLD, Body, Site, cut

import whichpool
from whichpool.downloads import DiskFailed, Request, TimedOut, part
from whichpool.downloads.failures import Broken, Busy, Gone

URL = "http://a.example/dir/file.bin"
ONE = hashlib.sha512(b"one").digest() * 16_000  # 1,024,000 bytes
TWO = hashlib.sha512(b"two").digest() * 16_000
ETAG = '"v1"'


@pytest.fixture
def site(monkeypatch):
    return scripted.instead(Site(), monkeypatch)


@pytest.fixture
def get(site, tmp_path):
    def get(urls=URL, **settings):
        return whichpool.download(urls, tmp_path / "d", **settings)

    return get


@pytest.fixture
def folder(tmp_path):
    class Folder:
        def names(self):
            return sorted(os.listdir(tmp_path / "d"))

        def __getitem__(self, name):
            return (tmp_path / "d" / name).read_bytes()

        def __setitem__(self, name, data):
            (tmp_path / "d").mkdir(exist_ok=True)
            (tmp_path / "d" / name).write_bytes(data)

        def stat(self, name):
            return (tmp_path / "d" / name).stat()

    return Folder()


def test_a_file_and_its_receipt(site, get, folder):
    site.put(URL, ONE)
    (receipt,) = get()
    assert folder["file.bin"] == ONE
    assert folder.names() == ["file.bin"]
    assert receipt.outcome == "fetched"
    assert receipt.ok
    assert (receipt.url, receipt.path, receipt.final_url) == (URL, "file.bin", URL)
    assert receipt.bytes == receipt.fetched_bytes == len(ONE)
    assert receipt.digests == {"sha256": hashlib.sha256(ONE).hexdigest()}
    assert receipt.checked == ("length",)
    assert (receipt.etag, receipt.last_modified) == (ETAG, OLD)
    assert (receipt.attempts, receipt.resumed, receipt.segments, receipt.failure) == (1, False, 1, None)
    assert folder.stat("file.bin").st_mtime == parsedate_to_datetime(OLD).timestamp()
    assert all(body.closed for body in site.bodies)


def test_an_empty_file(site, get, folder):
    site.put(URL, b"")
    (receipt,) = get()
    assert (receipt.outcome, receipt.bytes, folder["file.bin"]) == ("fetched", 0, b"")


def test_without_a_length_the_end_is_the_framing_s(site, get, folder):
    site.put(URL, ONE, length=False)
    (receipt,) = get()
    assert folder["file.bin"] == ONE
    assert receipt.checked == ("length",)  # the last chunk said so


def test_where_only_the_connection_s_end_is_the_end_the_length_is_not_proved(site, get, folder):
    site.put(URL, ONE).then(lambda site, thing, request: site.answer(request, thing, 200, ONE))
    (receipt,) = get()
    assert folder["file.bin"] == ONE
    assert receipt.checked == ()


# -- a try that breaks -------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_broke(site, get, folder):
    site.put(URL, ONE).then(cut(300_000), cut(200_000))
    (receipt,) = get()
    assert folder["file.bin"] == ONE
    assert site.ranges() == [(0, None), (300_000, None), (500_000, None)]
    assert [one.if_range for one in site.asked] == [None, ETAG, ETAG]
    assert (receipt.attempts, receipt.resumed, receipt.fetched_bytes) == (3, True, len(ONE))
    assert receipt.digests == {"sha256": hashlib.sha256(ONE).hexdigest()}


def test_the_next_run_goes_on_where_the_last_one_broke(site, get, folder):
    site.put(URL, ONE).then(cut(300_000))
    (receipt,) = get(retries=0)
    assert (receipt.outcome, receipt.failure, receipt.fetched_bytes) == ("failed", "broken", 300_000)
    assert folder.names() == ["file.bin.part", "file.bin.part.journal"]
    (receipt,) = get()
    assert site.ranges() == [(0, None), (300_000, None)]
    assert (receipt.attempts, receipt.resumed, receipt.fetched_bytes) == (1, True, len(ONE) - 300_000)
    assert folder["file.bin"] == ONE
    assert folder.names() == ["file.bin"]


def test_nothing_is_asked_if_only_the_name_was_missing(site, get, folder, monkeypatch):
    site.put(URL, ONE, repr_digest="x")
    real = os.link
    monkeypatch.setattr(os, "link", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    (receipt,) = get()
    assert (receipt.failure, receipt.attempts) == ("diskfailed", 1)
    monkeypatch.setattr(os, "link", real)
    (receipt,) = get()
    assert len(site.asked) == 1
    assert (receipt.outcome, receipt.resumed, receipt.fetched_bytes) == ("fetched", True, 0)
    assert (receipt.etag, receipt.final_url, receipt.bytes) == (ETAG, URL, len(ONE))
    assert receipt.digests == {"sha256": hashlib.sha256(ONE).hexdigest()}
    assert folder["file.bin"] == ONE


def other(**how):
    def act(site, thing, request):
        thing.data = TWO
        thing.etag = '"v2"'
        return None

    return act


def starts_early(site, thing, request):
    return site.partial(thing, request, request.first - 10, len(thing.data) - 1)


def starts_late(site, thing, request):
    return site.partial(thing, request, request.first + 10, len(thing.data) - 1)


def another_total(site, thing, request):
    return site.partial(thing, request, request.first, len(thing.data) - 1, total=len(thing.data) + 1)


def no_total(site, thing, request):
    return site.partial(thing, request, request.first, len(thing.data) - 1, total="*")


def another_etag(site, thing, request):
    return site.partial(thing, request, request.first, len(thing.data) - 1, headers={"etag": '"v0"'})


def another_time(site, thing, request):
    told = {"last-modified": "Tue, 01 Sep 2026 10:00:01 GMT"}
    return site.partial(thing, request, request.first, len(thing.data) - 1, headers=told)


def zipped(site, thing, request):
    told = {"content-encoding": "gzip"}
    return site.partial(thing, request, request.first, len(thing.data) - 1, headers=told)


def weak_now(site, thing, request):
    return site.partial(thing, request, request.first, len(thing.data) - 1, headers={"etag": 'W/"v1"'})


def several(site, thing, request):
    return Broken("the server answered one range with several (multipart/byteranges)", URL, status=206)


def beyond(site, thing, request):
    return site.answer(request, thing, 416, b"", {"content-range": "bytes */500"})


def not_modified(site, thing, request):
    return site.answer(request, thing, 304, b"")


@pytest.mark.parametrize(
    "act",
    [
        other(), starts_early, starts_late, another_total, no_total, another_etag, another_time, zipped, weak_now,
        several, beyond, not_modified,
    ],
    ids=lambda act: act.__name__,
)  # fmt: skip
def test_what_does_not_fit_is_begun_anew_and_never_stitched(site, get, folder, act):
    thing = site.put(URL, ONE).then(cut(300_000), act)
    (receipt,) = get()
    assert receipt.outcome == "fetched"
    assert folder["file.bin"] == thing.data
    assert folder.names() == ["file.bin"]
    assert receipt.digests == {"sha256": hashlib.sha256(thing.data).hexdigest()}
    assert receipt.attempts == 2
    assert site.asked[1].first == 300_000
    assert all(body.closed for body in site.bodies)


def test_an_etag_that_the_range_does_not_repeat_proves_nothing(site, get, folder):
    # A server that ignores If-Range sends a range of whatever it has now.
    def silent(site, thing, request):
        answer = site.partial(thing, request, request.first, len(TWO) - 1)
        answer.etag = answer.last_modified = None
        answer.body.data = TWO[request.first :]
        return answer

    site.put(URL, ONE).then(cut(300_000), silent)
    get()
    assert folder["file.bin"] == ONE


@pytest.mark.parametrize(
    "how",
    [
        {"etag": 'W/"v1"'},
        {"etag": None, "modified": None},
        {"etag": None, "modified": scripted.NOW},  # it may change once more within that second
        {"content_encoding": "gzip"},
        {"length": False},
    ],
    ids=str,
)
def test_without_a_strong_validator_or_a_length_it_is_begun_anew(site, get, folder, how):
    site.put(URL, ONE, **how).then(cut(300_000))
    (receipt,) = get()
    assert site.ranges() == [(0, None), (0, None)]
    assert folder["file.bin"] == ONE
    assert (receipt.resumed, receipt.fetched_bytes) == (False, 300_000 + len(ONE))


def test_a_time_that_is_old_enough_is_a_validator(site, get, folder):
    site.put(URL, ONE, etag=None).then(cut(300_000))
    get()
    assert [one.if_range for one in site.asked] == [None, OLD]
    assert folder["file.bin"] == ONE


def test_another_url_s_part_is_not_gone_on_with(site, get, folder):
    # nginx makes ETags of time and size: two files of one size, unpacked in one second, have the same.
    site.put(URL, ONE).then(cut(300_000))
    site.put("http://a.example/other/file.bin", TWO)
    get(retries=0)
    get("http://a.example/other/file.bin")
    assert folder["file.bin"] == TWO


def test_with_a_digest_it_may_come_from_elsewhere(site, get, folder):
    digests = {"sha256": hashlib.sha256(ONE).hexdigest()}
    site.put(URL, ONE).then(cut(300_000))
    site.put("http://b.example/file.bin", ONE)
    get(Request(URL, digests=digests), retries=0)
    (receipt,) = get(Request("http://b.example/file.bin", digests=digests))
    assert site.ranges("http://b.example/file.bin") == [(300_000, None)]
    assert folder["file.bin"] == ONE
    assert receipt.checked == ("length", "sha256")


def test_a_short_body_is_a_failure_even_if_the_transport_says_nothing(site, get, folder):
    def short(site, thing, request):
        answer = site.usual(thing, request)
        answer.body.data = answer.body.data[:-1]
        return answer

    site.put(URL, ONE).then(short)
    (receipt,) = get(retries=0)
    assert (receipt.outcome, receipt.failure) == ("failed", "broken")
    assert "file.bin" not in folder.names()
    (receipt,) = get()
    assert site.asked[-1].first == len(ONE) - 1
    assert folder["file.bin"] == ONE


def test_a_long_body_is_a_failure(site, get, folder):
    def long(site, thing, request):
        answer = site.usual(thing, request)
        answer.body.data += b"x"
        return answer

    site.put(URL, ONE, etag=None, modified=None).then(long, long)
    (receipt,) = get(retries=1)
    assert (receipt.outcome, receipt.failure, receipt.attempts) == ("failed", "broken", 2)
    assert folder.names() == []


def test_a_range_that_is_shorter_than_asked_for_is_gone_on_with(site, get, folder):
    def some(site, thing, request):
        return site.partial(thing, request, request.first, request.first + 9_999)

    site.put(URL, ONE).then(cut(300_000), some)
    (receipt,) = get()
    assert site.ranges()[:2] == [(0, None), (300_000, None)]
    assert folder["file.bin"] == ONE
    assert receipt.fetched_bytes == len(ONE)


# -- digests -----------------------------------------------------------------------------------------------------


def test_a_digest_that_was_given_is_checked(site, get, folder):
    site.put(URL, ONE)
    (receipt,) = get({"url": URL, "digests": {"md5": hashlib.md5(ONE).hexdigest()}})
    assert receipt.checked == ("length", "md5")
    assert set(receipt.digests) == {"sha256", "md5"}


@pytest.mark.parametrize("by", ["request", "server"])
def test_what_is_not_what_was_promised_gets_no_name(site, get, folder, by):
    site.put(URL, ONE, **({"digest": "md5=" + "A" * 22 + "=="} if by == "server" else {}))
    (receipt,) = get(Request(URL, digests={"sha256": "0" * 64} if by == "request" else {}), retries=1)
    assert (receipt.outcome, receipt.failure, receipt.attempts) == ("failed", "corrupt", 2)
    assert folder.names() == []
    assert site.ranges() == [(0, None), (0, None)]  # nothing of it is gone on with


def test_a_promise_of_the_server_survives_to_the_end_of_a_resumed_file(site, get, folder):
    site.put(URL, ONE, content_md5="A" * 22 + "==").then(cut(300_000))
    (receipt,) = get(retries=0)
    (receipt,) = get(retries=0)
    assert receipt.failure == "corrupt"


def test_no_digest_is_computed_if_none_is_wanted(site, get):
    site.put(URL, ONE)
    (receipt,) = get(digest="")
    assert receipt.digests == {}


# -- what is there -----------------------------------------------------------------------------------------------


def test_what_is_there_is_left(site, get, folder):
    folder["file.bin"] = b"mine"
    site.put(URL, ONE)
    (receipt,) = get()
    assert (receipt.outcome, receipt.bytes, site.asked) == ("unchanged", 4, [])
    assert "it was there" in receipt.message
    assert folder["file.bin"] == b"mine"


def test_what_is_there_is_replaced_if_that_is_wanted(site, get, folder):
    folder["file.bin"] = b"mine"
    site.put(URL, ONE).then(cut(300_000))
    (receipt,) = get(overwrite=True, retries=0)
    assert folder["file.bin"] == b"mine"
    (receipt,) = get(overwrite=True)
    assert (receipt.outcome, receipt.resumed) == ("fetched", True)
    assert folder["file.bin"] == ONE
    assert folder.names() == ["file.bin"]


def test_a_newer_one_is_asked_for(site, get, folder):
    site.put(URL, ONE)
    get()
    (receipt,) = get(newer=True)
    assert (receipt.outcome, receipt.etag) == ("unchanged", ETAG)
    assert site.asked[-1].since == OLD
    site.put(URL, TWO, etag='"v2"', modified="Wed, 02 Sep 2026 10:00:00 GMT")
    (receipt,) = get(newer=True)
    assert receipt.outcome == "fetched"
    assert folder["file.bin"] == TWO


def test_a_server_that_ignores_conditions_is_not_read_to_the_end(site, get, folder):
    site.put(URL, ONE)
    get()
    site.things[URL].then(lambda site, thing, request: site.answer(
        request, thing, 200, ONE, {"content-length": str(len(ONE))}
    ))  # fmt: skip
    (receipt,) = get(newer=True)
    assert (receipt.outcome, receipt.fetched_bytes) == ("unchanged", 0)


@pytest.mark.parametrize("right", [True, False])
def test_with_a_digest_it_is_known_whether_what_is_there_is_right(site, get, folder, right):
    folder["file.bin"] = ONE if right else b"half of it"
    site.put(URL, ONE)
    (receipt,) = get({"url": URL, "sha256": hashlib.sha256(ONE).hexdigest()})
    assert receipt.outcome == ("unchanged" if right else "fetched")
    assert receipt.checked == (("sha256",) if right else ("length", "sha256"))
    assert len(site.asked) == (not right)
    assert folder["file.bin"] == ONE


def test_the_server_s_name_is_taken(site, get, folder):
    site.put(URL, ONE, content_disposition='attachment; filename="report.pdf"')
    (receipt,) = get()
    assert receipt.path == "report.pdf"
    assert folder.names() == ["report.pdf"]
    (receipt,) = get()  # it has the same size and time
    assert (receipt.outcome, receipt.fetched_bytes) == ("unchanged", 0)
    site.put(URL, TWO, content_disposition='attachment; filename="report.pdf"', modified=None)
    (receipt,) = get()  # it may be another one
    assert receipt.path == "report-2.pdf"
    assert folder["report.pdf"] == ONE
    (receipt,) = get(overwrite=True)
    assert receipt.path == "report.pdf"
    assert folder["report.pdf"] == TWO


def test_the_server_s_name_is_kept_over_a_resume(site, get, folder):
    site.put(URL, ONE, content_disposition='attachment; filename="report.pdf"').then(cut(300_000))
    get(retries=0)
    assert folder.names() == ["file.bin.part", "file.bin.part.journal"]
    (receipt,) = get()
    assert (receipt.path, receipt.resumed, folder.names()) == ("report.pdf", True, ["report.pdf"])


def test_a_name_that_was_given_goes_before_the_server_s(site, get, folder):
    site.put(URL, ONE, content_disposition="attachment; filename=report.pdf")
    (receipt,) = get({"url": URL, "name": "mine/x.bin"})
    assert receipt.path == "mine/x.bin"
    assert folder["mine/x.bin"] == ONE


# -- failures ----------------------------------------------------------------------------------------------------


def test_what_is_gone_is_not_asked_for_again(site, get, folder):
    (receipt,) = get()
    assert (receipt.outcome, receipt.failure, receipt.status, receipt.attempts) == ("failed", "gone", 404, 1)
    assert len(site.asked) == 1
    assert folder.names() == []


def test_mirrors_are_tried_in_turn(site, get, folder):
    request = Request(URL, mirrors=("http://b.example/f", "http://c.example/f"))
    site.put("http://b.example/f", ONE).then(lambda *_: TimedOut("it stalls"), lambda *_: TimedOut("again"))
    site.put("http://c.example/f", ONE).then(lambda *_: Busy("not now", status=503))
    (receipt,) = get(request)
    # The first is gone for good; the others take turns.
    assert [one.url[7:8] for one in site.asked] == ["a", "b", "c", "b", "c"]
    assert (receipt.outcome, receipt.final_url, receipt.attempts) == ("fetched", "http://c.example/f", 5)
    assert receipt.path == "file.bin"


def test_the_last_mirror_s_failure_is_told(site, get):
    site.put("http://b.example/f", ONE).then(lambda *_: Gone("gone too", status=410))
    (receipt,) = get(Request(URL, mirrors=("http://b.example/f",)))
    assert (receipt.failure, receipt.status, receipt.message) == ("gone", 410, "gone too")


def test_no_password_is_in_what_is_told(site, get, folder):
    url = "http://me:secret@a.example/f"
    site.put(url, ONE).then(cut(300_000))
    events = []
    (receipt,) = get(url, retries=0, on_event=events.append)
    assert b"secret" not in folder["f.part.journal"]
    assert "secret" not in repr((receipt, events))
    assert receipt.url == "http://a.example/f"


def test_a_file_that_cannot_fit_is_refused_before_its_first_byte(site, get, folder, monkeypatch):
    free = os.statvfs("/")

    class Room:
        f_frsize = free.f_frsize
        f_bavail = 2_000_000 // free.f_frsize

    monkeypatch.setattr(os, "fstatvfs", lambda fd: Room)
    site.put(URL, ONE * 3)
    site.put("http://a.example/small", ONE)
    large, small = get([URL, "http://a.example/small"])
    assert (large.failure, large.fetched_bytes, large.attempts) == ("diskfailed", 0, 1)
    assert "3,072,000" in large.message
    assert "free" in large.message
    assert small.ok
    assert folder.names() == ["small"]
    assert all(body.at == 0 for body in site.bodies if len(body.data) > len(ONE))


def test_a_mirror_that_says_too_much_is_passed_over(site, get, folder):
    site.put(URL, ONE, content_length=str(10**17), length=False)
    site.put("http://b.example/f", ONE)
    (receipt,) = get(Request(URL, mirrors=("http://b.example/f",)))
    assert (receipt.ok, receipt.attempts, receipt.final_url) == (True, 2, "http://b.example/f")
    assert folder["file.bin"] == ONE


def test_a_full_disk_stops_what_has_not_begun_and_keeps_what_is_there(site, get, folder, monkeypatch):
    urls = [f"http://a.example/{number}" for number in range(5)]
    for url in urls:
        site.put(url, ONE, piece=100_000)
    real = os.pwrite

    def pwrite(fd, data, at):
        if at >= 300_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    receipts = get(urls, most=1)
    assert [one.failure for one in receipts] == ["diskfailed"] * 5
    assert "the disk is full" in receipts[0].message
    assert "not begun" in receipts[1].message
    assert len(site.asked) == 1
    assert folder.names() == ["0.part", "0.part.journal"]
    monkeypatch.setattr(os, "pwrite", real)
    receipts = get(urls, most=1)
    assert all(one.ok for one in receipts)
    assert site.asked[1].first == 300_000
    assert [folder[str(number)] for number in range(5)] == [ONE] * 5


def test_another_program_s_file_fails_alone(site, get, folder, tmp_path):
    from whichpool.downloads.folder import Folder

    site.put(URL, ONE)
    site.put("http://a.example/g", ONE)
    other = Folder(str(tmp_path / "d"))
    place = other.place("file.bin")
    held = part.Part(place)
    held.begin(None)
    first, second = get([URL, "http://a.example/g"])
    assert (first.failure, first.attempts) == ("diskfailed", 1)
    assert "another program is fetching it" in first.message
    assert second.ok
    held.close()
    place.close()
    other.close()


def test_a_link_in_the_folder_is_not_written_through(site, get, folder, tmp_path):
    site.put(URL, ONE)
    (tmp_path / "d").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "d" / "sub").symlink_to(tmp_path / "out")
    (receipt,) = get({"url": URL, "name": "sub/f"})
    assert receipt.failure == "diskfailed"
    assert os.listdir(tmp_path / "out") == []


def test_what_is_no_failure_of_a_download_is_raised(site, get):
    site.put(URL, ONE).then(lambda *_: ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        get()


def test_a_disk_failure_is_told_with_the_path(site, get, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFailed):
        whichpool.download(URL, tmp_path / "file")


def test_bodies_are_read_in_pieces_of_bounded_size(site, get):
    asked = []

    class Watched(Body):
        def read(self, most):
            asked.append(most)
            return super().read(most)

    def act(site, thing, request):
        answer = site.usual(thing, request)
        answer.body = Watched(thing.data)
        return answer

    site.put(URL, ONE).then(act)
    get()
    assert max(asked) <= 262_144


# -- small files, which go a shorter way ---------------------------------------------------------------------------

SMALL = ONE[:20_000]


def test_a_small_file_goes_on_where_it_broke(site, get, folder):
    site.put(URL, SMALL, piece=3_000).then(cut(10_000))
    (receipt,) = get()
    assert folder["file.bin"] == SMALL
    assert site.ranges() == [(0, None), (10_000, None)]
    assert (receipt.fetched_bytes, receipt.resumed, receipt.checked) == (len(SMALL), True, ("length",))
    assert receipt.digests == {"sha256": hashlib.sha256(SMALL).hexdigest()}


@pytest.mark.parametrize("wrong", [SMALL[:-1], SMALL + b"x", b""], ids=len)
def test_a_small_body_of_another_length_is_a_failure(site, get, folder, wrong):
    def act(site, thing, request):
        answer = site.usual(thing, request)
        answer.body.data = wrong
        return answer

    site.put(URL, SMALL, etag=None, modified=None).then(act)
    (receipt,) = get(retries=0)
    assert (receipt.outcome, receipt.failure) == ("failed", "broken")
    assert folder.names() == []
    (receipt,) = get()
    assert folder["file.bin"] == SMALL


def test_a_small_file_that_is_not_what_was_promised_gets_no_name(site, get, folder):
    site.put(URL, SMALL)
    (receipt,) = get(Request(URL, digests={"sha256": "0" * 64}), retries=1)
    assert (receipt.failure, receipt.attempts, receipt.fetched_bytes) == ("corrupt", 2, 2 * len(SMALL))
    assert folder.names() == []


@pytest.mark.parametrize("size", [262_143, 262_144, 262_145])
def test_around_the_size_that_is_small(site, get, folder, size):
    site.put(URL, ONE[:size])
    (receipt,) = get()
    assert folder["file.bin"] == ONE[:size]
    assert receipt.fetched_bytes == size
