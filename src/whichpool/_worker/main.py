"""One worker process: takes batches from its socket, runs them, sends what came of them.

The board is one page of memory that the parent can read too. Before each item a worker thread writes the item's index
into its slot, so that the parent knows which item killed a worker even when nothing more could be sent.
"""

from __future__ import annotations

import _pickle as pickle
import errno
import os
import sys
import time
from _thread import allocate_lock, start_new_thread

from . import arena, wire
from .apart import Apart
from .arena import BOARD_BYTES
from .calls import CANNOT_RETURN, NOTHING, Job, Tree, dump_anything, pack_error, reseed, short_repr
from .delay import run_delay_clock
from .records import loaded, loading
from .talk import Outlet, Talk
from .watch import Watch, item_changed, item_look

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    import mmap
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from .calls import PackedError

SLOTS = BOARD_BYTES // 8 - 1  # one thread each; the last word is the parent's
CANCEL_SLOT = SLOTS  # the parent writes the number of the job that is to stop
IDLE = -1  # in a slot: between batches
# In a slot, for a batch whose first item has index i: HANDLING - i. The batch is being unpickled, combined or pickled,
# which runs the user's code too, and no item of it is running.
HANDLING = -2
# In slot 0, while a function is unpickled, which imports what it needs.
LOADING = -(1 << 62)

# What the socket says when the parent is gone or no longer wants to hear; or when a function has closed it.
GONE = (errno.EPIPE, errno.ECONNRESET, errno.EBADF)

# Among the errors of an answer, in place of an offset: the batch could not be unpickled, and nothing of it was run.
UNREADABLE = -1

# A batch is handed back unfinished after so long, so that nobody waits for the items behind a slow one.
# Batches are sized for 5 to 20 ms; three times that is past any misjudgement worth waiting for.
LONGEST_BATCH_S = 0.060
# The clock and the cancel word are looked at about so often: a look costs 0.1 us, and "none starts after" a failure
# is kept to within this time.
LOOK_S = 0.0005
# ... and at least once in so many items.
STRIDE = 4096
# A worker that has had nothing to do for so long ends. Long enough for a person at a prompt, short enough not to be
# found in `ps` the next morning.
IDLE_S = 60.0


class Worker:
    """The state of this process: its jobs, its threads, its board."""

    def __init__(self, sock: socket.socket, memory: mmap.mmap, memory_fd: int) -> None:
        self._sock = sock
        self._board = memoryview(memory)[:BOARD_BYTES].cast("q")
        self._shared = arena.WorkerEnd(memory, memory_fd) if arena.has_arenas(memory) else None
        self._jobs: dict[int, tuple[Job, Any]] = {}
        self._contexts: dict[int, Context] = {}  # of the jobs whose caller had set context variables
        self._broken: dict[int, PackedError] = {}
        self._outlet = Outlet(sock)
        self._send_lock = self._outlet.lock
        self.talk = Talk(self._outlet)
        self._apart = Apart()
        self._threads = 0  # beside the main thread, which runs items only if there are none
        self._slots: set[int] = set()
        self._queue: Any = None
        self._delay = run_delay_clock()
        self._turn = allocate_lock()  # seeded calls take turns: the global generators are one per process
        self._trim: Callable[[int], object] | None = None  # gives what is free back to the system

    def after_fork(self) -> None:
        """In a child that the function forks: what is here is the worker's.

        Its socket must not be held open, for its end says that the worker has ended. If the child comes back from the
        function, it must not go on with the batch, whose items the worker runs: without the board it cannot.
        """
        self._sock.close()
        self._board.release()
        self.talk.after_fork()

    def serve(self) -> None:
        """Answer frames until the parent is gone, says good-bye, or has had nothing to say for `IDLE_S`."""
        from select import POLLIN, poll

        poller = poll()
        poller.register(self._sock, POLLIN)
        inbox = wire.Inbox(self._sock, luggage=True)
        shared = self._shared
        if shared is not None:
            inbox.blocks = shared.receiver
        self._send(wire.frame(wire.READY, os.getpid(), b"+" if shared is not None else b""))
        while True:
            if not (shared.wait(poller, IDLE_S) if shared is not None else poller.poll(IDLE_S * 1000)):
                if any(self._board[slot] != IDLE for slot in self._slots):
                    continue
                return
            if not inbox.receive():
                return
            for frame in inbox.frames():
                if frame.kind == wire.BYE:
                    return
                self._handle(frame)

    def _handle(self, frame: wire.Frame) -> None:
        if frame.kind == wire.BATCH:
            if not self._threads:
                self._run(frame, 0, self._delay)
            else:
                self._queue.put(frame)
        elif frame.kind == wire.LOAD:
            self._load(frame)
        elif frame.kind == wire.FORGET:
            self._jobs.pop(frame.number, None)
            self._contexts.pop(frame.number, None)
            self._broken.pop(frame.number, None)
        elif frame.kind == wire.FREED and self._shared is not None:
            self._shared.sender.back(frame.body)
        elif frame.kind == wire.SETUP:
            self._set_up(pickle.loads(frame.body))

    def _set_up(self, wish: dict[str, Any]) -> None:
        """Make the surroundings those of the caller: a function may look at all of them."""
        if "cwd" in wish:
            try:
                os.chdir(wish["cwd"])
            except OSError:
                pass  # the caller's own directory is gone: relative paths fail there too
        if "path" in wish:
            sys.path[:] = wish["path"]
            sys.path_importer_cache.clear()
        if "argv" in wish:
            sys.argv[:] = wish["argv"]
        if "env" in wish:
            os.environ.clear()
            os.environ.update(wish["env"])
        if "limits" in wish:
            recursion, digits = wish["limits"]
            sys.setrecursionlimit(recursion)
            sys.set_int_max_str_digits(digits)
        self.talk.set_up(wish)
        if "native" in wish:
            _limit_native(wish["native"])
        if "tight" in wish:
            self._trim = _malloc_trim() if wish["tight"] else None
        if "threads" in wish:
            self._set_threads(wish["threads"])

    def _set_threads(self, threads: int) -> None:
        """Have so many threads; one means that items run on the process's main thread, whose slot is 0.

        More of them than the plan says would run a batch that is only to be at hand.
        """
        wanted = threads if threads > 1 else 0
        if self._queue is None:
            from queue import SimpleQueue

            self._queue = SimpleQueue()
        while self._threads < wanted:
            try:
                start_new_thread(self._thread_main, ())
            except RuntimeError:
                break  # the system starts no more: those that there are, or the main thread, do it
            self._threads += 1
        while self._threads > wanted:
            self._queue.put(None)
            self._threads -= 1

    def _thread_main(self) -> None:
        delay = run_delay_clock()
        self.talk.runs_items()
        with self._send_lock:
            slot = next(i for i in range(1, SLOTS) if i not in self._slots)
            self._slots.add(slot)
        try:
            while (frame := self._queue.get()) is not None:
                self._run(frame, slot, delay)
        except BaseException as error:
            if self.talk.alone:
                os._exit(1)  # a forked child that has come back from the function, or a worker at its end
            # The batch in hand has no other end: without this thread it would be waited for in vain. The main thread
            # need not notice; while it waits for a socket, that is not closed for the parent either.
            try:
                if not (isinstance(error, OSError) and error.errno in GONE):
                    import traceback

                    self.talk.alone = True  # what is said now cannot go by the socket
                    traceback.print_exc()
            finally:
                os._exit(1)
        self._slots.discard(slot)
        self.talk.runs_no_more()

    def _load(self, frame: wire.Frame) -> None:
        number = frame.number
        self._board[0] = LOADING
        before = loading()
        try:
            job: Job = frame.load()
            loaded(before)
            if job.state is not None:
                from .state import set_module_state

                set_module_state(job.state)
            watch = None
            if job.watch is not None:
                watch = Watch(job.fn, job.watch)
            if job.context:
                from .context import unpack_context

                self._contexts[number] = unpack_context(job.context)
            self._jobs[number] = job, watch
        except BaseException as error:
            self._broken[number] = packed = pack_error(error)
            self._send(wire.frame(wire.LOST, number, pickle.dumps(packed, protocol=5)))
        finally:
            self._board[0] = IDLE
        if self.talk.held:
            self.talk.finish()

    def _run(self, frame: wire.Frame, slot: int, delay: Callable[[], float]) -> None:
        """Run one batch and send what came of it."""
        start, number = wire.BATCH_HEAD.unpack_from(frame.body)
        if number not in self._jobs:
            return  # it could not be loaded, which the parent has been told, or is over
        job, watch = self._jobs[number]
        self._board[slot] = HANDLING - start
        wall = time.perf_counter()
        before = watch.look() if watch is not None else None
        mutable = None
        errors: dict[int, PackedError] = {}
        try:
            items = frame.load(wire.BATCH_HEAD.size)
        except BaseException as error:
            values: Any = []
            ran, items = 0, []
            errors[UNREADABLE] = pack_error(error)
            land, ran_s, thread, process = time.perf_counter() - wall, 0.0, 0.0, 0.0
        else:
            frame.body, frame.buffers = memoryview(b""), []  # the items own their memory now
            land = time.perf_counter() - wall
            thread, process = time.thread_time(), time.process_time()
            mutable = item_look(items[0]) if watch is not None and items else None
            wall = time.perf_counter() - delay()
            context = self._contexts.get(number)
            if context is None:
                values, ran = self._calls(job, number, items, start, slot, errors)
            else:
                values, ran = context.copy().run(self._calls, job, number, items, start, slot, errors)
            ran_s = time.perf_counter() - delay() - wall
            thread, process = time.thread_time() - thread, time.process_time() - process
        wrote = []
        if watch is not None and items:
            wrote = watch.changed(before, watch.look())
            if mutable is not None and ran and item_changed(mutable, item_look(items[0])):
                wrote.append("its item")
        back = len(items) - ran if not errors or job.keep_going else 0
        del items
        wall = time.perf_counter()
        body, buffers = self._pack(job, values, errors, wrote, start)
        if buffers and self._shared is not None:
            buffers = self._shared.sender.put(buffers)
        land += time.perf_counter() - wall
        if self.talk.held:
            self.talk.finish()
        if self._trim is not None:
            self._trim(0)
        head = wire.DONE_HEAD.pack(ran, back, ran_s, thread, process, land)
        self._send(wire.frame(wire.DONE, frame.number, body, buffers, head))
        self._board[slot] = (
            IDLE  # not before: an item may have closed the socket, and the next try would end the same
        )

    def _calls(
        self, job: Job, number: int, items: list[Any], start: int, slot: int, errors: dict[int, PackedError]
    ) -> tuple[Any, int]:
        """The results, or the nodes of the reduction, and how many items were run.

        Ends early, between items, when the batch has taken too long or was cancelled.
        """
        board, call = self._board, job.caller()
        values: list[Any] = []
        append = values.append
        if job.seed is not None:
            call = self._seeded(job, call, slot)
        n, at, stride = len(items), 0, 1
        began = time.perf_counter()
        deadline = began + LONGEST_BATCH_S
        if board[CANCEL_SLOT] == number:
            n = 0  # it was at hand when another item failed
        while at < n:
            try:
                for board[slot], item in enumerate(items[at : at + stride], start + at):
                    append(call(item))
            except BaseException as error:
                failed = board[slot] - start
                errors[failed] = pack_error(error)
                if not job.keep_going or not isinstance(error, Exception):
                    at = failed + 1
                    break
                append(NOTHING)
                at = failed + 1
            else:
                at += stride
            now = time.perf_counter()
            if board[CANCEL_SLOT] == number or now > deadline:
                break
            # Slow items are looked at one by one, fast ones in strides of about LOOK_S.
            stride = max(1, min(STRIDE, int(at * LOOK_S / (now - began + 1e-9))))
        at = min(at, n)
        board[slot] = HANDLING - start
        if job.combine is None:
            return values, at
        tree = Tree(job.combine)
        for i, value in enumerate(values, start):
            try:
                tree.add(0, i, value)
            except BaseException as error:
                errors[i - start] = pack_error(error)
                break
        return tree.nodes(), at

    def _seeded(self, job: Job, call: Any, slot: int) -> Any:
        board, turn = self._board, self._turn

        def seeded(item: Any) -> Any:
            with turn:
                reseed(job.seed or 0, board[slot], job.numpy)
                return call(item)

        return seeded

    def _pack(
        self, job: Job, values: Any, errors: dict[int, PackedError], wrote: list[str], start: int
    ) -> tuple[bytes, list[memoryview]]:
        """Pickle the results; one that cannot be pickled becomes its item's error."""
        rest = (errors, wrote)
        try:
            body, buffers = self._apart.dumps(values, rest=rest)
            if b"__main__" not in body:
                return body, buffers
        except BaseException:
            pass
        try:
            from . import byvalue

            return self._apart.dumps(values, byvalue.dumps, rest)
        except BaseException:
            pass
        good: list[Any] = []
        for i, value in enumerate(values):
            try:
                dump_anything(value)
                good.append(value)
            except BaseException as error:
                error.add_note(
                    f"whichpool: this is the result {short_repr(value)} of type {type(value).__name__}"
                )
                _, name, text, trace = pack_error(error)
                errors[i] = (None, CANNOT_RETURN, f"{name}: {text}", trace)
                if not job.keep_going or job.combine is not None:
                    break
                good.append(NOTHING)
        errors = {i: error for i, error in errors.items() if i <= len(good)}
        from . import byvalue

        return wire.dumps((good, errors, wrote), byvalue.dumps)

    def let_go(self) -> None:
        """At the end: what nobody looks at of the shared memory is given back, which the parent may hold for long."""
        if self._shared is not None:
            self._shared.trim()

    def _send(self, vectors: list[Any]) -> None:
        if self._shared is not None and (owed := self._shared.receiver.owed()):
            vectors = [*wire.frame(wire.FREED, 0, owed), *vectors]
        self._outlet.send(vectors)


def _limit_native(threads: int) -> None:
    """Libraries that are loaded already read the environment long ago, and must be told."""
    if "numpy" in sys.modules or "torch" in sys.modules:
        try:
            from threadpoolctl import threadpool_limits

            threadpool_limits(threads)
        except ImportError:
            pass


def _malloc_trim() -> Callable[[int], object] | None:
    """The C library's, where it has one: glibc keeps tens of megabytes that were freed (`launch.MALLOC`)."""
    try:
        import ctypes

        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return None
    return found


def run(sock: socket.socket, board_fd: int) -> None:
    """Be a worker on this socket until it is over; the process should end right after."""
    import _signal as signal  # type: ignore[import-not-found]  # typeshed has `signal` only

    # Ctrl-C reaches the whole process group; what it means is the parent's to say. A handler that does nothing, not
    # SIG_IGN, because programs that the caller's function starts would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    # What is written past the streams of `talk`, to ``sys.__stdout__``, shares the terminal: it comes in whole lines.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, write_through=False)
    worker = Worker(sock, arena.attach(board_fd), board_fd)
    os.register_at_fork(after_in_child=worker.after_fork)
    worker.talk.install()
    try:
        worker.serve()
    except OSError as error:
        if error.errno not in GONE:
            raise
    finally:
        if worker.talk.alone:
            os._exit(1)  # likewise
        worker.let_go()
        worker.talk.alone = True
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass
