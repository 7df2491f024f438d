"""The engine's numbers are those of abi.h; layouts are records.py's."""

from __future__ import annotations

import pytest

from algate.alg.engine import corrections, effects, expectations
from algate.bpf import abi


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
