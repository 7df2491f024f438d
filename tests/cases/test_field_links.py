"""Field report R18 and its siblings: links behind or before the gateway that take less than the other end sends.

Judged on both links: no segment beyond the device's MTU leaves, the sender hears frag-needed about its own packet, and
the reply arrives within a second, which no retransmission timer of TCP's would allow more than once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases.case import field
from tests.cases.small_links import PLAN, Links, Talk, quoted_end
from tests.topology import no_netfilter

SIZES = [576, 1280, 1400]
IN_TIME = 1.0  # s
INSIDE = PLAN.clients[0]
PUBLIC, SERVER = PLAN.public[0], PLAN.servers[0]


R18 = (
    "through a link of 576 to 1400 bytes a reply of 6 KB arrives within 1 s, nothing larger leaves, its sender is told"
)


UNSHIFTED = "its helper leaves the line before the reply as it is, so no numbers would be shifted"


@pytest.fixture(scope="module", params=["off", "auto"])
def links(request: pytest.FixtureRequest) -> Iterator[Links]:
    """One gateway for all without a clamp; one whose WAN takes 1400 bytes and which clamps by that."""
    name = str(request.config.getoption("gateway"))
    clamp = request.param == "auto" and name == "algate"
    with Links(name, '[nat]\nmss_clamp = "auto"\n' if clamp else "", 1400 if clamp else 1500) as made:
        yield made
        no_netfilter(made.lab, made.gateway)


def told(talk: Talk, device: str, to: str, source: str, mtu: int) -> int:
    """How many errors left by a device to its sender; each must be about what came in there, as it came."""
    errors = [one for one in talk.left(device) if one.mtu and one.destination == to]
    came = {one.seq for one in talk.watches[device].packets if not one.outgoing and one.proto == 6}
    for one in errors:
        assert (one.mtu, one.source) == (mtu, source)
        end = quoted_end(one)
        assert end[0] == to and 21 in end[2:4] and end[4] in came, "about no packet of its own"
    return len(errors)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gso", [False, True])
@field(18, R18, kernel=UNSHIFTED)
def test_r18_a_reply_from_outside_through_a_small_lan(links: Links, size: int, gso: bool) -> None:
    with links.super_packets(gso), links.narrow("gw", "lan0", size), links.talk("client") as talk:
        assert talk.status() < IN_TIME
        assert talk.largest("lan0") <= size
        assert (told(talk, "wan0", SERVER, PUBLIC, size) > 0) == (not links.clamps or size < 1400)
        assert talk.status() < IN_TIME and talk.largest("lan0") <= size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gso", [False, True])
@field(18, R18, kernel=UNSHIFTED)
def test_r18_a_reply_from_inside_through_a_small_wan(links: Links, size: int, gso: bool) -> None:
    """Its numbers are shifted by a 227 before it."""
    with links.super_packets(gso), links.narrow("gw", "wan0", size), links.talk("server") as talk:
        assert talk.status() < IN_TIME
        assert talk.largest("wan0") <= size
        assert (told(talk, "lan0", INSIDE, PLAN.gateway, size) > 0) == (not links.clamps)
        assert talk.status() < IN_TIME and talk.largest("wan0") <= size


@pytest.mark.parametrize(("inside", "device"), [("client", "lan0"), ("server", "wan0")])
@pytest.mark.parametrize("gso", [False, True])
@field(18, R18, kernel=UNSHIFTED)
def test_r18_a_link_that_changes_in_mid_session(links: Links, inside: str, device: str, gso: bool) -> None:
    with links.super_packets(gso), links.narrow("gw", device, 1400), links.talk(inside) as talk:
        for size in (1400, 1280, 1500, 576, 1400, 576):
            links.mtu("gw", device, size)
            talk.watches[device].packets.clear()
            assert talk.status() < IN_TIME, f"at {size}"
            assert talk.largest(device) <= size


@pytest.mark.parametrize("inside", ["client", "server"])
@pytest.mark.parametrize("size", SIZES)
@field(18, R18, kernel=UNSHIFTED)
def test_r18_a_small_link_beyond_the_next_hop(links: Links, inside: str, size: int) -> None:
    """Its router tells; through the gateway the error reaches who sent."""
    device = "eth0" if inside == "client" else "eth1"
    with links.narrow("router", device, size), links.talk(inside) as talk:
        assert talk.status() < IN_TIME and talk.status() < IN_TIME
        if inside == "server" and not (links.clamps and size == 1400):
            assert any(one.mtu == size and one.destination == INSIDE for one in talk.left("lan0"))


@field(18, R18, kernel="what its rewriting makes too long it drops")
def test_r18_a_line_that_the_gateway_makes_longer_fits_too(links: Links) -> None:
    """Of the greatest size that the WAN takes, with a PORT in it that grows; as it was sent, it fits."""
    with links.narrow("gw", "wan0", 1280), links.talk("client") as talk:
        port = b"PORT " + INSIDE.replace(".", ",").encode() + b",200,200\r\n"
        lines = b"NOOP " + b"n" * (1280 - 52 - len(port) - 7) + b"\r\n" + port
        talk.client.say(lines)
        assert talk.server.line().startswith(b"NOOP")
        assert len(talk.server.line()) > len(port)
        assert talk.largest("wan0") <= 1280


@field(18, R18, kernel="it tells, and leaves it at that")
def test_r18_a_sender_that_hears_no_errors_is_cut_by_the_gateway(links: Links) -> None:
    """A firewall drops all ICMP before a server: what its first repetition brings is sent on in smaller segments."""
    rule = "table ip deaf { chain in { type filter hook input priority 0; ip protocol icmp drop; }; }"
    server = links.lab.server
    server.run(["nft", "-f", "-"], text=rule, check=True)
    try:
        with links.narrow("gw", "lan0", 576), links.talk("client") as talk:
            assert talk.status() < 3.0
            assert talk.status() < IN_TIME, "known by now"
            assert talk.largest("lan0") <= 576
    finally:
        server.run(["nft", "delete", "table", "ip", "deaf"], check=True)


@pytest.mark.parametrize(("inside", "device"), [("client", "lan0"), ("server", "wan0")])
@field(18, R18, kernel="it fragments them")
def test_r18_segments_that_may_be_fragmented_are_cut_at_once(links: Links, inside: str, device: str) -> None:
    """IP_PMTUDISC_DONT: no DF, so nobody is told."""
    with links.narrow("gw", device, 576), links.talk(inside) as talk:
        talk.server.socket.setsockopt(0, 10, 0)  # IP_MTU_DISCOVER
        assert talk.status() < IN_TIME
        assert talk.largest(device) <= 576
        assert not [one for name in ("lan0", "wan0") for one in talk.left(name) if one.mtu]
