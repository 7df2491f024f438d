"""The configuration in the operator's hand: looked at, tried for a while, applied; what `run` and `status` say."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator

import jsonschema
import pytest

from algate.cli.lab.gateways import AlgateGateway, algate
from algate.cli.lab.host import call_in
from algate.cli.lab.lab import Lab
from algate.client import schema
from tests.netns.talk import Echo, Line, data, until, verb

ECHO = 7007
CONFIG = """# a comment
[metrics]
listen = "127.0.0.1:1025"
[timeouts]
udp = 200
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[AlgateGateway]:
    with Lab() as lab, AlgateGateway(lab, config=CONFIG) as made, Echo(lab.client, ECHO), Echo(lab.server, ECHO):
        yield made


@pytest.fixture(autouse=True)
def file_as_it_was(gateway: AlgateGateway) -> Iterator[None]:
    yield
    write(gateway, CONFIG)
    assert verb(gateway, "reload").returncode == 0


def write(gateway: AlgateGateway, text: str) -> None:
    (gateway.lab.folder / "algate.toml").write_text(text)


def listens(gateway: AlgateGateway, port: int) -> bool:
    """Whether something listens there, in the gateway's namespace."""

    def ask() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return call_in(gateway.lab.gw.netns, ask)


def test_run_says_what_it_does_without_being_asked(gateway: AlgateGateway) -> None:
    """Version, devices, datapath and why; as the last line what it leaves."""
    log = gateway.log.splitlines()
    assert "algate 0." in log[0] and "lan lan0, wan wan0, datapath auto" in log[0], log[0]
    assert str(gateway.lab.folder / "algate.toml") in log[1] and str(gateway.run_dir) in log[1]
    assert any("loading the programs" in line for line in log)
    (told,) = [line for line in log if "translating: lan lan0 10.77.0.1/24 by tc (" in line]
    assert "wan wan0 198.51.100.2/24 by tc (" in told
    assert gateway.stop_daemon() == 0
    last = gateway.log.splitlines()[-1]
    assert "stopped by SIGTERM after" in last
    assert last.endswith("programs and sessions stay; `algate run` takes over, `algate down` detaches")
    gateway.start()


def test_a_dry_run_tells_key_by_key_and_touches_nothing(gateway: AlgateGateway) -> None:
    write(gateway, '[metrics]\nlisten = "127.0.0.1:1026"\n[alg.ftp]\ndeny = ["SITE"]\n[gateway]\ndatapath = "xdp"\n')
    before = data(gateway, "status", "--settings")
    done = verb(gateway, "reload", "--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        'gateway.datapath: "auto" -> "xdp" (not while running: stop `algate run` and start it again)',
        "timeouts.udp: 200 -> 300 (at once)",
        'metrics.listen: "127.0.0.1:1025" -> "127.0.0.1:1026" (at once)',
        'alg.ftp.deny: [] -> ["SITE"] (for control sessions that begin from now on)',
    ]
    assert "nothing was touched" in done.stderr
    assert data(gateway, "reload", "--dry-run")["dry_run"] is True
    assert data(gateway, "status", "--settings") == before
    assert listens(gateway, 1025) and not listens(gateway, 1026)
    refused = verb(gateway, "reload")
    assert refused.returncode == 1 and refused.stderr.startswith("algate: gateway.datapath: ")
    assert refused.stderr.endswith("nothing was changed\n") and data(gateway, "status", "--settings") == before


def test_metrics_move_at_once_or_nothing_changes(gateway: AlgateGateway) -> None:
    write(gateway, '[metrics]\nlisten = "127.0.0.1:1027"\n')
    done = verb(gateway, "reload")
    assert 'metrics.listen: "127.0.0.1:1025" -> "127.0.0.1:1027" (at once)' in done.stdout
    assert listens(gateway, 1027) and not listens(gateway, 1025)
    with gateway.lab.gw.socket() as taken:
        taken.bind(("127.0.0.1", 1028))
        taken.listen()
        write(gateway, '[timeouts]\nudp = 55\n[metrics]\nlisten = "127.0.0.1:1028"\n')
        done = verb(gateway, "reload")
        assert done.returncode == 1 and "127.0.0.1:1028" in done.stderr
    assert listens(gateway, 1027)
    (row,) = [one for one in data(gateway, "status", "--settings") if one["key"] == "timeouts.udp"]
    assert row["value"] == 300
    write(gateway, '[metrics]\nlisten = ""\n')
    assert verb(gateway, "reload").returncode == 0
    assert not listens(gateway, 1027)


def test_a_reload_for_a_while_is_undone_though_its_client_is_dead(gateway: AlgateGateway) -> None:
    """Nothing may leave any more, the operator's own connection neither: it comes back by itself."""
    address = gateway.lab.plan.servers[0]
    write(gateway, CONFIG + '[firewall]\nallow_out = ["udp/53"]\n')
    asking = gateway.lab.gw.spawn("reload", [*algate(), "reload", "--for", "3", "--run-dir", str(gateway.run_dir)])
    until(lambda: gateway.ask("status")["unconfirmed"])
    asking.kill()
    waiting = gateway.ask("status")["unconfirmed"]
    assert waiting["changed"] == ["firewall.allow_out"] and 0 < waiting["left"] <= 3
    shown = verb(gateway, "status").stdout
    assert "firewall.allow_out: undone in " in shown and "unless you `algate reload --confirm`" in shown
    again = verb(gateway, "reload")
    assert again.returncode == 1 and "isn't confirmed: `algate reload --confirm`, or it is undone in" in again.stderr
    with gateway.lab.client.socket() as refused:
        refused.settimeout(0.5)
        with pytest.raises(OSError):
            refused.connect((address, ECHO))
    until(lambda: gateway.ask("status")["unconfirmed"] is None)
    with Line(gateway.lab.client, address, ECHO) as line:
        assert line.ask(b"back again") == b"back again"
    assert "not confirmed within 3 s: the former configuration is in force again" in gateway.log


def test_a_confirmed_one_stays(gateway: AlgateGateway) -> None:
    write(gateway, CONFIG.replace("200", "100"))
    done = verb(gateway, "reload", "--for", "4")
    assert done.returncode == 0 and "undone in 4 s unless you `algate reload --confirm`" in done.stderr
    done = verb(gateway, "reload", "--confirm")
    assert (done.returncode, done.stdout) == (0, "timeouts.udp: 200 -> 100 (at once)\n")
    assert verb(gateway, "reload", "--confirm").returncode == 1
    time.sleep(4.2)
    (row,) = [one for one in data(gateway, "status", "--settings") if one["key"] == "timeouts.udp"]
    assert row["value"] == 100


def test_settings_by_their_places(gateway: AlgateGateway) -> None:
    inside, name = gateway.lab.client.address, str(gateway.lab.folder / "algate.toml")
    assert verb(gateway, "forward", "add", "tcp", "8009", f"{inside}:{ECHO}").returncode == 0
    rows = {one["key"]: one for one in data(gateway, "status", "--settings")}
    assert verb(gateway, "forward", "del", "tcp", "8009").returncode == 0
    wanted = {
        "gateway.lan": (["lan0"], "command line", None, None),
        "metrics.listen": ("127.0.0.1:1025", "file", name, 3),
        "timeouts.udp": (200, "file", name, 5),
        "nat.hairpin": (True, "default", None, None),
        "forward tcp/8009": ({"to": f"{inside}:{ECHO}"}, "forward add", None, None),
    }
    assert {key: tuple(rows[key][one] for one in ("value", "origin", "file", "line")) for key in wanted} == wanted
    told = verb(gateway, "status", "--settings").stdout
    assert f"{name}:5" in told


def test_status_counts_are_of_this_moment(gateway: AlgateGateway) -> None:
    """Not of the last sweep, which may be 10 s ago."""
    before = gateway.ask("status")["sessions"]
    with (
        Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO) as one,
        Line(gateway.lab.client, gateway.lab.plan.servers[0], ECHO) as other,
    ):
        assert (one.ask(b"a"), other.ask(b"b")) == (b"a", b"b")
        assert gateway.ask("status")["sessions"] == before + 2 == len(gateway.ask("sessions"))


def test_drops_come_with_their_cure(gateway: AlgateGateway) -> None:
    """In status and in doctor, as processes."""
    with gateway.lab.server.socket() as stranger:
        stranger.settimeout(0.3)
        with pytest.raises(OSError):
            stranger.connect((gateway.lab.plan.public[0], 9999))
    drops = {one["reason"]: one for one in data(gateway, "status")["drops"]}
    cure = drops["unsolicited"]["cure"]
    assert drops["unsolicited"]["count"] > 0 and "[[forward]]" in cure
    assert "unsolicited: from outside, and neither session" in verb(gateway, "status").stdout
    assert cure in verb(gateway, "status").stdout
    (row,) = [one for one in doctor(gateway) if one["check"] == "drops"]
    assert row["ok"] and f"unsolicited ({cure})" in str(row["detail"])


def doctor(gateway: AlgateGateway) -> list[dict[str, object]]:
    """Its rows, whatever else it finds on this machine."""
    said = verb(gateway, "doctor", "--json", host=gateway.lab.gw)
    rows: list[dict[str, object]] = json.loads(said.stdout)
    jsonschema.validate(rows, schema("doctor"))
    return rows


def test_a_signal_is_a_reload_too(gateway: AlgateGateway) -> None:
    write(gateway, CONFIG.replace("200", "150"))
    assert gateway.process is not None
    gateway.process.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration read again: timeouts.udp: 200 -> 150 (at once)" in gateway.log)


def test_other_verbs_are_as_their_schemas_say(gateway: AlgateGateway) -> None:
    """Those that no other test asks for JSON; `upgrade` as the last one."""
    inside = gateway.lab.client.address
    for words in (["check", "--live"], ["check", "--pins"], ["check", str(gateway.lab.folder / "algate.toml")]):
        rows = json.loads(verb(gateway, *words, "--json", "--lan", "lan0", "--wan", "wan0").stdout)
        jsonschema.validate(rows, schema(" ".join(words) if words[1].startswith("--") else "check"))
    assert data(gateway, "forward", "add", "tcp", "8010", f"{inside}:{ECHO}")[0]["wan_port"] == "8010"
    assert verb(gateway, "forward", "del", "tcp", "8010").returncode == 0
    assert data(gateway, "upgrade")["pause"] > 0
    assert data(gateway, "status")["state"] == "translating"
