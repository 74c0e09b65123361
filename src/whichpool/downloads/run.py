"""`download` and `idownload`: from URLs to receipts, by `whichpool.imap`.

    urls ─ as_request ─> Request ─ its name is claimed ─> Job ─ imap(Fetcher) ─> Receipt
                          in the order of the input         └ a try that failed, and may go better, comes back later

The list is read as it is worked off, and what is known of a request goes when its receipt is given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import fields, replace
from threading import get_ident
from time import perf_counter, sleep
from typing import Any

import whichpool
from whichpool.downloads import learned
from whichpool.downloads.board import Board
from whichpool.downloads.context import Context
from whichpool.downloads.disk import fit_at_once
from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.fetch import Fetcher
from whichpool.downloads.folder import Folder
from whichpool.downloads.jobs import Job
from whichpool.downloads.lists import as_request
from whichpool.downloads.manners import manners
from whichpool.downloads.names import name_from_url
from whichpool.downloads.records import LONGEST_S, Receipt, Request, Settings
from whichpool.downloads.transport import Transport

__all__ = ["download", "idownload"]

PUT_DOWN_S = 5.0
"""So long a call that is ended waits for what is in progress to bring to the disk what it has. A guess; a connection
that stalls is not waited for any longer, and what its file had at its last sync is there."""

QUICK_S = 0.000_1, 0.002
"""Seconds: a result that came sooner lay ready, one that came later is not one of thousands. Guesses."""
NAP_S = 0.005
"""Seconds in which results gather. At 5,000 files a second 25, which the stream holds. A guess."""
MANY = 16
"""With fewer files at once, results must not lie for so long: twice as many may, and then nothing new begins."""

Thing = str | Request | Mapping[str, Any]


def download(
    urls: Iterable[Thing] | Thing,
    folder: str | os.PathLike[str] = ".",
    *,
    progress: bool | Callable[[int, int | None], object] = False,
    on_event: Callable[[Mapping[str, Any]], object] | None = None,
    board: Board | None = None,
    settings: Settings | None = None,
    **changes: Any,
) -> list[Receipt]:
    """Fetch many files at once; none appears under its name before it is whole.

    What is interrupted, by whatever, goes on where it was when the same call is made again. What is there already is
    left (see ``overwrite`` and ``newer``). Each entry is a file of its own: a URL that comes twice is fetched twice,
    the second time as ``name-2.ext``.

    Args:
        urls: URLs, `Request` objects, or mappings with ``url`` and any of ``name``, ``sha256``, ``digests``,
            ``mirrors`` and ``headers``; one of them, or an iterable, which is read as it is worked off.
        folder: Where they go; made if it is not there.
        progress: ``True``: a bar, on a terminal. A function: called with (done, total or ``None``) about ten times a
            second.
        on_event: Called with ``{"event": "begin", ...}`` when a file begins to arrive, ``"again"`` when a try has
            failed and another one follows, ``"end"`` with what is in its receipt. From several threads, so it must be
            quick; what it raises ends the call.
        board: Where progress in bytes is noted, to be looked at from another thread.
        settings: How; what is given by name as well goes before it.
        **changes: The fields of `Settings`: ``most=32``, ``rate=5e6``, ``overwrite=True``, ...

    Returns:
        A `Receipt` for each, in the order of the input. Failures are receipts too: ``receipt.ok`` tells.

    Raises:
        ValueError: An entry that is no request, or a setting that cannot be.
        TypeError: There is no such setting.
        DiskFailed: The folder cannot be used.

    >>> download(["file:///no/such/file"], "data")[0].failure  # doctest: +SKIP
    'gone'
    """
    found: list[Receipt | None] = []
    for number, receipt in _run(urls, folder, progress, on_event, board, _settings(settings, changes), ()):
        if number >= len(found):
            found.extend([None] * (number + 1 - len(found)))
        found[number] = receipt
    return [receipt for receipt in found if receipt is not None]


def idownload(
    urls: Iterable[Thing] | Thing,
    folder: str | os.PathLike[str] = ".",
    *,
    progress: bool | Callable[[int, int | None], object] = False,
    on_event: Callable[[Mapping[str, Any]], object] | None = None,
    board: Board | None = None,
    settings: Settings | None = None,
    taken: Iterable[str] = (),
    **changes: Any,
) -> Iterator[Receipt]:
    """As `download`, lazily: receipts as files are done with; the iterable may be endless.

    Args:
        taken: Names in the folder that no URL's file is given: a list that is being read lies there, say.

    Returns:
        A generator. Closed before its end (``.close()``, or because nobody holds it any more), it stops what is in
        progress; what has arrived of it stays, to be gone on with.

    Raises:
        TypeError: There is no such setting; at once. The rest as `download`, when the first receipt is asked for.
    """
    wishes = _settings(settings, changes)
    return (receipt for _, receipt in _run(urls, folder, progress, on_event, board, wishes, taken))


def _run(
    urls: Iterable[Thing] | Thing,
    folder: str | os.PathLike[str],
    progress: bool | Callable[[int, int | None], object],
    on_event: Callable[[Mapping[str, Any]], object] | None,
    board: Board | None,
    settings: Settings,
    taken: Iterable[str],
) -> Iterator[tuple[int, Receipt]]:
    """Receipts as they come, each with its place in the input."""
    things: Iterable[Thing] = [urls] if isinstance(urls, (str, Request, Mapping)) else urls
    count = len(things) if isinstance(things, Sized) else None
    board = Board(count) if board is None else board
    if board.files is None:
        board.files = count
    settings = replace(settings, most=fit_at_once(settings.most))
    transport = Transport(settings)  # first: where settings cannot be, no folder is made
    try:
        where = Folder(os.fspath(folder))
    except BaseException:
        transport.close()
        raise
    context = Context(where, transport, settings, board, on_event)
    for name in taken:
        context.names.claim(name)
    books: dict[int, Job] = {}
    remembered = learned.load()
    known = dict(remembered)
    results = None
    try:
        results = whichpool.imap(
            Fetcher(context),
            _jobs(things, context, books),
            ordered=False,
            **manners(
                settings,
                lambda job: job.url,
                amount=lambda result: result[1].fetched_bytes,
                learned=known,
            ),
            progress=(lambda done, _: progress(done, count)) if callable(progress) else progress,
        )
        noted = _noted(results, context)
        for result in _unhurried(noted) if settings.most >= MANY else noted:
            if isinstance(result, whichpool.Failure):
                number, error = result.index, result.error
                if not isinstance(error, DownloadFailed):
                    raise error
                receipt = books.pop(number).failure(error)
            else:
                number, receipt = result
                del books[number]
            context.ended(receipt)
            yield number, receipt
    finally:
        context.end()
        if results is not None:
            results.close()
        context.close(PUT_DOWN_S)
        learned.store(known, remembered)


def _noted(results: Iterator[Any], context: Context) -> Iterator[Any]:
    """The results; who asks for them is noted, for that thread fetches as well."""
    while True:
        context.caller = get_ident()
        try:
            result = next(results)
        except StopIteration:
            return
        yield result


def _unhurried(results: Iterator[Any]) -> Iterator[Any]:
    """The results, where they come in quick succession some at a time: whoever waits for each of thousands a second is
    woken for each, and takes the GIL from those who fetch."""
    asked = perf_counter()
    for result in results:
        if QUICK_S[0] < perf_counter() - asked < QUICK_S[1]:
            sleep(NAP_S)
        yield result
        asked = perf_counter()


def _jobs(things: Iterable[Thing], context: Context, books: dict[int, Job]) -> Iterator[Job]:
    """One after the other, as they are wanted: so names are the same in each run."""
    for number, thing in enumerate(things):
        request = as_request(thing)
        wanted = request.name if request.name is not None else name_from_url(request.url)
        job = books[number] = Job(number, request, context.names.claim(wanted), wanted)
        yield job


def _settings(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    names = [one.name for one in fields(Settings)]
    for name in changes:
        if name not in names:
            raise TypeError(f"there is no setting {name!r}; there are {', '.join(names)}")
    made = replace(settings if settings is not None else Settings(), **changes)
    for name, least in (("most", 1), ("per_host", 1), ("retries", 0), ("segments", 1), ("segment_bytes", 1)):
        value = getattr(made, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} is no whole number from {least} on")
    for name in ("connect_s", "first_byte_s", "stall_s"):
        if not 0 < getattr(made, name) <= LONGEST_S:
            raise ValueError(
                f"{name}={getattr(made, name)!r} is no number of seconds above 0, {LONGEST_S:,.0f} at the most"
            )
    if made.rate is not None and not made.rate > 0:
        raise ValueError(f"rate={made.rate!r} is no number of bytes a second above 0")
    return made
