"""Hostile frames: refused with exactly one reason or left alone unchanged, whatever is cut or changed."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algate.bpf import abi
from tests import packets
from tests.bpf.flows import FLOW, answer, open_session
from tests.bpf.rig import INSIDE, OK, PUBLIC, REDIRECT, SHOT, Outcome, Rig
from tests.packets import Flow

OUT = {
    "tcp": packets.tcp(FLOW, b"payload", "PA", options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]),
    "udp": packets.udp(FLOW, b"payload"),
    "icmp": packets.echo(FLOW, b"payload"),
}
IN = {
    "tcp": packets.tcp(
        answer(FLOW, 40000), b"payload", "PA", options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    ),
    "udp": packets.udp(answer(FLOW, 40000), b"payload"),
    "error": packets.icmp_error(answer(FLOW, 40000), packets.tcp(FLOW, b"x"), size=None),
}
SMALLEST = 14 + 20  # a shorter frame can't be given to a test-run of an IP packet


def judge(out: Outcome, frame: bytes) -> None:
    assert out.action in (OK, SHOT, REDIRECT)
    assert sum(out.drops.values()) == (1 if out.action == SHOT else 0), out
    if out.action == OK and not out.counts:
        packets.same(out.data, frame)


@pytest.mark.parametrize("proto", OUT)
def test_cut_at_every_length_out(rig: Rig, proto: str) -> None:
    """The IP header promises more than came: malformed."""
    open_session(rig, proto)
    frame = OUT[proto]
    for size in range(SMALLEST, len(frame)):
        for out in (rig.lan(frame[:size]), rig.wan_out(frame[:size])):
            assert out.action == SHOT and out.drops == {"malformed": 1}, size


@pytest.mark.parametrize("proto", IN)
def test_cut_at_every_length_in(rig: Rig, proto: str) -> None:
    open_session(rig, "tcp" if proto == "error" else proto)
    frame = IN[proto]
    for size in range(SMALLEST, len(frame)):
        out = rig.wan_in(frame[:size])
        assert out.action == SHOT and out.drops == {"malformed": 1}, size


@pytest.mark.parametrize("proto", OUT)
def test_cut_transport_header_with_an_honest_length(rig: Rig, proto: str) -> None:
    open_session(rig, proto)
    smallest = {"tcp": 32, "udp": 8, "icmp": 8}[proto]
    for size in range(smallest):
        frame = packets.changed(OUT[proto][: SMALLEST + size] + bytes(40), IP_len=20 + size)
        out = rig.lan(frame)
        assert out.action == SHOT and out.drops == {"malformed": 1}, size


def test_header_lengths_that_cannot_be_true(rig: Rig) -> None:
    open_session(rig, "tcp")
    for ihl in range(5):
        frame = bytearray(OUT["tcp"])
        frame[14] = 0x40 | ihl
        assert rig.lan(bytes(frame)).drops == {"malformed": 1}
    for words in (*range(5), 15):
        frame = bytearray(OUT["tcp"])
        frame[46] = words << 4
        assert rig.lan(bytes(frame)).drops == {"malformed": 1}, words
    frame = bytearray(OUT["tcp"])
    frame[14] = 0x65
    assert rig.lan(bytes(frame)).drops == {"malformed": 1}


def test_other_protocols_are_refused_at_the_edge(rig: Rig) -> None:
    """Untranslated, an inside address would leave by the WAN."""
    frame = packets.changed(packets.udp(FLOW, b"x" * 20), IP_proto=47)
    assert rig.lan(frame).action == OK
    out = rig.wan_out(frame)
    assert out.action == SHOT and out.drops == {"protocol": 1}


def test_not_ip_is_left_alone(rig: Rig) -> None:
    arp = bytes.fromhex("020000000101020000000102080600010800060400010200000001020a000002000000000000cb007101") + bytes(
        18
    )
    for out in (rig.lan(arp), rig.wan_in(arp), rig.wan_out(arp)):
        assert out.action == OK and out.drops == {} and out.data == arp


@pytest.mark.parametrize("name", ["lan", "wan_in", "wan_out", "local_out"])
def test_any_bytes_changed(rig: Rig, name: str) -> None:
    """Each byte of each frame set to hostile values: one reason, or none."""
    for proto in ("tcp", "udp", "icmp"):
        open_session(rig, proto)
    rig.gateway.alg_ports.put(abi.ServiceKey(port=abi.be16(21), proto=6), 1)
    frames = OUT if name != "wan_in" else IN
    for frame in frames.values():
        for at in range(12, min(len(frame), 70)):
            for value in (0, 0xFF, frame[at] ^ 0x40):
                planted = frame[:at] + bytes([value]) + frame[at + 1 :]
                judge(getattr(rig, name)(planted), planted)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_headers(rig: Rig, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32))
    chance = random.Random(seed)
    frame = bytearray(chance.choice([*OUT.values(), *IN.values()]))
    for _ in range(chance.randint(1, 6)):
        frame[chance.randrange(14, len(frame))] = chance.randrange(256)
    planted = bytes(frame[: chance.randint(SMALLEST, len(frame))])
    for run in (rig.lan, rig.wan_in, rig.wan_out, rig.local_out):
        judge(run(planted), planted)


def test_source_that_is_its_own_destination(rig: Rig) -> None:
    flow = Flow(FLOW.source, 40000, FLOW.source, 40000)
    out = rig.lan(packets.tcp(flow, b"", "S"))
    judge(out, packets.tcp(flow, b"", "S"))
    assert out.action != REDIRECT and len(rig.gateway.sessions) == 0


STRANGE = {  # what -> (where it comes from, the frame, its reason; "": untranslated to the stack, which handles it)
    "from 0.0.0.0": ("lan", packets.udp(FLOW.to(source="0.0.0.0"), b"x"), "spoofed-inside"),
    "from broadcast": ("lan", packets.udp(FLOW.to(source="255.255.255.255"), b"x"), "spoofed-inside"),
    "from loopback": ("lan", packets.udp(FLOW.to(source="127.0.0.1"), b"x"), "spoofed-inside"),
    "from multicast": ("lan", packets.udp(FLOW.to(source="224.0.0.1"), b"x"), "spoofed-inside"),
    "to 0.0.0.0": ("lan", packets.udp(FLOW.to(destination="0.0.0.0"), b"x"), "martian-destination"),
    "to loopback": ("lan", packets.udp(FLOW.to(destination="127.0.0.1"), b"x"), "martian-destination"),
    "to class E": ("lan", packets.udp(FLOW.to(destination="240.0.0.1"), b"x"), "martian-destination"),
    "to itself": (
        "lan",
        packets.udp(FLOW.to(destination=FLOW.source, destination_port=FLOW.source_port), b"x"),
        "loop",
    ),
    "TTL 0": ("lan", packets.udp(FLOW, b"x", ttl=0), ""),
    "TTL 1": ("lan", packets.udp(FLOW, b"x", ttl=1), ""),
    "late ACK": ("lan", packets.tcp(FLOW, b"x", "A"), "no-session"),
    "no flags": ("lan", packets.tcp(FLOW, b"", ""), "no-session"),
    "stray echo reply": ("lan", packets.echo(FLOW, b"x", reply=True), "no-session"),
    "outside: from 0.0.0.0": ("wan_in", packets.udp(answer(FLOW, 40000).to(source="0.0.0.0"), b"x"), "unsolicited"),
    "outside: from loopback": ("wan_in", packets.udp(answer(FLOW, 40000).to(source="127.0.0.1"), b"x"), "unsolicited"),
    "outside: from us": ("wan_in", packets.udp(answer(FLOW, 40000).to(source=PUBLIC), b"x"), "unsolicited"),
    "outside: unsolicited": ("wan_in", packets.udp(answer(FLOW, 40000), b"x"), "unsolicited"),
    "outside: to an inside host": ("wan_in", packets.udp(answer(FLOW, 1).to(destination=INSIDE), b"x"), "not-ours"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_each_refusal_has_its_reason(rig: Rig, name: str) -> None:
    """Without a session: dropped for one reason, and nothing is made; what isn't dropped is left as it came."""
    rig.configure()
    side, frame, reason = STRANGE[name]
    out = getattr(rig, side)(frame)
    assert (out.action, out.drops) == ((SHOT, {reason: 1}) if reason else (OK, {}))
    assert len(rig.gateway.sessions) == 0
    if not reason:
        packets.same(out.data, frame)


def test_all_ip_options(rig: Rig) -> None:
    """For any option number and length: translated with it, left to the stack, or dropped for one reason."""
    open_session(rig, "udp")
    plain = packets.udp(FLOW, b"payload")
    for kind in range(256):
        for length in (0, 1, 4, 8, 40):
            option = bytes([kind, length, *bytes(6)])
            frame = bytearray(plain[:34] + option + plain[34:])
            frame[14] = 0x47
            frame[16:18] = (len(frame) - 14).to_bytes(2, "big")
            sealed = packets.changed(bytes(frame)) if kind not in (0, 1) and length == 8 else bytes(frame)
            for run in (rig.lan, rig.wan_out):
                out = run(sealed)
                judge(out, sealed)
                if out.action == REDIRECT:
                    assert out.data[34:42] == option, (kind, length)
