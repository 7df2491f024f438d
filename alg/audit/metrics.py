"""Every metric: its name, its help text, where its value comes from. /metrics and `algate stats` both read it here.

The law of this file: it reads counters when it is asked and keeps none but durations. It owns the HTTP listener.
"""

from __future__ import annotations

import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from algate.alg.audit.listener import Listener, Page, PageRequest
from algate.alg.audit.places import Logs
from algate.alg.audit.relay import Relay
from algate.alg.errors import AlgateError
from algate.alg.plugin.model import EndPoint
from algate.bpf import abi
from algate.bpf.tables import PerCpuCounters

DECISION_BUCKETS = (25e-6, 50e-6, 100e-6, 150e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 100e-3, 1.0)
SESSION_BUCKETS = (2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0, 600.0, 3600.0)
TURN_BUCKETS = (100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1.0)
HELD_BUCKETS = (*DECISION_BUCKETS, 5.0, 30.0)  # most of it that of a decision; a line may wait for the other side
GAP_BUCKETS = (0.26, 0.275, 0.3, 0.4, 0.5, 1.0, 2.0, 3.0)  # the heartbeat's period is 0.25 s, helper_timeout 3 s
LATE_BUCKETS = (0.5e-3, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 250e-3, 1.0)
HOST = ("filter", "xdp", "tap", "forwarding", "pins", "run-dir", "link", "route", "rp_filter", "renamed")
FRESH = 0.1  # s that a page of /metrics is good for
OUTCOMES = ("made", "used", "expired", "withdrawn", "replaced")
Count = abi.Counter
# Tries that a public port took -> how many ports took that many; the kernel doesn't add up the tries.
TRIES = (
    ("1", Count.PORT_TRIES_1),
    ("2", Count.PORT_TRIES_2),
    ("4", Count.PORT_TRIES_4),
    ("+Inf", Count.PORT_TRIES_MORE),
)

# metric -> (help, ((labels, counter), ...))
# fmt: off
KERNEL: Mapping[str, tuple[str, tuple[tuple[dict[str, str], abi.Counter], ...]]] = {
    "algate_packets": (
        "Packets translated.", (({"direction": "out"}, Count.PACKETS_OUT), ({"direction": "in"}, Count.PACKETS_IN)),
    ),
    "algate_bytes": (
        "Bytes of IP packets translated.",
        (({"direction": "out"}, Count.BYTES_OUT), ({"direction": "in"}, Count.BYTES_IN)),
    ),
    "algate_sessions_created": ("Sessions made.", (({}, Count.SESSIONS_NEW),)),
    "algate_sessions_ended": ("Sessions ended.", (({}, Count.SESSIONS_ENDED),)),
    "algate_punts": ("Control segments and events copied to the helper.", (({}, Count.PUNTS),)),
    "algate_punts_lost": ("Copies for which the perf ring had no room or no reader.", (({}, Count.PUNTS_LOST),)),
    "algate_decisions": (
        "Control segments that matched their decision.",
        (({"verdict": "pass"}, Count.DECISIONS_PASS), ({"verdict": "replace"}, Count.DECISIONS_REPLACE)),
    ),
    "algate_reinjected": ("Frames that the helper reinjected.", (({}, Count.REINJECTED),)),
    "algate_alg_segments": ("Segments with payload on control sessions.", (({}, Count.ALG_SEGMENTS),)),
    "algate_lines_passed": (
        "Segments of a line each that passed the gate on control sessions at once, and whether the helper got a copy.",
        (({"copied": "no"}, Count.LINES_PASSED), ({"copied": "yes"}, Count.LINES_COPIED)),
    ),
    "algate_redirected": (
        "Packets forwarded past the stack.",
        (({"path": "xdp"}, Count.XDP_REDIRECTED), ({"path": "tc"}, Count.TC_REDIRECTED)),
    ),
    "algate_to_stack": ("Packets of sessions left to the host's stack.", (({}, Count.TO_STACK),)),
    "algate_icmp_errors": ("ICMP errors translated.", (({}, Count.ICMP_ERRORS),)),
    "algate_too_big": (
        "Control packets larger than their way out takes, whose senders were told.", (({}, Count.TOO_BIG),),
    ),
    "algate_tcp_ignored": (
        "RST, SYN and FIN that their receiver would not accept: passed on, no state moved.", (({}, Count.IGNORED),),
    ),
    "algate_fail_open": (
        "Control segments passed undecided while the helper was dead and fail = open.", (({}, Count.FAIL_OPEN),),
    ),
}
# fmt: on


@dataclass(frozen=True)
class Sources:
    """Where values come from; all are read at scrape time, in the listener's thread."""

    counters: PerCpuCounters
    drops: PerCpuCounters
    sessions: Callable[[], Mapping[str, int]]  # state -> how many, as of the last sweep
    expectations: Callable[[], Mapping[str, int]]  # outcome -> how many so far
    engine: Callable[[], Mapping[str, int]]  # reason -> how often
    lost: Callable[[], int]  # samples that the perf reader found lost
    taken: Callable[[], Mapping[str, int]] = dict  # kind of what others took from the host or broke there -> how often
    mended: Callable[[], Mapping[str, int]] = dict  # kind -> how often it was put back
    amiss: Callable[[], Mapping[str, int]] = dict  # kind -> how many such things are amiss now
    relay: Relay = field(default_factory=Relay)  # records of translations
    logs: Logs | None = None


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


class _Kernel(Collector):
    def __init__(self, sources: Sources) -> None:
        self._from = sources

    def collect(self) -> Iterable[Metric]:
        """One family per metric."""
        sources = self._from
        values = sources.counters.sums()
        for name, (text, rows) in KERNEL.items():
            labels = list(rows[0][0])
            family = CounterMetricFamily(name, text, labels=labels)
            for labelled, counter in rows:
                more = sources.lost() if counter == Count.PUNTS_LOST else 0
                family.add_metric(list(labelled.values()), values[counter] + more)
            yield family
        got = list(accumulate(values[counter] for _, counter in TRIES))
        buckets = [(most, total) for (most, _), total in zip(TRIES, got, strict=True)]
        yield HistogramMetricFamily("algate_port_tries", "Tries that a public port took.", buckets, sum_value=None)
        drops = CounterMetricFamily("algate_drops", "Packets dropped or held, by reason.", labels=["reason"])
        for number, (reason, _) in abi.reasons().items():
            drops.add_metric([reason], sources.drops.sum(number))
        yield drops
        states = GaugeMetricFamily("algate_sessions", "Sessions by state, as of the last sweep.", labels=["state"])
        for state, number in sources.sessions().items():
            states.add_metric([state], number)
        yield states
        outcomes = CounterMetricFamily("algate_expectations", "Expectations by outcome.", labels=["outcome"])
        found = sources.expectations()
        for outcome in (*OUTCOMES, *(one for one in found if one not in OUTCOMES)):
            outcomes.add_metric([outcome], found.get(outcome, 0))
        yield outcomes
        yield from self._host()
        yield from self._translations()
        engine = CounterMetricFamily(
            "algate_engine_events", "What the helper ignored or found unusual.", labels=["reason"]
        )
        for reason, number in dict(sources.engine()).items():
            engine.add_metric([reason], number)
        yield engine

    def _translations(self) -> Iterable[Metric]:
        """Records of sessions, mappings and blocks: made, lost, and what the logs did with them."""
        relay, logs = self._from.relay, self._from.logs
        yield CounterMetricFamily("algate_translation_records", "Records of translations made.", value=relay.told)
        yield CounterMetricFamily(
            "algate_translation_records_lost", "Records that the kernel's ring had no room for.", value=relay.missed
        )
        written = CounterMetricFamily("algate_log_records", "Records written, by sink.", labels=["sink"])
        lost = CounterMetricFamily("algate_log_records_lost", "Records that a log lacks, by sink.", labels=["sink"])
        for one in logs.open if logs is not None else ():
            written.add_metric([one.name], one.written)
            lost.add_metric([one.name], one.missed)
        yield from (written, lost)

    def _host(self) -> Iterable[Metric]:
        """What happened to the host around the gateway."""
        sources = self._from
        taken = CounterMetricFamily(
            "algate_host_losses", "What others took from the gateway, or broke.", labels=["kind"]
        )
        mended = CounterMetricFamily("algate_host_repairs", "What the gateway put back of it.", labels=["kind"])
        amiss = GaugeMetricFamily(
            "algate_host_amiss", "What is amiss with the host around the gateway.", labels=["kind"]
        )
        for family, values in ((taken, sources.taken()), (mended, sources.mended()), (amiss, sources.amiss())):
            for kind in HOST:
                family.add_metric([kind], values.get(kind, 0))
            yield family


class Metrics:
    """The registry and, if wanted, its listener: /metrics, and /health, 200 while traffic is translated."""

    def __init__(self, sources: Sources, health: Callable[[], tuple[bool, str]] = lambda: (True, "")) -> None:
        self._health = health
        self.registry = CollectorRegistry()
        self.registry.register(_Kernel(sources))
        self.decision = self._durations(
            "algate_decision_seconds",
            "From a segment's arrival in the kernel to its decision being in place.",
            DECISION_BUCKETS,
        )
        self.held = self._durations(
            "algate_held_seconds",
            "From a control segment's arrival in the kernel until nothing of its direction waits any more.",
            HELD_BUCKETS,
        )
        self.session = self._durations(
            "algate_control_session_seconds", "From a control session's first packet to its last.", SESSION_BUCKETS
        )
        self.turn = self._durations(
            "algate_helper_turn_seconds", "One turn of the helper over its perf ring.", TURN_BUCKETS
        )
        self.late = self._durations(
            "algate_helper_timer_late_seconds", "By how much the helper's timers are late.", LATE_BUCKETS
        )
        self.gap = self._durations("algate_heartbeat_gap_seconds", "Between two heartbeats of the helper.", GAP_BUCKETS)
        self._listener: Listener | None = None
        self._listening: tuple[EndPoint | None, tuple[str, ...]] = None, ()
        self._fresh: tuple[float, tuple[str, str], Page] = (-FRESH, ("", ""), Page(b""))

    def _durations(self, name: str, text: str, buckets: tuple[float, ...]) -> Durations:
        made = Durations(name, text, buckets)
        self.registry.register(made)
        return made

    def listen(self, where: EndPoint | None, names: Collection[str] = ()) -> None:
        """Serve /metrics and /health, nowhere if None; `names`: see Listener. Called again, it goes on where it listens
        already. AlgateError if the port is in use; then nothing has changed."""
        if (where, tuple(names)) == self._listening:
            return
        former = self._listener
        if former is not None and self._listening[0] == where:
            former.answer_to((*names, socket.gethostname()))
        else:
            self._listener = self._open(where, names) if where is not None else None
            if former is not None:
                former.close()
        self._listening = where, tuple(names)

    def _open(self, where: EndPoint, names: Collection[str]) -> Listener:
        try:
            pages = {"/metrics": self._metrics, "/health": self._healthy}
            return Listener(str(where.ip), where.port, pages, (*names, socket.gethostname()))
        except OSError as error:
            raise AlgateError(
                f'can\'t serve metrics on {where}: {error.strerror}; set [metrics] listen to another port, or to ""'
            ) from None

    def _metrics(self, asked: PageRequest) -> Page:
        """In the form that the client asks for. Whoever asks without end is told what others were a moment ago."""
        encoder, kind = choose_encoder(asked.headers.get("accept", ""))
        what = kind, asked.query
        now = time.monotonic()
        if now - self._fresh[0] >= FRESH or self._fresh[1] != what:
            wanted = parse_qs(asked.query).get("name[]")
            registry = self.registry.restricted_registry(wanted) if wanted else self.registry
            self._fresh = now, what, Page(encoder(registry), kind=kind)
        return self._fresh[2]

    def _healthy(self, _: PageRequest) -> Page:
        well, said = self._health()
        return Page(f"{said}\n".encode(), 200 if well else 503)

    def close(self) -> None:
        """Stop the listener."""
        if self._listener is not None:
            self._listener.close()

    def stats(self) -> dict[str, float]:
        """Sample name with labels -> value, as in the exposition format, without creation times."""
        found: dict[str, float] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name.endswith("_created") and family.type == "histogram":
                    continue
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found
