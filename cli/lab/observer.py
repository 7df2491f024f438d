"""What a gateway said about a transfer while it ran: the expectation and the data session that belong to a finding.

The law of this file: it asks algate through its control socket, as any operator could, and never judges. Other gateways
have none, so there is nothing to show.
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any, Self

from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.judge import TrialFinding
from algate.client import ControlError

INTERVAL = 0.02  # s between looks


class Observer:
    """While entered, it follows the events and polls `expectations` and `sessions`."""

    def __init__(self, gateway: LabGateway) -> None:
        self.gateway = gateway
        self.expectations: dict[str, dict[str, Any]] = {}
        self.states: dict[str, list[str]] = {}  # states of an expectation, in the order seen
        self.sessions: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}  # by control session
        self._stop = threading.Event()
        self._looker = threading.Thread(target=self._watch, daemon=True)

    @property
    def speaks(self) -> bool:
        return isinstance(self.gateway, AlgateGateway)

    def __enter__(self) -> Self:
        if self.speaks:
            self._looker.start()
            # ends with the gateway, which closes the stream
            threading.Thread(target=self._follow, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self.speaks:
            self._looker.join()

    def look(self) -> None:
        """Take in what the gateway lists now."""
        if not self.speaks:
            return
        for row in self.gateway.ask("expectations"):
            self.expectations[row["id"]] = row
            states = self.states.setdefault(row["id"], [])
            if row["state"] not in states:
                states.append(row["state"])
        for row in self.gateway.ask("sessions", {"proto": "tcp"}):
            self.sessions[row["id"]] = row

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            with contextlib.suppress(ControlError, OSError):
                self.look()

    def _follow(self) -> None:
        with contextlib.suppress(ControlError, OSError):
            for event in self.gateway.tell("follow"):
                self.events.setdefault(event["control"] or "", []).append(event)

    def expectation(self, finding: TrialFinding) -> str:
        """What became of the data connection's expectation, and its terms; empty if none was seen."""
        session = self._session(finding)
        ends = {str(finding.public_peer), str(finding.inside_peer), str(finding.outside_peer)}
        for key, row in reversed(self.expectations.items()):
            if row["public"] in ends or row["to"] in ends:
                return f"{_and_used(self.states[key], session)}: {row['from']} to {row['public'] or row['to']}"
        events = self.events.get(session["related_to"] or "", []) if session else []
        made = [event for event in events if event["event"].startswith("expectation-")]
        words = [event["event"].removeprefix("expectation-") for event in made]
        return f"{_and_used(words, session)}: {made[0]['detail']}" if made else ""

    def data(self, finding: TrialFinding) -> str:
        """The data session and the control session that it is related to; empty if none was seen."""
        row = self._session(finding)
        return f"{row['id']} of {row['related_to']}" if row and row["related_to"] else ""

    def _session(self, finding: TrialFinding) -> dict[str, Any] | None:
        wanted = (str(finding.inside_peer), str(finding.outside_peer))
        found = [row for row in self.sessions.values() if (row["inside"], row["outside"]) == wanted]
        return found[-1] if found else None


def _and_used(states: list[str], session: dict[str, Any] | None) -> str:
    """A used expectation is gone at once; its data session is the only trace."""
    used = ["used"] if session and session["related_to"] and "used" not in states else []
    return ", ".join([*states, *used])
