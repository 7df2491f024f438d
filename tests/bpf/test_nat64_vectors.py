"""NAT64 by raw packets: bytes in, bytes out, written from RFC 7915 and RFC 791 by hand, for what no scapy object says.

The law of this file: each vector is whole, in hexadecimal, but for the link's header; no model stands between.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from tests.bpf.rig import INSIDE6, PUBLIC, REDIRECT, REMOTE, Rig
from tests.bpf.six import IN, OUT, tcp
from tests.bpf.turned import opened, shown

pytestmark = pytest.mark.bpf
HERE6, THERE6 = IPv6Address(INSIDE6).packed.hex(), IPv6Address(shown(REMOTE)).packed.hex()
HERE4, THERE4 = IPv4Address(PUBLIC).packed.hex(), IPv4Address(REMOTE).packed.hex()


def mac(ends: tuple[str, str], kind: str) -> bytes:
    return bytes.fromhex((ends[1] + ends[0]).replace(":", "") + kind)


def summed(text: str, at: int, *parts: str) -> bytes:
    """The bytes of `text` with the Internet checksum over `parts` (RFC 1071) put in at `at`."""
    data = bytearray.fromhex(text)
    over = bytes.fromhex("".join(parts))
    total = sum(int.from_bytes(over[place : place + 2].ljust(2, b"\0"), "big") for place in range(0, len(over), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[at : at + 2] = (0xFFFF - total).to_bytes(2, "big")
    return bytes(data)


def packet4(ident: str, flags: str, ttl: str, proto: str, source: str, to: str, body: bytes, tos: str = "00") -> bytes:
    head = f"45{tos}{20 + len(body):04x}{ident}{flags}{ttl}{proto}0000{source}{to}"
    return summed(head, 10, head) + body


def packet6(body: bytes, proto: str, hops: str, source: str, to: str, first: str = "60000000") -> bytes:
    return bytes.fromhex(f"{first}{len(body):04x}{proto}{hops}{source}{to}") + body


def udp(source: str, to: str, ports: str, data: str) -> bytes:
    size = f"{8 + len(data) // 2:04x}"
    text = f"{ports}{size}0000{data}"
    return summed(text, 6, source, to, f"0000{size}", "00000011", text)


OUT_6 = udp(HERE6, THERE6, "13880035", "616263")  # 5000 to 53, "abc"
OUT_4 = udp(HERE4, THERE4, "13880035", "616263")
BACK_4 = udp(THERE4, HERE4, "00351388", "616263")
BACK_6 = udp(THERE6, HERE6, "00351388", "616263")


def began(rig: Rig) -> None:
    sent = mac(OUT, "86dd") + packet6(OUT_6, "11", "40", HERE6, THERE6)
    assert rig.lan(sent).action == REDIRECT


@pytest.mark.parametrize("padding", [0, 15, 100])
def test_what_a_link_padded_comes_in_without_it(rig64: Rig, padding: int) -> None:
    """Ethernet fills a frame up to 60 bytes, a driver may to more: the lengths say what is the packet."""
    began(rig64)
    got = rig64.wan_in(mac(IN, "0800") + packet4("0007", "0000", "40", "11", THERE4, HERE4, BACK_4) + bytes(padding))
    want = packet6(BACK_6, "11", "3f", THERE6, HERE6)
    assert got.action == REDIRECT and got.data[14 : 14 + len(want)] == want
    assert not any(got.data[14 + len(want) :])


@pytest.mark.parametrize("padding", [0, 1, 100])
def test_what_a_link_padded_goes_out_without_it(rig64: Rig, padding: int) -> None:
    began(rig64)
    sent = mac(OUT, "86dd") + packet6(OUT_6, "11", "40", HERE6, THERE6, "6b812345") + bytes(padding)
    got = rig64.lan(sent)
    want = packet4(got.data[18:20].hex(), "0000", "3f", "11", HERE4, THERE4, OUT_4, "b8")
    assert got.action == REDIRECT and got.data[14 : 14 + len(want)] == want
    assert not any(got.data[14 + len(want) :])


def test_an_atomic_fragment_keeps_the_low_half_of_its_id(rig64: Rig) -> None:
    """RFC 7915 section 5.1.1: identification from the fragment header, DF clear."""
    began(rig64)
    body = bytes.fromhex("11000000 0badcafe") + OUT_6
    got = rig64.lan(mac(OUT, "86dd") + packet6(body, "2c", "40", HERE6, THERE6))
    assert got.action == REDIRECT
    assert got.data[14:] == packet4("cafe", "0000", "3f", "11", HERE4, THERE4, OUT_4)


@pytest.mark.parametrize("flags", ["8000", "4000", "c000"])
def test_the_reserved_flag_changes_nothing(rig64: Rig, flags: str) -> None:
    began(rig64)
    got = rig64.wan_in(mac(IN, "0800") + packet4("0007", flags, "40", "11", THERE4, HERE4, BACK_4))
    assert got.action == REDIRECT
    assert got.data[14:] == packet6(BACK_6, "11", "3f", THERE6, HERE6)


@pytest.mark.parametrize(
    ("told", "want"), [("ffffffff", "05c8"), ("00000514", "0500"), ("00000500", "04ec"), ("000003e8", "03d4")]
)
def test_too_big_from_inside(rig64: Rig, told: str, want: str) -> None:
    """RFC 7915 section 5.2: 20 less, and no more than the next links take."""
    opened(rig64)
    quoted = packet6(bytes(tcp("A", 40000, 80, back=True)), "06", "3f", THERE6, HERE6)
    text = f"02000000{told}{quoted.hex()}"
    length = f"{len(text) // 2:08x}"
    body = summed(text, 2, HERE6, THERE6, length, "0000003a", text)
    got = rig64.lan(mac(OUT, "86dd") + packet6(body, "3a", "40", HERE6, THERE6))
    assert got.action == REDIRECT, got
    assert (got.data[34:36].hex(), got.data[40:42].hex()) == ("0304", want)
