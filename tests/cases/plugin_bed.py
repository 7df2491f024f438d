"""One gateway for the field reports about IRC and TFTP: the lab, a capture outside, dialogues of both protocols.

The law of this file: set-up and dialogue; test_field_plugins.py says what must come of it. Inside hosts may open only
the watched services, and from outside only expected connections get in, so whatever else gets through was let in by the
plug-in (or the kernel's helper).
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward
from algate.cli.lab.lab import Lab, LabPlan
from tests.netns.chat import PORT, ChatClient, ChatServer

ANYBODY = "203.0.113.11"  # also outside, but not the IRC server: accepts an offer
PLAN = LabPlan(clients=("10.77.0.2", "10.77.0.3"), public=("198.51.100.2", "198.51.100.3"))
CONFIG = f"""
[nat]
addresses = {list(PLAN.public)}
[firewall]
allow_out = ["udp/69", "tcp/{PORT}"]
[metrics]
listen = ""
[alg.tftp]
enabled = true
[alg.irc]
enabled = true
any_peer = true
"""


class Kernel(KernelGateway):
    """nft masquerade with nf_nat_irc and nf_nat_tftp under the same firewall."""

    def _rules(self) -> str:
        helpers = 'ct helper irc { type "irc" protocol tcp; }\n  ct helper tftp { type "tftp" protocol udp; }'
        text = super()._rules().replace('ct helper ftp { type "ftp" protocol tcp; }', helpers)
        text = text.replace(
            'tcp dport 21 ct helper set "ftp";',
            f'tcp dport {PORT} ct helper set "irc"; udp dport 69 ct helper set "tftp";',
        )
        return text.replace(
            "ct status dnat accept",
            f"""ct status dnat accept
    iifname "lan0" ct state new tcp dport != {PORT} drop
    iifname "lan0" ct state new udp dport != 69 drop""",
        )


class PluginBed:
    """A running gateway, and what passes on its outside. `patience`: s that a peer may take."""

    def __init__(self, name: str) -> None:
        self.algate = name == "algate"
        self.patience = 8.0 if self.algate else 1.0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> PluginBed:
        try:
            self.lab = self._stack.enter_context(Lab(PLAN))
            forwards = (PortForward(69, f"{PLAN.clients[1]}:69", "udp", "tftp"),)
            made: LabGateway = (
                AlgateGateway(self.lab, forwards, config=CONFIG) if self.algate else Kernel(self.lab, forwards)
            )
            self.gateway = self._stack.enter_context(made)
            self._wire = self._stack.enter_context(
                Capture(self.lab.server, control_ports=(PORT,), forbidden=(PLAN.inside,))
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def said_outside(self) -> bytes:
        """What inside hosts told the IRC server since the last look, as it went over the link outside.

        AssertionError if a packet with an inside address was there.
        """
        seen = self._wire.take()
        assert not any(one.ip.startswith("10.77.") for segment in seen for one in (segment.src, segment.dst))
        return b"".join(one.payload for one in seen if one.dst.port == PORT and one.src.ip in PLAN.public)


class Chat:
    """alice inside, bob outside, and the server between them."""

    def __init__(self, bed: PluginBed) -> None:
        self.bed = bed
        self._stack = contextlib.ExitStack()
        bed.said_outside()
        lab, server = bed.lab, PLAN.servers[0]
        self.server = self._stack.enter_context(ChatServer(lab.server))
        self.alice = self._stack.enter_context(ChatClient(lab.client, server, "alice"))
        self.bob = self._stack.enter_context(ChatClient(lab.server, ANYBODY, "bob", ANYBODY))
        self.me, self.public = lab.client.address, self.server.seen_as["alice"]

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say(self, line: bytes) -> bytes:
        """alice's line as bob hears it, after checking that it left as the server got it."""
        self.alice.say(line)
        heard = self.bob.hear()
        got = self.server.lines["alice"][-1]
        assert got in self.bed.said_outside()
        assert heard.replace(b":alice!u@h ", b"") == re.sub(rb"^(@[^ ]* +)?:[^ ]* +", rb"\1", got)
        return got

    def takes(self, before: bytes, kind: bytes, ip: object, after: bytes = b" 10\x01") -> tuple[str, int]:
        """An offer with a port that alice listens on. It leaves with the public address; whoever connects is let in.

        AssertionError if anything else of the line was changed, or nobody gets through. The end point that was told.
        """
        with self.listening() as ear:
            port = ear.getsockname()[1]
            start, stop = before + b"\x01DCC " + kind + b" ", after + b"\r\n"
            got = self.say(start + f"{ip} {port}".encode() + stop)
            found = re.fullmatch(re.escape(start) + rb"(\d+) (\d+)" + re.escape(stop), got)
            assert found, got
            where = str(IPv4Address(int(found[1]))), int(found[2])
            assert where[0] == self.public, got
            self.reaches(where, ear)
            return where

    @contextlib.contextmanager
    def listening(self) -> Iterator[socket.socket]:
        with self.bed.lab.client.socket() as ear:
            ear.settimeout(self.bed.patience)
            ear.bind((self.me, 0))
            ear.listen()
            yield ear

    def reaches(self, where: tuple[str, int], ear: socket.socket) -> None:
        """Somebody outside, who isn't the IRC server, gets in; a second one doesn't."""
        with self.bed.lab.server.socket() as caller:
            caller.settimeout(self.bed.patience)
            caller.bind((ANYBODY, 0))
            caller.connect(where)
            called, peer = ear.accept()
            with called:
                assert peer == caller.getsockname() or not self.bed.algate, "the kernel hides who comes"
                called.settimeout(self.bed.patience)
                caller.sendall(b"here")
                assert called.recv(10) == b"here"
                called.sendall(b"so")
                assert caller.recv(10) == b"so"

    def shut(self, port: int) -> None:
        """Nobody reaches a public port of that number."""
        with self.bed.lab.server.socket() as caller:
            caller.settimeout(0.4)
            caller.bind((ANYBODY, 0))
            try:
                caller.connect((self.public, port))
            except OSError:
                return
            raise AssertionError(f"somebody answers at {self.public}:{port}")


class Transfer:
    """A TFTP client's socket and a server's well-known one; one of the hosts is inside."""

    def __init__(self, bed: PluginBed, *, inside: str) -> None:
        self.bed, self._stack = bed, contextlib.ExitStack()
        client_inside = inside == "client"
        self.client_host = bed.lab.client if client_inside else bed.lab.server
        self.server_host = bed.lab.server if client_inside else bed.lab.clients[1]
        self.server_ip = PLAN.servers[0] if client_inside else PLAN.clients[1]
        self.called = PLAN.servers[0] if client_inside else PLAN.public[0]
        self.server = self.at(self.server_ip, 69, server=True)
        self.client = self.at(self.client_host.address if client_inside else ANYBODY, 0)

    def at(self, ip: str, port: int = 0, *, server: bool = False) -> socket.socket:
        """A socket of the client's or the server's host."""
        made = self._stack.enter_context(
            (self.server_host if server else self.client_host).socket(kind=socket.SOCK_DGRAM)
        )
        made.settimeout(self.bed.patience)
        made.bind((ip, port))
        return made

    def ask(self, request: bytes) -> tuple[str, int]:
        """The request arrives unchanged; who asked, as the server sees it."""
        self.client.sendto(request, (self.called, 69))
        got, asker = self.server.recvfrom(2000)
        assert got == request
        return str(asker[0]), int(asker[1])

    def answered(self, request: bytes, answer: bytes) -> None:
        """The server answers from a new port, and client and server go on between these two ports."""
        asker = self.ask(request)
        new = self.at(self.server_ip, server=True)
        new.sendto(answer, asker)
        got, whence = self.client.recvfrom(2000)
        assert got == answer and whence[0] == self.called and whence[1] != 69
        self.client.sendto(b"\0\4\0\1", whence)
        assert new.recvfrom(2000) == (b"\0\4\0\1", asker)
        new.sendto(b"\0\3\0\2more", asker)
        assert self.client.recvfrom(2000) == (b"\0\3\0\2more", whence)

    def __enter__(self) -> Transfer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
