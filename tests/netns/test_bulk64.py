"""NAT64 over a WAN with a small MTU, of hosts whose devices segment and sum: all of it comes through, both ways.

What such hosts send are packets of many segments, and segments without a finished checksum, which NAT64 doesn't cut.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.lab import WAN_DEVICE, Lab, LabPlan, ip
from tests.netns.test_nat64 import PREFIX, shown

pytestmark = pytest.mark.netns
# Takes as much as is said, and answers with its digest; or sends that much.
SERVER = """
import hashlib, socket
data = bytes(range(250)) * 16000
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 7001))
s.listen()
while True:
    c, _ = s.accept()
    try:
        if c.recv(1) == b"d":
            c.sendall(data)
        else:
            got = c.recv(len(data), socket.MSG_WAITALL)
            c.sendall(hashlib.sha256(got).digest())
    except OSError:  # the client has given up
        pass
    c.close()
"""
CLIENT = """
import hashlib, socket, sys
data = bytes(range(250)) * 16000
c = socket.create_connection((sys.argv[1], 7001), timeout=15)
c.sendall(sys.argv[2].encode())
want = data if sys.argv[2] == "d" else hashlib.sha256(data).digest()
if sys.argv[2] != "d":
    c.sendall(data)
got = b""
while len(got) < len(want):
    got += c.recv(1 << 20) or sys.exit("it ended early")
sys.exit(got != want)
"""
# Sends one large datagram in segments of that size (UDP_SEGMENT), or as it is, until as much came back.
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7007))
while True:
    data, peer = s.recvfrom(65535)
    s.sendto(data, peer)
"""
ASK = """
import socket, sys
size, segment = int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7007))
s.settimeout(0.4)
if segment:
    s.setsockopt(17, 103, segment)
for _ in range(10):
    got = 0
    try:
        s.send(bytes(size))
        while got < size:
            got += len(s.recv(65535))
        sys.exit(0)
    except OSError:  # told to send less, or lost
        pass
sys.exit(1)
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True, router=True)) as made:
        tcp = made.server.spawn("bulk", [sys.executable, "-c", SERVER])
        udp = made.server.spawn("echo", [sys.executable, "-c", ECHO])
        assert made.server.wait_port(7001, alive=tcp.alive) and udp.alive()
        yield made


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab, config=f'[nat64]\nprefix = "{PREFIX}"\n') as made:
        yield made


@pytest.fixture(scope="module", params=[1280, 600])
def mtu(request: pytest.FixtureRequest, lab: Lab, gateway: AlgateGateway) -> Iterator[int]:
    """Of the link between the gateway and its next router, which the gateway follows within a second."""
    size: int = request.param
    carries(lab, size)
    time.sleep(1)
    yield size
    carries(lab, 1500)


def carries(lab: Lab, size: int) -> None:
    for host, device in ((lab.gw, WAN_DEVICE), (lab.hosts["router"], "eth0")):
        ip(f"link set {device} mtu {size}", host.netns)
    lab.client.run(["ip", "-6", "route", "flush", "cache"])


def offloads(host: Host) -> set[str]:
    said = host.run(["ethtool", "-k", "eth0"]).stdout.splitlines()
    return {line.split(":")[0].strip() for line in said if ": on" in line}


@pytest.mark.parametrize("way", ["u", "d"], ids=["up", "down"])
def test_a_stream_is_whole(gateway: AlgateGateway, lab: Lab, mtu: int, way: str) -> None:
    assert {"tcp-segmentation-offload", "tx-checksumming"} <= offloads(lab.client) & offloads(lab.server)
    done = lab.client.run([sys.executable, "-c", CLIENT, shown(lab.plan.servers[0]), way], timeout=30)
    assert done.returncode == 0, done.stderr[-300:]


@pytest.mark.parametrize(("size", "segment"), [(12000, 1200), (6000, 500), (1232, 0), (4000, 0)])
def test_datagrams_come_back(gateway: AlgateGateway, lab: Lab, mtu: int, size: int, segment: int) -> None:
    """All that a WAN of 1280 carries. On a smaller one not what is as large as IPv6 must be able to send, and that the
    device was to segment or to sum: nobody may be told of less, so it is counted."""
    before = too_big(gateway)
    ask = [sys.executable, "-c", ASK, shown(lab.plan.servers[0]), str(size), str(segment)]
    came = lab.client.run(ask, timeout=30).returncode == 0
    assert came == (mtu == 1280 or (size, segment) in ((6000, 500), (4000, 0)))
    assert came or too_big(gateway) > before


def test_who_sums_by_itself_is_cut(gateway: AlgateGateway, lab: Lab, mtu: int) -> None:
    """What the reason advises for those that are lost above: then no device is to sum or to segment."""
    lab.client.run(["ethtool", "-K", "eth0", "tx", "off"])
    try:
        for size, segment in ((12000, 1200), (1232, 0)):
            ask = [sys.executable, "-c", ASK, shown(lab.plan.servers[0]), str(size), str(segment)]
            assert lab.client.run(ask, timeout=30).returncode == 0, (size, segment)
    finally:
        lab.client.run(["ethtool", "-K", "eth0", "tx", "on"])


def too_big(gateway: AlgateGateway) -> float:
    return float(gateway.ask("stats").get('algate_drops_total{reason="nat64-too-big"}', 0))
