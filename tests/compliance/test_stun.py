"""What Debian's STUN client, inside, says about algate in each profile of mapping and filtering."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab, LabPlan
from tests.compliance.stun import StunServer

ADDRESSES = ("203.0.113.10", "203.0.113.11")
PLAN = LabPlan(servers=ADDRESSES)
PROFILES = {
    "default": ("", "Independent Mapping, Port Dependent Filter"),
    "address-dependent": ('[nat]\nfiltering = "address-dependent"\n', "Independent Mapping, Address Dependent Filter"),
    "open": ('[nat]\nfiltering = "endpoint-independent"\n', "Independent Mapping, Independent Filter"),
    "symmetric": ('[nat]\nmapping = "address-and-port-dependent"\n', "Dependent Mapping"),
}


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    """algate between the client and a STUN server with two addresses."""
    assert shutil.which("stun"), "stun is missing: install Debian's stun-client (deploy/dev.sh setup test does)"
    with Lab(PLAN) as lab, AlgateGateway(lab) as made:
        server = StunServer(lab.server, ADDRESSES)
        yield made
        server.close()


@pytest.mark.parametrize("profile", PROFILES)
def test_stun_client_names_the_profile(gateway: AlgateGateway, profile: str) -> None:
    config, expected = PROFILES[profile]
    (gateway.lab.folder / "algate.toml").write_text(config)
    gateway.ask("reload")
    done = gateway.lab.client.run(["stun", ADDRESSES[0]], timeout=60)
    said = " ".join(line for line in done.stdout.splitlines() if line.startswith("Primary:"))
    assert said.startswith(f"Primary: {expected}"), done.stdout + done.stderr
    # If ports depend on the destination, there is no end point to send a hairpin to.
    assert "will hairpin" in said or profile == "symmetric", said
