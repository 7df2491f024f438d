"""Handles are for all: who rotates addresses gets no more than his share of them, and stalls nobody (64-14, 6-A6)."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, IPv6Network

import pytest

from algate.alg.gateway.tally import tally
from algate.bpf import abi, testrun
from algate.bpf.requests import ControlProgram
from tests.bpf import turned
from tests.bpf.rig import INSIDE6, INSIDE6_2, LAN, REDIRECT, REMOTE, WAN, Rig
from tests.bpf.six import back, frame, tcp, udp
from tests.bpf.test_filter6 import pieces, refused
from tests.bpf.turned import PREFIX, opened, prefix_is, shown

pytestmark = pytest.mark.bpf
MANY = 100_000
SITE = IPv6Network("2001:db8:1::/48")
SOURCE = slice(22, 38)  # of an Ethernet frame
OTHER = bytes.fromhex("020000000099")  # another neighbour's MAC


@contextmanager
def routed(network: IPv6Network) -> Iterator[None]:
    """By the LAN, as to a router there."""
    words = ["ip", "-6", "route", "add", str(network), "dev", LAN]
    subprocess.run(words, check=True)
    try:
        yield
    finally:
        subprocess.run([*words[:3], "del", *words[4:]], check=True)


def rotate(rig: Rig, many: int, bits: int) -> int:
    """A first packet from each of so many addresses of one neighbour, which differ in the last `bits`. Returns how many
    were refused as more than his share."""
    sent = bytearray(frame(tcp("S", 4000), destination=shown(REMOTE)))
    return many_sources(rig, "tc_lan", LAN, sent, int(SITE.network_address), bits, many)


def many_sources(rig: Rig, program: str, device: str, sent: bytearray, base: int, bits: int, many: int) -> int:
    chance = random.Random(1)
    context = testrun.skb_context(ifindex=rig.devices[device], ingress_ifindex=rig.devices[device])
    row = next(row for row, (name, *_) in abi.reasons().items() if name == "share-addresses")
    before = rig.gateway.drops.sums()[row]
    for _ in range(many):
        sent[SOURCE] = (base | chance.getrandbits(bits)).to_bytes(16, "big")
        testrun.run(rig.gateway.fds[program], bytes(sent), context, room=len(sent) + 2048)
    return rig.gateway.drops.sums()[row] - before


def newcomers(rig: Rig, many: int) -> int:
    """How many hosts of another neighbour get through, each with its first packet."""
    got = 0
    for number in range(many):
        sent = frame(tcp("S", 7000), source=f"2001:db8:1::77:{number:x}", destination=shown(REMOTE))
        got += rig.lan(sent[:6] + OTHER + sent[12:]).action == REDIRECT
    return got


def counted(rig: Rig) -> dict[int, int]:
    return {row: count for row, count in rig.gateway.askers.items() if count}


def recounted(rig: Rig) -> dict[int, int]:
    """The same by what there is."""
    raw: dict[str, dict[bytes, bytes]] = {name: {} for name in ("sessions", "ports", "shares", "port_blocks")}
    rows = {bytes(abi.MappingKey(inside_ip=key))[:4]: bytes(value) for key, value in rig.gateway.addresses6.items()}
    made = tally(raw | {"addresses6": rows})["askers"]
    return {int.from_bytes(row, "little"): int.from_bytes(count, "little") for row, count in made.items()}


@pytest.fixture(autouse=True)
def _forgets(rig64: Rig) -> Iterator[None]:
    """Counts that other tests left are of handles that they cleared."""
    for row in counted(rig64):
        rig64.gateway.askers.put(row, 0)
    yield


@pytest.mark.parametrize(("bits", "part"), [(64, 3), (80, 2)], ids=["one-64", "many-64"])
def test_a_rotating_host(rig64: Rig, bits: int, part: int) -> None:
    """10^5 addresses of one neighbour: a third of all handles for one /64, half of them in all; others come and go."""
    rig64.configure(share_own=512, share_free=512)
    whole = rig64.gateway.max_sessions
    with routed(SITE):
        opened(rig64)
        assert rotate(rig64, MANY, bits) > MANY - whole
        used = rig64.gateway.pools[abi.POOL_HANDLES].used
        assert whole // part - 16 <= used <= whole // part + 16
        many = whole // 8
        assert newcomers(rig64, many) == many
        assert rig64.wan_in(turned.fed(tcp("A", 40000, 80, back=True, ack=1000))).action == REDIRECT
        assert counted(rig64) == recounted(rig64)


def test_behind_a_router_others_have_their_own_64(rig64: Rig) -> None:
    """Same MAC: who is in another /64 than the one that rotates gets through."""
    rig64.configure(share_own=512, share_free=512)
    with routed(SITE):
        rotate(rig64, 2 * rig64.gateway.max_sessions, 64)
        got = 0
        for number in range(100):
            sent = frame(tcp("S", 7000), source=f"2001:db8:1:9::{number:x}", destination=shown(REMOTE))
            got += rig64.lan(sent).action == REDIRECT
        assert got == 100


def test_places_of_a_network(rig64: Rig) -> None:
    """A /64 that is one host has 255 places: one neighbour can have half of them."""
    prefix_is(rig64, PREFIX, flags=abi.SixFlag.HOST_64)
    rig64.configure(share_own=512, share_free=512)
    rotate(rig64, 5000, 64)
    assert len(list(rig64.gateway.handles.items())) == 129  # with that of the /64
    assert newcomers(rig64, 100) == 100


def test_its_sender_is_told(rig64: Rig) -> None:
    """RFC 6146 section 3.5.1.1: address unreachable, counted by its reason."""
    prefix_is(rig64, PREFIX, flags=abi.SixFlag.HOST_64)
    rig64.configure(share_own=512, share_free=512)
    rotate(rig64, 1000, 64)
    got = rig64.lan(frame(tcp("S"), source="2001:db8:1::9999", destination=shown(REMOTE)))
    assert got.drops == {"share-addresses": 1}
    assert got.action != REDIRECT or got.data[54:56] == b"\1\3"


def test_a_full_network_gets_no_more_handles(rig64: Rig) -> None:
    """A host's limit is asked before its address becomes known."""
    prefix_is(rig64, PREFIX, flags=abi.SixFlag.HOST_64)
    rig64.configure(max_sessions_per_host=3)
    rotate(rig64, 200, 64)
    assert len(list(rig64.gateway.handles.items())) == 4
    assert len(list(rig64.gateway.sessions.items())) == 3


def test_a_full_host_makes_no_remote_known(rig: Rig) -> None:
    """The filter: nor do the addresses that it would speak to."""
    rig.configure(max_sessions_per_host=2)
    for number in range(10):
        rig.lan(frame(udp(5000), destination=f"2001:db8:9::{number:x}"))
    assert len(list(rig.gateway.handles.items())) == 3


def test_freed_handles_count_no_more(rig64: Rig) -> None:
    control = ControlProgram(rig64.gateway.fds["control"], rig64.gateway.fds["control6"])
    prefix_is(rig64, PREFIX, flags=abi.SixFlag.HOST_64)
    rotate(rig64, 50, 64)
    assert sum(counted(rig64).values()) == 2 * 51
    control.keys(abi.ControlOp.KILL, [bytes(key) for key, _ in rig64.gateway.sessions.items()])
    for number, _ in list(rig64.gateway.addresses6.items()):
        assert control.free(number.to_bytes(4, "little"), 0)
    assert not counted(rig64) and rig64.gateway.pools[abi.POOL_HANDLES].used == 0


def test_the_outside_has_its_share(rig: Rig) -> None:
    """Through allow_in: strangers of the one router take half, and inside hosts begin what they like."""
    rig.configure(share_own=512, share_free=512)
    key = abi.AdmissionKey(to=tuple(IPv6Address(INSIDE6).packed), port=abi.be16(53), proto=17)
    rig.gateway.allow_in.put(key, abi.Admission(id=1))
    sent, whole = bytearray(back(udp(53, 9, back=True))), rig.gateway.max_sessions
    assert many_sources(rig, "tc_wan_in", WAN, sent, int(IPv6Address("2001:db8:9::")), 64, whole) > whole // 2
    got = [rig.lan(frame(udp(5000), source=INSIDE6_2, destination=f"2001:db8:8::{number:x}")).action
           for number in range(64)]  # fmt: skip
    assert set(got) == {REDIRECT}


def test_a_tail_from_outside_comes_first(rig: Rig) -> None:
    """6-A6: for a host that [[allow_in]] names, whatever the port; for no other, and of few at a time."""
    some = pieces(udp(53, 9, back=True, load=b"a" * 300), 160, inside=True)
    rig.beat()
    refused(rig.wan_in(some[1]), "fragment-unknown")
    key = abi.AdmissionKey(to=tuple(IPv6Address(INSIDE6).packed), port=abi.be16(53), proto=17)
    rig.gateway.allow_in.put(key, abi.Admission(id=1))
    key.port = 0
    rig.gateway.allow_in.put(key, abi.Admission(flags=abi.AdmissionFlag.HOST))
    refused(rig.wan_in(some[1]), "fragment-early")
    [(punt, held)] = rig.taken()
    assert (punt.kind, held) == (abi.PuntKind.TAIL, some[1])
    assert rig.wan_in(some[0]).drops == {}
    got = rig.tap(held, abi.InjectKind.IN)
    assert (got.action, got.drops) == (REDIRECT, {})


def test_nobody_comes_in_by_port_0(rig: Rig) -> None:
    """The row that says that a host has services lets nobody use one."""
    key = abi.AdmissionKey(to=tuple(IPv6Address(INSIDE6).packed), proto=17)
    rig.gateway.allow_in.put(key, abi.Admission(flags=abi.AdmissionFlag.HOST))
    refused(rig.wan_in(back(udp(0, 9, back=True))), "unsolicited")
