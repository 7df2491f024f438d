"""The MSS of what NAT64 translates: what the file wants, and what a WAN can carry at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.config.load import loads
from algate.alg.gateway.netlink import Device
from algate.alg.gateway.settings import _mss_turned

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("wanted", "wan", "lan", "most"),
    [
        ('"off"', 1500, 1500, 0),
        ('"off"', 1260, 1500, 0),  # 1280 of IPv6: its sender can be told
        ('"off"', 1259, 1500, 1219),
        ('"off"', 600, 1500, 560),
        ("1000", 1500, 1500, 1000),
        ("1000", 600, 1500, 560),
        ("500", 600, 1500, 500),
        ('"auto"', 1500, 1400, 1340),
        ('"auto"', 1400, 1500, 1340),
        ('"auto"', 600, 1500, 540),
    ],
)
def test_what_fits(wanted: str, wan: int, lan: int, most: int) -> None:
    config = loads(f"[nat]\nmss_clamp = {wanted}\n", {"gateway.lan": ["lan0"], "gateway.wan": "wan0"})
    outside = Device("wan0", 3, b"", wan, True, "", ())
    inside = replace(outside, name="lan0", index=2, mtu=lan)
    assert _mss_turned(config, [inside], outside) == most
