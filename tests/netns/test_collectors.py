"""IPFIX from a running gateway, as collectors take it: nfcapd (nfdump) and nfacctd (pmacct) of Debian."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import Spawned
from algate.cli.lab.lab import Lab
from tests.netns.talk import Echo, Line, data, until, verb

ECHO, NFDUMP, PMACCT = 7007, 9995, 9996
CONFIG = """
[nat]
port_block = 64
port_block_idle = 2
hold_down = 0
[log]
level = "{level}"
ipfix = "{collector}:{port}"
"""
NUMBER = 12  # of sessions
CREATED, ENDED, ASSIGNED, RELEASED = 4, 5, 16, 17  # natEvent


def nfcapd(lab: Lab) -> tuple[Spawned, Path]:
    folder = lab.folder / "nfcapd"
    folder.mkdir()
    words = ["nfcapd", "-w", str(folder), "-p", str(NFDUMP), "-b", lab.plan.next_hop, "-t", "60"]
    made = lab.server.spawn("nfcapd", words)
    until(lambda: "Startup" in made.tail(20))
    return made, folder


def stored(folder: Path) -> list[dict[str, Any]]:
    """What nfdump reads in the files that nfcapd wrote."""
    import subprocess

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("nfcapd.2*")):
        done = subprocess.run(["nfdump", "-r", str(path), "-o", "json"], capture_output=True, text=True, check=True)
        if "No matching flows" not in done.stdout:  # of a minute without any, in words
            rows += json.loads(done.stdout or "[]")
    return rows


def nfacctd(lab: Lab) -> tuple[Spawned, Path]:
    """Port ranges are no fields that it knows by name: it is told their numbers."""
    out, fields, config = (lab.folder / name for name in ("pmacct.json", "pmacct.fields", "nfacctd.conf"))
    fields.write_text(
        "name=first_port field_type=361 len=2 semantics=u_int\nname=last_port field_type=362 len=2 semantics=u_int\n"
    )
    config.write_text(
        f"daemonize: false\nnfacctd_ip: {lab.plan.next_hop}\nnfacctd_port: {PMACCT}\nplugins: print\n"
        f"aggregate_primitives: {fields}\nprint_output: json\nprint_output_file: {out}\nprint_refresh_time: 2\n"
        "print_output_file_append: true\n"
        "aggregate: src_host, src_port, dst_host, dst_port, proto, post_nat_src_host, post_nat_src_port, nat_event,"
        " timestamp_start, first_port, last_port\n"
    )
    made = lab.server.spawn("nfacctd", ["nfacctd", "-f", str(config)])
    until(lambda: "waiting for NetFlow/IPFIX data" in made.tail(40))
    return made, out


@contextlib.contextmanager
def sessions(lab: Lab, port: int, level: str) -> Iterator[AlgateGateway]:
    """A gateway that exports there."""
    config = CONFIG.format(level=level, collector=lab.plan.next_hop, port=port)
    with AlgateGateway(lab, config=config) as gateway, Echo(lab.server, ECHO):
        yield gateway


def talk(lab: Lab) -> None:
    for _ in range(NUMBER):
        with Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"told") == b"told"


def test_nfdump_takes_sessions_and_blocks(lab: Lab) -> None:
    collector, folder = nfcapd(lab)
    with sessions(lab, NFDUMP, "sessions") as gateway:
        talk(lab)
        rows = {row["inside"]: row["mapped"] for row in data(gateway, "sessions")}
        assert verb(gateway, "kill", "--proto", "tcp").returncode == 0
        time.sleep(5)  # until the block has been empty for 2 s
    os.kill(collector.pid, signal.SIGTERM)  # it writes its file
    until(lambda: not collector.alive())
    told = stored(folder)
    events = Counter(int(row["nat_event_id"]) for row in told)
    assert events == {CREATED: NUMBER, ENDED: NUMBER, ASSIGNED: 1, RELEASED: 1}
    for row in told:
        if int(row["nat_event_id"]) in (CREATED, ENDED):
            assert row["dst4_addr"] == lab.plan.servers[0] and row["dst_port"] == ECHO and row["proto"] == 6
            assert rows[f"{row['src4_addr']}:{row['src_port']}"] == f"{row['src4_xlt_ip']}:{row['src_xlt_port']}"
        else:
            assert (row["src4_addr"], row["src4_xlt_ip"]) == (lab.client.address, lab.plan.public[0])


def test_pmacct_takes_blocks(lab: Lab) -> None:
    _, out = nfacctd(lab)

    def told() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []

    with sessions(lab, PMACCT, "blocks") as gateway:
        talk(lab)
        ports = {int(row["mapped"].rpartition(":")[2]) for row in data(gateway, "sessions")}
        assert verb(gateway, "kill", "--proto", "tcp").returncode == 0
        until(lambda: {row["nat_event"] for row in told()} >= {ASSIGNED, RELEASED})
    rows = told()
    assert [row["nat_event"] for row in sorted(rows, key=lambda row: row["timestamp_start"])] == [ASSIGNED, RELEASED]
    for row in rows:
        assert (row["ip_src"], row["post_nat_ip_src"]) == (lab.client.address, lab.plan.public[0])
        first, last = int(row["first_port"]), int(row["last_port"])
        assert last == first + 63 and all(first <= port <= last for port in ports) and len(ports) == NUMBER


@pytest.mark.parametrize("level", ["mappings"])
def test_nobody_listens(lab: Lab, level: str) -> None:
    """A collector that isn't there costs sessions nothing, and what is lost is counted."""
    with sessions(lab, 9, level) as gateway:
        talk(lab)
        missed = until(
            lambda: [name for name, value in gateway.ask("stats").items() if "records_lost" in name and value]
        )
        assert any("ipfix" in name for name in missed)
