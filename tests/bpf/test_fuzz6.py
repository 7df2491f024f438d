"""Random IPv6 packets through the filter's programs: nothing leaves that the model of the RFCs wouldn't let through.

What leaves is as it came but for its hop limit. Some thousands of packets always, a million with `--all`."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import IPv6Address

import pytest

from algate.bpf import abi, testrun
from tests.bpf import six
from tests.bpf.rig import (
    INSIDE6,
    INSIDE6_2,
    LAN,
    LAN6,
    OK,
    REDIRECT,
    REMOTE6,
    REMOTE6_2,
    TCP,
    WAN,
    WAN6,
    Rig,
)  # fmt: skip
from tests.compliance import packet6 as p6
from tests.compliance.packet6 import DSTOPTS, FRAGMENT, HOPOPTS, ROUTING, Ip6
from tests.model6 import IN, OUT, Filter, read

pytestmark = pytest.mark.bpf
FEW, MANY = 20_000, 1_000_000
SEED = 6
SERVICE = 8443
HEADS = {way: bytes.fromhex("".join(macs[::-1]).replace(":", "")) + b"\x86\xdd" for way, macs in
         ((OUT, six.OUT), (IN, six.IN))}  # fmt: skip
ODD = ("fe80::5", "::1", "::", "ff02::1", "::ffff:1.2.3.4", "2001:db8:77::9")
ANYCAST = IPv6Address("2001:db8:1::").packed  # of the LAN's routers, so the gateway's too (RFC 4291 section 2.6.1)
PORTS = (40000, 40001, 53, 443, 500, 4500, SERVICE)
FLAGS = ("S", "A", "SA", "PA", "FA", "R", "RA", "", "SF", "FSRPAU")


class Maker:
    """Packets of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def packet(self, way: int) -> bytes:
        """One from that side: mostly well formed, then damaged now and then."""
        r = self.random
        source, destination = r.choice((INSIDE6, INSIDE6, INSIDE6_2)), r.choice((REMOTE6, REMOTE6, REMOTE6_2))
        if way == IN:
            source, destination = destination, source
        source = r.choice(ODD) if r.random() < 0.03 else source
        destination = r.choice((*ODD, LAN6, WAN6)) if r.random() < 0.03 else destination
        made = self._upper(
            source, destination, way, Ip6(r.choice((64, 64, 2, 1, 0)), r.randrange(256), chain=self._chain())
        )
        return self._damaged(made) if r.random() < 0.25 else made

    def _upper(self, source: str, destination: str, way: int, head: Ip6) -> bytes:
        r = self.random
        kind, ends = r.random(), (r.choice(PORTS), r.choice(PORTS))
        data = r.randbytes(r.choice((0, 1, 8, 24, 100)))
        if kind < 0.35:
            seq, ack = (r.choice((1000, 999, 1001, r.getrandbits(32))) for _ in range(2))
            return p6.tcp6(source, ends[0], destination, ends[1], r.choice(FLAGS), seq, ack, data, head)
        if kind < 0.6:
            return p6.udp6(source, ends[0], destination, ends[1], data, head)
        if kind < 0.7:
            return p6.echo6(source, destination, r.choice((7, 8)), data, reply=r.random() < 0.5, head=head)
        if kind < 0.9:
            quoted = self._upper(destination, source, 1 - way, Ip6(63, chain=self._chain()))
            if r.random() < 0.1:
                quoted = quoted[: r.randrange(len(quoted))]
            return p6.icmp6(source, destination, r.randrange(6), r.randrange(4), r.randbytes(4), quoted, head)
        return p6.ip6(
            source, destination, r.choice((1, 47, 50, 51, 58, 59, 132, 135, 150, r.randrange(256))), data, head
        )

    def _chain(self) -> p6.Chain:
        r = self.random
        if r.random() < 0.6:
            return ()
        return tuple(self._header() for _ in range(r.choice((1, 1, 1, 2, 3, 8, 9, 12))))

    def _header(self) -> tuple[int, bytes]:
        r = self.random
        kind = r.choice((HOPOPTS, ROUTING, FRAGMENT, FRAGMENT, DSTOPTS, DSTOPTS))
        if kind == FRAGMENT:
            offset = r.choice((0, 0, 0, 8, 16, 1400, 65528)) | r.choice((0, 0, 1, 6))
            return kind, b"\0\0" + offset.to_bytes(2, "big") + bytes((0, 0, 0, r.randrange(4)))
        words = r.choice((0, 0, 1, 3, 40)) if kind != ROUTING else r.choice((0, 2))
        said = words if r.random() < 0.95 else r.randrange(256)
        rest = bytes((r.choice((0, 2, 2, 253)), r.choice((0, 0, 1)))) if kind == ROUTING else b"\1\4"
        return kind, bytes((0, said)) + rest + bytes(4 + words * 8)

    def _damaged(self, packet: bytes) -> bytes:
        r, raw = self.random, bytearray(packet)
        what = r.randrange(4)
        if what == 0:
            return (
                packet[: r.randrange(41, len(packet))] if len(packet) > 41 else packet
            )  # the kernel runs none shorter
        if what == 1:
            raw[4:6] = r.choice((0, 1, len(packet), r.randrange(65536))).to_bytes(2, "big")
        elif what == 2:
            return packet + r.randbytes(r.choice((1, 6, 46)))
        else:
            raw[r.randrange(len(raw))] ^= 1 << r.randrange(8)
        return bytes(raw)


def forwarded(packet: bytes, model: Filter) -> bool:
    """Whether the stack forwards to an inside host what the filter leaves to it: no link-local, impossible or group's
    source (ip6_rcv, ip6_forward)."""
    source = IPv6Address(packet[8:24])
    odd = source.is_unspecified or source.is_loopback or source.is_multicast or source.is_link_local
    return not (odd or source.ipv4_mapped) and model.meant(packet)


def by_scapy(packet: bytes) -> int | None:
    """The protocol behind all extension headers, as scapy reads it; None of a header that it leaves as bytes."""
    from scapy.layers import inet6

    layer = inet6.IPv6(packet)
    while hasattr(layer, "nh"):
        number, layer = layer.nh, layer.payload
        if number not in (HOPOPTS, ROUTING, FRAGMENT, DSTOPTS):
            return int(number)
    return None


def test_nothing_passes_that_may_not(rig: Rig, request: pytest.FixtureRequest) -> None:
    number = MANY if request.config.getoption("run_all") else FEW
    to = tuple(IPv6Address(INSIDE6).packed)
    rig.gateway.allow_in.put(abi.AdmissionKey(to=to, port=abi.be16(SERVICE), proto=TCP), abi.Admission(id=3))
    maker = Maker(SEED)
    model = Filter(
        IPv6Address(INSIDE6).packed[:8], (IPv6Address(LAN6).packed, ANYCAST), frozenset({(bytes(to), SERVICE)})
    )  # fmt: skip
    lan, wan = rig.devices[LAN], rig.devices[WAN]
    edges = (
        ("tc_lan", OUT, testrun.skb_context(ifindex=lan, ingress_ifindex=lan)),
        ("tc_wan_out", OUT, testrun.skb_context(ifindex=wan, ingress_ifindex=lan)),
        ("tc_wan_in", IN, testrun.skb_context(ifindex=wan, ingress_ifindex=wan)),
    )
    passed = Counter[str]()
    for _ in range(number):
        name, way, context = maker.random.choice(edges)
        packet = maker.packet(way)
        if name == "tc_wan_out" and model.meant(packet):  # no route to an inside host leads there
            continue
        frame = HEADS[way] + packet
        got = testrun.run(rig.gateway.fds[name], frame, context, room=len(frame) + 256)
        left = got.value == REDIRECT or (
            got.value == OK and (name == "tc_wan_out" or (way == IN and forwarded(packet, model)))
        )
        seen = left or got.value == OK  # the stack's: a session may have begun with it
        one = read(packet)
        lost = not seen and one is not None and one.offset == 0
        allowed = (seen or lost) and model.may(packet, way, lost=lost)
        if not left:
            assert got.value in (OK, 2), f"{name}: {got.value}: {frame.hex()}"
            continue
        passed[name] += 1
        assert allowed, f"{name} lets pass what it may not: {frame.hex()}"
        wanted = frame if got.value == OK else six.forwarded(frame)
        assert got.data == wanted, f"{name} changes more than the hop limit: {frame.hex()}"
        assert got.value == OK or packet[7] > 1, f"{name} forwards what has no hop left: {frame.hex()}"
        assert one is not None
        if not one.offset:
            assert by_scapy(packet) in (one.proto, None), frame.hex()
    print(f"{number} packets; passed: {dict(passed)}")
    assert min(passed[name] for name, *_ in edges) > number // 100, passed
