"""IPv6 prefixes behind devices, from the text of /proc/net/ipv6_route."""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path

import pytest

from algate.alg.gateway import prefixes

pytestmark = pytest.mark.unit
NONE = "0" * 32


def line(prefix: str, device: str, flags: int = 0x0001, via: str = NONE) -> str:
    """One route, as net/ipv6/route.c prints it."""
    net = IPv6Network(prefix)
    words = [
        net.network_address.packed.hex(),
        f"{net.prefixlen:02x}",
        NONE,
        "00",
        via,
        "00000100",
        "00000001",
        "00000000",
    ]
    return " ".join([*words, f"{flags:08x}", f"{device:>8}"])


ROUTES = "\n".join(
    [
        line("2001:db8:1::/64", "lan0"),
        line("2001:db8:1::/64", "lan0"),  # another metric
        line("2001:db8:2::/56", "lan0", 0x0003, "20010db8000100000000000000000009"),
        line("2001:db8:1::1/128", "lo", 0x80200001),
        line("2001:db8:1::1/128", "lan0", 0x80200001),  # the own address, as kernels since 4.18 have it
        line("2001:db8:1::/128", "lan0", 0x00300001),  # the routers' one, there while the device forwards
        line("fe80::/64", "lan0"),
        line("ff00::/8", "lan0"),
        line("::/0", "lan0", 0x0003),
        line("2001:db8:3::/64", "lan1", 0x0000),
        line("2001:db8:9::/64", "wan0"),
    ]
)


def test_what_is_behind_the_lan() -> None:
    found = [(device, str(prefix)) for device, prefix in prefixes.behind(["lan0", "lan1"], ROUTES)]
    assert found == [("lan0", "2001:db8:1::/64"), ("lan0", "2001:db8:2::/56")]


def test_the_prefixes_of_a_link() -> None:
    """Once each, however many routes lead there; not those behind a router on it."""
    assert list(map(str, prefixes.linked("lan0", ROUTES))) == ["2001:db8:1::/64"]
    assert list(map(str, prefixes.linked("wan0", ROUTES))) == ["2001:db8:9::/64"]


def test_of_this_host() -> None:
    assert prefixes.behind(["no such"]) == []


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "ROUTES", prefixes.ROUTES / "no such")
    assert prefixes.behind(["lan0"]) == []


def test_the_gateways_own_address() -> None:
    """As net/ipv6/addrconf.c prints them: address, index, prefix length, scope, flags, name."""
    text = (
        "fe800000000000000000000000000001 02 40 20 80     lan0\n20010db8000100000000000000000001 02 40 00 80     lan0\n"
        "20010db8000900000000000000000001 03 40 00 80     wan0\nfe800000000000000000000000000002 04 40 20 80     lan1\n"
    )
    assert str(prefixes.own_address(["lan0", "lan1"], text)) == "2001:db8:1::1"
    assert str(prefixes.own_address(["lan1"], text)) == "fe80::2"
    assert prefixes.own_address(["lan2"], text) is None and prefixes.own_address(["no such"]) is None


def test_switches(tmp_path: Path) -> None:
    (tmp_path / "lan0").mkdir()
    (tmp_path / "lan0/forwarding").write_text("1\n")
    assert prefixes.switch("lan0", "forwarding", tmp_path) == "1"
    assert prefixes.switch("lan1", "forwarding", tmp_path) is None
