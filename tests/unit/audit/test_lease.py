"""What the metrics of a gateway say that leases its ports."""

from __future__ import annotations

import pytest

from algate.alg.answers import LeaseAnswer
from algate.alg.audit.lease import LeaseFamilies
from algate.alg.audit.metrics import Metrics

pytestmark = pytest.mark.unit


def test_a_lease_is_told_with_what_it_is_of() -> None:
    answer: LeaseAnswer = {
        "node": "a", "role": "shares", "state": "in step", "lease": 41.5, "version": 7,
        "ports": ["1024-5055", "5056-9087"], "giving_back": ["9088-13119"], "others": ["b", "c", "d"],
        "engine": "127.0.0.1:6379", "problem": "",
    }  # fmt: skip
    page = Metrics(None, lambda: (True, "translating"))
    page.registry.register(LeaseFamilies(lambda: answer, lambda: (9, 2)))
    stats = page.stats()
    assert stats["algate_lease_seconds"] == 41.5 and stats["algate_lease_version"] == 7
    counts = [stats[f"algate_lease_{name}"] for name in ("lots", "lots_leaving", "others", "renewals_total")]
    assert counts == [2, 1, 3, 9] and stats["algate_lease_failures_total"] == 2
