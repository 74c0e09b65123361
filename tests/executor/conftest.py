"""An executor on every plan, and a gate for its calls."""

from __future__ import annotations

import executor_work
import pytest

PLANS = ["auto", "loop", "threads", "processes", (2, 2)]


@pytest.fixture(params=PLANS, ids=str)
def plan(request):
    return request.param


@pytest.fixture
def gate(tmp_path):
    keeper = executor_work.Keeper(tmp_path)
    yield keeper
    keeper.close()
