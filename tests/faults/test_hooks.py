"""Programs of the gateway that others take off its devices."""

from __future__ import annotations

import os
import signal
import socket
import time
from functools import partial

import pytest

from algate.bpf import tcx
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab, ip
from tests.faults.bed import Bed, Incident, made_bed
from tests.faults.fault import fault
from tests.netns.footprint import TCX, WAN_FILTERS, filters, fronts
from tests.netns.talk import until

PRIORITY = 0xA17E  # of the gateway's filters
NOTHING = ["bpf", "bytecode", "1,6 0 0 4294967295"]  # a filter that lets everything pass


def tc(bed: Bed, *words: str) -> None:
    bed.lab.gw.run(["tc", *words], check=True)


def take_front(bed: Bed, *devices: str) -> None:
    """Take off what stands in front of the devices' ingress filters."""
    for device in devices:
        for program in fronts(bed.lab.gw, device):
            call_in(bed.lab.gw.netns, partial(_detach, device, program))


def _detach(device: str, program: int) -> None:
    tcx.detach(socket.if_nametoindex(device), tcx.INGRESS, program)


def whole(bed: Bed) -> bool:
    """All of the gateway's programs on its devices."""
    front = all(fronts(bed.lab.gw, one) for one in ("lan0", "wan0")) or not TCX
    there = filters(bed.lab.gw, "lan0"), filters(bed.lab.gw, "wan0")
    return front and there == (["ingress algate:tc_lan"], WAN_FILTERS)


def put_back(bed: Bed, incident: Incident, what: str) -> None:
    """Noticed by the log, which says so as soon as it is put back; and told by the metric."""
    incident.noticed(f"log: `{what}: somebody took it; put back`", lambda: bed.repairs(what))
    incident.mended(lambda: whole(bed) and bed.translating)


@pytest.mark.parametrize("device", ["lan0", "wan0"])
@fault("`tc qdisc del dev {device} clsact`")
def test_clsact_removed(bed: Bed, incident: Incident, device: str) -> None:
    before = bed.stat('algate_host_repairs_total{kind="filter"}')
    with bed.traffic() as traffic:
        incident.inject(lambda: tc(bed, "qdisc", "del", "dev", device, "clsact"))
        put_back(bed, incident, "tc_lan on lan0" if device == "lan0" else "tc_wan_in on wan0")
        incident.spared(traffic)
    assert bed.stat('algate_host_repairs_total{kind="filter"}') > before


@pytest.mark.skipif(not TCX, reason="this kernel has no hooks of the devices' own (Linux 6.6)")
@fault("what stands in front of the filters taken off both devices (`bpftool net detach tcx_ingress`)")
def test_front_taken_off(bed: Bed, incident: Incident) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: take_front(bed, "lan0", "wan0"))
        incident.noticed(
            "log: `tcx_lan on lan0: somebody took it; put back`",
            lambda: bed.repairs("tcx_lan on lan0") and bed.repairs("tcx_wan_in on wan0"),
        )
        incident.mended(lambda: whole(bed) and bed.translating)
        incident.spared(traffic)


@fault("`tc filter replace` of the WAN's filter by one that lets everything pass")
def test_filter_replaced(bed: Bed, incident: Incident) -> None:
    where = ["dev", "wan0", "ingress", "prio", str(PRIORITY), "handle", "1", "protocol", "all"]
    with bed.traffic() as traffic:
        incident.inject(lambda: tc(bed, "filter", "replace", *where, *NOTHING))
        put_back(bed, incident, "tc_wan_in on wan0")
        incident.spared(traffic)


@fault("`tc filter del` of the LAN's filter", long=True)
def test_filter_removed(bed: Bed, incident: Incident) -> None:
    with bed.traffic() as traffic:
        incident.inject(lambda: tc(bed, "filter", "del", "dev", "lan0", "ingress", "prio", str(PRIORITY)))
        put_back(bed, incident, "tc_lan on lan0")
        incident.spared(traffic)


def take_all(bed: Bed, device: str) -> None:
    tc(bed, "qdisc", "del", "dev", device, "clsact")
    take_front(bed, device)


@fault("`tc qdisc del dev wan0 clsact`, and what stands in front taken off, while the daemon stands still for a second")
def test_the_stack_answers_for_nobody(bed: Bed, incident: Incident) -> None:
    """What comes meanwhile reaches the host's stack, which knows no such session: its RST must not leave."""
    assert bed.gateway.process is not None
    pid = bed.gateway.process.pid
    with bed.traffic() as traffic:
        os.kill(pid, signal.SIGSTOP)
        try:
            incident.inject(lambda: take_all(bed, "wan0"))
            time.sleep(1.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        put_back(bed, incident, "tc_wan_in on wan0")
        incident.spared(traffic)
    if TCX:
        assert bed.stat('algate_drops_total{reason="not-its-own"}') > 0, (
            "nothing came meanwhile: the test proves nothing"
        )


@fault("somebody removes clsact from the LAN fifty times a second, for four seconds", long=True)
def test_a_fight(incident: Incident) -> None:
    """It is put back a few times at once, then ever more rarely, and told; when that ends, so does the trouble."""
    with Lab() as lab, made_bed(lab, AlgateGateway(lab)) as bed:
        assert bed.gateway.process is not None
        busy, end = bed.cpu(), time.monotonic() + 4
        incident.inject(lambda: None)
        said = ""
        while time.monotonic() < end:
            lab.gw.run(["tc", "qdisc", "del", "dev", "lan0", "clsact"])
            if not said and "again and again" in bed.state:
                said = bed.state
                incident.noticed(f"`{said}`, `/health` 503", lambda: True)
                assert bed.health()[0] == 503
            time.sleep(0.02)
        used = bed.cpu() - busy
        times = bed.gateway.log.count("tc_lan on lan0: somebody took it; put back")
        assert said, "the fight was not told"
        assert times < 20, f"put back {times} times in four seconds"
        incident.mended(lambda: whole(bed) and bed.translating, 60)
        incident.row.lost = f"put back {times} times, {used:.1f} s of processor time"
        with bed.traffic() as traffic:
            traffic.settle()
            assert traffic.broken == []


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel before 6.6, where the egress program is a filter of clsact, too."""
    monkeypatch.setenv("ALGATE_HOOKS", "clsact")


@fault("`tc qdisc del dev wan0 clsact`, on a kernel before 6.6 (its egress program goes too)", long=True)
@pytest.mark.usefixtures("old")
def test_clsact_removed_before_tcx(incident: Incident) -> None:
    """Nothing keeps the stack from answering until all is put back, some milliseconds later; so much can be lost."""
    with Lab() as lab, made_bed(lab, AlgateGateway(lab)) as bed:
        assert filters(lab.gw, "wan0") == ["ingress algate:tc_wan_in", "egress algate:tc_wan_out"]
        with bed.traffic() as traffic:
            incident.inject(lambda: tc(bed, "qdisc", "del", "dev", "wan0", "clsact"))
            incident.noticed("log: `put back`", lambda: bed.repairs("tc_wan_out on wan0"))
            wanted = ["ingress algate:tc_wan_in", "egress algate:tc_wan_out"]
            incident.mended(lambda: sorted(filters(lab.gw, "wan0")) == sorted(wanted) and bed.translating)
            until(lambda: traffic.fresh.answered, 20)
            traffic.settle()
            incident.row.lost = traffic.lost()
            assert not traffic.fresh.broken


@fault("XDP is taken off both devices")
def test_xdp_taken_off(incident: Incident) -> None:
    with Lab() as lab, made_bed(lab, AlgateGateway(lab, datapath="xdp-generic")) as bed, bed.traffic() as traffic:
        off = "link set dev lan0 xdpgeneric off\nlink set dev wan0 xdpgeneric off"
        incident.inject(lambda: ip(off, lab.gw.netns))
        incident.noticed(
            "log: `xdp_wan on wan0: somebody took it; put back`",
            lambda: bed.repairs("xdp_lan on lan0") and bed.repairs("xdp_wan on wan0"),
        )
        incident.mended(lambda: bed.translating)
        shown = lab.gw.run(["ip", "link", "show"], check=True).stdout
        assert shown.count("xdpgeneric") == 2
        incident.spared(traffic)
