"""Starts that can't work: the right exit code, one clear line, nothing half attached."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from algate.bpf import pins
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import Lab, ip
from tests.netns.footprint import footprint, pinned
from tests.netns.talk import verb

LOG = re.compile(r"\d{4}-\d\d-\d\d .* (INFO|WARNING) ")
DEVICES = ("--lan", "lan0", "--wan", "wan0")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> AlgateGateway:
    """A gateway that isn't started."""
    made = AlgateGateway(lab)
    made._prepare()
    return made


def refused(
    gateway: AlgateGateway, *argv: str, config: str = "", before: tuple[str, ...] = ()
) -> tuple[int, list[str]]:
    """Exit code and lines of an `algate run` that must not become ready or change anything."""
    was = footprint(gateway.lab.gw), pinned(gateway.run_dir)
    file = gateway.lab.folder / "bad.toml"
    file.write_text(config)
    words = [*before, *algate(), "run", *argv, "--run-dir", str(gateway.run_dir), "--config", str(file)]
    done: subprocess.CompletedProcess[str] = gateway.lab.gw.run(words, timeout=60)
    assert done.stdout == ""
    assert (footprint(gateway.lab.gw), pinned(gateway.run_dir)) == was
    return done.returncode, [line for line in done.stderr.splitlines() if not LOG.match(line)]


def test_an_unknown_device_is_told_the_nearest(gateway: AlgateGateway) -> None:
    assert refused(gateway, "--lan", "lan9", "--wan", "wan0") == (1, ["algate: no device lan9; did you mean lan0?"])
    code, lines = refused(gateway, "--lan", "lan0", "--wan", "zzzzz")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("algate: no device zzzzz") and "wan0" in lines[0]


@pytest.mark.parametrize(
    "argv", [("--lan", "lan0", "--lan", "lan0", "--wan", "wan0"), ("--lan", "wan0", "--wan", "wan0")]
)
def test_a_device_twice(gateway: AlgateGateway, argv: tuple[str, ...]) -> None:
    code, lines = refused(gateway, *argv)
    assert code == 2
    assert len(lines) == 1 and argv[1] in lines[0] and "gateway." in lines[0], lines


def test_no_device_at_all(gateway: AlgateGateway) -> None:
    code, lines = refused(gateway)
    assert code == 2
    assert [line.strip().split(":")[0] for line in lines[1:]] == ["gateway.lan", "gateway.wan"], lines


def test_a_wan_without_address_and_no_patience(lab: Lab, gateway: AlgateGateway) -> None:
    ip("addr flush dev wan0", lab.gw.netns)
    try:
        code, lines = refused(gateway, *DEVICES, "--wait", "0")
    finally:
        ip("addr add 198.51.100.2/24 dev wan0\nroute add default via 198.51.100.1", lab.gw.netns)
    assert code == 1
    assert lines == ["algate: wan0 has no IPv4 address: give it one, or leave --wait out to wait for it"]


def test_overlapping_prefixes(lab: Lab, gateway: AlgateGateway) -> None:
    ip("addr add 10.77.0.77/16 dev wan0", lab.gw.netns)
    try:
        code, lines = refused(gateway, *DEVICES)
    finally:
        ip("addr del 10.77.0.77/16 dev wan0", lab.gw.netns)
    assert code == 1
    assert len(lines) == 1 and "10.77.0.1/24" in lines[0] and "10.77.0.77/16" in lines[0] and "overlap" in lines[0]


def test_a_configuration_tells_all_its_errors(lab: Lab, gateway: AlgateGateway) -> None:
    """Each with its key's path, and the nearest right name for a wrong one."""
    text = '[nat]\nports = "70000"\nmaping = "x"\n[timeouts]\nudp = -1\n'
    text += '[alg.ftp]\nmin_prot = 1\n[[forward]]\nproto = "x"\n'
    was = footprint(lab.gw)
    file = lab.folder / "wrong.toml"
    file.write_text(text)
    done = lab.gw.run([*algate(), "run", *DEVICES, "--run-dir", str(gateway.run_dir), "--config", str(file)])
    assert done.returncode == 2
    for path in ("nat.ports", "nat.maping", "timeouts.udp", "alg.ftp.min_prot", "forward[0].proto", "forward[0].to"):
        assert sum(line.strip().startswith(f"{path}:") for line in done.stderr.splitlines()) == 1, (path, done.stderr)
    assert "mapping" in done.stderr and "min_port" in done.stderr
    assert footprint(lab.gw) == was


def test_the_metrics_port_in_use(lab: Lab, gateway: AlgateGateway) -> None:
    with lab.gw.socket() as taken:
        taken.bind(("127.0.0.1", 1025))
        taken.listen()
        code, lines = refused(gateway, *DEVICES)
    assert code == 1
    assert len(lines) == 1 and "127.0.0.1:1025" in lines[0] and "[metrics] listen" in lines[0]


def test_pins_of_another_version(gateway: AlgateGateway) -> None:
    """They hold sessions: a new version neither uses nor removes them on its own."""
    foreign = pins.folder(gateway.run_dir) / "0123456789abcdef"
    foreign.mkdir(parents=True)
    code, lines = refused(gateway, *DEVICES)
    assert code == 1
    assert len(lines) == 1 and f"algate down --purge --run-dir {gateway.run_dir}" in lines[0]
    assert foreign.is_dir()
    assert verb(gateway, "down", "--purge", host=gateway.lab.gw).returncode == 0
    assert not foreign.exists()
    with gateway:
        assert gateway.ask("status")["state"] == "translating"


def test_without_privilege(gateway: AlgateGateway) -> None:
    """Root in name, without capabilities."""
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
    code, lines = refused(gateway, *DEVICES, before=bare)
    assert code == 3
    assert len(lines) == 1 and "needs root" in lines[0] and "sudo" in lines[0]


def test_a_run_directory_that_cannot_be(lab: Lab, gateway: AlgateGateway) -> None:
    done = lab.gw.run([*algate(), "run", *DEVICES, "--run-dir", "/proc/nowhere"])
    assert done.returncode in (1, 3)
    assert done.stderr.startswith("algate: can't use run directory /proc/nowhere")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["status", "sessions", "stats", "reload"])
def test_a_verb_without_a_daemon(gateway: AlgateGateway, name: str) -> None:
    done = verb(gateway, name)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"algate: no daemon on {gateway.run_dir}: start it with `algate run`, or give --run-dir\n"
