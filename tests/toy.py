"""A line protocol small enough to know what its perfect rewriting is: the engine's tests judge by it.

The law of this file: pure. `Toy` is a plug-in; `rewrite` says what a whole stream of its lines must become.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

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
    Refuse,
    Replace,
    Reserve,
    Reset,
    Side,
    Withdraw,
)

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
    """What the receiver must get of a finished stream, answers to refusals aside. An unfinished last line passes."""
    lines = stream.split(b"\n")
    return b"".join(rewrite_line(line + b"\n") for line in lines[:-1]) + lines[-1]


class Toy:
    """A conversation. `fed` keeps what each side said, once per feeding."""

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


class Ports:
    """Public ports by counting up; `free` left."""

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
