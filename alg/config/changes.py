"""What differs between two configurations, key by key, and when each difference takes effect.

The law of this file: pure; two configurations in, values out. It applies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from algate.alg.config.sections import SECTIONS, Config
from algate.alg.config.spelling import spelled, values
from algate.alg.plugin.schema import keys

AT_ONCE = "at once"
NEVER = "not while running: stop `algate run` and start it again"
LATER: Mapping[str, str] = {
    "gateway": NEVER,
    "ha": NEVER,
    "lease": NEVER,
    "ipv6.filter": NEVER,
    "ipv6.host_prefix": NEVER,
    "nat64.prefix": NEVER,
    "nat.max_sessions": "after `algate down --purge` and a new start",
}
"""By section or key: what a reload can't apply."""
MOVES = ("nat64.prefix",)
"""Keys that take effect at once if they have a value before and after; setting or clearing them is in LATER."""
SESSIONS = "for control sessions that begin from now on"


class Change(NamedTuple):
    """`was` and `now`: plain values, None for a key that isn't there."""

    key: str
    was: Any
    now: Any
    when: str

    def __str__(self) -> str:
        if self.was is None:
            return f"{self.key}: new: {spelled(self.now)} ({self.when})"
        if self.now is None:
            return f"{self.key}: gone, was {spelled(self.was)} ({self.when})"
        return f"{self.key}: {spelled(self.was)} -> {spelled(self.now)} ({self.when})"


def changes(before: Config, after: Config) -> list[Change]:
    """Every key with another value, in the file's order."""
    was, now = values(before), values(after)
    return [
        Change(
            key, was.get(key), now.get(key), AT_ONCE if key in MOVES and was.get(key) and now.get(key) else when(key)
        )
        for key in dict.fromkeys([*now, *was])
        if was.get(key) != now.get(key)
    ]


def when(key: str) -> str:
    """When a key of this path takes effect after a reload."""
    section, _, rest = key.partition(".")
    if key in LATER or section in LATER:
        return LATER.get(key) or LATER[section]
    if section == "alg" and rest not in keys(SECTIONS["alg"]):
        return SESSIONS
    return AT_ONCE
