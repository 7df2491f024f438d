"""What stands in front of the ingress filters on the devices' own hooks (tcx): either of the two does it all alone, no
packet is had by both, and others' programs and filters see what they would see without it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from algate.bpf import libbcc, tcx
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab
from tests.netns.footprint import TCX, filters, footprint, fronts
from tests.netns.talk import Echo, Line, until

ECHO = 7007
DEVICES = ("lan0", "wan0")
REDIRECTED = 'algate_redirected_total{path="tc"}'
NEXT = bytes.fromhex("b7000000ffffffff 9500000000000000")  # lets everything pass on
MARKS = bytes.fromhex("b70200007fa10000 63212c0000000000 b7000000ffffffff 9500000000000000")  # and tc_index = SEEN

pytestmark = pytest.mark.skipif(not TCX, reason="this kernel has no hooks of the devices' own (Linux 6.6)")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made, Echo(made.server, ECHO):
        yield made


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab) as made:
        yield made


@pytest.fixture
def line(lab: Lab, gateway: AlgateGateway) -> Iterator[Line]:
    """An established session."""
    until(lambda: all(fronts(lab.gw, one) for one in DEVICES))
    with Line(lab.client, lab.plan.servers[0], ECHO) as made:
        assert made.ask(b"before") == b"before"
        yield made


@contextlib.contextmanager
def standing_still(gateway: AlgateGateway) -> Iterator[None]:
    """The daemon repairs nothing meanwhile."""
    assert gateway.process is not None
    os.kill(gateway.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(gateway.process.pid, signal.SIGCONT)


def works(lab: Lab, line: Line) -> bool:
    """What is established goes on, and something new begins."""
    with Line(lab.client, lab.plan.servers[0], ECHO) as another:
        return line.ask(b"old") == b"old" and another.ask(b"new") == b"new"


def on(lab: Lab, device: str, act: str, program: int = 0) -> None:
    """Attach a program of somebody else's that lets everything pass, or detach one."""

    def there() -> None:
        index = socket.if_nametoindex(device)
        if act == "detach":
            return tcx.detach(index, tcx.INGRESS, program)
        fd = libbcc.load(libbcc.SCHED_CLS, "others", NEXT)
        tcx.attach(index, tcx.INGRESS, fd, None)
        os.close(fd)
        return None

    call_in(lab.gw.netns, there)


def had(lab: Lab, device: str) -> int:
    """Packets that came to the filters of clsact."""
    text = lab.gw.run(["tc", "-s", "qdisc", "show", "dev", device, "clsact"], check=True).stdout
    return int(text.partition("Sent ")[2].split()[2])


def test_established_packets_never_meet_the_filters(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    before = [had(lab, one) for one in DEVICES]
    for _ in range(100):
        assert line.ask(b"more") == b"more"
    assert all(had(lab, one) - was < 50 for one, was in zip(DEVICES, before, strict=True))
    assert all("tcx" in why for why in gateway.ask("status")["datapath_why"].values())


def test_without_the_filters(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    with standing_still(gateway):
        for one in DEVICES:
            lab.gw.run(["tc", "qdisc", "del", "dev", one, "clsact"], check=True)
        assert works(lab, line)
    until(lambda: all(any("ingress" in name for name in filters(lab.gw, one)) for one in DEVICES))
    assert works(lab, line)


def test_without_what_stands_in_front(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    with standing_still(gateway):
        for one in DEVICES:
            on(lab, one, "detach", fronts(lab.gw, one)[0])
        assert works(lab, line)
    until(lambda: all(fronts(lab.gw, one) for one in DEVICES))
    until(lambda: gateway.log.count("somebody took it; put back") >= 2)
    assert all(f"{name} on {one}: somebody took it" in gateway.log
               for one, name in zip(DEVICES, ("tcx_lan", "tcx_wan_in"), strict=True))  # fmt: skip
    assert works(lab, line)
    assert gateway.ask("status")["state"] == "translating"


def test_no_packet_is_had_twice(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    """With IP options it goes by the stack, and is told of once."""
    with lab.client.socket(kind=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes((1, 1, 1, 0)))
        sock.settimeout(5)
        sock.sendto(b"hello", (lab.plan.servers[0], ECHO))
        assert sock.recvfrom(100)[0] == b"hello"
        before = gateway.ask("stats")["algate_to_stack_total"]
        for _ in range(10):
            sock.sendto(b"hello", (lab.plan.servers[0], ECHO))
            assert sock.recvfrom(100)[0] == b"hello"
        assert gateway.ask("stats")["algate_to_stack_total"] - before == 10


def test_filters_that_come_first_see_every_packet(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    """Whoever counts or polices what comes in by a filter in front of ours goes on to; and it ends with that filter."""
    where = ["dev", "lan0", "ingress", "prio", "7"]
    lab.gw.run(["tc", "filter", "add", *where, "protocol", "all", "bpf", "bytecode", "1,6 0 0 4294967295"], check=True)
    until(lambda: not fronts(lab.gw, "lan0"))
    before = had(lab, "lan0")
    for _ in range(20):
        assert line.ask(b"more") == b"more"
    assert had(lab, "lan0") - before >= 20
    assert "tcx" not in gateway.ask("status")["datapath_why"]["lan0"]
    lab.gw.run(["tc", "filter", "del", *where], check=True)
    until(lambda: fronts(lab.gw, "lan0"))
    assert works(lab, line)


def test_others_programs_stay_and_come_first(lab: Lab, line: Line, gateway: AlgateGateway) -> None:
    own = fronts(lab.gw, "lan0")
    on(lab, "lan0", "attach")
    until(lambda: fronts(lab.gw, "lan0")[-1:] == own)
    others = fronts(lab.gw, "lan0")[0]
    assert works(lab, line)
    gateway.stop_daemon()
    gateway.start()
    until(lambda: len(fronts(lab.gw, "lan0")) == 2 and len(fronts(lab.gw, "wan0")) == 1)
    assert fronts(lab.gw, "lan0")[0] == others
    assert works(lab, line)
    gateway.stop()
    assert fronts(lab.gw, "lan0") == [others] and not fronts(lab.gw, "wan0")
    on(lab, "lan0", "detach", others)
    assert not any(footprint(lab.gw)["fronts"].values())


@pytest.mark.parametrize("hooks", ["", "clsact"])
def test_a_neighbour_s_mark_is_no_pass(lab: Lab, monkeypatch: pytest.MonkeyPatch, hooks: str) -> None:
    """tc_index survives the way into another namespace. The number by which a filter knows what was had in front of it
    comes with every packet: what stands in front writes its own, and a filter that stands alone doesn't ask."""
    monkeypatch.setenv("ALGATE_HOOKS", hooks)

    def mark(index: int) -> None:
        fd = libbcc.load(libbcc.SCHED_CLS, "marks", MARKS)
        tcx.attach(index, tcx.EGRESS, fd, None)
        os.close(fd)

    with AlgateGateway(lab) as gateway, Line(lab.client, lab.plan.servers[0], ECHO) as line:
        assert bool(fronts(lab.gw, "lan0")) == (not hooks)
        assert line.ask(b"before") == b"before"
        call_in(lab.client.netns, lambda: mark(socket.if_nametoindex("eth0")))
        before = gateway.ask("stats")[REDIRECTED]
        for _ in range(20):
            assert line.ask(b"more") == b"more"
        assert gateway.ask("stats")[REDIRECTED] - before >= 40, "what came in by the LAN went by the stack"
