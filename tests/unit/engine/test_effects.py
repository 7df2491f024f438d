"""The engine's numbers are those of abi.h; layouts are records.py's."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from algate.alg.engine import corrections, effects, expectations
from algate.alg.gateway.records import Punt
from algate.alg.plugin.model import EndPoint
from algate.bpf import abi
from tests import wire

FRAMES = effects.Segment(wire.NAT64, 1, 2, b"x", 4, 5, 6, 7, (8, 9), 10, 11, True, (12, 13), True, 14, True)
END = EndPoint(IPv4Address("0.1.2.3"), 7)
EXPECTED = effects.Expectation(1, 2, wire.NAT64.key, 3, 1, 6, b"from", END, END, END, 1, True, 9.0, 10, 11, True)


def test_what_is_made_field_by_field_is_the_same_but_for_what_is_said() -> None:
    """As `_replace` makes it, which takes longer."""
    bare = wire.NAT64._replace(inside6=b"", prefix=None)
    assert bare.beside(b"6", b"r", wire.PREFIX) == bare._replace(inside6=b"6", remote6=b"r", prefix=wire.PREFIX)
    assert FRAMES.of(bare) == FRAMES._replace(info=bare) and FRAMES.framed(b"y") == FRAMES._replace(frame=b"y")
    other = END._replace(port=8)
    ends = {"from_ip": b"f", "to": other, "inside": other, "reserved": None}
    assert EXPECTED.between(b"f", other, other, None) == EXPECTED._replace(**ends)
    punt = Punt(1, 2, wire.NAT64, 3, 4, 5, b"x", FRAMES, 6, 7, 8)
    assert punt.of(bare) == punt._replace(info=bare, segment=FRAMES.of(bare))
    assert punt._replace(segment=None).of(bare) == punt._replace(info=bare, segment=None)


@pytest.mark.parametrize(
    ("own", "shared"),
    [
        (effects.OUT, abi.Direction.OUT),
        (effects.IN, abi.Direction.IN),
        (effects.INJECT_OUT, abi.InjectKind.OUT),
        (effects.INJECT_IN, abi.InjectKind.IN),
        (effects.INJECT_RAW_OUT, abi.InjectKind.RAW_OUT),
        (effects.INJECT_RAW_IN, abi.InjectKind.RAW_IN),
        (effects.VERDICT_PASS, abi.Verdict.PASS),
        (effects.VERDICT_REPLACE, abi.Verdict.REPLACE),
        (effects.ADJUST_BYPASS, abi.AdjustFlag.BYPASS),
        (effects.ADJUST_LINES, abi.AdjustFlag.LINES),
        (effects.ADJUST_OWED, abi.AdjustFlag.OWED),
        (effects.ADJUST_COPIES, abi.AdjustFlag.COPIES),
        (effects.ADJUST_BEGINS, abi.AdjustFlag.BEGINS),
        (effects.ADJUST_SETTLES, abi.AdjustFlag.SETTLES),
        (effects.ADJUST_UNANSWERED, abi.ADJUST_UNANSWERED),
        (effects.TRACK_TIMESTAMPS, abi.TrackFlag.TIMESTAMPS),
        (effects.TRACK_UNTOUCHABLE, abi.TrackFlag.UNTOUCHABLE),
        (effects.TRACK_SYN_OUT, abi.TrackFlag.SYN_OUT),
        (effects.TRACK_SYN_IN, abi.TrackFlag.SYN_IN),
        (effects.EXPECT_PENDING, abi.ExpectationState.PENDING),
        (effects.EXPECT_OPEN, abi.ExpectationState.OPEN),
        (effects.SESSION_FORWARD, abi.SessionFlag.FORWARD),
        (effects.DIGEST_MAX, abi.DIGEST_MAX),
        (effects.REPLACEMENT_MAX, abi.REPLACEMENT_MAX),
        (corrections.MAX_CORRECTIONS, abi.MAX_CORRECTIONS),
        (expectations.NAMED, abi.EXPECT_NAMED),
        (expectations.NAMED_PORT, abi.EXPECT_NAMED_PORT),
    ],
)
def test_numbers(own: int, shared: int) -> None:
    assert own == int(shared)
