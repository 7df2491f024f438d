"""The numbers and layouts in effects.py are those of abi.h."""

from __future__ import annotations

import pytest

from algate.alg.engine import corrections, effects
from algate.alg.engine.corrections import Correction
from algate.alg.engine.effects import AdjustRecord
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
        (effects.TRACK_TIMESTAMPS, abi.TrackFlag.TIMESTAMPS),
        (effects.TRACK_SYN_OUT, abi.TrackFlag.SYN_OUT),
        (effects.TRACK_SYN_IN, abi.TrackFlag.SYN_IN),
        (effects.EXPECT_PENDING, abi.ExpectationState.PENDING),
        (effects.EXPECT_OPEN, abi.ExpectationState.OPEN),
        (effects.SESSION_FORWARD, abi.SessionFlag.FORWARD),
        (effects.DIGEST_MAX, abi.DIGEST_MAX),
        (effects.REPLACEMENT_MAX, abi.REPLACEMENT_MAX),
        (corrections.MAX_CORRECTIONS, abi.MAX_CORRECTIONS),
    ],
)
def test_numbers(own: int, shared: int) -> None:
    assert own == int(shared)


def test_the_adjust_record_is_laid_out_as_the_kernel_reads_it() -> None:
    out = (Correction(1, 2, -3, 4), Correction(5, 6, 4, 0))
    record = AdjustRecord(7 << 40, (0xFFFF_FFFF, 9), (-10, 11), (out, (Correction(12, 12, 11, 40),)), 1)
    packed = record.pack()
    assert AdjustRecord.unpack(packed) == record
    struct = abi.Adjust.unpack(packed)
    assert (struct.id, list(struct.decided), list(struct.base)) == (7 << 40, [0xFFFF_FFFF, 9], [-10, 11])
    assert (list(struct.count), struct.flags) == ([2, 1], 1)
    assert (struct.at[0].before, struct.at[1].start, struct.at[8].after) == (-3, 5, 40)


def test_a_record_without_corrections_has_the_same_size() -> None:
    record = AdjustRecord(1, (2, 3), (0, 0), ((), ()))
    assert len(record.pack()) == len(abi.Adjust().pack()) if hasattr(abi.Adjust, "pack") else 304
    assert AdjustRecord.unpack(record.pack()) == record
