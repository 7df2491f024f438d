"""What a gateway said of a transfer while it ran: the expectation and the data session that belong to a finding.

The law of this file: it asks algate by its control socket, as any operator could, and never judges. Other gateways
have no voice, and then there is nothing to show.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from algate.alg.control import ControlError
from algate.cli.gateways import AlgateGateway, Gateway
from algate.cli.judge import Finding

INTERVAL = 0.02  # s between two looks


class Observer:
    """Looks at `expectations` and `sessions` again and again while it is entered, and once more at the end."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.speaks = isinstance(gateway, AlgateGateway)
        self.expectations: dict[str, dict[str, Any]] = {}
        self.states: dict[str, list[str]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.speaks:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self.speaks:
            self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._stop.wait(INTERVAL)
            with contextlib.suppress(ControlError, OSError):
                self._look()
            if last:
                return

    def _look(self) -> None:
        for row in self.gateway.ask("expectations"):
            self.expectations[row["id"]] = row
            states = self.states.setdefault(row["id"], [])
            if row["state"] not in states:
                states.append(row["state"])
        for row in self.gateway.ask("sessions", {"proto": "tcp"}):
            self.sessions[row["id"]] = row

    def expectation(self, finding: Finding) -> str:
        """The expectation of the data connection: states seen, from whom, to where; empty if none was seen."""
        ends = {str(finding.public_peer), str(finding.inside_peer), str(finding.outside_peer)}
        for key, row in reversed(self.expectations.items()):
            if row["public"] in ends or row["to"] in ends:
                return f"{', '.join(self.states[key])}: {row['from']} to {row['public'] or row['to']}"
        return ""

    def data(self, finding: Finding) -> str:
        """The data session and the control session that it is related to; empty if none was seen."""
        row = self._session(self.sessions.values(), finding)
        return f"{row['id']} of {row['related_to']}" if row and row["related_to"] else ""

    @staticmethod
    def _session(rows: Iterable[dict[str, Any]], finding: Finding) -> dict[str, Any] | None:
        wanted = (str(finding.inside_peer), str(finding.outside_peer))
        found = [row for row in rows if (row["inside"], row["outside"]) == wanted]
        return found[-1] if found else None
