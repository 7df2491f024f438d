"""Where a line of the client's begins: known while all that came is decided or stated to be whole, else not."""

from __future__ import annotations

from typing import Any

import pytest

from algate.alg.admin import capture
from algate.alg.engine.corrections import Correction
from algate.alg.engine.effects import ADJUST_BEGINS, ADJUST_LINES, AdjustRecord, TrackView
from algate.alg.errors import AlgateError
from algate.alg.helper import takeover

pytestmark = pytest.mark.unit
TRACK = TrackView((99, 199), (500, 800), (500, 800), (1, 1), (0, 0), (1460, 1460), 0, lines=7)


def begins(monkeypatch: pytest.MonkeyPatch, track: TrackView | None, record: AdjustRecord | None, client: str) -> Any:
    class Kept:
        def __init__(self, *_: object) -> None: ...

        def track(self, _: int) -> TrackView | None:
            return track

        def adjust(self, _: int) -> AdjustRecord | None:
            return record

    monkeypatch.setattr(takeover, "Kept", Kept)
    running: Any = type("", (), {"gateway": None, "helper": type("", (), {"executor": type("", (), {"keys": {}})})})
    return capture._begins(running, 7, client)


def record(decided: tuple[int, int], flags: int = 0, lines: int = 0) -> AdjustRecord:
    return AdjustRecord(7, decided, (0, 0), ((Correction(100, 120, 0, 5),), ()), flags, 0, lines)


@pytest.mark.parametrize(
    ("track", "found", "client", "wanted"),
    [
        (TRACK, record((500, 0)), "inside", [500, 505]),
        (TRACK, record((0, 800)), "outside", [800, 800]),
        (TRACK, record((490, 800)), "inside", None),
        (TRACK, record((490, 800), ADJUST_LINES, 7), "inside", [500, 505]),
        (TRACK, record((490, 800), ADJUST_LINES, 6), "inside", None),
        (TRACK._replace(next=(100, 200)), record((0, 0), ADJUST_BEGINS), "inside", [100, 100]),
        (TRACK, record((0, 0), ADJUST_BEGINS), "inside", None),
        (None, record((500, 0)), "inside", None),
        (TRACK, None, "inside", None),
    ],
)
def test_a_line_begins_where_all_before_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, track: TrackView | None, found: AdjustRecord | None, client: str, wanted: Any
) -> None:
    assert begins(monkeypatch, track, found, client) == wanted


def test_what_is_no_id_is_wrong_usage() -> None:
    with pytest.raises(AlgateError, match="not a session id") as raised:
        capture._number({"id": "10.0.0.2:21"})
    assert raised.value.exit_code == 2
