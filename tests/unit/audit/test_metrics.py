"""The helper's histograms: cheap to add to, and in Prometheus' format."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from algate.alg.audit.durations import Durations

pytestmark = pytest.mark.unit


def test_durations_are_a_histogram_by_prometheus_own_reader() -> None:
    made = Durations("algate_turn_seconds", "Turns.", (0.001, 0.01))
    registry = CollectorRegistry()
    registry.register(made)
    for seconds in (0.0005, 0.001, 0.002, 5.0):
        made.observe(seconds)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert (family.name, family.type) == ("algate_turn_seconds", "histogram")
    found = {(one.name, one.labels.get("le")): one.value for one in family.samples}
    assert found == {
        ("algate_turn_seconds_bucket", "0.001"): 2, ("algate_turn_seconds_bucket", "0.01"): 3,
        ("algate_turn_seconds_bucket", "+Inf"): 4, ("algate_turn_seconds_count", None): 4,
        ("algate_turn_seconds_sum", None): 0.0005 + 0.001 + 0.002 + 5.0,
    }  # fmt: skip
