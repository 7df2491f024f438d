"""How full everything is that has a limit, and how the gateway stands: gauges, and beside each fill its `_limit`.

The law of this file: names and help texts; where values come from is told it (Standing). What has labels has as many
series as the gateway has addresses, or as the operator asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# name -> (help, what its limit is)
FILLS: Mapping[str, tuple[str, str]] = {
    "algate_sessions": ("", "[nat] max_sessions"),  # by state, among what is counted
    "algate_mappings": ("Public ports that inside end points hold.", "as many as sessions"),
    "algate_hosts": ("Inside hosts that ever began something.", "rows for them in the kernel"),
    "algate_control_sessions": ("Control sessions that the helper watches.", "rows for them in the kernel"),
    "algate_live_expectations": ("Data connections that are expected now.", "those of all control sessions together"),
    "algate_port_blocks": (
        "Port blocks that inside hosts hold.",
        "those that lie in [nat] ports",
    ),  # where there are any
    "algate_forwards": ("Forwards in force, a range being one.", "rows for them in the kernel"),
    "algate_watched_transfers": ("Data connections whose end will be told.", "those watched at a time"),
}


class Fill(NamedTuple):
    """`used` of `limit`."""

    used: float
    limit: float


class PortFill(NamedTuple):
    """Public ports of one address and protocol, of those that [nat] ports allows. What is neither used nor free is held
    down, a forward's or the gateway's own."""

    address: str
    proto: str
    used: int
    free: int
    limit: int


class HostFill(NamedTuple):
    """What one inside host has, and how many first packets it was refused."""

    host: str
    sessions: int
    ports: int
    refused: int


class Reloaded(NamedTuple):
    """When the configuration was last read with success (seconds since the epoch), and whether the last try was one."""

    at: float
    well: bool


@dataclass(frozen=True)
class Standing:
    """Where these values come from; all are read at scrape time, in the listener's thread."""

    translating: Callable[[], bool]
    build: Mapping[str, str]
    started: float  # seconds since the epoch
    reloaded: Callable[[], Reloaded]
    fills: Callable[[], Mapping[str, Fill]]  # names of FILLS
    ports: Callable[[], Iterable[PortFill]]
    hosts: Callable[[], Iterable[HostFill]]  # the busiest, as many as the operator asked for


class Fills(Collector):
    """All of them."""

    def __init__(self, standing: Standing) -> None:
        self._from = standing

    def collect(self) -> Iterable[Metric]:
        """One family per metric."""
        yield from self._stands()
        fills = self._from.fills()
        for name, (text, most) in FILLS.items():
            if name in fills:
                if text:
                    yield GaugeMetricFamily(name, text, fills[name].used)
                yield GaugeMetricFamily(f"{name}_limit", f"Most that {name} can be: {most}.", fills[name].limit)
        yield from self._ports()
        yield from self._hosts()

    def _stands(self) -> Iterable[Metric]:
        at, well = self._from.reloaded()
        yield InfoMetricFamily("algate_build", "What runs here.", dict(self._from.build))
        yield GaugeMetricFamily("algate_translating", "1 while traffic is translated.", int(self._from.translating()))
        yield GaugeMetricFamily(
            "algate_start_time_seconds", "When the daemon began, since the epoch.", self._from.started
        )
        yield GaugeMetricFamily(
            "algate_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read without a fault, since the epoch.", at,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "algate_config_last_reload_successful", "1 unless the last reload was refused.", int(well)
        )

    def _ports(self) -> Iterable[Metric]:
        labels = ["address", "proto"]
        used = GaugeMetricFamily("algate_ports_used", "Public ports that inside hosts hold.", labels=labels)
        free = GaugeMetricFamily("algate_ports_free", "Public ports that nobody holds or held lately.", labels=labels)
        most = GaugeMetricFamily(
            "algate_ports_limit", "Most that algate_ports_used can be: [nat] ports.", labels=labels
        )
        for one in self._from.ports():
            for family, value in ((used, one.used), (free, one.free), (most, one.limit)):
                family.add_metric([one.address, one.proto], value)
        yield from (used, free, most)

    def _hosts(self) -> Iterable[Metric]:
        """No family at all unless the operator asked for them: a series for each host."""
        found = list(self._from.hosts())
        if not found:
            return
        sessions = GaugeMetricFamily("algate_host_sessions", "Sessions of the busiest inside hosts.", labels=["host"])
        ports = GaugeMetricFamily("algate_host_ports", "Public ports of the busiest inside hosts.", labels=["host"])
        refused = CounterMetricFamily(
            "algate_host_refused", "First packets that the busiest inside hosts were refused.", labels=["host"]
        )
        for one in found:
            sessions.add_metric([one.host], one.sessions)
            ports.add_metric([one.host], one.ports)
            refused.add_metric([one.host], one.refused)
        yield from (sessions, ports, refused)
