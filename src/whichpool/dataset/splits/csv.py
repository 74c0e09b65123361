"""Where a CSV file can be cut: exactly where Python's `csv` would begin a record, in every dialect it has.

A range of bytes does not know in which state it begins: inside quotes, after an escape character, in the midst of
a field. So each range is scanned once from every state that it could begin in; what a scan gives is the state at the
end, and where the first record begins. The parent puts these together from left to right, and then knows all the cuts.
The scans are independent, so they run beside one another.

Scanning from eight states costs hardly more than from one, since records found from different states soon are the same.
A regular expression passes over ordinary fields; only what is odd (a quote within a field) is taken byte by byte.
"""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from whichpool.dataset.records import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Scan", "compose", "header_end", "is_regular", "is_splittable", "last_record", "records", "scan"]

# The states of csv.reader between two bytes. START_RECORD and EAT_CRNL are told apart by whether a \n may still follow;
# AFTER_ESCAPED_CRNL behaves as IN_FIELD.
RECORD, START, FIELD, ESCAPED, QUOTED, QUOTED_ESCAPED, QUOTE, AFTER_CR = range(8)
STATES = 8

CR, LF, SPACE = 13, 10, 32

# Scans from different states that still disagree after so many records are each run to the end. In real files they
# agree after one or two. A guess.
MOST_RECORDS_APART = 64

# Bytes that are scanned at once where the last record is looked for: coarsely first, then what is left in smaller
# steps, and the rest of them record by record. Guesses: 256 KB are small beside a piece of a stream, 4 KB are 40 rows
# of 100 bytes. With steps of 256 KB alone 3,000 rows were walked through, 18 ms.
STEPS_BYTES = (1 << 18, 1 << 15, 1 << 12)

# Encodings in which a byte below 128 is always that character, and each special character is one byte. In others
# (UTF-16, Shift JIS) a byte that looks like a quote may be half of something else.
_SINGLE = re.compile(r"ascii|utf-8|utf-8-sig|iso8859-\d+|cp125\d|cp437|cp85\d|koi8-[rut]|mac-.*")

Scan = tuple[tuple[int, int | None], ...]
"""For each begin state: the state at the end, and the offset of the first record that begins in the range."""


@dataclass(frozen=True, slots=True)
class _Automaton:
    step: tuple[bytes, ...]
    """State -> byte -> state."""
    leave_field: re.Pattern[bytes]
    leave_quoted: re.Pattern[bytes] | None
    fast: re.Pattern[bytes] | None
    """From the start of a field over as many ordinary fields as there are, quoted ones too; ``None``: no such way."""
    special: tuple[bytes, ...]
    """A range in which none of these stands has a simple answer."""
    delimiter: int
    skips: bool


def is_splittable(dialect: Dialect, encoding: str) -> bool:
    """Whether a file can be cut by looking at its bytes."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        return False
    if not _SINGLE.fullmatch(name):
        return False
    characters = [dialect.delimiter, dialect.quotechar, dialect.escapechar]
    ascii_only = name.startswith("utf-8")
    for character in characters:
        if character and (len(character) != 1 or (ascii_only and ord(character) > 127)):
            return False
        try:
            if character and len(character.encode(encoding.replace("-sig", ""))) != 1:
                return False
        except UnicodeEncodeError:
            return False
    return not {*characters} & {"\r", "\n"}


@lru_cache(maxsize=16)
def _automaton(dialect: Dialect, encoding: str) -> _Automaton:
    def byte(character: str | None) -> int | None:
        return character.encode(encoding.replace("-sig", "").replace("_sig", ""))[0] if character else None

    delimiter, quote, escape = byte(dialect.delimiter), byte(dialect.quotechar), byte(dialect.escapechar)
    assert delimiter is not None
    if dialect.quoting == csv.QUOTE_NONE:
        quote = None

    def field_step(c: int) -> int:
        if c in (CR, LF):
            return RECORD if c == LF else AFTER_CR
        if c == escape:
            return ESCAPED
        return START if c == delimiter else FIELD

    def start_step(c: int) -> int:
        if c in (CR, LF):
            return RECORD if c == LF else AFTER_CR
        if c == quote:
            return QUOTED
        if c == escape:
            return ESCAPED
        if c == SPACE and dialect.skipinitialspace:
            return START
        return START if c == delimiter else FIELD

    def quoted_step(c: int) -> int:
        if c == escape:
            return QUOTED_ESCAPED
        if c == quote:
            return QUOTE if dialect.doublequote else FIELD
        return QUOTED

    def quote_step(c: int) -> int:
        if c == quote:
            return QUOTED
        if c == delimiter:
            return START
        if c in (CR, LF):
            return RECORD if c == LF else AFTER_CR
        return FIELD  # under strict the reader raises here, in the split that has it

    steps: dict[int, Callable[[int], int]] = {
        RECORD: start_step,
        START: start_step,
        FIELD: field_step,
        ESCAPED: lambda c: FIELD,
        QUOTED: quoted_step,
        QUOTED_ESCAPED: lambda c: QUOTED,
        QUOTE: quote_step,
        AFTER_CR: lambda c: RECORD if c == LF else start_step(c),
    }
    table = tuple(bytes(steps[state](c) for c in range(256)) for state in range(STATES))
    special = tuple(bytes([c]) for c in {quote, escape} if c is not None)
    distinct = [c for c in (delimiter, quote, escape) if c is not None]
    plain = len({*distinct}) == len(distinct) and not (dialect.skipinitialspace and SPACE in distinct)
    leaves = bytes(c for c in range(256) if table[QUOTED][c] != QUOTED)
    return _Automaton(
        table,
        _one_of(bytes(c for c in range(256) if table[FIELD][c] != FIELD)),
        _one_of(leaves) if leaves else None,
        _fast(delimiter, quote, escape, dialect.doublequote) if plain else None,
        special,
        delimiter,
        dialect.skipinitialspace,
    )


def _one_of(characters: bytes) -> re.Pattern[bytes]:
    return re.compile(b"[" + re.escape(characters) + b"]", re.DOTALL)


def _fast(
    delimiter: int, quote: int | None, escape: int | None, doublequote: bool
) -> re.Pattern[bytes] | None:
    special = [bytes([c]) for c in (quote, escape) if c is not None]
    if not special:
        return None  # the simple answer is always there
    ordinary = b"[^" + re.escape(b"".join(special)) + b"]*+"
    if quote is None:
        return re.compile(ordinary)
    q, ends = re.escape(bytes([quote])), b"[" + re.escape(bytes([delimiter])) + b"\r\n]"
    doubled = b"(?:" + q + q + ordinary + b")*+" if doublequote else b""
    # What is not as it should be (a quote within a field, one that is not closed) ends the match just before it.
    field = ordinary + b"(?<=" + ends + b")" + q + ordinary + doubled + q + b"(?=" + ends + b")"
    return re.compile(b"(?>" + field + b")*+" + ordinary)


def _first_record(data: bytes, at: int, state: int, auto: _Automaton) -> tuple[int | None, int]:
    """From ``state`` before byte ``at``: where the next record begins, and the state at the end if none does.

    A record begins at ``at`` itself only as far as the state says so.
    """
    step, end = auto.step, len(data)
    while at < end:
        if state == FIELD:
            found = auto.leave_field.search(data, at)
        elif state == QUOTED:
            found = auto.leave_quoted.search(data, at) if auto.leave_quoted else None
        else:
            if state == RECORD or (state == AFTER_CR and data[at] != LF):
                return at, state
            state = step[state][data[at]]
            at += 1
            continue
        if found is None:
            return None, state
        at = found.start()
        state = step[state][data[at]]
        at += 1
    return None, state


def _next_record(data: bytes, at: int, auto: _Automaton) -> tuple[int | None, int]:
    """Where the record that begins at ``at`` is followed by another."""
    return _first_record(data, at + 1, auto.step[RECORD][data[at]], auto)


def _end_state(data: bytes, at: int, auto: _Automaton) -> int:
    """The state at the end, from a record that begins at ``at``."""
    end = len(data)
    if at >= end:
        return RECORD
    if all(data.find(character, at) < 0 for character in auto.special):
        return _outside(data, at, end, auto)
    state, step, fast = RECORD, auto.step, auto.fast
    while at < end:
        if state == FIELD:
            found = auto.leave_field.search(data, at)
        elif state == QUOTED:
            found = auto.leave_quoted.search(data, at) if auto.leave_quoted else None
        else:
            if fast is not None and state <= START:
                match = fast.match(data, at)
                if match is not None and match.end() > at:
                    state = _outside(data, at, match.end(), auto)
                    at = match.end()
                    continue
            state = step[state][data[at]]
            at += 1
            continue
        if found is None:
            return state
        at = found.start()
        state = step[state][data[at]]
        at += 1
    return state


def _outside(data: bytes, begin: int, end: int, auto: _Automaton) -> int:
    """The state before ``end``, where no quote is open and nothing is escaped; a field began at ``begin``."""
    last = end
    if data[end - 1] == auto.delimiter:
        return START  # before spaces are skipped: one may be the delimiter
    if auto.skips:
        while last > begin and data[last - 1] == SPACE:
            last -= 1
        if last == begin:
            return START
    before = data[last - 1]
    if before == auto.delimiter:
        return START
    if before == LF:
        return RECORD if last == end else START
    if before == CR:
        return AFTER_CR if last == end else START
    return FIELD


def scan(data: bytes, dialect: Dialect, encoding: str = "utf-8") -> Scan:
    """What a range does to each state that it could begin in.

    Args:
        data: The bytes of the range.
        dialect: How the file is written.
        encoding: One for which `is_splittable` holds.

    >>> compose([scan(b'a,"x', Dialect()), scan(b'y\\n",b\\nc', Dialect())], [0, 4])
    ([0, 10], 2)
    """
    auto = _automaton(dialect, encoding)
    found = [_first_record(data, 0, state, auto) for state in range(STATES)]
    heads = {first for first, _ in found if first is not None}
    # Where each first record leads to: advanced until all of them are one, or they keep apart.
    leads = {head: head for head in heads}
    ends: dict[int, int] = {}
    for _ in range(MOST_RECORDS_APART):
        if len({*leads.values()} | {*ends}) <= 1:
            break
        open_leads = {lead for lead in leads.values() if lead not in ends}
        if not open_leads:
            break
        least = min(open_leads)
        after, state = _next_record(data, least, auto)
        if after is None:
            ends[least] = state
        else:
            leads = {head: after if lead == least else lead for head, lead in leads.items()}
    for lead in {*leads.values()} - {*ends}:
        ends[lead] = _end_state(data, lead, auto)
    return tuple((state, None) if first is None else (ends[leads[first]], first) for first, state in found)


def is_regular(data: bytes, dialect: Dialect, encoding: str = "utf-8") -> bool:
    """Whether whole records have nothing but plain fields and fields that are quoted from end to end.

    Others (a quote within a field, text after a closing quote, an escape) readers of CSV do not read alike.
    """
    auto = _automaton(dialect, encoding)
    if all(character not in data for character in auto.special):
        return True
    if dialect.escapechar and dialect.escapechar.encode(encoding.replace("-sig", "")) in data:
        return False
    if auto.fast is None:
        return False
    if _is_quote(data[:1], dialect, encoding):
        data = b"\n" + data  # a quoted field is one that comes after a delimiter or a line's end
    if not data.endswith((b"\n", b"\r")):
        data += b"\n"
    match = auto.fast.match(data)
    return match is not None and match.end() == len(data)


def _is_quote(data: bytes, dialect: Dialect, encoding: str) -> bool:
    return dialect.quotechar is not None and data == dialect.quotechar.encode(encoding.replace("-sig", ""))


def compose(scans: list[Scan], starts: list[int]) -> tuple[list[int], int]:
    """The cuts of the whole: at most one in each range, where its first record begins.

    Args:
        scans: Of neighbouring ranges; the first begins where a record does.
        starts: Their offsets.

    Returns:
        The offsets, and the state at the end.
    """
    state, cuts = RECORD, []
    for found, start in zip(scans, starts, strict=True):
        state, first = found[state]
        if first is not None:
            cuts.append(start + first)
    return cuts, state


def header_end(data: bytes, dialect: Dialect, encoding: str = "utf-8") -> int | None:
    """Where the record after the first one begins; ``None``: not in these bytes."""
    if not data:
        return None
    return _next_record(data, 0, _automaton(dialect, encoding))[0]


def records(data: bytes, dialect: Dialect, encoding: str = "utf-8") -> Iterator[tuple[int, int]]:
    """Where each record of some whole records begins and ends, blank lines included."""
    auto, at = _automaton(dialect, encoding), 0
    while at < len(data):
        after, _ = _next_record(data, at, auto)
        yield at, len(data) if after is None else after
        if after is None:
            return
        at = after


def last_record(data: bytes, dialect: Dialect, encoding: str = "utf-8") -> int:
    """Where the last record begins that begins in ``data``, which begins with one."""
    auto, last = _automaton(dialect, encoding), 0
    if all(data.find(character) < 0 for character in auto.special) and data.count(b"\r") == data.count(
        b"\r\n"
    ):
        return data.rfind(b"\n", 0, len(data) - 1) + 1  # every line is a record
    for step in STEPS_BYTES:
        starts = list(range(last, len(data), step))
        cuts, _ = compose([scan(data[at : at + step], dialect, encoding) for at in starts], starts)
        last = cuts[-1] if cuts else last
    while last < len(data) and (after := _next_record(data, last, auto)[0]) is not None:
        last = after
    return last
