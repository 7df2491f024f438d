"""What the kernel is told of IPv6: each key of the file at its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from algate.alg.config.load import loads
from algate.alg.gateway import settings
from algate.alg.gateway.netlink import Device
from algate.bpf import abi
from algate.bpf.loader import Gateway

pytestmark = pytest.mark.unit
DEVICES: dict[str, object] = {"gateway.lan": ["eth1"], "gateway.wan": "eth0"}


def told(text: str) -> abi.Config6:
    """What is written for a file with this text."""
    rows: dict[int, Any] = {}
    lan, wan = (Device(name, number, bytes(6), 1500, True, "veth", ()) for number, name in enumerate(("eth1", "eth0")))
    gateway = SimpleNamespace(six=True, configs6=SimpleNamespace(put=rows.__setitem__))
    settings.write_config6(cast(Gateway, gateway), loads(text, DEVICES), [lan], wan)
    return cast(abi.Config6, rows[0])


@pytest.mark.parametrize(("key", "most"), [("", 1280), ("lowest_ipv6_mtu = 1500\n", 1500)])
def test_what_ipv4_lets_others_fragment(key: str, most: int) -> None:
    value = told('[nat64]\nprefix = "64:ff9b::/96"\n' + key)
    assert (value.lowest_mtu, value.prefix_bits) == (most, 96)
    assert bytes(value.prefix) == bytes.fromhex("0064ff9b").ljust(16, b"\0")


def test_a_filter_alone() -> None:
    value = told('[ipv6]\nfilter = true\nipsec = "any"\nhost_prefix = 64\n')
    flag = abi.SixFlag
    assert value.flags == flag.FILTER | flag.IPSEC_ANY | flag.HOST_64 and not value.prefix_bits
