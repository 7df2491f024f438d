"""Histograms of seconds that the helper adds to for each segment.

The law of this file: cheap to add to, and nothing else is counted here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

DECISION_BUCKETS = (25e-6, 50e-6, 100e-6, 150e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 100e-3, 1.0)
SESSION_BUCKETS = (2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0, 600.0, 3600.0)
TURN_BUCKETS = (100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1.0)
HELD_BUCKETS = (*DECISION_BUCKETS, 5.0, 30.0)  # most of it that of a decision; a line may wait for the other side
GAP_BUCKETS = (0.26, 0.275, 0.3, 0.4, 0.5, 1.0, 2.0, 3.0)  # the heartbeat's period is 0.25 s, helper_timeout 3 s
LATE_BUCKETS = (0.5e-3, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1.0)


class Durations(Collector):
    """A histogram of seconds, cheap to add to: the helper does so for each segment. One thread adds, any reads."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...]) -> None:
        self.name, self.text, self.buckets = name, text, buckets
        self.total = 0.0
        self.counts = [0] * (len(buckets) + 1)

    def observe(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.buckets, seconds)] += 1
        self.total += seconds

    def collect(self) -> Iterable[Metric]:
        """One family."""
        names = [*map(repr, self.buckets), "+Inf"]
        buckets = list(zip(names, accumulate(self.counts), strict=True))
        yield HistogramMetricFamily(self.name, self.text, buckets, sum_value=self.total)
