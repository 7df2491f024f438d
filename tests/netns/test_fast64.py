"""NAT64 by XDP, between hosts that sum what they send and take redirected frames (GRO): a stream is whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab, LabPlan
from tests.netns.test_bulk64 import CLIENT, SERVER
from tests.netns.test_nat64 import PREFIX, shown

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True)) as made:
        for host in (made.client, made.server):
            host.run(["ethtool", "-K", "eth0", "tx", "off", "gro", "on"], check=True)
        tcp = made.server.spawn("bulk", [sys.executable, "-c", SERVER])
        assert made.server.wait_port(7001, alive=tcp.alive)
        yield made


@pytest.mark.parametrize("way", ["u", "d"], ids=["up", "down"])
def test_a_stream_is_whole(lab: Lab, way: str) -> None:
    with AlgateGateway(lab, config=f'[nat64]\nprefix = "{PREFIX}"\n', datapath="xdp") as gateway:
        done = lab.client.run([sys.executable, "-c", CLIENT, shown(lab.plan.servers[0]), way], timeout=30)
        assert done.returncode == 0, done.stderr[-300:]
        counted = gateway.ask("stats")
        assert float(counted['algate_redirected_total{path="xdp"}']) > 500
