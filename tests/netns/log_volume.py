"""`python -m tests.netns.log_volume`: lines and bytes of log that sessions cost, at each level and with port blocks.

The law of this file: real sessions through a gateway in a lab, and the file that it logs to; it judges nothing. Run
it as root.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import NamedTuple

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Host
from algate.cli.lab.lab import Lab, LabPlan
from tests.netns.talk import until, verb

HOSTS = ("10.77.0.2", "10.77.0.3")
SESSIONS = 2000
BLOCKS = "port_block = 512\nport_block_idle = 2\nhold_down = 0\n"
WAYS = (
    ("sessions", "sessions", ""),
    ("mappings", "mappings", ""),
    ("blocks of 512 ports", "blocks", BLOCKS),
    ("computed blocks", "blocks", BLOCKS + 'port_block_hosts = ["10.77.0.0/28"]\n'),
)


class Volume(NamedTuple):
    """Of one run; `octets`: bytes of the file."""

    name: str
    sessions: int
    lines: int
    octets: int


def measure(name: str, level: str, nat: str, sessions: int) -> Volume:
    """UDP sessions of two hosts, made and ended."""
    with Lab(LabPlan(clients=HOSTS)) as lab:
        log = lab.folder / "translations.log"
        config = f'[nat]\n{nat}[log]\nlevel = "{level}"\nfile = "{log}"\n'
        with AlgateGateway(lab, config=config) as gateway:
            for host in lab.clients:
                send(host, lab.plan.servers[0], sessions // len(HOSTS))
            until(lambda: gateway.ask("stats")["algate_sessions_created_total"] >= sessions)
            verb(gateway, "kill", "--proto", "udp")
            until(lambda: not gateway.ask("sessions"))
            settled(gateway)
            gateway.stop_daemon()
            content = log.read_bytes() if log.exists() else b""
        return Volume(name, sessions, content.count(b"\n"), len(content))


def settled(gateway: AlgateGateway) -> None:
    """The last empty block has been given back, and told."""
    time.sleep(5 if "port_block" in gateway.config else 1.5)


def send(host: Host, address: str, number: int) -> None:
    """One datagram from each of so many ports."""
    for port in range(20000, 20000 + number):
        with host.socket(kind=socket.SOCK_DGRAM) as one:
            one.bind(("0.0.0.0", port))
            one.sendto(b"x", (address, 7009))


def main() -> int:
    """Print a table."""
    print("| log | sessions | lines | bytes | bytes a session |\n| --- | --- | --- | --- | --- |")
    for name, level, nat in WAYS:
        one = measure(name, level, nat, SESSIONS)
        print(f"| {one.name} | {one.sessions:,} | {one.lines:,} | {one.octets:,} | {one.octets / one.sessions:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
