"""The stateful filter for IPv6 with the daemon: inside hosts reach the outside, FTP included, and only what is allowed
comes in."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import start_server
from algate.cli.lab.transfers import Operation
from tests.netns.talk import data, until, verb
from tests.netns.test_ftp6 import DUAL, transfer

pytestmark = pytest.mark.netns
SERVICE, OTHER = 8443, 8444


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    plan = LabPlan(six=True)
    config = f'[ipv6]\nfilter = true\n[[allow_in]]\nproto = "tcp"\nport = {SERVICE}\nto = "{plan.clients6[0]}"\n'
    with Lab(plan) as lab, AlgateGateway(lab, config=config) as made:
        yield made


def connects(host: Host, address: str, port: int) -> bool:
    with host.socket(socket.AF_INET6) as one:
        one.settimeout(1.5)
        with contextlib.suppress(OSError):
            one.connect((address, port))
            return True
    return False


@contextlib.contextmanager
def listening(host: Host, port: int) -> Iterator[None]:
    with host.socket(socket.AF_INET6) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("::", port))
        one.listen()
        yield


def test_only_what_is_allowed_comes_in(gateway: AlgateGateway) -> None:
    lab, inside = gateway.lab, gateway.lab.plan.clients6[0]
    with listening(lab.client, SERVICE), listening(lab.client, OTHER):
        assert connects(lab.server, inside, SERVICE)
        assert not connects(lab.server, inside, OTHER)
        verb(gateway, "allow", "add", "tcp", str(OTHER), f"[{inside}]")
        assert connects(lab.server, inside, OTHER)
        verb(gateway, "allow", "del", "tcp", str(OTHER), f"[{inside}]")
        assert not connects(lab.server, inside, OTHER)
    rows = data(gateway, "sessions")
    assert any(row["inside"] == f"[{inside}]:{SERVICE}" and row["mapped"] is None for row in rows)


@pytest.mark.parametrize("mode", [Mode.EPSV, Mode.EPRT])
def test_ftp_from_inside(gateway: AlgateGateway, mode: Mode) -> None:
    server = start_server("vsftpd", gateway.lab.server, more=DUAL)
    try:
        for operation in (Operation.GET, Operation.PUT):
            assert transfer(gateway.lab, server, mode, operation, inside=True) == ""
    finally:
        server.stop()


def test_a_prefix_that_goes_takes_its_sessions(gateway: AlgateGateway) -> None:
    """6-A12."""
    lab = gateway.lab
    with listening(lab.server, SERVICE), lab.client.socket(socket.AF_INET6) as one:
        one.connect((lab.plan.servers6[0], SERVICE))
        port = one.getsockname()[1]
        assert any(f":{port}" in row["inside"] for row in data(gateway, "sessions"))
        addresses = lab.gw.run(["ip", "-6", "-o", "addr", "show", "scope", "global"]).stdout.split()
        own = next(word for word in addresses if word.startswith(lab.plan.inside6.split("::")[0] + "::"))
        device = addresses[addresses.index(own) - 2]
        lab.gw.run(f"ip -6 addr del {own} dev {device}".split())
        try:
            until(lambda: not any(f":{port}" in row["inside"] for row in data(gateway, "sessions")), 5)
        finally:
            lab.gw.run(f"ip -6 addr add {own} dev {device} nodad".split())
