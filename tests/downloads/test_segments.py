"""Several connections for one file: nothing is fetched twice, nothing is lost, and one more only where it pays."""

import hashlib
import threading

import pytest
import scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Site

import whichpool
from whichpool.downloads import segments
from whichpool.downloads.failures import Broken, Busy
from whichpool.downloads.segments import Division, Growth

URL = "http://a.example/file.bin"
ONE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(100_000))  # 3,200,000 bytes
LEAST = 400_000


# -- who fetches what --------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.data())
def test_every_byte_is_fetched_once_whatever_breaks(data):
    total = data.draw(st.integers(1, 100))
    least = data.draw(st.integers(1, 20))
    work = Division([(0, total)], least)
    got = [0] * total
    active = []
    while True:
        todo = data.draw(st.sampled_from(["take", "read", "break"])) if active else "take"
        if todo == "take":
            span = work.take()
            if span is None:
                if not active:
                    break
                todo = "read"
            else:
                span.reach = span.end
                active.append(span)
                continue
        span = data.draw(st.sampled_from(active))
        if todo == "read":
            wanted = work.room(span, data.draw(st.integers(1, 100)))
            at, mine = work.place(span, wanted)
            assert mine == wanted
            for place in range(at, at + mine):
                got[place] += 1
            if wanted and span.at < span.end:
                continue
        active.remove(span)
        work.put_back(span)
    assert got == [1] * total
    assert work.fetched == total
    assert work.wait(0)


def test_a_range_is_not_made_smaller_than_asked():
    work = Division([(0, 100)], 30)
    first, second, third = work.take(), work.take(), work.take()
    assert (first.end, second.first, second.end) == (50, 50, 100)
    assert third is None


def test_what_was_cut_off_while_it_was_read_is_not_taken_twice():
    work = Division([(0, 100)], 10)
    first = work.take()
    assert work.room(first, 1000) == 100
    work.take()  # now, while the first one reads
    assert work.place(first, 100) == (0, 50)
    assert work.room(first, 1000) == 0


def test_an_untouched_range_goes_back_to_the_one_before_it_only_if_that_reaches_so_far():
    work = Division([(0, 100)], 10)
    first = work.take()
    first.reach = 100
    second = work.take()
    work.put_back(second)
    assert first.end == 100
    first.reach = 50
    second = work.take()
    work.put_back(second)
    assert first.end == 50
    assert (work.take().first, work.could_split()) == (50, True)


def test_an_unknown_end_is_not_split():
    work = Division([(0, None)], 1)
    span = work.take()
    assert work.take() is None
    assert work.room(span, 1000) == 1000


# -- how many ----------------------------------------------------------------------------------------------------


class Clocked:
    """A file whose rate depends on the number of connections, in a time of the test's own."""

    def __init__(self, rates, most=8, cpu=0.0):
        self.time = self.fetched = 0.0
        self.rates = rates
        self.count = 1
        self.cpu = cpu
        self.growth = Growth(most, self.start, lambda: self.time, lambda: self.time * cpu)

    def start(self):
        self.count += 1
        return True

    def run(self, seconds):
        for _ in range(int(seconds * 10)):
            self.time += 0.1
            self.growth.waited_s += 0.095
            self.fetched += 0.1 * self.rates[min(self.count, len(self.rates)) - 1]
            if not self.growth.over:
                self.growth.look(self.fetched)
            if self.growth.one_too_many and self.growth.goes():
                self.count -= 1
        return self.count


def test_connections_are_added_while_the_rate_follows():
    file = Clocked([10, 20, 30, 32, 32])
    assert file.run(0.9) == 1
    assert file.run(0.3) == 2
    assert file.run(1.0) == 3
    assert file.run(1.0) == 4
    assert file.run(10) == 3  # the fourth brought 7 %: it goes


def test_one_that_brings_nothing_goes():
    assert Clocked([10, 10]).run(10) == 1


def test_no_more_than_allowed():
    assert Clocked([10 * number for number in range(1, 20)], most=5).run(30) == 5


def test_who_computes_all_the_time_is_not_helped_by_connections():
    assert Clocked([10, 20, 30], cpu=0.6).run(10) == 1


# -- a file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(segments, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(segments, "WINDOW_S", 1000.0)  # one further connection, and no more
    monkeypatch.setattr(segments, "WAITING", -1e9)
    return scripted.instead(Site(), monkeypatch)


@pytest.fixture
def get(site, tmp_path):
    def get(**settings):
        settings = {"segment_bytes": LEAST, "retries": 2, **settings}
        (receipt,) = whichpool.download(URL, tmp_path, **settings)
        return receipt

    return get


def led(site, thing, until):
    """The first connection stops after a piece, until `until` says so."""

    def first(site, thing, request):
        def before(at):
            if at >= 200_000:
                assert until.wait(10)

        return site.usual(thing, request, piece=100_000, before=before)

    thing.then(first)
    return thing


def test_a_second_connection_brings_the_tail(site, get, tmp_path):
    came = threading.Event()

    def second(site, thing, request):
        # The first goes on when this one has come to its end.
        def before(at):
            if at == request.last + 1 - request.first:
                came.set()

        return site.usual(thing, request, before=before, piece=100_000)

    led(site, site.put(URL, ONE), came).then(second)
    receipt = get()
    assert (tmp_path / "file.bin").read_bytes() == ONE
    assert receipt.segments == 2
    assert receipt.fetched_bytes == len(ONE)
    assert receipt.digests == {"sha256": hashlib.sha256(ONE).hexdigest()}
    assert site.asked[1].if_range == '"v1"'
    assert site.asked[1].last == len(ONE) - 1


@pytest.mark.parametrize(
    "trouble",
    [
        lambda site, thing, request: Busy("not now", URL, status=429),
        lambda site, thing, request: Broken("reset", URL),
        lambda site, thing, request: site.answer(
            request, thing, 200, thing.data, {"content-length": str(len(thing.data))}
        ),
    ],
    ids=["busy", "broken", "no ranges"],
)
def test_one_that_cannot_be_had_leaves_all_to_the_first(site, get, tmp_path, trouble):
    came = threading.Event()

    def second(site, thing, request):
        came.set()
        return trouble(site, thing, request)

    led(site, site.put(URL, ONE), came).then(second)
    receipt = get()
    assert (tmp_path / "file.bin").read_bytes() == ONE
    assert (receipt.attempts, receipt.fetched_bytes) == (1, len(ONE))
    # Only if the first was past it by then is it asked for again.
    assert len(site.asked) in (2, 3)


def test_one_that_breaks_in_the_middle_loses_nothing(site, get, tmp_path):
    came = threading.Event()

    def second(site, thing, request):
        answer = site.usual(thing, request)
        answer.body.data = answer.body.data[:150_000]
        answer.body.piece = 50_000
        answer.body.ends_with = Broken("reset", URL)
        real = answer.body.close

        def close():
            came.set()
            real()

        answer.body.close = close
        return answer

    led(site, site.put(URL, ONE), came).then(second)
    receipt = get()
    assert (tmp_path / "file.bin").read_bytes() == ONE
    assert receipt.fetched_bytes == len(ONE)  # none of it twice
    assert receipt.attempts == 1
    assert site.asked[2].first == site.asked[1].first + 150_000


def test_a_change_between_two_connections_starts_again(site, get, tmp_path):
    two = ONE[::-1]
    came = threading.Event()

    def second(site, thing, request):
        thing.data, thing.etag = two, '"v2"'
        came.set()
        return None

    led(site, site.put(URL, ONE), came).then(second)
    receipt = get()
    assert (tmp_path / "file.bin").read_bytes() == two
    assert receipt.attempts == 2
    assert not receipt.resumed


def test_both_are_gone_on_with_by_the_next_run(site, get, tmp_path):
    came = threading.Event()

    def first(site, thing, request):
        def before(at):
            if at >= 300_000:
                assert came.wait(10)
                raise Broken("reset", URL)

        return site.usual(thing, request, piece=100_000, before=before)

    def second(site, thing, request):
        def before(at):
            if at >= 200_000:
                came.set()
                raise Broken("reset", URL)

        return site.usual(thing, request, piece=100_000, before=before)

    site.put(URL, ONE).then(first, second)
    receipt = get(retries=0)
    assert receipt.failure == "broken"
    assert receipt.fetched_bytes == 500_000
    receipt = get(segments=1)
    assert (tmp_path / "file.bin").read_bytes() == ONE
    assert receipt.fetched_bytes == len(ONE) - 500_000
    assert receipt.digests == {"sha256": hashlib.sha256(ONE).hexdigest()}
    tail = site.asked[1].first
    assert site.ranges()[2:] == [(300_000, tail - 1), (tail + 200_000, len(ONE) - 1)]


@pytest.mark.parametrize("how", [{"etag": None, "modified": None}, {"length": False}], ids=str)
def test_only_what_can_be_proved_is_split(site, get, tmp_path, how):
    site.put(URL, ONE, piece=100_000, **how)
    receipt = get()
    assert (receipt.segments, len(site.asked)) == (1, 1)
    assert (tmp_path / "file.bin").read_bytes() == ONE


@pytest.mark.parametrize("settings", [{"segments": 1}, {"per_host": 1}, {"most": 1}, {"rate": 1e12}], ids=str)
def test_no_more_connections_than_allowed(site, get, settings):
    site.put(URL, ONE, piece=100_000)
    assert get(**settings).segments == 1
    assert len(site.asked) == 1


def test_a_bug_in_a_further_connection_is_raised(site, get):
    came = threading.Event()

    def second(site, thing, request):
        came.set()
        return ZeroDivisionError("a bug")

    led(site, site.put(URL, ONE), came).then(second)
    with pytest.raises(ZeroDivisionError):
        get()


def test_a_further_connection_makes_room_for_another_file(site, tmp_path):
    # Two connections to the host: the large file has both until the small one comes, which is there until one has gone.
    both, small_came, gone = threading.Event(), threading.Event(), threading.Event()
    small = "http://a.example/small"

    def second(site, thing, request):
        def before(at):
            if at >= 100_000:
                both.set()
                assert small_came.wait(10)

        answer = site.usual(thing, request, piece=100_000, before=before)
        close = answer.body.close

        def closed():
            close()
            gone.set()

        answer.body.close = closed
        return answer

    def on_small(site, thing, request):
        small_came.set()
        return site.usual(thing, request, before=lambda at: gone.wait(10))

    site.put(small, b"x").then(on_small)
    led(site, site.put(URL, ONE), small_came).then(second)

    def urls():
        yield URL
        assert both.wait(10)
        yield small

    settings = {"segment_bytes": LEAST, "per_host": 2}
    large, other = whichpool.download(urls(), tmp_path, **settings)
    assert (large.ok, large.segments, other.ok) == (True, 2, True)
    assert (tmp_path / "file.bin").read_bytes() == ONE
    tail = site.asked[1]
    assert (site.asked[3].first, site.asked[3].last) > (
        tail.first,
        0,
    )  # it ended early, and the first went on with it
    assert large.fetched_bytes == len(ONE)
