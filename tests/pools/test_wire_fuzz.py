"""What a worker may send: anything. It ends that worker at the most, in bounded memory and time."""

from __future__ import annotations

import resource
import select
import socket
import struct
import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import whichpool
from whichpool._pools import fleet, processes
from whichpool._run.sinks import ListSink
from whichpool._run.work import Work
from whichpool._worker import wire
from whichpool._worker.calls import Job
from whichpool._worker.luggage import Packed
from whichpool._worker.main import BOARD_BYTES, HANDLING, Worker

ITEMS = 6
MOST_BYTES = 1 << 28
"""More than this no fuzzed frame may cost here: four times what is taken at once for one."""


def joined(vectors):
    return b"".join(bytes(v) for v in vectors)


def answer(number=1, ran=ITEMS, back=0, values=None, errors=None, wrote=(), seconds=(0.1,) * 4):
    values = list(range(ITEMS)) if values is None else values
    body, buffers = wire.dumps((values, errors if errors is not None else {}, list(wrote)))
    head = wire.DONE_HEAD.pack(ran, back, *seconds)
    return joined(wire.frame(wire.DONE, number, body, buffers, head))


ERROR = (None, "ValueError", "no", "trace")
WELL_FORMED = [
    answer(),
    answer(ran=3, back=3, values=[0, 1, 2]),
    answer(values=[0, 1, 2], ran=4, errors={3: ERROR}),
    answer(errors={-1: ERROR}, values=[], ran=0),
    answer(values=[bytearray(40_000)] * ITEMS),
    joined(wire.frame(wire.READY, 4711, b"")),
]
NONSENSE = [
    answer(ran=2**32 - 1),
    answer(back=2**32 - 1),
    answer(ran=0, back=0, values=[]),
    answer(values=[0]),
    answer(values=list(range(ITEMS)), back=1),
    answer(seconds=(float("nan"),) * 4),
    answer(seconds=(float("inf"), 1.0, 1.0, 1.0)),
    answer(seconds=(-1e300, 1e300, 0.0, 0.0)),
    answer(values=[], errors={"a": ERROR}),
    answer(values=[], errors={0: 3}),
    answer(values=[], errors={0: (3, 4, 5, 6)}),
    answer(values=[0], errors={5: ERROR}),
    answer(values=[], errors={-2: ERROR}),
    answer(wrote=[3]),
    answer(number=2),
    joined(wire.frame(wire.READY, 1, b"")) * 2,
    joined(wire.frame(wire.LOST, 1, b"junk")),
    joined(wire.frame(wire.SETUP, 1, b"")),
    joined(wire.frame(99, 1, b"")),
    struct.pack("<BBHIQ", wire.DONE, 0xA7, 0, 1, 12 << 30),
    struct.pack("<BBHIQ", wire.DONE, 0xA7, 1, 1, 0) + struct.pack("<Q", 11 << 30),
    struct.pack("<BBHIQ", wire.DONE, 0xA7, 1000, 1, 0) + struct.pack("<Q", 10 << 20) * 1000,
    struct.pack("<BBHIQ", wire.DONE, 0xA7, 65535, 1, 0),
    struct.pack("<BBHIQ", wire.DONE, 0xA7, 2, 1, 2**64 - 1) + struct.pack("<QQ", 2**64 - 1, 2**63),
]

mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)


@st.composite
def streams(draw):
    """Bytes of nowhere, frames, parts of frames, and frames in which some bytes are others."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            parts.append(draw(st.binary(max_size=200)))
            continue
        data = bytearray(draw(st.sampled_from(WELL_FORMED + NONSENSE)))
        if kind == 2:
            # The head, and what of the body is numbers; a pickle with other bytes may be any program.
            for at, value in draw(mutations):
                data[at % min(len(data), wire.DONE_HEAD.size + 16)] = value
        elif kind == 3:
            del data[draw(st.integers(0, len(data))) :]
        parts.append(bytes(data))
    return b"".join(parts)


class Server:
    """Stands for the fork server of a worker that is this test's own end of a socket."""

    proven = False

    def __init__(self):
        self.killed = 0

    def kill(self, token):
        self.killed += 1

    def exit_code(self, token, wait_s=0.0):
        return -9


class Meter:
    def add_remote(self, *args, **kwargs):
        pass

    add_ship = add_remote


class Sizer:
    def next(self, remaining, workers):
        return ITEMS

    def prefetch(self, width, remaining, workers):
        return 0


class Crew:
    """The parent's side, whole, with one worker that is a socket here."""

    def __init__(self, monkeypatch_lease, combine=None, keep_going=True):
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.server = Server()
        worker = fleet.Worker(self.ours, -1, bytearray(b"\xff" * BOARD_BYTES), self.server, 1)
        self.board = worker.board
        job = Job(abs, combine=combine, keep_going=keep_going)
        self.work = Work(job, iter(range(ITEMS)), ITEMS, ListSink([]), return_failures=True)
        self.crew = processes.Processes(
            self.work, Packed(b"job"), Sizer(), Meter(), lambda: self.work.remaining
        )
        leases = [[worker]]
        monkeypatch_lease(lambda wanted: leases.pop() if leases else [])
        self.crew.hire(1)
        self.crew.feed(1, 1)

    def hear(self, data):
        """Have the worker be up, be given its batch, send this, and hang up."""
        self.theirs.sendall(joined(wire.frame(wire.READY, 1, b"")))
        self.crew.step(0.0)
        self.board[0] = HANDLING
        assert self.crew.busy == 1
        sender = threading.Thread(target=self._send, args=(data,))
        sender.start()
        try:
            for _ in range(20 + len(data) // 1000):
                if not self.crew._roster or not self.work.is_open():
                    return
                select.select([self.ours], [], [], 5)
                self.crew.step(0.0)
            raise AssertionError("it listens for ever")
        finally:
            self.ours.close()  # so that whoever still sends is told
            sender.join()

    def _send(self, data):
        try:
            self.theirs.sendall(data)
            self.theirs.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end was closed: it has heard enough

    def close(self):
        self.crew.stop(kill=False)
        self.ours.close()
        self.theirs.close()


@pytest.fixture(scope="module")
def lease():
    patch = pytest.MonkeyPatch()
    yield lambda function: patch.setattr(fleet, "lease", function)
    patch.undo()


def with_examples(test):
    for data in WELL_FORMED + NONSENSE:
        test = example(data=data)(test)
    return test


@settings(max_examples=300)
@given(data=streams())
@with_examples
def test_the_parent_loses_that_worker_at_the_most(data, lease):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crew = Crew(lease)
    try:
        crew.hear(data)
    except whichpool.CannotTravel:
        pass  # it said that it could not load the function, in a message that is one
    else:
        work = crew.work
        values = [r for r in work.sink.values if not isinstance(r, whichpool.Failure)]
        # Each item has a result, or is to be run elsewhere; none has two.
        assert len(work.sink.values) <= ITEMS
        assert work.done <= ITEMS
        assert work.done + work.remaining == ITEMS
        assert len(values) <= work.done
    finally:
        crew.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_BYTES // 1024


@pytest.mark.parametrize("data", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_answer(data, lease):
    crew = Crew(lease)
    crew.hear(data)
    assert crew.work.done == crew.work.failed == (1 if crew.work.failed else 0)
    crew.close()


@settings(max_examples=300)
@given(data=streams(), cut=st.integers(1, 300))
def test_an_inbox_gives_frames_or_says_that_they_are_none(data, cut):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox, got = wire.Inbox(ours), 0
        try:
            for at in range(0, len(data), cut):
                theirs.sendall(data[at : at + cut])
                assert inbox.receive()
                got += sum(1 for _ in inbox.frames())
        except wire.BrokenFrame:
            pass
        assert got <= len(data) // 16


@settings(max_examples=60)
@given(data=streams())
@example(data=joined(wire.frame(wire.BYE, 0, b"")))
@example(data=joined(wire.frame(wire.BATCH, 1, b"x")))
@example(data=joined(wire.frame(wire.SETUP, 1, b"junk")))
def test_a_worker_ends_whatever_it_is_sent(data):
    """On the worker's side an error ends the process, which is what its parent waits for; a hang would not."""
    ours, theirs = socket.socketpair()
    with theirs:
        board = memoryview(bytearray(b"\xff" * BOARD_BYTES)).cast("q")

        def serve():
            with ours:
                try:
                    Worker(ours, board).serve()
                except Exception:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        theirs.settimeout(10)
        try:
            while theirs.recv(65536):
                pass
        except OSError:
            pass
        thread.join(10)
        assert not thread.is_alive()
