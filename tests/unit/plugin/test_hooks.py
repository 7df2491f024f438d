"""Everything that a plug-in may declare is used: the toy declares one of each, and a test fails if it isn't asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from algate.alg.admin.explain import explain
from algate.alg.admin.known import Snapshot
from algate.alg.config import load as config
from algate.alg.config.conflicts import held_ports
from algate.alg.config.load import Config, ConfigError, loads
from algate.alg.engine.effects import View
from algate.alg.plugin import policy, registry
from algate.alg.protocols import base
from algate.alg.protocols.ftp import PLUGIN as FTP
from algate.alg.rows import EventRow, ExpectationRow, SessionRow
from tests.imports import arrows
from tests.toy import ToyPlugin, ToyPolicy, ToyWords

pytestmark = pytest.mark.unit
ALG = Path(__file__).parents[3] / "alg"
DEVICES = {"gateway.lan": ["a"], "gateway.wan": "b"}
KINDS = policy.kinds({"ftp": FTP, "toy": ToyPlugin()})
ON = "[alg.toy]\nenabled = true\n"
TOY, FILES = (
    f'[[forward]]\nproto = "tcp"\nwan_port = {port}\nto = "10.0.0.{host}:{port}"\nalg = "{alg}"\n'
    for port, host, alg in ((7072, 5, "toy"), (21, 6, "ftp"))
)
ID = "00000000000000a1"
CONTROL = SessionRow(ID, "tcp", "established", "10.0.0.2:40001", "198.51.100.2:7072", "203.0.113.1:40001",
                     20, 18, 900, 1400, 61.5, 7380.0, "toy", None)  # fmt: skip


INSIDE, SERVER = (base.network(one).network_address for one in ("10.0.0.5", "198.51.100.2"))


def read(text: str) -> ToyPolicy:
    made = loads(text, DEVICES, KINDS).alg.protocols["toy"]
    assert isinstance(made, ToyPolicy)
    return made


def wrong(text: str, kinds: Mapping[str, type[policy.Policy]] = KINDS) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, DEVICES, kinds)
    return [str(one) for one in caught.value.problems]


# -- nobody is special -------------------------------------------------------------------------------------------------


def test_no_module_for_all_plug_ins_names_a_protocol() -> None:
    """Except the list of those that algate includes."""
    named = re.compile(r"\b(ftps?|tftp|irc|dcc|fxp|eprt|epsv|pasv)\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ALG)}: {line.strip()}"
        for path in sorted(ALG.rglob("*.py"))
        if "protocols" not in path.parts
        for line in path.read_text().splitlines()
        if named.search(line)
    ]
    assert len(found) == 1 and found[0].startswith("plugin/registry.py: _Carried("), found


def test_the_configuration_is_read_checked_and_declared_in_this_order() -> None:
    """load -> conflicts (-> ha, ipv6 and lease, its parts) -> sections -> nodes, and no arrow back."""
    room, found = "algate.alg.config.", arrows()
    within = {
        name: {one.removeprefix(room) for one in found[room + name] if one.startswith(room)}
        for name in ("load", "conflicts", "ha", "ipv6", "lease", "sections")
    }
    assert within == {
        "load": {"conflicts", "ha", "ipv6", "sections"}, "conflicts": {"ha", "ipv6", "lease", "sections"},
        "ha": {"sections"}, "lease": {"ha", "sections"}, "ipv6": {"sections"}, "sections": {"nodes"},
    }  # fmt: skip


# -- its table ---------------------------------------------------------------------------------------------------------


def test_what_another_section_implies_is_the_default_and_the_file_overrides_it() -> None:
    assert read(ON).first_port == 1024
    assert read(ON + '[nat]\nports = "2000-3000"').first_port == 2000
    assert read(ON + 'first_port = 7\n[nat]\nports = "2000-3000"').first_port == 7


def test_what_a_forward_implies() -> None:
    assert read(ON).watched == (7072,)
    assert read(ON + TOY.replace(":7072", ":8000")).watched == (8000,)
    assert read(ON + FILES).watched == (7072,), "another plug-in's forward is not its own"


def test_a_rule_overrides_what_was_implied() -> None:
    made = read(ON + '[[alg.toy.rule]]\nclient = "10.0.0.0/24"\nfirst_port = 9\n[nat]\nports = "2000-3000"')
    one, other = (made.resolve(client, SERVER) for client in (INSIDE, SERVER))
    assert (one.first_port, other.first_port) == (9, 2000)


def test_its_own_keys_contradict_each_other() -> None:
    assert wrong(ON + "less = true\nmore = true") == ["alg.toy.less: alg.toy.more is set too"]


def test_a_key_contradicts_a_forward_of_the_file_or_a_live_one() -> None:
    told = "alg.toy.exclusive: forward[0] leads elsewhere"
    assert wrong(ON + "exclusive = true\n" + FILES) == [told]
    base_config = loads(ON + "exclusive = true\n" + TOY, DEVICES, KINDS)
    table = {"proto": "tcp", "wan_port": 80, "to": "10.0.0.7:80"}
    with pytest.raises(ConfigError, match=r"alg\.toy\.exclusive: forward\[1\] leads elsewhere"):
        config.with_forward(base_config, table)


def test_what_is_wrong_by_itself_is_told_once() -> None:
    assert wrong(ON + "less = 1\nmore = true") == ["alg.toy.less: 1 is neither true nor false"]


def held(made: Config) -> list[str]:
    return [f"{one.path} {one.proto} {one.ports} {one.ip}" for one in held_ports(made, made.forwards)]


def test_the_ports_that_it_wants_are_held_for_its_servers_alone() -> None:
    text = ON + 'data_ports = "50000-50009"\n'
    assert held(loads(text + FILES, DEVICES, KINDS)) == []
    assert held(loads(text + TOY + FILES, DEVICES, KINDS)) == ["alg.toy.data_ports tcp 50000-50009 10.0.0.5"]
    off = loads('[alg.toy]\ndata_ports = "50000-50009"\n', DEVICES, KINDS)
    assert held(off) == []


def test_two_plug_ins_cant_hold_the_same_port_nor_one_and_a_forward() -> None:
    ftp = '[alg.ftp]\ntls_passive_ports = "50005"\n'
    clash = wrong(ON + 'data_ports = "50000-50009"\n' + ftp + TOY + FILES)
    assert len(clash) == 1 and clash[0].startswith(
        "alg.ftp.tls_passive_ports: 50005 for 10.0.0.6 overlaps 50000-50009 for 10.0.0.5"
    )
    assert wrong(ON + 'data_ports = "7000-7099"\n' + TOY) == [
        "alg.toy.data_ports: 7000-7099 for 10.0.0.5 overlaps wan_port 7072 of forward[0]"
    ]


# -- plug-ins with mistakes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wide(base.Policy):
    any_peer: bool = base.option(False, base.boolean)
    lines: int = base.option(3, base.integer(1, 9))

    @classmethod
    def implied(cls, around: base.Surroundings) -> Mapping[str, object]:
        return {"enabled": True, "any_peer": True, "lines": 10, "lins": 1}


@dataclass(frozen=True, slots=True)
class Raising(base.Policy):
    @classmethod
    def implied(cls, around: base.Surroundings) -> Mapping[str, object]:
        raise RuntimeError("implied \x1b")

    def conflicts(self, around: base.Surroundings) -> Iterable[base.Conflict]:
        raise RuntimeError("conflicts")

    def holds(self, server: base.Address) -> list[base.Held]:
        raise RuntimeError("holds")


class One:
    """A plug-in with that policy or those words."""

    name, number, transport, default_ports = "one", 203, "tcp", (7073,)

    def __init__(self, **own: object) -> None:
        self.__dict__ |= own

    def open(self, control: base.Control, policy: object) -> None:
        """Nobody is watched."""


def test_what_the_operator_alone_says_cant_be_implied_and_the_rest_is_read_like_the_file() -> None:
    said = wrong("", policy.kinds({"one": One(policy=Wide)}))
    assert said == [
        "alg.one.enabled: its plug-in implies a value; only the operator may set it",
        "alg.one.any_peer: its plug-in implies a value; only the operator may set it",
        "alg.one.lins: unknown key; the nearest is `lines`",
        "alg.one.lines: 10 is not between 1 and 9",
    ]


def test_a_hook_that_raises_is_a_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = policy.kinds({"one": One(policy=Raising)})
    text = "[alg.one]\nenabled = true\n" + TOY.replace('"toy"', '"one"')
    assert wrong(text, kinds) == ["alg.one: its plug-in failed in implied(): RuntimeError: implied \\x1b"]
    monkeypatch.setattr(Raising, "implied", lambda around: {})
    assert wrong(text, kinds) == [
        "alg.one: its plug-in failed in holds(): RuntimeError: holds",
        "alg.one: its plug-in failed in conflicts(): RuntimeError: conflicts",
    ]


@dataclass(frozen=True, slots=True)
class Hidden(base.Policy):
    conflicts: int = base.option(1, base.integer(0, 2))  # type: ignore[assignment]


class Entry:
    """An entry point."""

    name, value = "one", "third.party:PLUGIN"

    def __init__(self, plugin: object) -> None:
        self.plugin = plugin

    def load(self) -> object:
        return self.plugin


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"policy": Hidden}, "its policy has a key 'conflicts', the name of one of Policy's methods"),
        ({"words": {"a": "b"}}, "its words are {'a': 'b'}; they must be an instance of"),
    ],
)
def test_what_hides_a_hook_is_left_out(own: dict[str, object], reason: str) -> None:
    found = registry.discover([Entry(One(**own))], lambda _: None)
    assert "one" not in found and len(found.left_out) == 1 and reason in found.left_out[0]


def test_the_registry_has_everybodys_words() -> None:
    found = registry.discover([Entry(One(words=ToyWords()))], lambda _: None)
    assert isinstance(found.words["one"], ToyWords) and found.words["ftp"] is FTP.words
    assert set(found.words) == set(found)


# -- its words ---------------------------------------------------------------------------------------------------------


def told(words: base.Words, event: EventRow | None = None, **given: Any) -> list[tuple[str, str, str, str]]:
    snapshot = Snapshot(ID, 1000.0, control=CONTROL, alg="toy", words=words, policy={"first_port": 2000},
                        events=[event] if event else [], **given)  # fmt: skip
    return [tuple(one) for one in explain(snapshot).findings]  # type: ignore[misc]


def event(name: str, reason: str) -> EventRow:
    return EventRow(990.0, name, ID, "toy", "Ann dropped it", reason, {"how": "\x1b[2J"})


@pytest.mark.parametrize("name", ["toy-refused", "expectation-refused"])
def test_its_reason_has_its_sentence_and_its_cure(name: str) -> None:
    text = "'Ann dropped it': Ann broke it below 2000 ('\\x1b[2J'), 10 s ago"
    assert ("refused", "broken-toy", text, "mend Ann") in told(ToyWords(), event(name, "broken-toy"))
    general = told(base.Words(), event(name, "broken-toy"))
    assert ("refused", "broken-toy", "'Ann dropped it': broken-toy, 10 s ago", "") in general, "without words, too"


def test_its_phase_has_its_sentence() -> None:
    view = View("unwrapping", 0, False, (0, 0))
    assert ("waiting", "unwrapping", "nobody has played yet", "") in told(ToyWords(), view=view)
    assert not [one for one in told(base.Words(), view=view) if one[1] == "unwrapping"]


def test_its_pending_expectations_have_their_sentence() -> None:
    row = ExpectationRow("e1", "pending", "tcp", "198.51.100.2", "203.0.113.1:4", "10.0.0.2:5", 60.0, ID, "toy")
    said = "the inside named 10.0.0.2:5 (outside: 203.0.113.1:4); nobody else wants to play yet; 60 s are left"
    assert told(ToyWords(), expectations=[row])[0] == ("waiting", "expectation-pending", said, "ask [alg.toy]")


def test_its_bypass_has_its_sentence_and_hope() -> None:
    view = View("", 0, True, (0, 0))
    wound = event("bypass", "wound-up")
    assert told(ToyWords(), wound, view=view)[0] == ("waiting", "wound-up", "the toy runs by itself from 2000 on", "")
    assert told(base.Words(), wound, view=view)[0][:2] == ("blocked", "bypassed")
    assert told(ToyWords(), event("bypass", "other"), view=view)[0][:2] == ("blocked", "bypassed")


class RaisingWords(base.Words):
    def refusal(self, reason: str) -> base.Said | None:
        raise RuntimeError("words")

    def bypassed(self, reason: str, policy: Mapping[str, Any]) -> tuple[bool, base.Said] | None:
        raise RuntimeError("words")


def test_words_that_raise_leave_the_reason_for_itself() -> None:
    said = told(RaisingWords(), event("expectation-refused", "broken-toy"), view=View("", 0, True, (0, 0)))
    assert ("refused", "broken-toy", "'Ann dropped it': broken-toy, 10 s ago", "") in said
    assert said[0][:2] == ("blocked", "bypassed")
