"""Every metric: /metrics and `algate stats` both read it here. What is counted is in families.py, how full things are
in fills.py, durations in durations.py.

The law of this file: it joins them in one registry, and owns the HTTP listener and what its pages say.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from algate.alg.audit import durations
from algate.alg.audit.durations import Durations
from algate.alg.audit.families import Counted, Sources
from algate.alg.audit.fills import Fills, Standing
from algate.alg.audit.listener import Listener, Page, PageRequest
from algate.alg.errors import AlgateError
from algate.alg.plugin.model import EndPoint

FRESH = 0.1  # s that a page of /metrics is good for
Health = Callable[[], tuple[bool, str]]


def _well() -> tuple[bool, str]:
    return True, ""


class Metrics:
    """The registry and, if wanted, its listener: /metrics; /health, 200 while traffic is translated and nothing weighs
    on that; /readyz, 200 while it is translated; /healthz, 200 while the helper works, translating or not."""

    def __init__(
        self, sources: Sources | None, health: Health = _well, standing: Standing | None = None, alive: Health = _well
    ) -> None:
        self._health = health
        self._translating = standing.translating if standing is not None else lambda: health()[0]
        self._alive = alive
        self.registry = CollectorRegistry()
        if sources is not None:  # of a standby there is nothing to count
            self.registry.register(Counted(sources))
        if standing is not None:
            self.registry.register(Fills(standing))
        self.decision = self._durations(
            "algate_decision_seconds",
            "From a segment's arrival in the kernel to its decision being in place.",
            durations.DECISION_BUCKETS,
        )
        self.held = self._durations(
            "algate_held_seconds",
            "From a control segment's arrival in the kernel until nothing of its direction waits any more.",
            durations.HELD_BUCKETS,
        )
        self.session = self._durations(
            "algate_control_session_seconds",
            "From a control session's first packet to its last.",
            durations.SESSION_BUCKETS,
        )
        self.turn = self._durations(
            "algate_helper_turn_seconds", "One turn of the helper over its perf ring.", durations.TURN_BUCKETS
        )
        self.late = self._durations(
            "algate_helper_timer_late_seconds", "By how much the helper's timers are late.", durations.LATE_BUCKETS
        )
        self.gap = self._durations(
            "algate_heartbeat_gap_seconds", "Between two heartbeats of the helper.", durations.GAP_BUCKETS
        )
        self._listener: Listener | None = None
        self._listening: tuple[EndPoint | None, tuple[str, ...]] = None, ()
        self._fresh: tuple[float, tuple[str, str], Page] = (-FRESH, ("", ""), Page(b""))

    def _durations(self, name: str, text: str, buckets: tuple[float, ...]) -> Durations:
        made = Durations(name, text, buckets)
        self.registry.register(made)
        return made

    def listen(self, where: EndPoint | None, names: Collection[str] = ()) -> None:
        """Serve the pages, nowhere if None; `names`: see Listener. Called again, it goes on where it listens
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
        pages = {
            "/metrics": self._metrics, "/health": _told(self._health), "/healthz": _told(self._alive),
            "/readyz": _told(lambda: (self._translating(), self._health()[1])),
        }  # fmt: skip
        try:
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


def _told(judge: Health) -> Callable[[PageRequest], Page]:
    """A page for probes: 200 or 503, and why."""

    def page(_: PageRequest) -> Page:
        well, said = judge()
        return Page(f"{said}\n".encode(), 200 if well else 503)

    return page
