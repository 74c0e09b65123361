"""What the caller asked for, checked. Messages say what was given and what is allowed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal

    PlanWish = Literal["auto", "loop", "threads", "processes"] | tuple[int, int]
    Progress = bool | Callable[[int, int | None], object]

# More workers than this in one plan is a slip of the keyboard, not a wish.
MOST_PROCESSES = 1_024
MOST_THREADS = 10_000
# Threads for plan="threads": what `ThreadPoolExecutor` stops at on large machines.
DEFAULT_THREADS = 32


class Options:
    """The options that every entry point has; see `whichpool.map` for what they mean.

    Raises:
        PlanError: A value that cannot be.
    """

    __slots__ = ("limit", "plan", "progress", "return_failures", "seed", "shared_ok")

    def __init__(
        self,
        plan: PlanWish = "auto",
        limit: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: Progress = False,
        shared: Literal["guard", "ok"] = "guard",
        seed: int | None = None,
    ) -> None:
        self.plan: PlanWish = check_plan(plan)
        if limit is not None:
            _check_int("limit", limit, 1)
        if on_error not in ("raise", "return"):
            raise _error(f'on_error={on_error!r} is neither "raise" nor "return"')
        if shared not in ("guard", "ok"):
            raise _error(f'shared={shared!r} is neither "guard" nor "ok"')
        if not (progress is True or progress is False or callable(progress)):
            raise _error(f"progress={progress!r} is neither True, False nor a function of (done, total)")
        if seed is not None:
            _check_int("seed", seed, None)
        self.limit = limit
        self.return_failures = on_error == "return"
        self.progress = progress
        self.shared_ok = shared == "ok"
        self.seed = seed

    def as_dict(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return {
            "plan": self.plan,
            "limit": self.limit,
            "on_error": "return" if self.return_failures else "raise",
            "progress": self.progress,
            "shared": "ok" if self.shared_ok else "guard",
            "seed": self.seed,
        }

    def replace(self, **changes: Any) -> Options:
        """These options with some of them given anew."""
        return Options(**{**self.as_dict(), **changes})


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


def _error(text: str) -> Exception:
    from whichpool.errors import PlanError

    return PlanError(text)
