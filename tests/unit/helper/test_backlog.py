"""A ring that fills faster than it is read makes those wait that fill it."""

from __future__ import annotations

import pytest

from algate.alg.helper.backlog import HIGH, LOW, Backlog

pytestmark = pytest.mark.unit


def test_it_is_told_once_when_much_waits_and_once_when_little_does() -> None:
    told: list[bool] = []
    backlog = Backlog(told.append)
    for unread in (0, LOW + 1, HIGH, HIGH + 1, HIGH * 2, LOW + 1, LOW, 0, HIGH, HIGH + 1):
        backlog.look(unread)
    assert told == [True, False, True] and backlog.much
