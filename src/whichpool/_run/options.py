"""What the caller asked for, checked. Messages say what was given and what is allowed."""

from __future__ import annotations

from math import inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike
    from typing import Any, Literal, Required, TypedDict

    from whichpool._records import Limit, MemoryLimit, Retry

    PlanWish = Literal["auto", "loop", "threads", "processes"] | tuple[int, int]
    Progress = bool | Callable[[int, int | None], object]

    class _Common(TypedDict, total=False):
        plan: PlanWish
        limit: int | Limit | None
        progress: Progress
        shared: Literal["guard", "ok"]
        seed: int | None
        timeout: float | None
        deadline: float | None
        retries: int | Retry
        max_memory: int | str | MemoryLimit | None
        max_worker_memory: int | str | None
        max_items_per_worker: int | None
        journal: str | PathLike[str] | None

    class Raising(_Common, total=False):
        """The options, where failures are raised."""

        on_error: Literal["raise"]

    class Returning(_Common, total=False):
        """The options, where failures are returned."""

        on_error: Required[Literal["return"]]

    class AnyOptions(_Common, total=False):
        """The options, where that makes no difference to the type."""

        on_error: Literal["raise", "return"]


# Every option there is, at its default.
DEFAULTS: dict[str, Any] = {
    "plan": "auto",
    "limit": None,
    "on_error": "raise",
    "progress": False,
    "shared": "guard",
    "seed": None,
    "timeout": None,
    "deadline": None,
    "retries": 0,
    "max_memory": None,
    "max_worker_memory": None,
    "max_items_per_worker": None,
    "journal": None,
}
# More workers than this in one plan is a slip of the keyboard, not a wish.
MOST_PROCESSES = 1_024
MOST_THREADS = 10_000
# Threads for plan="threads": what `ThreadPoolExecutor` stops at on large machines.
DEFAULT_THREADS = 32


class Options:
    """The options that every entry point has; see `whichpool.map` for what they mean.

    Args:
        given: Those that are not at their defaults, by name.

    Raises:
        PlanError: A value that cannot be.
        TypeError: There is no such option.
    """

    __slots__ = (
        "by_key",
        "deadline",
        "journal",
        "limit",
        "max_items_per_worker",
        "max_memory",
        "max_worker_bytes",
        "max_worker_memory",
        "memory",
        "most",
        "on_error",
        "plan",
        "progress",
        "retries",
        "retry",
        "return_failures",
        "seed",
        "shared",
        "shared_ok",
        "timeout",
    )
    plan: PlanWish
    limit: int | Limit | None
    most: int | None  # items in progress at once, whichever way that was said
    by_key: Limit | None
    on_error: Literal["raise", "return"]
    progress: Progress
    shared: Literal["guard", "ok"]
    seed: int | None
    timeout: float | None
    deadline: float | None
    retries: int | Retry
    max_memory: int | str | MemoryLimit | None
    memory: MemoryLimit | None  # the same, with the number in bytes
    max_worker_memory: int | str | None
    max_items_per_worker: int | None
    journal: str | None

    def __init__(self, **given: Any) -> None:
        for name, usual in DEFAULTS.items():
            setattr(self, name, given.pop(name, usual))
        if given:
            raise _unknown(next(iter(given)))
        self.plan = check_plan(self.plan)
        self.most, self.by_key = check_limit(self.limit)
        if self.on_error not in ("raise", "return"):
            raise _error(f'on_error={self.on_error!r} is neither "raise" nor "return"')
        if self.shared not in ("guard", "ok"):
            raise _error(f'shared={self.shared!r} is neither "guard" nor "ok"')
        if not (self.progress is True or self.progress is False or callable(self.progress)):
            raise _error(f"progress={self.progress!r} is neither True, False nor a function of (done, total)")
        if self.seed is not None:
            _check_int("seed", self.seed, None)
        for name in ("timeout", "deadline"):
            _check_seconds(name, getattr(self, name))
        if self.max_items_per_worker is not None:
            _check_int("max_items_per_worker", self.max_items_per_worker, 1)
        self.memory = check_memory(self.max_memory)
        if self.memory is not None and (self.plan in ("loop", "threads") or self.plan[0] == 0):
            raise _error(f"max_memory= is kept by worker processes, and plan={self.plan!r} has none")
        self.max_worker_bytes = check_size("max_worker_memory", self.max_worker_memory)
        self.return_failures = self.on_error == "return"
        self.shared_ok = self.shared == "ok"
        self.retry = check_retries(self.retries)
        if self.journal is not None:
            self.journal = check_path("journal", self.journal)

    def as_dict(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return {name: getattr(self, name) for name in DEFAULTS}

    def replace(self, **changes: Any) -> Options:
        """These options with some of them given anew."""
        return Options(**{**self.as_dict(), **changes})

    @property
    def by_the_clock(self) -> bool:
        """Whether a call may have to be given up while it runs, which the caller's own thread cannot be."""
        return self.timeout is not None or self.deadline is not None


def check_plan(plan: Any) -> PlanWish:
    """A plan by one of its names, or as two numbers."""
    allowed = (
        'it must be "auto", "loop", "threads", "processes" or a pair (processes, threads) such as (2, 8)'
    )
    if isinstance(plan, str):
        if plan in ("auto", "loop", "threads", "processes"):
            return plan  # type: ignore[return-value]  # mypy does not narrow a str by membership
        raise _error(f"plan={plan!r} is not a plan: {allowed}")
    if hasattr(plan, "processes") and hasattr(plan, "threads"):
        plan = (plan.processes, plan.threads)
    if not isinstance(plan, (tuple, list)) or len(plan) != 2:
        raise _error(f"plan={plan!r} is not a plan: {allowed}")
    processes, threads = plan
    for number in (processes, threads):
        if isinstance(number, bool) or not isinstance(number, int):
            raise _error(f"plan={plan!r} is not a plan: both numbers must be whole; {allowed}")
    if processes < 0 or threads < 1:
        raise _error(f"plan={plan!r} is not a plan: it needs 0 or more processes and 1 or more threads")
    if processes > MOST_PROCESSES:
        raise _error(f"plan={plan!r} asks for {processes} processes; {MOST_PROCESSES} is the most")
    if threads > MOST_THREADS or max(processes, 1) * threads > MOST_THREADS:
        raise _error(
            f"plan={plan!r} asks for {max(processes, 1) * threads} threads; {MOST_THREADS} is the most"
        )
    return (processes, threads)


def check_limit(limit: Any) -> tuple[int | None, Limit | None]:
    """Items in progress at once, and the limits by key, if there are such."""
    if limit is None:
        return None, None
    if type(limit) is int or not hasattr(limit, "per_key"):
        _check_int("limit", limit, 1)
        return limit, None
    from whichpool._records import Limit

    if not isinstance(limit, Limit):
        raise _error(f"limit={limit!r} is neither a whole number nor a whichpool.Limit")
    if limit.most is not None:
        _check_int("Limit.most", limit.most, 1)
    for name in ("per_key", "first"):
        _check_int(f"Limit.{name}", getattr(limit, name), 1)
    for name in ("key", "amount"):
        value = getattr(limit, name)
        if value is not None and not callable(value):
            raise _error(f"Limit.{name}={value!r} is not a function")
    kinds: Any = limit.slow_on if isinstance(limit.slow_on, tuple) else (limit.slow_on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise _error(f"Limit.slow_on={limit.slow_on!r} is neither an exception type nor a tuple of them")
    learned = limit.learned
    if learned is not None and not (hasattr(learned, "get") and hasattr(learned, "__setitem__")):
        raise _error(f"Limit.learned={learned!r} is not a mapping that can be written to")
    numbers = [limit.most, limit.per_key if limit.key is None else None]
    return min([number for number in numbers if number is not None], default=None), limit


def check_size(name: str, value: Any) -> int | None:
    """Bytes; ``None``: there is no limit."""
    if value is None:
        return None
    from whichpool.sizes import size_in_bytes

    return size_in_bytes(name, value)


def check_memory(wish: Any) -> MemoryLimit | None:
    """The limit of the process tree, in bytes; ``None``: there is none."""
    if wish is None:
        return None
    from whichpool._records import MemoryLimit
    from whichpool.sizes import size_in_bytes

    given = wish if isinstance(wish, MemoryLimit) else MemoryLimit(wish)
    if given.weigh is not None and not callable(given.weigh):
        raise _error(f"MemoryLimit.weigh={given.weigh!r} is not a function")
    return MemoryLimit(size_in_bytes("max_memory", given.most), given.weigh)


def check_retries(retries: Any) -> Retry | None:
    """The policy that is meant; ``None``: there is no second try."""
    if retries == 0 and type(retries) is int:
        return None
    from whichpool._records import Retry

    if isinstance(retries, Retry):
        _check_retry(retries)
        return retries if retries.times else None
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise _error(
            f"retries={retries!r} is neither a number of further tries, from 0, nor a whichpool.Retry"
        )
    return Retry(retries)


def _check_retry(retry: Retry) -> None:
    _check_int("Retry.times", retry.times, 0)
    kinds: Any = retry.on if isinstance(retry.on, tuple) else (retry.on,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise _error(f"Retry.on={retry.on!r} is neither an exception type nor a tuple of them")
    numbers = {"first_wait_s": inf, "most_wait_s": inf, "factor": inf, "jitter": 1.0}
    for name, most in numbers.items():
        value = getattr(retry, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise _error(
                f"Retry.{name}={value!r} is not a number from 0" + (f" to {most:g}" if most < inf else "")
            )


def check_path(name: str, path: Any) -> str:
    """The path of a file, as text."""
    from os import fspath

    try:
        text = fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text:
        raise _error(f"{name}={path!r} is not the path of a file")
    return text


def check_call(fn: Any, iterables: tuple[Any, ...]) -> None:
    """Fail before anything runs, where it cannot work."""
    if not callable(fn):
        if iterables and callable(iterables[0]):
            raise TypeError(
                f"the function comes first: map(fn, items), but {type(fn).__name__} is not callable"
            )
        raise TypeError(
            f"{_brief(fn)} is not callable: the first argument is the function to run over the items"
        )
    if not iterables:
        raise TypeError("no items were given: map(fn, items)")
    for place, items in enumerate(iterables):
        if not hasattr(items, "__iter__") and not hasattr(items, "__getitem__"):
            which = "the items are" if len(iterables) == 1 else f"argument {place + 2} is"
            raise TypeError(f"{which} not iterable: {_brief(items)} is of type {type(items).__name__}")


def length_of(iterables: Iterable[Any]) -> int | None:
    """How many items there will be; ``None`` where one of the iterables does not say."""
    try:
        return min([len(items) for items in iterables])
    except Exception:
        return None


def length_now(iterables: tuple[Any, ...]) -> Callable[[], int] | None:
    """What tells the length of lists, which may grow while they are iterated; ``None``: not all of these are lists."""
    if any(type(items) is not list for items in iterables):
        return None
    return lambda: min([len(items) for items in iterables])


def _brief(value: object) -> str:
    from whichpool._worker.calls import short_repr

    return short_repr(value)


def _check_int(name: str, value: Any, least: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _error(f"{name}={value!r} is not a whole number")
    if least is not None and value < least:
        raise _error(f"{name}={value!r} must be at least {least}")


def _check_seconds(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
        raise _error(f"{name}={value!r} is not a number of seconds above 0")


def _unknown(name: str) -> TypeError:
    from difflib import get_close_matches

    near = get_close_matches(name, DEFAULTS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(DEFAULTS)}"
    return TypeError(f"there is no option {name!r}{hint}")


def _error(text: str) -> Exception:
    from whichpool.errors import PlanError

    return PlanError(text)
