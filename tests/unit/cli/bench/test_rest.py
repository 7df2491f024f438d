"""A sample begins when no helper is busy with what the one before left."""

from __future__ import annotations

from typing import Any

import pytest

from algate.cli.bench import ftp_helper
from algate.cli.bench.ftp_helper import REST_LOOK, REST_MOST, let_rest

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("shares", "looks", "rests"), [([0.0], 1, True), ([1.0, 0.9, 0.04, 1.0], 3, True), ([1.0] * 1000, 200, False)]
)
def test_helpers_rest_when_one_is_busy_no_more(
    monkeypatch: pytest.MonkeyPatch, shares: list[float], looks: int, rests: bool
) -> None:
    spent, slept = [0.0], [0]
    busy: Any = object()
    idle: Any = object()

    def sleep(seconds: float) -> None:
        spent[0] += shares[slept[0]] * seconds
        slept[0] += 1

    monkeypatch.setattr(ftp_helper, "helper_time", lambda one: spent[0] if one is busy else 7.0)
    assert let_rest([idle, busy], sleep) is rests and slept == [looks]
    assert looks * REST_LOOK <= REST_MOST + 0.001
    assert let_rest([idle], lambda _: None)
