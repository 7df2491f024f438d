"""What happens to the host around a gateway: addresses, pins, the TAP, switches, routes, links, names."""

from __future__ import annotations

import shutil

import pytest

from algate.bpf import pins
from algate.cli.lab.lab import ip
from tests.faults.bed import Bed, Incident
from tests.faults.fault import fault
from tests.netns.footprint import pinned
from tests.netns.talk import until, verb

ADDRESS = "addr add 198.51.100.2/24 dev wan0\nroute add default via 198.51.100.1"
ROUTE = "route replace default via 198.51.100.1"


def told(bed: Bed, incident: Incident, wanted: str) -> None:
    """By `status`, `/health`, the log and `doctor`."""
    incident.noticed(f"`{wanted}`, `/health` 503", lambda: bed.state == wanted)
    assert bed.health() == (503, wanted)
    assert wanted.rpartition(": ")[2] in bed.gateway.log
    done = verb(bed.gateway, "doctor", host=bed.lab.gw)
    assert wanted.rpartition(": ")[2] in done.stdout.replace("\n", " "), done.stdout


@fault("the WAN's address is removed, and given again at once")
def test_the_wan_address(bed: Bed, incident: Incident) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: ip("addr del 198.51.100.2/24 dev wan0", bed.lab.gw.netns))
        wanted = "not translating: wan0 has no IPv4 address"
        incident.noticed(f"`{wanted}`, `/health` 503", lambda: bed.state == wanted)
        assert bed.health() == (503, wanted)
        ip(ADDRESS, bed.lab.gw.netns)
        incident.mended(lambda: bed.translating)
        incident.spared(traffic, fresh=False)  # without an address there is no way for what begins just then


@fault("`rm -r` of the whole pin folder")
def test_pins_removed(bed: Bed, incident: Incident) -> None:
    before, folder = pinned(bed.gateway.run_dir), pins.folder(bed.gateway.run_dir)
    with bed.traffic() as traffic:
        incident.inject(lambda: shutil.rmtree(folder))
        incident.noticed("log: `pins: somebody took it; put back`", lambda: bed.repairs("pins"))
        incident.mended(lambda: pinned(bed.gateway.run_dir) == before)
        incident.spared(traffic)
        assert bed.translating
    bed.gateway.stop_daemon()
    bed.gateway.start()
    assert bed.gateway.ask("stats")["algate_sessions_created_total"] > 1, "the maps are others"


@fault("one pin is removed", long=True)
def test_one_pin_removed(bed: Bed, incident: Incident) -> None:
    before = pinned(bed.gateway.run_dir)
    (path,) = pins.folder(bed.gateway.run_dir).rglob("sessions")
    incident.inject(path.unlink)
    incident.noticed("log: `pins: somebody took it; put back`", lambda: bed.repairs("pins"))
    incident.mended(lambda: pinned(bed.gateway.run_dir) == before)
    incident.row.lost = "nothing"


@pytest.mark.parametrize("act", ["del", "down"])
@fault("the helper's TAP device: `ip link` {act}", long=("down",))
def test_the_tap(bed: Bed, incident: Incident, act: str) -> None:
    name = bed.gateway.ask("status")["tap"]
    line = f"link del {name}" if act == "del" else f"link set {name} down"
    with bed.traffic() as traffic:
        incident.inject(lambda: ip(line, bed.lab.gw.netns))
        incident.noticed("log: `the helper's device: somebody took it`", lambda: bed.repairs("the helper's device"))
        incident.mended(lambda: bed.translating)
        incident.spared(traffic)


@fault("`sysctl net.ipv4.ip_forward=0`")
def test_forwarding_off(bed: Bed, incident: Incident) -> None:
    bed.lab.gw.sysctl("ipv4/ip_forward", "1")  # else the other value changes nothing
    with bed.traffic() as traffic:
        incident.inject(lambda: bed.lab.gw.sysctl("ipv4/ip_forward", "0"))
        incident.noticed(
            "log: `forwarding on wan0: somebody took it`",
            lambda: bed.repairs("forwarding on lan0") and bed.repairs("forwarding on wan0"),
        )
        incident.mended(lambda: bed.lab.gw.sysctl("ipv4/conf/lan0/forwarding") == "1" and bed.translating)
        incident.spared(traffic)


@fault("rp_filter is made strict, where the way back is the way in")
def test_rp_filter_is_told(bed: Bed, incident: Incident) -> None:
    """It harms nothing then, so that `/health` stays as it is; the operator hears of it."""
    with bed.traffic() as traffic:
        incident.inject(lambda: bed.lab.gw.sysctl("ipv4/conf/wan0/rp_filter", "1"))
        wanted = "rp_filter on wan0 has been made strict"
        incident.noticed(f"log, `status`, `doctor`: `{wanted}`; `/health` 200", lambda: wanted in bed.amiss)
        assert wanted in bed.gateway.log
        assert bed.health()[0] == 200
        assert wanted in verb(bed.gateway, "doctor", host=bed.lab.gw).stdout.replace("\n", " ")
        bed.lab.gw.sysctl("ipv4/conf/wan0/rp_filter", "0")
        incident.mended(lambda: not bed.amiss)
        incident.spared(traffic)


@fault("the default route is deleted, and set again once that is told")
def test_default_route(bed: Bed, incident: Incident) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: ip("route del default", bed.lab.gw.netns))
        told(bed, incident, "not translating: the default route by wan0 is gone")
        ip(ROUTE, bed.lab.gw.netns)
        incident.mended(lambda: bed.translating)
        incident.spared(traffic, fresh=False)
    assert bed.stat('algate_host_losses_total{kind="route"}') > 0
    assert bed.stat('algate_host_amiss{kind="route"}') == 0


@pytest.mark.parametrize("device", ["lan0", "wan0"])
@fault("`ip link set {device} down`, and up once that is told", long=("lan0",))
def test_link_down(bed: Bed, incident: Incident, device: str) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: ip(f"link set {device} down", bed.lab.gw.netns))
        told(bed, incident, f"not translating: {device} is down")
        ip(f"link set {device} up", bed.lab.gw.netns)
        ip(ROUTE, bed.lab.gw.netns)
        incident.mended(lambda: bed.translating)
        incident.spared(traffic, fresh=False)


@pytest.mark.parametrize("device", ["lan0", "wan0"])
@fault("{device} gets another name, and its own again once that is told", long=("lan0",))
def test_renamed(bed: Bed, incident: Incident, device: str) -> None:
    """Its programs stay on it: all goes on, under a name that no configuration knows."""
    with bed.traffic() as traffic:
        incident.inject(lambda: ip(f"link set {device} name other", bed.lab.gw.netns))
        told(bed, incident, f"translating, but {device} is called other now")
        traffic.settle()
        assert traffic.broken == []
        ip(f"link set other name {device}", bed.lab.gw.netns)
        incident.mended(lambda: bed.translating)
        incident.spared(traffic)


@fault("the bpffs' pins are removed again and again", long=True)
def test_a_fight_over_pins(bed: Bed, incident: Incident) -> None:
    folder = pins.folder(bed.gateway.run_dir)
    said: list[str] = []

    def take() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        said.extend(one for one in [bed.state] if "again and again" in one)
        return bool(said)

    incident.inject(lambda: None)
    incident.noticed("`translating, but pins: somebody takes it again and again`", lambda: take(), 30)
    until(lambda: bed.health()[0] == 503)
    incident.mended(lambda: bed.translating, 60)
    incident.row.lost = "nothing"
