"""How a gateway stands that leases its ports of an engine: for how long it may give out some, how many, what failed.

The law of this file: names and help texts, as in pair.py; a gateway that leases nothing has none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from algate.alg.answers import LeaseAnswer


class LeaseFamilies(Collector):
    """Of one daemon; `told` and `rounds` are asked at scrape time. `rounds`: renewals made, and failed."""

    def __init__(self, told: Callable[[], LeaseAnswer], rounds: Callable[[], tuple[int, int]]) -> None:
        self._told = told
        self._rounds = rounds

    def collect(self) -> Iterable[Metric]:
        """One family per metric."""
        now, (renewed, failed) = self._told(), self._rounds()
        gauge = GaugeMetricFamily
        yield gauge("algate_lease_seconds", "For how long this gateway may still give out public ports.", now["lease"])
        yield gauge("algate_lease_lots", "Lots of ports that it gives ports out of.", len(now["ports"]))
        yield gauge(
            "algate_lease_lots_leaving", "Lots that it gives back once they are empty.", len(now["giving_back"])
        )
        yield gauge("algate_lease_others", "Other gateways that have some.", len(now["others"]))
        yield gauge("algate_lease_version", "Of the table of leases, 0: none was seen yet.", now["version"])
        yield CounterMetricFamily("algate_lease_renewals", "How often the lease was renewed.", renewed)
        yield CounterMetricFamily("algate_lease_failures", "How often the engine couldn't be asked for that.", failed)
