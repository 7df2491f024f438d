"""A host meets its limit: log, explain, hosts, status and doctor say which host, what it has, and which limit."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.lab import Lab
from tests.netns.talk import Echo, Line, data, until, verb

ECHO, MOST = 7007, 3
CONFIG = f"[nat]\nmax_sessions_per_host = {MOST}\nhold_down = 600\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with Lab() as lab, AlgateGateway(lab, config=CONFIG) as made, Echo(lab.server, ECHO):
        yield made


def test_everybody_says_which_host(gateway: AlgateGateway) -> None:
    inside, server = gateway.lab.client.address, gateway.lab.plan.servers[0]
    assert data(gateway, "status")["refused"] == []
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            assert stack.enter_context(Line(gateway.lab.client, server, ECHO)).ask(b"x") == b"x"
        with gateway.lab.client.socket() as late:
            late.settimeout(1.5)
            late.bind(("", 0))
            port = late.getsockname()[1]
            with pytest.raises(OSError):
                late.connect((server, ECHO))
        said = f"host {inside} has {MOST} of {MOST} sessions (max_sessions_per_host)"
        until(lambda: said in gateway.log, 5)
        told = verb(gateway, "explain", f"{inside}:{port}", f"{server}:{ECHO}", "--json")
        answer = json.loads(told.stdout)
        assert answer["verdict"] == "refused" and answer["findings"][0]["topic"] == "host-sessions"
        assert f"host {inside} was refused new sessions" in answer["findings"][0]["text"]
        assert answer["findings"][0]["text"].endswith(f"it has {MOST} of {MOST} sessions")
        (row,) = data(gateway, "hosts", "--inside", inside)
        assert (row["sessions"], row["limit_sessions"], row["limit_ports"]) == (MOST, MOST, None) and row[
            "refused"
        ] >= 1
        (refused,) = data(gateway, "status")["refused"]
        assert (refused["inside"], refused["reason"], refused["has"], refused["limit"]) == (
            inside,
            "host-sessions",
            MOST,
            MOST,
        )
        checks = {one["check"]: one for one in json.loads(verb(gateway, "doctor", "--json").stdout)}
        assert f"host {inside}" in checks["limits"]["detail"] and checks["limits"]["ok"]


def test_what_was_freed_is_held_down(gateway: AlgateGateway) -> None:
    """Each port is one thing: used, then kept from other hosts."""
    inside = gateway.lab.client.address
    verb(gateway, "kill", "--inside", inside)
    before = data(gateway, "ports", "--proto", "udp")[0]
    with gateway.lab.client.socket(kind=socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", (gateway.lab.plan.servers[0], 9))
        until(lambda: data(gateway, "ports", "--proto", "udp")[0]["used"] == before["used"] + 1, 5)
        assert verb(gateway, "kill", "--inside", inside, "--proto", "udp").returncode == 0
    (after,) = data(gateway, "ports", "--proto", "udp")
    assert (after["used"], after["held_down"]) == (before["used"], before["held_down"] + 1)
    assert after["free"] == before["free"] - 1
