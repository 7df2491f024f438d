"""Test bed T: hosts that exist only on the wire, around a gateway: lan1, lan2 - gw - rtr - srv with A1, A2.

The law of this file: frames out, packets in. Each row gets its own addresses, so that rows run side by side and
wait for timers together; packet sockets sit on the devices of the lab's hosts, whose stacks ignore these addresses.
Nothing here knows what is right.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab
from tests.compliance import packet as pk
from tests.compliance.packet import Ip, Packet

ETH_P_ALL = 0x0003
ETH_IP, ETH_ARP = 0x0800, 0x0806
BUFFER = 16 << 20
SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
CSUM_NOT_READY = 8  # TP_STATUS_CSUMNOTREADY
ARRIVE = 1.0  # s within which an expected packet comes, on a busy machine
SILENCE = 0.25  # s after which a packet counts as not coming
INSIDE = (bytes([10, 77]), bytes([10, 78]), bytes([10, 79]))  # the inside prefixes of the lab


class Wire:
    """A packet socket on a device of a lab host; it answers ARP for the ghosts there."""

    def __init__(self, host: Host, device: str | None = None) -> None:
        self.device = device or host.device
        self.socket = call_in(host.netns, self._open)
        self.mac = self.socket.getsockname()[4]
        self.ghosts: dict[str, Ghost] = {}
        self.spy: Callable[[bytes], None] | None = None
        self._watch()

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self.socket, self._read)

    def _unwatch(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.setblocking(False)
        sock.bind((self.device, ETH_P_ALL))
        return sock

    def send(self, frame: bytes) -> None:
        for _ in range(1000):
            try:
                self.socket.send(frame)
                return
            except (BlockingIOError, OSError) as error:
                if getattr(error, "errno", 0) not in (11, 105):  # EAGAIN, ENOBUFS: the queue drains
                    raise
                time.sleep(0.0005)

    def _read(self) -> None:
        for _ in range(256):
            try:
                frame, notes, _, where = self.socket.recvmsg(1 << 17, 64)
            except (BlockingIOError, OSError):
                return
            if len(frame) < 34:
                continue
            kind = frame[12:14]
            outgoing = where[2] == socket.PACKET_OUTGOING
            if kind == b"\x08\x06" and not outgoing:
                self._resolve(frame)
            elif kind == b"\x08\x00":
                status = struct.unpack("I", notes[0][2][:4])[0] if notes else 0
                self._deliver(frame, outgoing, unfinished=bool(status & CSUM_NOT_READY))

    def _resolve(self, frame: bytes) -> None:
        if frame[20:22] != b"\0\1":
            return
        ghost = self.ghosts.get(socket.inet_ntoa(frame[38:42]))
        if ghost is not None and frame[28:32] != frame[38:42]:
            answer = frame[6:12] + ghost.mac + struct.pack("!HHHBBH", ETH_ARP, 1, ETH_IP, 6, 4, 2)
            self.send(answer + ghost.mac + frame[38:42] + frame[22:28] + frame[28:32])

    def _deliver(self, frame: bytes, outgoing: bool, unfinished: bool) -> None:
        if self.spy is not None:
            self.spy(frame)
        ghost = None if outgoing else self.ghosts.get(socket.inet_ntoa(frame[30:34]))
        if ghost is not None and frame[:6] == ghost.mac:
            with suppress(struct.error, IndexError):
                packet = pk.parse(frame[14:])
                if unfinished:  # left to the device to compute
                    packet.wrong = [one for one in packet.wrong if one == "IP header"]
                ghost.deliver(packet)

    def close(self) -> None:
        self._unwatch()
        self.socket.close()


class Tunnel(Wire):
    """The far end of the gateway's tun device: bare IP packets, no ARP, no MAC."""

    mac = bytes(6)

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ghosts = {}
        self.spy = None
        asyncio.get_running_loop().add_reader(fd, self._read)

    def send(self, frame: bytes) -> None:
        os.write(self.fd, frame[14:])

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while packet := os.read(self.fd, 1 << 17):
                ghost = self.ghosts.get(socket.inet_ntoa(packet[16:20])) if packet[0] >> 4 == 4 else None
                if ghost is not None:
                    with suppress(struct.error, IndexError):
                        ghost.deliver(pk.parse(packet))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.fd)


class Ghost:
    """A row's host: an address and a MAC on a wire, a gateway to send through, and what has arrived."""

    def __init__(self, wire: Wire, ip: str, hop: bytes) -> None:
        self.wire = wire
        self.ip = ip
        self.hop = hop
        self.mac = b"\x02\xa9" + socket.inet_aton(ip)
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
        self.leaks: Counter[str] = Counter()  # inside sources seen there
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
        if frame[26:28] in INSIDE and frame[6:12] == self.wan_mac:
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
        self.public = bed.public

    @property
    def kernel(self) -> bool:
        return self.bed.name == "kernel"

    def port(self) -> int:
        return self.bed.port()

    def wrong(self) -> list[str]:
        """Wrong checksums at any host of this row."""
        return [line for ghost in (self.lan1, self.lan2, self.a1, self.a2) for line in ghost.wrong]

    @staticmethod
    def tag() -> bytes:
        return secrets.token_hex(6).encode()
