"""`algate check`: all errors of a file at once, what the host lacks, exit codes; without daemon or root."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from algate.alg.gateway import datapath, prefixes
from algate.alg.gateway.netlink import Device
from algate.cli import app as command

pytestmark = pytest.mark.unit
WRONG = '[nat]\nmaping = "x"\nports = "70000"\n[alg.ftp]\nmin_prot = 1\n[[forward]]\nproto = "x"\n'


def check(path: Path, *argv: str) -> Result:
    return CliRunner().invoke(command.app, ["check", str(path), *argv])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "algate.toml"


def test_every_error_at_once(file: Path) -> None:
    file.write_text(WRONG)
    made = check(file, "--json", "--lan", "a0", "--wan", "b0")
    rows = json.loads(made.stdout)
    assert made.exit_code == 2
    assert [row["path"] for row in rows if row["kind"] == "host"] == ["gateway.lan", "gateway.wan"], "errors come first"
    assert [row["kind"] for row in rows[-3:]] == ["error", "host", "host"]
    wanted = {"nat.maping", "nat.ports", "alg.ftp.min_prot", "forward[0].proto", "forward[0].wan_port", "forward[0].to"}
    assert wanted <= {row["path"] for row in rows}
    assert len(check(file).stdout.splitlines()) > len(wanted)


def test_a_right_file_on_a_host_without_its_devices(file: Path) -> None:
    file.write_text('[metrics]\nlisten = ""\n')
    devices = ("--lan", "nolan0", "--wan", "nowan0")
    made = check(file, "--json", *devices)
    assert made.exit_code == 1
    found = [(row["kind"], row["path"]) for row in json.loads(made.stdout)]
    assert found == [("host", "gateway.lan"), ("host", "gateway.wan")]
    right = check(file, "--no-host", *devices)
    assert (right.exit_code, right.stdout) == (0, "") and "is right" in right.stderr
    assert json.loads(check(file, "--no-host", "--json", *devices).stdout) == []


def test_a_metrics_port_in_use(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(f'[metrics]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        made = check(file, "--tsv", "--lan", "nolan0", "--wan", "nowan0")
    assert "metrics.listen" in made.stdout


def test_no_file(file: Path) -> None:
    made = check(file)
    assert (made.exit_code, "algate.toml" in made.stdout) == (2, True)


def test_what_ipv6_needs_of_the_host(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter without a route inside; a prefix that is inside already; NAT64 without a public address."""
    wan = Device("wan0", 3, b"", 1500, True, "", ())
    lan = Device("lan0", 2, b"", 1500, True, "", ())
    inside = [("lan0", IPv6Network("fd00:64::/48"))]
    monkeypatch.setattr(datapath, "need_device", lambda name: lan if name == "lan0" else wan)
    file.write_text('[metrics]\nlisten = ""\n[ipv6]\nfilter = true\n[nat64]\nprefix = "fd00:64::/96"\n')

    def found() -> dict[str, list[str]]:
        rows = json.loads(check(file, "--json", "--lan", "lan0", "--wan", "wan0").stdout)
        return {
            path: [row["reason"] for row in rows if row["path"] == path] for path in ("ipv6.filter", "nat64.prefix")
        }

    monkeypatch.setattr(prefixes, "behind", lambda _: [])
    bare = found()
    assert bare["ipv6.filter"] == ["no IPv6 route leads to an inside device (lan0): nothing to filter"]
    assert bare["nat64.prefix"] == [
        "no IPv6 route leads to an inside device (lan0): nobody to translate for",
        "needs a public IPv4 address: wan0 has none, and nat.addresses names none",
    ]
    monkeypatch.setattr(prefixes, "behind", lambda _: inside)
    assert found()["ipv6.filter"] == []
    assert found()["nat64.prefix"][0] == "fd00:64::/96 overlaps fd00:64::/48, which is behind lan0"
    monkeypatch.setattr(prefixes, "behind", lambda _: [("lan0", IPv6Network("2001:db8:1::/64"))])
    monkeypatch.setattr(prefixes, "linked", lambda name: [IPv6Network("fd00:64::/64")] if name == "wan0" else [])
    assert found()["nat64.prefix"][0] == (
        "fd00:64::/96 overlaps fd00:64::/64, the link of wan0: inside hosts couldn't reach it all"
    )


def test_a_prefix_of_a_wrong_length_hides_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong in the file and what the host lacks come at once, each with its key; no default is judged."""
    lan, wan = (Device(name, number, b"", 1500, True, "", ()) for number, name in ((2, "lan0"), (3, "wan0")))
    monkeypatch.setattr(datapath, "need_device", lambda name: lan if name == "lan0" else wan)
    monkeypatch.setattr(prefixes, "behind", lambda _: [])
    file.write_text('[metrics]\nlisten = ""\n[ipv6]\nfilter = true\n[nat64]\nprefix = "64:ff9b::/97"\n')
    made = check(file, "--json", "--lan", "lan0", "--wan", "wan0")
    rows = [(row["kind"], row["path"]) for row in json.loads(made.stdout)]
    assert rows == [("error", "nat64.prefix"), ("host", "gateway.wan"), ("host", "ipv6.filter")]
    assert made.exit_code == 2
    nameless = json.loads(check(file, "--json", "--wan", "wan0").stdout)
    assert {row["kind"] for row in nameless} == {"error"}, "whose routes to look at is unknown"


def test_an_address_behind_a_prefix_says_nothing_more(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lan, wan = (Device(name, number, b"", 1500, True, "", ()) for number, name in ((2, "lan0"), (3, "wan0")))
    inside = [("lan0", IPv6Network("fd00:64::/64")), ("lan0", IPv6Network("fd00:64::/128"))]
    monkeypatch.setattr(datapath, "need_device", lambda name: lan if name == "lan0" else wan)
    monkeypatch.setattr(prefixes, "behind", lambda _: inside)
    file.write_text('[metrics]\nlisten = ""\n[nat64]\nprefix = "fd00:64::/96"\n')
    rows = json.loads(check(file, "--json", "--lan", "lan0", "--wan", "wan0").stdout)
    assert [row["reason"] for row in rows if "overlaps" in row["reason"]] == [
        "fd00:64::/96 overlaps fd00:64::/64, which is behind lan0"
    ]
