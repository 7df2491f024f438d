"""TFTP (RFC 1350): a request goes to udp/69, and the answer comes from a port of the server that nobody has named.

The law of this file: a plug-in on the public API alone. What makes both sides agree: the client's well-formed request,
and the server's own first datagram to the very port that the request came from. Each request admits one such answer,
from the server's address alone; the transfer that follows is the kernel's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from algate.alg.protocols.base import (
    Action,
    Address,
    Bypass,
    Control,
    Conversation,
    Direction,
    EndPoint,
    Event,
    Expect,
    Pass,
    Policy,
    Refuse,
    Side,
    Withdraw,
    boolean,
    option,
    read_ports,
    seconds,
)

READ, WRITE, ERROR = 1, 2, 5  # RFC 1350 section 5
REQUEST_MAX = 512  # bytes, RFC 2347 section "Packet Formats"
MODES = (b"netascii", b"octet", b"mail")
SHOWN = 128  # bytes of a file name that an event carries
TAG = 1  # a session has one request at a time: a newer one takes the place of the older
NO_WRITING = b"\0\5\0\2algate: the gateway's policy allows reading only\0"  # code 2: access violation


@dataclass(frozen=True, slots=True)
class TftpPolicy(Policy):
    """[alg.tftp]. `expect_timeout`: s that an answer may be awaited; `read_only`: no write request passes."""

    ports: tuple[int, ...] = option((69,), read_ports)
    expect_timeout: float = option(30.0, seconds(0.01, 3600))
    read_only: bool = option(False, boolean)


class Request(NamedTuple):
    """A read or write request."""

    opcode: int
    name: bytes

    def __str__(self) -> str:
        return f"{'RRQ' if self.opcode == READ else 'WRQ'} {self.name[:SHOWN].decode('latin-1')}"


def request(data: bytes) -> Request | None:
    """A well-formed request: file name, mode, and options in pairs, each ended by NUL (RFC 1350, RFC 2347)."""
    if len(data) > REQUEST_MAX or opcode(data) not in (READ, WRITE):
        return None
    name, *rest = data[2:].split(b"\0")
    if not name or len(rest) < 2 or len(rest) % 2 or rest[-1] or rest[0].lower() not in MODES:
        return None
    return Request(opcode(data), name) if all(rest[:-1]) else None


def opcode(data: bytes) -> int:
    """The first two bytes, RFC 1350 section 5; 0 if there are none."""
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else 0


class TftpConversation:
    """What goes between one client's port and the server's well-known one."""

    def __init__(self, control: Control, policy: TftpPolicy) -> None:
        self._control = control
        self._policy = policy

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """One datagram."""
        if side is Side.SERVER:
            return self._server(data)
        asked = request(data)
        if asked is None:
            if opcode(data) not in (READ, WRITE):
                return [Pass(len(data))]
            return [Event("expectation-refused", data[:SHOWN].decode("latin-1"), "malformed-request"), Pass(len(data))]
        if asked.opcode == WRITE and self._policy.read_only:
            return [Event("command-refused", str(asked), "read-only"), Refuse(len(data), NO_WRITING)]
        fields = (("state", "open"), ("from", str(self._peer)), ("to", str(self._target)))
        return [self._expect(), Event("expectation-made", str(asked), fields=fields), Pass(len(data))]

    @property
    def _peer(self) -> Address:
        """Who answers."""
        return self._control.ip(Side.SERVER)

    @property
    def _target(self) -> EndPoint:
        """Where the answer goes: the very end point that asked, as the outside sees it."""
        control = self._control
        return control.public if control.inside_side is Side.CLIENT else control.remote

    def _expect(self) -> Expect:
        direction = Direction.IN if self._control.inside_side is Side.CLIENT else Direction.OUT
        return Expect(TAG, direction, self._peer, self._target, self._policy.expect_timeout, "udp", open=True)

    @staticmethod
    def _server(data: bytes) -> Sequence[Action]:
        """From the well-known port itself: an error, or a server that keeps to one port and needs no expectation."""
        done: list[Action] = [Withdraw(TAG, "answered-in-place"), Pass(len(data))]
        return done if opcode(data) == ERROR else [*done, Bypass("answered-in-place")]

    def reserved(self, tag: int, public: EndPoint | None, now: float) -> Sequence[Action]:
        """No port is ever asked for."""
        return ()

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """The answer came, or never did."""
        return [Event(f"expectation-{outcome}")]


class TftpPlugin:
    """Watches udp/69. Off unless [alg.tftp] says enabled = true."""

    name = "tftp"
    number = 2
    transport = "udp"
    default_ports: tuple[int, ...] = (69,)
    policy = TftpPolicy

    def open(self, control: Control, policy: object) -> Conversation:
        """Begin watching a control session under a TftpPolicy."""
        return TftpConversation(control, cast(TftpPolicy, policy))


PLUGIN = TftpPlugin()
