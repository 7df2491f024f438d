"""A fault in algate itself is logged with its traceback, escaped, and once per minute."""

from __future__ import annotations

import logging
import time

import pytest

from algate.alg.helper import faults
from algate.alg.helper.faults import Faults

pytestmark = pytest.mark.unit


def fault(text: str = "planted") -> Exception:
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return error


def other() -> Exception:
    try:
        return ValueError(int("x"))
    except ValueError as error:
        return error


def test_the_log_shows_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    Faults().note(0xA1, fault())
    (row,) = caplog.records
    assert row.levelno == logging.ERROR
    said = row.getMessage()
    assert said.startswith("algate failed on control session 00000000000000a1, not its plug-in:\n")
    assert "test_faults.py" in said and "in fault" in said and said.endswith("RuntimeError: planted")


def test_nothing_hostile_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Faults().note(1, fault("\x1b[31m\nforged: line\x07"))
    first, *rest = caplog.records[0].getMessage().split("\n")
    assert all(line.startswith("  | ") and line.isprintable() for line in rest) and first.isprintable()


def test_no_password_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The line that a fault was about is often in its message."""
    try:
        try:
            int(b"PASS hunter2")
        except ValueError as cause:
            raise RuntimeError("can't read b'SITE CHPASS a hunter2' or PASS hunter2") from cause
    except RuntimeError as error:
        Faults().note(1, error)
    said = next(one.getMessage() for one in caplog.records if one.name == faults.__name__)  # the loop has a log, too
    told = [line for line in said.splitlines() if "Error" in line and " raise " not in line]
    assert told == [
        "  | ValueError: invalid literal for int() with base 10: ...",
        "  | RuntimeError: can't read ... or PASS ...",
    ]


def test_the_same_place_speaks_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    made = Faults()
    for _ in range(5):
        made.note(1, fault())
    made.note(1, other())
    assert len(caplog.records) == 2, "another place is another fault"
    now += faults.AGAIN_SECONDS + 1
    made.note(1, fault())
    assert "(4 more of these since the last)" in caplog.records[-1].getMessage()
    assert made.silent == {}
