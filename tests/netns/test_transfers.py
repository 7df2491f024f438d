"""Bulk transfers through each gateway: equal bytes, GSO kept, nothing for the helper; rates side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algate.cli.lab.gateways import AlgateGateway, LabGateway
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer, start_server
from algate.cli.lab.transfers import Errand, Operation, carry_out, order
from algate.cli.lab.trial import digest
from tests.netns.matrix import FOLDER
from tests.netns.talk import data
from tests.netns.wirecount import WireCount
from tests.topology import GATEWAYS, gateway_lab, no_netfilter

SIZE = 1 << 30
BLOCK = 1 << 24
MODES = (Mode.PORT, Mode.PASV)
RATES: dict[tuple[str, Mode], float] = {}  # bytes/s


@pytest.fixture(scope="module", params=GATEWAYS)
def middle(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, LabGateway, FtpServer]]:
    """A lab with a gateway and a server that has 1 GiB."""
    with gateway_lab(request.param) as (lab, gateway):
        server = start_server("vsftpd", lab.server)
        write_random(server.pub / "big", SIZE)
        (server.pub / "small").write_bytes(b"x" * 1000)
        yield lab, gateway, server


def write_random(path: Path, size: int) -> None:
    """No two blocks are alike, so that a misplaced one shows."""
    block = bytearray(os.urandom(BLOCK))
    with path.open("wb") as file:
        for number in range(size // BLOCK):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)


def fetch(lab: Lab, server: FtpServer, name: str, mode: Mode) -> float:
    """Get a file with curl and compare its bytes; returns the seconds it took."""
    local = lab.folder / "got"
    errand = Errand(mode, Operation.GET, lab.plan.servers[0], server.login, f"pub/{name}", local, seconds=100)
    start = time.perf_counter()
    outcome = carry_out(lab.client, "curl", errand, order("curl", errand))
    took = time.perf_counter() - start
    assert outcome.ok, outcome.words
    assert digest(local) == digest(server.pub / name)
    local.unlink()
    return took


@pytest.mark.parametrize("mode", MODES)
def test_a_gibibyte(middle: tuple[Lab, LabGateway, FtpServer], mode: Mode) -> None:
    """The helper hears no more of it than of a kilobyte; the data session is shown as the control session's."""
    lab, gateway, server = middle
    if not isinstance(gateway, AlgateGateway):
        RATES[(gateway.name, mode)] = SIZE / fetch(lab, server, "big", mode)
        return
    counts = [punts(gateway)]
    fetch(lab, server, "small", mode)
    counts.append(punts(gateway))
    RATES[(gateway.name, mode)] = SIZE / fetch(lab, server, "big", mode)
    counts.append(punts(gateway))
    small, big = counts[1] - counts[0], counts[2] - counts[1]
    assert small > 0
    assert big <= small + 4, "a retransmission or two may be punted, data never"
    (row,) = [row for row in data(gateway, "sessions") if row["bytes_in"] > SIZE and row["related_to"]][-1:]
    (control,) = [one for one in data(gateway, "sessions") if one["id"] == row["related_to"]]
    assert (control["alg"], row["alg"]) == ("ftp", None)
    no_netfilter(lab, gateway)


def punts(gateway: LabGateway) -> float:
    """How often the helper has been asked or told so far."""
    stats: dict[str, float] = gateway.ask("stats")
    return stats["algate_punts_total"] + stats['algate_lines_passed_total{copied="yes"}']


def test_the_rates_are_written_down() -> None:
    """Rates of a shared machine are only printed here, not compared (DESIGN section 7)."""
    assert set(RATES) == {(name, mode) for name in GATEWAYS for mode in MODES}
    lines = [
        "# 1 GiB by FTP (vsftpd to curl), MB/s, in one run",
        "",
        "| gateway | PORT | PASV |",
        "| --- | --- | --- |",
    ]
    for name in GATEWAYS:
        lines.append(f"| {name} | " + " | ".join(f"{RATES[(name, mode)] / 1e6:.0f}" for mode in MODES) + " |")
    ratios = [RATES[("algate", mode)] / RATES[("kernel", mode)] for mode in MODES]
    lines.append("| algate / kernel | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "rates.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def test_gso_packets_stay_gso() -> None:
    """An upload leaves the WAN device in packets larger than its MTU, with the segment size in them."""
    with gateway_lab("algate") as (lab, _):
        server = start_server("vsftpd", lab.server)
        source = lab.folder / "up"
        write_random(source, BLOCK)
        errand = Errand(Mode.PASV, Operation.PUT, lab.plan.servers[0], server.login, "pub/up", source)
        with WireCount(lab.gw, "wan0") as count:
            outcome = carry_out(lab.client, "curl", errand, order("curl", errand))
        assert outcome.ok, outcome.words
        assert digest(server.pub / "up") == digest(source)
        assert count.gso > 0 and count.largest > lab.plan.mtu
        assert count.packets < BLOCK / lab.plan.mtu, "most of it left in large packets"


def test_xdp_redirects_and_changes_nothing() -> None:
    """Generic XDP only takes linear packets with finished checksums: the end hosts make them."""
    with Lab() as lab, AlgateGateway(lab, datapath="xdp-generic") as gateway:
        for host in (lab.client, lab.server):
            host.run(["ethtool", "-K", "eth0", "tx", "off"], check=True)
        assert gateway.ask("status")["datapath"] == "xdp-generic"
        server = start_server("vsftpd", lab.server)
        write_random(server.pub / "file", BLOCK)
        for mode in MODES:
            fetch(lab, server, "file", mode)
        stats = gateway.ask("stats")
        assert stats['algate_redirected_total{path="xdp"}'] > BLOCK / lab.plan.mtu
        row = max(data(gateway, "sessions"), key=lambda one: one["bytes_in"])
        assert row["bytes_in"] > BLOCK, "the kernel path counts what XDP takes"
        no_netfilter(lab, gateway)
