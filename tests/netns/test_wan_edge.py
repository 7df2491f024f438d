"""Nothing private on the WAN, ever: devices made anew and addresses changed under load, and forwards to containers.

Judged by a capture on the far side of the WAN, which keeps every packet with an address of the inside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from algate.alg.gateway import netlink
from algate.bpf import libbcc
from algate.cli.lab.capture import Capture
from algate.cli.lab.gateways import AlgateGateway, PortForward
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import Lab, LabPlan, ip
from tests.netns.footprint import TCX, WAN_FILTERS, filters
from tests.netns.talk import Echo, Line, until
from tests.topology import no_netfilter

ECHO = 7007
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
CONTAINER = "172.17.0.2"
ROUNDS = 6


def add_container(lab: Lab) -> Host:
    """A host behind a third device of the gateway."""
    lab._add_host("box", CONTAINER, "eth0")
    lab._link("box", "eth0", "gw", "docker0")
    ip("addr add 172.17.0.1/24 dev docker0", lab.gw.netns)
    ip(f"addr add {CONTAINER}/24 dev eth0\nroute add default via 172.17.0.1", lab.hosts["box"].netns)
    for name in ("docker0", "wan0"):
        lab.gw.sysctl(f"ipv4/conf/{name}/forwarding", "1")
    return lab.hosts["box"]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A switch stands between the WAN and the far side, so that the capture outlives the WAN device."""
    with Lab(LabPlan(router=True)) as made, Echo(made.server, ECHO):
        yield made


@contextlib.contextmanager
def load(host: Host, server: str) -> Iterator[None]:
    """Datagrams, plain and in fragments, and segments of no session, several hundred a second, from one inside host."""
    stop = threading.Event()
    small, large = host.socket(kind=socket.SOCK_DGRAM), host.socket(kind=socket.SOCK_DGRAM)

    def send() -> None:
        while not stop.is_set():
            for one, size in ((small, 50), (large, 3000)):
                with contextlib.suppress(OSError):
                    one.sendto(bytes(size), (server, ECHO))
            time.sleep(0.002)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        small.close()
        large.close()


def inside_packets(capture: Capture) -> list[str]:
    """Packets of the WAN with a private address in them."""
    seen = [one for one in capture.take(0.1) if _private(one.src.ip) or _private(one.dst.ip)]
    return [f"{one.src} > {one.dst} proto {one.proto}" for one in seen]


def _private(address: str) -> bool:
    return any(IPv4Address(address) in IPv4Network(one) for one in PRIVATE)


def wait_for(gateway: AlgateGateway, address: str) -> None:
    """Until the gateway translates to it."""
    until(lambda: gateway.ask("status")["addresses"] == [address], 5)


def replace_wan(lab: Lab) -> None:
    """Another device under the old name, with its address and route at once, while packets come."""
    plan = lab.plan
    ip("link del wan0", lab.gw.netns)
    lab._link("gw", "wan0", "router", "eth0")
    ip(f"addr add {plan.next_hop}/24 dev eth0", lab.hosts["router"].netns)
    ip(f"addr add {plan.public[0]}/24 dev wan0\nroute add default via {plan.next_hop}", lab.gw.netns)


def test_a_wan_made_anew_under_load(lab: Lab) -> None:
    """Captured behind the router, whose link to the server never changes: no inside source, none, ever."""
    far = lab.server
    with AlgateGateway(lab) as gateway, Capture(far, forbidden=PRIVATE) as capture:
        with load(lab.client, lab.plan.servers[0]):
            for _ in range(ROUNDS):
                time.sleep(0.2)
                replace_wan(lab)
                until(lambda: gateway.ask("status")["state"] == "translating")
                with Line(lab.client, lab.plan.servers[0], ECHO) as line:
                    assert line.ask(b"again") == b"again"
        assert inside_packets(capture) == []
        no_netfilter(lab, gateway)


def test_a_wan_made_anew_while_the_daemon_is_away(lab: Lab) -> None:
    """Nobody looks at the new device: what would leave by it is dropped, with its reason, until a daemon does."""
    with AlgateGateway(lab) as gateway, Capture(lab.server, forbidden=PRIVATE) as capture:
        with Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"one") == b"one"
        gateway.stop_daemon()
        with load(lab.client, lab.plan.servers[0]):
            replace_wan(lab)
            time.sleep(0.5)
        assert inside_packets(capture) == []
        gateway.start()
        with Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"two") == b"two"
        assert gateway.ask("stats")['algate_drops_total{reason="device-unknown"}'] > 50
        assert inside_packets(capture) == []


def test_addresses_that_change_under_load(lab: Lab) -> None:
    with AlgateGateway(lab) as gateway, Capture(lab.server, forbidden=PRIVATE) as capture:
        with load(lab.client, lab.plan.servers[0]):
            for number in range(70, 70 + ROUNDS):
                ip("addr flush dev wan0", lab.gw.netns)
                ip(f"addr add 198.51.100.{number}/24 dev wan0", lab.gw.netns)
                ip(f"route replace default via {lab.plan.next_hop}", lab.gw.netns)
                wait_for(gateway, f"198.51.100.{number}")
        assert inside_packets(capture) == []


def test_a_container_s_packets(lab: Lab) -> None:
    """What a container sends of itself is dropped with a reason unless somebody translates it; its answers through a
    forward are translated."""
    box = add_container(lab)
    forwards = (PortForward(8021, f"{CONTAINER}:{ECHO}", alg=None),)
    with Echo(box, ECHO), AlgateGateway(lab, forwards) as gateway, Capture(lab.server, forbidden=PRIVATE) as capture:
        with Line(lab.server, lab.plan.public[0], 8021) as line:
            assert line.ask(b"x" * 100_000) == b"x" * 100_000
            (row,) = gateway.ask("sessions")
            assert row["inside"] == f"{CONTAINER}:{ECHO}" and row["mapped"] == "198.51.100.2:8021"
        with box.socket(kind=socket.SOCK_DGRAM) as sock:
            for size in (1, 3000):
                sock.sendto(bytes(size), (lab.plan.servers[0], ECHO))
        until(lambda: gateway.ask("stats")['algate_drops_total{reason="private-source"}'] >= 2, 5)
        assert inside_packets(capture) == []
        no_netfilter(lab, gateway)


def test_it_is_followed_at_once(lab: Lab) -> None:
    """By the kernel's word: an address's change is in force within a few hundredths of a second, not after a poll."""
    with AlgateGateway(lab) as gateway:
        took = []
        for number in range(80, 85):
            ip(f"addr flush dev wan0\naddr add 198.51.100.{number}/24 dev wan0", lab.gw.netns)
            since = time.monotonic()
            wait_for(gateway, f"198.51.100.{number}")
            took.append(time.monotonic() - since)
        assert sorted(took)[2] < 0.25, took


def test_clsact_removed_under_load(lab: Lab) -> None:
    """Everybody's filters go while the daemon stands still: what the stack forwards is translated at WAN egress all the
    same, on the device's own hook. Before Linux 6.6 there is none, and nothing holds until the daemon is back."""
    with AlgateGateway(lab) as gateway, Capture(lab.server, forbidden=PRIVATE) as capture:
        assert gateway.process is not None
        with load(lab.client, lab.plan.servers[0]):
            for device in ("wan0", "lan0", "wan0"):
                os.kill(gateway.process.pid, signal.SIGSTOP)
                lab.gw.run(["tc", "qdisc", "del", "dev", device, "clsact"], check=True)
                time.sleep(0.3)
                os.kill(gateway.process.pid, signal.SIGCONT)
                until(lambda: filters(lab.gw, "wan0") == WAN_FILTERS and filters(lab.gw, "lan0"))
        assert inside_packets(capture) == [] or not TCX
        no_netfilter(lab, gateway)


def test_a_neighbour_s_mark_does_not_pass_for_ours(lab: Lab) -> None:
    """tc_index survives the way into another namespace. A frame that comes with the number by which we know what we
    have translated, and that needs the stack (it has IP options), is translated nevertheless."""
    program = bytes.fromhex("b70200007ea10000 63212c0000000000 b7000000ffffffff 9500000000000000")
    with AlgateGateway(lab), Capture(lab.server, forbidden=PRIVATE) as capture:

        def mark() -> None:
            fd = libbcc.load(libbcc.SCHED_CLS, "marks", program)
            index = socket.if_nametoindex("eth0")
            netlink.add_clsact(index)
            netlink.set_filter(index, netlink.EGRESS, fd, "marks")
            os.close(fd)

        call_in(lab.client.netns, mark)
        with lab.client.socket(kind=socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes((1, 1, 1, 0)))
            sock.settimeout(5)
            sock.sendto(b"hello", (lab.plan.servers[0], ECHO))
            assert sock.recvfrom(100)[0] == b"hello"
        assert inside_packets(capture) == []
