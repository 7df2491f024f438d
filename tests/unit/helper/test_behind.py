"""Those who wait go first; of one session everything keeps its order (helper/behind.py)."""

from __future__ import annotations

import pytest

from algate.alg.engine.effects import Segment, SessionInfo, SessionKey
from algate.alg.gateway.records import Punt
from algate.alg.helper.behind import Behind

UNKNOWN = 99  # a session that the engine doesn't know


class Helper:
    """An engine whose copies wait until `caught_up`; `done` is what was judged, in its order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.late: dict[int, list[str]] = {}
        self.behind = Behind(self, self.judge, self.caught_up)

    def defer(self, copy: Segment, now: float) -> bool:
        if copy.info.session == UNKNOWN:
            return False
        self.late.setdefault(copy.info.session, []).append(copy.frame.decode())
        return True

    def expecting(self, expectation: int) -> int:
        return expectation // 10

    def judge(self, punt: Punt) -> None:
        self.done.append(punt.frame.decode())

    def caught_up(self, number: int) -> None:
        self.done += self.late.pop(number, [])

    def copy(self, session: int, name: str) -> bool:
        return self.behind.copy(session, punt(session, name, True), 1.0)

    def use(self, expectation: int, name: str) -> bool:
        return self.behind.use(punt(0, name, False, expectation))


def punt(session: int, name: str, copied: bool, expectation: int = 0) -> Punt:
    """One whose frame is its name."""
    info, frame = SessionInfo(session, SessionKey(bytes(4), 0, bytes(4), 0), bytes(4), 0), name.encode()
    segment = Segment(info, 0, 0, frame, 0, 0, len(frame), 0, (0, 0), copied=True) if copied else None
    return Punt(0, 0, info, expectation, 0, 0, frame, segment)


@pytest.fixture
def helper() -> Helper:
    return Helper()


def test_all_of_a_session_keeps_its_order(helper: Helper) -> None:
    assert helper.copy(1, "200") and helper.use(10, "used") and helper.copy(1, "LIST") and helper.copy(1, "221")
    assert not helper.done
    helper.behind.all(1.0)
    assert helper.done == ["200", "used", "LIST", "221"]
    helper.behind.all(1.0)
    assert len(helper.done) == 4


def test_who_waits_overtakes_other_sessions_alone(helper: Helper) -> None:
    assert helper.use(10, "used 1") and helper.copy(1, "QUIT 1") and helper.copy(2, "200") and helper.use(20, "used 2")
    helper.copy(2, "USER")
    helper.behind.overtake(2, 1.0)
    assert helper.done == ["200", "used 2"]
    assert helper.late == {2: ["USER"]}, "the engine judges a copy and what waits behind it together"
    helper.behind.all(1.0)
    assert helper.done == ["200", "used 2", "USER", "used 1", "QUIT 1"]


def test_copies_alone_stay_for_the_engine(helper: Helper) -> None:
    helper.copy(1, "USER")
    helper.behind.overtake(1, 1.0)
    assert not helper.done and helper.late == {1: ["USER"]}
    helper.behind.all(1.0)
    assert helper.done == ["USER"]


def test_a_first_packet_waits_for_the_copies_too(helper: Helper) -> None:
    helper.use(10, "used")
    helper.copy(1, "200")
    helper.copy(2, "220")
    helper.behind.settle(1, 1.0)
    helper.behind.settle(3, 1.0)
    assert helper.done == ["used", "200"]


def test_what_nobody_knows_isnt_kept(helper: Helper) -> None:
    assert not helper.use(7, "nobody's") and not helper.copy(UNKNOWN, "a copy")
    helper.behind.all(1.0)
    assert not helper.done


def test_a_session_that_the_engine_lost_meanwhile_is_judged_by_itself(helper: Helper) -> None:
    helper.use(10 * UNKNOWN, "used")
    assert helper.copy(UNKNOWN, "a copy")
    helper.behind.all(1.0)
    assert helper.done == ["used", "a copy"]
