"""One host floods: another host's new sessions get through. `python -m tests.netns.test_floods` prints the figures,
those without the share as well, and of floods that invent their sources."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from algate.alg.gateway import netlink
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host, call_in
from algate.cli.lab.lab import LAN_DEVICE, Lab, LabPlan
from tests.netns import flooder
from tests.netns.talk import Echo, data

PLAN = LabPlan(clients=("10.77.0.2", "10.77.0.3"))
WIDE = LabPlan(inside="10.77.0.0/16", clients=("10.77.0.2", "10.77.0.3"))
ECHO, NOBODY = 7000, "203.0.113.99"
TABLE = 65536  # sessions: the UDP flood fills it in seconds
DEFAULT = f"[nat]\nmax_sessions = {TABLE}\n"
UNLIMITED = f"{DEFAULT}host_share = 1\nmax_unanswered_per_host = 0\n"
RATE = 30_000  # a second: slow enough that a loss is a refusal, and no queue that ran over
HEAD_START = 5.0  # s, in which it would take everything
PATIENCE = 0.9  # s for a session's first answer: below the second after which a SYN is repeated
TRIES, FEW = 100, 20  # of each protocol, in the rung and for the table: a failure takes PATIENCE
LEAST = 0.99


@dataclass
class Flood:
    kind: str
    sources: str
    title: str


ONE = "10.77.0.2/32"
SYN = Flood("syn", ONE, "SYN flood of one address")
UDP = Flood("udp", ONE, "UDP flood of one address")
INVENTED = (
    Flood("syn", "10.77.0.0/24", "SYN flood, sources invented in a /24"),
    Flood("udp", "10.77.0.0/24", "UDP flood, sources invented in a /24"),
)
INVENTED_WIDE = (
    Flood("syn", "10.77.0.0/16", "SYN flood, sources invented in a /16"),
    Flood("udp", "10.77.0.0/16", "UDP flood, sources invented in a /16"),
)


@contextlib.contextmanager
def flooding(lab: Lab, flood: Flood, seconds: float) -> Iterator[None]:
    gateway = call_in(lab.gw.netns, lambda: netlink.find_device(LAN_DEVICE))
    assert gateway is not None
    host, way = lab.clients[0], (gateway.mac.hex(), flood.kind, flood.sources, NOBODY)
    argv = [sys.executable, flooder.__file__, host.device, *way, str(seconds), str(RATE)]
    running = host.spawn("flooder", argv)
    try:
        time.sleep(HEAD_START)
        yield
        assert running.alive(), f"the flood ended before the tries did: {running.tail()}"
    finally:
        running.stop()


def succeeds(host: Host, address: str, kind: int) -> bool:
    """Whether a new session gets its first answer in time."""
    with host.socket(kind=kind) as made:
        made.settimeout(PATIENCE)
        try:
            made.connect((address, ECHO))
            made.send(b"x")
            return made.recv(1) == b"x"
        except OSError:
            return False


def share_of_successes(lab: Lab, flood: Flood, tries: int = TRIES) -> float:
    """Of another host's new sessions, TCP and UDP in turn, while the flood goes on."""
    host, address = lab.clients[1], lab.plan.servers[0]
    with Echo(lab.server, ECHO), flooding(lab, flood, 300):
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) * tries
        return sum(succeeds(host, address, kind) for kind in kinds) / len(kinds)


@pytest.fixture(scope="module")
def bed() -> Iterator[tuple[Lab, AlgateGateway]]:
    with Lab(PLAN) as lab, AlgateGateway(lab, config=DEFAULT) as gateway:
        yield lab, gateway


@pytest.mark.parametrize("flood", [SYN, UDP], ids=["syn", "udp"])
def test_anothers_new_sessions(bed: tuple[Lab, AlgateGateway], flood: Flood) -> None:
    lab, gateway = bed
    assert share_of_successes(lab, flood) >= LEAST
    reasons = {"syn": ("host-unanswered", "share-ports"), "udp": ("share-sessions",)}[flood.kind]
    stats = gateway.ask("stats")
    assert sum(stats[f'algate_drops_total{{reason="{one}"}}'] for one in reasons) > 1000
    assert len(data(gateway, "sessions", "--inside", lab.clients[0].address)) <= TABLE / 2
    said = next(line for line in reversed(gateway.log.splitlines()) if "new sessions refused" in line)
    assert f"host {lab.clients[0].address} has " in said


def main(words: str = "") -> None:
    """Of all floods, or of those in whose title the words are."""
    rows = []
    for plan, config, floods in (
        (PLAN, UNLIMITED, (SYN, UDP)), (PLAN, DEFAULT, (SYN, UDP)), (PLAN, UNLIMITED, INVENTED),
        (PLAN, DEFAULT, INVENTED), (WIDE, UNLIMITED, INVENTED_WIDE), (WIDE, DEFAULT, INVENTED_WIDE),
    ):  # fmt: skip
        for flood in (one for one in floods if words in one.title):
            with Lab(plan) as lab, AlgateGateway(lab, config=config):
                got = share_of_successes(lab, flood, FEW)
            rows.append(f"| {flood.title} | {'no share' if config is UNLIMITED else 'default'} | {got:.1%} |")
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
