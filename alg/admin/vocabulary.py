"""The names of events and of their reasons, so that `follow` can say that a filter will never match.

The law of this file: words. What a plug-in's `words` declare, and what was seen lately, counts too; a plug-in of others
may name events of its own, so names of events are judged only where there is none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from algate.alg.admin import filters, reasons
from algate.alg.audit.events import Events
from algate.alg.errors import USAGE, AlgateError
from algate.alg.plugin.registry import CARRIED, Plugins
from algate.alg.rows import LOST
from algate.alg.wording import nearest, shown

EVENTS = (
    "command", "command-refused", "expectation-made", "expectation-opened", "expectation-used", "expectation-expired",
    "expectation-withdrawn", "expectation-refused", "transfer", "transfer-failed", "violation", "bypass",
    "control-reset", "plugin-failed", "engine-failed", "session-killed", LOST,
)  # fmt: skip
# Of the engine and the helper, those apart that reasons.py has a sentence for. A plug-in's are in its words.
REASONS = (
    "event-rate", "expectation-range", "expectation-without-port", "expectation-without-target", "gone", "no-track",
    "plugin", "receiver-silent", "replacement-too-large", "reset", "retained-limit", "unreadable",
)  # fmt: skip


def checked(args: dict[str, Any], plugins: Plugins, events: Events) -> dict[str, Any]:
    """A request's args, if their `event` and `reason` may match. AlgateError (exit code 2) names the nearest word."""
    wanted = filters.parse(args)
    seen = events.latest
    declared = [name for one in plugins.words.values() for name in (*one.refusals, *one.reasons)]
    known = {*REASONS, *reasons.WORDS, *declared, *(row.reason for row in seen)}
    _judge("reason", wanted.reason, known)
    if set(plugins) <= {one.name for one in CARRIED}:
        _judge("event", wanted.event, {*EVENTS, *(row.event for row in seen)})
    return args


def _judge(option: str, words: Collection[str], known: Collection[str]) -> None:
    names = [one for one in known if one]
    for word in words:
        if word != "any" and not any(_may_match(word, one) for one in names):
            close = nearest(word, names).rstrip("-")
            raise AlgateError(f"--{option}: no event has the {option} {shown(word)}; the nearest is {close}", USAGE)


def _may_match(word: str, name: str) -> bool:
    """A filter's word and a known name, which may stand for all that begin with it."""
    return word == name.rstrip("-") or name.startswith(f"{word}-") or (name.endswith("-") and word.startswith(name))
