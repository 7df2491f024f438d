"""What an operator can change and see while the gateway runs: forwards, configuration, status."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import jsonschema
import pytest

from algate.alg.rows import HostRow
from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.lab import Lab
from algate.cli.lab.servers import start_server
from algate.cli.lab.trial import forwards
from algate.client import schema
from tests.netns.talk import Echo, Line, data, talking, until, verb
from tests.topology import no_netfilter

ECHO = 7007


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with Lab() as lab, AlgateGateway(lab, forwards(lab)) as made, Echo(lab.client, ECHO), Echo(lab.server, ECHO):
        yield made
        no_netfilter(lab, made)


def reaches(gateway: AlgateGateway, port: int) -> bool:
    """Whether an outside host gets an echo from inside through that public port."""
    try:
        with Line(gateway.lab.server, gateway.lab.plan.public[0], port) as line:
            return line.ask(b"hello") == b"hello"
    except OSError:
        return False


def test_status(gateway: AlgateGateway) -> None:
    """One object, from any namespace."""
    status = data(gateway, "status")
    assert gateway.process is not None
    wanted = {
        "state": "translating",
        "lan": ["lan0"],
        "wan": "wan0",
        "addresses": ["198.51.100.2"],
        "datapath": "tc",
        "run_dir": str(gateway.run_dir),
        "config": str(gateway.lab.folder / "algate.toml"),
        "fail": "closed",
        "max_sessions": 1048576,
    }
    assert {name: status[name] for name in wanted} == wanted
    package = f"algate {status['version']}"
    assert status["plugins"][:2] == [
        {"name": "ftp", "enabled": True, "transport": "tcp", "ports": [21], "origin": package},
        {"name": "tftp", "enabled": False, "transport": "udp", "ports": [69], "origin": package},
    ]
    assert status["pid"] > 0 and status["uptime"] > 0 and status["version"]
    assert status["tap"] and status["pins"] and status["headers"]
    assert set(status["datapath_why"]) == {"lan0", "wan0"}


def test_forwards_come_and_go(gateway: AlgateGateway) -> None:
    inside = gateway.lab.client.address
    (configured,) = data(gateway, "forward", "list")
    assert list(configured) == ["proto", "wan_port", "to", "from", "alg", "origin", "hits"]
    assert (configured["origin"], configured["wan_port"], configured["alg"]) == ("config", "21", "ftp")
    drops = gateway.ask("stats")
    assert verb(gateway, "forward", "add", "tcp", "8007", f"{inside}:{ECHO}").returncode == 0
    assert reaches(gateway, 8007)
    live = [row for row in data(gateway, "forward", "list") if row["origin"] == "live"]
    assert [(row["proto"], row["wan_port"], row["to"], row["hits"]) for row in live] == [
        ("tcp", "8007", f"{inside}:{ECHO}", 1)
    ]
    second = verb(gateway, "forward", "add", "tcp", "8009", f"{inside}:{ECHO}")
    assert second.stderr == f"algate: tcp port 8009 now leads to {inside}:{ECHO}\n"
    assert verb(gateway, "forward", "del", "tcp", "8009").returncode == 0
    (mapping,) = [row for row in data(gateway, "mappings") if row["public"].endswith(":8007")]
    assert mapping["static"]
    again = verb(gateway, "forward", "add", "tcp", "8007", f"{inside}:{ECHO}")
    assert again.returncode in (1, 2) and "8007" in again.stderr and len(again.stderr.splitlines()) <= 2
    with Line(gateway.lab.server, gateway.lab.plan.public[0], 8007) as line:
        assert line.ask(b"one") == b"one"
        assert verb(gateway, "forward", "del", "tcp", "8007").returncode == 0
        assert line.ask(b"its sessions go on") == b"its sessions go on"
    with gateway.lab.server.socket() as late:
        late.settimeout(1.0)
        with pytest.raises(OSError):
            late.connect((gateway.lab.plan.public[0], 8007))
    assert sum(_refusals(gateway.ask("stats")).values()) > sum(_refusals(drops).values())
    assert [row["origin"] for row in data(gateway, "forward", "list")] == ["config"]
    gone = verb(gateway, "forward", "del", "tcp", "8007")
    assert gone.returncode == 1 and "no forward of tcp port 8007" in gone.stderr


def _refusals(stats: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in stats.items() if name.startswith("algate_drops_total")}


def test_sessions_are_counted_summed_and_cut(gateway: AlgateGateway) -> None:
    inside, there = gateway.lab.client.address, ("--outside", f":{ECHO}")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            line = stack.enter_context(Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO))
            assert line.ask(b"x") == b"x"
        rows = data(gateway, "sessions", *there, "--inside", inside)
        assert data(gateway, "sessions", *there, "--count") == {"count": len(rows)} == {"count": 3}
        (group,) = data(gateway, "sessions", *there, "--by", "host")
        assert (group["key"], group["sessions"]) == (inside, 3)
        assert group["bytes_out"] == sum(row["bytes_out"] for row in rows)
        oldest = data(gateway, "sessions", *there, "--sort", "age", "--limit", "2")
        by_age = sorted(rows, key=lambda row: -row["age"])
        assert [row["id"] for row in oldest] == [row["id"] for row in by_age[:2]]
        assert len(data(gateway, "sessions", "--limit", "1")) == 1
        assert len(data(gateway, "sessions", "--sort", "rate", "--limit", "1", *there)) == 1
        assert verb(gateway, "kill", "--age", "3600", *there).returncode == 1
        for words in ((), ("--idle", "0"), ("--age", "0")):
            nothing = verb(gateway, "kill", *words)
            assert (nothing.returncode, "which sessions?" in nothing.stderr) == (2, True), (
                "never all of them by mistake"
            )
        assert len(data(gateway, "sessions", *there)) == 3
    for words, said in (
        (("--alg", "nope"), "no plug-in 'nope' is installed"),
        (("--sort", "byts"), "the nearest is bytes"),
        (("--by", "hosts"), "the nearest is host"),
    ):
        wrong = verb(gateway, "sessions", *words)
        assert (wrong.returncode, said in wrong.stderr, wrong.stderr.count("\n")) == (2, True, 1)


def test_hosts_and_ports(gateway: AlgateGateway) -> None:
    """Counts of the kernel, rates of a second; and what a process prints of them."""
    inside, public = gateway.lab.client.address, gateway.lab.plan.public[0]
    with Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"x") == b"x"
        stop = threading.Event()

        def talk() -> None:
            while not stop.wait(0.02):
                assert line.ask(b"y" * 1000) == b"y" * 1000

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            (row,) = data(gateway, "hosts", "--inside", inside)
        finally:
            stop.set()
            talker.join()
        assert list(row) == list(HostRow.names())
        assert row["sessions"] >= 1 and row["ports"] >= 1 and row["oldest"] > 0 and row["refused"] == 0
        assert 10_000 < row["rate_out"] < 200_000 and 10_000 < row["rate_in"] < 200_000 and row["new_per_second"] > 0
        assert data(gateway, "hosts", "--inside", "192.0.2.0/24") == []
        tcp, udp, icmp = data(gateway, "ports")
        assert [one["public"] for one in (tcp, udp, icmp)] == [public] * 3
        assert tcp["used"] >= 1 and tcp["fill"] > 0
        for one in (tcp, udp, icmp):
            assert one["used"] + one["free"] + one["held_down"] + one["reserved"] == 64512
    assert [row["proto"] for row in data(gateway, "ports", "--sort", "used", "--limit", "1")] == ["tcp"]
    for words, said in (
        (("hosts", "--sort", "sesions"), "the nearest is sessions"),
        (("hosts", "--inside", "10.0.0.1:80"), "a host has no port"),
        (("ports", "--sort", "fil"), "the nearest is fill"),
        (("ports", "--outside", "x"), "is not a network"),
    ):
        wrong = verb(gateway, *words)
        assert (wrong.returncode, said in wrong.stderr, wrong.stderr.count("\n"), wrong.stdout) == (2, True, 1, "")


def test_what_came_by_a_forward_ends_by_its_name(gateway: AlgateGateway) -> None:
    """One session of each of two forwards, and one of the inside's own: only those that are named end."""
    inside, public = gateway.lab.client.address, gateway.lab.plan.public[0]
    for port in ("8011", "8012"):
        assert verb(gateway, "forward", "add", "tcp", port, f"{inside}:{ECHO}").returncode == 0
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(Line(gateway.lab.server, public, port)) for port in (8011, 8012)]
        lines.append(stack.enter_context(Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO)))
        assert [line.ask(b"x") for line in lines] == [b"x"] * 3
        assert [len(data(gateway, "sessions", "--forward", one)) for one in ("8011", "tcp/8012", "any")] == [1, 1, 2]
        counts = {row["key"]: row["sessions"] for row in data(gateway, "sessions", "--by", "forward")}
        assert (counts["tcp/8011"], counts["tcp/8012"]) == (1, 1)
        killed = verb(gateway, "kill", "--forward", "tcp/8011", "--age", "0")
        assert (killed.returncode, killed.stderr) == (0, "algate: 1 session ended\n")
        assert (lines[1].ask(b"on"), lines[2].ask(b"on")) == (b"on", b"on")
        gone = verb(gateway, "forward", "del", "tcp", "8012", "--kill")
        assert gone.stderr == "algate: tcp port 8012 now leads nowhere; 1 session ended\n"
        assert data(gateway, "sessions", "--state", "established", "--inside", inside, "--count") == {"count": 1}
        assert lines[2].ask(b"still") == b"still"
    wrong = verb(gateway, "kill", "--forward", "tcp/8012")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "no forward 'tcp/8012'" in wrong.stderr
    assert verb(gateway, "forward", "del", "tcp", "8011").returncode == 0


def test_a_live_forward_outlives_the_daemon(gateway: AlgateGateway) -> None:
    inside = gateway.lab.client.address
    assert verb(gateway, "forward", "add", "tcp", "8008", f"{inside}:{ECHO}").returncode == 0
    assert gateway.stop_daemon() == 0
    assert reaches(gateway, 8008)
    gateway.start()
    assert reaches(gateway, 8008)
    assert [row["wan_port"] for row in data(gateway, "forward", "list") if row["origin"] == "live"] == ["8008"]
    assert verb(gateway, "forward", "del", "tcp", "8008").returncode == 0


def test_a_forward_that_is_saved(gateway: AlgateGateway) -> None:
    """Added live, then saved: it is in the file, survives a purge and a reload, and `del --save` removes it."""
    inside, config = gateway.lab.client.address, gateway.lab.folder / "algate.toml"
    good = config.read_text()
    words = ("forward", "add", "tcp", "8009", f"{inside}:{ECHO}")
    assert verb(gateway, *words).returncode == 0
    assert config.read_text() == good
    saved = verb(gateway, *words, "--save")
    assert saved.returncode == 0 and str(config) in saved.stderr, saved.stderr
    assert config.read_text().startswith(good) and "8009" in config.read_text()
    rows = [(row["wan_port"], row["origin"]) for row in data(gateway, "forward", "list")]
    assert rows == [("21", "config"), ("8009", "config")]
    assert gateway.ask("reload")["changed"] == []
    assert reaches(gateway, 8009)
    twice = verb(gateway, *words, "--save")
    assert twice.returncode == 2 and "8009" in twice.stderr
    assert verb(gateway, "forward", "del", "tcp", "8009").returncode == 0
    assert gateway.ask("reload")["changed"] == ["forward tcp/8009"], "without --save it stays in the file"
    assert reaches(gateway, 8009)
    gone = verb(gateway, "forward", "del", "tcp", "8009", "--save")
    assert gone.returncode == 0, gone.stderr
    assert config.read_text() == good
    assert [row["wan_port"] for row in data(gateway, "forward", "list")] == ["21"]
    assert gateway.ask("reload")["changed"] == []


def test_reload(gateway: AlgateGateway) -> None:
    """What can change, changes; a wrong file changes nothing and says why."""
    config = gateway.lab.folder / "algate.toml"
    good = config.read_text()
    config.write_text('[firewall]\nallow_out = ["udp/53"]\n' + good)
    done = verb(gateway, "reload")
    assert done.returncode == 0, done.stderr
    with gateway.lab.client.socket() as refused:
        refused.settimeout(1.0)
        with pytest.raises(OSError):
            refused.connect((gateway.lab.plan.servers[0], ECHO))
    config.write_text("[nat]\nhairpn = true\n")
    done = verb(gateway, "reload")
    assert done.returncode == 2
    assert "nat.hairpn" in done.stderr and "hairpin" in done.stderr
    assert [row["wan_port"] for row in data(gateway, "forward", "list")] == ["21"], "the old configuration stays whole"
    config.write_text('[gateway]\nlan = ["lan0"]\nwan = "wan0"\ndatapath = "xdp-generic"\n' + good)
    done = verb(gateway, "reload")
    assert done.returncode == 1 and 'gateway.datapath: "auto" -> "xdp-generic"' in done.stderr
    config.write_text(good)
    assert verb(gateway, "reload").returncode == 0
    with Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO) as line:
        assert line.ask(b"allowed again") == b"allowed again"


def test_follow_tells_what_happens(gateway: AlgateGateway) -> None:
    """Events of a control session behind a forward, as JSON lines that name it."""
    server = start_server("vsftpd", gateway.lab.client)
    (server.pub / "file").write_bytes(b"content")
    follower = gateway.lab.gw.spawn("follow", [*algate(), "follow", "--json", "--run-dir", str(gateway.run_dir)])
    with talking(gateway.lab.server, gateway.lab.plan.public[0], server.login) as talker:
        # It starts following at some moment: make things happen until it has heard of one.
        until(lambda: talker.fetch("pub/file") == b"content" and follower.log.read_text())
        (control,) = [row["id"] for row in data(gateway, "sessions", "--alg", "ftp", "--state", "established")]
        until(lambda: '"event": "transfer"' in follower.log.read_text())
    follower.stop()
    rows = [json.loads(line) for line in follower.log.read_text().splitlines()]
    (told, *_) = [row["fields"] for row in rows if row["event"] == "transfer"]
    assert (told["verb"], told["name"], told["user"]) == ("RETR", "pub/file", server.login.user)
    assert (told["direction"], told["client"]) == ("out", "outside")
    assert 0 <= told["duration"] < 10 and told["bytes"] == len(b"content") < told["ip_bytes"] - 4 * 40, told
    commands = [row for row in rows if row["event"] == "command"]
    assert ("RETR pub/file", "pass") in {(row["detail"], row["fields"]["verdict"]) for row in commands}
    assert server.login.password not in follower.log.read_text()
    for row in rows:
        jsonschema.validate(row, schema("follow"), cls=jsonschema.Draft202012Validator)
    assert all(list(row) == ["schema", "time", "event", "control", "alg", "detail", "reason", "fields"] for row in rows)
    assert {(row["control"], row["alg"]) for row in rows} == {(control, "ftp")}
    server.stop()
