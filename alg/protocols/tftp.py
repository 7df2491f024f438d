"""TFTP (RFC 1350): a request goes to udp/69, and the answer comes from a server port that nobody named.

The law of this file: a plug-in that uses only the public API. Both sides agree by the client's request and the server's
first datagram to the very port that the request came from. Each request admits one such answer, only from the server's
address; the transfer that follows is the kernel's.

A datagram is a request if it has the opcode of one and names something. The server judges the rest, and its error comes
from a new port like any answer: empty values are legal (multicast in RFC 2090), and phones send others; some clients
pad the datagram, omit the last NUL or the mode, repeat options or send more than 512 bytes of them. Being lenient opens
only to the address that this client just wrote to, and only to the port that wrote, whose traffic with that server
passes anyway: it adds one source port, for one flow. So nobody else's port is at stake, whatever the bytes say. Only
STUN is ruled out: it begins like a read request, and a web page can have it sent to any host and port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
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
    Said,
    Side,
    Withdraw,
    Words,
    boolean,
    option,
    read_ports,
    seconds,
)

READ, WRITE, ERROR = 1, 2, 5  # RFC 1350 section 5
STUN = b"\x21\x12\xa4\x42"  # its magic cookie, bytes 4 to 7, RFC 5389 section 6
SHOWN = 128  # bytes of a file name that an event carries
TAG = 1  # a session has one request at a time: a newer one replaces the older
NO_WRITING = b"\0\5\0\2algate: the gateway's policy allows reading only\0"  # code 2: access violation


@dataclass(frozen=True, slots=True)
class TftpPolicy(Policy):
    """[alg.tftp]. `expect_timeout`: s to wait for an answer; `read_only`: no write request passes."""

    ports: tuple[int, ...] = option((69,), read_ports)
    expect_timeout: float = option(30.0, seconds(0.01, 3600))
    read_only: bool = option(False, boolean)


class TftpWords(Words):
    """What `explain` says about TFTP."""

    reasons = ("answered-in-place",)
    refusals = MappingProxyType({
        "malformed-request": Said("{line}: it names nothing, or is STUN, so no answer is expected"),
        "read-only": Said("{line}: [alg.{alg}] read_only refuses it"),
    })  # fmt: skip


class Request(NamedTuple):
    """A read or write request."""

    opcode: int
    name: bytes

    def __str__(self) -> str:
        return f"{'RRQ' if self.opcode == READ else 'WRQ'} {self.name[:SHOWN].decode('latin-1')}"


def request(data: bytes) -> Request | None:
    """Read a request, with its file name up to a NUL. None if it isn't one, names nothing, or is STUN."""
    code, rest = opcode(data), data[2:]
    if code not in (READ, WRITE) or not rest.strip(b"\0") or (code == READ and data[4:8] == STUN):
        return None
    return Request(code, rest.partition(b"\0")[0])


def opcode(data: bytes) -> int:
    """The first two bytes, RFC 1350 section 5; 0 if there are none."""
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else 0


class TftpConversation:
    """The datagrams between one client's port and the server's well-known one."""

    def __init__(self, control: Control, policy: TftpPolicy) -> None:
        self._control = control
        self._policy = policy

    def feed(self, side: Side, data: bytes, now: float, *, end: bool = False) -> Sequence[Action]:
        """Judge one datagram."""
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
        """The address that answers."""
        return self._control.ip(Side.SERVER)

    @property
    def _target(self) -> EndPoint:
        """Where the answer goes: the end point that asked, as the outside sees it."""
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
        """Not called: no port is ever asked for."""
        return ()

    def outcome(self, tag: int, outcome: str, now: float) -> Sequence[Action]:
        """The answer came, or didn't in time."""
        return [Event(f"expectation-{outcome}")]


class TftpPlugin:
    """Watches udp/69. Off unless [alg.tftp] says enabled = true."""

    name = "tftp"
    number = 2
    transport = "udp"
    default_ports: tuple[int, ...] = (69,)
    policy = TftpPolicy
    words = TftpWords()

    def open(self, control: Control, policy: object) -> Conversation:
        """Start watching a control session under a TftpPolicy."""
        return TftpConversation(control, cast(TftpPolicy, policy))


PLUGIN = TftpPlugin()
