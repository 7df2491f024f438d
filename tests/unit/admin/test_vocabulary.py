"""The words that `follow` may filter by: what can't match is refused, what the code says is known."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from algate.alg.admin import reasons, vocabulary
from algate.alg.audit.events import Events
from algate.alg.errors import AlgateError
from algate.alg.plugin import registry
from algate.alg.plugin.registry import Plugins
from algate.alg.protocols.lines import Flaw
from algate.alg.rows import EventRow
from tests.imports import ROOT

# Calls that name a reason, and where it stands among their arguments.
SAYING = {"Event": 2, "Bypass": 0, "Reset": 0, "Withdraw": 1, "NoExpectationError": 0, "Refusal": 0}


@pytest.fixture
def plugins() -> Plugins:
    return registry.discover([])


def said() -> Iterator[tuple[str, str]]:
    """(file, reason) of every literal reason in the code of engine, helper and plug-ins."""
    for folder in ("engine", "helper", "protocols"):
        for path in sorted((ROOT / "alg" / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAYING:
                    given = [one.value for one in node.keywords if one.arg == "reason"]
                    given += node.args[SAYING[node.func.id] : SAYING[node.func.id] + 1]
                    for one in given:
                        if isinstance(one, ast.Constant) and one.value:
                            yield path.name, str(one.value)


def test_every_reason_that_the_code_says_is_known(plugins: Plugins) -> None:
    declared = {name for one in plugins.words.values() for name in (*one.refusals, *one.reasons)}
    known = {*vocabulary.REASONS, *reasons.WORDS, *declared}
    found = [*said(), *(("lines.py", flaw.value) for flaw in Flaw)]
    assert len(found) > 20
    assert [one for one in found if one[1] not in known] == []


@pytest.mark.parametrize("word", ["any", "tls", "port-not-client", "port", "reply-550", "reply", "no-port", "operator"])
def test_what_may_match_passes(plugins: Plugins, word: str) -> None:
    args = {"reason": word, "inside": "10.0.0.2"}
    assert vocabulary.checked(args, plugins, Events()) is args


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"reason": "bogus"}, "--reason: no event has the reason 'bogus'; the nearest is "),
        ({"reason": "tls,port-not-clint"}, "'port-not-clint'; the nearest is port-not-client"),
        ({"event": "comand"}, "--event: no event has the event 'comand'; the nearest is command"),
    ],
)
def test_what_cant_is_refused_with_the_nearest(plugins: Plugins, args: dict[str, Any], told: str) -> None:
    with pytest.raises(AlgateError) as refused:
        vocabulary.checked(args, plugins, Events())
    assert refused.value.exit_code == 2 and told in str(refused.value)


def test_what_was_seen_may_come_again_and_others_may_name_events_of_their_own(plugins: Plugins) -> None:
    events = Events()
    events.add(EventRow(1.0, "whim-refused", None, "toy", "", "on-a-whim"))
    vocabulary.checked({"event": "whim", "reason": "on-a-whim"}, plugins, events)
    plugins["toy"] = plugins["irc"]
    vocabulary.checked({"event": "anything"}, plugins, events)
    with pytest.raises(AlgateError):
        vocabulary.checked({"reason": "anything"}, plugins, events)
