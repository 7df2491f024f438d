"""How IPv6 stands: told by `status`, judged by `doctor`."""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path

import pytest

from algate.alg.admin import ipv6
from algate.alg.config.load import Config, loads
from algate.alg.gateway.inforce import InForce
from algate.alg.gateway.state import State
from tests.unit.gateway.test_prefixes import line

pytestmark = pytest.mark.unit
DEVICES = '[gateway]\nlan = ["lan0"]\nwan = "wan0"\n'
NAT64 = IPv6Network("64:ff9b::/96")
ROUTE = line("2001:db8:1::/64", "lan0")


def config(more: str = "") -> Config:
    return loads(DEVICES + more)


def host(folder: Path, forwarding: str = "1", accept_ra: str = "2") -> Path:
    for device in ("lan0", "wan0"):
        (folder / device).mkdir(exist_ok=True)
        (folder / device / "forwarding").write_text(f"{forwarding}\n")
        (folder / device / "accept_ra").write_text(f"{accept_ra}\n")
    return folder


def test_that_it_passes_unfiltered_is_said_plainly(tmp_path: Path) -> None:
    found = ipv6.standing(config(), host(tmp_path), ROUTE)
    assert (found["forwarded"], found["filtered"], found["prefixes"]) == (True, False, ["2001:db8:1::/64"])
    assert found["told"] == ("passes unfiltered: what comes from outside reaches inside hosts; inside: 2001:db8:1::/64")
    row = ipv6.judged(dict(found), ["lan0", "wan0"], tmp_path)
    assert row.ok and row.fix.startswith("[ipv6] filter = true")


def test_a_host_that_forwards_none(tmp_path: Path) -> None:
    found = ipv6.standing(config(), host(tmp_path, "0"), ROUTE)
    assert found["told"] == "not forwarded by this host"
    assert ipv6.judged(dict(found), ["lan0", "wan0"], tmp_path).fix == ""
    assert ipv6.standing(config(), tmp_path / "none", "")["told"] == "not forwarded by this host"


@pytest.mark.parametrize(
    ("forwarding", "accept_ra", "routes", "ok", "said", "fix"),
    [
        ("1", "2", ROUTE, True, "filtered; inside: 2001:db8:1::/64", ""),
        ("1", "0", ROUTE, True, "filtered; inside", ""),
        ("0", "2", ROUTE, False, "forwarding is off for lan0, wan0", "sysctl net.ipv6.conf.lan0.forwarding=1"),
        ("1", "1", ROUTE, False, "wan0 takes no router advertisements", "sysctl net.ipv6.conf.wan0.accept_ra=2"),
        ("1", "2", "", False, "no IPv6 route leads to an inside device", "give the LAN an IPv6 prefix"),
    ],
)
def test_what_a_filter_needs(
    tmp_path: Path, forwarding: str, accept_ra: str, routes: str, ok: bool, said: str, fix: str
) -> None:
    found = ipv6.standing(config("[ipv6]\nfilter = true"), host(tmp_path, forwarding, accept_ra), routes)
    row = ipv6.judged(dict(found), ["lan0", "wan0"], tmp_path)
    assert (row.ok, said in row.detail, fix in row.fix) == (ok, True, True), row


@pytest.mark.parametrize(
    ("forwarding", "ok", "said"),
    [
        ("1", False, "not filtered before this gateway translates: what comes from outside reaches inside hosts"),
        ("0", True, "not forwarded before this gateway translates"),
    ],
)
def test_a_filter_that_waits_for_the_wan_is_none(tmp_path: Path, forwarding: str, ok: bool, said: str) -> None:
    filtering = config("[ipv6]\nfilter = true")
    found = ipv6.standing(filtering, host(tmp_path, forwarding), ROUTE, before=InForce())
    assert not found["filtered"] and found["told"].startswith(said)
    row = ipv6.judged(dict(found), ["lan0", "wan0"], tmp_path)
    assert (row.ok, row.detail) == (ok, found["told"])


def test_the_filter_of_an_earlier_start_goes_on(tmp_path: Path) -> None:
    found = ipv6.standing(config("[ipv6]\nfilter = true"), host(tmp_path), ROUTE, before=InForce(filtered=True))
    assert found["filtered"] and found["told"] == "filtered; inside: 2001:db8:1::/64"


@pytest.mark.parametrize(
    ("more", "before", "told"),
    [
        ("", InForce(), f"{ipv6.OPEN}; inside: 2001:db8:1::/64; IPv4 hosts behind {NAT64}: not translated yet"),
        ("", InForce(prefix=IPv6Network("2001:db8:64::/96")), "; IPv4 hosts behind 64:ff9b::/96: not translated yet"),
        ("", InForce(prefix=NAT64), "; IPv4 hosts behind 64:ff9b::/96"),
        ("[ipv6]\nfilter = true", InForce(True), "filtered; inside: 2001:db8:1::/64; IPv4 hosts behind"
         " 64:ff9b::/96: not translated yet"),
        ("[ipv6]\nfilter = true", InForce(prefix=NAT64), f"{ipv6.EARLY}; inside: 2001:db8:1::/64; IPv4 hosts behind"
         " 64:ff9b::/96"),
    ],
)  # fmt: skip
def test_nat64_that_waits_for_the_wan_is_none(tmp_path: Path, more: str, before: InForce, told: str) -> None:
    text = f'{more}\n[nat64]\nprefix = "{NAT64}"'
    assert ipv6.standing(config(text), host(tmp_path), ROUTE, before=before)["told"].endswith(told)


def test_nat64_is_told(tmp_path: Path) -> None:
    found = ipv6.standing(config('[nat64]\nprefix = "64:ff9b::/96"'), host(tmp_path), ROUTE)
    assert found["nat64"] == str(IPv6Network("64:ff9b::/96"))
    assert found["told"].endswith("; IPv4 hosts behind 64:ff9b::/96")


def test_without_a_daemon_there_is_nobody_to_ask(tmp_path: Path) -> None:
    assert ipv6.check(tmp_path, State.load(tmp_path)).ok


def test_a_prefix_that_is_inside_too(tmp_path: Path) -> None:
    known = {"told": "x", "filtered": False, "nat64": "2001:db8:1::/96", "prefixes": ["2001:db8:1::/64"]}
    row = ipv6.judged(known, ["lan0", "wan0"], tmp_path)
    assert not row.ok and "overlaps 2001:db8:1::/64" in row.detail
