"""What counts as amiss with a host: links, names, the way out, rp_filter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from algate.alg.gateway import host, netlink
from algate.alg.gateway.host import Weight
from algate.alg.gateway.netlink import Device

WAN = Device("wan0", 3, b"\4" * 6, 1500, True, "veth", ())
LAN, SECOND = replace(WAN, name="lan0", index=2), replace(WAN, name="lan1", index=4)


def texts(found: list[host.Trouble]) -> list[str]:
    return [one.text for one in found]


def test_links() -> None:
    """Of several LANs one may be without a carrier."""
    assert host.links([LAN, SECOND], WAN) == []
    assert texts(host.links([LAN], replace(WAN, up=False))) == ["wan0 is down"]
    assert texts(host.links([LAN], replace(WAN, carrier=False))) == ["wan0 has no carrier"]
    assert texts(host.links([replace(LAN, up=False), SECOND], WAN)) == ["lan0 is down"]
    assert host.links([replace(LAN, carrier=False), SECOND], WAN) == []
    assert texts(host.links([replace(LAN, carrier=False)], WAN)) == ["lan0: no carrier"]


def test_a_device_with_another_name() -> None:
    """One that is gone is not renamed; its successor with the old name isn't either."""
    (found,) = host.renamed([LAN, WAN], {2: "other", 3: "wan0"})
    assert (found.text, found.weight) == ("lan0 is called other now", Weight.RISK)
    assert host.renamed([LAN, WAN], {3: "wan0", 9: "lan0"}) == []


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (3, []),
        (0, ["the default route by wan0 is gone"]),
        (9, ["the default route leads by ppp0, not by wan0"]),
    ],
)
def test_the_default_route(way: int, said: list[str]) -> None:
    assert texts(host.default_route(WAN, way, {3: "wan0", 9: "ppp0"})) == said


@pytest.mark.parametrize(
    ("everywhere", "own", "strict"),
    [("0", "0", False), ("1", "0", True), ("0", "1", True), ("2", "1", False), ("1", "2", False), ("2", "0", False)],
)
def test_rp_filter_is_the_larger_of_two(
    monkeypatch: pytest.MonkeyPatch, everywhere: str, own: str, strict: bool
) -> None:
    monkeypatch.setattr(netlink, "read_sysctl", lambda name, _: everywhere if name == "all" else own)
    assert host.strict([WAN]) == ({"wan0"} if strict else set())


def test_strictness_harms_where_the_way_back_is_another() -> None:
    assert [one.weight for one in host.became_strict({"wan0"}, 3, WAN)] == [Weight.TOLD]
    assert [one.weight for one in host.became_strict({"wan0"}, 9, WAN)] == [Weight.STOPS]
