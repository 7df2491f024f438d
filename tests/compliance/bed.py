"""Test bed T: hosts that exist only on the wire, around a gateway: lan1, lan2 - gw - rtr - srv with A1, A2.

The law of this file: frames out, packets in. Each row gets its own addresses, so that rows run side by side and
wait for timers together; packet sockets sit on the devices of the lab's hosts, whose stacks ignore these addresses.
Nothing here knows what is right.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab
from tests.compliance import packet as pk
from tests.compliance import packet6 as p6
from tests.compliance.packet import Ip, Packet
from tests.compliance.wires import Tunnel, Wire

ARRIVE = 1.0  # s within which an expected packet comes, on a busy machine
SILENCE = 0.25  # s after which a packet counts as not coming
INSIDE = (bytes([10, 77]), bytes([10, 78]), bytes([10, 79]))  # the inside prefixes of the lab


class Ghost:
    """A row's host: an address and a MAC on a wire, a gateway to send through, and what has arrived."""

    def __init__(self, wire: Wire, ip: str, hop: bytes) -> None:
        self.wire = wire
        self.ip = ip
        self.hop = hop
        self.mac = b"\x02\xa6" + p6.address6(ip)[-4:] if ":" in ip else b"\x02\xa9" + socket.inet_aton(ip)
        self.inbox: list[Packet] = []
        self.wrong: list[str] = []
        self._news = asyncio.Event()
        wire.ghosts[ip] = self

    def deliver(self, packet: Packet) -> None:
        self.wrong += [f"{sum_} checksum of {packet.said()}" for sum_ in packet.wrong]
        self.inbox.append(packet)
        self._news.set()

    # -- sending: each returns the packet as sent ---------------------------------------------------------------------

    def raw(self, packet: bytes, *, to_mac: bytes | None = None, tag: bytes = b"") -> bytes:
        """`tag`: bytes between the MAC addresses and the ethertype (802.1Q)."""
        self.wire.send((to_mac or self.hop) + self.mac + tag + b"\x08\x00" + packet)
        return packet

    def udp(self, sport: int, to: str, dport: int, data: bytes = b"", head: Ip | None = None, **more: Any) -> bytes:
        return self.raw(pk.udp(self.ip, sport, to, dport, data, head, **more))

    def tcp(self, sport: int, to: str, dport: int, flags: str, **more: Any) -> bytes:
        return self.raw(pk.tcp(self.ip, sport, to, dport, flags, **more))

    def echo(self, to: str, ident: int, **more: Any) -> bytes:
        return self.raw(pk.echo(self.ip, to, ident, **more))

    def error(self, to: str, about: Packet | bytes, **more: Any) -> bytes:
        quoted = about if isinstance(about, bytes) else about.raw
        return self.raw(pk.error(self.ip, to, quoted, **more))

    # -- receiving -----------------------------------------------------------------------------------------------------

    def take(self, **want: Any) -> Packet | None:
        """Take out a packet that has already arrived and matches."""
        for place, one in enumerate(self.inbox):
            if all(value(getattr(one, key)) if callable(value) else getattr(one, key) == value
                   for key, value in want.items()):  # fmt: skip
                return self.inbox.pop(place)
        return None

    async def get(self, timeout: float = ARRIVE, **want: Any) -> Packet | None:
        """The next packet with these fields (a value, or a function of it); None after `timeout` s."""
        end = time.monotonic() + timeout
        while True:
            found = self.take(**want)
            left = end - time.monotonic()
            if found is not None or left <= 0:
                return found
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    async def silent(self, timeout: float = SILENCE, **want: Any) -> bool:
        """Whether nothing with these fields comes."""
        return await self.get(timeout, **want) is None

    async def whole(self, timeout: float = ARRIVE, **want: Any) -> Packet | None:
        """A packet reassembled from the fragments that arrived; None if some never came."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            by_id: dict[tuple[str, int, int], list[Packet]] = {}
            for one in self.inbox:
                if all(getattr(one, key) == value for key, value in want.items()):
                    by_id.setdefault((one.source, one.proto, one.ident), []).append(one)
            for parts in by_id.values():
                packet = parts[0] if not parts[0].fragment else pk.joined(parts)
                if packet is not None:
                    self.inbox = [one for one in self.inbox if one not in parts]
                    return packet
            await asyncio.sleep(0.02)
        return None


class Bed:
    """A lab with a running gateway, and its wires. `row` gives a row its own hosts.

    Numbers continue from bed to bed, since an earlier group may have left something in the gateway.
    """

    _numbers = itertools.count(300)
    _ports = itertools.count(20011, 7)

    def __init__(self, name: str, lab: Lab, station: Any) -> None:
        self.name = name
        self.lab = lab
        self.station = station
        self.inside = [Wire(host) for host in lab.clients]
        self.second = Wire(lab.hosts["far"])  # on another LAN device
        self.bare = Tunnel(station.tunnel)  # on a LAN device without Ethernet headers
        self.outside = Wire(lab.server)
        self.link = Wire(lab.hosts["router"])  # between gateway and router
        self.link.spy = self._spy
        self.leaks: Counter[str] = Counter()  # inside sources seen there, and all of IPv6
        self.lan_mac, self.second_mac = (self._mac(lab.gw, device) for device in ("lan0", "lan1"))
        self.wan_mac = self._mac(lab.gw, "wan0")
        self.router_mac = self._mac(lab.hosts["router"], "eth1")

    @property
    def public(self) -> str:
        return self.lab.plan.public[0]

    @staticmethod
    def _mac(host: Host, device: str) -> bytes:
        def look() -> bytes:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                sock.bind((device, 0))
                return bytes(sock.getsockname()[4])

        return call_in(host.netns, look)

    def _spy(self, frame: bytes) -> None:
        if frame[6:12] != self.wan_mac:
            return
        if frame[12:14] == b"\x86\xdd":
            self.leaks[socket.inet_ntop(socket.AF_INET6, frame[22:38])] += 1
        elif frame[26:28] in INSIDE:
            self.leaks[socket.inet_ntoa(frame[26:30])] += 1

    def leaks_of(self, inside: str) -> int:
        """How many packets have left the gateway's WAN device with this inside source."""
        return self.leaks[inside]

    async def flush(self) -> None:
        """No session is left. Don't call it from the loop's thread: it waits long."""
        await asyncio.to_thread(self.station.flush)

    def host_inside(self, wire: int = 0) -> Ghost:
        number = next(self._numbers)
        return Ghost(self.inside[wire], f"10.77.{10 + number // 250}.{1 + number % 250}", self.lan_mac)

    def host_second(self) -> Ghost:
        number = next(self._numbers)
        return Ghost(self.second, f"10.78.{10 + number // 250}.{1 + number % 250}", self.second_mac)

    def host_bare(self) -> Ghost:
        number = next(self._numbers)
        return Ghost(self.bare, f"10.79.{10 + number // 250}.{1 + number % 250}", self.bare.mac)

    def host_outside(self) -> Ghost:
        """Behind the router, in their own prefix: there are more of them than 203.0.113.0/24 holds."""
        number = next(self._numbers)
        return Ghost(self.outside, f"192.0.{2 + number // 250}.{1 + number % 250}", self.router_mac)

    def row(self) -> Row:
        return Row(self)

    def port(self) -> int:
        """An inside port that no other row uses."""
        return next(self._ports)

    def close(self) -> None:
        for wire in (*self.inside, self.second, self.bare, self.outside, self.link):
            wire.close()


class Row:
    """The hosts of one row."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.lan1, self.lan2 = bed.host_inside(0), bed.host_inside(1)
        self.a1, self.a2 = bed.host_outside(), bed.host_outside()
        self.ghosts = [self.lan1, self.lan2, self.a1, self.a2]
        self.public = bed.public

    @property
    def kernel(self) -> bool:
        return self.bed.name == "kernel"

    def port(self) -> int:
        return self.bed.port()

    def wrong(self) -> list[str]:
        """Wrong checksums at any host of this row."""
        return [line for ghost in self.ghosts for line in ghost.wrong]

    @staticmethod
    def tag() -> bytes:
        return secrets.token_hex(6).encode()
