"""The public entry points: from items to results.

    options checked  ->  Run (job, work, where results go)  ->  collect  ->  results, with their report

What the options mean stands at `map`; every other entry point has the same.
"""

from __future__ import annotations

from whichpool._run.lazy import Lazy
from whichpool._run.options import Options, check_call
from whichpool._run.run import Run
from whichpool._run.sinks import NOTHING, ListSink, StreamSink, TreeSink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar, Unpack, overload

    from whichpool._records import Failure, Host, RunReport
    from whichpool._run.options import AnyOptions, Raising, Returning

    A = TypeVar("A")
    R = TypeVar("R")
else:

    def overload(function: object) -> object:
        """`typing.overload`, without the cost of importing typing."""
        return function


class Results(list["R"]):
    """The list that the loop would have given, and how it came about.

    Attributes:
        report: What ran, and why (`RunReport`); made when it is first asked for.
    """

    _run: Run | None = None

    @property
    def report(self) -> RunReport:
        """What ran, and why."""
        if self._run is None:
            raise AttributeError("this list was not made by whichpool.map, or was copied: it has no report")
        return self._run.report()

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[Any]]]:
        return list, (list(self),)  # a report is of the machine that made it, and stays there


@overload
def map(
    fn: Callable[[A], R], items: Iterable[A], /, **options: Unpack[Raising],
) -> Results[R]: ...  # fmt: skip
@overload
def map(
    fn: Callable[[A], R], items: Iterable[A], /, **options: Unpack[Returning],
) -> Results[R | Failure]: ...  # fmt: skip
@overload
def map(
    fn: Callable[..., R], items: Iterable[Any], more: Iterable[Any], /, *iterables: Iterable[Any],
    **options: Unpack[Raising],
) -> Results[R]: ...  # fmt: skip
@overload
def map(
    fn: Callable[..., R], items: Iterable[Any], more: Iterable[Any], /, *iterables: Iterable[Any],
    **options: Unpack[Returning],
) -> Results[R | Failure]: ...  # fmt: skip
def map(
    fn: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    **options: Unpack[AnyOptions],
) -> Results[Any]:
    """Run ``fn`` over the items, on the plan that is soonest done; the list is the loop's.

    The work starts at once, as a plain loop; what the function does is measured meanwhile, and threads or worker
    processes are brought in when the numbers say that they pay.

    Args:
        fn: Any callable: a lambda, a closure, a method, a function typed at the prompt.
        *iterables: The items; with several, ``fn`` gets one of each, and the shortest ends it.
        **options: Any of these, the same on every entry point:

            plan: ``"auto"``, the default: measured. ``"loop"``, ``"threads"`` (32 at the most), ``"processes"`` (one a
                core) or a pair ``(processes, threads in each)``; ``(0, 8)`` is eight threads of this process.
            limit: The most items in progress at once, whatever the plan; ``None``, the default: as the plan has it. A
                `Limit` also bounds, and adapts, how many of the same key (a host, say) are in progress at once; for
                each call of `map` and the like by itself. `explain` takes no account of keys.
            on_error: ``"raise"``, the default: the exception of the earliest failing item, with its index in a note;
                nothing starts after it. ``"return"``: a `Failure` stands in the place of the result.
            progress: ``False``, the default. ``True``: a bar, on a terminal. A function: called with (done, total or
                ``None``) about ten times a second, in the caller's thread.
            shared: ``"guard"``, the default: a function that writes what other calls can see is kept to what gives the
                loop's answer. ``"ok"``: it may run on threads all the same.
            seed: Makes `random`, and NumPy's global state, the same for each item on every plan. Such calls take turns
                within a process. ``None``, the default: left alone, so worker processes draw numbers of their own,
                whatever the program has seeded.
            timeout: Seconds that one call may take; then its item fails with `ItemTimeout`. In a worker process the
                call is ended for certain; on a thread it is abandoned: it goes on, and nobody waits for it. So that
                it can be left alone, no call then runs on the caller's own thread. ``None``, the default: no limit.
            deadline: Seconds that the whole may take; then `DeadlineExceeded` is raised, worker processes are ended
                and calls on threads abandoned. ``None``, the default: no end.
            retries: How often an item that failed is tried again (an exception, a worker that died, a timeout), after
                waits that double from 0.1 s on; or a `Retry`, which also says for which exceptions. 0 is the default.
            max_worker_memory: Bytes, or a text such as ``"500 MB"``: a worker process that holds more is replaced,
                between two batches. ``None``, the default: it is not.
            max_items_per_worker: A worker process that has run so many items is replaced. ``None``, the default: it is
                not.
            journal: The path of a file in which each finished item is recorded, with its result. Made again, after the
                program was killed, say, the same call takes from it what is there, and runs the rest; failures are not
                recorded. Another function, other items, another seed or another Python version are refused:
                see "The journal" in docs/design.md for what is compared, and what cannot be. Items and results must
                pickle. A machine that goes down may lose the last 0.2 s or so. Not for `Pool.submit` and `Executor`;
                `explain` does without. ``None``, the default: nothing is recorded.

    Returns:
        A list, with what ran and why as ``.report``.

    Raises:
        PlanError: An option that cannot be.
        TypeError: ``fn`` is not callable, or the items are not iterable.
        CannotTravel: A plan with processes was asked for, and something cannot be pickled.
        SharedWrite: A concurrent plan was asked for, and the function writes what other calls can see.
        WorkerDied: A worker process ended while it ran an item, which the message names.
        ItemTimeout: A call took longer than ``timeout``.
        DeadlineExceeded: The whole took longer than ``deadline``.
        JournalMismatch: ``journal`` is the path of something else, or of another call's journal.
        OSError: The journal cannot be written any more (the disk is full); what it has is kept.
        BaseException: What ``fn`` raised; `salvage` has what had been done.

    >>> map(lambda x: x * x, range(5))
    [0, 1, 4, 9, 16]
    >>> map(pow, [2, 3], [5, 2], plan="threads")
    [32, 9]
    """
    wishes = Options(**options)
    check_call(fn, iterables)
    results: Results[Any] = Results()
    run = Run(fn, iterables, wishes, ListSink(results))
    results._run = run
    try:
        run.collect()
    except BaseException as error:
        from whichpool._run.blame import remember

        remember(error, results)
        raise
    finally:
        run.work.drop_sink()
    return results


@overload
def imap(
    fn: Callable[[A], R], items: Iterable[A], /, *, ordered: bool = ...,
    **options: Unpack[Raising],
) -> Lazy[R]: ...  # fmt: skip
@overload
def imap(
    fn: Callable[[A], R], items: Iterable[A], /, *, ordered: bool = ...,
    **options: Unpack[Returning],
) -> Lazy[R | Failure]: ...  # fmt: skip
@overload
def imap(
    fn: Callable[..., R], items: Iterable[Any], more: Iterable[Any], /, *iterables: Iterable[Any], ordered: bool = ...,
    **options: Unpack[Raising],
) -> Lazy[R]: ...  # fmt: skip
@overload
def imap(
    fn: Callable[..., R], items: Iterable[Any], more: Iterable[Any], /, *iterables: Iterable[Any], ordered: bool = ...,
    **options: Unpack[Returning],
) -> Lazy[R | Failure]: ...  # fmt: skip
def imap(
    fn: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    ordered: bool = True,
    **options: Unpack[AnyOptions],
) -> Lazy[Any]:
    """As `map`, lazily: results as they are wanted, with a bounded look-ahead; the iterable may be endless.

    Args:
        fn: As for `map`.
        *iterables: As for `map`; taken from only as needed.
        ordered: ``False``: results come as they are done, not in the order of the items.
        **options: As for `map`; progress is told while results are being asked for.

    Returns:
        An iterator with ``.close()`` and ``.report``.

    Raises:
        Exception: As `map`, when the failing item's result is asked for; bad options and arguments at once.

    >>> from itertools import count
    >>> squares = imap(lambda x: x * x, count())
    >>> next(squares), next(squares), next(squares)
    (0, 1, 4)
    >>> squares.close()
    """
    wishes = Options(**options)
    check_call(fn, iterables)
    sink = StreamSink(ordered)
    return Lazy(Run(fn, iterables, wishes, sink, caller_helps=False), sink)


def map_reduce(
    fn: Callable[[A], R],
    items: Iterable[A],
    combine: Callable[[R, R], R],
    /,
    *,
    initial: Any = NOTHING,
    report: Callable[[RunReport], object] | None = None,
    **options: Unpack[AnyOptions],
) -> R:
    """Combine ``fn(item)`` over all items into one value; workers combine what they have before they send it.

    ``combine`` must be associative; it need not be commutative. Which values are combined with which depends on the
    number of items alone, so the answer is the same on every plan, floats included, to the last bit.

    Args:
        fn: As for `map`.
        items: As for `map`.
        combine: Of two neighbouring values, the earlier first, makes one.
        initial: Combined with the total, on its left; the answer for no items.
        report: Called once with what ran and why (`RunReport`), when the value is there: ``report=print`` shows it,
            ``report=kept.append`` keeps it. ``None``, the default: nobody wants to know.
        **options: As for `map`; with ``on_error="return"`` failing items are left out, and counted in no report.

    Raises:
        TypeError: There are no items, and no ``initial``; or ``report`` cannot be called.
        BaseException: As `map`; and what ``report`` raises.

    >>> map_reduce(len, ["a", "bb", "ccc"], lambda a, b: a + b)
    6
    >>> map_reduce(len, ["a", "bb"], int.__add__, report=lambda ran: print(ran.plan, ran.items))
    loop 2
    3
    """
    wishes = Options(**options)
    check_call(fn, (items,))
    if not callable(combine):
        raise TypeError(f"combine must be a function of two values, not {type(combine).__name__}")
    if report is not None and not callable(report):
        raise TypeError(f"report must be a function of a RunReport, not {type(report).__name__}")
    sink = TreeSink(combine)
    run = Run(fn, (items,), wishes, sink, combine=combine)
    run.collect()
    value = sink.tree.total()
    if value is NOTHING:
        if initial is NOTHING:
            raise TypeError("map_reduce() of no items, with no initial value")
        value = initial
    elif initial is not NOTHING:
        value = combine(initial, value)
    if report is not None:
        report(run.report())
    return value  # type: ignore[no-any-return]


def explain(
    fn: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    budget_s: float = 1.0,
    **options: Unpack[AnyOptions],
) -> RunReport:
    """Run a sample of the items in the loop, and say which plan `map` would take for all of them, and why.

    Args:
        fn: As for `map`.
        *iterables: As for `map`; the first items are run, and their results dropped.
        budget_s: Seconds after which no further item is started; at least one is run.
        **options: As for `map`; the verdict is for the plan asked for. Nothing is retried, and no clock runs.

    Returns:
        The report: ``report.verdict.plan`` is what it would do, ``str(report)`` says why.

    Raises:
        PlanError: An option that cannot be, or ``budget_s`` is not above 0.
        BaseException: As `map`.

    >>> explain(abs, range(1000)).verdict.plan
    Plan(processes=0, threads=1)
    """
    from whichpool._run.explaining import explain as explain_run

    wishes = Options(**options)
    check_call(fn, iterables)
    return explain_run(fn, iterables, wishes, budget_s)


def doctor(*, measure: bool = False) -> Host:
    """The machine as whichpool may use it, and why.

    Args:
        measure: Start a thread and two worker processes now, and give what that cost, in place of what was remembered.

    Raises:
        WorkerLost: Worker processes cannot be started.

    >>> doctor().cores > 0
    True
    """
    from whichpool._run.explaining import examine

    return examine(measure)


def salvage(error: BaseException) -> Results[Any] | None:
    """What had been done before ``error`` ended a `map`: the results before the failing item, in order.

    Returns:
        The results, or ``None`` if ``error`` did not come out of a `map`. They live as long as the exception.

    >>> try:
    ...     map(lambda x: 1 // x, [1, 2, 0])
    ... except ZeroDivisionError as error:
    ...     salvage(error)
    [1, 0]
    """
    from whichpool._run.blame import salvage as salvaged

    return salvaged(error)  # type: ignore[no-any-return]
