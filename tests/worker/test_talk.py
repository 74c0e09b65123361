"""The worker's side of talk: whole frames whatever interrupts them, a line for each thread."""

from __future__ import annotations

import io
import socket
import sys
import threading

import pytest

from whichpool._worker import records, talk, wire


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def frames_at(sock):
    sock.setblocking(False)
    inbox = wire.Inbox(sock)
    found = []
    try:
        while inbox.receive():
            found += inbox.frames()
    except BlockingIOError:
        pass
    return found


@pytest.fixture
def talking(ends):
    """A stream as a worker's, and what has arrived of it so far."""
    ours, theirs = ends
    one = talk.Talk(talk.Outlet(ours))
    pipe = talk.Pipe(one, 0, None)
    stream = talk.Stream(pipe, "utf-8", "strict")
    one._streams.append(stream)
    return one, stream, lambda: [(frame.number, bytes(frame.body)) for frame in frames_at(theirs)]


def test_a_line_is_sent_once_it_is_whole(talking):
    _, stream, heard = talking
    print("a", "b", end="", file=stream)
    stream.flush()
    assert heard() == []
    print("c", file=stream)
    assert heard() == [(wire.OUT_TEXT, b"a bc\n")]
    stream.write("one\ntwo\nthr")
    assert heard() == [(wire.OUT_TEXT, b"one\ntwo\n")]


def test_each_thread_has_a_line_of_its_own(talking):
    _, stream, heard = talking
    stream.write("mine ")
    thread = threading.Thread(target=print, args=("another's",), kwargs={"file": stream})
    thread.start()
    thread.join()
    print("too", file=stream)
    assert heard() == [(wire.OUT_TEXT, b"another's\n"), (wire.OUT_TEXT, b"mine too\n")]


def test_the_end_of_a_batch_sends_its_own_and_strays_but_no_other_runners(talking):
    one, stream, heard = talking
    go, gone = threading.Event(), threading.Event()

    def runner():
        one.runs_items()
        stream.write("the runner's ")
        gone.set()
        go.wait(30)
        print("end", file=stream)

    thread = threading.Thread(target=runner)
    thread.start()
    assert gone.wait(30)
    stray = threading.Thread(target=stream.write, args=("stray",))
    stray.start()
    stray.join()
    stream.write("mine")
    one.finish()
    assert sorted(heard()) == [(wire.OUT_TEXT, b"mine"), (wire.OUT_TEXT, b"stray")]
    go.set()
    thread.join()
    assert heard() == [(wire.OUT_TEXT, b"the runner's end\n")]
    assert not one.held


def test_a_line_without_end_is_sent_in_parts(talking, monkeypatch):
    one, stream, heard = talking
    monkeypatch.setattr(talk, "LONGEST_LINE_BYTES", 100)
    for _ in range(25):
        stream.write("x" * 10)
    parts = [body for _, body in heard()]
    assert parts == [b"x" * 110] * 2
    one.finish()
    assert heard() == [(wire.OUT_TEXT, b"x" * 30)]


def test_bytes_that_are_no_text_are_sent_as_bytes(talking):
    _, stream, heard = talking
    stream.buffer.write(b"\xff\n")
    stream.buffer.write("é\n".encode())
    stream.buffer.write(memoryview(b"view\n"))
    assert heard() == [
        (wire.OUT_BYTES, b"\xff\n"),
        (wire.OUT_TEXT, "é\n".encode()),
        (wire.OUT_TEXT, b"view\n"),
    ]


def test_it_is_a_text_stream_as_others(talking):
    _, stream, heard = talking
    with pytest.raises(TypeError):
        stream.write(b"bytes")
    with pytest.raises(UnicodeEncodeError):
        stream.write("\udc80")
    stream.writelines(["a\n", "b\n"])
    assert [body for _, body in heard()] == [b"a\n", b"b\n"]
    assert stream.writable()
    assert not stream.readable()
    assert not stream.isatty()
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()
    stream.reconfigure(encoding="latin-1")
    print("é", file=stream)
    assert heard() == [(wire.OUT_TEXT, "é\n".encode())]
    stream.close()
    with pytest.raises(ValueError, match="closed file"):
        print("more", file=stream)


def test_what_speaks_in_the_midst_of_a_frame_goes_out_behind_it(ends, monkeypatch):
    ours, theirs = ends
    outlet = talk.Outlet(ours)
    send_all, depth = wire.send_all, []

    def interrupted(sock, vectors):
        first = not depth
        depth.append(1)
        if first:
            outlet.send(wire.frame(wire.TALK, 1, b"a finalizer's"))
        send_all(sock, vectors)

    monkeypatch.setattr(wire, "send_all", interrupted)
    outlet.send(wire.frame(wire.DONE, 1, b"result"))
    assert [bytes(frame.body) for frame in frames_at(theirs)] == [b"result", b"a finalizer's"]


def test_nobody_there_is_no_error_of_the_item(ends):
    ours, theirs = ends
    theirs.close()
    one = talk.Talk(talk.Outlet(ours))
    one.say(wire.OUT_TEXT, b"into the void")
    one.say(wire.OUT_TEXT, b"again")


def test_the_import_of_a_module_is_noticed_and_leaves_no_trace(tmp_path, monkeypatch):
    (tmp_path / "noticed_module.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    finder = records._Finder({"noticed_module": lambda: seen.append(sys.modules["noticed_module"].VALUE)})
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    import noticed_module

    assert seen == [1]
    assert type(noticed_module.__loader__).__name__ == "SourceFileLoader"
    assert noticed_module.__spec__.loader is noticed_module.__loader__
    del sys.modules["noticed_module"]


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have(ends):
    """Another thread was sending at the fork: in the child nobody lets go of the lock."""
    ours, theirs = ends
    outlet = talk.Outlet(ours)
    held, over = threading.Event(), threading.Event()

    def hold():
        with outlet.lock:
            outlet._busy = True
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        outlet._waiting.append(wire.frame(wire.TALK, wire.OUT_TEXT, b"the other's"))
        outlet.after_fork()
        outlet.send(wire.frame(wire.TALK, wire.OUT_TEXT, b"its own"))
        assert [bytes(frame.body) for frame in frames_at(theirs)] == [b"its own"]
    finally:
        over.set()
        thread.join(30)
