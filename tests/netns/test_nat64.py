"""NAT64 on the wire: an IPv6 host inside, IPv4 hosts outside, real programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Network

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.lab import WAN_DEVICE, Lab, LabPlan, ip
from algate.client import Client
from tests.rfc7915 import embed

pytestmark = pytest.mark.netns
PREFIX = IPv6Network("2001:db8:64::/96")
SIZE = 10_240_000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True, router=True)) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab, config=f'[nat64]\nprefix = "{PREFIX}"\n') as made:
        yield made


def shown(v4: str) -> str:
    return str(embed(PREFIX, IPv4Address(v4)))


def fetched(server: Host, client: Host, address: str, port: int, own: int = 8000) -> None:
    """A file over HTTP, whole."""
    (server.folder / "big").write_bytes(bytes(range(256)) * (SIZE // 256))
    folder = ["--directory", str(server.folder)]
    web = server.spawn("web", [sys.executable, "-m", "http.server", str(own), "--bind", "::", *folder])
    try:
        assert server.wait_port(own, alive=web.alive)
        url = f"http://{address}:{port}/big"
        done = client.run(["curl", "-sS", "-g", "--max-time", "10", "-o", "/dev/null", "-w", "%{size_download}", url])
        assert (done.returncode, done.stdout.strip()) == (0, str(SIZE)), done.stderr
    finally:
        web.stop()


def test_ping(gateway: AlgateGateway, lab: Lab) -> None:
    """64-9: an answer without DF comes in fragments, each of which the client gets."""
    remote = shown(lab.plan.servers[0])
    lab.server.sysctl("ipv4/ip_no_pmtu_disc", "1")
    before = joined(lab.client)
    done = lab.client.run(["ping", "-6", "-c", "3", "-i", "0.2", "-s", "1400", "-W", "2", remote])
    lab.server.sysctl("ipv4/ip_no_pmtu_disc", "0")
    assert " 0% packet loss" in done.stdout, done.stdout + done.stderr
    assert joined(lab.client) - before == 3


def joined(host: Host) -> int:
    """Datagrams that it has put together from fragments."""
    rows = host.run(["cat", "/proc/net/snmp6"]).stdout.splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Ip6ReasmOKs"))


def test_a_client_inside(gateway: AlgateGateway, lab: Lab) -> None:
    """64-1; the listing says who they are."""
    fetched(lab.server, lab.client, f"[{shown(lab.plan.servers[0])}]", 8000)
    (row,) = [row for row in gateway.ask("sessions") if row["proto"] == "tcp"]
    assert row["inside"].startswith(f"[{lab.plan.clients6[0]}]:") and row["outside"] == f"{lab.plan.servers[0]}:8000"
    assert row["mapped"].startswith(f"{lab.plan.public[0]}:")
    assert gateway.ask("status")["ipv6"]["nat64"] == str(PREFIX)


def test_a_server_inside(gateway: AlgateGateway, lab: Lab) -> None:
    """64-7, by a live forward."""
    to = f"[{lab.plan.clients6[0]}]:9000"
    client = Client(gateway.run_dir)
    client.forward_add("tcp", 8080, to)
    assert [row.to for row in client.forwards()] == [to]
    fetched(lab.client, lab.server, lab.plan.public[0], 8080, own=9000)


def test_the_way_shows(gateway: AlgateGateway, lab: Lab) -> None:
    """64-13: where a packet of few hops ends, as traceroute asks: the gateway's own address, then the router's."""
    remote, own = shown(lab.plan.servers[0]), str(IPv6Network(lab.plan.inside6)[1])
    for hops, whom in ((1, own), (2, shown(lab.plan.next_hop))):
        said = lab.client.run(["ping", "-6", "-n", "-c", "1", "-t", str(hops), "-W", "2", remote]).stdout
        assert f"From {whom} icmp_seq=1 Time exceeded" in said, said


def test_a_path_is_found(gateway: AlgateGateway, lab: Lab) -> None:
    """64-10: a router outside tells of a link of 1400 bytes, and a server inside comes to know of 1420."""
    router, remote = lab.hosts["router"], shown(lab.plan.servers[0])
    ip("link set eth1 mtu 1400", router.netns)
    fetched(lab.client, lab.server, lab.plan.public[0], 8080, own=9000)
    said = lab.client.run(["ip", "-6", "route", "get", remote]).stdout
    assert " mtu 1420 " in said, said


# Answers what it gets, or as many times 250 bytes as that says; nothing of it with DF.
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)
s.bind(("", 7007))
while True:
    data, peer = s.recvfrom(9000)
    s.sendto(data if len(data) > 9 else bytes(range(250)) * int(data), peer)
"""
ASK = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(0.3)
data = sys.argv[2].encode() if len(sys.argv[2]) < 9 else bytes(1232)
want = bytes(range(250)) * int(data) if len(data) < 9 else data
for _ in range(20):
    s.sendto(data, (sys.argv[1], 7007))
    try:
        sys.exit(s.recv(65535) != want)
    except TimeoutError:
        pass
sys.exit(2)
"""


@pytest.mark.parametrize(("mtu", "what"), [(600, "x" * 9), (9000, "20")], ids=["small", "large"])
def test_what_is_cut(gateway: AlgateGateway, lab: Lab, mtu: int, what: str) -> None:
    """64-9, 64-10: 1280 bytes get through a WAN of 600, and back; 5000 bytes without DF arrive in pieces."""
    router, ends = lab.hosts["router"], ((lab.gw, WAN_DEVICE), (lab.hosts["router"], "eth0"))
    for host, device in (*ends, *([(router, "eth1"), (lab.server, "eth0")] if mtu > 1500 else [])):
        ip(f"link set {device} mtu {mtu}", host.netns)
    for host in (lab.client, lab.server):  # a sum that a device is to finish isn't cut
        host.run(["ethtool", "-K", "eth0", "tx", "off"])
    before, server = joined(lab.client), lab.server.spawn("echo", [sys.executable, "-c", ECHO])
    try:
        asked = [sys.executable, "-c", ASK, shown(lab.plan.servers[0]), what]
        assert lab.client.run(asked).returncode == 0, gateway.ask("status")["drops"]
    finally:
        server.stop()
        for host, device in (*ends, (router, "eth1"), (lab.server, "eth0")):
            ip(f"link set {device} mtu 1500", host.netns)
    assert joined(lab.client) > before


def test_another_prefix(gateway: AlgateGateway, lab: Lab) -> None:
    """It takes effect at once; what was begun under the former ends."""
    other = IPv6Network("2001:db8:6464::/48")
    lab.client.run(["ping", "-6", "-c", "1", "-W", "2", shown(lab.plan.servers[0])])
    assert gateway.ask("sessions", {"count": True})["count"]
    (lab.folder / "algate.toml").write_text(f'[nat64]\nprefix = "{other}"\n')
    gateway.ask("reload")
    assert gateway.ask("sessions", {"count": True})["count"] == 0
    remote = str(embed(other, IPv4Address(lab.plan.servers[0])))
    assert lab.client.run(["ping", "-6", "-c", "1", "-W", "2", remote]).returncode == 0
    assert lab.client.run(["ping", "-6", "-c", "1", "-W", "1", shown(lab.plan.servers[0])]).returncode != 0
