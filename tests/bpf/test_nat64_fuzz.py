"""NAT64 and packets at random: whatever leaves scapy would send too, and a sum that was wrong stays wrong."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Packet

from tests.bpf.rig import INSIDE6, INSIDE6_2, LAN6, PUBLIC, REDIRECT, REMOTE, Rig
from tests.bpf.six import frame
from tests.bpf.turned import fed, shown

pytestmark = pytest.mark.bpf
FEW, MANY = 250, 20_000


def anew(packet: Packet) -> bytes:
    """The same with every length and sum made again."""
    made = packet.copy()
    for layer in made.iterpayloads():
        for field in ("chksum", "cksum"):
            if field in layer.fields:
                delattr(layer, field)
    return bytes(made)


Ports = dict[tuple[int, int], int]  # of kind and inside port: the public one


def upper(chance: random.Random, v6: bool, public: Ports) -> Any:
    load = chance.randbytes(chance.choice((0, 1, 2, 7, 100, 1231, 1232, 1300, 1400)))
    port, remote = chance.choice((5000, 5001)), chance.choice((53, 80))
    kind = chance.randrange(3)
    port = port if v6 else public[kind, port]
    ends = {"sport": port, "dport": remote} if v6 else {"sport": remote, "dport": port}
    if kind == 2:
        return inet6.ICMPv6EchoRequest(id=port, data=load) if v6 else inet.ICMP(type=0, id=port) / load
    return (inet.UDP(**ends) if kind else inet.TCP(**ends, flags=chance.choice(("S", "A", "PA", "FA")), seq=9)) / load


def turned(rig: Rig, chance: random.Random, v6: bool, public: Ports) -> None:
    """One packet, perhaps with a byte of its transport header or payload changed on the way."""
    body = upper(chance, v6, public)
    hops = chance.choice((1, 2, 64))
    if v6:
        heads = chance.choice((None, inet6.IPv6ExtHdrDestOpt(), inet6.IPv6ExtHdrHopByHop()))
        sent = frame(heads / body if heads else body, destination=shown(REMOTE), hops=hops)
    else:
        sent = fed(body, ttl=hops, flags=chance.choice(("DF", 0)), id=chance.randrange(65536))
    damaged = chance.random() < 0.3
    if damaged:
        at = chance.randrange(len(sent) - len(bytes(body)) + 8, len(sent) + 1) - 1
        sent = sent[:at] + bytes([sent[at] ^ 1 << chance.randrange(8)]) + sent[at + 1 :]
    got = rig.lan(sent) if v6 else rig.wan_in(sent)
    if got.action != REDIRECT:
        assert got.drops, "dropped without a reason"
        return
    out = got.data[14:]
    packet = inet.IP(out) if out[0] >> 4 == 4 else inet6.IPv6(out)
    if got.drops:  # the gateway's own error about it
        assert (packet.src, packet.dst) in {(PUBLIC, REMOTE), (LAN6, INSIDE6)}
        assert not (inet.checksum(out[20:]) if out[0] >> 4 == 4 else inet6.in6_chksum(58, packet, out[40:]))
        return
    assert (packet.src, packet.dst) in {(PUBLIC, REMOTE), (shown(REMOTE), INSIDE6)}
    if packet.haslayer(inet6.IPv6ExtHdrFragment):
        return
    whole = anew(packet) == out
    assert whole is not damaged, (sent.hex(), out.hex())


def test_at_random(rig64: Rig, request: pytest.FixtureRequest) -> None:
    number = MANY if request.config.getoption("run_all") else FEW
    chance = random.Random(64)
    public: Ports = {}
    for port in (5000, 5001):
        for source in (INSIDE6_2, INSIDE6):  # the first has these numbers outside
            for remote in (53, 80):
                udp = inet.UDP(sport=port, dport=remote) / b"?"
                got = rig64.lan(frame(udp, source=source, destination=shown(REMOTE)))
                public[1, port] = int.from_bytes(got.data[34:36], "big")
                syn = inet.TCP(sport=port, dport=remote, flags="S", seq=8)
                got = rig64.lan(frame(syn, source=source, destination=shown(REMOTE)))
                public[0, port] = int.from_bytes(got.data[34:36], "big")
            got = rig64.lan(frame(inet6.ICMPv6EchoRequest(id=port), source=source, destination=shown(REMOTE)))
            public[2, port] = int.from_bytes(got.data[38:40], "big")
    assert not {5000, 5001} & {*public.values()}
    for turn in range(number):
        turned(rig64, chance, bool(turn & 1), public)
