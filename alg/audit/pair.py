"""How a gateway of two stands with the other one: gauges, what failed, and how long the other one takes.

The law of this file: names and help texts, as in fills.py; a gateway alone has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from algate.alg.answers import HaAnswer
from algate.alg.audit.durations import Durations

COMMIT_BUCKETS = (50e-6, 75e-6, 100e-6, 150e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1.0)
LAG_BUCKETS = (0.26, 0.275, 0.3, 0.4, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # walks are 0.25 s apart


class PairFamilies(Collector):
    """Of one daemon; `told` is asked at scrape time. `commit` and `lag` are added to by whoever leads."""

    def __init__(self, told: Callable[[], HaAnswer]) -> None:
        self._told = told
        self.commit = Durations(
            "algate_ha_commit_seconds", "Until the other node had what was about to be done.", COMMIT_BUCKETS
        )
        self.lag = Durations(
            "algate_ha_bulk_lag_seconds", "The longest that a session waited to be told of, for each walk.", LAG_BUCKETS
        )

    def collect(self) -> Iterable[Metric]:
        """One family per metric."""
        now = self._told()
        gauge = GaugeMetricFamily
        yield gauge("algate_ha_leads", "1 while this node leads, 0 while it stands by.", int(now["role"] == "leads"))
        in_step = int(now["state"] == "in step")
        yield gauge("algate_ha_in_step", "1 while the node that stands by has all that the other one told.", in_step)
        yield gauge("algate_ha_fenced", "1 while this node may give out no public port.", int(now["fenced"]))
        yield gauge("algate_ha_epoch", "Of the log that is written or read, 0: none yet.", now["epoch"] or 0)
        yield gauge("algate_ha_sessions", "Sessions that the node which stands by knows.", now["sessions"])
        yield gauge("algate_ha_waiting", "Changes that wait for the other node.", now["waiting"])
        yield CounterMetricFamily("algate_ha_resyncs", "How often everything was told.", now["resyncs"])
        failures = CounterMetricFamily(
            "algate_ha_failures", "How often telling the other node ended, by reason.", labels=["reason"]
        )
        for reason, number in now["failures"].items():
            failures.add_metric([reason], number)
        yield failures
        yield from self.commit.collect()
        yield from self.lag.collect()
