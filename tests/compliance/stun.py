"""A STUN server with two addresses and two ports, RFC 3489: what a client needs to find out its kind of NAT.

The law of this file: binding requests in, binding responses out from the end point asked for; no judgement.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

from algate.cli.lab.host import Host, call_in

REQUEST, RESPONSE = 0x0001, 0x0101
MAPPED, CHANGE, SOURCE, CHANGED = 0x0001, 0x0003, 0x0004, 0x0005
CHANGE_IP, CHANGE_PORT = 4, 2
PORTS = (3478, 3479)
End = tuple[str, int]


class StunServer:
    """Listens at both addresses on both ports, in a host's namespace, until `close`."""

    def __init__(self, host: Host, addresses: tuple[str, str]) -> None:
        self.addresses = addresses
        ends = [(ip, port) for ip in addresses for port in PORTS]
        self.sockets: dict[End, socket.socket] = call_in(host.netns, lambda: {end: _bound(end) for end in ends})
        for end in ends:
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: End) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = self.sockets[end].recvfrom(2048)
                if not data:
                    return
                self._answer(end, data, client)

    def _answer(self, end: End, data: bytes, client: End) -> None:
        if len(data) < 20 or struct.unpack("!H", data[:2])[0] != REQUEST:
            return
        asked = 0
        for kind, value in attributes(data[20:]):
            if kind == CHANGE and len(value) == 4:
                asked = value[3]
        source = (
            self._other_ip(end[0]) if asked & CHANGE_IP else end[0],
            self._other_port(end[1]) if asked & CHANGE_PORT else end[1],
        )
        changed = (self._other_ip(end[0]), self._other_port(end[1]))
        body = _address(MAPPED, client) + _address(SOURCE, source) + _address(CHANGED, changed)
        self.sockets[source].sendto(struct.pack("!HH", RESPONSE, len(body)) + data[4:20] + body, client)

    def _other_ip(self, ip: str) -> str:
        return self.addresses[1 - self.addresses.index(ip)]

    @staticmethod
    def _other_port(port: int) -> int:
        return PORTS[1 - PORTS.index(port)]

    def close(self) -> None:
        for one in self.sockets.values():
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each whole attribute."""
    while len(data) >= 4:
        kind, size = struct.unpack("!HH", data[:4])
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]


def _address(kind: int, end: End) -> bytes:
    return struct.pack("!HHBBH", kind, 8, 0, 1, end[1]) + IPv4Address(end[0]).packed


def _bound(end: End) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(end)
    return made
