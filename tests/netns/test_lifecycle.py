"""Stop, kill, restart, down: what must go on goes on, what must go is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from algate.alg.admin.control import ControlError
from algate.cli.lab.gateways import AlgateGateway
from algate.cli.lab.host import LabError
from algate.cli.lab.judge import Mode
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import FtpServer
from tests.netns.footprint import WAN_FILTERS, filters, footprint, pinned
from tests.netns.talk import CONTENT, Echo, Line, talking, until, verb
from tests.topology import no_netfilter

ECHO = 7007


@pytest.fixture
def gateway(lab: Lab) -> Iterator[AlgateGateway]:
    with AlgateGateway(lab) as made:
        yield made
        no_netfilter(lab, made)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways find nothing that others have loaded."""
    monkeypatch.setattr(AlgateGateway, "spares", None)


def end(gateway: AlgateGateway, number: signal.Signals) -> None:
    """Stop the daemon by that signal."""
    assert gateway.process is not None
    if number == signal.SIGKILL:
        gateway.process.kill()
    else:
        os.kill(gateway.process.pid, number)
        assert gateway.process.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_sessions_outlive_the_daemon(
    lab: Lab, gateway: AlgateGateway, server: FtpServer, number: signal.Signals
) -> None:
    """Plain sessions go on, new ones begin, a control session waits and is taken over in the middle."""
    address = lab.plan.servers[0]
    with (
        Echo(lab.server, ECHO),
        Line(lab.client, address, ECHO) as line,
        talking(lab.client, address, server.login) as talker,
    ):
        assert line.ask(b"before") == b"before"
        assert talker.fetch("pub/file") == CONTENT
        mapped = {row["inside"]: row["mapped"] for row in gateway.ask("sessions")}
        end(gateway, number)
        with pytest.raises(ControlError, match="no daemon"):
            gateway.ask("status")
        assert not [name for name in footprint(lab.gw)["links"] if name not in ("lo", "lan0", "wan0")], "a TAP is left"
        assert line.ask(b"without a helper") == b"without a helper"
        with Line(lab.client, address, ECHO) as another:
            assert another.ask(b"new") == b"new"
        talker.send("NOOP")  # fail = "closed": held until somebody decides
        gateway.start()
        assert talker.hear().startswith("200")
        assert line.ask(b"after") == b"after"
        for mode in Mode:
            assert talker.fetch("pub/file", mode) == CONTENT
        now = {row["inside"]: row["mapped"] for row in gateway.ask("sessions")}
        assert now[line.local] == mapped[line.local]
        assert "took over 1 control session" in gateway.log


def test_an_open_announcement_is_used_after_a_restart(lab: Lab, gateway: AlgateGateway, server: FtpServer) -> None:
    """The expectation is in the kernel: a daemon that dies between 200 and RETR loses nothing."""
    with talking(lab.client, lab.plan.servers[0], server.login) as talker:
        talker.ftp.mode = Mode.PORT
        listener = talker._in(talker.ftp.makeport)
        listener.settimeout(20)
        end(gateway, signal.SIGKILL)
        gateway.start()
        talker.send("RETR pub/file")
        connection, _ = listener.accept()
        received = b""
        while more := connection.recv(65536):
            received += more
        assert received == CONTENT
        connection.close()
        listener.close()
        assert talker.hear().startswith("150")
        assert talker.hear().startswith("226")


@pytest.mark.usefixtures("anew")
def test_killed_at_any_moment_of_its_start(lab: Lab) -> None:
    """However far it got, `down --purge` leaves nothing, and a start over the remains works."""
    before = footprint(lab.gw)
    gateway = AlgateGateway(lab, wait=0.0)
    for moment in (0.4, 0.8, 1.2):
        with pytest.raises(LabError):
            gateway.start()  # it gives up waiting at once
        time.sleep(moment)
        assert gateway.process is not None
        gateway.process.kill()
    gateway.wait = 60.0
    with gateway:
        assert gateway.ask("status")["state"] == "translating"
        end(gateway, signal.SIGKILL)
    assert footprint(lab.gw) == before
    assert pinned(gateway.run_dir) == []


@pytest.mark.parametrize(
    ("where", "alive", "purge"),
    [("gw", True, False), ("gw", False, False), ("elsewhere", True, True), ("elsewhere", False, True)],
    ids=["with a daemon", "without a daemon", "purge from elsewhere", "purge from elsewhere without a daemon"],
)
def test_down(lab: Lab, where: str, alive: bool, purge: bool) -> None:
    """Nothing of algate's stays, whoever made the clsact; the pins stay until they are purged."""
    lab.gw.run(["tc", "qdisc", "add", "dev", "lan0", "clsact"], check=True)
    lab.gw.sysctl("ipv4/conf/wan0/forwarding", "1")
    before = footprint(lab.gw)
    gateway = AlgateGateway(lab)
    gateway.start()
    try:
        assert filters(lab.gw, "lan0") == ["ingress algate:tc_lan"]
        assert filters(lab.gw, "wan0") == WAN_FILTERS
        assert footprint(lab.gw)["switches"]["conf/lan0/forwarding"] == "1"
        if not alive:
            end(gateway, signal.SIGTERM)
            assert filters(lab.gw, "lan0") == ["ingress algate:tc_lan"]
        done = verb(gateway, "down", *(["--purge"] if purge else []), host=lab.gw if where == "gw" else None)
        assert (done.returncode, done.stderr) == (0, f"algate: down on {gateway.run_dir}\n")
        assert gateway.process is not None
        assert gateway.process.process.wait(10) == 0
        assert footprint(lab.gw) == before
        assert (pinned(gateway.run_dir) == []) == purge
    finally:
        gateway.stop()
    assert pinned(gateway.run_dir) == []


def test_down_keeps_what_others_added(lab: Lab) -> None:
    """A filter that somebody else put on our clsact keeps it there."""
    gateway = AlgateGateway(lab)
    gateway.start()
    words = ["filter", "add", "dev", "lan0", "ingress", "bpf", "bytecode", "1,6 0 0 0"]
    lab.gw.run(["tc", *words], check=True)
    gateway.stop()
    after = footprint(lab.gw)
    assert after["clsact"] == ["lan0"]
    assert after["filters"]["lan0"] == []
    assert "bytecode" in lab.gw.run(["tc", "filter", "show", "dev", "lan0", "ingress"]).stdout


@pytest.mark.usefixtures("anew")
def test_down_twice_and_where_nothing_ever_ran(lab: Lab) -> None:
    gateway = AlgateGateway(lab)
    gateway._prepare()
    for _ in range(2):
        assert verb(gateway, "down", "--purge").returncode == 0


def test_two_daemons_side_by_side_and_none_on_the_same(lab: Lab, gateway: AlgateGateway) -> None:
    """One daemon per run directory, one gateway per device; the first one doesn't notice."""
    mine = ["run", "--lan", "lan0", "--wan", "wan0"]
    done = verb(gateway, *mine, host=lab.gw)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "already running" in done.stderr
    other = AlgateGateway(lab)
    other.run_dir = lab.folder / "other"
    other.run_dir.mkdir()
    config = lab.folder / "other.toml"
    config.write_text('[metrics]\nlisten = ""\n')
    done = verb(other, *mine, "--config", str(config), host=lab.gw)
    assert done.returncode == 1
    assert "another instance" in done.stderr.splitlines()[-1]
    assert pinned(other.run_dir) == []
    assert filters(lab.gw, "wan0") == WAN_FILTERS
    with Lab() as another, AlgateGateway(another) as second:
        assert second.ask("status")["state"] == gateway.ask("status")["state"] == "translating"
        with Echo(lab.server, ECHO), Line(lab.client, lab.plan.servers[0], ECHO) as line:
            assert line.ask(b"undisturbed") == b"undisturbed"
            assert second.ask("sessions") == []
    until(lambda: gateway.ask("status")["state"] == "translating")
