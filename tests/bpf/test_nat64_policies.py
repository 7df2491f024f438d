"""NAT64 and what [nat] says: filtering, ports, their parity and range, the MSS clamp, room that is spent."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers import inet, inet6
from scapy.packet import Raw

from algate.alg.gateway import records
from algate.bpf import abi, syscall
from algate.bpf.tables import U32
from tests import packets
from tests.bpf.rig import (
    INSIDE,
    INSIDE6,
    INSIDE6_2,
    LAN6,
    PUBLIC,
    PUBLIC_2,
    REDIRECT,
    REMOTE,
    REMOTE6,
    REMOTE_2,
    TCP,
    Rig,
)
from tests.bpf.six import frame, handle, tcp, udp
from tests.bpf.test_nat64_errors import error4, error6
from tests.bpf.turned import PREFIX, fed, four, opened, prefix_is, session, shown, six

pytestmark = pytest.mark.bpf


@pytest.mark.parametrize(
    ("flags", "lets_in"),
    [(0, {(REMOTE, 53)}), (abi.ConfigFlag.FILTER_ADF, {(REMOTE, 53), (REMOTE, 99)}),
     (abi.ConfigFlag.FILTER_EIF, {(REMOTE, 53), (REMOTE, 99), (REMOTE_2, 53)})],
)  # fmt: skip
def test_filtering(rig64: Rig, flags: int, lets_in: set[tuple[str, int]]) -> None:
    """64-3: of all three profiles, what comes to a mapping."""
    rig64.configure(flags=flags)
    assert rig64.lan(frame(udp(5000), destination=shown(REMOTE))).action == REDIRECT
    for ends in ((REMOTE, 53), (REMOTE, 99), (REMOTE_2, 53)):
        sent = fed(inet.UDP(sport=ends[1], dport=5000) / b"?", source=ends[0])
        got = rig64.wan_in(sent)
        assert (got.action == REDIRECT) == (ends in lets_in), ends


@pytest.mark.parametrize("port", [4000, 4001])
def test_range_and_parity(rig64: Rig, port: int) -> None:
    """64-5: the second host with that port gets another of its range and parity."""
    rig64.configure(flags=abi.ConfigFlag.PARITY, port_first=3000, port_last=4100)
    for source in (INSIDE6, INSIDE6_2, "2001:db8:1::99"):
        got = rig64.lan(frame(udp(port), source=source, destination=shown(REMOTE)))
        given = int.from_bytes(got.data[34:36], "big")
        assert given % 2 == port % 2 and 3000 <= given <= 4100


def test_one_public_address_a_host(rig64: Rig) -> None:
    """64-5: whatever it begins, and wherever to."""
    rig64.configure(public_count=2, public_ip=tuple(map(abi.ip_to_be32, (PUBLIC, PUBLIC_2))))
    seen: dict[str, set[bytes]] = {}
    for number in range(16):
        source = f"2001:db8:1::{number + 0x50:x}"
        for upper, remote in ((udp(5000), REMOTE), (udp(5001), REMOTE_2), (tcp("S", 5002), REMOTE)):
            got = rig64.lan(frame(upper, source=source, destination=shown(remote)))
            seen.setdefault(source, set()).add(got.data[26:30])
    assert all(len(one) == 1 for one in seen.values())
    assert len(set.union(*seen.values())) == 2


def test_no_room(rig64: Rig) -> None:
    """64-5: what the helper says of it as IPv4's 3/1 is address unreachable here, of the gateway's own address."""
    opened(rig64)
    number = handle(rig64, INSIDE6)
    assert number is not None
    quoted = inet.IP(src=PUBLIC, dst=REMOTE, ttl=9, flags="DF", id=0) / tcp("S", 40000, 80)
    told = fed(error4(3, 1, 0, quoted), source=REMOTE, destination=str(abi.be32_to_ip(number)), proto=1)
    got = rig64.tap(told, abi.InjectKind.RAW_IN)
    assert got.action == REDIRECT, got
    whole = bytes(inet6.IPv6(src=INSIDE6, dst=shown(REMOTE), hlim=9) / tcp("S", 40000, 80))
    assert got.data[14:] == error6(1, 3, 0, whole, LAN6, INSIDE6)


@pytest.mark.parametrize("kind", [abi.InjectKind.RAW_IN, abi.InjectKind.RAW_OUT])
def test_a_finished_frame_between_ipv6_hosts_is_no_business_of_nat64(rig64: Rig, kind: abi.InjectKind) -> None:
    """What the helper says in an end's name, a RST for one: unchanged to whom it is for, as without NAT64."""
    inward = kind == abi.InjectKind.RAW_IN
    source, destination = (REMOTE6, INSIDE6) if inward else (INSIDE6, REMOTE6)
    sent = frame(tcp("RA", 40000, 21, back=inward, ack=1000), source=source, destination=destination)
    got = rig64.tap(sent, kind)
    assert (got.action, got.drops, got.data[14:]) == (REDIRECT, {}, sent[14:])


def test_mss_clamp(rig64: Rig) -> None:
    """64-10: what NAT64's own value says, both ways."""
    prefix_is(rig64, PREFIX, mss_turned=1340)
    syn = inet.TCP(sport=40000, dport=80, flags="S", seq=9, options=[("MSS", 1440)])
    less = inet.TCP(sport=40000, dport=80, flags="S", seq=9, options=[("MSS", 1340)])
    got = rig64.lan(frame(syn, destination=shown(REMOTE)))
    assert got.data[14:] == four(got.data, less)
    back = {"sport": 80, "dport": 40000, "flags": "SA", "seq": 5, "ack": 10}
    got = rig64.wan_in(fed(inet.TCP(**back, options=[("MSS", 1460)])))
    assert got.data[14:] == six(inet.TCP(**back, options=[("MSS", 1340)]))


@pytest.mark.parametrize("kind", [131, 137], ids=["loose", "strict"])
@pytest.mark.parametrize(("pointer", "passes"), [(4, False), (8, True), (12, True)])
def test_a_source_route(rig64: Rig, kind: int, pointer: int, passes: bool) -> None:
    """64-8, RFC 7915 section 4.1: not at its end it is refused, and its sender told; all other options go."""
    opened(rig64)
    upper = tcp("PA", 40000, 80, back=True, load=b"abc", ack=1000)
    option: Any = bytes([1, kind, 7, pointer]) + bytes([198, 51, 100, 9])
    sent = fed(upper, options=[inet.IPOption(option)])
    got = rig64.wan_in(sent)
    if passes:
        assert got.data[14:] == six(upper)
        return
    assert (got.action, got.drops) == (REDIRECT, {"nat64-source-route": 1})
    body = error4(3, 5, 0, Raw(sent[14:]))
    assert got.data[14:] == bytes(inet.IP(src=PUBLIC, dst=REMOTE, ttl=64, tos=0xC0, id=0, proto=1) / body)


@pytest.mark.parametrize("state", ["opening", "established", "closing", "udp", "icmp"])
def test_timeouts(rig64: Rig, state: str) -> None:
    """64-4: a session of NAT64 lives as long as [timeouts] says of its state, as IPv4's do: nothing of it is apart."""
    kinds = abi.TimeoutKind
    kind = {"opening": kinds.TCP_OPENING, "established": kinds.TCP_ESTABLISHED, "closing": kinds.TCP_CLOSING,
            "udp": kinds.UDP, "icmp": kinds.ICMP}[state]  # fmt: skip
    first: dict[str, Any] = {"udp": udp(40000, 80), "icmp": inet6.ICMPv6EchoRequest(id=40000)}
    proto = {"udp": 17, "icmp": 1}.get(state, 6)
    if state in ("established", "closing"):
        opened(rig64)
    else:
        assert rig64.lan(frame(first.get(state, tcp("S", 40000, 80)), destination=shown(REMOTE))).action == REDIRECT
    if state == "closing":
        rig64.lan(frame(tcp("FA", 40000, 80), destination=shown(REMOTE)))
        rig64.wan_in(fed(tcp("FA", 40000, 80, back=True, ack=1001)))
        rig64.lan(frame(tcp("A", 40000, 80, seq=1001, ack=1001), destination=shown(REMOTE)))
    one = session(rig64, proto, 40000, 0 if proto == 1 else 80)
    assert one is not None
    late = {17: inet.UDP(sport=80, dport=40000) / b"!", 1: inet.ICMP(type=0, id=40000) / b"!"}
    answer = fed(late.get(proto, tcp("A" if state != "opening" else "SA", 40000, 80, back=True, ack=1000)))
    longer = dict.fromkeys(kinds, 10000.0)
    rig64.configure(timeouts=longer | {kind: 0})
    assert rig64.wan_in(answer).action != REDIRECT
    rig64.configure(timeouts=dict.fromkeys(kinds, 0.0) | {kind: 10_000.0})
    assert rig64.wan_in(answer).action == REDIRECT or state == "closing"


@pytest.mark.parametrize("proto", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("load", [0, 700, 1300])
def test_what_is_established_goes_at_once(rig64: Rig, proto: str, load: int) -> None:
    """Turned and translated by one program, and counted as IPv4's programs would: the second host has another port."""
    first = {"tcp": tcp("S", 40000, 80), "udp": udp(40000, 80), "icmp": inet6.ICMPv6EchoRequest(id=40000)}[proto]
    assert rig64.lan(frame(first, source=INSIDE6_2, destination=shown(REMOTE))).action == REDIRECT
    got = rig64.lan(frame(first, destination=shown(REMOTE)))
    at = 38 if proto == "icmp" else 34
    port = int.from_bytes(got.data[at : at + 2], "big")
    assert port != 40000
    if proto == "tcp":
        assert rig64.wan_in(fed(tcp("SA", port, 80, back=True))).action == REDIRECT
    key = 0 if proto == "icmp" else 80
    number = {"tcp": 6, "udp": 17, "icmp": 1}[proto]
    before = session(rig64, number, 40000, key)
    data = bytes(load)
    sent, want = {
        "tcp": (tcp("PA", 40000, 80, load=data), tcp("PA", port, 80, load=data)),
        "udp": (udp(40000, 80, load=data), udp(port, 80, load=data)),
        "icmp": (inet6.ICMPv6EchoRequest(id=40000, seq=7, data=data), inet.ICMP(type=8, id=port, seq=7) / data),
    }[proto]
    got = rig64.lan(frame(sent, destination=shown(REMOTE), hops=2, tc=0xB8))
    assert got.action == REDIRECT, got
    assert got.data[14:] == four(got.data, want, ttl=1, tos=0xB8)
    after, size = session(rig64, number, 40000, key), 20 + len(bytes(want))
    assert before is not None and after is not None
    assert after.packets[0] - before.packets[0] == 1 and after.bytes[0] - before.bytes[0] == size
    assert (got.counts["PACKETS_OUT"], got.counts["BYTES_OUT"], got.counts["TC_REDIRECTED"]) == (1, size, 1)


def test_what_may_pass_of_a_control_session_s_first_lines_has_a_row_of_its_own(rig64: Rig) -> None:
    """By NAT64 another one than that of an IPv4 session beside it (struct opening)."""
    lines, ftp = abi.AdjustFlag.BEGINS | abi.AdjustFlag.LINES, 1
    fd, places = rig64.gateway.map_fd("openings"), (ftp, ftp + abi.OPENING_MIXED)
    rig64.gateway.alg_ports.put(abi.ServiceKey(proto=TCP, port=abi.be16(21)), ftp)
    try:
        for number, place in enumerate(places):
            syscall.update(fd, U32.pack(place), records.pack_opening(lines, 7000 + number))
        assert rig64.lan(frame(tcp("S", 40000, 21), destination=shown(REMOTE))).action == REDIRECT
        assert rig64.lan(packets.tcp(packets.Flow(INSIDE, 40001, REMOTE, 21), b"", "S")).action == REDIRECT
    finally:
        for place in places:
            syscall.update(fd, U32.pack(place), records.pack_opening(0, 0))
    found = {key.inside_port: row.interest for key, row in rig64.gateway.adjusts.items()}
    assert found == {abi.be16(40000): 7001, abi.be16(40001): 7000}


def test_what_a_plug_in_watches_does_not_go_at_once(rig64: Rig) -> None:
    """A line of a control session waits for the helper, or passes by its word; never because its session is known."""
    rig64.gateway.alg_ports.put(abi.ServiceKey(proto=TCP, port=abi.be16(21)), 1)
    opened(rig64, 40000, 21)
    got = rig64.lan(frame(tcp("PA", 40000, 21, load=b"EPSV\r\n"), destination=shown(REMOTE)))
    assert got.action != REDIRECT and sum(got.drops.values()) == 1, got
