"""A line protocol small enough that its perfect rewriting is known: the engine's tests judge by it.

The law of this file: pure. `Toy` is a plug-in; `rewrite` says what a whole stream of its lines must become.
"""

# ruff: noqa: RUF009 -- `option` makes dataclass fields
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any, cast

from algate.alg.plugin.model import (
    Action,
    Bypass,
    Control,
    Direction,
    EndPoint,
    Event,
    Expect,
    Open,
    Pass,
    Progress,
    Refuse,
    Replace,
    Reserve,
    Reset,
    Side,
    Withdraw,
)
from algate.alg.protocols import base

ANSWER = b"550 denied\n"


def rewrite_line(line: bytes) -> bytes:
    """`grow N` becomes N bytes longer, `shrink` keeps its first letter, `same` turns to capitals, `deny` vanishes."""
    if line.startswith(b"grow "):
        return line[:-1] + b"+" * int(line[5:8]) + b"\n"
    if line.startswith(b"shrink"):
        return b"s\n"
    if line.startswith(b"same"):
        return line.upper()
    if line.startswith(b"deny"):
        return b""
    return line


def rewrite(stream: bytes) -> bytes:
    """What the receiver must get of a finished stream, without answers to refusals. An unfinished last line passes."""
    lines = stream.split(b"\n")
    return b"".join(rewrite_line(line + b"\n") for line in lines[:-1]) + lines[-1]


class Toy:
    """A conversation. `fed` keeps what each side said, one entry per feeding."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.outcomes: list[tuple[int, str]] = []
        self.ports: list[EndPoint | None] = []
        self.tag = 0

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        actions: list[Action] = []
        while (at := data.find(b"\n")) >= 0:
            line, data = data[: at + 1], data[at + 1 :]
            actions += self._line(side, line)
        return actions

    def _line(self, side: Side, line: bytes) -> list[Action]:
        if line == b"break\n":
            raise RuntimeError("broken on purpose")
        new = rewrite_line(line)
        before: list[Action] = []
        if line.startswith(b"expect") and side == Side.CLIENT:
            self.tag += 1
            before = [Reserve(self.tag, EndPoint(self.control.inside.ip, 5000 + self.tag))]
            return [*before, Pass(len(line))]
        if line == b"open\n":
            before = [Open(self.tag)]
        if line == b"withdraw\n":
            before = [Withdraw(self.tag, "said so")]
        if line == b"bypass\n":
            return [Pass(len(line)), Bypass("said so")]
        if line == b"reset\n":
            return [Reset("said so")]
        if line == b"event\n":
            before = [Event("seen")]
        if line.startswith(b"deny"):
            return [Refuse(len(line), ANSWER)]
        if new != line:
            return [*before, Replace(len(line), new)]
        return [*before, Pass(len(line))]

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        self.ports.append(public)
        if public is None:
            return [Event("no-port")]
        return [Expect(tag, Direction.IN, self.control.remote.ip, None, 60.0)]

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        self.outcomes.append((tag, outcome))
        return [Event("outcome", outcome)]


# [declares]
@dataclass(frozen=True, slots=True)
class ToyPolicy(base.Policy):
    """[alg.toy]: one key for each thing that a policy can declare.

    `first_port`: [nat] ports begins there, unless the file says otherwise. `less` and `more` can't both be set, and
    `exclusive` can't be with a forward to somebody else. `data_ports` are held for each server.
    """

    first_port: int = base.option(1024, base.integer(1, 65535))
    less: bool = base.option(False, base.boolean)
    more: bool = base.option(False, base.boolean)
    exclusive: bool = base.option(False, base.boolean)
    data_ports: base.PortRange | None = base.option(None, base.optional_port_range)

    @classmethod
    def implied(cls, around: base.Surroundings) -> Mapping[str, object]:
        """From [nat], and from the toy's own forwards."""
        said: dict[str, object] = {"first_port": around.nat_ports.first}
        return said | {"ports": [one.to.port for one in around.own]} if around.own else said

    def conflicts(self, around: base.Surroundings) -> Iterator[base.Conflict]:
        """Contradictions among its own keys, and with the rest of the file."""
        if self.less and self.more:
            yield base.Conflict("less", "alg.toy.more is set too")
        others = [one for one in around.forwards if one not in around.own]
        if self.exclusive and others:
            yield base.Conflict("exclusive", f"forward[{others[0].number}] leads elsewhere")

    def holds(self, server: base.Address) -> list[base.Held]:
        """The same for every server."""
        return [base.Held("data_ports", self.data_ports)] if self.data_ports else []


class ToyWords(base.Words):
    """What `explain` says about it."""

    refusals = MappingProxyType(
        {"broken-toy": base.Said("{line}: {who} broke it below {first_port} ({how})", "mend {who}")}
    )
    phases = MappingProxyType({"unwrapping": "nobody has played yet"})
    pending = base.Said("nobody else wants to play yet", "ask [alg.{alg}]")

    def parts(self, detail: str) -> Mapping[str, str]:
        return {"who": detail.partition(" ")[0]}

    def bypassed(self, reason: str, policy: Mapping[str, Any]) -> tuple[bool, base.Said] | None:
        return (True, base.Said("the toy runs by itself from {first_port} on")) if reason == "wound-up" else None


# [end]
class TellingToy(Toy):
    """A Toy that says how far it has come."""

    def progress(self) -> Progress:
        return Progress("unwrapping" if not self.tag else "playing", self.tag)


class ToyPlugin:
    """A plug-in that declares one of everything."""

    name, number, transport, policy, words = "toy", 202, "tcp", ToyPolicy, ToyWords()
    default_ports: tuple[int, ...] = (7072,)

    def open(self, control: Control, policy: object) -> TellingToy:
        assert cast(ToyPolicy, policy).enabled
        return TellingToy(control)


class Ports:
    """Gives public ports by counting up; `free`: how many are left."""

    def __init__(self, free: int = 1000) -> None:
        self.free = free
        self.next = 40000

    def reserve(self, proto: int, public_ip: object, inside: EndPoint, count: int, even: bool) -> EndPoint | None:
        if self.free < count:
            return None
        self.free -= count
        self.next += count
        return EndPoint(IPv4Address(str(public_ip)), self.next - count)

    def share(self, proto: int, public_ip: object, inside: EndPoint, count: int) -> EndPoint | None:
        return EndPoint(IPv4Address(str(public_ip)), inside.port) if self.free else None
