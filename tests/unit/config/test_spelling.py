"""Keys and values as a file spells them, on which line they stand, and what differs between two configurations."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from algate.alg.config import load as configuration
from algate.alg.config.changes import AT_ONCE, NEVER, SESSIONS, changes
from algate.alg.config.lines import lines
from algate.alg.config.spelling import defaults, spelled, values
from tests.imports import ROOT

BASE = '[gateway]\nlan = ["eth1"]\nwan = "eth0"\n'
FORWARD = '[[forward]]\nproto = "tcp"\nwan_port = {port}\nto = "10.0.0.5:21"\n'


def loaded(text: str) -> configuration.Config:
    return configuration.loads(BASE + text)


def test_values_read_back_are_the_same_configuration() -> None:
    """What is spelled is what the file may say: every key of every section, written out and read again."""
    config = loaded(
        '[nat]\nexempt = ["192.0.2.0/24"]\nports = "2000-3000"\n[alg.ftp]\ndeny = ["SITE"]\nannounce = "203.0.113.9"'
    )
    text = ""
    for key, value in values(config).items():
        table, _, name = key.rpartition(".")
        text += f"[{table}]\n" if f"[{table}]" not in text else ""
        text += f"{name} = {spelled(value)}\n"
    assert configuration.loads(text) == config


def test_every_key_of_the_example_has_a_value_and_a_default() -> None:
    example = tomllib.loads((ROOT / "deploy/config.example.toml").read_text())
    found = values(loaded(""))

    def paths(table: dict[str, Any], path: str = "") -> set[str]:
        some = {f"{path}{name}" for name, value in table.items() if not isinstance(value, dict)}
        return some.union(*(paths(one, f"{path}{name}.") for name, one in table.items() if isinstance(one, dict)))

    assert paths(example) <= set(found)
    usual = defaults(loaded(""))
    assert {key for key, value in found.items() if usual[key] != value} == {"gateway.lan", "gateway.wan"}


def test_lines() -> None:
    text = """# a comment
[gateway]
wan = "eth0"   # [nat]
lan = [
  "eth1",  # ]
  "eth2",
]

[nat]
ports = "1-2"
"hairpin" = false

[[forward]]
proto = "tcp"
[[ forward ]]
to = '''
[alg]
'''
[alg.ftp]
deny = []
[[alg.ftp.rule]]
client = "10.0.0.0/8"
[[alg.ftp.rule]]
deny = ["X"]
"""
    found = lines(text)
    wanted = {
        "gateway": 2, "gateway.wan": 3, "gateway.lan": 4, "nat.ports": 10, "nat.hairpin": 11, "forward[0]": 13,
        "forward[0].proto": 14, "forward[1]": 15, "forward[1].to": 16, "alg.ftp": 19, "alg.ftp.deny": 20,
        "alg.ftp.rule[0]": 21, "alg.ftp.rule[0].client": 22, "alg.ftp.rule[1]": 23, "alg.ftp.rule[1].deny": 24,
    }  # fmt: skip
    assert {key: found.get(key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("nat.ports = 1\n", {"nat": 1, "nat.ports": 1}),
        ("nat = { ports = 1, hairpin = true }", {"nat": 1, "nat.ports": 1, "nat.hairpin": 1}),
        ("\r\n[nat]\r\nports = 1\r\n", {"nat": 2, "nat.ports": 3}),
        ('forward = [\n{ to = "a" },\n{ to = "b" }]', {"forward": 1, "forward[0]": 1, "forward[0].to": 1,
                                                          "forward[1]": 1, "forward[1].to": 1}),
        ("[nat]\nports = [1,\n", {"nat": 1}),
        ("", {}),
    ],
)  # fmt: skip
def test_lines_of_other_spellings(text: str, wanted: dict[str, int]) -> None:
    assert lines(text) == wanted


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "", []),
        ("", "[timeouts]\nudp = 60", [f"timeouts.udp: 300 -> 60 ({AT_ONCE})"]),
        ("", "[timeouts]\nudp = 300.0", []),
        ("", '[alg.ftp]\ndeny = ["SITE"]', [f'alg.ftp.deny: [] -> ["SITE"] ({SESSIONS})']),
        ("", '[alg]\nfail = "open"', [f'alg.fail: "closed" -> "open" ({AT_ONCE})']),
        ("", '[metrics]\nlisten = ""', [f'metrics.listen: "127.0.0.1:1025" -> "" ({AT_ONCE})']),
        ("", "[nat]\nmax_sessions = 5000",
         ["nat.max_sessions: 1048576 -> 5000 (after `algate down --purge` and a new start)"]),
        ("", FORWARD.format(port=21), [f'forward tcp/21: new: {{ to = "10.0.0.5:21" }} ({AT_ONCE})']),
        (FORWARD.format(port=21), "", [f'forward tcp/21: gone, was {{ to = "10.0.0.5:21" }} ({AT_ONCE})']),
        (FORWARD.format(port=21), FORWARD.format(port=21) + 'alg = "ftp"',
         [f'forward tcp/21: {{ to = "10.0.0.5:21" }} -> {{ to = "10.0.0.5:21", alg = "ftp" }} ({AT_ONCE})']),
        ("", '[[alg.ftp.rule]]\nclient = "10.0.0.0/8"\nread_only = true', [
            f'alg.ftp.rule[0].client: new: "10.0.0.0/8" ({SESSIONS})',
            f"alg.ftp.rule[0].read_only: new: true ({SESSIONS})"]),
    ],
)  # fmt: skip
def test_changes_key_by_key_with_when(before: str, after: str, told: list[str]) -> None:
    assert list(map(str, changes(loaded(before), loaded(after)))) == told


def test_devices_cant_change() -> None:
    (one,) = changes(loaded(""), configuration.loads(BASE.replace("eth0", "eth9")))
    assert (one.key, one.when) == ("gateway.wan", NEVER)


def test_the_text_that_was_read_stays_with_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(BASE)
    config = configuration.load(file)
    file.write_text("")
    assert config.text == BASE
