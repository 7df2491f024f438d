"""A gateway between links whose MTU changes: what leaves by them, segment by segment, and what senders are told.

The law of this file: set-up, observation and one dialogue; what must come of it is said in test_field_links.py. Both
ends are the kernel's own TCP, which learns of small links by ICMP errors alone.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from algate.cli.lab.gateways import AlgateGateway, KernelGateway, LabGateway, PortForward
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab, LabPlan, ip
from tests.cases.bed import listener
from tests.cases.ends import Speaker, six

PACKET_VNET_HDR, SOL_PACKET = 15, 263  # linux/if_packet.h
ETHERNET, VNET = 14, 10  # bytes of headers; struct virtio_net_hdr
PLAN = LabPlan(router=True)
LINES = b"".join(b" %03d %s\r\n" % (n, b"r" * 93) for n in range(60))
REPLY = b"211-status\r\n" + LINES + b"211 end\r\n"  # 6 KB


class Seen(NamedTuple):
    """A packet on a link. `size`: of the largest IP packet that it is on a wire, for a super-packet of its segments."""

    outgoing: bool
    source: str
    destination: str
    size: int
    proto: int
    seq: int  # TCP
    mtu: int  # ICMP frag-needed, else 0
    quoted: bytes  # of an ICMP error
    super: bool


def seen(raw: bytes, outgoing: bool) -> Seen | None:
    """From a packet socket with PACKET_VNET_HDR. None: no IPv4."""
    gso_type, gso_size = raw[1], int.from_bytes(raw[4:6], "little")
    frame = raw[VNET:]
    if frame[12:14] != b"\x08\x00":
        return None
    head = ETHERNET + (frame[ETHERNET] & 15) * 4
    size, proto = int.from_bytes(frame[ETHERNET + 2 : ETHERNET + 4], "big"), frame[ETHERNET + 9]
    source, destination = (socket.inet_ntoa(frame[at : at + 4]) for at in (ETHERNET + 12, ETHERNET + 16))
    seq, mtu, quoted = 0, 0, b""
    if proto == 6:
        seq = int.from_bytes(frame[head + 4 : head + 8], "big")
        if gso_type:
            size = head - ETHERNET + (frame[head + 12] >> 4) * 4 + gso_size
    elif proto == 1 and frame[head] == 3 and frame[head + 1] == 4:
        mtu, quoted = int.from_bytes(frame[head + 6 : head + 8], "big"), frame[head + 8 :]
    return Seen(outgoing, source, destination, size, proto, seq, mtu, quoted, bool(gso_type))


class Watch:
    """All that passes a device of a host, from construction on."""

    def __init__(self, host: Host, device: str) -> None:
        self.packets: list[Seen] = []
        self._socket = call_in(host.netns, lambda: self._open(device))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @staticmethod
    def _open(device: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        sock.settimeout(0.1)
        sock.bind((device, 3))
        return sock

    def _read(self) -> None:
        while True:
            try:
                raw, address = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                continue
            except OSError:
                return
            one = seen(raw, address[2] == socket.PACKET_OUTGOING)
            if one is not None:
                self.packets.append(one)

    def close(self) -> None:
        self._socket.close()
        self._thread.join()


class Links:
    """The lab with a running gateway, client and server on both sides of it."""

    def __init__(self, gateway: str, config: str = "", wan: int = 1500) -> None:
        self._name = gateway
        self._config = f'[metrics]\nlisten = ""\n{config}'
        self.clamps, self._wan = "mss_clamp" in config, wan
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Links:
        with contextlib.ExitStack() as building:
            self.lab = building.enter_context(Lab(PLAN))
            self.mtu("gw", "wan0", self._wan)
            inside = (PortForward(21, f"{self.lab.client.address}:21"),)
            algate = self._name == "algate"
            made: LabGateway = (
                AlgateGateway(self.lab, inside, config=self._config) if algate else KernelGateway(self.lab, inside)
            )
            self.gateway = building.enter_context(made)
            self._stack = building.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def mtu(self, host: str, device: str, size: int) -> None:
        """From now on, as an operator sets it."""
        ip(f"link set {device} mtu {size}", self.lab.hosts[host].netns)

    @contextlib.contextmanager
    def narrow(self, host: str, device: str, size: int) -> Iterator[None]:
        """A device with another MTU for a while; nobody remembers anything of before, nor will of it."""
        before = 1500 if device != "wan0" else self._wan
        try:
            self.mtu(host, device, size)
            self.forget()
            self._follow(device)
            yield
        finally:
            self.mtu(host, device, before)
            self.forget()
            self._follow(device)

    def _follow(self, device: str) -> None:
        """A clamp goes by the WAN device, at which the gateway looks once a second."""
        if self.clamps and device == "wan0":
            time.sleep(2.5)

    def forget(self) -> None:
        """Path MTUs that hosts have learnt."""
        for host in self.lab.hosts.values():
            ip("route flush cache", host.netns)

    @contextlib.contextmanager
    def super_packets(self, wanted: bool) -> Iterator[None]:
        """Whether ends hand several segments in one to the link."""
        hosts = [(host, "eth0") for host in (self.lab.client, self.lab.server)]
        for host, device in hosts:
            host.run(["ethtool", "-K", device, *f"tso {_on(wanted)} gso {_on(wanted)}".split()], check=True)
        try:
            yield
        finally:
            for host, device in hosts:
                host.run(["ethtool", "-K", device, "tso", "on", "gso", "on"], check=True)

    @contextlib.contextmanager
    def talk(self, inside: str) -> Iterator[Talk]:
        """A control session; `inside`: which end stands behind the gateway, "client" or "server"."""
        lab = self.lab
        home, away = (lab.client, lab.server) if inside == "server" else (lab.server, lab.client)
        address = home.address if inside == "server" else PLAN.servers[0]
        with contextlib.ExitStack() as stack:
            ear = stack.enter_context(listener(home, address, 21))
            ear.settimeout(5)
            sock = stack.enter_context(away.socket())
            if away is lab.server:
                sock.bind((PLAN.servers[0], 0))
            sock.settimeout(5)
            sock.connect((PLAN.public[0] if inside == "server" else address, 21))
            other = stack.enter_context(ear.accept()[0])
            watches = {name: Watch(lab.gw, name) for name in ("lan0", "wan0")}
            for watch in watches.values():
                stack.callback(watch.close)
            yield Talk(Speaker(sock, 5), Speaker(other, 5), watches)


def _on(wanted: bool) -> str:
    return "on" if wanted else "off"


class Talk:
    """Client and server, logged in, with a rewritten line behind them: numbers are shifted."""

    def __init__(self, client: Speaker, server: Speaker, watches: dict[str, Watch]) -> None:
        self.client, self.server, self.watches = client, server, watches
        self.says(b"220 ready\r\n")
        self.asks(b"USER anonymous\r\n")
        self.says(b"230 in\r\n")
        private = client.local.ip if client.local.ip.startswith("10.") else server.local.ip
        if private == client.local.ip:
            client.say(b"PORT " + six(private, 40_000) + b"\r\n")
            assert server.line() != b"PORT " + six(private, 40_000) + b"\r\n"
            self.says(b"200 ok\r\n")
        else:
            self.asks(b"PASV\r\n")
            server.say(b"227 Entering Passive Mode (" + six(private, 40_000) + b").\r\n")
            assert client.line() != b"227 Entering Passive Mode (" + six(private, 40_000) + b").\r\n"

    def asks(self, line: bytes) -> None:
        self.client.say(line)
        assert self.server.read(len(line)) == line

    def says(self, text: bytes) -> None:
        self.server.say(text)
        got = self.client.read(len(text))
        assert got == text, f"{len(got)} of {len(text)} bytes"

    def status(self) -> float:
        """STAT, and the long reply: after how many s it is there whole."""
        self.asks(b"STAT\r\n")
        start = time.monotonic()
        self.says(REPLY)
        return time.monotonic() - start

    def left(self, device: str) -> list[Seen]:
        """What the gateway sent out by a device."""
        time.sleep(0.05)
        return [one for one in self.watches[device].packets if one.outgoing]

    def largest(self, device: str) -> int:
        """Bytes of the largest IP packet that left there."""
        return max(one.size for one in self.left(device) if one.proto == 6)


def quoted_end(one: Seen) -> tuple[str, str, int, int, int]:
    """Source, destination, ports and number of the segment that an ICMP error is about."""
    head = (one.quoted[0] & 15) * 4
    sport, dport, seq = struct.unpack_from("!HHI", one.quoted, head)
    return socket.inet_ntoa(one.quoted[12:16]), socket.inet_ntoa(one.quoted[16:20]), sport, dport, seq
