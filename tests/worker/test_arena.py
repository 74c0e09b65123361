"""Shared memory: a block is used again only when nobody looks at it, however it is looked at."""

from __future__ import annotations

import gc
import mmap
import os
import pickle
import threading

import pytest

from whichpool._worker import arena, wire
from whichpool._worker.blocks import GRAIN_BYTES

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd on this system")
MB = 1_000_000


class Both:
    """Both sides of one memory, in one process."""

    def __init__(self, size=1 << 26):
        self.fd, self.memory = arena.create(size)
        self.limit = size
        self.sender, self.parents_receiver = arena.parents(self.memory, lambda: self.limit, lambda: False)
        self.worker = arena.WorkerEnd(arena.attach(self.fd), self.fd)
        self.receiver = self.worker.receiver

    def pages(self):
        return os.fstat(self.fd).st_blocks * 512

    def send(self, data):
        (block,) = self.sender.put([memoryview(data)])
        return block

    def see(self, data):
        block = self.send(data)
        return self.receiver.view(block.offset, block.nbytes)

    def settle(self):
        """What the receiver owes is told."""
        self.sender.back(memoryview(self.receiver.owed()))


@pytest.fixture
def both():
    both = Both()
    yield both
    os.close(both.fd)
    vars(both).clear()  # pytest holds the fixture's value for longer


def test_what_is_sent_is_seen_and_can_be_written(both):
    data = os.urandom(MB)
    view = both.see(data)
    assert view == data
    assert not view.readonly
    view[:3] = b"abc"
    assert bytes(view[:4]) == b"abc" + data[3:4]


def derive_slice(view):
    return view[10:20]


def derive_view_of_view(view):
    return memoryview(view)[1:].toreadonly()


def derive_array(view):
    np = pytest.importorskip("numpy")
    return np.frombuffer(view, dtype="u1").reshape(100, -1)[::2, 5:].T


def derive_pickle_buffer(view):
    return pickle.PickleBuffer(view)


def derive_cast(view):
    return view.cast("d")[3:]


@pytest.mark.parametrize(
    "derive", [derive_slice, derive_view_of_view, derive_array, derive_pickle_buffer, derive_cast]
)
def test_a_block_lives_as_long_as_anything_made_from_it(both, derive):
    view = both.see(b"\1" * MB)
    kept = derive(view)
    del view
    gc.collect()
    assert both.receiver.live == 1
    assert both.receiver.owed() == b""
    other = both.see(b"\2" * MB)
    assert bytes(memoryview(kept))[:1] in (b"\1",)
    del kept, other
    gc.collect()
    assert both.receiver.live == 0
    both.settle()
    assert both.sender.taken == 0


def test_the_same_block_is_used_again_and_again(both):
    seen = set()
    for i in range(300):
        block = both.send(bytes([i % 256]) * MB)
        view = both.receiver.view(block.offset, block.nbytes)
        assert view[0] == view[-1] == i % 256
        seen.add(block.offset)
        del view
        both.settle()
    assert len(seen) == 1
    assert both.pages() < 2 * MB


def test_a_finalizer_in_the_same_garbage_still_sees_its_data(both):
    """The collector runs finalizers in any order, and the block's own may be the first."""
    saw = []

    class Node:
        def __del__(self):
            both.settle()
            other = both.see(b"\2" * MB)  # would take the block, were it free
            saw.append(self.view[0])
            del other

    for _ in range(20):
        node = Node()
        node.me, node.view = node, both.see(b"\1" * MB)
        del node
        gc.collect()
    assert saw == [1] * 20
    both.settle()
    both.settle()
    assert both.sender.taken == 0


def test_what_a_finalizer_brings_back_keeps_its_block(both):
    kept = []

    class Node:
        def __del__(self):
            kept.append(self.view)

    node = Node()
    node.me, node.view = node, both.see(b"\1" * MB)
    del node
    gc.collect()
    for _ in range(3):
        both.settle()
        assert both.sender.taken == 1
        both.see(b"\2" * MB)
    assert bytes(kept[0][:2]) == b"\1\1"
    kept.clear()
    both.settle()
    both.settle()
    assert both.sender.taken == 0


def test_what_does_not_fit_stays_as_it_is(both):
    both.limit = 2 * MB
    buffers = [memoryview(bytes(MB)) for _ in range(3)]
    put = both.sender.put(buffers)
    assert [type(each) for each in put] == [arena.Block, memoryview, memoryview]  # each rounded up a little
    assert put[1:] == buffers[1:]


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 100), (8, 100), (-GRAIN_BYTES, 100), (1 << 62, 100), (None, 1 << 40), (None, 1 << 63), (None, 0)],
)
def test_where_no_block_can_be_is_said(both, offset, size):
    start = both.send(bytes(MB)).offset if offset is None else offset
    with pytest.raises(ValueError, match="where no block is"):
        both.receiver.view(start, size)
    assert both.receiver.live == 0


def test_a_block_in_use_is_not_given_out_twice(both):
    block = both.send(bytes(MB))
    view = both.receiver.view(block.offset, block.nbytes)
    with pytest.raises(ValueError, match="in use"):
        both.receiver.view(block.offset, block.nbytes)
    del view


@pytest.mark.parametrize("body", [b"\0" * 8, b"\0" * 7, b"\xff" * 16])
def test_blocks_that_were_never_given_out_are_not_taken_back(both, body):
    with pytest.raises(ValueError, match="no blocks"):
        both.sender.back(memoryview(body))


def test_nothing_can_cut_the_memory_short(both):
    for size in (0, 1 << 12, 1 << 40):
        with pytest.raises(PermissionError):
            os.ftruncate(both.fd, size)


def test_tidying_up_gives_back_all_but_what_is_looked_at(both):
    many = [both.see(bytes([i]) * MB) for i in range(1, 21)]
    kept = many[7]
    del many
    assert both.pages() > 19 * MB
    both.worker.trim()
    assert both.pages() < 2 * MB
    assert kept[0] == kept[-1] == 8
    both.settle()
    assert both.see(b"\5" * MB)[MB - 1] == 5


def test_results_that_were_dropped_while_idle_are_tidied_up_before_they_are_told(both):
    sender, receiver = both.worker.sender, both.parents_receiver
    both.memory[arena.BOARD_BYTES : arena.BOARD_BYTES + 8] = (1 << 26).to_bytes(8, "little")
    views = [receiver.view(b.offset, b.nbytes) for b in sender.put([memoryview(b"\7" * MB)] * 10)]
    kept = views.pop()
    del views
    sender.trim()
    assert both.pages() < 2 * MB
    assert kept[5] == 7
    del kept
    sender.back(memoryview(receiver.owed()))
    assert sender.taken == 0
    (block,) = sender.put([memoryview(b"\6" * MB)])
    view = receiver.view(block.offset, block.nbytes)
    sender.trim()
    assert view[0] == 6
    del view


def test_results_that_are_dropped_after_the_worker_has_gone_give_their_memory_back(both):
    sender, receiver = both.worker.sender, both.parents_receiver
    views = [receiver.view(b.offset, b.nbytes) for b in sender.put([memoryview(b"\7" * MB)] * 10)]
    receiver.close()
    assert views[3][0] == 7
    kept = views.pop()
    del views
    assert both.pages() < 2 * MB
    assert kept[0] == 7


def test_a_fork_keeps_what_it_may_look_at(both):
    view = both.see(b"\1" * MB)
    pid = os.fork()
    if pid == 0:
        del view
        os._exit(0 if both.receiver.owed() == b"" else 1)
    del view
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    both.settle()
    assert both.sender.taken == 1
    both.worker.trim()
    assert both.pages() >= MB  # the child's, if it still ran


def test_many_threads_send_and_drop_at_once(both):
    """Each thread's data stay its own while others take and give blocks."""
    wrong, turn = [], threading.Lock()

    def work(mark):
        for i in range(200):
            size = 40_000 + 1000 * ((i * mark) % 37)
            block = both.send(bytes([mark]) * size)
            view = both.receiver.view(block.offset, block.nbytes)
            if view[0] != mark or view[-1] != mark or bytes(view) != bytes([mark]) * size:
                wrong.append((mark, i))
            del view
            with turn:
                both.settle()

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    both.settle()
    assert both.sender.taken == 0
    assert both.receiver.live == 0


def test_a_frame_names_blocks(both):
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = wire.Inbox(theirs)
        inbox.blocks = both.receiver
        body, buffers = wire.dumps(
            [pickle.PickleBuffer(bytearray(b"x" * MB)), pickle.PickleBuffer(b"y" * MB)]
        )
        wire.send_all(ours, wire.frame(wire.BATCH, 3, body, both.sender.put(buffers)))
        assert inbox.receive()
        (frame,) = inbox.frames()
        writable, fixed = frame.load()
        assert (bytes(writable[:2]), bytes(fixed[:2])) == (b"xx", b"yy")
        assert (writable.readonly, fixed.readonly) == (False, True)
        assert frame.received_bytes == 0


def test_without_room_for_arenas_there_is_still_a_board(monkeypatch):
    real = mmap.mmap

    def refuse(fd, size, *args, **kwargs):
        if size > arena.BOARD_BYTES:
            raise OSError(12, "Cannot allocate memory")
        return real(fd, size, *args, **kwargs)

    monkeypatch.setattr(arena.mmap, "mmap", refuse)
    fd, memory = arena.create()
    os.close(fd)
    assert not arena.has_arenas(memory)
    assert memory[:] == b"\xff" * arena.BOARD_BYTES
