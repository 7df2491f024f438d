"""Counts what leaves a device as the device gets it: all packets, and those that are still GSO.

The law of this file: a packet socket with PACKET_VNET_HDR, whose header has the gso_size; only counts are kept.
"""

from __future__ import annotations

import select
import socket
import struct
import threading

from algate.cli.lab.host import Host, call_in

SOL_PACKET, PACKET_VNET_HDR, ETH_P_ALL = 263, 15, 3
HEADER = struct.Struct("=BBHHHH")  # struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset


class WireCount:
    """Packets that a host sends by a device from construction to `close`. `largest`: bytes of the IP packet."""

    def __init__(self, host: Host, device: str) -> None:
        self.packets = self.gso = self.largest = 0
        self._ended = False
        self._socket = call_in(host.netns, lambda: self._open(device))
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    @staticmethod
    def _open(device: str) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        made.bind((device, ETH_P_ALL))
        return made

    def _count(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        while not self._ended:
            if not poller.poll(50):
                continue
            packet, address = self._socket.recvfrom(64)
            if address[2] == socket.PACKET_OUTGOING:
                self.packets += 1
                self.gso += HEADER.unpack_from(packet)[3] > 0
                self.largest = max(self.largest, int.from_bytes(packet[26:28], "big"))

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> WireCount:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
