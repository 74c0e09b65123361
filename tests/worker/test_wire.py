"""Frames on a stream: whole, in order, however the bytes are cut; what is no frame is said to be none."""

from __future__ import annotations

import itertools
import pickle
import select
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whichpool._worker import wire

HEADER_BYTES = 16


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def joined(vectors):
    return b"".join(bytes(vector) for vector in vectors)


def read_all(sock, number):
    """So many frames from a blocking socket."""
    inbox, found = wire.Inbox(sock), []
    while len(found) < number:
        assert inbox.receive(), "the stream ended early"
        found += inbox.frames()
    assert len(found) == number
    return found


class Script:
    """A socket whose reads are given beforehand, each one chunk."""

    def __init__(self, data, cuts):
        edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
        self.chunks = [data[a:b] for a, b in itertools.pairwise(edges) if a < b]

    def recv(self, size):
        if not self.chunks:
            return b""
        chunk = self.chunks[0]
        self.chunks[0] = chunk[size:]
        if not self.chunks[0]:
            del self.chunks[0]
        return chunk[:size]

    def recv_into(self, view):
        data = self.recv(view.nbytes)
        view[: len(data)] = data
        return len(data)


frames = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=200),
        st.lists(st.binary(max_size=300), max_size=4),
        st.binary(max_size=40),
    ),
    max_size=8,
)


def stream_of(wanted):
    return b"".join(
        joined(wire.frame(kind, number, body, [memoryview(b) for b in buffers], head))
        for kind, number, body, buffers, head in wanted
    )


def check(found, wanted):
    assert [(f.kind, f.number, bytes(f.body), [bytes(b) for b in f.buffers]) for f in found] == [
        (kind, number, head + body, buffers) for kind, number, body, buffers, head in wanted
    ]


@given(frames, st.lists(st.integers(0, 5000), max_size=30))
def test_any_frames_cut_anywhere(wanted, cuts):
    inbox = wire.Inbox(Script(stream_of(wanted), cuts))
    found = []
    while inbox.receive():
        found += inbox.frames()
    check(found, wanted)
    assert list(inbox.frames()) == []


@given(frames)
def test_cut_at_every_byte(wanted):
    data = stream_of(wanted[:3])
    inbox = wire.Inbox(Script(data, range(len(data))))
    found = []
    while inbox.receive():
        found += inbox.frames()
    check(found, wanted[:3])


@settings(max_examples=25)
@given(frames, st.lists(st.integers(1, 3000), min_size=1, max_size=10))
def test_any_frames_through_a_socket_in_any_chunks(wanted, sizes):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = stream_of(wanted)
        inbox, found, at, turn = wire.Inbox(theirs), [], 0, 0
        theirs.setblocking(False)
        while at < len(data):
            size = sizes[turn % len(sizes)]
            ours.sendall(data[at : at + size])
            at, turn = at + size, turn + 1
            while select.select([theirs], [], [], 0)[0]:
                assert inbox.receive()
                found += inbox.frames()
        check(found, wanted)
        ours.close()
        assert inbox.receive() is False


@settings(max_examples=15)
@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=4), st.integers(0, 100_000))
def test_large_frames_through_tiny_socket_buffers(sizes, body_bytes):
    """Partial sends of every kind: within the header's neighbourhood, a body, a buffer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        buffers = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
        body = b"b" * body_bytes
        sender = threading.Thread(
            target=lambda: (
                wire.send_all(ours, wire.frame(17, 1, body, [memoryview(b) for b in buffers], b"head")),
                wire.send_all(ours, wire.frame(17, 2, b"after")),
            )
        )
        sender.start()
        first, second = read_all(theirs, 2)
        sender.join(30)
        assert not sender.is_alive()
        check([first, second], [(17, 1, body, buffers, b"head"), (17, 2, b"after", [], b"")])


def test_large_buffers_stay_out_of_the_body_and_arrive_writable(pair):
    array = pickle.PickleBuffer(bytearray(b"x" * 1_000_000))
    body, buffers = wire.dumps(["small", array, bytearray(10)])
    assert len(body) < 1000
    assert [view.nbytes for view in buffers] == [1_000_000]
    sender = threading.Thread(target=wire.send_all, args=(pair[0], wire.frame(2, 7, body, buffers)))
    sender.start()
    (frame,) = read_all(pair[1], 1)
    sender.join(30)
    small, large, tiny = frame.load()
    assert (small, tiny) == ("small", bytearray(10))
    large[0:3] = b"abc"
    assert bytes(large[:5]) == b"abcxx"


def test_numpy_arrays_arrive_writable_and_equal(pair):
    np = pytest.importorskip("numpy")
    wanted = [np.arange(100_000, dtype=float), np.asfortranarray(np.ones((300, 300))), np.arange(3)]
    body, buffers = wire.dumps(wanted)
    assert len(buffers) == 2
    sender = threading.Thread(target=wire.send_all, args=(pair[0], wire.frame(2, 7, body, buffers)))
    sender.start()
    (frame,) = read_all(pair[1], 1)
    sender.join(30)
    found = frame.load()
    for a, b in zip(found, wanted, strict=True):
        assert (a == b).all()
        a[0] = 5
        assert a.flags.writeable
    assert wanted[0][0] == 0


def test_what_is_small_or_too_many_goes_into_the_body():
    small = [pickle.PickleBuffer(bytearray(wire.OUT_OF_BAND_BYTES - 1)) for _ in range(3)]
    assert wire.dumps(small)[1] == []
    exact = pickle.PickleBuffer(bytearray(wire.OUT_OF_BAND_BYTES))
    assert len(wire.dumps(exact)[1]) == 1
    many = [bytearray(wire.OUT_OF_BAND_BYTES) for _ in range(wire.MAX_BUFFERS + 5)]
    body, buffers = wire.dumps([pickle.PickleBuffer(b) for b in many])
    assert len(buffers) == wire.MAX_BUFFERS
    assert len(pickle.loads(body, buffers=buffers)) == wire.MAX_BUFFERS + 5


def test_as_many_buffers_as_there_may_be(pair):
    """One system call takes at most so many vectors; header, body and all buffers must fit."""
    buffers = [memoryview(bytes([i % 256]) * 40) for i in range(wire.MAX_BUFFERS)]
    sender = threading.Thread(target=wire.send_all, args=(pair[0], wire.frame(2, 7, b"body", buffers, b"h")))
    sender.start()
    (frame,) = read_all(pair[1], 1)
    sender.join(30)
    assert [bytes(b) for b in frame.buffers] == [bytes(b) for b in buffers]


def test_a_load_starts_where_it_is_told(pair):
    head = wire.BATCH_HEAD.pack(-5, 9)
    wire.send_all(pair[0], wire.frame(wire.BATCH, 3, pickle.dumps([1, 2]), None, head))
    (frame,) = read_all(pair[1], 1)
    assert wire.BATCH_HEAD.unpack_from(frame.body) == (-5, 9)
    assert frame.load(wire.BATCH_HEAD.size) == [1, 2]


@given(st.lists(st.binary(max_size=30), max_size=6), st.integers(0, 200))
def test_advance_leaves_what_was_not_sent(parts, sent):
    whole = b"".join(parts)
    sent = min(sent, len(whole))
    left = wire.advance([memoryview(part) for part in parts], sent)
    assert joined(left) == whole[sent:]
    assert all(view.nbytes for view in left) or b"" in parts


# --- what is no frame -----------------------------------------------------------------------------------------


def header(kind=17, magic=0xA7, buffers=0, number=1, body=0):
    return struct.pack("<BBHIQ", kind, magic, buffers, number, body)


@given(st.binary(min_size=HEADER_BYTES, max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_garbage_is_a_broken_frame_or_not_yet_whole(garbage, cuts):
    garbage = garbage[:1] + bytes([garbage[1] if garbage[1] != 0xA7 else 0]) + garbage[2:]
    inbox = wire.Inbox(Script(garbage, cuts))

    def read():
        while inbox.receive():
            assert list(inbox.frames()) == []

    with pytest.raises(wire.BrokenFrame):
        read()


@pytest.mark.parametrize(
    "broken",
    [
        header(magic=0xA6),
        header(body=(1 << 40) + 1),
        header(body=(1 << 64) - 1),
        header(buffers=wire.MAX_BUFFERS + 1),
        header(buffers=2) + struct.pack("<QQQQ", 0, 1 << 40, 0, 1),
        header(buffers=1) + struct.pack("<QQ", 0, (1 << 64) - 1),
        header(buffers=1) + struct.pack("<QQ", 65_536, 40_000),  # a block, where no memory is shared
    ],
)
def test_broken_headers(broken):
    inbox = wire.Inbox(Script(broken, []))
    assert inbox.receive()
    with pytest.raises(wire.BrokenFrame):
        list(inbox.frames())


@pytest.mark.parametrize(
    "broken",
    [
        header(body=1 << 40),
        header(buffers=1) + struct.pack("<QQ", 0, 1 << 40),
        header(body=1 << 39, buffers=1) + struct.pack("<QQ", 0, 1 << 39),
    ],
)
def test_a_length_that_no_memory_has_is_a_broken_frame(broken):
    """A flipped bit in a length must cost one worker, not the caller's run (or its machine's memory)."""
    inbox = wire.Inbox(Script(broken, []))
    assert inbox.receive()
    with pytest.raises(wire.BrokenFrame):
        list(inbox.frames())


def test_good_frames_before_garbage_are_given_first(pair):
    pair[0].sendall(joined(wire.frame(16, 7, b"good")) + b"\0" * 40)
    inbox = wire.Inbox(pair[1])
    inbox.receive()
    found = inbox.frames()
    assert bytes(next(found).body) == b"good"
    with pytest.raises(wire.BrokenFrame):
        next(found)


def test_the_end_in_the_middle_of_a_frame_is_the_end(pair):
    data = joined(wire.frame(16, 7, b"x" * 100, [memoryview(b"y" * 100)]))
    pair[0].sendall(data[:150])
    pair[0].close()
    inbox = wire.Inbox(pair[1])
    assert inbox.receive()
    assert list(inbox.frames()) == []
    assert inbox.receive() is False
    assert list(inbox.frames()) == []
