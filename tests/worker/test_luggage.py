"""What a function captures: written once, mapped by all, changed for nobody else."""

from __future__ import annotations

import functools
import mmap
import os
import pickle
import socket

import pytest

from whichpool._measure.payload import pack_job
from whichpool._worker import luggage, wire
from whichpool._worker.calls import Job

MB = 1_000_000
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd on this system")


class Link:
    """A parent's end, and two workers' inboxes."""

    def __init__(self):
        self.pairs = [socket.socketpair() for _ in range(2)]
        self.inboxes = [wire.Inbox(theirs, luggage=True) for _, theirs in self.pairs]

    def load(self, packed, beside=True):
        """The jobs as both workers load them, and how many bytes came through the socket."""
        found = []
        for (ours, _), inbox in zip(self.pairs, self.inboxes, strict=True):

            def send_fd(fd, ours=ours):
                if beside:
                    socket.send_fds(ours, wire.frame(wire.LUGGAGE, 0, b"")[:1], [fd])
                return beside

            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MB)
            wire.send_all(ours, packed.frame(7, send_fd))
            frames = []
            while not frames:
                assert inbox.receive()
                frames += inbox.frames()
            found.append((frames[0].load(), frames[0].received_bytes))
        return found

    def close(self):
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


class Carries:
    """A function with an array for luggage."""

    def __init__(self, *data):
        self.data = data

    def __call__(self, x):
        return x


def test_an_array_is_shared_and_writing_it_is_seen_by_the_writer_alone(link):
    np = pytest.importorskip("numpy")
    array = np.arange(100_000, dtype=float)
    packed, _ = pack_job(Job(Carries(array, array[::2].copy(), b"small")))
    assert len(packed) > array.nbytes
    array[0] = -1  # packed is packed: what the caller does afterwards is not seen
    (first, sent), (second, _) = link.load(packed)
    assert sent == 0
    one, other = first.fn.data[0], second.fn.data[0]
    assert one[0] == other[0] == 0
    assert one.flags.writeable
    one[:] = 5
    assert other[1] == 1
    ((third, _), _) = link.load(packed)
    assert third.fn.data[0][1] == 1
    assert (third.fn.data[1] == np.arange(0, 100_000, 2)).all()
    packed.close()
    assert other[99_999] == 99_999


def test_where_no_descriptor_can_be_sent_it_goes_in_line(link):
    np = pytest.importorskip("numpy")
    packed, _ = pack_job(Job(Carries(np.arange(100_000, dtype=float))))
    for job, sent in link.load(packed, beside=False):
        assert sent == 800_000
        assert job.fn.data[0].sum() == np.arange(100_000).sum()


def test_nobody_can_change_the_luggage():
    packed = luggage.pack(b"body", [memoryview(bytes(MB))])
    for change in (lambda: os.pwrite(packed._fd, b"x", 0), lambda: mmap.mmap(packed._fd, 0)):
        with pytest.raises(PermissionError):
            change()
    packed.close()
    packed.close()


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_in_a_closure_stay_out_of_the_pickle(link, kind):
    data, small = kind(os.urandom(MB)), kind(b"small")

    def function(x):
        return data[x], small

    packed, by_value = pack_job(Job(function))
    assert by_value
    assert len(packed._body) < 10_000
    for job, sent in link.load(packed):
        assert sent == 0
        assert job.fn(5) == (data[5], small)
        assert type(job.fn.__closure__[0].cell_contents) is kind


def test_large_bytes_among_the_globals_of_a_main_script_stay_out_of_the_pickle(link):
    data = os.urandom(MB)
    script = {"__name__": "__main__", "data": data, "small": 5}
    exec("def function(x): return data[x] + small", script)
    packed, by_value = pack_job(Job(script["function"]))
    assert by_value
    assert len(packed._body) < 10_000
    assert script["data"] is data
    for job, sent in link.load(packed):
        assert sent == 0
        assert job.fn(5) == data[5] + 5


class Holds:
    """Importable, with a method; bytes in its attributes."""

    def __init__(self, **held):
        self.__dict__.update(held)
        self.me = self

    def at(self, x):
        return self.data[x]

    def __call__(self, x):
        return self.data[x]


def take_from(data, x, *, more=b""):
    return data[x], more[x]


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("where", ["argument", "keyword", "attribute", "of a bound method", "by value"])
def test_large_bytes_in_arguments_and_attributes_stay_out_of_the_pickle(link, kind, where):
    data = kind(os.urandom(MB))
    by_name = {
        "argument": functools.partial(take_from, data, more=data),
        "keyword": functools.partial(take_from, b"abcdef", more=data),
        "attribute": Holds(data=data),
        "of a bound method": Holds(data=data).at,
        "by value": functools.partial(lambda data, x: data[x], data),
    }
    fn = by_name[where]
    packed, by_value = pack_job(Job(fn))
    assert by_value == (where == "by value")
    assert len(packed._body) < 10_000
    for job, sent in link.load(packed):
        assert sent == 0
        assert job.fn(5) == fn(5)
        own = getattr(job.fn, "__self__", job.fn)
        if type(own) is Holds:
            assert own.me is own
        if where == "argument":
            assert type(job.fn.args[0]) is kind
            assert job.fn.args[0] is job.fn.keywords["more"]
            assert job.fn.args[0] is not data
        if where == "of a bound method":
            assert type(own.data) is kind


def test_an_object_that_says_itself_how_it_travels_is_asked_once_more_and_no_other_way(link):
    packed, _ = pack_job(Job(TravelsItsWay(os.urandom(MB))))
    for job, _ in link.load(packed):
        assert job.fn.travelled
        assert len(job.fn.data) == MB


class TravelsItsWay:
    def __init__(self, data, travelled=False):
        self.data, self.travelled = data, travelled

    def __reduce__(self):
        return TravelsItsWay, (self.data, True)

    def __call__(self, x):
        return x


def test_a_little_goes_into_the_pickle():
    np = pytest.importorskip("numpy")
    packed, _ = pack_job(Job(Carries(np.zeros(5000))))
    (_header, body) = packed.frame(1, lambda fd: pytest.fail("no descriptor is needed"))
    assert (pickle.loads(body).fn.data[0] == 0).all()
    assert len(packed) == len(body) > 40_000


def test_a_system_without_memory_to_share_sends_it_in_the_pickle(monkeypatch):
    np = pytest.importorskip("numpy")

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(luggage.os, "memfd_create", refuse)
    packed, _ = pack_job(Job(Carries(np.ones(100_000))))
    (_, body) = packed.frame(1, lambda fd: pytest.fail("there is none"))
    assert pickle.loads(body).fn.data[0].sum() == 100_000


def test_luggage_without_its_descriptor_is_a_broken_frame(link):
    ours, _theirs = link.pairs[0]
    wire.send_all(ours, wire.frame(wire.LOAD, 1, b"", [wire.InLuggage(0, 100)]))
    inbox = link.inboxes[0]
    assert inbox.receive()
    with pytest.raises(wire.BrokenFrame):
        list(inbox.frames())
