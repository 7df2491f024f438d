"""What the gate does so that nobody waits for a timer (invariant 13): repetitions, ends, and clocks of lines."""

from __future__ import annotations

import pytest

from algate.bpf import abi
from algate.bpf.abi import Direction
from tests.bpf.rig import REDIRECT, Rig, ticks
from tests.bpf.test_lines import NOOP, REPLY, say, state, tell
from tests.bpf.watched import FIRST, IN, OUT, Watched, watch

LINE = b"PORT 10,0,0,2,195,80\r\n"
SIDES = [OUT, IN]


def stamp(value: int) -> list[tuple[str, object]]:
    return [("NOP", None), ("NOP", None), ("Timestamp", (value, 0))]


@pytest.fixture
def stamped(rig: Rig) -> Watched:
    session = watch(rig, stamp(1000))
    rig.taken()
    return session


def drops(session: Watched, side: Direction, load: bytes = LINE, flags: str = "PA", **fields: object) -> dict[str, int]:
    return session.send(side, session.frame(side, load, flags, **fields)).drops  # type: ignore[arg-type]


HELD, AGAIN = {"punt-held": 1}, {"punt-again": 1}


@pytest.mark.parametrize("side", SIDES)
def test_a_repetition_isnt_copied_while_the_first_copy_is_on_its_way(stamped: Watched, side: Direction) -> None:
    assert drops(stamped, side, options=stamp(1001)) == HELD
    for later in (1001, 1002, 1040):
        assert drops(stamped, side, options=stamp(later)) == AGAIN
    assert len(stamped.rig.taken()) == 1


@pytest.mark.parametrize("flags", ["FA", "RA"])
def test_an_end_that_waits_is_copied_once(watched: Watched, flags: str) -> None:
    assert drops(watched, OUT) == HELD
    for wanted in (HELD, AGAIN):
        assert drops(watched, OUT, b"", flags, at=len(LINE)) == wanted


@pytest.mark.parametrize(
    "news",
    [
        {"load": LINE[:-2] + b"\n\n"}, {"load": LINE[:-1]}, {"at": 1}, {"ack": FIRST[IN] + 7}, {"window": 0},
        {"flags": "FPA"}, {"options": [*stamp(0), ("NOP", None), ("NOP", None), ("SAck", (1, 2))]},
    ],
    ids=lambda news: str(*news),
)  # fmt: skip
def test_news_is_copied(watched: Watched, news: dict[str, object]) -> None:
    assert drops(watched, OUT, options=stamp(1)) == HELD
    assert drops(watched, OUT, **{"options": stamp(1)} | news) == HELD  # type: ignore[arg-type]


def test_after_a_moment_it_is_copied_again(watched: Watched) -> None:
    assert drops(watched, OUT) == HELD
    for ago, wanted in ((400, AGAIN), (500, HELD), (0, AGAIN)):
        track = watched.track()
        track.punted_at[OUT] = (ticks() - ago) % 2**32 if ago else track.punted_at[OUT]
        watched.rig.gateway.tracks.put(watched.key, track)
        assert drops(watched, OUT) == wanted


def test_what_the_helper_has_taken_account_of_is_no_longer_on_its_way(watched: Watched) -> None:
    """Without a decision its repetition is the helper's business: a refusal, an unfinished line."""
    record = abi.Adjust(id=watched.id, decided=(FIRST[OUT], FIRST[IN]), lines=watched.track().lines)
    watched.rig.gateway.adjusts.put(watched.key, record)
    assert drops(watched, OUT) == HELD and drops(watched, OUT) == AGAIN
    record.lines = watched.track().lines
    watched.rig.gateway.adjusts.put(watched.key, record)
    assert drops(watched, OUT) == HELD and drops(watched, OUT) == AGAIN


def test_directions_are_told_apart(watched: Watched) -> None:
    assert drops(watched, OUT) == HELD
    watched.doubt()
    assert drops(watched, IN, at=FIRST[OUT] - FIRST[IN], ack=FIRST[IN]) == HELD
    assert drops(watched, OUT) == AGAIN


def test_a_broken_or_stale_copy_stands_in_nobodys_way(stamped: Watched) -> None:
    """The helper will drop it: the repetition is what it waits for."""
    fin = stamped.frame(OUT, b"", "FA", at=len(LINE), options=stamp(1001))
    for good in (stamped.frame(OUT, LINE, options=stamp(1001)), fin):
        broken = bytearray(good)
        broken[50] ^= 1
        assert stamped.send(OUT, bytes(broken)).drops == HELD
        assert stamped.send(OUT, good).drops == HELD and stamped.send(OUT, good).drops == AGAIN
    for stale in (HELD, HELD):
        assert drops(stamped, OUT, options=stamp(900)) == stale, "nor is a stale one taken for a repetition"
    assert drops(stamped, OUT, options=stamp(1001)) == HELD


@pytest.mark.usefixtures("one_cpu")
def test_what_the_ring_refused_is_copied_when_it_comes_again(watched: Watched) -> None:
    at = 0
    for load in (bytes(1400), LINE):
        while drops(watched, OUT, load, at=at) == HELD:
            at += 1
            assert at < 100_000
    assert drops(watched, OUT, at=at) == {"punt-lost": 1}
    watched.rig.taken()
    assert drops(watched, OUT, at=at) == HELD and drops(watched, OUT, at=at) == AGAIN


@pytest.mark.parametrize("side", SIDES)
def test_a_rst_behind_a_fin_that_went_on_does_not_wait(watched: Watched, side: Direction) -> None:
    assert watched.send(side, watched.frame(side, b"", "FA")).action == REDIRECT
    for flags in ("R", "RA"):
        assert watched.send(side, watched.frame(side, b"", flags, at=1)).action == REDIRECT
    assert watched.rig.taken() == []


@pytest.mark.parametrize("side", SIDES)
def test_a_rst_behind_the_fin_of_a_decided_line_does_not_wait(watched: Watched, side: Direction) -> None:
    watched.decide(side, LINE)
    end = len(LINE)
    watched.adjust(decided=(FIRST[OUT] + end, FIRST[IN] + end))
    assert watched.inject(side, watched.frame(side, LINE, "FPA")).action == REDIRECT
    assert watched.send(side, watched.frame(side, b"", "R", at=end + 1)).action == REDIRECT


@pytest.mark.parametrize("side", SIDES)
def test_a_rst_behind_one_held_byte_waits(watched: Watched, side: Direction) -> None:
    """Which is as far from what was decided as one behind a FIN."""
    assert drops(watched, side, b"x") == HELD
    assert drops(watched, side, b"", "R", at=1) == HELD


@pytest.mark.parametrize("side", SIDES)
def test_neither_a_line_nor_an_old_fin_is_taken_for_the_end(watched: Watched, side: Direction) -> None:
    watched.decide(side, LINE)
    end = len(LINE)
    watched.adjust(decided=(FIRST[OUT] + end, FIRST[IN] + end))
    assert watched.inject(side, watched.frame(side, LINE)).action == REDIRECT
    assert watched.send(side, watched.frame(side, b"", "FA", at=end - 1)).action == REDIRECT
    assert drops(watched, side, b"x", at=end) == HELD
    assert drops(watched, side, b"", "R", at=end + 1) == HELD


@pytest.mark.parametrize("side", SIDES)
def test_a_rst_behind_a_fin_that_waits_waits_too(watched: Watched, side: Direction) -> None:
    assert drops(watched, side) == HELD
    assert drops(watched, side, b"", "FA", at=len(LINE)) == HELD
    assert drops(watched, side, b"", "R", at=len(LINE) + 1) == HELD
    assert not watched.track().flags & (abi.TrackFlag.FIN_OUT | abi.TrackFlag.FIN_IN)


def test_the_clock_of_lines_that_passed_is_told_not_that_of_what_came(rig: Rig) -> None:
    """RFC 7323 section 4.3: what is held, or lies behind what was acknowledged, moves nothing."""
    session = tell(watch(rig, stamp(1000)))
    rig.taken()
    line = session.frame(OUT, NOOP, options=stamp(1001))
    assert session.send(OUT, line).action == REDIRECT
    assert session.send(OUT, session.frame(OUT, NOOP, at=6, options=stamp(1002))).action == REDIRECT
    assert list(session.track().ts_recent) == [1001, 0], "the second begins behind what was acknowledged"
    assert session.send(IN, session.frame(IN, REPLY, options=stamp(1500))).action == REDIRECT
    assert session.send(IN, session.frame(IN, b"", "A", at=len(REPLY), options=stamp(1600))).action == REDIRECT
    assert session.send(OUT, session.frame(OUT, LINE, at=12, options=stamp(1003))).drops == HELD
    assert session.send(OUT, session.frame(OUT, b"", "FA", at=12 + len(LINE), options=stamp(1004))).drops == HELD
    told = [list(punt.ts_recent) for punt, _ in rig.taken()]
    assert told == [[1001, 1500]] * 2 and list(session.track().ts_value) == [1004, 1600]


def test_unstamped_lines_tell_no_clock(rig: Rig) -> None:
    session = tell(watch(rig))
    state(session)
    assert say(session, NOOP) and list(session.track().ts_recent) == [0, 0]
