"""FTP over IPv6 by real programs: vsftpd and curl, in the modes that IPv6 has."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab, LabPlan
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import Errand, Operation, carry_out, order
from algate.cli.lab.trial import digest
from algate.client import Client

pytestmark = pytest.mark.netns
MODES = (Mode.EPRT, Mode.EPSV)
DUAL = {"listen": "NO", "listen_ipv6": "YES"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LabPlan(six=True)) as made:
        yield made


def transfer(lab: Lab, server: FtpServer, mode: Mode, operation: Operation, inside: bool) -> str:
    """What was wrong about a transfer with a client inside, or else a server; "" if nothing."""
    host, address = (
        (lab.client, lab.plan.servers6[0]) if inside else (lab.server, lab.plan.clients6[0])
    )  # fmt: skip
    remote, local = server.pub / "f.bin", lab.folder / "local-f.bin"
    source = local if operation is Operation.PUT else remote
    source.write_bytes(bytes(range(256)) * 4000)
    errand = Errand(mode, operation, address, server.login, "pub/f.bin", local)
    outcome = carry_out(host, "curl", errand, order("curl", errand))
    equal = digest(remote) == digest(local) != ""
    for path in (remote, local):
        Path(path).unlink(missing_ok=True)
    return outcome.words if not outcome.ok else "" if equal else "content differs"


def every_transfer(lab: Lab, inside: bool) -> None:
    """In each mode, both ways; `inside`: the client is."""
    server = start_server("vsftpd", lab.server if inside else lab.client, more=DUAL)
    try:
        for mode in MODES:
            for operation in (Operation.GET, Operation.PUT):
                assert transfer(lab, server, mode, operation, inside) == "", (mode, operation)
    finally:
        server.stop()


@pytest.mark.parametrize("inside", [True, False], ids=["client-inside", "server-inside"])
def test_the_lab_carries_it_by_itself(lab: Lab, inside: bool) -> None:
    every_transfer(lab, inside)


@pytest.fixture(scope="module")
def filtered(lab: Lab) -> Iterator[AlgateGateway]:
    """A gateway that lets nothing in over IPv6 but FTP to the client's host, and nothing out but FTP."""
    config = f"""
[ipv6]
filter = true
[firewall]
allow_out = ["tcp/21"]
[[allow_in]]
proto = "tcp"
port = 21
to = "{lab.plan.clients6[0]}"
"""
    with AlgateGateway(lab, config=config) as gateway:
        yield gateway


@pytest.mark.parametrize("inside", [True, False], ids=["client-inside", "server-inside"])
def test_through_the_filter_each_mode_opens_what_it_names(filtered: AlgateGateway, lab: Lab, inside: bool) -> None:
    """6-A9: only tcp/21 is allowed, either way; the data connections come by expectations alone."""
    every_transfer(lab, inside)
    rows = filtered.ask("sessions")
    side = f"[{lab.plan.clients6[0]}]:"
    control = [row for row in rows if row["alg"] == "ftp"]
    assert control and all(row["inside"].startswith(side) and row["mapped"] is None for row in control)
    wanted = {row["id"] for row in control if row["outside"].endswith("]:21") is inside}
    data = [row for row in rows if row["related_to"] in wanted]
    assert len(data) == len(MODES) * 2 and all(row["inside"].startswith(side) for row in data)


def test_who_asks_by_network_finds_them(filtered: AlgateGateway, lab: Lab) -> None:
    """Filters by IPv6 networks, sums by host, and an end of all of them."""
    plan, ask = lab.plan, filtered.ask
    number = ask("sessions", {"count": True})["count"]
    assert number and ask("sessions", {"inside": plan.inside6, "count": True})["count"] == number
    assert ask("sessions", {"inside": "2001:db8:99::/48", "count": True})["count"] == 0
    assert ask("sessions", {"outside": f"[{plan.servers6[0]}]:21", "count": True})["count"] == len(MODES) * 2
    assert [row["key"] for row in ask("sessions", {"by": "host"})] == [plan.clients6[0]]
    assert [one["inside"] for one in ask("hosts", {"inside": plan.inside6})] == [plan.clients6[0]]
    session = ask("sessions", {"outside": f"[{plan.servers6[0]}]:21"})[0]
    assert ask("explain", {"subject": [session["inside"]]})["findings"]
    assert ask("explain", {"subject": [plan.clients6[0]]})["findings"]
    assert len(ask("kill", {"inside": plan.inside6, "ids": []})) == number
    assert ask("sessions", {"count": True})["count"] == 0


def test_a_service_is_let_in_and_kept_out_live(filtered: AlgateGateway, lab: Lab) -> None:
    host, source, client = lab.plan.clients6[0], f"{lab.plan.servers6[0]}/128", Client(filtered.run_dir)
    web = lab.client.spawn("web", [sys.executable, "-m", "http.server", "9000", "--bind", "::"])
    fetch = ["curl", "-sS", "-g", "--max-time", "2", "-o", "/dev/null", f"http://[{host}]:9000/"]
    try:
        assert lab.client.wait_port(9000, alive=web.alive)
        assert lab.server.run(fetch).returncode != 0
        made = client.allow_add("tcp", 9000, f"[{host}]", [source])
        assert (made.to, made.from_, made.origin) == (host, (source,), "live")
        assert lab.server.run(fetch).returncode == 0
        rows = {row.port: row for row in client.allowed()}
        assert rows["9000"].hits == 1 and rows["21"].origin == "config"
        client.allow_del("tcp", 9000, host)
        assert lab.server.run(fetch).returncode != 0
    finally:
        web.stop()


PATIENT = """
import ftplib, pathlib, sys, time
address, go, active = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3] == "active"
ftp = ftplib.FTP(address, timeout=20)
ftp.login("anonymous", "x")
ftp.set_pasv(not active)
pathlib.Path(sys.argv[4]).touch()
while not go.exists():
    time.sleep(0.02)
got = bytearray()
ftp.retrbinary("RETR pub/f.bin", got.extend)
ftp.quit()
print(len(got))
"""


@pytest.mark.parametrize("way", ["active", "passive"])
def test_a_session_goes_on_with_the_next_helper(filtered: AlgateGateway, lab: Lab, way: str) -> None:
    """The daemon is killed between the log-in and the transfer; the next one takes the session over."""
    server = start_server("vsftpd", lab.server, more=DUAL)
    (server.pub / "f.bin").write_bytes(b"x" * 100_000)
    go, ready = lab.folder / f"go-{way}", lab.folder / f"ready-{way}"
    argv = [sys.executable, "-c", PATIENT, lab.plan.servers6[0], str(go), way, str(ready)]
    client = lab.client.spawn(f"patient-{way}", argv)
    try:
        end = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert filtered.process is not None
        filtered.process.kill()
        filtered.start()
        go.touch()
        while client.alive() and time.monotonic() < end + 20:
            time.sleep(0.05)
        assert client.log.read_text().split() == ["100000"], client.tail(5)
    finally:
        client.kill()
        server.stop()
