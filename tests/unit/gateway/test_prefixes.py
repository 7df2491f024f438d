"""IPv6 prefixes behind devices, from the text of /proc/net/ipv6_route."""

from __future__ import annotations

from ipaddress import IPv6Network

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


def test_of_this_host() -> None:
    assert prefixes.behind(["no such"]) == []


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "ROUTES", prefixes.ROUTES / "no such")
    assert prefixes.behind(["lan0"]) == []
