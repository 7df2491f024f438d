"""Devices of bare IP packets: the IP header is the frame's first byte.

A test-run takes the EtherType from bytes 12 and 13, which in a bare packet are its source's first two: so the hosts
that send here are in 8.0/16, 0x0800 being IPv4. It refuses packets of less than 34 bytes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from algate.bpf import abi
from tests import packets
from tests.bpf.flows import FLOW, frame_of, open_session, translated
from tests.bpf.rig import LAN, OK, PROTOS, PUBLIC, REDIRECT, SHOT, Rig
from tests.packets import ETHERNET, Flow

BARE = (0, 0, 0, 0, 0, 0, 1, 0)
HOST = FLOW.to(source="8.0.0.2")
LINK = bytes(ETHERNET)


@pytest.fixture
def bare(rig: Rig) -> Iterator[Rig]:
    """The bench with a bare WAN, and a route inside to the host of this file."""
    rig.configure(wan_mac=BARE)
    subprocess.run(["ip", "route", "replace", "8.0.0.0/24", "dev", LAN], check=True)
    yield rig
    subprocess.run(["ip", "route", "del", "8.0.0.0/24", "dev", LAN], check=True)


def same_packet(actual: bytes, expected: bytes) -> None:
    """A bare packet against an expected frame."""
    packets.same(LINK + actual, LINK + expected[ETHERNET:])


@pytest.mark.parametrize("proto", PROTOS)
@pytest.mark.parametrize("load", [b"odd" * 7, b"even" * 6, bytes(1200)], ids=len)
def test_out_by_a_bare_device(bare: Rig, proto: str, load: bytes) -> None:
    """WAN egress of what the stack forwarded: a new session, and its translation."""
    first = frame_of(proto, HOST, load if proto != "tcp" else b"", "S")
    out = bare.wan_out(first[ETHERNET:])
    assert out.action == OK and out.drops == {}
    same_packet(out.data, translated(first, proto, ttl=64, source=(PUBLIC, 40000)))
    session = bare.session(HOST, PROTOS[proto])
    assert session is not None
    more = frame_of(proto, HOST, load, "PA")
    same_packet(bare.wan_out(more[ETHERNET:]).data, translated(more, proto, ttl=64, source=(PUBLIC, 40000)))


def test_fragments_out_by_a_bare_device(bare: Rig) -> None:
    """The tails' addresses change as the head's did."""
    parts = packets.fragments(frame_of("udp", HOST, bytes(3000)), 1200)
    for part in parts:
        out = bare.wan_out(part[ETHERNET:])
        assert out.action == OK and out.drops == {}
        assert out.data[12:16] == bytes(map(int, PUBLIC.split(".")))
        assert int.from_bytes(out.data[:20], "big") % 0xFFFF == 0


def test_an_error_out_by_a_bare_device(bare: Rig) -> None:
    """About a packet that came in: the quote gets the public end point again."""
    first = frame_of("udp", HOST, b"question")
    bare.wan_out(first[ETHERNET:])
    came = frame_of("udp", HOST.back, b"answer")
    error = packets.icmp_error(Flow("8.0.0.2", 0, HOST.destination, 0), came, 3, 3, size=16)
    out = bare.wan_out(error[ETHERNET:])
    assert out.action == OK and out.drops == {}
    public = HOST.to(source=PUBLIC)
    expected = packets.icmp_error(
        Flow(PUBLIC, 0, HOST.destination, 0), frame_of("udp", public.back, b"answer"), 3, 3, size=16
    )
    same_packet(out.data, expected)


def test_a_refusal_shows_the_whole_packet(bare: Rig) -> None:
    """A bare packet that is cut short is malformed, as a frame would be."""
    frame = frame_of("tcp", HOST, b"", "S")
    for size in range(34, 40):
        assert bare.wan_out(frame[ETHERNET:][:size]).drops == {"malformed": 1}, size
    assert bare.wan_out(frame[ETHERNET:]).action == OK


@pytest.mark.parametrize("proto", PROTOS)
def test_from_ethernet_to_a_bare_device(rig: Rig, proto: str) -> None:
    """The shortcut redirects by device, without a neighbour; XDP leaves it to TC."""
    open_session(rig, proto)
    rig.configure(wan_mac=BARE)
    frame = frame_of(proto, FLOW, b"payload", "PA")
    untouched = rig.xdp("xdp_lan", frame)
    assert untouched.action == 2 and untouched.data == frame
    out = rig.lan(frame)
    assert out.action == REDIRECT and out.counts["TC_REDIRECTED"] == 1
    packets.same(out.data, translated(frame, proto, ttl=63, source=(PUBLIC, 40000)))


def test_from_a_bare_device_to_ethernet(rig: Rig) -> None:
    """A header is put before the packet: a neighbour's device needs one."""
    rig.configure(lan_mac=BARE, flags=abi.ConfigFlag.HAIRPIN)
    frame = frame_of("udp", FLOW, b"payload")
    out = rig.lan(frame)
    assert out.action in (OK, SHOT), "an Ethernet frame on a bare device is no IP packet"
    assert out.drops == {"malformed": 1}
