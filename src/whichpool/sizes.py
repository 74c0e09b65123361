"""Sizes as people write them."""

from __future__ import annotations

from math import inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["size_in_bytes"]

_UNITS = {
    **{
        unit: 1000**power
        for power, each in enumerate(["", "k", "m", "g", "t"])
        for unit in (each, each + "b")
    },
    **{each + "ib": 1024**power for power, each in enumerate(["", "k", "m", "g", "t"]) if each},
}


def size_in_bytes(name: str, value: Any) -> int:
    """Bytes, given as a whole number or as a text such as "500 MB" or "2GiB".

    Args:
        name: Of the option, for the message.
        value: What was given.

    Raises:
        PlanError: It is no size.

    >>> size_in_bytes("max_memory", "1.5GiB"), size_in_bytes("max_memory", "2G"), size_in_bytes("max_memory", 7)
    (1610612736, 2000000000, 7)
    """
    size: float = 0
    if isinstance(value, str):
        number, unit = value.strip(), ""
        while number and not (number[-1].isdigit() or number[-1] == "."):
            number, unit = number[:-1], number[-1] + unit
        factor = _UNITS.get(unit.strip().lower())
        try:
            size = float(number) * factor if factor is not None else 0
        except ValueError:
            pass
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    if not 1 <= size < inf:
        from whichpool.errors import PlanError

        raise PlanError(
            f'{name}={value!r} is no size: it must be a number of bytes, or a text such as "500 MB" or "2GiB"'
        )
    return int(size)
