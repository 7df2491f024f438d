"""Plug-ins are found, checked, and left out one by one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

import pytest

from algate.alg.plugin import registry
from algate.alg.plugin.policy import Policy
from algate.alg.protocols.base import boolean, option
from algate.alg.protocols.ftp import PLUGIN
from algate.alg.protocols.ftp.policy import FtpPolicy
from algate.alg.protocols.irc import PLUGIN as IRC
from algate.alg.protocols.irc import IrcPolicy
from algate.alg.protocols.tftp import PLUGIN as TFTP

CARRIED = ["ftp", "tftp", "irc"]


class Plugin:
    name = "echo"
    number = 7
    transport = "udp"
    default_ports: tuple[int, ...] = (7,)

    def open(self, control: object, policy: object) -> None:
        """Never called here."""


class Entry:
    def __init__(self, name: str, loaded: object, value: str = "third.party:PLUGIN") -> None:
        self.name = name
        self.value = value
        self._loaded = loaded

    def load(self) -> object:
        if isinstance(self._loaded, BaseException):
            raise self._loaded
        return self._loaded


@dataclass(frozen=True, slots=True)
class Wide(Policy):
    any_peer: bool = option(True, boolean)


def plugin(**changes: object) -> Plugin:
    made = Plugin()
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def found(*entries: Entry) -> tuple[list[str], list[str]]:
    reports: list[str] = []
    return list(registry.discover(entries, reports.append)), reports


def test_ftp_is_there_without_any_entry_point() -> None:
    assert registry.discover(()) == {"ftp": PLUGIN, "tftp": TFTP, "irc": IRC}
    assert (PLUGIN.name, PLUGIN.number, PLUGIN.transport, PLUGIN.default_ports) == ("ftp", 1, "tcp", (21,))


def test_the_installed_entry_point_of_ftp_is_no_second_plugin() -> None:
    assert found(Entry("ftp", PLUGIN, "algate.alg.protocols.ftp:PLUGIN")) == (CARRIED, [])


def test_a_third_party_is_found() -> None:
    assert found(Entry("echo", plugin())) == ([*CARRIED, "echo"], [])


def test_what_is_installed_here_is_found_without_complaint() -> None:
    reports: list[str] = []
    assert "ftp" in registry.discover(report=reports.append)
    assert reports == []


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry("echo", ImportError("no module named x")), "ImportError: no module named x"),
        (Entry("echo", RuntimeError("boom")), "RuntimeError: boom"),
        (Entry("other", plugin()), "calls itself 'echo'"),
        (Entry("ftp", plugin(name="ftp")), "the name 'ftp' is taken"),
        (Entry("echo", plugin(number=1)), "its number 1 is taken by 'ftp'"),
        (Entry("echo", plugin(number=0)), "1..255"),
        (Entry("echo", plugin(number=256)), "1..255"),
        (Entry("echo", plugin(number=True)), "1..255"),
        (Entry("echo", plugin(transport="sctp")), "its transport is 'sctp'"),
        (Entry("echo", plugin(default_ports=(0,))), "its default_ports"),
        (Entry("echo", plugin(default_ports=[7])), "its default_ports"),
        (Entry("echo", plugin(open=None)), "no method open"),
        (Entry("echo", plugin(policy=dict)), "derived from algate.alg.plugin.policy.Policy"),
        (Entry("echo", plugin(policy=FtpPolicy)), "enabled = true by default"),
        (Entry("echo", plugin(policy=Wide)), "any_peer = true by default"),
        (Entry("echo", object()), "calls itself None"),
    ],
)
def test_a_broken_plugin_is_reported_and_left_out(entry: Entry, reason: str) -> None:
    names, reports = found(entry, Entry("later", plugin(name="later", number=9)))
    assert names == [*CARRIED, "later"]
    assert len(reports) == 1
    assert reason in reports[0] and "third.party:PLUGIN" in reports[0] and "\n" not in reports[0]


def test_of_two_with_one_number_the_first_by_name_stays() -> None:
    names, reports = found(Entry("b", plugin(name="b")), Entry("a", plugin(name="a")))
    assert names == [*CARRIED, "a"]
    assert "taken by 'a'" in reports[0]


def test_what_algate_carries_is_off_but_for_ftp_and_of_its_own_package() -> None:
    made = registry.discover(())
    assert set(made.origins) == set(CARRIED) and set(made.origins.values()) == {f"algate {metadata.version('algate')}"}
    assert not TFTP.policy().enabled and not IRC.policy().enabled and not IrcPolicy().any_peer


def test_what_is_left_out_is_kept_for_status() -> None:
    made = registry.discover([Entry("echo", RuntimeError("boom"))], lambda line: None)
    assert len(made.left_out) == 1 and "boom" in made.left_out[0]
    assert registry.discover([Entry("echo", plugin())]).origins["echo"] == "third"
