"""CALL 10.0.0.5 4001: a client names an address of its own, the server says OK and connects there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from algate.alg.protocols import base
from algate.alg.protocols.base import Action, Control, EndPoint, Side
from algate.alg.protocols.lines import LineReader

CALL = re.compile(rb"CALL ([0-9.]{7,15}) ([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class CallbackPolicy(base.Policy):  # the keys of [alg.callback], beside `enabled`, `ports` and [[alg.callback.rule]]
    min_port: int = base.option(1024, base.integer(1, 65535))


class Callback:
    def __init__(self, control: Control, policy: CallbackPolicy) -> None:
        self.control, self.policy, self.tag, self.waiting = control, policy, 0, 0
        self.readers = {side: LineReader(128) for side in Side}

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        out, at = base.Script(), 0
        while (line := self.readers[side].next(data, at, end)) is not None:
            self.readers[side].accept(line)
            at += len(line.raw)
            call = CALL.fullmatch(line.text) if side is Side.CLIENT and line.flaw is None else None
            if call and self.allowed(call[1].decode(), int(call[2])):
                self.tag, self.waiting = self.tag + 1, len(line.raw)
                out.say(base.Reserve(self.tag, EndPoint(self.control.inside.ip, int(call[2]))))
                break  # reserved() gives the verdict on this line; what stands behind it is fed again
            if side is Side.SERVER and line.text == b"OK" and self.tag:
                out.say(base.Open(self.tag))  # both sides have said yes
            out.let(len(line.raw))
        return out.done()

    def allowed(self, ip: str, port: int) -> bool:
        own = self.control.inside_side is Side.CLIENT and ip == str(self.control.inside.ip)
        return own and self.policy.min_port <= port <= 65535

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        if public is None:
            return [base.Refuse(self.waiting, b"NO public port is free\r\n")]
        call = f"CALL {public.ip} {public.port}\r\n".encode()
        return [
            base.Expect(tag, base.Direction.IN, self.control.remote.ip, None, lifetime=60.0),
            base.Replace(self.waiting, call),
        ]

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        return [base.Event("callback", outcome)]


class CallbackPlugin:
    name, number, transport, policy = "callback", 200, "tcp", CallbackPolicy
    default_ports: tuple[int, ...] = (7070,)

    def open(self, control: Control, policy: object) -> Callback:
        return Callback(control, cast(CallbackPolicy, policy))


PLUGIN = CallbackPlugin()
