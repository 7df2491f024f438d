"""A plug-in that breaks the rules on request: what it does to others is what the tests look at.

It declares one of each thing that a plug-in may: keys, what they imply, contradict and hold, words, and its progress.
"""

# ruff: noqa: RUF009 -- `option` makes dataclass fields
from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from algate.alg.engine.flow import Flow
from algate.alg.protocols import base
from algate.alg.protocols.base import Action, Control, EndPoint, Pass, Side


@dataclass(frozen=True, slots=True)
class UnrulyPolicy(base.Policy):
    """[alg.unruly]."""

    patience: int = base.option(1, base.integer(1, 9))
    quiet: bool = base.option(False, base.boolean)
    loud: bool = base.option(False, base.boolean)
    data_ports: base.PortRange | None = base.option(None, base.optional_port_range)

    @classmethod
    def implied(cls, around: base.Surroundings) -> Mapping[str, object]:
        """As many as there are services that inside hosts may use."""
        return {"patience": max(1, len(around.allow_out))}

    def conflicts(self, around: base.Surroundings) -> Iterator[base.Conflict]:
        """Nobody is both."""
        if self.quiet and self.loud:
            yield base.Conflict("quiet", "alg.unruly.loud is set too")

    def holds(self, server: base.Address) -> list[base.Held]:
        """For every server the same."""
        return [base.Held("data_ports", self.data_ports)] if self.data_ports else []


class UnrulyWords(base.Words):
    """For `explain`."""

    refusals = MappingProxyType({"on-a-whim": base.Said("{line}: no mood for it, {patience} times", "ask [alg.{alg}]")})
    phases = MappingProxyType({"sulking": "the server has said nothing, and the plug-in sulks"})


class Unruly:
    """One word a segment: `raise`, `spin`, `sleep`, `overrun`, `none`, `whim`, `plant`; anything else passes."""

    def __init__(self) -> None:
        self.answered = False

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        self.answered = self.answered or side is Side.SERVER
        word = data.strip()
        if word == b"raise":
            raise RuntimeError("on purpose \x1b[31m")
        while word == b"spin":
            pass
        if word == b"sleep":
            time.sleep(3600)
        if word == b"none":
            return None  # type: ignore[return-value]
        if word == b"plant":
            plant()
        if word == b"whim" and side is Side.CLIENT:
            return [base.Event("whim-refused", "whim", "on-a-whim"), Pass(len(data))]
        return [Pass(1), Pass(len(data) - 1 + (word == b"overrun"))]

    def progress(self) -> base.Progress:
        return base.Progress("" if self.answered else "sulking")

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        return ()

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        return ()


def plant() -> None:
    """A fault of algate's own, once: not in anything that a plug-in is asked."""
    real = Flow.judge

    def broken(*_: Any) -> None:
        setattr(Flow, "judge", real)  # noqa: B010
        raise RuntimeError("planted in the engine \x1b[31m")

    setattr(Flow, "judge", broken)  # noqa: B010


class UnrulyPlugin:
    name, number, transport, policy, words = "unruly", 201, "tcp", UnrulyPolicy, UnrulyWords()
    default_ports: tuple[int, ...] = (7071,)

    def open(self, control: Control, policy: object) -> Unruly:
        return Unruly()


PLUGIN = UnrulyPlugin()
