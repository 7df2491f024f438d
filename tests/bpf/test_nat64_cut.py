"""NAT64 fragments what others may fragment. A test-run shows the last piece; the copies before it the wire alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Raw

from tests.bpf.rig import INSIDE6, PUBLIC, REDIRECT, REMOTE, ROUTER6, WAN, WAN6, Rig
from tests.bpf.six import frame
from tests.bpf.test_nat64 import upper4, upper6
from tests.bpf.test_small_links import mtu
from tests.bpf.turned import fed, four, shown, six
from tests.packets import WAN_MAC

pytestmark = pytest.mark.bpf
LOAD = bytes(range(250)) * 66


@contextmanager
def small_wan(size: int) -> Iterator[None]:
    """The kernel takes IPv6 from a link below 1280 bytes, and doesn't give it back."""
    with mtu(WAN, size):
        yield
    lost = [
        f"-6 addr add {WAN6}/64 dev {WAN} nodad", f"-6 route add ::/0 via {ROUTER6} dev {WAN}",
        f"-6 neigh replace {ROUTER6} lladdr {WAN_MAC} dev {WAN} nud permanent",
    ]  # fmt: skip
    for line in lost:
        subprocess.run(["ip", *line.split()], check=True)


@pytest.mark.parametrize("size", [1240, 1241, 1400, 1472, 2464, 2465, 3500])
def test_what_becomes_ipv6(rig64: Rig, size: int) -> None:
    """64-9: without DF no packet above 1280 bytes, in as many pieces as that takes."""
    assert rig64.lan(frame(upper6("udp", 40000, b"?", False), destination=shown(REMOTE))).action == REDIRECT
    upper = inet.UDP(sport=80, dport=40000) / LOAD[: size - 8]
    got = rig64.wan_in(fed(upper, flags=0, id=77))
    assert got.action == REDIRECT, got
    whole = six(upper)[40:]
    if 40 + size <= 1280:
        assert got.data[14:] == six(upper)
        return
    at = (size - 1) // 1232 * 1232
    piece = inet6.IPv6ExtHdrFragment(nh=17, offset=at // 8, m=0, id=77) / whole[at:]
    assert got.data[14:] == six(piece, nh=44)


@pytest.mark.parametrize(
    ("lowest", "size", "part"),
    [
        (1402, 1362, 0), (1402, 1363, 1352), (1402, 2704, 1352), (1500, 1460, 0), (1500, 1461, 1448),
        (9000, 1460, 0), (9000, 1461, 1448), (9000, 3500, 1448), (1280, 1241, 1232), (0, 1241, 1232),
    ],
)  # fmt: skip
def test_an_operator_knows_that_links_carry_more(rig64: Rig, lowest: int, size: int, part: int) -> None:
    """RFC 7915 section 4: the threshold can be raised; the next link's 1500 bytes still hold. `part`: of each piece."""
    value = rig64.gateway.configs6[0]
    value.lowest_mtu = lowest
    rig64.gateway.configs6.put(0, value)
    assert rig64.lan(frame(upper6("udp", 40000, b"?", False), destination=shown(REMOTE))).action == REDIRECT
    upper = inet.UDP(sport=80, dport=40000) / LOAD[: size - 8]
    got = rig64.wan_in(fed(upper, flags=0, id=77))
    assert got.action == REDIRECT, got
    whole = six(upper)
    if part:
        at = (size - 1) // part * part
        whole = six(inet6.IPv6ExtHdrFragment(nh=17, offset=at // 8, m=0, id=77) / whole[40 + at :], nh=44)
    assert got.data[14:] == whole


@pytest.mark.parametrize(("frag", "more"), [(0, 1), (185, 1), (185, 0)])
def test_a_large_fragment_that_becomes_ipv6(rig64: Rig, frag: int, more: int) -> None:
    """A fragment's pieces have its place, its id, and what follows it."""
    assert rig64.lan(frame(upper6("udp", 40000, b"?", False), destination=shown(REMOTE))).action == REDIRECT
    upper = inet.UDP(sport=80, dport=40000, len=9000, chksum=1) / LOAD[:2952]
    if frag:
        assert rig64.wan_in(fed(Raw(bytes(upper)[:1480]), proto=17, id=77, flags=1)).action == REDIRECT
    part = bytes(upper) if not frag else LOAD[:2960]
    got = rig64.wan_in(fed(Raw(part), proto=17, id=77, frag=frag, flags=more))
    assert got.action == REDIRECT, got
    piece = inet6.IPv6ExtHdrFragment(nh=17, offset=frag + 308, m=more, id=77) / part[2464:]
    assert got.data[14:] == six(piece, nh=44)


@pytest.mark.parametrize("link", [1259, 1200, 1000, 576, 68])
@pytest.mark.parametrize("proto", ["udp", "tcp", "icmp"])
def test_a_wan_that_carries_less_than_ipv6_must(rig64: Rig, link: int, proto: str) -> None:
    """64-10: 1280 bytes get through whatever the IPv4 link takes, for nobody may be told of less (RFC 7915 5.1)."""
    load = LOAD[: 1240 - (20 if proto == "tcp" else 8)]
    with small_wan(link):
        got = rig64.lan(frame(upper6(proto, 40000, load, False), destination=shown(REMOTE)))
    assert got.action == REDIRECT, got
    number = int.from_bytes(got.data[18:20], "big")
    whole = four(got.data, upper4(proto, 40000, load, False))[20:]
    most = (link - 20) // 8 * 8
    at = (len(whole) - 1) // most * most
    head = {"proto": whole and {"udp": 17, "tcp": 6, "icmp": 1}[proto], "id": number, "frag": at // 8, "flags": 0}
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=63, **head) / whole[at:])


def test_a_small_wan_and_what_is_larger(rig64: Rig) -> None:
    """What IPv6 lets its sender make smaller, its sender is told of."""
    with small_wan(1200):
        got = rig64.lan(frame(upper6("udp", 40000, LOAD[:1233], False), destination=shown(REMOTE)))
    assert (got.action, got.drops) == (REDIRECT, {"nat64-too-big": 1})
    assert got.data[54:56] == b"\2\0" and int.from_bytes(got.data[58:62], "big") == 1280


def test_fragments_on_a_small_wan(rig64: Rig) -> None:
    """Those of an IPv6 host that are too large are cut on; head and tails keep one id."""
    body = bytes(inet6.IPv6(src=INSIDE6, dst=shown(REMOTE)) / inet.UDP(sport=40000, dport=80) / LOAD[:2400])[40:]
    made = bytes(inet.IP(src=PUBLIC, dst=REMOTE) / inet.UDP(sport=40000, dport=80) / LOAD[:2400])[20:]
    with small_wan(1000):
        for at, more, end in ((0, 1, 1232), (1232, 0, len(body))):
            piece = inet6.IPv6ExtHdrFragment(nh=17, offset=at // 8, m=more, id=5) / body[at:end]
            got = rig64.lan(frame(piece, destination=shown(REMOTE)))
            assert got.action == REDIRECT, got
            last = at + 976
            head = inet.IP(src=PUBLIC, dst=REMOTE, ttl=63, proto=17, id=5, frag=last // 8, flags=more)
            assert got.data[14:] == bytes(head / made[last:end])
