"""A configuration's keys and values as its file spells them.

The law of this file: pure; it walks the sections' declarations and knows no key. What sections.py or a plug-in's policy
declares is found by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from algate.alg.config.sections import SECTIONS, AllowIn, Config, Forward
from algate.alg.plugin.policy import Policy
from algate.alg.plugin.schema import keys


def plain(value: Any) -> Any:
    """A value as TOML and JSON have it: an address, a network or a range is text, nothing is ""."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return "" if value is None else value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [plain(one) for one in value]
    return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else str(value)


def spelled(value: Any) -> str:
    """A plain value as it stands behind the equals sign."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {spelled(one)}" for name, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def forward_key(one: Forward) -> str:
    """What a forward is called: its place in the file may change, its port is its own."""
    return f"forward {one.proto}/{one.wan_port}"


def forward_value(one: Forward) -> dict[str, Any]:
    """Its other keys, those at their default apart."""
    return _others(one, ("proto", "wan_port"))


def allowed_key(one: AllowIn) -> str:
    """What an [[allow_in]] is called, for the same reason."""
    return f"allow_in {one.proto}/{one.port} [{one.to}]"


def allowed_value(one: AllowIn) -> dict[str, Any]:
    """Its other keys, those at their default apart."""
    return _others(one, ("proto", "port", "to"))


def _others(one: Forward | AllowIn, named: tuple[str, ...]) -> dict[str, Any]:
    found = {name: plain(getattr(one, key.name)) for name, key in keys(type(one)).items()}
    return {name: value for name, value in found.items() if name not in named and value not in ("", [])}


def values(config: Config) -> dict[str, Any]:
    """Path of each key ("nat.ports", "alg.NAME.rule[0].deny", "forward tcp/21") -> its plain value."""
    found: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        if kind is Forward:
            found |= {forward_key(one): forward_value(one) for one in config.forwards}
        elif kind is AllowIn:
            found |= {allowed_key(one): allowed_value(one) for one in config.allow_in}
        else:
            found |= _table(section, getattr(config, section))
    for name, policy in config.alg.protocols.items():
        found |= dict(_policy(f"alg.{name}", policy))
    return found


def _table(path: str, section: Any) -> dict[str, Any]:
    return {f"{path}.{key}": plain(getattr(section, one.name)) for key, one in keys(type(section)).items()}


def _policy(path: str, policy: Policy) -> Iterator[tuple[str, Any]]:
    yield from _table(path, policy).items()
    for number, rule in enumerate(policy.rules):
        own = f"{path}.rule[{number}]"
        whom = {"client": rule.client, "server": rule.server}
        yield from ((f"{own}.{key}", plain(value)) for key, value in whom.items() if value is not None)
        yield from ((f"{own}.{name.rstrip('_')}", plain(value)) for name, value in rule.changes)


def defaults(config: Config) -> dict[str, Any]:
    """The same for a file that says nothing; what has no default (forwards, services let in, rules) isn't in it."""
    found: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        if kind not in (Forward, AllowIn):
            found |= _table(section, kind())
    for name, policy in config.alg.protocols.items():
        found |= _table(f"alg.{name}", type(policy)())
    return found
