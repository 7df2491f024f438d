"""Times of day are the same everywhere."""

from __future__ import annotations

import pytest

from algate.cli.top import plain, screen


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of day are the same everywhere."""
    monkeypatch.setattr(screen, "clock", lambda seconds: "12:00:00")
    monkeypatch.setattr("algate.cli.top.happenings.clock", lambda seconds: "12:00:00")
    monkeypatch.setattr(plain, "clock", lambda seconds: "12:00:00")
