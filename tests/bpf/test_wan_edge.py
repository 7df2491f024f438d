"""What may leave by the WAN as it is: a table of all that WAN egress and LAN ingress let pass, by source and kind.

An inside source never does, whoever sent the packet and by whichever device it came (invariant 15).
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from algate.bpf import abi
from algate.bpf.requests import owner
from tests import packets
from tests.bpf.flows import FLOW, answer, open_session, translated
from tests.bpf.rig import (
    GATEWAY,
    INSIDE,
    LAN,
    OK,
    PUBLIC,
    PUBLIC_2,
    REMOTE,
    SHOT,
    TCP,
    UDP,
    WAN,
    Outcome,
    Rig,
    ifindex,
)
from tests.packets import GATEWAY_WAN_MAC, WAN_MAC, Flow

CONTAINER, BRIDGE = "172.17.0.2", "br0"
ROUTED = "192.0.2.9"  # a public address behind the third device
SERVED = 8021  # the public port that is forwarded to the container
ON_THE_LINK = "203.0.113.77"  # another address of the WAN's network, not ours to translate with
GROUP = "239.1.2.3"


def other(flow: Flow, proto: int, load: bytes = b"x") -> bytes:
    """A protocol without ports."""
    return packets.udp(flow, load, proto=proto, flags=0)


KINDS: dict[str, Callable[[Flow], bytes]] = {
    "syn": lambda flow: packets.tcp(flow, flags="S"),
    "segment": lambda flow: packets.tcp(flow, b"x", "PA"),
    "reset": lambda flow: packets.tcp(flow, flags="R"),
    "udp": lambda flow: packets.udp(flow, b"x"),
    "ping": lambda flow: packets.echo(flow, b"x"),
    "pong": lambda flow: packets.echo(flow, b"x", reply=True),
    "head": lambda flow: packets.fragments(packets.udp(flow, bytes(3000), flags=0, id=7), 1480)[0],
    "tail": lambda flow: packets.fragments(packets.udp(flow, bytes(3000), flags=0, id=8), 1480)[1],
    "error": lambda flow: packets.icmp_error(flow, packets.udp(Flow(REMOTE, 9, flow.source, 9), b"x")),
    "junk error": lambda flow: packets.icmp_error(flow, bytes(64)),
    "gre": lambda flow: other(flow, 47),
    "gre tail": lambda flow: packets.fragments(other(flow, 47, bytes(3000)), 1480)[1],
    "group": lambda flow: packets.udp(flow.to(destination=GROUP), b"x"),
    "igmp": lambda flow: other(flow.to(destination=GROUP), 2),
    "broadcast": lambda flow: packets.udp(flow.to(destination="255.255.255.255"), b"x"),
}  # fmt: skip
XDP_PASS = 2
PRIVATE = [INSIDE, GATEWAY, CONTAINER, "192.168.7.7", "100.64.0.9", "169.254.3.4", "172.31.255.254", "127.0.0.9"]


@pytest.fixture
def third(rig: Rig) -> Iterator[int]:
    """A device that is neither LAN nor WAN, with a container and a routed network behind it."""
    commands = [
        f"link add {BRIDGE} type veth peer name brpeer", f"link set {BRIDGE} up", "link set brpeer up",
        f"addr add 172.17.0.1/24 dev {BRIDGE}", f"route add {ROUTED}/32 via {CONTAINER}",
        f"neigh add {CONTAINER} lladdr 02:00:00:00:17:02 dev {BRIDGE} nud permanent",
    ]  # fmt: skip
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
    try:
        index = ifindex(BRIDGE)
        rig.gateway.devices.put(index, 1)
        yield index
    finally:
        subprocess.run(["ip", "link", "del", BRIDGE], check=True)


def from_third(rig: Rig, frame: bytes, third: int) -> Outcome:
    return rig.run("tc_wan_out", frame, ifindex=rig.devices[WAN], ingress_ifindex=third)


def leaves(out: Outcome, source: str) -> bool:
    """Whether the packet goes on to the device under that very source."""
    return out.action == OK and packets.field(out.data, "IP_src") == source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("came_by", ["lan", "third", "gateway"])
def test_no_private_source_leaves(rig: Rig, third: int, came_by: str, kind: str) -> None:
    """The table: every kind of packet, from everywhere, with every private source, and each drop has its reason."""
    for source in PRIVATE:
        frame = KINDS[kind](Flow(source, 40000, REMOTE, 443))
        by = {"lan": rig.devices[LAN], "third": third, "gateway": 0}[came_by]
        out = from_third(rig, frame, by)
        assert not leaves(out, source), source
        assert out.action == OK or (out.action == SHOT and out.drops), source
        if came_by == "third":
            assert set(out.drops) <= {"private-source", "fragment-unknown", "fragment-early"}, source


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("gre tail",)])
@pytest.mark.parametrize("source", [PUBLIC, PUBLIC_2, ON_THE_LINK])
def test_the_gateway_s_own_goes_on(rig: Rig, source: str, kind: str) -> None:
    """From whichever address of the WAN; what begins from one that isn't in the pool is translated into one that is."""
    out = rig.local_out(KINDS[kind](Flow(source, 40000, REMOTE, 443)))
    assert out.action == OK and out.drops == {}
    assert packets.field(out.data, "IP_src") in (source, PUBLIC)


def test_what_has_no_address_yet_goes_on(rig: Rig) -> None:
    """DHCP."""
    frame = packets.udp(Flow("0.0.0.0", 68, "255.255.255.255", 67), b"x")
    assert leaves(rig.local_out(frame), "0.0.0.0")


def test_behind_another_nat_the_link_s_own_sources_are_fit(rig: Rig, third: int) -> None:
    """The WAN's network is private itself: its addresses are what the outside sees, and no others."""
    rig.gateway.wan_networks.put(abi.ExemptKey(prefix_len=24, address=abi.ip_to_be32("192.168.7.0")), 1)
    for kind in ("segment", "pong", "gre", "group", "error"):
        assert leaves(rig.local_out(KINDS[kind](Flow("192.168.7.7", 4, REMOTE, 44))), "192.168.7.7"), kind
        assert not leaves(rig.local_out(KINDS[kind](Flow("192.168.8.7", 4, REMOTE, 44))), "192.168.8.7"), kind
        assert not leaves(from_third(rig, KINDS[kind](Flow(CONTAINER, 4, REMOTE, 44)), third), CONTAINER), kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_routed_network_s_public_source_goes_on(rig: Rig, third: int, kind: str) -> None:
    frame = KINDS[kind](Flow(ROUTED, 40000, REMOTE, 443))
    out = from_third(rig, frame, third)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, frame)


def test_an_inside_host_s_public_source_does_not(rig: Rig, third: int) -> None:
    """A LAN with public addresses: its source from another device is a forgery, or a hole beside the gateway. Also of a
    packet that the LAN's device would be too small for."""
    subprocess.run(["ip", "route", "add", "192.0.2.64/26", "via", INSIDE], check=True)
    try:
        for size in (1, 3000):
            out = from_third(rig, packets.udp(Flow("192.0.2.65", 4, REMOTE, 44), b"x" * size), third)
            assert (out.action, out.drops) == (SHOT, {"private-source": 1}), size
    finally:
        subprocess.run(["ip", "route", "del", "192.0.2.64/26"], check=True)


def test_another_nat_s_port_is_claimed_and_yields(rig: Rig, third: int) -> None:
    """A container masqueraded by the host: its public port is the host's, but where a mapping has it already."""
    masqueraded = Flow(PUBLIC, 41000, REMOTE, 443)
    assert leaves(from_third(rig, packets.tcp(masqueraded, flags="S"), third), PUBLIC)
    assert rig.slot(TCP, 41000).owner >> 48 & 0xFF == abi.PortKind.LOCAL
    back = packets.tcp(Flow(REMOTE, 443, PUBLIC, 41000, WAN_MAC, GATEWAY_WAN_MAC), flags="SA")
    assert rig.wan_in(back).action == OK, "the stack knows whose it is"
    open_session(rig, "tcp")
    out = from_third(rig, packets.tcp(Flow(PUBLIC, 40000, REMOTE, 443), flags="S"), third)
    assert out.action == OK and packets.field(out.data, "IP_src") == PUBLIC
    assert packets.field(out.data, "TCP_sport") != 40000


def serve(rig: Rig, proto: int = TCP) -> Flow:
    """A forward to the container, and the client's flow to it."""
    made = abi.Forward(
        to_ip=abi.ip_to_be32(CONTAINER), to_port=80, wan_first=SERVED, wan_last=SERVED, proto=proto,
        flags=abi.ForwardFlag.USED,
    )  # fmt: skip
    rig.gateway.forwards.put(3, made)
    who = owner(IPv4Address(CONTAINER), 80, abi.PortKind.FORWARD)
    rig.put_slot(proto, SERVED, abi.PortSlot(owner=who, sessions=1, forward_id=3))
    return Flow(REMOTE, 5000, PUBLIC, SERVED, WAN_MAC, GATEWAY_WAN_MAC)


def test_a_forward_to_a_container_is_translated_both_ways(rig: Rig, third: int) -> None:
    """By the stack in both directions, never by the shortcut: the host's conntrack must see both or neither (R6)."""
    outside = serve(rig)
    for flags in ("S", "A", "PA"):
        frame = packets.tcp(outside, b"x" if "P" in flags else b"", flags)
        into = rig.wan_in(frame)
        assert into.action == OK and into.drops == {} and "TC_REDIRECTED" not in into.counts
        packets.same(into.data, translated(frame, "tcp", ttl=64, destination=(CONTAINER, 80)))
        reply = packets.tcp(
            Flow(CONTAINER, 80, REMOTE, 5000), b"y" if "P" in flags else b"", "SA" if flags == "S" else flags
        )
        out = from_third(rig, reply, third)
        assert out.action == OK and out.drops == {}
        packets.same(out.data, translated(reply, "tcp", ttl=64, source=(PUBLIC, SERVED)))


def test_xdp_leaves_a_forward_to_a_container_alone(rig: Rig, third: int) -> None:
    outside = serve(rig)
    rig.wan_in(packets.tcp(outside, flags="S"))
    from_third(rig, packets.tcp(Flow(CONTAINER, 80, REMOTE, 5000), flags="SA"), third)
    config = rig.configure()
    config.wan_mac[:6] = list(bytes.fromhex(GATEWAY_WAN_MAC.replace(":", "")))
    rig.gateway.configs.put(0, config)
    frame = packets.tcp(outside, b"z", "PA")
    out = rig.xdp("xdp_wan", frame)
    assert out.action == XDP_PASS
    packets.same(out.data, frame)
    open_session(rig, "tcp")
    inside = packets.tcp(answer(FLOW, 40000), b"z", "PA")
    assert rig.xdp("xdp_wan", inside).counts["XDP_REDIRECTED"] == 1, "unlike an inside host's"


def test_errors_about_a_forward_to_a_container(rig: Rig, third: int) -> None:
    outside = serve(rig)
    into = rig.wan_in(packets.tcp(outside, flags="S"))
    error = packets.icmp_error(Flow(CONTAINER, 0, REMOTE, 0), into.data)
    out = from_third(rig, error, third)
    assert out.action == OK and packets.field(out.data, "IP_src") == PUBLIC
    assert out.counts == {"ICMP_ERRORS": 1}


def test_fragments_of_a_forward_to_a_container(rig: Rig, third: int) -> None:
    assert rig.wan_in(packets.udp(serve(rig, UDP), b"?")).action == OK
    whole = packets.udp(Flow(CONTAINER, 80, REMOTE, 5000), bytes(3000), flags=0, id=9)
    wanted = packets.fragments(translated(whole, "udp", ttl=64, source=(PUBLIC, SERVED)), 1480)
    for number, frame in enumerate(packets.fragments(whole, 1480)):
        packets.same(from_third(rig, frame, third).data, wanted[number])


@contextlib.contextmanager
def new_way_out() -> Iterator[None]:
    """The default route leads over a device that the daemon hasn't seen."""
    with_link = "link add new0 type veth peer name newpeer\nlink set new0 up\nlink set newpeer up\n"
    routes = "addr add 198.18.0.1/24 dev new0\nroute add 198.51.100.0/24 via 198.18.0.2"
    subprocess.run(["ip", "-batch", "-"], input=with_link + routes, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "del", "new0"], check=True)


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("group", "igmp", "broadcast")])
@pytest.mark.parametrize("mtu", [1500, 68])
def test_nothing_goes_over_a_device_that_was_not_looked_at(rig: Rig, kind: str, mtu: int) -> None:
    """A WAN made anew has no programs yet. Neither options, TTL, size nor being a fragment is a way round."""
    open_session(rig, "tcp")
    open_session(rig, "udp")
    frame = KINDS[kind](FLOW.to(destination=REMOTE))
    with new_way_out():
        subprocess.run(["ip", "link", "set", "new0", "mtu", str(mtu)], check=True)
        time.sleep(0.2)  # a kept answer of the FIB still leads to the WAN
        for one in [frame, packets.changed(frame, IP_ttl=1)] if kind in ("syn", "segment", "udp", "ping") else [frame]:
            out = rig.lan(one)
            assert (out.action, out.drops) == (SHOT, {"device-unknown": 1})
        rig.gateway.devices.put(ifindex("new0"), 1)
        assert rig.lan(frame).action == OK, "a device like any other, once it was looked at"


def test_a_segment_of_no_session_is_told(rig: Rig) -> None:
    """Its sender gets RST, by the helper; a forger's victim doesn't."""
    rig.beat()
    for flow in (FLOW.to(source="198.18.3.3"), FLOW):
        out = rig.lan(packets.tcp(flow, b"NOOP\r\n", "PA"))
        assert out.action == SHOT
        told = [punt for punt, _ in rig.taken() if punt.kind == abi.PuntKind.REFUSED]
        assert len(told) == (flow is FLOW)
    for flags in ("R", "RA", "F", "SA"):
        rig.lan(packets.tcp(FLOW, b"", flags))
        assert rig.taken() == []
    assert rig.wan_in(packets.tcp(answer(FLOW, 40000), b"x", "PA")).action == SHOT


@pytest.mark.parametrize("flags", ["R", "RA", "A", "PA", "FA", "SA"])
def test_the_stack_does_not_answer_for_an_inside_host(rig: Rig, flags: str) -> None:
    """While the filter at WAN ingress is away, the stack sees packets of sessions that it doesn't know: its RST would
    end them. Towards anybody else, and from ports that are its own, it may say what it likes."""
    open_session(rig, "tcp")
    false = Flow(PUBLIC, FLOW.source_port, FLOW.destination, FLOW.destination_port)
    out = rig.local_out(packets.tcp(false, flags=flags))
    assert (out.action, out.drops) == (SHOT, {"not-its-own": 1})
    for fair in (false.to(destination_port=444), false.to(destination=ON_THE_LINK), false.to(source_port=41234)):
        frame = packets.tcp(fair, flags=flags)
        out = rig.local_out(frame)
        assert out.action == OK and out.drops == {}
        packets.same(out.data, frame)


def test_the_stack_does_not_refuse_an_inside_host_s_datagrams(rig: Rig) -> None:
    """Port unreachable, about a packet that WAN ingress didn't translate. If it did, the error is turned back."""
    open_session(rig, "udp")
    came = Flow(FLOW.destination, FLOW.destination_port, PUBLIC, FLOW.source_port)
    out = rig.local_out(packets.icmp_error(Flow(PUBLIC, 0, REMOTE, 0), packets.udp(came, b"x")))
    assert (out.action, out.drops) == (SHOT, {"not-its-own": 1})
    fair = packets.icmp_error(Flow(PUBLIC, 0, REMOTE, 0), packets.udp(came.to(destination_port=41234), b"x"))
    out = rig.local_out(fair)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, fair)
    inside = came.to(destination=INSIDE, destination_port=FLOW.source_port)
    out = rig.local_out(packets.icmp_error(Flow(PUBLIC, 0, REMOTE, 0), packets.udp(inside, b"x")))
    assert out.action == OK and out.counts["ICMP_ERRORS"] == 1


@pytest.mark.parametrize("kind", ["esp", "nat-t"])
def test_what_the_gateway_wraps_for_the_inside_is_its_own(rig: Rig, kind: str) -> None:
    """IPsec of the gateway itself: the stack wrapped a LAN's packet, which still has the LAN's device as its origin."""
    flow = Flow(PUBLIC, 4500, REMOTE, 4500)
    frame = other(flow, 50) if kind == "esp" else packets.udp(flow, b"x")
    out = rig.wan_out(frame)
    assert out.action == OK and out.drops == {}
    packets.same(out.data, frame)
