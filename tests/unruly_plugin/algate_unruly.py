"""A plug-in that breaks the rules on request: what it does to others is what the tests look at."""

from __future__ import annotations

import time
from collections.abc import Sequence

from algate.alg.protocols.base import Action, Control, EndPoint, Pass, Side


class Unruly:
    """One word a segment: `raise`, `spin`, `sleep`, `overrun`; anything else passes."""

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        word = data.strip()
        if word == b"raise":
            raise RuntimeError("on purpose \x1b[31m")
        while word == b"spin":
            pass
        if word == b"sleep":
            time.sleep(3600)
        return [Pass(len(data) + (word == b"overrun"))]

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        return ()

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        return ()


class UnrulyPlugin:
    name, number, transport = "unruly", 201, "tcp"
    default_ports: tuple[int, ...] = (7071,)

    def open(self, control: Control, policy: object) -> Unruly:
        return Unruly()


PLUGIN = UnrulyPlugin()
