"""The stateful filter for IPv6: tests/compliance's rows 6-A1 to 6-A8, each packet by test-run."""

from __future__ import annotations

import sys
import time
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest

from algate.alg.helper.tails import fragment_key
from algate.bpf import abi
from tests.bpf import six
from tests.bpf.rig import ICMP, INSIDE6, INSIDE6_2, LAN6, OK, REDIRECT, REMOTE6, REMOTE6_2, SHOT, TCP, UDP, WAN6, Rig
from tests.bpf.six import back, forwarded, frame, tcp, udp

pytestmark = pytest.mark.bpf
ESP = 50


def refused(outcome: Any, reason: str) -> None:
    assert (outcome.action, outcome.drops) == (SHOT, {reason: 1})


def test_a_session_changes_nothing_but_the_hop_limit(rig: Rig) -> None:
    """6-A1."""
    for sent, received in ((tcp("S"), tcp("SA", back=True)), (udp(), udp(back=True, load=b"!"))):
        out, answer = frame(sent, tc=0xB8, fl=0x12345), back(received, fl=0x54321)
        for data, way in ((out, rig.lan), (answer, rig.wan_in)):
            got = way(data)
            assert (got.action, got.data, got.drops) == (REDIRECT, forwarded(data), {})
    assert six.session(rig) is not None
    assert six.session(rig, UDP, remote=53) is not None


def test_an_echo_is_a_session(rig: Rig) -> None:
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest

    assert rig.lan(frame(ICMPv6EchoRequest(id=77, data=b"x"))).action == REDIRECT
    assert rig.wan_in(back(ICMPv6EchoReply(id=77, data=b"x"))).action == REDIRECT
    refused(rig.wan_in(back(ICMPv6EchoReply(id=78, data=b"x"))), "no-session")
    refused(rig.wan_in(back(ICMPv6EchoRequest(id=77, data=b"x"), source=REMOTE6_2)), "unsolicited")
    found = six.session(rig, ICMP, 77, 0)
    assert found is not None
    assert found.state & 0xFF == abi.SessionState.ACTIVE


def test_what_nobody_asked_for_is_refused(rig: Rig) -> None:
    """6-A2: silently, and no address of it gets a handle."""
    refused(rig.wan_in(back(tcp("S", back=True))), "unsolicited")
    refused(rig.wan_in(back(udp(back=True))), "unsolicited")
    refused(rig.wan_in(back(tcp("A", back=True))), "no-session")
    assert list(rig.gateway.handles.items()) == []
    six.open_tcp(rig)
    refused(rig.wan_in(back(tcp("S", back=True), source=REMOTE6_2)), "unsolicited")


def admit(rig: Rig, port: int, sources: tuple[str, ...] = ()) -> None:
    to = tuple(IPv6Address(INSIDE6).packed)
    flags = abi.AdmissionFlag.SOURCES if sources else 0
    rig.gateway.allow_in.put(abi.AdmissionKey(to=to, port=abi.be16(port), proto=TCP), abi.Admission(id=3, flags=flags))
    for one in map(IPv6Network, sources):
        key = abi.AdmissionSourceKey(prefix_len=32 + one.prefixlen, id=3, address=tuple(one.network_address.packed))
        rig.gateway.allow_in_sources.put(key, 1)


def test_a_named_service_is_let_in(rig: Rig) -> None:
    admit(rig, 8443)
    first = back(tcp("S", 8443, 50000, back=True))
    got = rig.wan_in(first)
    assert (got.action, got.data) == (REDIRECT, forwarded(first))
    assert rig.lan(frame(tcp("SA", 8443, 50000))).action == REDIRECT
    refused(rig.wan_in(back(tcp("S", 8444, 50000, back=True))), "unsolicited")
    refused(rig.wan_in(back(udp(8443, 50000, back=True))), "unsolicited")
    [(_, value)] = rig.gateway.allow_in.items()
    assert value.hits == 1


def test_a_service_has_its_sources(rig: Rig) -> None:
    admit(rig, 8443, ("2001:db8:9::8/128",))
    refused(rig.wan_in(back(tcp("S", 8443, 50000, back=True))), "unsolicited")
    assert rig.wan_in(back(tcp("S", 8443, 50000, back=True), source=REMOTE6_2)).action == REDIRECT


@pytest.mark.parametrize(
    ("flag", "same", "another"),
    [(0, False, False), (abi.ConfigFlag.FILTER_ADF, True, False), (abi.ConfigFlag.FILTER_EIF, True, True)],
)
def test_filtering_is_as_configured(rig: Rig, flag: int, same: bool, another: bool) -> None:
    """6-A3."""
    rig.configure(flags=flag)
    assert rig.lan(frame(udp())).action == REDIRECT
    for source, admitted in ((REMOTE6, same), (REMOTE6_2, another)):
        got = rig.wan_in(back(udp(remote=9999, back=True), source=source))
        assert got.action == (REDIRECT if admitted else SHOT), got.drops


def test_allow_out_holds(rig: Rig) -> None:
    rig.configure(flags=abi.ConfigFlag.ALLOW_LIST)
    rig.gateway.allow_out.put(abi.ServiceKey(port=abi.be16(443), proto=TCP), 1)
    assert rig.lan(frame(tcp("S"))).action == REDIRECT
    refused(rig.lan(frame(tcp("S", remote=80))), "allow-out")


def test_what_is_refused_is_told_as_far_as_an_error_quotes_it(rig: Rig) -> None:
    """RFC 4443 section 2.4 (c): as much as fits in 1280 bytes."""
    rig.beat()
    rig.configure(flags=abi.ConfigFlag.ALLOW_LIST)
    for load in (10, 1300):
        time.sleep(0.05)  # a hundred a second are told
        sent = frame(udp(load=bytes(load)))
        refused(rig.lan(sent), "allow-out")
        (told,) = [frame for punt, frame in rig.taken() if punt.kind == abi.PuntKind.REFUSED]
        assert told == sent[: 14 + 1232]


def quoted(inner: bytes, kind: str = "ICMPv6DestUnreach", **fields: Any) -> Any:
    from scapy.layers import inet6

    return getattr(inet6, kind)(**fields) / inner[14:]


def test_errors_about_a_session_pass(rig: Rig) -> None:
    """6-A4: and change nothing of it."""
    six.open_tcp(rig)
    before = bytes(six.session(rig) or b"")
    sent = frame(tcp("A"), hops=63)
    error = back(quoted(sent, code=3), source="2001:db8:7::1")
    got = rig.wan_in(error)
    assert (got.action, got.data, got.drops) == (OK, error, {})
    assert bytes(six.session(rig) or b"") == before
    outward = frame(quoted(back(tcp("A", back=True))))
    assert rig.wan_out(outward).action == OK


@pytest.mark.parametrize("before", [False, True], ids=["-", "hops"])
@pytest.mark.parametrize("kind", ["ICMPv6TimeExceeded", "ICMPv6PacketTooBig"])
def test_errors_about_a_fragmented_packet_pass(rig: Rig, kind: str, before: bool) -> None:
    """6-A4: of a packet that a host can't put together, or a router can't forward, the first fragment is quoted."""
    from scapy.layers.inet6 import IPv6ExtHdrFragment, IPv6ExtHdrHopByHop

    assert rig.lan(frame(udp())).action == REDIRECT
    piece = IPv6ExtHdrFragment(nh=17, m=1, id=7) / bytes(udp(load=bytes(1224)))
    sent = frame(IPv6ExtHdrHopByHop() / piece if before else piece)
    got = rig.wan_in(back(quoted(sent[: 14 + 1232], kind), source="2001:db8:7::1"))
    assert (got.action, got.drops) == (OK, {})


def test_errors_about_nothing_are_refused(rig: Rig) -> None:
    six.open_tcp(rig)
    refused(rig.wan_in(back(quoted(frame(tcp("A", 40001))))), "no-session")
    refused(rig.wan_in(back(quoted(frame(tcp("A", seq=9_000_000))))), "icmp-window")
    refused(rig.wan_in(back(quoted(frame(tcp("A"), source=INSIDE6_2)))), "icmp-invalid")
    bad = bytearray(back(quoted(frame(tcp("A")))))
    bad[-1] ^= 1
    refused(rig.wan_in(bytes(bad)), "icmp-invalid")
    refused(rig.wan_out(frame(quoted(back(udp(back=True))))), "no-session")


def test_too_big_always_passes(rig: Rig) -> None:
    assert rig.wan_in(back(quoted(frame(tcp("A")), "ICMPv6PacketTooBig", mtu=1280))).action == OK


def test_the_stack_keeps_its_own(rig: Rig) -> None:
    """ND, RA, MLD, and whatever is for the gateway itself."""
    from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6ND_RA, IPv6ExtHdrHopByHop, RouterAlert

    for upper, source, destination in (
        (ICMPv6ND_NS(tgt=LAN6), "fe80::5", "ff02::1:ff00:1"),
        (ICMPv6ND_NS(tgt=LAN6), INSIDE6, LAN6),
        (IPv6ExtHdrHopByHop(options=[RouterAlert()]) / b"", "fe80::5", "ff02::16"),
        (ICMPv6EchoRequest(), INSIDE6, LAN6),
        (tcp("S"), INSIDE6, LAN6),
    ):
        got = rig.lan(frame(upper, source, destination, hops=255))
        assert (got.action, got.drops) == (OK, {}), upper.summary()
    assert rig.wan_in(back(ICMPv6ND_RA(), "fe80::9", "ff02::1")).action == OK
    assert rig.wan_in(back(tcp("S", back=True), destination=WAN6)).action == OK
    assert rig.local_out(frame(tcp("S"), source=WAN6)).action == OK


def test_extension_headers_are_walked(rig: Rig) -> None:
    """6-A5."""
    from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting

    for head in (IPv6ExtHdrDestOpt(), IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(id=1) / IPv6ExtHdrDestOpt()):
        got = rig.lan(frame(head / tcp("S")))
        assert (got.action, got.drops) == (REDIRECT, {})
        assert six.session(rig) is not None
    for head in (IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(type=2, segleft=1, addresses=[REMOTE6])):
        assert rig.lan(frame(head / tcp("S"))).action == OK  # by the stack, which reads it
        assert rig.wan_out(frame(head / tcp("S"))).action == OK
    refused(rig.wan_in(back(IPv6ExtHdrDestOpt() / tcp("S", 41000, back=True))), "unsolicited")


def test_what_cannot_be_read_goes_nowhere(rig: Rig) -> None:
    from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting

    many: Any = tcp("S")
    for _ in range(9):
        many = IPv6ExtHdrDestOpt() / many
    refused(rig.lan(frame(many)), "extension")
    refused(rig.lan(frame(IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / tcp("S"))), "extension")
    refused(rig.lan(frame(IPv6ExtHdrRouting(type=0, segleft=0) / tcp("S"))), "routing-header")
    refused(rig.lan(frame(IPv6ExtHdrRouting(type=3, segleft=1) / tcp("S"))), "routing-header")
    refused(rig.lan(frame(b"?" * 8, nh=200)), "extension")
    refused(rig.lan(frame(b"?" * 8, nh=59)), "extension")
    refused(rig.lan(frame(b"?" * 8, nh=1)), "protocol")
    refused(rig.lan(frame(IPv6ExtHdrDestOpt(len=9) / (b"?" * 8))), "malformed")
    refused(rig.wan_in(back(b"?" * 8, nh=200)), "extension")


def pieces(upper: Any, size: int, *, inside: bool = False, ident: int = 7) -> list[bytes]:
    """A datagram cut at multiples of 8 bytes."""
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

    whole = frame(upper) if not inside else back(upper)
    body, nh = bytes(IPv6(whole[14:]).payload), whole[20]
    made = []
    for at in range(0, len(body), size):
        head = IPv6ExtHdrFragment(nh=nh, offset=at // 8, m=int(at + size < len(body)), id=ident)
        made.append(frame(head / body[at : at + size]) if not inside else back(head / body[at : at + size]))
    return made


def test_fragments_follow_their_head(rig: Rig) -> None:
    """6-A6: by the stack, each once."""
    some = pieces(udp(load=b"a" * 300), 96)
    assert [rig.lan(one).action for one in some] == [OK] * len(some)
    assert [rig.wan_out(one).action for one in some] == [OK] * len(some)
    for one in some:
        refused(rig.wan_out(one), "fragment-repeated")
    answers = pieces(udp(back=True, load=b"b" * 300), 96, inside=True)
    order = [answers[0], answers[3], answers[1], answers[2]]
    assert [rig.wan_in(one).action for one in order] == [OK] * 4


def test_overlaps_are_dropped(rig: Rig) -> None:
    from scapy.layers.inet6 import IPv6ExtHdrFragment

    some = pieces(udp(load=b"a" * 1200), 600)
    assert rig.wan_out(some[0]).action == OK
    for offset, size in ((0, 8), (10, 16), (74, 16), (70, 80)):
        head = IPv6ExtHdrFragment(nh=17, offset=offset, m=1, id=7)
        refused(rig.wan_out(frame(head / (b"z" * size))), "fragment-repeated")
    assert rig.wan_out(some[1]).action == OK


def test_an_atomic_fragment_is_whole(rig: Rig) -> None:
    """RFC 6946: also with the id of a datagram that waits."""
    from scapy.layers.inet6 import IPv6ExtHdrFragment

    some = pieces(udp(load=b"a" * 300), 160)
    assert rig.wan_out(some[0]).action == OK
    assert rig.lan(frame(IPv6ExtHdrFragment(nh=17, id=7) / udp())).action == REDIRECT
    assert rig.wan_out(some[1]).action == OK


def test_a_tail_without_head_waits(rig: Rig) -> None:
    some = pieces(udp(back=True, load=b"a" * 300), 160, inside=True)
    refused(rig.wan_in(some[1]), "fragment-unknown")
    refused(rig.wan_in(some[0]), "unsolicited")
    rig.beat()
    assert rig.lan(frame(udp())).action == REDIRECT
    refused(rig.wan_in(some[1]), "fragment-early")
    [(punt, held)] = rig.taken()
    assert (punt.kind, held) == (abi.PuntKind.TAIL, some[1])
    ends = b"".join(number.to_bytes(4, sys.byteorder) for number in (punt.key.inside_ip, punt.key.remote_ip))
    key = fragment_key(held, punt.ip_offset, punt.dir, ends)
    assert key is not None
    assert rig.wan_in(some[0]).action == OK
    assert [bytes(one) for one, _ in rig.gateway.pieces.items()] == [key]
    frame_back = rig.tap(held, abi.InjectKind.IN)
    assert (frame_back.action, frame_back.drops) == (REDIRECT, {})


def test_a_session_may_begin_with_its_tail(rig: Rig) -> None:
    """From inside its ends get handles for that."""
    rig.beat()
    for ident in range(8):
        refused(rig.wan_out(pieces(udp(load=b"a" * 300), 160, ident=ident)[1]), "fragment-early")
    assert six.handle(rig, INSIDE6) is not None and six.session(rig, UDP, remote=53) is None
    assert rig.wan_out(pieces(udp(load=b"a" * 300), 160, ident=0)[0]).action == OK
    assert len(rig.taken()) == 8


def test_tiny_heads_are_dropped(rig: Rig) -> None:
    from scapy.layers.inet6 import IPv6ExtHdrFragment

    refused(rig.wan_out(frame(IPv6ExtHdrFragment(nh=6, m=1) / bytes(tcp("S"))[:16])), "fragment-tiny")


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [(abi.SixFlag.IPSEC_ANY, True, True), (abi.SixFlag.IPSEC_SPOKEN, False, True), (0, False, False)],
)
def test_ipsec(rig: Rig, flags: int, before: bool, after: bool) -> None:
    """6-A7."""
    rig.gateway.configs6.put(0, abi.Config6(flags=abi.SixFlag.FILTER | flags))
    esp, ike = back(b"\0\0\0\5" + bytes(20), nh=ESP), back(udp(500, 500, back=True))
    assert [rig.wan_in(one).action for one in (esp, ike)] == ([REDIRECT] * 2 if before else [SHOT] * 2)
    assert rig.lan(frame(udp(4500, 4500))).action == REDIRECT
    assert [rig.wan_in(one).action for one in (esp, ike)] == ([REDIRECT] * 2 if after else [SHOT] * 2)


def test_other_protocols_have_sessions_of_three(rig: Rig) -> None:
    refused(rig.wan_in(back(b"?" * 20, nh=47)), "unsolicited")
    got = rig.lan(frame(b"?" * 20, nh=47))
    assert (got.action, got.counts["OTHER_PROTOCOLS"]) == (REDIRECT, 1)
    assert rig.wan_in(back(b"?" * 20, nh=47)).action == REDIRECT


def test_spoofed_sources(rig: Rig) -> None:
    """6-A8."""
    refused(rig.lan(frame(tcp("S"), source=REMOTE6_2)), "spoofed-inside")
    for source in ("fe80::5", "::ffff:1.2.3.4", "ff02::1"):
        assert rig.lan(frame(tcp("S"), source=source)).action != REDIRECT
        refused(rig.wan_out(frame(tcp("S"), source=source)), "link-scope")
    admit(rig, 8443)
    refused(rig.wan_in(back(tcp("S", 8443, back=True), source=INSIDE6_2)), "spoofed-outside")
    assert rig.wan_in(back(tcp("S", 8443, back=True), source="fe80::5")).action != REDIRECT  # nor would the stack


def test_switched_off_it_leaves_everything_alone(rig: Rig) -> None:
    rig.gateway.configs6.put(0, abi.Config6())
    assert rig.wan_in(back(tcp("S", back=True))).action == OK
    assert rig.lan(frame(tcp("S"))).action == OK


def test_limits_hold_by_host_or_network(rig: Rig) -> None:
    for flags, second in ((0, REDIRECT), (abi.SixFlag.HOST_64, SHOT)):
        rig.reset()
        rig.gateway.configs6.put(0, abi.Config6(flags=abi.SixFlag.FILTER | flags))
        rig.configure(max_sessions_per_host=1)
        assert rig.lan(frame(tcp("S"))).action == REDIRECT
        refused(rig.lan(frame(tcp("S", 40001))), "host-sessions")
        assert rig.lan(frame(tcp("S"), source=INSIDE6_2)).action == second


def test_a_control_segment_is_punted(rig: Rig) -> None:
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=TCP), 1)
    rig.beat()
    six.open_tcp(rig, remote=21)
    rig.taken()
    line = frame(tcp("PA", remote=21, load=b"EPSV\r\n"))
    refused(rig.lan(line), "punt-held")
    [(punt, data)] = rig.taken()
    assert (punt.kind, data, punt.payload_size) == (abi.PuntKind.SEGMENT, line, 6)


def test_what_is_too_large_for_a_link_is_judged_as_well(rig: Rig) -> None:
    """The kernel's FIB has no way for it; whose it is, and for whom, it still is."""
    large = udp(back=True, load=b"?" * 3000)
    refused(rig.wan_in(back(large)), "unsolicited")
    refused(rig.wan_in(back(large, source=INSIDE6_2)), "spoofed-outside")
    refused(rig.run("tc_wan_out", frame(udp(load=b"?" * 3000)), ifindex=rig.devices["wan0"], ingress_ifindex=1),
            "private-source")  # fmt: skip
