"""What is counted: the kernel's counters, drops, what is held, and what the helper and the host around it tell.

The law of this file: names, help texts and where each value comes from. It reads counters when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from algate.alg.answers import HELD
from algate.alg.audit.places import Logs
from algate.alg.audit.relay import Relay
from algate.bpf import abi
from algate.bpf.tables import PerCpuCounters

HOST = ("filter", "xdp", "tap", "forwarding", "pins", "run-dir", "link", "route", "rp_filter", "renamed", "pair")
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
    families: Callable[[], Mapping[str, int]] = dict  # family -> sessions, as of the last sweep; none: IPv6 is off


class Counted(Collector):
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
        yield from self._drops()
        states = GaugeMetricFamily("algate_sessions", "Sessions by state, as of the last sweep.", labels=["state"])
        for state, number in sources.sessions().items():
            states.add_metric([state], number)
        yield states
        if families := sources.families():
            said = "Sessions by family, as of the last sweep; nat64: an IPv6 host inside, an IPv4 host outside."
            shares = GaugeMetricFamily("algate_family_sessions", said, labels=["family"])
            for name, number in families.items():
                shares.add_metric([name], number)
            yield shares
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

    def _drops(self) -> Iterable[Metric]:
        """What is lost, and what is only held: a packet that the helper keeps goes on later."""
        drops = CounterMetricFamily("algate_drops", "Packets dropped, by reason.", labels=["reason"])
        held = CounterMetricFamily(
            "algate_held", "Packets held until it is known what becomes of them, by reason.", labels=["reason"]
        )
        for number, (reason, _) in abi.reasons().items():
            (held if reason in HELD else drops).add_metric([reason], self._from.drops.sum(number))
        yield from (drops, held)

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
