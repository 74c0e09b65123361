"""``whichpool get``: from the command line to the downloader and back to an exit code.

options ─> Wanted, Settings ─> requests, one at a time ─> idownload ─> receipts ─> the view, the receipts file
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichpool.cli.endings import INTERRUPTED, IO_FAILED, OK, TERMINATED, USAGE, Ending
from whichpool.cli.get_view import Tally, Ticker, View, by_class, chosen, entries
from whichpool.cli.items import lines_of
from whichpool.cli.standard import output
from whichpool.cli.talk import say
from whichpool.downloads import failures
from whichpool.downloads.board import Board
from whichpool.downloads.digests import parse_checksum
from whichpool.downloads.failures import DownloadFailed
from whichpool.downloads.lists import BadEntry, add_header, as_request, requests_from
from whichpool.downloads.records import LONGEST_S, Request, Settings

if TYPE_CHECKING:
    from whichpool.downloads.records import Receipt

__all__ = ["code_of", "run"]

# Lists up to this size are read once before they are worked off, to count their entries. Bytes; half a million entries
# take 0.3 s (2 cores, CPython 3.11, November 2026).
_COUNTED_BYTES = 64_000_000

_CODES = {
    one.__name__.lower(): one.code
    for one in vars(failures).values()
    if isinstance(one, type) and issubclass(one, DownloadFailed)
}


def code_of(kinds: Iterable[str]) -> int:
    """The exit code for these classes of failure: the highest."""
    return max((_CODES.get(kind, DownloadFailed.code) for kind in kinds), default=OK)


def run(
    *,
    urls: Sequence[str],
    lists: Sequence[str],
    folder: str,
    name: str | None,
    checksums: Sequence[str],
    receipt: str | None,
    verify: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Do what the command line says; the options are described in `get_command`.

    Raises:
        Ending: For every other end than all is well.
    """
    settings = _settings(how)
    if verify is not None and (urls or lists or dry_run or receipt or name or checksums):
        raise Ending(USAGE, "--verify fetches nothing: give it -d at the most, and no URLs")
    if verify is None and not urls and not lists:
        raise Ending(USAGE, "no URLs: give them as arguments, or a list with -i (- is standard input)")
    if receipt == "-":
        raise Ending(USAGE, "--receipt names a file; what it has is printed by --json, as events")
    if dry_run and receipt:
        raise Ending(USAGE, "--dry-run fetches nothing, so there is nothing for --receipt")
    given = _arguments(urls, lists, name, checksums)
    with ExitStack() as stack:
        stream = None
        if as_json:
            from whichpool.cli.output import result_stream

            output()
            stream = stack.enter_context(result_stream())
        view = chosen(as_json=as_json, quiet=quiet, stream=stream, folder=folder)
        tally = Tally()
        if verify is not None:
            from whichpool.cli.get_check import check

            check(verify, folder, view, tally)
            return
        requests = _Requests(given, lists, view, tally)
        if dry_run:
            from whichpool.cli.get_check import look

            look(requests, folder, settings, view, tally)
        else:
            read = [*lists, receipt, how["cookies"], how["ca_bundle"], how["cert"], how["key"]]
            _download(requests, folder, settings, receipt, list(_inside(folder, read)), view, tally)


class _Requests:
    """What is asked for, one at a time: the arguments, then the lists; bad entries are told and left out.

    Attributes:
        number: How many there are in all, as it seems; ``None``: not known. ``told`` is called with the right number
            once all have been read.
    """

    def __init__(self, given: list[Request], lists: Sequence[str], view: View, tally: Tally) -> None:
        self._given = given
        # Opened now, so that one that is not there is known at once.
        self._lists = [(name, lines_of(name)) for name in lists]
        self._view = view
        self._tally = tally
        counts = [_count(name) for name in lists]
        self.number = None if None in counts else len(given) + sum(filter(None, counts))
        self.told: Callable[[int], None] | None = None

    def __iter__(self) -> Iterator[Request]:
        number = len(self._given)
        yield from self._given
        for name, lines in self._lists:
            source = "standard input" if name == "-" else name
            for request in requests_from(lines, source=source, on_bad=self._bad):
                number += 1
                yield request
        if self.told is not None:
            self.told(number)

    def _bad(self, error: BadEntry) -> None:
        self._tally.bad += 1
        self._view.bad(error.line, str(error))

    def close(self) -> None:
        """Let go of the lists."""
        for _, lines in self._lists:
            if isinstance(lines, Generator):
                lines.close()


def _count(name: str) -> int | None:
    """The entries of a list, roughly, so that there is a time left from the start; ``None``: too large, or no file."""
    if name == "-" or not os.path.isfile(name) or os.path.getsize(name) > _COUNTED_BYTES:
        return None
    with open(name, "rb") as file:
        return sum(line[:1] not in b" \t\r\n#" for line in file)


def _inside(folder: str, files: Iterable[str | None]) -> Iterator[str]:
    """The names in the folder of files that the command itself reads or writes: no URL's file may take their place."""
    top = os.path.realpath(folder)
    for name in files:
        if name is not None and name != "-":
            path = os.path.relpath(os.path.realpath(name), top)
            if path.partition(os.sep)[0] not in (os.pardir, os.curdir):
                yield path.replace(os.sep, "/")


def _download(
    requests: _Requests,
    folder: str,
    settings: Settings,
    receipt: str | None,
    taken: Sequence[str],
    view: View,
    tally: Tally,
) -> None:
    from whichpool.downloads.run import idownload

    board = Board(requests.number)

    def told(number: int) -> None:
        board.files = number

    requests.told = told
    with ExitStack() as stack:
        stack.callback(requests.close)
        written = _receipts_file(stack, receipt)
        results = idownload(requests, folder, board=board, settings=settings, taken=taken)
        assert isinstance(results, Generator)
        stack.callback(results.close)
        stack.enter_context(view)
        ticker = stack.enter_context(Ticker(view, board.snapshot))
        try:
            for one in _received(results):
                tally.add(one)
                _write(written, one)
                view.receipt(one)
            ticker.stop()
        except KeyboardInterrupt:
            if ticker.failed is not None:
                # It was no Ctrl-C: the view could not go on.
                raise ticker.failed from None
            ticker.stop()
            results.close()  # what has arrived is put down, to be gone on with
            tally.received = board.snapshot().received
            view.end(tally, _signalled())
            if view.talks:
                say("the same command goes on from here")
            raise
        code = _code(tally)
        view.end(tally, code)
    if code:
        raise Ending(code, "" if view.sums_up else _ending(tally))


def _signalled() -> int:
    """The exit code of what has interrupted the command."""
    from click import get_current_context

    context = get_current_context(silent=True)
    state = None if context is None else context.find_object(dict)
    return TERMINATED if state and state.get("asked") else INTERRUPTED


def _received(results: Iterator[Receipt]) -> Iterator[Receipt]:
    """The receipts; what comes out of the downloader is told apart from what goes wrong in telling."""
    while True:
        try:
            one = next(results)
        except StopIteration:
            return
        except DownloadFailed as error:
            raise Ending(error.code, str(error)) from error
        except ValueError as error:
            # A setting that cannot be: requests were checked when they were made.
            raise Ending(USAGE, str(error)) from error
        yield one


def _receipts_file(stack: ExitStack, path: str | None) -> Any:
    if path is None:
        return None
    from whichpool.downloads.receipts import BadReceipt, Receipts

    try:
        return stack.enter_context(Receipts(path))
    except BadReceipt as error:
        raise Ending(IO_FAILED, f"{error}; it is left alone") from error
    except OSError as error:
        raise Ending(IO_FAILED, f"cannot write {path}: {error.strerror or error}") from error


def _write(written: Any, receipt: Receipt) -> None:
    if written is not None:
        try:
            written.add(receipt)
        except OSError as error:
            raise Ending(IO_FAILED, f"cannot write {written.path}: {error.strerror or error}") from error


def _code(tally: Tally) -> int:
    return max(code_of(tally.failures), IO_FAILED if tally.bad else OK)


def _ending(tally: Tally) -> str:
    """What is wrong in all, after each failure has been told."""
    if not tally.failures:
        return f"{entries(tally.bad)} of lists left out"
    failed, all_of = sum(tally.failures.values()), sum(tally.outcomes.values())
    return f"{failed:,} of {all_of:,} failed: {by_class(tally.failures)}"


# --- what the command line says --------------------------------------------------------------------------------


def _arguments(
    urls: Sequence[str], lists: Sequence[str], name: str | None, checksums: Sequence[str]
) -> list[Request]:
    """The URLs among the arguments."""
    one = len(urls) == 1 and not lists
    if not one and (name is not None or checksums):
        option = "-o" if name is not None else "--checksum"
        raise Ending(
            USAGE, f"{option} is for one URL; for several, a list says it for each (out=, checksum=)"
        )
    if name == "-":
        raise Ending(
            USAGE, "-o names a file: standard output cannot be taken back if the end is not what was promised"
        )
    if lists.count("-") > 1:
        raise Ending(USAGE, "standard input can be read once only: give one -i -")
    try:
        if one:
            record = {"url": urls[0], "name": name, "digests": dict(map(parse_checksum, checksums))}
            return [as_request(record)]
        return [as_request(url) for url in urls]
    except ValueError as error:
        hint = "; -d says where files go" if name is not None and "folder" in str(error) else ""
        if listed := [url for url in urls if "://" not in url and os.path.isfile(url)]:
            hint = f"; to fetch what the file {listed[0]} lists: -i {listed[0]}"
        raise Ending(USAGE, f"{error}{hint}") from error


def _settings(how: dict[str, Any]) -> Settings:
    """The options as `Settings`; those that were not given are left as they are there."""
    if how["newer"] and how["overwrite"]:
        raise Ending(
            USAGE, "--newer and --overwrite contradict each other: one asks first, the other does not"
        )
    if how["key"] and not how["cert"]:
        raise Ending(USAGE, "--key is the key of a certificate: give --cert too")
    headers: dict[str, str] = {}
    try:
        for line in how["headers"]:
            add_header(headers, line)
    except ValueError as error:
        raise Ending(USAGE, f"--header: {error}") from error
    user = None
    if how["user"] is not None:
        # What was given is not shown: it may be nothing but the password.
        name, colon, password = how["user"].partition(":")
        if not colon or not name:
            raise Ending(USAGE, "--user is NAME:PASSWORD; it can be given as WHICHPOOL_GET_USER, or in netrc")
        user = (name, password)
    wishes = {
        "most": how["jobs"],
        "per_host": how["max_per_host"],
        **{key: how[key] for key in ("segments", "retries", "connect_s", "first_byte_s", "stall_s", "proxy")},
        "rate": None if how["rate"] is None else float(how["rate"]),
        "user": user,
        "cookies": _path(how["cookies"]),
        "ca_bundle": _path(how["ca_bundle"]),
        "client_cert": None if how["cert"] is None else (Path(how["cert"]), _path(how["key"])),
    }
    for option in ("connect_s", "first_byte_s", "stall_s"):
        if how[option] is not None and not 0 < how[option] <= LONGEST_S:
            raise Ending(USAGE, f"{how[option]} is no number of seconds up to {LONGEST_S:,.0f}")
    if how["stall_s"] is not None:
        wishes["stall_bytes"] = max(1, round(STALL_PER_S * how["stall_s"]))
    return Settings(
        headers=headers,
        private=not how["no_private"],
        downgrade=how["allow_downgrade"],
        newer=how["newer"],
        overwrite=how["overwrite"],
        **{key: value for key, value in wishes.items() if value is not None},
    )


STALL_PER_S = 1000
"""Bytes a second that are no stall, on the average of ``--stall-timeout``; as `Settings` has it by default."""


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(os.path.abspath(text))
