"""What the reason of a refusal means, for the people who run the gateway.

The law of this file: words only. An event's reason in, a sentence and what to do about it out. These are the engine's
own words; a protocol's come from its plug-in (plugin/words.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from algate.alg.answers import HELD, DropAnswer
from algate.alg.plugin.words import Said, Words
from algate.alg.rows import LOST, EventRow, RefusalRow

NO_REFUSALS = frozenset(("bypass", "command", "transfer", LOST))  # whatever reason they give

WORDS: Mapping[str, Said] = {
    "no-port": Said("{line}: no public port was free", "add [nat] addresses, widen [nat] ports, or limit sessions"),
    "one-way": Said("the other direction doesn't pass through this gateway, so nobody could agree"),
    "expectation-limit": Said("too many data connections were expected at once"),
    "expectation-anybody": Said("a plug-in expected a connection from anybody, which the policy doesn't allow"),
    "killed": Said("an operator ended the session"),
    "address-lost": Said("the public address of the session isn't the gateway's any more"),
    "operator": Said("an operator ended {line}"),
    "plugin-failed": Said("the plug-in failed on this session ({line})", "see the daemon's log, and report it"),
    "engine-failed": Said(
        "algate itself failed on this session ({line}), not the plug-in",
        "the daemon's log has the traceback: report it to algate",
    ),
    "undecided-limit": Said(
        "more bytes waited for a verdict than the gateway keeps, so it reset the session",
        "a client that runs 64 KiB ahead of the server's answers, or a plug-in that never decides",
    ),
    "control-ended": Said("{line}: the control session ended first"),
}
# By drop reason, behind a number: what was larger than its way out takes.
LARGE: Mapping[str, Said] = {
    "too-big": Said(
        "control packets were larger than the link behind the gateway takes: their senders were told (frag-needed)",
        'where a sender hears no ICMP errors, [nat] mss_clamp = "auto" or a number spares it the first delay',
    ),
    "helper-too-big": Said(
        "packets became larger than the link takes, rewritten or as it shrank: they were sent in smaller ones"
    ),
}
# What to do about a drop, by its reason in bpf/include/reasons.def; "": nothing needs doing, it heals by itself or is
# meant. `status`, `doctor` and `explain` show it.
CURES: Mapping[str, str] = {
    "malformed": "",
    "unsolicited": "scans of the internet are dropped so; a server inside needs a [[forward]] (IPv6: an [[allow_in]])",
    "not-ours": "the WAN's link or its switch floods: look who else is on it",
    "spoofed-inside": "find the inside host with a wrong address, or route its network to that LAN device",
    "spoofed-outside": "",
    "allow-out": "list the service in [firewall] allow_out, or let an ALG open it",
    "no-port": "add [nat] addresses, widen [nat] ports, or limit hosts by max_ports_per_host",
    "no-block": "make [nat] port_block smaller, or add [nat] addresses",
    "no-lease": "see `algate ha status`: another gateway leads, the witness can't be asked, or the daemon has stopped",
    "table-full": "raise [nat] max_sessions, shorten [timeouts], or limit hosts by max_sessions_per_host",
    "no-session": "",
    "race": "",
    "punt-lost": "the helper is too slow or was away for a moment: `algate top`, `algate stats` (helper_turn)",
    "punt-too-big": 'set [nat] mss_clamp = "auto"',
    "helper-dead": "start `algate run` again, or see its log for why it hangs",
    "no-decision": "report it: the helper and the kernel disagreed",
    "stale-decision": "",
    "syn-payload": "",
    "fragment-control": 'control connections need no fragments: set [nat] mss_clamp = "auto"',
    "fragment-unknown": "",
    "expect-peer": "somebody else than the peer tries reserved ports: `algate follow --reason any`",
    "expect-spent": "a client that comes late or twice: see expect_timeout of its [alg.NAME]",
    "forward-source": "list the source in the forward's `from`",
    "icmp-invalid": "",
    "protocol": "only TCP, UDP and ICMP are translated: a VPN needs UDP encapsulation (NAT-T)",
    "rewrite-failed": "report it with the device's driver and `algate doctor`",
    "no-route": "look at the routes to both sides: `ip route get ADDRESS`",
    "hairpin-off": "set [nat] hairpin = true",
    "host-sessions": "raise [nat] max_sessions_per_host, or find what that host does: `algate sessions --by host`",
    "host-ports": "raise [nat] max_ports_per_host, or find what that host does: `algate mappings --by host`",
    "host-rate": "raise [nat] new_sessions_per_second, or find what that host does: `algate sessions --by host`",
    "loop": "",
    "martian-destination": "",
    "private-source": "name the device of those hosts in [gateway] lan, or masquerade them yourself",
    "device-unknown": "a device appeared a moment ago; if it stays so, is `algate run` alive?",
    "too-big": 'where a sender hears no ICMP errors, set [nat] mss_clamp = "auto"',
    "helper-too-big": "",
    "helper-astray": "",
    "not-its-own": "another program took a filter off the WAN for a moment: `algate status`",
    "share-sessions": "raise [nat] host_share or max_sessions, or see what that host does: `algate sessions --by host`",
    "share-ports": "raise [nat] host_share, add addresses, or see what that host does: `algate mappings --by host`",
    "host-unanswered": "a host calls many that don't answer (a scan?): `algate sessions --by host --state new`",
    "out-of-window": "",
    "icmp-window": "",
    "fragment-overlap": "",
    "fragment-tiny": "",
    "extension": "",
    "routing-header": "",
    "fragment-repeated": "",
    "addresses-full": "raise [nat] max_sessions, or limit hosts by max_sessions_per_host",
    "link-scope": "",
    "nat64-loop": "",
    "nat64-address": "behind 64:ff9b::/96 only global addresses can be reached: take a prefix of your own",
    "nat64-sum": "",
    "nat64-route": "look at the routes to both sides: `ip route get ADDRESS`",
    "nat64-too-big": 'where a sender hears no ICMP errors, set [nat] mss_clamp = "auto"; UDP over a WAN below 1260 '
    "bytes needs a sender that sums by itself: `ethtool -K DEVICE tx off` there",
    "nat64-hops": "",
    "nat64-protocol": "only TCP, UDP and ICMP are translated: a VPN needs UDP encapsulation (NAT-T)",
    "nat64-icmp": "",
    "nat64-source-route": "",
    "nat64-routed": "",
    "share-addresses": "who rotates addresses gets no new ones; for a router with many hosts raise [nat] host_share",
}
PLAIN = Said("{line}: {reason}")


def drops(counts: Mapping[str, int], words: Mapping[str, str]) -> list[DropAnswer]:
    """What was dropped so far, most first: how often, what that means, what to do. `words`: by reason."""
    some = sorted((one for one, count in counts.items() if count and one not in HELD), key=lambda one: -counts[one])
    return [{"reason": one, "count": counts[one], "meaning": words[one], "cure": CURES.get(one, "")} for one in some]


def sentence(row: EventRow, policy: Mapping[str, Any], words: Words) -> Said:
    """One event that has a reason, as a sentence and advice: the plug-in's, the engine's, or the reason itself."""
    said, parts = _declared(row, words)
    values = {name: ascii(value) for name, value in row.fields.items()} | dict(policy) | parts
    values |= {"line": ascii(row.detail) if row.detail else row.event, "reason": row.reason}
    return filled(said or WORDS.get(row.reason, PLAIN), values, row.alg)


def refusal(row: EventRow) -> bool:
    """Whether an event with a reason is a refusal: any is, a plug-in's own too, with words for it or without."""
    return row.event not in NO_REFUSALS


def limited(row: RefusalRow) -> Said:
    """New sessions of a host that were refused, and the limit that it met."""
    times = f"{row.times} times" if row.times > 1 else "once"
    text = f"host {row.inside} was refused new sessions ({row.reason}) {times}, the last {row.ago:.0f} s ago"
    if row.limit is None:
        return Said(text)
    has = "may begin" if row.has is None else f"has {row.has} of"
    fix = f"[nat] {row.setting} is the limit; `algate sessions --inside {row.inside} --by remote` says what it has"
    return Said(f"{text}: it {has} {row.limit} {row.of}", fix)


def filled(said: Said, values: Mapping[str, Any], alg: str | None) -> Said:
    """The sentence with its {names} filled in."""
    known = {"alg": alg or "?"} | dict(values)
    return Said(*(re.sub(r"\{(\w+)\}", lambda match: str(known.get(match[1], "?")), text) for text in said))


def bypassed(reason: str, policy: Mapping[str, Any], words: Words) -> tuple[bool, Said] | None:
    """What the plug-in says of a session that is no longer read; None: nothing, or it failed."""
    try:
        told = words.bypassed(reason, policy)
        return None if told is None else (bool(told[0]), Said(*map(str, told[1])))
    except Exception:  # third-party code
        return None


def announced(events: Sequence[EventRow], to: str) -> str:
    """What the outside was last told in place of the public end point that leads to `to`; "": nothing else."""
    made = (row.fields for row in reversed(events) if row.event == "expectation-made")
    return next((str(fields.get("announced", "")) for fields in made if fields.get("to") == to), "")


def _declared(row: EventRow, words: Words) -> tuple[Said | None, dict[str, str]]:
    """What the plug-in says of it; nothing if that fails."""
    try:
        said = words.refusal(row.reason)
        parts = {str(name): ascii(str(value))[1:-1] for name, value in words.parts(row.detail).items()}
        return (Said(*map(str, said)) if said is not None else None), parts
    except Exception:  # third-party code
        return None, {}
