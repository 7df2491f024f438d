"""NAT64 through the real programs by test-run: scapy makes each packet anew that must come out."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.layers.l2 import Ether

from algate.bpf import abi
from algate.bpf.requests import ControlProgram, owner, port_row
from tests.bpf import rig as bench
from tests.bpf.rig import INSIDE6, INSIDE6_2, PUBLIC, REDIRECT, REMOTE, SHOT, TCP, UDP, Rig
from tests.bpf.six import OUT, frame, handle, tcp
from tests.bpf.turned import PREFIX, PREFIXES, fed, four, opened, prefix_is, session, shown, six

pytestmark = pytest.mark.bpf
LOAD = bytes(range(250)) * 6


def upper6(proto: str, port: int, load: bytes, back: bool) -> Any:
    """What follows the IPv6 header, from inside or `back`."""
    if proto == "icmp":
        kind = inet6.ICMPv6EchoReply if back else inet6.ICMPv6EchoRequest
        return kind(id=port, seq=1, data=load)
    return upper4(proto, port, load, back)


def upper4(proto: str, port: int, load: bytes, back: bool) -> Any:
    """The same behind an IPv4 header."""
    if proto == "icmp":
        return inet.ICMP(type=0 if back else 8, id=port, seq=1) / load
    ends = {"sport": 80, "dport": port} if back else {"sport": port, "dport": 80}
    flags = "SA" if back else "S"
    return (inet.UDP(**ends) if proto == "udp" else inet.TCP(**ends, flags=flags, seq=9, ack=10)) / load


@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("size", [0, 1, 1300])
def test_there_and_back(rig64: Rig, proto: str, size: int) -> None:
    load = LOAD[:size]
    got = rig64.lan(frame(upper6(proto, 40000, load, False), destination=shown(REMOTE), tc=0xB8, fl=5))
    assert got.action == REDIRECT, got
    assert got.data[14:] == four(got.data, upper4(proto, 40000, load, False), tos=0xB8)
    got = rig64.wan_in(fed(upper4(proto, 40000, load, True), tos=0x28))
    assert got.action == REDIRECT, got
    assert got.data[14:] == six(upper6(proto, 40000, load, True), tc=0x28)


@pytest.mark.parametrize("prefix", PREFIXES[:-1], ids=lambda one: f"/{one.prefixlen}")
def test_every_prefix_length(rig64: Rig, prefix: Any) -> None:
    """64-1, RFC 6052 section 2.2."""
    prefix_is(rig64, prefix)
    got = rig64.lan(frame(tcp("S"), destination=shown(REMOTE, prefix)))
    assert got.data[14:] == four(got.data, tcp("S"))
    back = tcp("SA", back=True)
    assert rig64.wan_in(fed(back)).data[14:] == six(back, shown(REMOTE, prefix))


def test_two_hosts_with_one_port(rig64: Rig) -> None:
    """64-3: the second finds another port, and each gets its own answers."""
    assert rig64.lan(frame(tcp("S"), destination=shown(REMOTE))).action == REDIRECT
    got = rig64.lan(frame(tcp("S"), source=INSIDE6_2, destination=shown(REMOTE)))
    port = int.from_bytes(got.data[34:36], "big")
    assert port != 40000
    answer = rig64.wan_in(fed(tcp("SA", port, back=True)))
    assert answer.data[14:] == six(tcp("SA", back=True), destination=INSIDE6_2)


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        (shown("198.51.100.9"), shown(REMOTE), "nat64-loop"),
        ("2001:db8:5::1", shown(REMOTE), "spoofed-inside"),
        ("fe80::1", shown(REMOTE), "link-scope"),
    ],
)
def test_refused(rig64: Rig, source: str, destination: str, reason: str) -> None:
    """64-2."""
    got = rig64.lan(frame(tcp("S"), source=source, destination=destination))
    assert (got.action, got.drops) == (SHOT, {reason: 1})
    assert not list(rig64.gateway.sessions.items())


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0"])
def test_no_host_to_reach(rig64: Rig, address: str) -> None:
    """64-1; whoever asks for one is told so (RFC 7915 section 5.4), and needn't wait."""
    got = rig64.lan(frame(tcp("S"), destination=shown(address)))
    assert (got.action, got.drops, got.data[54:56]) == (REDIRECT, {"nat64-address": 1}, b"\1\1")
    assert not list(rig64.gateway.sessions.items())


@pytest.mark.parametrize("prefix", [PREFIX, PREFIXES[0]], ids=str)
@pytest.mark.parametrize("filtered", [False, True])
def test_nobody_outside_is_within_the_prefix(rig64: Rig, prefix: Any, filtered: bool) -> None:
    """64-2: what an inside host answered would begin a session of IPv4 under the gateway's address."""
    prefix_is(rig64, prefix, flags=abi.SixFlag.FILTER if filtered else 0)
    got = rig64.wan_in(frame(tcp("S", back=True), source=shown(REMOTE, prefix), destination=INSIDE6))
    assert (got.action, got.drops) == (SHOT, {"nat64-loop": 1})
    got = rig64.wan_in(frame(tcp("S", back=True), source="2001:db8:65::1", destination=INSIDE6))
    assert got.drops == ({"unsolicited": 1} if filtered else {})


@pytest.mark.parametrize(("address", "passes"), [("10.0.0.9", False), ("192.0.2.1", False), ("8.8.8.8", True)])
def test_the_well_known_prefix_is_for_global_addresses(rig64: Rig, address: str, passes: bool) -> None:
    """64-1, RFC 6052 section 3.1."""
    known = PREFIXES[-1]
    prefix_is(rig64, known)
    got = rig64.lan(frame(tcp("S"), destination=shown(address, known)))
    assert got.action == REDIRECT
    assert passes or (got.drops, got.data[54:56]) == ({"nat64-address": 1}, b"\1\1")


def test_a_private_client_of_a_forward(rig64: Rig) -> None:
    """64-1, RFC 6052 section 3.1: behind the well-known prefix nobody could show it; nothing begins."""
    serves(rig64, 25, 2525)
    sent = fed(inet.TCP(sport=7, dport=2525, flags="S", seq=9), source="192.168.7.7")
    assert rig64.wan_in(sent).action == REDIRECT
    prefix_is(rig64, PREFIXES[-1])
    for flags in (0, abi.ConfigFlag.FILTER_EIF):
        rig64.configure(flags=flags)
        got = rig64.wan_in(fed(inet.TCP(sport=8, dport=2525, flags="S", seq=9), source="192.168.7.7"))
        assert (got.action, got.drops) == (SHOT, {"nat64-address": 1})
    assert len(list(rig64.gateway.sessions.items())) == 1
    assert rig64.wan_in(fed(inet.TCP(sport=8, dport=2525, flags="S", seq=9), source="8.8.8.8")).action == REDIRECT


def test_a_private_peer_of_a_mapping(rig64: Rig) -> None:
    """The same where the filtering profile lets anybody in."""
    prefix_is(rig64, PREFIXES[-1])
    rig64.configure(flags=abi.ConfigFlag.FILTER_EIF)
    assert rig64.lan(frame(upper6("udp", 5000, b"?", False), destination=shown("8.8.8.8", PREFIXES[-1]))).action
    for source, action in (("10.9.9.9", SHOT), ("9.9.9.9", REDIRECT)):
        got = rig64.wan_in(fed(inet.UDP(sport=7, dport=5000) / b"hello", source=source))
        assert (got.action, got.drops) == (action, {"nat64-address": 1} if action == SHOT else {})


def test_exempt_means_nothing_to_it(rig64: Rig) -> None:
    """[nat] exempt: untranslated nobody could answer an IPv6 host."""
    rig64.configure(flags=abi.ConfigFlag.EXEMPT)
    rig64.gateway.exempt.put(abi.ExemptKey(prefix_len=24, address=abi.ip_to_be32("198.51.100.0")), 1)
    got = rig64.lan(frame(tcp("S"), destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, tcp("S"))


def test_nobody_on_the_wire_has_a_handles_address(rig64: Rig) -> None:
    """An IPv4 host that guesses a handle reaches none of its sessions."""
    opened(rig64)
    number = handle(rig64, INSIDE6)
    assert number is not None
    source = str(abi.be32_to_ip(number))
    forged = inet.IP(src=source, dst=REMOTE) / tcp("R", remote=80)
    got = rig64.lan(bytes(Ether(src=OUT[0], dst=OUT[1]) / forged))
    assert (got.action, got.drops) == (SHOT, {"spoofed-inside": 1})


def test_udp_without_a_checksum(rig64: Rig) -> None:
    """64-12: one is made of a whole datagram; IPv6 has none without."""
    assert rig64.lan(frame(upper6("udp", 40000, b"?", False), destination=shown(REMOTE))).action == REDIRECT
    bare = inet.UDP(sport=80, dport=40000, chksum=0) / LOAD[:77]
    got = rig64.wan_in(fed(bare))
    assert got.data[14:] == six(inet.UDP(sport=80, dport=40000) / LOAD[:77])
    got = rig64.lan(frame(inet.UDP(sport=40000, dport=80, chksum=0) / b"x", destination=shown(REMOTE)))
    assert (got.action, got.drops) == (SHOT, {"nat64-sum": 1})


def test_extension_headers_go(rig64: Rig) -> None:
    """64-8."""
    heads = inet6.IPv6ExtHdrHopByHop() / inet6.IPv6ExtHdrDestOpt(options=inet6.PadN(optdata=bytes(12)))
    got = rig64.lan(frame(heads / tcp("S"), destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, tcp("S"))


def test_options_of_ipv4_go(rig64: Rig) -> None:
    opened(rig64)
    upper = tcp("PA", 40000, 80, back=True, load=b"abc", ack=1000)
    got = rig64.wan_in(fed(upper, options=[inet.IPOption_Timestamp(length=12, pointer=9)]))
    assert got.data[14:] == six(upper)


def test_hairpin(rig64: Rig) -> None:
    """64-6: two IPv6 hosts through the prefix, the source shown as prefix and public address."""
    rig64.configure(flags=abi.ConfigFlag.HAIRPIN | abi.ConfigFlag.FILTER_EIF)
    assert rig64.lan(frame(upper6("udp", 5000, b"?", False), destination=shown(REMOTE))).action == REDIRECT
    ping = inet.UDP(sport=6000, dport=5000) / b"hello"
    got = rig64.lan(frame(ping, source=INSIDE6_2, destination=shown(PUBLIC)))
    assert got.action == REDIRECT, got
    assert got.data[14:] == six(ping, shown(PUBLIC), INSIDE6)


def serves(rig: Rig, port: int, public: int) -> tuple[ControlProgram, int, int]:
    """A forward to the inside host: who asks the programs, its row of `ports`, its owner's word."""
    control = ControlProgram(rig.gateway.fds["control"], rig.gateway.fds["control6"])
    raw = control.intern(IPv6Address(INSIDE6).packed)
    assert raw is not None
    value = abi.Forward(to_ip=int.from_bytes(raw, "little"), to_port=port, wan_first=public, wan_last=public,
                        proto=TCP, flags=abi.ForwardFlag.USED)  # fmt: skip
    rig.gateway.forwards.put(0, value)
    row, who = port_row(0, TCP, public), owner(IPv4Address(raw), port, abi.PortKind.FORWARD)
    assert control.serve(row, who, 0) and control.serve(row, who, 0)
    return control, row, who


def test_a_forward_lets_in_and_binds_outward(rig64: Rig) -> None:
    """64-7."""
    control, row, who = serves(rig64, 25, 2525)
    got = rig64.wan_in(fed(inet.TCP(sport=7, dport=2525, flags="S", seq=9)))
    assert got.data[14:] == six(inet.TCP(sport=7, dport=25, flags="S", seq=9))
    answer = inet.TCP(sport=25, dport=7, flags="SA", seq=1, ack=10)
    got = rig64.lan(frame(answer, destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, inet.TCP(sport=2525, dport=7, flags="SA", seq=1, ack=10))
    got = rig64.lan(frame(inet.TCP(sport=25, dport=99, flags="S"), destination=shown(bench.REMOTE_2)))
    assert got.data[14:] == four(got.data, inet.TCP(sport=2525, dport=99, flags="S"), destination=bench.REMOTE_2)
    assert len(list(rig64.gateway.mappings.items())) == 1
    control.keys(abi.ControlOp.KILL, [bytes(key) for key, _ in rig64.gateway.sessions.items()])
    assert control.release(row, who) and rig64.slot(TCP, 2525).owner == 0
    assert not list(rig64.gateway.mappings.items())
    assert rig64.slot(TCP, 25).away == 0


def test_sessions_end_as_ipv4s_do(rig64: Rig) -> None:
    """The control program of IPv4 has them: their port is free again, their host counts none."""
    opened(rig64)
    assert session(rig64) is not None and rig64.slot(TCP, 40000).owner
    control = ControlProgram(rig64.gateway.fds["control"], rig64.gateway.fds["control6"])
    assert control.keys(abi.ControlOp.KILL, [bytes(key) for key, _ in rig64.gateway.sessions.items()]) == 1
    assert not rig64.slot(TCP, 40000).owner
    number = handle(rig64, INSIDE6)
    assert number is not None
    host = rig64.gateway.hosts.get(abi.MappingKey(inside_ip=number))
    assert host is not None and (host.sessions, host.ports) == (0, 0)


@pytest.mark.parametrize("proto", [TCP, UDP])
def test_fragments_both_ways(rig64: Rig, proto: int) -> None:
    """64-9: the head is judged, the tails follow it; the id is kept inward, and has 16 bits outward."""
    opened(rig64, 40000, 80)
    rig64.lan(frame(inet.UDP(sport=40000, dport=80) / b"?", destination=shown(REMOTE)))
    whole = inet.UDP(sport=40000, dport=80) / LOAD if proto == UDP else tcp("PA", 40000, 80, load=LOAD)
    sent = inet6.IPv6(src=INSIDE6, dst=shown(REMOTE)) / whole
    body = bytes(sent)[40:]
    for at, more, part in ((0, 1, body[:800]), (100, 0, body[800:])):
        piece = inet6.IPv6ExtHdrFragment(nh=proto, offset=at, m=more, id=0x12345) / part
        got = rig64.lan(frame(piece, destination=shown(REMOTE)))
        assert got.action == REDIRECT, got
        made = bytes(inet.IP(src=PUBLIC, dst=REMOTE, proto=proto) / whole)[20:]
        head = inet.IP(src=PUBLIC, dst=REMOTE, proto=proto, ttl=63, id=0x2345, frag=at, flags=more)
        assert got.data[14:] == bytes(head / made[at * 8 :][: len(part)])
    back = inet.UDP(sport=80, dport=40000) / LOAD if proto == UDP else tcp("PA", 40000, 80, back=True, load=LOAD)
    body = bytes(inet.IP(src=REMOTE, dst=PUBLIC, proto=proto) / back)[20:]
    made = bytes(inet6.IPv6(src=shown(REMOTE), dst=INSIDE6) / back)[40:]
    for at, more, size in ((0, 1, 800), (100, 0, len(body) - 800)):
        got = rig64.wan_in(fed(body[at * 8 :][:size], proto=proto, id=77, frag=at, flags=more))
        assert got.action == REDIRECT, got
        piece = inet6.IPv6ExtHdrFragment(nh=proto, offset=at, m=more, id=77) / made[at * 8 :][:size]
        assert got.data[14:] == six(piece, nh=44)


@pytest.mark.parametrize("proto", [1, UDP], ids=["icmp", "udp"])
def test_nothing_follows_a_head_that_cannot_be_summed(rig64: Rig, proto: int) -> None:
    """64-12: neither UDP without a checksum nor ICMP, summed as a whole: their tails would be no use."""
    own = inet6.ICMPv6EchoRequest(id=40000) if proto == 1 else inet.UDP(sport=40000, dport=80) / b"?"
    assert rig64.lan(frame(own, destination=shown(REMOTE))).action == REDIRECT
    whole = inet.ICMP(type=0, id=40000) / LOAD if proto == 1 else inet.UDP(sport=80, dport=40000, chksum=0) / LOAD
    body = bytes(inet.IP(src=REMOTE, dst=PUBLIC, proto=proto) / whole)[20:]
    got = rig64.wan_in(fed(body[:800], proto=proto, id=77, flags="MF"))
    assert (got.action, got.drops) == (SHOT, {"nat64-sum": 1})
    assert rig64.wan_in(fed(body[800:], proto=proto, id=77, frag=100, flags=0)).action == SHOT


@pytest.mark.parametrize("flags", [0, abi.SixFlag.HOST_64], ids=["/128", "/64"])
def test_hosts_of_one_network(rig64: Rig, flags: int) -> None:
    """64-14: limits are an address's, or a /64's."""
    prefix_is(rig64, PREFIX, flags=flags)
    rig64.configure(max_sessions_per_host=2, flags=abi.ConfigFlag.HAIRPIN)
    sent = [(INSIDE6, 5000), (INSIDE6_2, 5001), (INSIDE6, 5002), (INSIDE6_2, 5003)]
    got = [rig64.lan(frame(tcp("S", port), source=source, destination=shown(REMOTE))).action for source, port in sent]
    assert got == [REDIRECT, REDIRECT, *([SHOT] * 2 if flags else [REDIRECT] * 2)]
    rows = {key.inside_ip: host.sessions for key, host in rig64.gateway.hosts.items() if host.sessions}
    assert sorted(rows.values()) == ([2] if flags else [2, 2])
    control = ControlProgram(rig64.gateway.fds["control"], rig64.gateway.fds["control6"])
    control.keys(abi.ControlOp.KILL, [bytes(key) for key, _ in rig64.gateway.sessions.items()])
    assert not any(host.sessions or host.ports for _, host in rig64.gateway.hosts.items())


def test_a_network_has_so_many_addresses(rig64: Rig) -> None:
    prefix_is(rig64, PREFIX, flags=abi.SixFlag.HOST_64)
    refused = 0
    for number in range(300):
        got = rig64.lan(frame(tcp("S"), source=f"2001:db8:1::1:{number:x}", destination=shown(REMOTE)))
        refused += got.drops.get("addresses-full", 0)
    assert refused >= 300 - 255
