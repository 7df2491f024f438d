"""NAT64's fast path: established sessions whose addresses TC keeps, to the last byte; all else goes on unwritten."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers import inet6

from tests.bpf.rig import INSIDE6_2, REDIRECT, REMOTE, TCP, UDP, Rig
from tests.bpf.six import frame
from tests.bpf.test_kept import upper
from tests.bpf.test_xdp import XDP_REDIRECT, mac, passed_on
from tests.bpf.turned import fed, four, shown, six
from tests.packets import GATEWAY_LAN_MAC, GATEWAY_WAN_MAC, LAN_MAC, WAN_MAC

pytestmark = pytest.mark.bpf
LOAD = bytes(range(256)) * 6


@pytest.fixture
def fast64(rig64: Rig) -> Rig:
    config = rig64.configure()
    for name, text in {"lan_mac": GATEWAY_LAN_MAC, "wan_mac": GATEWAY_WAN_MAC}.items():
        getattr(config, name)[:6] = mac(text)
    rig64.gateway.configs.put(0, config)
    return rig64


def out(proto: int, flags: str = "A", load: bytes = b"", **ip: Any) -> bytes:
    return frame(upper(proto, flags, load=load), destination=shown(REMOTE), **ip)


def kept(rig: Rig, proto: int) -> int:
    """A session that both ends have spoken on, its addresses kept both ways. Returns its public port."""
    got = rig.lan(out(proto, "S"))
    port = int.from_bytes(got.data[34:36], "big")
    for flags in ("SA", "A"):
        assert rig.wan_in(fed(upper(proto, flags, port, True))).action == REDIRECT
        assert rig.lan(out(proto)).action == REDIRECT
    return port


@pytest.mark.parametrize("proto", [TCP, UDP])
@pytest.mark.parametrize("other", [False, True], ids=["own port", "another port"])
@pytest.mark.parametrize("size", [0, 1, 1300])
def test_out_and_in(fast64: Rig, proto: int, other: bool, size: int) -> None:
    if other:
        fast64.lan(frame(upper(proto, "S"), source=INSIDE6_2, destination=shown(REMOTE)))
    port = kept(fast64, proto)
    assert (port != 40000) == other
    got = fast64.xdp("xdp_lan", out(proto, load=LOAD[:size], tc=0xB8, fl=5))
    assert got.action == XDP_REDIRECT and got.counts["XDP_REDIRECTED"] == 1
    assert got.data[14:] == four(got.data, upper(proto, "A", port, load=LOAD[:size]), tos=0xB8)
    assert got.data[:14] == bytes([*mac(WAN_MAC), *mac(GATEWAY_WAN_MAC), 8, 0])
    got = fast64.xdp("xdp_wan", fed(upper(proto, "A", port, True, LOAD[:size]), tos=0x28))
    assert got.action == XDP_REDIRECT
    assert got.data[14:] == six(upper(proto, "A", 40000, True, LOAD[:size]), tc=0x28)
    assert got.data[:14] == bytes([*mac(LAN_MAC), *mac(GATEWAY_LAN_MAC), 0x86, 0xDD])


def test_what_is_not_kept_goes_to_tc(fast64: Rig) -> None:
    """Unknown ends, a pair of another protocol, and all that isn't a plain packet of a session."""
    refused = [
        out(TCP),
        frame(upper(TCP, "A"), source=INSIDE6_2, destination=shown(REMOTE)),
    ]
    for sent in refused:
        passed_on(fast64.xdp("xdp_lan", sent), sent)
    port = kept(fast64, TCP)
    partial = bytearray(out(TCP))
    partial[70:72] = pseudo(bytes(partial))
    wrong_mac = bytes(6) + out(TCP)[6:]
    for sent in (
        out(UDP), out(TCP, "F"), out(TCP, "S"), out(TCP, "R"), out(TCP, hops=1), bytes(partial), wrong_mac,
        frame(inet6.IPv6ExtHdrDestOpt() / upper(TCP, "A"), destination=shown(REMOTE)), out(TCP)[:60],
        frame(upper(TCP, "A", 40001), destination=shown(REMOTE)), out(TCP, load=bytes(1500)),
    ):  # fmt: skip
        passed_on(fast64.xdp("xdp_lan", sent), sent)
    for sent in (
        fed(upper(TCP, "F", port, True)), fed(upper(TCP, "A", port, True), ttl=1), fed(upper(TCP, "A", 9, True)),
        fed(upper(TCP, "A", port, True, LOAD[:1300]), flags=0), fed(upper(TCP, "A", port, True), source="198.51.100.9"),
    ):  # fmt: skip
        passed_on(fast64.xdp("xdp_wan", sent), sent)
    assert fast64.lan(out(TCP)).action == REDIRECT, "where it goes is known for a moment only: on a loaded machine anew"
    assert fast64.xdp("xdp_lan", out(TCP)).action == XDP_REDIRECT


def pseudo(sent: bytes) -> bytes:
    """The sum of the pseudo header: what a sender leaves where its device is to finish it."""
    words = struct.unpack("!16H", sent[22:54])
    total: int = sum(words) + len(sent) - 54 + TCP
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total.to_bytes(2, "big")
