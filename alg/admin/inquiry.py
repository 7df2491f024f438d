"""What `explain` is told: the subject found among the sessions, and everything about it put together.

The law of this file: it reads what runs, changes nothing and judges nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv6Network, ip_address
from typing import Any

from algate.alg.admin import limits, listings
from algate.alg.admin.explain import Explanation, explain
from algate.alg.admin.known import Data, Snapshot
from algate.alg.config.load import Config
from algate.alg.daemon.running import Running
from algate.alg.engine.effects import View
from algate.alg.errors import USAGE, AlgateError
from algate.alg.gateway import counted, listing, prefixes, survey
from algate.alg.gateway.addresses import Addresses
from algate.alg.plugin.families import behind
from algate.alg.plugin.model import EndPoint
from algate.alg.plugin.words import Words
from algate.alg.rows import AllowRow, EventRow, SessionRow, host_of, parse_id
from algate.bpf import abi, ticks

PROTOS = ("tcp", "udp", "icmp")
PLAIN_MOST = 8
OfHost = Callable[[Running, Config, str, "Subject"], Awaitable[Explanation]]
FOUND_MOST = 256  # an end point's sessions that are told, at most


@dataclasses.dataclass(frozen=True)
class Subject:
    """What was asked about: a session id, one or two end points, or a host."""

    text: str
    id: str | None
    proto: str | None
    ends: tuple[str, ...]
    host: str | None = None


def parse(words: Sequence[str]) -> Subject:
    """An id of 16 hex digits, an IP, or [tcp|udp|icmp] IP:PORT [IP:PORT]. AlgateError (usage) for anything else."""
    left = [word for word in " ".join(words).replace("->", " ").replace(",", " ").split() if word]
    text = " ".join(left)
    proto = left.pop(0).lower() if left and left[0].lower() in PROTOS else None
    if len(left) == 1 and ":" not in left[0] and proto is None:
        try:
            return Subject(text, f"{parse_id(left[0]):016x}", None, ())
        except ValueError:
            pass
    if len(left) == 1 and proto is None:
        try:
            return Subject(text, None, None, (), str(ip_address(left[0].strip("[]"))))
        except ValueError:
            pass
    try:
        ends = tuple(_end(word) for word in left)
    except ValueError:
        ends = ()
    if not 1 <= len(ends) <= 2:
        raise AlgateError(f"{text[:60]!a} is no session id, no IP, and not [tcp|udp] IP:PORT [IP:PORT]", USAGE)
    return Subject(text, None, proto, ends)


def outside(subject: Subject, prefix: IPv6Network | None) -> Subject:
    """With the IPv4 hosts themselves instead of what NAT64 shows inside hosts of them."""
    ends = []
    for end in subject.ends:
        ip = ip_address(host_of(end))
        ends.append(str(EndPoint(behind(prefix, ip) or ip, int(end.rpartition(":")[2]))))
    shown = behind(prefix, ip_address(subject.host)) if subject.host else None
    return dataclasses.replace(subject, ends=tuple(ends), host=str(shown) if shown else subject.host)


def _end(word: str) -> str:
    port = int(word.rpartition(":")[2])
    if not 0 <= port < 65536:
        raise ValueError(word)
    return str(EndPoint(ip_address(host_of(word)), port))


async def inquire(
    running: Running, config: Config, state: str, args: dict[str, Any], whole_host: OfHost
) -> dict[str, Any]:
    """The answer to the verb `explain`: look everything up and explain it. `whole_host` answers for a host."""
    words = args.get("subject")
    subject = parse([str(word) for word in words] if isinstance(words, list) else [str(words)])
    subject = outside(subject, config.nat64.prefix)
    if subject.host is not None:
        return (await whole_host(running, config, state, subject)).as_dict()
    found = await sessions(running, lambda row: _meant(subject, row), _choice(subject, Addresses(running.gateway)))
    parents = {row.related_to for row in found if row.related_to}
    family = {row.id for row in found} | parents
    family |= {subject.id} if subject.id else set()
    related = await sessions(running, lambda _: True, relatives(running, family, parents))
    return ask(running, config, state, subject, found, related).as_dict()


def _choice(subject: Subject, addresses: Addresses) -> survey.Wanted:
    """What the sessions that a subject may mean have in common, for raw sessions."""
    if subject.id is not None:
        return survey.Wanted(ids=frozenset({int(subject.id, 16)}))
    ips = (ip_address(host_of(end)) for end in subject.ends)
    known = filter(None, map(addresses.known, ips))
    return survey.Wanted(addresses=frozenset(int.from_bytes(raw, sys.byteorder) for raw in known))


def relatives(running: Running, controls: Collection[str], parents: Collection[str]) -> survey.Wanted:
    """What control sessions expected, and `parents`."""
    meant = {int(one, 16) for one in controls}
    children = {child for child, parent in listing.parents(running.gateway).items() if parent in meant}
    return survey.Wanted(ids=frozenset(children | {int(one, 16) for one in parents}))


async def sessions(running: Running, wanted: Callable[[SessionRow], bool], chosen: survey.Wanted) -> list[SessionRow]:
    """The first FOUND_MOST of those chosen that are wanted; other tasks get a turn meanwhile."""
    found: list[SessionRow] = []
    if chosen.ids is not None and not chosen.ids:
        return found
    for some in listings.keyed(running, chosen, await listings.found_in(running, chosen)):
        found += [row for _, row in some if wanted(row)]
        if len(found) >= FOUND_MOST:
            break
        await asyncio.sleep(0)
    return found[:FOUND_MOST]


def ask(
    running: Running, config: Config, state: str, subject: Subject,
    found: Sequence[SessionRow], related: Sequence[SessionRow],
) -> Explanation:  # fmt: skip
    """`found`: the sessions that the subject means; `related`: their parents and their data connections."""
    control = _control(running, [*found, *related])
    number = control.id if control else subject.id or _remembered(running, subject)
    expectations = [
        one for one in listing.expectation_rows(running.gateway, running.names)
        if one.control == number or set(subject.ends) & {one.to, one.public}
    ]  # fmt: skip
    events = running.events.history(number) if number else []
    alg = _alg(control, events)
    hosts = {host_of(end) for end in subject.ends} | {host_of(row.inside) for row in found}
    drops = {name: running.gateway.drops.sum(at) for at, (name, _) in abi.reasons().items()}
    return explain(Snapshot(
        subject.text, time.time(), state, config.alg.fail, subject.ends, control,
        _view(running, control) if control else None,
        [row for row in found if row is not control and row.related_to is None][:PLAIN_MOST],
        expectations, [_data(running, row) for row in related if number and row.related_to == number],
        events, running.forwards.rows(), [str(one) for one in config.firewall.allow_out],
        alg, _policy(config, control, alg), running.plugins.words.get(alg or "", Words()), _usual(running), drops,
        running.helper.lost, limits.refusals(running, hosts) if hosts else (), *_admitted(running, config, subject),
        proto=subject.proto,
    ))  # fmt: skip


def _admitted(running: Running, config: Config, subject: Subject) -> tuple[list[AllowRow], list[str]]:
    """What is let in over filtered IPv6, and which of the end points that are asked about are inside hosts'."""
    if running.admissions is None:
        return [], []
    inside = [prefix for _, prefix in prefixes.behind(config.gateway.lan)]
    ips = {end: ip_address(host_of(end)) for end in subject.ends}
    return running.admissions.rows(), [end for end, ip in ips.items() if any(ip in one for one in inside)]


def _meant(subject: Subject, row: SessionRow) -> bool:
    if subject.id is not None:
        return row.id == subject.id
    return set(subject.ends) <= {row.inside, row.outside, row.mapped} and subject.proto in (None, row.proto)


def watched(running: Running, row: SessionRow) -> bool:
    """Whether it is or was a control session: once bypassed, it has no plug-in in the kernel any more."""
    return bool(row.alg or running.events.history(row.id))


def _view(running: Running, control: SessionRow) -> View | None:
    """Its dialogue; for a bypassed session that the helper let go, only that it is bypassed."""
    view = running.helper.view(int(control.id, 16))
    return View("", 0, True, (0, 0)) if view is None and not control.alg else view


def _control(running: Running, rows: Sequence[SessionRow]) -> SessionRow | None:
    """The youngest control session among those found."""
    return min((row for row in rows if watched(running, row)), key=lambda row: row.age, default=None)


def _remembered(running: Running, subject: Subject) -> str | None:
    """A control session that is over, by its end points."""
    for control in reversed(running.events.known()):
        events = running.events.history(control)
        if any(set(subject.ends) <= {str(value) for value in row.fields.values()} for row in events):
            return control
    return None


def _data(running: Running, row: SessionRow) -> Data:
    timeouts = list(running.gateway.configs[0].timeouts)
    number = {"tcp": 6, "udp": 17}.get(row.proto, 1)
    state = next(at for at, name in listing.STATE_NAMES.items() if name == row.state)
    idle = timeouts[counted.timeout_kind(number, state)] * ticks.SECONDS - row.expires_in
    purpose = running.helper.transfers.purpose(int(row.id, 16))
    return Data(row, max(0.0, idle), purpose.detail if purpose else "")


def _alg(control: SessionRow | None, events: Sequence[EventRow]) -> str | None:
    """The plug-in that watches it, or did before it was bypassed or ended."""
    watching = control.alg if control else None
    return watching or next((row.alg for row in reversed(events) if row.alg), None)


def _usual(running: Running) -> dict[str, str]:
    """Service ("tcp/21") -> the plug-in whose clients usually go there."""
    return {
        f"{plugin.transport}/{port}": name for name, plugin in running.plugins.items() for port in plugin.default_ports
    }


def _policy(config: Config, control: SessionRow | None, alg: str | None) -> dict[str, Any]:
    """The plug-in's keys, resolved for both ends of the session."""
    policy = config.alg.protocols.get(alg or "")
    if policy is None:
        return {}
    if control is not None:
        ips = [ip_address(host_of(end)) for end in (control.inside, control.outside)]
        policy = policy.resolve(ips[0], ips[1])
    return {one.name: getattr(policy, one.name) for one in dataclasses.fields(policy)}
