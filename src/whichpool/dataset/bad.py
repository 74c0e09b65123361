"""Records that cannot be read, or for which the function raises: they end the run, are skipped, or are set aside."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from whichpool import PlanError
from whichpool.dataset.failures import BadInput, TooManyBad
from whichpool.dataset.records import BadRecord

if TYPE_CHECKING:
    from typing import Any

    from whichpool.dataset.chunks import Chunk
    from whichpool.dataset.records import Split

__all__ = ["MODES", "Limit", "Rejects", "as_lines"]

MODES = ("raise", "skip", "quarantine")

# Characters of a record that are kept. A guess: enough to find it again, and a line that anyone can look at.
MOST_RAW = 10_000


class Rejects:
    """The bad records of one split."""

    def __init__(self, split: Split, mode: str) -> None:
        self.mode = mode
        self.found: list[BadRecord] = []
        self.count = 0
        self.of_function = 0
        """How many of them the function had been given."""
        self._split = split

    @property
    def strict(self) -> bool:
        """Whether the first one ends the run."""
        return self.mode == "raise"

    def add(
        self, error: BaseException, number: int, chunk: Chunk | None, raw: Any = None, file: str = ""
    ) -> None:
        """One more.

        Args:
            error: What was raised.
            number: Which record it is: of its chunk, or of the split.
            chunk: The bytes that it is in; ``None``: it is not known as bytes.
            raw: The record, where there is no chunk.
            file: The file, where it is not the first of the split.

        Raises:
            BadInput: It ends the run.
        """
        file = file or self._split.sources[0].path
        where, position, text = "row", number, None
        if chunk is not None:
            begin, end = chunk.span(number)
            where, position = "byte", chunk.offset + begin
            text = chunk.data[begin:end].decode(chunk.encoding, "backslashreplace").rstrip("\r\n")
        elif raw is not None:
            text = raw if isinstance(raw, str) else json.dumps(raw, default=str)
        if self.strict:
            raise BadInput(
                f"{file}, {where} {position:,}: {error}"
                + (f": {text[:200]!r}" if text else "")
                + ' (bad="skip" or "quarantine" goes on without such records)'
            ) from (error if not isinstance(error, BadInput) else None)
        self.count += 1
        if self.mode == "quarantine":
            said = f"{type(error).__qualname__}: {error}"
            cut = text[:MOST_RAW] if text is not None else None
            self.found.append(BadRecord(file, where, position, str(self._split), said, cut))


def as_lines(found: list[BadRecord]) -> str:
    """The records as JSON lines."""
    return "".join(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in found)


class Limit:
    """How many records may be bad: a number, or a share such as ``"0.1%"`` or 0.001.

    >>> Limit("0.1%").check(1, 1000)
    >>> Limit(2).check(3, 1000)
    Traceback (most recent call last):
        ...
    whichpool.dataset.failures.TooManyBad: 3 of 1,000 records were bad, more than max_bad=2 allows
    """

    def __init__(self, asked: int | float | str | None) -> None:
        self._asked = asked
        self._number: float | None = None
        self._share: float | None = None
        if asked is None:
            return
        try:
            if isinstance(asked, str) and asked.endswith("%"):
                self._share = float(asked[:-1]) / 100
            elif isinstance(asked, float) or (isinstance(asked, str) and "." in asked):
                self._share = float(asked)
            else:
                self._number = int(asked)
        except ValueError:
            raise PlanError(
                f"max_bad is a number of records or a share such as '0.1%', not {asked!r}"
            ) from None
        if (self._number or 0) < 0 or not 0 <= (self._share or 0) <= 1:
            raise PlanError(f"max_bad cannot be {asked!r}")

    def check(self, bad: int, records: int, expected: float = 0) -> None:
        """Whether the run may go on.

        Args:
            bad: So far.
            records: So far.
            expected: About how many there will be in the end: a share is one of all, and the first may be the worst.

        Raises:
            TooManyBad: No.
        """
        too_many = self._number is not None and bad > self._number
        if too_many or (self._share is not None and bad > self._share * max(records, expected)):
            raise TooManyBad(
                f"{bad:,} of {records:,} records were bad, more than max_bad={self._asked} allows"
            )
