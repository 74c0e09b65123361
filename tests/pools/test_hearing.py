"""The parent's side of talk: whatever comes, it is handed on or is a broken frame."""

from __future__ import annotations

import mmap
import pickle
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool._pools import fleet, hearing
from whichpool._worker import wire

KINDS = [wire.OUT_TEXT, wire.ERR_TEXT, wire.OUT_BYTES, wire.ERR_BYTES, wire.RECORD, wire.WARNING]
RECORD = {
    "name": "a",
    "msg": "text",
    "args": None,
    "exc_info": None,
    "levelno": 30,
    "levelname": "WARNING",
    "created": 1.0,
    "pathname": "p.py",
}
GOOD = {
    wire.RECORD: pickle.dumps((False, None, RECORD, {"extra": pickle.dumps([1])}), protocol=5),
    wire.WARNING: pickle.dumps(("text", "builtins", "UserWarning", "p.py", 3, "p", None, False), protocol=5),
}


def read(kind, body):
    return hearing._read(wire.Frame(wire.TALK, kind, memoryview(body), []))


@given(st.integers(0, 9), st.binary(max_size=200))
def test_any_bytes_are_talk_or_a_broken_frame(kind, body):
    try:
        assert callable(read(kind, body))
    except wire.BrokenFrame:
        return
    assert kind in KINDS


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_changed_byte_is_talk_or_a_broken_frame(kind, data):
    body = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(kind, bytes(body))
    except wire.BrokenFrame:
        pass


def test_the_good_ones_are_read():
    for kind, body in GOOD.items():
        assert callable(read(kind, body))


def test_talk_has_no_buffers():
    with pytest.raises(wire.BrokenFrame):
        hearing._read(wire.Frame(wire.TALK, wire.OUT_TEXT, memoryview(b"a\n"), [bytearray(1)]))


def test_an_extra_that_cannot_be_loaded_costs_nothing_but_itself(caplog):
    extras = {"good": pickle.dumps([1]), "bad": b"no pickle"}
    read(wire.RECORD, pickle.dumps((False, None, RECORD, extras)))()
    (record,) = caplog.records
    assert record.good == [1]
    assert not hasattr(record, "bad")


def test_a_failure_to_hand_on_is_reported_and_the_next_is_heard(monkeypatch, capsys):
    failures = []
    heard = hearing.Hearing(failures.append)
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", object())
    heard.hear(wire.Frame(wire.TALK, wire.OUT_TEXT, memoryview(b"dropped\n"), []))
    heard.hear(wire.Frame(wire.TALK, wire.ERR_TEXT, memoryview(b"fails\n"), []))
    monkeypatch.undo()
    assert [type(error) for error in failures] == [AttributeError]
    assert "handed on" in failures[0].__notes__[0]


def test_what_came_early_is_heard_first(capsys):
    heard = hearing.Hearing(pytest.fail)
    early = [wire.Frame(wire.TALK, wire.OUT_TEXT, memoryview(b"early\n"), [])]
    heard.later(early)
    assert early == []
    heard.hear(wire.Frame(wire.TALK, wire.OUT_TEXT, memoryview(b"late\n"), []))
    assert capsys.readouterr().out == "early\nlate\n"


def test_an_idle_worker_that_speaks_is_kept_and_heard_later():
    ours, theirs = socket.socketpair()
    board = mmap.mmap(-1, 4096)
    with ours, theirs:
        ours.setblocking(False)
        worker = fleet.Worker(ours, -1, board, None, 1)
        try:
            assert worker.idle_and_alive()
            wire.send_all(theirs, wire.frame(wire.TALK, wire.OUT_TEXT, b"a stray thread's\n"))
            assert worker.idle_and_alive()
            assert [bytes(frame.body) for frame in worker.stray] == [b"a stray thread's\n"]
            wire.send_all(theirs, wire.frame(wire.DONE, 1, b""))
            assert not worker.idle_and_alive()
            theirs.close()
            assert not worker.idle_and_alive()
        finally:
            worker.board.release()  # the pages go with the last view of them
