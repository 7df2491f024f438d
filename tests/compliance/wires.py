"""Packet sockets on the devices of the lab's hosts: frames out, packets in, for the ghosts that live there.

The law of this file: it moves bytes, and answers the question for a ghost's MAC. Nothing here knows what is right.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from algate.cli.lab.host import Host, call_in
from tests.compliance import packet as pk
from tests.compliance import packet6 as p6
from tests.compliance.packet import Packet

if TYPE_CHECKING:
    from tests.compliance.bed import Ghost

ETH_P_ALL = 0x0003
ETH_IP, ETH_ARP = 0x0800, 0x0806
BUFFER = 16 << 20
SOL_PACKET, PACKET_AUXDATA = 263, 8  # linux/if_packet.h
CSUM_NOT_READY = 8  # TP_STATUS_CSUMNOTREADY


class Wire:
    """A packet socket on a device of a lab host; it answers ARP for the ghosts there."""

    def __init__(self, host: Host, device: str | None = None) -> None:
        self.device = device or host.device
        self.socket = call_in(host.netns, self._open)
        self.mac = self.socket.getsockname()[4]
        self.ghosts: dict[str, Ghost] = {}
        self.heard: deque[Packet] = deque(maxlen=256)  # to groups of IPv6
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
            elif kind == b"\x86\xdd" and len(frame) >= 54:
                status = struct.unpack("I", notes[0][2][:4])[0] if notes else 0
                self._deliver6(frame, outgoing, unfinished=bool(status & CSUM_NOT_READY))
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

    def _deliver6(self, frame: bytes, outgoing: bool, unfinished: bool) -> None:
        if self.spy is not None:
            self.spy(frame)
        if outgoing:
            return
        with suppress(struct.error, IndexError):
            packet = p6.parse6(frame[14:])
            if packet.kind == p6.SOLICIT and packet.source != "::":
                asked = self.ghosts.get(str(IPv6Address(frame[62:78])))
                if asked is not None:
                    answer = p6.advertise(asked.ip, asked.mac, packet.source)
                    self.send(frame[6:12] + asked.mac + b"\x86\xdd" + answer)
                return
            ghost = self.ghosts.get(packet.destination)
            if ghost is not None and frame[:6] == ghost.mac:
                if unfinished:
                    packet.wrong.clear()
                ghost.deliver(packet)
            elif frame[38] == 0xFF:
                self.heard.append(packet)

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
