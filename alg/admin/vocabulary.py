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
from algate.alg.plugin.schema import nearest
from algate.alg.plugin.values import shown
from algate.alg.rows import LOST

EVENTS = (
    "command", "command-refused", "expectation-made", "expectation-opened", "expectation-used", "expectation-expired",
    "expectation-withdrawn", "expectation-refused", "transfer", "transfer-failed", "violation", "bypass",
    "control-reset", "plugin-failed", "engine-failed", "session-killed", LOST,
)  # fmt: skip
# Of the engine, the helper and the carried plug-ins, those apart that words.py or reasons.py have a sentence for.
REASONS = (
    "address-form", "after-quit", "ambiguous-telnet", "answered-in-place", "any-peer-off", "bare-cr", "bare-lf",
    "client-outside", "event-rate", "expectation-range", "expectation-without-port", "expectation-without-target",
    "gone", "line-would-overflow", "malformed-offer", "malformed-request", "no-port-free", "no-track",
    "not-client-address", "not-irc", "nul-byte", "passive-offer", "peer-acted", "plugin", "receiver-silent",
    "replacement-too-large", "reply", "reset", "rest-of-line", "retained-limit", "rfc1639", "starttls", "tls",
    "tls-no-ports", "unfinished-line", "unreadable", "wrong-side",
)  # fmt: skip
OPEN = ("reply",)  # a number follows: "reply-550"


def checked(args: dict[str, Any], plugins: Plugins, events: Events) -> dict[str, Any]:
    """A request's args, if their `event` and `reason` may match. AlgateError (exit code 2) names the nearest word."""
    wanted = filters.parse(args)
    seen = events.latest
    declared = [name for one in plugins.words.values() for name in one.refusals]
    known = {*REASONS, *reasons.WORDS, *declared, *(row.reason for row in seen)}
    _judge("reason", wanted.reason, known)
    if set(plugins) <= {one.name for one in CARRIED}:
        _judge("event", wanted.event, {*EVENTS, *(row.event for row in seen)})
    return args


def _judge(option: str, words: Collection[str], known: Collection[str]) -> None:
    for word in words:
        opened = word.partition("-")[0] in OPEN
        if word != "any" and not opened and not any(one == word or one.startswith(f"{word}-") for one in known if one):
            close = nearest(word, [one for one in known if one])
            raise AlgateError(f"--{option}: no event has the {option} {shown(word)}; the nearest is {close}", USAGE)
