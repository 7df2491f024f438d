"""A gateway between two links on which scripts speak: FTP control sessions with two scripted ends, and their data.

The law of this file: what many scripts have in common (greet, name a port, dial it) and what they ask the gateway. Each
script has its own hosts, so that one gateway serves them all.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab, LabPlan
from tests.cases.speaker import SILENCE, End, Links, Place, handshake
from tests.compliance.packet import Packet

FORWARDED = "10.77.200.21"  # inside address of a server behind the gateway
PLAN = LabPlan(inside="10.77.0.0/16", clients=("10.77.0.2",), wan="198.51.0.0/16")
DENYING, BRIEF = "198.51.240.1", "198.51.240.2"  # servers with their own policies
CONFIG = f"""
[nat]
addresses = ["198.51.100.2"]
[metrics]
listen = ""
[alg.ftp]
ports = [21, 2121]
before_login = true
[[alg.ftp.rule]]
server = "{DENYING}"
deny = ["SITE", "DELE"]
[[alg.ftp.rule]]
server = "{BRIEF}"
expect_timeout = 1
"""
GREETING = b"220 ready\r\n"
SIX = re.compile(rb"([0-9]+),([0-9]+),([0-9]+),([0-9]+),([0-9]+),([0-9]+)")


def port_line(ip: str, port: int, word: bytes = b"PORT") -> bytes:
    """PORT with an address."""
    return word + b" " + ip.replace(".", ",").encode() + b",%d,%d\r\n" % divmod(port, 256)


def passive_line(ip: str, port: int) -> bytes:
    """227 with an address."""
    return b"227 Entering Passive Mode (" + ip.replace(".", ",").encode() + b",%d,%d)\r\n" % divmod(port, 256)


def named(stream: bytes) -> tuple[str, int]:
    """The last address that a stream names in six numbers."""
    found = SIX.findall(stream)
    assert found, f"no address in {stream!r}"
    numbers = [int(one) for one in found[-1]]
    return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]


@dataclass
class Talk:
    """A control session of two scripted ends, greeted."""

    stage: Stage
    client: End
    server: End

    @property
    def ends(self) -> tuple[End, End]:
        return self.client, self.server

    def ask(self, command: bytes, answer: bytes) -> None:
        """A command that arrives unchanged, and its answer."""
        self.client.say(command)
        self.server.hears(command)
        self.server.say(answer)
        self.client.hears(answer)

    def port(self, port: int = 0, answer: bytes = b"200 ok\r\n") -> tuple[str, int]:
        """PORT in one segment, answered; returns the public end that the server was told."""
        port = port or self.stage.links.port()
        start = len(self.server.stream)
        self.client.say(port_line(self.client.place.ip, port))
        self.stage.links.until(lambda: b"\r\n" in self.server.stream[start:], "the server hears PORT")
        line = bytes(self.server.stream[start:])
        if answer:
            self.server.say(answer)
            self.client.hears(answer)
        return named(line)

    def passive(self, port: int = 0) -> tuple[str, int]:
        """PASV, and the server's 227 with its own address; returns the end point that the client was told."""
        start = len(self.server.stream)
        self.client.say(b"PASV\r\n")
        assert self.server.lines_after(start) == b"PASV\r\n"
        start = len(self.client.stream)
        self.server.say(passive_line(self.server.place.ip, port or self.stage.links.port()))
        return named(self.client.lines_after(start))

    def dial(self, public: tuple[str, int], port: int, sport: int = 20, seconds: float = 3.0) -> bool:
        """The server's SYN goes where PORT said; whether it reaches the client's port, and the answer comes back."""
        return self.data(public, port, sport, seconds) is not None

    def data(self, public: tuple[str, int], port: int, sport: int = 20, seconds: float = 3.0) -> tuple[End, End] | None:
        """As `dial`; the caller's end and the called one, or None."""
        data = End(self.stage.links, self.server.place, sport, public, iss=70_000)
        data.send(b"", "S", at=-1)
        back = answered(self.stage.links, self.client.place, port, data, seconds)
        if back is not None:
            data.ack()
        return (data, back) if back is not None else None

    def works(self) -> None:
        """Check that both streams are in step: one more exchange arrives as it was said, acknowledged at both ends."""
        tag = b"%d" % self.stage.links.port()
        self.ask(b"NOOP " + tag + b"\r\n", b"200 " + tag + b"\r\n")
        self.client.told()
        self.server.told()
        self.right()

    def right(self) -> None:
        """Check that nothing arrived that would disturb a real end."""
        assert [f"{end.place.ip}: {one}" for end in self.ends for one in end.faults] == []


def with_keys(text: str, keys: tuple[str, ...]) -> str:
    """A configuration with these "table.key = value" lines in place of the keys' earlier values."""
    for line in keys:
        name, _, value = line.partition(" = ")
        table, _, key = name.rpartition(".")
        text = re.sub(rf"(?m)(^\[{re.escape(table)}\]\n(?:[^\[].*\n)*?){key} = .*\n", r"\1", text)
        head = f"[{table}]\n"
        text = text.replace(head, f"{head}{key} = {value}\n") if head in text else f"{head}{key} = {value}\n" + text
    return text


def arrives(links: Links, place: Place, port: int, caller: End, seconds: float = SILENCE) -> Packet | None:
    """The SYN of `caller` at this port of a place, if it comes in that time."""
    found: list[Packet] = []

    def syn() -> bool:
        found.extend(one for one in place.inbox if one.dport == port and one.flags == "S" and one.seq == caller.iss)
        return bool(found)

    with suppress(AssertionError):
        links.until(syn, seconds=seconds)
    return found[0] if found else None


def answered(links: Links, place: Place, port: int, caller: End, seconds: float) -> End | None:
    """The called end, if the SYN reaches this port and its answer the caller."""
    syn = arrives(links, place, port, caller, seconds)
    if syn is None:
        return None
    back = End(links, place, port, (syn.source, syn.sport), iss=90_000)
    back.take(syn)
    back.send(b"", "SA", at=-1)
    with suppress(AssertionError):
        links.until(lambda: caller.first is not None, seconds=seconds)
    return back if caller.first is not None else None


@contextmanager
def held_back(stage: Stage) -> Iterator[None]:
    """Stop the helper for a while, so that undecided bytes wait. Must be shorter than helper_timeout."""
    if stage.gateway.name != "algate":
        yield
        return
    pid = int(stage.gateway.ask("status")["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def only_one(talk: Talk, public: tuple[str, int]) -> None:
    """Check that the session has one expectation, at this port."""
    if talk.stage.gateway.name == "algate":
        rows = talk.stage.expectations(talk)
        assert [row["public"] for row in rows] == ["{}:{}".format(*public)], rows


def spoken(talk: Talk) -> tuple[bytes, int]:
    """PORT said but neither acknowledged nor answered by the server; the line, and its position."""
    talk.server.auto = False
    line, at = port_line(talk.client.place.ip, talk.stage.links.port()), talk.client.sent
    talk.client.say(line)
    talk.stage.links.until(lambda: b"PORT" in talk.server.stream and talk.server.stream.endswith(b"\r\n"), "PORT")
    return line, at


class Stage:
    """A lab with a gateway at work and its links."""

    def __init__(self, lab: Lab, gateway: LabGateway) -> None:
        self.lab, self.gateway = lab, gateway
        hops = _mac(lab.gw, "lan0"), _mac(lab.gw, "wan0")
        outside = ".".join(lab.plan.wan.split(".")[:2]) + "."
        self.links = Links(lab.client, lab.server, hops, ("10.77.", outside), lab.plan.mtu)
        if gateway.name != "algate":  # it repeats nothing: what doesn't come at once never comes
            self.links.patience = 1.5

    @property
    def public(self) -> str:
        return self.lab.plan.public[0]

    def apart(self) -> tuple[End, End]:
        """A client inside and a server outside, nothing sent."""
        links = self.links
        server = End(links, links.place(1), 21, ("", 0), iss=5000)
        return End(links, links.place(0), links.port(), (server.place.ip, 21)), server

    def connect(
        self, *, inside: bool = True, place: Place | None = None, other: Place | None = None, sport: int = 0,
        port: int = 21, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None,
    ) -> Talk:  # fmt: skip
        """A control connection, nothing said. `inside`: the client is; else the server is, behind the forward."""
        links = self.links
        near, far = (0, 1) if inside else (1, 0)
        place = place or links.place(near)
        other = other or links.place(far, "" if inside else FORWARDED)
        sport = sport or links.port()
        target = (other.ip if inside else self.public, port)
        one = End(links, place, sport, target, **(client or {}))
        peer = ("", 0)
        two = End(links, other, port, peer, **({"iss": 5000} | (server or {})))
        handshake(one, two)
        return Talk(self, one, two)

    def talk(self, **more: Any) -> Talk:
        """A control connection whose server has said 220 and whose client has logged in."""
        talk = self.connect(**more)
        talk.server.say(GREETING)
        talk.client.hears(GREETING)
        talk.ask(b"USER ftp\r\n", b"230 in\r\n")
        return talk

    @contextmanager
    def configured(self, *tables: str) -> Iterator[None]:
        """Algate reloaded with these tables (or keys of CONFIG's tables, as "table.key = value" lines) added."""
        gateway = self.gateway
        assert isinstance(gateway, AlgateGateway)
        path = self.lab.folder / "algate.toml"
        before = path.read_text()
        try:
            path.write_text(with_keys(before, tables))
            gateway.ask("reload")
            yield
        finally:
            path.write_text(before)
            gateway.ask("reload")

    # -- what the gateway says; algate alone ---------------------------------------------------------------------------

    def expectations(self, talk: Talk) -> list[dict[str, Any]]:
        """A session's expectations, as `algate expectations` lists them."""
        rows = self.gateway.ask("expectations", {})
        sessions = self.gateway.ask("sessions", {})
        ours = {row["id"] for row in sessions if talk.client.place.ip in str(row) and talk.server.place.ip in str(row)}
        return [row for row in rows if row["control"] in ours]

    def stats(self) -> dict[str, float]:
        """`algate stats`."""
        told: dict[str, float] = self.gateway.ask("stats")
        return told

    def drops(self, reason: str) -> float:
        """How many packets were dropped for that reason."""
        return self.stats().get(f'algate_drops_total{{reason="{reason}"}}', 0)

    def wait_for(self, true: Callable[[], object], what: str, seconds: float | None = None) -> None:
        """Like Links.until, for answers of the gateway."""
        self.links.until(true, what, seconds)

    def close(self) -> None:
        self.links.close()


def _mac(host: Host, device: str) -> bytes:
    def look() -> bytes:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((device, 0))
            return bytes(sock.getsockname()[4])

    return call_in(host.netns, look)


@contextmanager
def staged(name: str = "algate", config: str = CONFIG, plan: LabPlan = PLAN) -> Iterator[Stage]:
    """A gateway of that kind, its forward of port 21 to FORWARDED included."""
    forwards = (PortForward(21, f"{FORWARDED}:21"),)
    with Lab(plan) as lab:
        gateway: LabGateway = (
            AlgateGateway(lab, forwards, config=config) if name == "algate" else KernelGateway(lab, forwards)
        )
        with gateway:
            stage = Stage(lab, gateway)
            try:
                yield stage
            finally:
                stage.close()


def shown(rows: object) -> str:
    """For an assertion's message."""
    return json.dumps(rows, default=str)[:500]
