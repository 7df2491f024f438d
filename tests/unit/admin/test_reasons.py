"""Every drop reason has a cure, or says by an empty one that it needs none."""

from __future__ import annotations

from algate.alg.admin import explain, reasons
from algate.alg.answers import HELD
from algate.bpf import abi


def test_every_drop_reason_has_its_cure() -> None:
    """A new one: say in CURES what to do about it, or in HELD that nothing was dropped."""
    names = {name for name, _ in abi.reasons().values()}
    assert set(reasons.CURES) | HELD == names
    assert not set(reasons.CURES) & HELD
    assert set(explain.DROPS) <= names


def test_drops_come_most_first_and_what_was_only_held_is_none() -> None:
    words = dict(abi.reasons().values())
    counts = {"malformed": 2, "punt-held": 341, "no-port": 7, "loop": 0}
    assert reasons.drops(counts, words) == [
        {"reason": "no-port", "count": 7, "meaning": "no public port is free", "cure": reasons.CURES["no-port"]},
        {"reason": "malformed", "count": 2, "meaning": words["malformed"], "cure": ""},
    ]
