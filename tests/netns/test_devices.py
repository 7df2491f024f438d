"""Devices and addresses that change under a running gateway: reported, survived, and used again when they are back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from algate.alg.admin.messages import ControlError
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import LabError
from algate.cli.lab.lab import Lab, ip
from tests.netns.footprint import filters, footprint
from tests.netns.talk import Echo, Line, until
from tests.topology import no_netfilter

ECHO = 7007
GATEWAY_ADDRESS = "addr add 10.77.0.1/24 dev lan0"
WAN_ADDRESS = "addr add 198.51.100.2/24 dev wan0\nroute add default via 198.51.100.1"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made, Echo(made.server, ECHO):
        yield made


def state(gateway: AlgateGateway) -> str:
    with contextlib.suppress(ControlError):  # its socket is there a moment before it listens
        return str(gateway.ask("status")["state"])
    return "no daemon"


def asked(lab: Lab, text: bytes) -> bytes:
    """An echo over a new connection."""
    with Line(lab.client, lab.plan.servers[0], ECHO) as line:
        return line.ask(text)


def test_a_wan_that_waits_for_its_address(lab: Lab) -> None:
    """No `ready` before there is an address; `status` says what it is waiting for."""
    ip("addr flush dev wan0", lab.gw.netns)
    gateway = AlgateGateway(lab, wait=0.0)
    with contextlib.suppress(LabError):
        gateway.start()
    try:
        until(lambda: gateway.run_dir.joinpath("control.sock").exists())
        until(lambda: state(gateway) == "waiting for an address on wan0")
        assert gateway.process is not None
        assert "ready" not in gateway.log.splitlines()
        ip(WAN_ADDRESS, lab.gw.netns)
        until(lambda: "ready" in gateway.log.splitlines(), 60)
        assert state(gateway) == "translating"
        assert asked(lab, b"hello") == b"hello"
    finally:
        gateway.stop()


def test_the_wan_address_changes(lab: Lab) -> None:
    """A DHCP renewal: new sessions use the new address, those of the old one are ended and counted."""
    with AlgateGateway(lab) as gateway, Line(lab.client, lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"old") == b"old"
        assert [row["mapped"].split(":")[0] for row in gateway.ask("sessions")] == ["198.51.100.2"]
        ended = gateway.ask("stats")["algate_sessions_ended_total"]
        ip("addr del 198.51.100.2/24 dev wan0\naddr add 198.51.100.77/24 dev wan0", lab.gw.netns)
        ip("route replace default via 198.51.100.1", lab.gw.netns)
        until(lambda: gateway.ask("status")["addresses"] == ["198.51.100.77"])
        until(lambda: not [row for row in gateway.ask("sessions") if row["inside"] == line.local])
        assert gateway.ask("stats")["algate_sessions_ended_total"] == ended + 1
        with Line(lab.client, lab.plan.servers[0], ECHO) as fresh:
            assert fresh.ask(b"new") == b"new"
            mapped = {row["inside"]: row["mapped"] for row in gateway.ask("sessions")}
            assert mapped[fresh.local].startswith("198.51.100.77:")
        assert "198.51.100.77" in gateway.log and "1 sessions of others ended" in gateway.log
        no_netfilter(lab, gateway)


def test_the_wan_address_goes_and_comes_back(lab: Lab) -> None:
    """The same address again: the session was never lost."""
    with AlgateGateway(lab) as gateway, Line(lab.client, lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"one") == b"one"
        ip("addr del 198.51.100.2/24 dev wan0", lab.gw.netns)
        until(lambda: state(gateway) == "not translating: wan0 has no IPv4 address")
        ip(WAN_ADDRESS, lab.gw.netns)
        until(lambda: state(gateway) == "translating")
        assert line.ask(b"two") == b"two"


def test_an_address_that_overlaps_is_refused(lab: Lab) -> None:
    with AlgateGateway(lab) as gateway:
        ip("addr add 10.77.0.77/16 dev wan0", lab.gw.netns)
        until(lambda: state(gateway).startswith("not translating: ") and "overlap" in state(gateway))
        ip("addr del 10.77.0.77/16 dev wan0", lab.gw.netns)
        until(lambda: state(gateway) == "translating")
        assert asked(lab, b"again") == b"again"


@pytest.mark.parametrize("device", ["lan0", "wan0"])
def test_a_device_vanishes_and_comes_back(lab: Lab, device: str) -> None:
    """Another device with the old name is put to use; `down` leaves it as it was found."""
    gateway = AlgateGateway(lab)
    with gateway:
        assert asked(lab, b"before") == b"before"
        ip(f"link del {device}", lab.gw.netns)
        until(lambda: state(gateway).startswith(f"not translating: no device {device}"))
        bring_back(lab, device)
        before = footprint(lab.gw)["switches"][f"conf/{device}/forwarding"]
        until(lambda: state(gateway) == "translating")
        assert len(filters(lab.gw, device)) == (1 if device == "lan0" else 2)
        assert asked(lab, b"after") == b"after"
        no_netfilter(lab, gateway)
    after = footprint(lab.gw)
    assert after["clsact"] == []
    assert after["switches"][f"conf/{device}/forwarding"] in (before, "0")


def bring_back(lab: Lab, device: str) -> None:
    """Create the same link again."""
    plan = lab.plan
    if device == "lan0":
        lab._link("client", "eth0", "gw", "lan0")
        ip(f"addr add {plan.clients[0]}/24 dev eth0\nroute add default via {plan.gateway}", lab.client.netns)
        ip(GATEWAY_ADDRESS, lab.gw.netns)
        return
    lab._link("gw", "wan0", "server", "eth0")
    ip(f"addr add {plan.next_hop}/24 dev eth0", lab.server.netns)
    ip("\n".join(f"addr add {one}/32 dev eth0" for one in plan.servers), lab.server.netns)
    ip(f"route replace {plan.wan} dev eth0 src {plan.servers[0]}", lab.server.netns)
    ip(WAN_ADDRESS, lab.gw.netns)
