"""``whichpool get --verify`` and ``--dry-run``: what is there, and what would come. Nothing is fetched."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from whichpool.cli.endings import IO_FAILED, OK, USAGE, Ending
from whichpool.cli.get_view import Events, Tally, View, by_class, clean, entries
from whichpool.cli.standard import output, printing
from whichpool.cli.talk import say
from whichpool.downloads.failures import Corrupt, DiskFailed
from whichpool.report.units import count, duration, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from whichpool.downloads.preflight import Found
    from whichpool.downloads.records import Request, Settings

__all__ = ["check", "look"]


def check(path: str, folder: str, view: View, tally: Tally) -> None:
    """Compare the folder with the receipts; say what is not as they say.

    Raises:
        Ending: Code 31 where a file is missing or differs, 3 where the receipts cannot be read.
    """
    from whichpool.downloads.receipts import BadReceipt, read_receipts, verify

    states: Counter[str] = Counter()
    try:
        for verdict in verify(folder, read_receipts(path)):
            states[verdict.state] += 1
            if isinstance(view, Events):
                view.file(path=verdict.path, state=verdict.state, message=verdict.message)
            elif not verdict.good:
                say(clean(f"{verdict.path}: {verdict.message} [{verdict.state}]"))
    except BadReceipt as error:
        raise Ending(IO_FAILED, str(error)) from error
    except OSError as error:
        raise Ending(IO_FAILED, f"cannot read {path}: {error.strerror or error}") from error
    tally.outcomes = states
    wrong = Counter(
        {state: number for state, number in states.items() if state not in ("ok", "unverifiable")}
    )
    code = Corrupt.code if wrong else OK
    if isinstance(view, Events):
        tally.failures = wrong
        view.end(tally, code)
    elif view.talks:
        said = f"{count(states.total(), 'file')} in {duration(tally.elapsed_s)}: {states['ok']:,} as their receipts say"
        if states["unverifiable"]:
            said += f", {states['unverifiable']:,} without a digest to compare"
        say(said)
    if wrong:
        raise Ending(
            code, f"{wrong.total():,} of {states.total():,} are not as their receipts say: {by_class(wrong)}"
        )


def look(requests: Iterable[Request], folder: str, settings: Settings, view: View, tally: Tally) -> None:
    """Ask for names and sizes, print them, and compare their sum with what is free.

    Raises:
        Ending: The highest code of those that could not be asked for; 32 where there is less free than is needed.
    """
    from whichpool.cli.get import code_of
    from whichpool.downloads.preflight import free_bytes, preflight

    output()
    total = unknown = 0
    try:
        for found in preflight(requests, folder, settings):
            left = found.there and not (settings.overwrite or settings.newer)
            tally.outcomes["failed" if found.failure else "unchanged" if left else "to fetch"] += 1
            if found.failure:
                tally.failures[found.failure] += 1
            elif not left:
                total += found.bytes or 0
                unknown += found.bytes is None
            _print(found, view)
    except ValueError as error:
        raise Ending(USAGE, str(error)) from error
    free = free_bytes(folder)
    code = max(code_of(tally.failures), IO_FAILED if tally.bad else OK)
    short = free is not None and total > free
    if short:
        code = max(code, DiskFailed.code)
    if isinstance(view, Events):
        view.end(tally, code, bytes_needed=total, unknown=unknown, bytes_free=free)
    elif view.talks:
        said = f"{count(tally.outcomes['to fetch'], 'file')} to fetch, {size(total)}"
        if unknown:
            said += f" and {count(unknown, 'file')} of unknown size"
        if tally.outcomes["unchanged"]:
            said += f"; {tally.outcomes['unchanged']:,} there already"
        say(said + (f"; {size(free)} free" if free is not None else ""))
    if short:
        raise Ending(code, f"{size(total)} are needed, and {size(free)} are free")
    if tally.failures:
        failed = f"{tally.failures.total():,} of {tally.outcomes.total():,} failed"
        raise Ending(code, f"{failed}: {by_class(tally.failures)}")
    if code:
        raise Ending(code, f"{entries(tally.bad)} of lists left out")


def _print(found: Found, view: View) -> None:
    if isinstance(view, Events):
        view.file(**_fields(found))
    elif found.failure:
        say(clean(f"{found.url}: {found.message} [{found.failure}]"))
    else:
        amount = "size unknown" if found.bytes is None else size(found.bytes)
        there = "  (there already)" if found.there else ""
        with printing():
            sys.stdout.write(clean(f"{amount:>12}  {found.name}{there}  {found.url}") + "\n")


def _fields(found: Found) -> dict[str, Any]:
    from dataclasses import asdict

    return {key: value for key, value in asdict(found).items() if value is not None}
