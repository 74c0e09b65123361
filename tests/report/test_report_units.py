from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichpool.report import units


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (float("inf"), "-"),
        (0, "0 s"),
        (9.999e-7, "1.00 us"),
        (0.9999, "1.00 s"),
        (59.96, "1 min 0 s"),
        (119.6, "2 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7200, "2 h 0 min"),
        (-0.002, "-2.00 ms"),
    ],
)
def test_a_duration_never_rounds_to_a_full_next_unit(seconds: float | None, said: str) -> None:
    assert units.duration(seconds) == said


@given(st.floats(min_value=1e-9, max_value=59.9))
def test_a_duration_read_back_is_within_one_percent(seconds: float) -> None:
    number, symbol = units.duration(seconds).split()
    scale = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[symbol]
    assert float(number.replace(",", "")) * scale == pytest.approx(seconds, rel=0.01)


@given(st.floats(min_value=1, max_value=1e15))
def test_a_size_read_back_is_within_one_percent_or_half_a_byte(amount: float) -> None:
    number, symbol = units.size(amount).split()
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[symbol]
    assert float(number.replace(",", "")) * scale == pytest.approx(amount, rel=0.01, abs=0.5)


def test_what_was_not_measured_is_a_dash_everywhere() -> None:
    assert {f(None) for f in (units.duration, units.size, units.rate, units.ratio, units.cores)} == {"-"}


def test_plurals() -> None:
    assert units.count(0, "item") == "0 items"
    assert units.count(1, "process") == "1 process"
    assert units.count(3, "process") == "3 processes"
