"""Blind attackers: spoofed segments with random numbers end neither idle sessions nor a control session at work.

Beside it the same against the kernel's NAT, whose word this is measured by.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from algate.alg.engine.icmp import checksum
from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.host import call_in
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from tests.netns.talk import PATIENCE, Echo, Line, data, talking
from tests.topology import gateway_lab

pytestmark = pytest.mark.netns
ECHO = 7007
IDLE, IDLE_ALL = 60, 150
SPOOFED = 64_512
FIN, SYN, RST, ACK = 1, 2, 4, 16
MIXES = (RST, RST | ACK, RST | SYN, FIN | SYN, FIN | RST, SYN | ACK | RST, SYN, FIN | ACK)


@pytest.fixture(scope="module", params=["algate", "kernel"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, LabGateway]]:
    with gateway_lab(request.param) as (lab, gateway), Echo(lab.server, ECHO):
        yield lab, gateway


def spoofed(source: str, port: int, public: str, target: int, flags: int, random: Random) -> bytes:
    """A TCP segment as from the server, without its IP header."""
    numbers = random.getrandbits(32), random.getrandbits(32)
    head = struct.pack("!HHIIBBHHH", port, target, *numbers, 5 << 4, flags, 501, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(public) + struct.pack("!HH", 6, len(head))
    return head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]


def attack(lab: Lab, aims: list[tuple[int, int]], number: int) -> None:
    """So many segments from the server's address: to each public port from its remote port in turn."""
    random, source, public = Random(13), lab.plan.servers[0], lab.plan.public[0]
    with lab.server.socket(kind=socket.SOCK_RAW, proto=socket.IPPROTO_TCP) as raw:
        raw.bind((source, 0))
        for turn in range(number):
            port, target = aims[turn % len(aims)]
            mix = MIXES[turn // len(aims) % len(MIXES)]
            raw.sendto(spoofed(source, port, public, target, mix, random), (public, 0))


def test_sixty_thousand_guesses_end_nothing(both: tuple[Lab, LabGateway], request: pytest.FixtureRequest) -> None:
    """A RST's number must be exact (RFC 5961): idle sessions, and an FTP control session during a transfer."""
    lab, gateway = both
    address, content = lab.plan.servers[0], bytes(1 << 20) * 64
    lines = [Line(lab.client, address, ECHO) for _ in range(IDLE_ALL if request.config.getoption("run_all") else IDLE)]
    server = start_server("pyftpdlib", lab.server)
    (server.pub / "file").write_bytes(content)
    with talking(lab.client, address, server.login) as talker:
        assert all(line.ask(b"before") == b"before" for line in lines)
        aims = [(ECHO, int(line.local.rpartition(":")[2])) for line in lines]
        control = talker.ftp.sock
        assert control is not None
        aims += [(21, control.getsockname()[1])] * 5
        thread = threading.Thread(target=attack, args=(lab, aims, SPOOFED))
        thread.start()
        fetched = 0
        while thread.is_alive() or not fetched:
            assert talker.fetch("pub/file", Mode.PASV) == content
            fetched += 1
        thread.join()
        states = states_of(lab, gateway, aims)
        reset = states["reset"]
        deaf = silent(lines)
        shown = f"{SPOOFED} segments to {len(lines)} idle sessions and a control session: {reset} in reset afterwards"
        print(f"\n{gateway.name}: {shown}, {deaf} without an answer, {fetched} transfers meanwhile")
        if isinstance(gateway, AlgateGateway):  # the kernel's NAT stands beside: it lost one of the idle now and then
            assert not reset and not deaf
            assert talker.say("NOOP").startswith("2")
            assert states == {"established": len(lines) + 1}
            assert gateway.ask("stats")["algate_tcp_ignored_total"] > SPOOFED // 2
    for line in lines:
        line.close()


def silent(lines: list[Line]) -> int:
    """How many of the connections give no answer within PATIENCE in all."""
    end, count = time.monotonic() + PATIENCE, 0
    for line in lines:
        line.socket.settimeout(max(0.1, end - time.monotonic()))
        try:
            count += line.ask(b"after") != b"after"
        except OSError:
            count += 1
    return count


def states_of(lab: Lab, gateway: LabGateway, aims: list[tuple[int, int]]) -> Counter[str]:
    """How many of the sessions aimed at are in which state; the kernel's CLOSE is called reset."""
    if isinstance(gateway, AlgateGateway):
        rows = data(gateway, "sessions", "--proto", "tcp")
        ports = {f"{lab.plan.public[0]}:{target}" for _, target in aims}
        remotes = {f"{lab.plan.servers[0]}:{port}" for port, _ in aims}
        return Counter(row["state"] for row in rows if row["mapped"] in ports and row["outside"] in remotes)
    table = call_in(lab.gw.netns, Path("/proc/thread-self/net/nf_conntrack").read_text)
    return Counter("reset" for line in table.splitlines() if " CLOSE " in line)
