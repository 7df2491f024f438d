"""A sample begins when no helper is busy with what the one before left."""

from __future__ import annotations

from typing import Any

import pytest

from algate.cli.bench import ftp_helper
from algate.cli.bench.ftp_helper import REST_LOOK, REST_MOST, let_rest

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("shares", "looks", "rests"), [([0.0], 1, True), ([1.0, 0.9, 0.04, 1.0], 3, True), ([1.0] * 1000, 100, False)]
)
def test_a_helper_rests(monkeypatch: pytest.MonkeyPatch, shares: list[float], looks: int, rests: bool) -> None:
    spent, slept, gateway = [0.0], [0], object()
    anything: Any = gateway

    def sleep(seconds: float) -> None:
        spent[0] += shares[slept[0]] * seconds
        slept[0] += 1

    monkeypatch.setattr(ftp_helper, "helper_time", lambda one: spent[0] if one is gateway else 1 / 0)
    assert let_rest(anything, sleep) is rests and slept == [looks]
    assert looks * REST_LOOK <= REST_MOST + 0.001
