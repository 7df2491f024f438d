"""FTP between the families by real programs (RFC 6384): a client with IPv6 alone and servers with IPv4, the other way
round behind a forward, over IPv6 through the filter, with names from a DNS64, for an IPv4-only client behind a CLAT.

Every transfer is judged by what both links show (cli/lab/judge.py). One cell in four always, all with `--all`."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from algate.alg.client.client import Client
from algate.cli.lab.ftplib_client import FtplibClient
from algate.cli.lab.gateways import AlgateGateway, PortForward
from algate.cli.lab.host import call_in
from algate.cli.lab.judge import InsideEnd, Mode
from algate.cli.lab.lab import Lab, LabPlan, ip
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import Operation
from algate.cli.lab.trial import NAT64_PREFIX, FtpWay, TrialStage, digest
from tests.netns.scripted64 import ANSWERS, DIALOGUES, LOGIN, WAYS, Exchange64, ScriptedServer, talk, whole
from tests.netns.talk import until, verb
from tests.netns.test_capture import ended, read, started
from tests.netns.test_ftp6 import PATIENT
from tests.netns.translators import gateway_address, tayga, unbound

pytestmark = pytest.mark.netns
CONTENT = bytes(range(256)) * 150
SERVERS, CLIENTS, MODES = ("vsftpd", "proftpd"), ("curl", "lftp", "tnftp", "ftplib"), (Mode.EPRT, Mode.EPSV)
PLACES = ((FtpWay.SIX, InsideEnd.CLIENT), (FtpWay.SIX, InsideEnd.SERVER), (FtpWay.NAT64, InsideEnd.CLIENT))
ONE_IN = 4  # cells
NAME = "files.example"


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    """Nothing but FTP may leave or come in, so data connections need what the dialogue opens."""
    plan = LabPlan(six=True)
    config = f"""
[ipv6]
filter = true
[nat64]
prefix = "{NAT64_PREFIX}"
[firewall]
allow_out = ["tcp/21", "udp/53"]
[[allow_in]]
proto = "tcp"
port = 21
to = "{plan.clients6[0]}"
"""
    forwards = (PortForward(21, f"[{plan.clients6[0]}]:21"),)
    with Lab(plan) as lab, AlgateGateway(lab, forwards, config=config) as made:
        yield made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return
    cells = []
    for number, (server, (way, side)) in enumerate((one, place) for one in SERVERS for place in PLACES):
        for turn, (client, mode) in enumerate((one, mode) for one in CLIENTS for mode in MODES):
            if metafunc.config.getoption("run_all") or (turn + number * 3) % ONE_IN == 0:
                cells.append(((server, way, side), client, mode))
    names = [f"{way}-{side}-{server}-{client}-{mode}" for (server, way, side), client, mode in cells]
    stages = [one for one, *_ in cells]
    metafunc.parametrize(("stage", "cell"), list(zip(stages, cells, strict=True)), indirect=["stage"], ids=names,
                         scope="module")  # fmt: skip


@pytest.fixture
def server(gateway: AlgateGateway) -> Iterator[FtpServer]:
    """With IPv4 alone, outside."""
    made = start_server("vsftpd", gateway.lab.server)
    (made.pub / "f.bin").write_bytes(CONTENT)
    yield made
    made.stop()


@pytest.mark.parametrize("way", ["active", "passive"])
def test_a_session_goes_on_with_the_next_helper(gateway: AlgateGateway, server: FtpServer, way: str) -> None:
    """Killed after a first transfer, whose commands and replies have moved the numbers of both streams."""
    lab = gateway.lab
    go, ready = lab.folder / f"go64-{way}", lab.folder / f"ready64-{way}"
    script = PATIENT.replace(
        "pathlib.Path(sys.argv[4]).touch()", "ftp.nlst('pub'); pathlib.Path(sys.argv[4]).touch()"
    )  # fmt: skip
    assert script != PATIENT
    client = lab.client.spawn(f"patient64-{way}", [sys.executable, "-c", script, target(lab), str(go), way, str(ready)])
    try:
        until(ready.exists, 20)
        assert gateway.process is not None
        gateway.process.kill()
        gateway.start()
        go.touch()
        end = time.monotonic() + 20
        while client.alive() and time.monotonic() < end:
            time.sleep(0.05)
        assert client.log.read_text().split() == [str(len(CONTENT))], client.tail(5)
    finally:
        client.kill()


@pytest.mark.parametrize("mode", [Mode.PASV, Mode.PORT, Mode.EPRT, Mode.EPSV])
def test_an_ipv4_client_reaches_a_server_with_ipv6(gateway: AlgateGateway, mode: Mode) -> None:
    """F64-12: behind a forward."""
    from algate.cli.lab.transfers import Errand, carry_out, order

    lab = gateway.lab
    made = start_server("vsftpd", lab.client, address=lab.plan.clients6[0])
    try:
        (made.pub / "f.bin").write_bytes(CONTENT)
        local = lab.folder / f"f64-{mode}"
        errand = Errand(mode, Operation.GET, lab.plan.public[0], made.login, "pub/f.bin", local)
        outcome = carry_out(lab.server, "curl", errand, order("curl", errand))
        assert outcome.ok, outcome.words
        assert local.read_bytes() == CONTENT
    finally:
        made.stop()


def test_a_client_that_knows_only_names(gateway: AlgateGateway, server: FtpServer) -> None:
    """64-15: unbound makes the address by its dns64 module; dnsmasq knows the name's IPv4 address alone."""
    lab = gateway.lab
    names = lab.server.spawn(
        "names", ["dnsmasq", "-k", "-C", "/dev/null", "-R", "-h", "--local=/example/", "--user=root", "--pid-file=",
                  f"--listen-address={lab.plan.servers[0]}", "--bind-interfaces",
                  f"--address=/{NAME}/{lab.plan.servers[0]}"],
    )  # fmt: skip
    resolver = unbound(lab)
    resolv = lab.folder / "resolv.conf"
    resolv.write_text(f"nameserver {gateway_address(lab)}\n")
    local = lab.folder / "by-name"
    script = f"mount --bind {resolv} /etc/resolv.conf && exec curl -q -sS -6 -v -o {local} ftp://{NAME}/pub/f.bin"
    try:
        until(lambda: lab.gw.run(["ss", "-lun"]).stdout.count(":53 ") > 0, 10)
        done = lab.client.run(["unshare", "-m", "sh", "-c", script], timeout=30)
        assert done.returncode == 0, (done.stderr[-600:], resolver.tail(5), names.tail(5))
        assert digest(local) == digest(server.pub / "f.bin") != ""
        assert "2001:db8:64::" in done.stderr
    finally:
        resolver.kill()
        names.kill()


def target(lab: Lab) -> str:
    """The IPv4 server as an IPv6 client knows it."""
    return NAT64_PREFIX.replace("::/96", f"::{lab.plan.servers[0]}")


def test_the_tables_agree(gateway: AlgateGateway) -> None:
    """With sessions of both families and between them, and a forward to an IPv6 host."""
    done = verb(gateway, "check", "--live")
    assert (done.returncode, done.stderr) == (0, "algate: the tables agree\n"), done


def test_an_ipv4_program_behind_a_clat(gateway: AlgateGateway, server: FtpServer) -> None:
    """64-15: 464XLAT, Tayga in the client's namespace; passive FTP, whose PASV and 227 pass as they are."""
    lab = gateway.lab
    own, mapped = "192.0.0.2", f"{lab.plan.inside6.split('::')[0]}::c1a7"
    clat = tayga(lab, own, mapped)
    local = lab.folder / "by-clat"
    command = ["curl", "-q", "-sS", "-4", "--disable-epsv", "--no-ftp-skip-pasv-ip", "-o", str(local),
               f"ftp://{lab.plan.servers[0]}/pub/f.bin"]  # fmt: skip
    try:
        done = lab.client.run(command, timeout=30)
        assert done.returncode == 0, (done.stderr, clat.tail(5))
        assert digest(local) == digest(server.pub / "f.bin") != ""
        rows = gateway.ask("sessions", {"outside": f"{lab.plan.servers[0]}:21"})
        assert any(row["inside"].startswith(f"[{mapped}]:") for row in rows), rows
    finally:
        clat.kill()
        ip(f"route replace default via {lab.plan.gateway}", lab.client.netns)


@pytest.fixture
def scripted(gateway: AlgateGateway) -> Iterator[ScriptedServer]:
    made = ScriptedServer(gateway.lab.server, dict(ANSWERS))
    yield made
    made.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", DIALOGUES)
def test_each_line_becomes_what_rfc_6384_says(
    gateway: AlgateGateway, scripted: ScriptedServer, name: str, way: Any
) -> None:
    talk(gateway.lab.client, target(gateway.lab), scripted, DIALOGUES[name], way)


def test_where_it_is_switched_off_lines_pass(gateway: AlgateGateway, scripted: ScriptedServer) -> None:
    """[alg.ftp] nat64 = "pass", by a reload."""
    file = gateway.lab.folder / "algate.toml"
    before = file.read_text()
    file.write_text(f'{before}\n[alg.ftp]\nnat64 = "pass"\n')
    gateway.ask("reload")
    try:
        same = [Exchange64(b"EPSV", b"EPSV", b"500"), Exchange64(b"ALGS STATUS64", b"ALGS STATUS64", b"200")]
        talk(gateway.lab.client, target(gateway.lab), scripted, [*LOGIN, *same], whole)
    finally:
        file.write_text(before)
        gateway.ask("reload")


@pytest.mark.parametrize("answer", [b"500 what?\r\n", b"450 not now\r\n", b"200-a\r\n b\r\n200 c\r\n"])
def test_a_server_that_refuses_noop(gateway: AlgateGateway, scripted: ScriptedServer, answer: bytes) -> None:
    """F64-5: the client's answer doesn't depend on it, and the next reply is the next command's."""
    scripted._answers[b"NOOP"] = answer
    exchanges = [*DIALOGUES["F64-3-F64-5"][:-1], Exchange64(b"PWD", b"PWD", b"200 fine")]
    talk(gateway.lab.client, target(gateway.lab), scripted, exchanges, whole)


def test_the_next_helper_knows_what_is_owed(gateway: AlgateGateway, scripted: ScriptedServer) -> None:
    """F64-11: killed while the server owes an answer to NOOP and the client's next line waits for it."""
    scripted.late = b"NOOP"
    with gateway.lab.client.socket(socket.AF_INET6) as one:
        one.settimeout(20)
        one.connect((target(gateway.lab), 21))
        one.sendall(b"USER a\r\nEPSV 1\r\nPWD\r\n")
        until(lambda: b"NOOP" in scripted.lines, 10)
        assert gateway.process is not None
        gateway.process.kill()
        gateway.start()
        scripted.go.set()
        got = b""
        while b"200 fine\r\n" not in got:
            got += one.recv(4096)
    told = [line[:4] for line in got.split(b"\r\n")]
    assert told == [b"220 ", b"331 ", b"522 ", b"200 ", b""] and scripted.lines == [b"USER a", b"NOOP", b"PWD"]


def test_another_host_in_a_227(gateway: AlgateGateway, scripted: ScriptedServer) -> None:
    """F64-2."""
    scripted._answers[b"PASV"] = b"227 Entering Passive Mode (203,0,113,99,200,1).\r\n"
    exchanges = [*LOGIN, Exchange64(b"EPSV", b"PASV", b"425 ")]
    talk(gateway.lab.client, target(gateway.lab), scripted, exchanges, whole)


def test_after_an_accepted_auth_nothing_is_touched(gateway: AlgateGateway, scripted: ScriptedServer) -> None:
    """F64-6."""
    scripted._answers[b"AUTH"] = b"234 go on\r\n"
    same = [Exchange64(line, line, b"") for line in (b"EPSV", b"ALGS STATUS64", b"EPRT |2|OWN|50000|")]
    exchanges = [*LOGIN, Exchange64(b"AUTH TLS", b"AUTH TLS", b"234"), *same]
    talk(gateway.lab.client, target(gateway.lab), scripted, exchanges, whole)


def test_telnet_options_are_refused(gateway: AlgateGateway, scripted: ScriptedServer) -> None:
    """F64-8: the server sees nothing of it, the client gets its answer."""
    host = gateway.lab.client
    with host.socket(socket.AF_INET6) as one:
        one.settimeout(5)
        one.connect((target(gateway.lab), 21))
        one.sendall(b"\xff\xfb\x01USER a\r\n")
        got = b""
        while b"331 who\r\n" not in got:
            got += one.recv(4096)
    assert b"\xff\xfe\x01" in got and scripted.lines == [b"USER a"]


@pytest.mark.parametrize("way", [FtpWay.NAT64, FtpWay.SIX])
def test_one_of_which_the_helper_has_not_read_yet_is_recorded(gateway: AlgateGateway, way: FtpWay) -> None:
    """A session that begins wakes nobody where its first lines may pass: who asks for one reads the ring first."""
    lab = gateway.lab
    at, asked = (lab.plan.servers[0], target(lab)) if way is FtpWay.NAT64 else (lab.plan.servers6[0],) * 2
    family = socket.AF_INET6 if ":" in at else socket.AF_INET
    silent = call_in(lab.server.netns, lambda: socket.create_server((at, 21), family=family))
    known = {row["id"] for row in gateway.ask("sessions", {"alg": "ftp"})}
    with silent, call_in(lab.client.netns, lambda: socket.create_connection((asked, 21))):
        (number,) = {row["id"] for row in gateway.ask("sessions", {"alg": "ftp"})} - known
        assert "seen" in next(Client(gateway.run_dir).told("capture", {"id": number}))


@pytest.mark.parametrize("verb", ["stats", "status"])
def test_one_of_which_the_helper_has_not_read_yet_counts(gateway: AlgateGateway, verb: str) -> None:
    lab, name = gateway.lab, {"stats": "algate_control_sessions", "status": "control_sessions"}[verb]
    silent = call_in(lab.server.netns, lambda: socket.create_server((lab.plan.servers6[0], 21), family=socket.AF_INET6))
    with silent:
        before = gateway.ask(verb)[name]
        with call_in(lab.client.netns, lambda: socket.create_connection((lab.plan.servers6[0], 21))):
            assert gateway.ask(verb)[name] == before + 1


@pytest.mark.parametrize("way", [FtpWay.NAT64, FtpWay.SIX])
def test_a_session_is_recorded_on_both_sides(gateway: AlgateGateway, way: FtpWay, tmp_path: Path) -> None:
    """By `algate capture`: each link in its own family, without passwords."""
    lab, path = gateway.lab, tmp_path / "made.pcapng"
    made = start_server("vsftpd", lab.server, address=lab.plan.servers6[0] if way is FtpWay.SIX else "")
    client = FtplibClient(timeout=20)
    client.mode = "EPSV"
    known = {row["id"] for row in gateway.ask("sessions", {"alg": "ftp"})}
    address = target(lab) if way is FtpWay.NAT64 else lab.plan.servers6[0]
    try:
        call_in(lab.client.netns, lambda: client.connect(address, 21))
        (number,) = {row["id"] for row in gateway.ask("sessions", {"alg": "ftp"})} - known
        recording = started(gateway, number, path)
        client.login(made.login.user, made.login.password)
        client.sendcmd("PASS hunter22")
        assert call_in(lab.client.netns, lambda: client.nlst("pub")) == []
        client.quit()
        assert "the session is over" in ended(recording)
    finally:
        client.close()
        made.stop()
    rows = [row for row in read(path) if row["payload"]]
    said = {(row["on"], row["payload"].split()[0]) for row in rows}
    asked, told = ("PASV", "227") if way is FtpWay.NAT64 else ("EPSV", "229")
    assert {("lan0", "EPSV"), ("wan0", asked), ("wan0", told), ("lan0", "229")} <= said
    assert b"hunter22" not in path.read_bytes() and any("PASS ****" in row["payload"] for row in rows)


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, gateway: AlgateGateway) -> Iterator[TrialStage]:
    """One server; the last one stays to the end of this file, so nothing comes behind its test."""
    server, way, side = request.param
    with TrialStage(gateway.lab, side, server, way) as made:
        yield made


def test_programs(stage: TrialStage, cell: tuple[object, str, Mode]) -> None:
    """F64-1, F64-4, 6-A9."""
    _, client, mode = cell
    for operation in (Operation.GET, Operation.PUT):
        result = stage.trial(client, mode, operation, CONTENT)
        assert result.ok and result.findings, (operation, result.problems, result.refusal)
