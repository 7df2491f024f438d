"""`allow add|del|list`: checked like the configuration, and told where there is no filter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from algate.alg.admin import allowing, rights
from algate.alg.config.load import Config, loads
from algate.alg.daemon.running import Running
from algate.alg.errors import AlgateError
from algate.alg.gateway import reach
from algate.alg.gateway.admissions import Admissions
from algate.alg.plugin.model import Address
from tests.unit.gateway.test_admissions import FakeTable

pytestmark = pytest.mark.unit
FILE = '[gateway]\nlan = ["eth1"]\nwan = "eth0"\n[ipv6]\nfilter = true\n'
FILED = '[[allow_in]]\nproto = "tcp"\nport = 443\nto = "2001:db8:1::5"\n'
ONE = {"proto": "tcp", "port": "9000", "to": "2001:db8:1::5", "from": []}


@pytest.fixture
def config() -> Config:
    return loads(FILE + FILED)


@pytest.fixture(autouse=True)
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What speaks against an address; against others nothing."""
    made: dict[str, str] = {}

    def obstacle(target: Address, wan: str) -> str:
        word = made.get(str(target), "")
        return word and f"{word} {wan}"

    monkeypatch.setattr(reach, "obstacle", obstacle)
    return made


@pytest.fixture
def running(config: Config) -> Running:
    admissions = Admissions(FakeTable())
    admissions.sync(config.allow_in)
    return cast(Running, SimpleNamespace(admissions=admissions))


def test_live_and_gone(running: Running, config: Config) -> None:
    config, row = allowing.add(running, config, {**ONE, "from": ["2001:db8:9::/48"]})
    assert (row["port"], row["origin"], row["from"]) == ("9000", "live", ["2001:db8:9::/48"])
    assert len(config.allow_in) == 1, "the file doesn't have it"
    assert [one.port for one in allowing.rows(running)] == ["443", "9000"]
    config, gone = allowing.delete(running, config, {**ONE, "to": "[2001:db8:1::5]"})
    assert gone == {"proto": "tcp", "port": "9000", "to": "2001:db8:1::5"}
    assert [one.port for one in allowing.rows(running)] == ["443"]
    config, _ = allowing.delete(running, config, {**ONE, "port": "443"})
    assert config.allow_in == () and list(allowing.rows(running)) == []


def test_saved(running: Running, config: Config) -> None:
    config, _ = allowing.add(running, config, ONE)
    config, row = allowing.add(running, config, {**ONE, "save": True})
    assert row["origin"] == "config" and [one.port.first for one in config.allow_in] == [443, 9000]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"port": "443"}, r"port: tcp 443 of 2001:db8:1::5 overlaps 443 of allow_in\[0\]"),
        ({"port": "440-450"}, "overlaps 443"),
        ({"port": "0"}, "port: '0' is not within"),
        ({"to": "10.0.0.5"}, "to: '10.0.0.5' is not an IPv6 address"),
        ({"to": "fe80::1"}, "can't be reached from outside"),
        ({"proto": "esp"}, "proto: 'esp' is not one of tcp, udp"),
        ({"from": ["x"]}, r"from\[0\]: 'x' is not an IPv6 network"),
        ({"alg": "ftp"}, "alg: unknown key"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(
    running: Running, config: Config, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(AlgateError, match=said):
        allowing.add(running, config, {**ONE, **more})
    assert [one.port for one in allowing.rows(running)] == ["443"]


def test_what_no_inside_device_leads_to_is_refused(running: Running, config: Config, ways: dict[str, str]) -> None:
    ways["2001:db8:dead::1"] = "it is behind"
    with pytest.raises(AlgateError, match="it is behind eth0"):
        allowing.add(running, config, {**ONE, "to": "2001:db8:dead::1"})
    assert [one.port for one in allowing.rows(running)] == ["443"]


@pytest.mark.parametrize(("args", "code"), [(ONE, 1), ({**ONE, "port": "x"}, 2), ({**ONE, "to": "x"}, 2), ({}, 2)])
def test_what_is_not_there_cant_be_deleted(running: Running, config: Config, args: dict[str, Any], code: int) -> None:
    with pytest.raises(AlgateError) as caught:
        allowing.delete(running, config, args)
    assert caught.value.exit_code == code


def test_without_a_filter_there_is_nothing_to_let_in(config: Config) -> None:
    bare = cast(Running, SimpleNamespace(admissions=None))
    for ask in (lambda: list(allowing.rows(bare)), lambda: allowing.add(bare, config, ONE)):
        with pytest.raises(AlgateError, match="IPv6 isn't filtered"):
            ask()


def test_who_may() -> None:
    assert not rights.changes("allow-list", {}) and rights.changes("allow-add", {}) and rights.changes("allow-del", {})
