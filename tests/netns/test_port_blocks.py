"""Port blocks with real sessions: whose ports lie where, over a restart, a reload, and at the end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import defaultdict
from collections.abc import Iterator

import pytest

from algate.alg.gateway import portblocks
from algate.alg.gateway.portblocks import PortBlock
from algate.bpf import abi, pins
from algate.bpf.pinned import Pinned
from algate.cli.commands.whose import NOW
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from tests.netns.talk import CONTENT, Echo, Line, Talker, data, talking, until, verb
from tests.topology import no_netfilter

ECHO = 7007
SIZE = 64
CONFIG = f"""
[nat]
port_block = {SIZE}
port_block_idle = 2
hold_down = 0
"""
FORWARD = 8021


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(clients=("10.77.0.2", "10.77.0.3"))) as made:
        yield made


@pytest.fixture
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab, config=CONFIG) as made:
        yield made
        no_netfilter(lab, made)


def held(gateway: AlgateGateway) -> list[PortBlock]:
    with Pinned(pins.folder(gateway.run_dir) / abi.layout_hash()) as maps:
        return [one for keys, values, _ in maps.chunks("port_blocks") for one in portblocks.blocks(keys, values)]


def hosts_of_blocks(gateway: AlgateGateway) -> dict[int, set[str]]:
    """First port of a block -> inside hosts of the sessions with a port in it."""
    found: dict[int, set[str]] = defaultdict(set)
    for row in data(gateway, "sessions"):
        found[int(row["mapped"].rpartition(":")[2]) // SIZE * SIZE].add(row["inside"].partition(":")[0])
    return found


def sound(gateway: AlgateGateway) -> None:
    done = verb(gateway, "check", "--live")
    assert done.returncode == 0, done.stdout + done.stderr


def test_sessions_transfers_and_a_restart(lab: Lab, gateway: AlgateGateway, server: FtpServer) -> None:
    first, second = lab.clients
    address = lab.plan.servers[0]
    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(Echo(lab.server, ECHO))
        lines = [open_ones.enter_context(Line(host, address, ECHO)) for host in (first,) * 70 + (second,) * 10]
        assert all(line.ask(b"block") == b"block" for line in lines)
        talker = open_ones.enter_context(talking(first, address, server.login))
        for mode in Mode:
            assert talker.fetch("pub/file", mode) == CONTENT
        blocks = {(one.first, str(one.inside)) for one in held(gateway)}
        assert len([inside for _, inside in blocks if inside == first.address]) == 2  # 64 ports aren't enough
        assert {(block, *hosts) for block, hosts in hosts_of_blocks(gateway).items()} == blocks
        sound(gateway)
        assert gateway.process is not None
        gateway.process.kill()
        assert lines[0].ask(b"without") == b"without"
        lines += [open_ones.enter_context(Line(second, address, ECHO)) for _ in range(5)]
        gateway.start()
        assert all(line.ask(b"after") == b"after" for line in lines)
        assert talker.fetch("pub/file", Mode.PORT) == CONTENT
        assert {(one.first, str(one.inside)) for one in held(gateway)} == blocks
        assert {(block, *hosts) for block, hosts in hosts_of_blocks(gateway).items()} == blocks
        sound(gateway)
    assert verb(gateway, "kill", "--proto", "tcp").returncode == 0
    until(lambda: not held(gateway), 15)
    sound(gateway)


def test_two_lines_answer_an_abuse_letter(lab: Lab) -> None:
    """Of many sessions the log has a line for their block and one for its end; `whose` finds the host by them."""
    log = lab.folder / "translations.log"
    config = CONFIG + f'[log]\nlevel = "blocks"\nfile = "{log}"\n'
    address, public = lab.plan.servers[0], lab.plan.public[0]
    with AlgateGateway(lab, config=config) as gateway, Echo(lab.server, ECHO):
        for _ in range(30):
            with Line(lab.clients[1], address, ECHO) as line:
                assert line.ask(b"once") == b"once"
        port = int(data(gateway, "sessions")[0]["mapped"].rpartition(":")[2])
        moment = time.time()
        assert verb(gateway, "kill", "--proto", "tcp").returncode == 0
        until(lambda: not held(gateway), 15)
        until(lambda: log.exists() and b"block-released" in log.read_bytes())
        until(lambda: time.time() > moment + NOW + 1)  # what is younger the tables answer
        (row,) = data(gateway, "whose", f"{public}:{port}", "--at", str(moment))
        assert (row["inside"], row["proto"], row["source"]) == (lab.clients[1].address, "any", "block-released")
        assert row["since"] <= moment <= row["until"]
        assert verb(gateway, "whose", f"{public}:{port}", "--at", str(moment - 600)).returncode == 1
        assert [line.split()[1] for line in log.read_text().splitlines()] == ["block-assigned", "block-released"]


def test_a_server_inside(lab: Lab) -> None:
    """Its passive ports come from its own block, and the forward's from none."""
    inside = lab.client
    server = start_server("vsftpd", inside)
    (server.pub / "file").write_bytes(CONTENT)
    config = CONFIG + f'\n[[forward]]\nproto = "tcp"\nwan_port = {FORWARD}\nto = "{inside.address}:21"\nalg = "ftp"\n'
    with AlgateGateway(lab, config=config) as gateway:
        public = lab.plan.public[0]
        with Talker(lab.server, public, server.login, FORWARD) as talker:
            assert talker.fetch("pub/file", Mode.PASV) == CONTENT
            assert talker.fetch("pub/file", Mode.EPSV) == CONTENT
        (one,) = held(gateway)
        ports = [int(row["mapped"].rpartition(":")[2]) for row in data(gateway, "sessions")]
        assert FORWARD in ports and all(one.first <= port <= one.last for port in ports if port != FORWARD)
        assert str(one.inside) == inside.address and one.first // SIZE != FORWARD // SIZE
        sound(gateway)


def test_a_reload_switches_them_on_and_off_and_changes_their_size(lab: Lab, gateway: AlgateGateway) -> None:
    address = lab.plan.servers[0]
    with contextlib.ExitStack() as open_ones:
        open_ones.enter_context(Echo(lab.server, ECHO))

        def more() -> Line:
            line = open_ones.enter_context(Line(lab.client, address, ECHO, socket.SOCK_DGRAM))
            assert line.ask(b"x") == b"x"
            return line

        def changed(size: int) -> None:
            path = lab.folder / "algate.toml"
            path.write_text(CONFIG.replace(f"port_block = {SIZE}", f"port_block = {size}"))
            assert verb(gateway, "reload").returncode == 0

        lines = [more() for _ in range(10)]
        for size, sizes in ((256, {64, 256}), (0, {64, 256}), (64, {64, 256})):
            changed(size)
            lines += [more() for _ in range(10)]
            assert {one.size for one in held(gateway)} == sizes
            sound(gateway)
        assert all(line.ask(b"still") == b"still" for line in lines)
    assert verb(gateway, "kill", "--proto", "udp").returncode == 0
    until(lambda: not held(gateway), 15)
