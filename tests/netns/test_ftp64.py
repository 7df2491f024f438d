"""FTP between the families by real programs (RFC 6384): a client with IPv6 alone and servers with IPv4, the other way
round behind a forward, over IPv6 through the filter, with names from a DNS64, for an IPv4-only client behind a CLAT.

Every transfer is judged by what both links show (cli/lab/judge.py). One cell in four always, all with `--all`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway, PortForward
from algate.cli.lab.host import Spawned
from algate.cli.lab.judge import InsideEnd, Mode
from algate.cli.lab.lab import Lab, LabPlan, ip
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import Operation
from algate.cli.lab.trial import NAT64_PREFIX, FtpWay, TrialStage, digest
from tests.netns.talk import until
from tests.netns.test_ftp6 import PATIENT

pytestmark = pytest.mark.netns
CONTENT = bytes(range(256)) * 150
SERVERS, CLIENTS, MODES = ("vsftpd", "proftpd"), ("curl", "lftp", "tnftp", "ftplib"), (Mode.EPRT, Mode.EPSV)
PLACES = ((FtpWay.SIX, InsideEnd.CLIENT), (FtpWay.SIX, InsideEnd.SERVER), (FtpWay.NAT64, InsideEnd.CLIENT))
ONE_IN = 4  # cells
UNPACKED = Path(sys.prefix) / "servers"
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
    target = NAT64_PREFIX.replace("::/96", f"::{lab.plan.servers[0]}")
    client = lab.client.spawn(f"patient64-{way}", [sys.executable, "-c", script, target, str(go), way, str(ready)])
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
    address = f"{NAT64_PREFIX.split('/')[0]}{lab.plan.servers[0]}"
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
        assert address in done.stderr or "2001:db8:64::" in done.stderr
    finally:
        resolver.kill()
        names.kill()


def gateway_address(lab: Lab) -> str:
    return lab.plan.inside6.replace("::/64", "::1")


def unbound(lab: Lab) -> Spawned:
    """On the gateway's host, as many have it."""
    config = lab.folder / "unbound.conf"
    config.write_text(f"""
server:
  directory: "{lab.folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  interface: {gateway_address(lab)}
  access-control: ::/0 allow
  module-config: "dns64 iterator"
  dns64-prefix: {NAT64_PREFIX}
forward-zone:
  name: "."
  forward-addr: {lab.plan.servers[0]}
remote-control:
  control-enable: no
""")
    program = UNPACKED / "unbound/usr/sbin/unbound"
    return lab.gw.spawn("unbound", [str(program), "-d", "-c", str(config)])


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


def tayga(lab: Lab, own: str, mapped: str) -> Spawned:
    """A CLAT: the host's IPv4 leads into it, and out of it comes IPv6 from an address of its own (RFC 6877)."""
    config, program = lab.folder / "tayga.conf", str(UNPACKED / "tayga/usr/sbin/tayga")
    config.write_text(f"""
tun-device clat
ipv4-addr 192.0.0.1
ipv6-addr {mapped}:1
prefix {NAT64_PREFIX}
map {own} {mapped}
data-dir {lab.folder}
""")
    host = lab.client
    host.run([program, "--mktun", "-c", str(config)], check=True)
    for key in ("ipv6/conf/all/forwarding", "ipv6/conf/all/proxy_ndp", "ipv4/ip_forward"):
        host.sysctl(key, "1")
    ip(
        f"link set clat up\naddr add {own}/32 dev clat\nroute replace default dev clat src {own} mtu 1480 advmss 1440\n"
        f"route add {mapped}/128 dev clat\nneigh add proxy {mapped} dev eth0",
        host.netns,
    )
    return host.spawn("tayga", [program, "-d", "-c", str(config)])


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
