"""A worker's own side of a batch, in this process."""

from __future__ import annotations

import mmap
import pickle
import socket

import pytest

from whichpool._worker import main, wire
from whichpool._worker.calls import Job


@pytest.fixture
def worker():
    """(the worker, the parent's end of its socket)"""
    ours, theirs = socket.socketpair()
    with ours, theirs, mmap.mmap(-1, main.BOARD_BYTES) as memory:
        made = main.Worker(ours, memory, -1)
        yield made, theirs
        made._board.release()
        made._delay = float  # let go of its descriptor


def batch(items, job):
    head = wire.BATCH_HEAD.pack(0, job)
    return wire.Frame(wire.BATCH, 5, memoryview(head + pickle.dumps(items, protocol=5)), [])


def answer(sock):
    inbox = wire.Inbox(sock)
    inbox.receive()
    (frame,) = inbox.frames()
    ran, back, *_ = wire.DONE_HEAD.unpack_from(frame.body)
    return ran, back, frame.load(wire.DONE_HEAD.size)[0]


def test_a_batch_that_was_at_hand_when_its_job_ended_is_handed_back_unrun(worker):
    made, parent = worker
    ran = []
    made._jobs[3] = Job(ran.append), None
    made._handle(batch([10, 11], 3))
    assert answer(parent) == (2, 0, [None, None])
    made._board[main.CANCEL_SLOT] = 3
    made._handle(batch([12, 13], 3))
    assert answer(parent) == (0, 2, [])
    assert ran == [10, 11]
