"""`status --settings`: where each key of the configuration in force comes from."""

from __future__ import annotations

from pathlib import Path

from algate.alg.admin.origins import settings
from algate.alg.config import load as configuration
from algate.alg.rows import SettingRow

TEXT = """[gateway]
lan = ["eth1"]
wan = "eth0"
[nat]
hairpin = true
[timeouts]
tcp_transitory = 60
[[forward]]
proto = "tcp"
wan_port = "50000-50001"
to = "10.0.0.5:50000"
"""


def test_where_each_key_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(TEXT)
    config = configuration.load(file, {"gateway.wan": "eth9", "gateway.lan": None})
    live = configuration.with_forward(config, {"proto": "udp", "wan_port": 53, "to": "10.0.0.2:53"})
    found = {one.key: one for one in settings(config, [live.forwards[-1]])}
    name = str(file)
    for wanted in (
        SettingRow("gateway.lan", ["eth1"], "file", name, 2),
        SettingRow("gateway.wan", "eth9", "command line"),
        SettingRow("nat.hairpin", True, "file", name, 5),  # said, though it is the default
        SettingRow("nat.ports", "1024-65535", "default"),
        SettingRow("timeouts.tcp_transitory", 60, "file", name, 7),
        SettingRow("timeouts.tcp_reset", 60, "implied"),
        SettingRow("forward tcp/50000-50001", {"to": "10.0.0.5:50000"}, "file", name, 8),
        SettingRow("forward udp/53", {"to": "10.0.0.2:53"}, "forward add"),
        SettingRow("alg.ftp.min_port", 1024, "default"),
    ):
        assert found[wanted.key] == wanted
    assert list(found)[-1] == "forward udp/53"


def test_without_a_file() -> None:
    found = {
        one.key: one for one in settings(configuration.load(None, {"gateway.wan": "eth0", "gateway.lan": ["eth1"]}), [])
    }
    assert {one.origin for one in found.values()} == {"default", "command line"}


def test_a_forward_that_was_saved_later_has_a_file_but_no_line(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[gateway]\nlan = ["eth1"]\nwan = "eth0"\n')
    config = configuration.load(file)
    config = configuration.with_forward(config, {"proto": "tcp", "wan_port": 21, "to": "10.0.0.5:21"})
    (row,) = [one for one in settings(config, []) if one.key == "forward tcp/21"]
    assert (row.origin, row.file, row.line) == ("file", str(file), None)
