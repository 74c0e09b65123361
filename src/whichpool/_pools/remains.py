"""What a worker leaves behind: answers and exceptions to unpack, an exit code to put into words."""

from __future__ import annotations

import pickle
from enum import Enum
from signal import SIGKILL

from whichpool._pools.health import bytes_in_words
from whichpool._worker import wire
from whichpool._worker.calls import CANNOT_RETURN, short_repr
from whichpool._worker.main import UNREADABLE
from whichpool.errors import CannotTravel, ItemTimeout, OverMemory, RemoteError, RemoteTraceback, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from whichpool._pools.base import Batch
    from whichpool._pools.fleet import Worker
    from whichpool._worker.calls import Job, PackedError

    Answer = tuple[
        list[Any], dict[int, PackedError], list[str]
    ]  # results, errors by offset, names that were written

__all__ = [
    "Why",
    "check_sums",
    "died",
    "does_not_fit",
    "end",
    "how_it_ended",
    "not_loaded",
    "not_received",
    "read_answer",
    "read_loss",
    "too_large",
    "too_long",
    "unpack_error",
]


class Why(Enum):
    """Why a worker is there no more."""

    ENDED = "its socket has closed, because it has ended"
    SEVERED = "it closed its socket and went on, and was ended"
    BABBLED = "it sent what is no message, and was ended"
    LATE = "it was over its time, and was ended"
    LARGE = "it held more memory than was left for it, and was ended"
    STOPPED = "a signal stopped it, it did not go on, and was ended"


# A worker whose socket has closed has mostly ended, and the kernel says so within milliseconds; after so long it is
# taken to have closed the socket itself and to go on, and is ended. One that only ends slowly keeps its own exit code.
LET_GO_S = 0.25
# No batch takes so long, seconds: thirty years.
LONGEST_S = 1e9


def unpack_error(packed: PackedError) -> BaseException:
    """The exception that a worker packed, its traceback as `__cause__`; a stand-in if it could not be pickled."""
    data, name, text, trace = packed
    error: BaseException | None = None
    if data is not None:
        try:
            error = pickle.loads(data)
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        if name == CANNOT_RETURN:
            error = CannotTravel(f"the result cannot be sent back from a worker process: {text}")
        else:
            error = RemoteError(name, text)
    error.__cause__ = RemoteTraceback(trace)
    return error


def check_sums(ran: int, back: int, spent_s: tuple[float, ...], size: int) -> None:
    """The numbers at the head of an answer to a batch of this size.

    Raises:
        BrokenFrame: They cannot be.
    """
    if ran + back > size or not all(
        abs(each_s) < LONGEST_S for each_s in spent_s
    ):  # NaN is not below it either
        raise wire.BrokenFrame(
            f"an answer that says {ran} of {size} items ran, {back} did not, in {spent_s} s"
        )


def read_answer(frame: wire.Frame, offset: int, most: int, back: int, job: Job) -> Answer:
    """What a worker answered to a batch of ``most`` items. A result that cannot be unpickled is its item's error.

    Raises:
        BrokenFrame: It is no answer, or says nothing of an item that was not handed ``back``.
    """
    try:
        answer = frame.load(offset)
    except Exception:
        from whichpool._pools.unpickling import readable_part

        try:
            answer = readable_part(frame, offset)
        except Exception as error:
            raise wire.BrokenFrame(f"{type(error).__name__}: {error}") from error
    if isinstance(answer, tuple) and len(answer) == 3:
        values, errors, wrote = answer
        of_types = isinstance(values, list) and isinstance(errors, dict) and isinstance(wrote, list)
        if of_types and _adds_up(values, errors, most, back, job) and all(isinstance(n, str) for n in wrote):
            return values, errors, wrote
    raise wire.BrokenFrame(f"an answer of type {type(answer).__name__} that is none")


def _adds_up(values: list[Any], errors: dict[Any, Any], most: int, back: int, job: Job) -> bool:
    """Whether something is said of every item that was not handed back, in the shapes that it must have."""
    if not all(type(at) is int and UNREADABLE <= at < most and _is_error(e) for at, e in errors.items()):
        return False
    if UNREADABLE in errors:
        return True
    if job.combine is not None:
        return all(
            type(node) is tuple and len(node) == 3 and type(node[0]) is type(node[1]) is int
            for node in values
        )
    if errors and (not job.keep_going or len(values) + back < most):
        return bool(min(errors) <= len(values) <= most)  # what came before the first that failed is there
    return len(values) + back == most


def _is_error(packed: object) -> bool:
    if not isinstance(packed, tuple) or len(packed) != 4:
        return False
    data, *texts = packed
    return (data is None or isinstance(data, bytes)) and all(isinstance(text, str) for text in texts)


def read_loss(frame: wire.Frame) -> PackedError:
    """Why a worker could not load the function.

    Raises:
        BrokenFrame: It does not say.
    """
    try:
        packed = frame.load()
    except Exception as error:
        raise wire.BrokenFrame(f"{type(error).__name__}: {error}") from error
    if not _is_error(packed):
        raise wire.BrokenFrame(f"a loss of type {type(packed).__name__} that is none")
    return packed  # type: ignore[no-any-return]


def not_loaded(fn: object, packed: PackedError) -> CannotTravel:
    """A worker could not load the function."""
    lost = CannotTravel(
        f"the function {short_repr(fn)} cannot be loaded in a worker process: "
        f"{packed[1]}: {packed[2]}. A module it comes from may not be importable there: install it, or put its "
        "folder on PYTHONPATH; or define the function where it is used."
    )
    lost.__cause__ = unpack_error(packed)
    return lost


def not_received(batch: Batch, packed: PackedError) -> CannotTravel:
    """The failure of a batch of one item that could not be unpickled in a worker."""
    item = batch.items[0]
    failure = CannotTravel(
        f"item {batch.start} ({short_repr(item)}, {type(item).__name__}) was pickled, but cannot be unpickled in a "
        f"worker process: {packed[1]}: {packed[2]}. Its class must be importable there, and its __reduce__ or "
        '__setstate__ must work; send what the function needs to make it instead, or use plan="threads".'
    )
    failure.__cause__ = unpack_error(packed)
    return failure


def end(worker: Worker, why: Why) -> tuple[int | None, Why]:
    """End it, unless it has ended by itself: its exit code, and why, which the code may tell better."""
    code = worker.exit_code(LET_GO_S) if why is Why.ENDED else None
    if code is not None:
        return code, why
    worker.server.kill(worker.token)
    code = worker.exit_code()
    # One that was just about to end has a code of its own, or had ended, and only the news of it are late.
    if why is Why.ENDED and code == -SIGKILL and worker.token in worker.server.killed:
        why = Why.SEVERED
    return code, why


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended (how, nobody could tell)"
    if code >= 0:
        return f"ended with exit code {code}"
    import signal

    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"


_LIKELY = {
    9: "Something killed it; most often the kernel, because memory ran out: see `dmesg`, or use fewer processes.",
    11: "A C extension crashed, or the recursion went too deep for the stack.",
    6: "A C extension gave up (abort), often after an assertion that failed.",
    7: "A memory-mapped file was cut short, or /dev/shm is full.",
    15: "Something asked it to end.",
}


_DID = {
    Why.BABBLED: "wrote to the socket on which it should answer, and was ended. Something in it writes to file "
    "descriptors that are not its own.",
    Why.SEVERED: "closed the socket on which it should answer, and was ended. Something in it closes file descriptors "
    "that are not its own.",
    Why.STOPPED: "was stopped by a signal (SIGSTOP), did not go on, and was ended. Something sends it signals.",
}


def died(
    index: int, item: Any, code: int | None, why: Why = Why.ENDED, *, running: bool = True, known: str = ""
) -> WorkerDied:
    """The failure of the item that a worker was running, or had otherwise in hand, when it ended."""
    which = f"item {index} ({short_repr(item)})"
    if why in _DID:
        return WorkerDied(f"the worker process that had {which} in hand {_DID[why]}", index, code)
    if not running:
        doing = f"while it received or sent back {which}"
        likely = "Unpickling the item, importing what it needs, or pickling its result may be what ends it."
    elif code is not None and code >= 0:
        doing = f"while it ran {which}"
        likely = "The function, or a library it calls, ended the process (os._exit, or a C library's exit)."
    else:
        doing = f"while it ran {which}"
        likely = _LIKELY.get(-code, "") if code is not None else ""
    return WorkerDied(
        f"the worker process {how_it_ended(code)} {doing}. {likely}".rstrip() + known, index, code
    )


def too_large(index: int, item: Any, most_bytes: int) -> OverMemory:
    """The failure of an item that took so much memory, alone, that its worker was ended."""
    return OverMemory(
        f"item {index} ({short_repr(item)}) took so much memory that the run was about to hold more than "
        f"max_memory={bytes_in_words(most_bytes)}, though nothing ran beside it; its worker process was ended",
        index,
    )


def does_not_fit(batch: Batch, why: str, *, of_item: bool) -> OverMemory:
    """The failure of an item for which there is no memory, however alone it is."""
    return OverMemory(
        f"item {batch.start} ({short_repr(batch.items[0])}) does not fit: {why}", batch.start, of_item
    )


def too_long(index: int, item: Any, timeout_s: float, *, ended: bool) -> ItemTimeout:
    """The failure of an item whose call took longer than it may."""
    what = (
        "its worker process was ended" if ended else "its thread was abandoned, and may still be running it"
    )
    return ItemTimeout(
        f"item {index} ({short_repr(item)}) took longer than timeout={timeout_s:g} s; {what}. Give it more time, or "
        "find out what it waits for.",
        index,
        timeout_s,
    )
