"""Numbers as people say them: ``15 ms``, ``12 kB``, ``400/s``, ``2.4 x``.

Every function takes ``None`` for *not measured* and gives a dash.
"""

from __future__ import annotations

from math import isfinite

__all__ = ["NOT_MEASURED", "cores", "count", "duration", "rate", "ratio", "size"]

NOT_MEASURED = "-"

# Largest value that the unit is used for, seconds in the unit, its symbol.
_TIME = ((1e-6, 1e-9, "ns"), (1e-3, 1e-6, "us"), (1.0, 1e-3, "ms"))
_SIZE = ("B", "kB", "MB", "GB", "TB")


def _figures(value: float) -> str:
    """Three figures, and all of a larger whole number as long as it can be read.

    >>> [_figures(v) for v in (0.1234, 1.0, 12.34, 99.96, 123.4, 12345, 3e9)]
    ['0.12', '1.00', '12.3', '100', '123', '12,345', '3.0e+09']
    """
    if abs(value) >= 999_999_999.5:
        return f"{value:.1e}"
    places = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{places}f}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that keeps the number short.

    >>> [duration(s) for s in (None, 0, 25e-9, 0.0004, 0.0153, 2.0, 75, 4000)]
    ['-', '0 s', '25.0 ns', '400 us', '15.3 ms', '2.00 s', '1 min 15 s', '1 h 7 min']
    """
    if seconds is None or not isfinite(seconds):
        return NOT_MEASURED
    if seconds == 0:
        return "0 s"
    if seconds < 0:
        return "-" + duration(-seconds)
    for below, unit_s, symbol in _TIME:
        # Rounding must not give "1,000 us" where "1.00 ms" is meant.
        if seconds < below * 0.9995:
            return f"{_figures(seconds / unit_s)} {symbol}"
    if seconds < 59.95:
        return f"{_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    # Whole minutes are enough from an hour on, rounded once.
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"


def about(seconds: float) -> str:
    """Seconds that are a guess: in whole ones, and at least one.

    >>> [about(s) for s in (0.2, 6.4, 75)]
    ['1 s', '6 s', '1 min 15 s']
    """
    return duration(max(1.0, float(round(seconds)))).replace(".00 s", " s").replace(".0 s", " s")


def size(amount_bytes: float | None) -> str:
    """Bytes in decimal units.

    >>> [size(b) for b in (None, 0, 512, 12_000, 5.2e9)]
    ['-', '0 B', '512 B', '12.0 kB', '5.20 GB']
    """
    if amount_bytes is None or not isfinite(amount_bytes):
        return NOT_MEASURED
    value = float(amount_bytes)
    if abs(value) < 999.5:
        return f"{value:.0f} B"
    for symbol in _SIZE[1:]:
        value /= 1000
        if abs(value) < 999.5 or symbol == _SIZE[-1]:
            break
    return f"{_figures(value)} {symbol}"


def rate(per_s: float | None) -> str:
    """Items a second.

    >>> [rate(r) for r in (None, 0.25, 49.4, 400, 2_000_000)]
    ['-', '0.25/s', '49.4/s', '400/s', '2,000,000/s']
    """
    if per_s is None or not isfinite(per_s):
        return NOT_MEASURED
    return f"{_figures(per_s)}/s"


def ratio(times: float | None) -> str:
    """How many times as fast, or as long.

    >>> [ratio(r) for r in (None, 0.97, 3.92, 41.7)]
    ['-', '0.97 x', '3.9 x', '42 x']
    """
    if times is None or not isfinite(times):
        return NOT_MEASURED
    places = 2 if times < 0.995 else 1 if times < 9.95 else 0
    return f"{times:,.{places}f} x"


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where due.

    >>> count(1, "item"), count(12_000, "item"), count(2, "process")
    ('1 item', '12,000 items', '2 processes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def cores(number: float | None) -> str:
    """Cores, without decimals where there are none.

    >>> cores(2.0), cores(1.5), cores(1), cores(None)
    ('2 cores', '1.5 cores', '1 core', '-')
    """
    if number is None or not isfinite(number):
        return NOT_MEASURED
    return f"{number:.2f}".rstrip("0").rstrip(".") + (" core" if number == 1 else " cores")
