"""Why a transfer hangs or was refused, in plain words, from what is known at one moment.

The law of this file: pure. A Snapshot in, findings out, the most telling first; it reads no map and no clock, and all
it says follows from the snapshot. The words for a reason are in `reasons.py` and in the plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from algate.alg.rows import EventRow, SessionRow, host_of

from .known import Data, Snapshot
from .reasons import CURES, LARGE, announced, bypassed, filled, limited, refusal, sentence

IDLE = 5.0  # s without a packet after which a data connection counts as hanging
RECENT = 300.0  # s for which an event is worth telling


class Finding(NamedTuple):
    """`topic` for machines; `verdict`: refused, blocked, waiting, working, ended or unknown."""

    verdict: str
    topic: str
    text: str
    fix: str = ""


class Explanation(NamedTuple):
    """The verdict is that of the first finding."""

    subject: str
    verdict: str
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"subject": self.subject, "verdict": self.verdict, "findings": [one._asdict() for one in self.findings]}


ORDER = ("blocked", "refused", "waiting", "working", "ended", "unknown")


def explain(snapshot: Snapshot) -> Explanation:
    """Everything that can be said, starting with what explains most."""
    found = [finding for rule in RULES for finding in rule(snapshot)]
    found.sort(key=lambda one: ORDER.index(one.verdict))
    if not found:
        found = [
            Finding("unknown", "nothing-known", f"nothing is known about {snapshot.subject}", "see `algate sessions`")
        ]
    return Explanation(snapshot.subject, found[0].verdict, tuple(found))


def _gateway(now: Snapshot) -> Iterator[Finding]:
    if now.state != "translating":
        yield Finding("blocked", "not-translating", f"the gateway is {now.state}", "see `algate status`")


def _connections(now: Snapshot) -> Iterator[Finding]:
    """Data connections that exist."""
    for one in now.data:
        row, what = one.row, one.purpose or "a transfer"
        where = f"the data connection of {row.inside} and {row.outside}"
        if row.state == "new":
            asker, other = (row.inside, row.outside) if row.packets_out else (row.outside, row.inside)
            yield Finding(
                "blocked", "syn-unanswered",
                f"{asker}'s SYN went to {other} {max(row.packets_out, row.packets_in)} times and was never answered",
                f"look at the firewall and the listening port of {other.rpartition(':')[0]}",
            )  # fmt: skip
        elif row.state == "reset":
            yield Finding("ended", "data-reset", f"{where} ({what}) was reset by one of its ends")
        elif row.state in ("closing", "time-wait"):
            yield Finding("ended", "data-closed", f"{where} ({what}) is over: {_moved(row)}")
        elif one.idle >= IDLE:
            yield Finding(
                "blocked", "data-idle",
                f"{where} ({what}) is up, but nothing has passed for {one.idle:.0f} s: {_moved(row)} so far",
                "the gateway is holding none of its packets: look at the two ends",
            )  # fmt: skip
        else:
            yield Finding("working", "data-moving", f"{where} ({what}) is working: {_moved(row)} so far")


def _moving(one: Data) -> bool:
    return one.row.state == "established" and one.idle < IDLE


def _moved(row: SessionRow) -> str:
    return f"{row.bytes_out} bytes out, {row.bytes_in} bytes in"


def _expectations(now: Snapshot) -> Iterator[Finding]:
    """Data connections that may still come, or came too late."""
    for one in now.expectations:
        inward = one.public is not None
        host, _, port = one.to.rpartition(":")
        left, said = f"{one.expires_in:.0f} s are left", announced(now.events, one.to)
        outside = said or one.public
        if one.state == "pending":
            who = f"the client named {one.to}" if not inward else f"the inside named {one.to} (outside: {outside})"
            text, fix = filled(now.words.pending, now.policy, now.alg)
            yield Finding("waiting", "expectation-pending", f"{who}; {text}; {left}", fix)
        elif one.state == "open" and inward:
            told, nat = (f"; announced as {said}", f": a NAT must lead that to {one.public}") if said else ("", "")
            yield Finding(
                "waiting", "syn-missing",
                f"{one.from_} may connect to {one.public} (which leads to {one.to}{told}): its SYN never came; {left}",
                f"look at the firewall of {one.from_}, and whether it can reach {outside}{nat}",
            )  # fmt: skip
        elif one.state == "open":
            yield Finding(
                "waiting", "syn-missing",
                f"server {host} was announced at port {port}, but the SYN of {one.from_} never came; {left}",
                f"look at {one.from_}: its client hasn't connected",
            )  # fmt: skip
        elif one.state == "used":
            yield Finding("working", "expectation-used", f"the connection from {one.from_} to {one.to} came")


def _history(now: Snapshot) -> Iterator[Finding]:
    """What was refused or expired, the latest of each kind."""
    told: set[tuple[str, str]] = set()
    for row in reversed(now.events):
        ago = now.now - row.time
        if row.event == "transfer" and not row.reason:
            return  # an earlier refusal did no harm
        key = row.event, row.reason
        if ago > RECENT or key in told:
            continue
        told.add(key)
        when = f"{ago:.0f} s ago"
        if row.event == "expectation-expired":
            yield Finding(
                "refused", "syn-never-came",
                f"{_announced(row)}, but its SYN didn't come in time, {when}",
                "the connecting side never tried, or a firewall in front of it drops the SYN",
            )  # fmt: skip
        elif row.reason and refusal(row):
            text, fix = sentence(row, now.policy, now.words)
            yield Finding("refused", row.reason, f"{text}, {when}", fix)


def _announced(row: EventRow) -> str:
    to, source = row.fields.get("to"), row.fields.get("from")
    return f"{source} was to connect to {to} ({row.detail})" if to else row.detail


def _dialogue(now: Snapshot) -> Iterator[Finding]:
    """Where the two sides stand."""
    view, row = now.view, now.control
    if row is None or view is None:
        return
    if row.state == "new":
        yield Finding("blocked", "control-unanswered", f"{row.outside} and {row.inside}: the SYN was never answered")
    for size, who in zip(view.unfinished, ("client", "server"), strict=True):
        if size and not view.bypassed:
            text = f"{size} bytes from the {who} are waiting: no line end yet, or not their turn"
            yield Finding("waiting", "unfinished-line", text)
    if view.bypassed:
        yield from _opaque(now)
    elif view.unanswered and not any(_moving(one) for one in now.data):  # a transfer's reply comes after it
        yield Finding(
            "waiting", "unanswered", f"the server has not answered the client's latest commands ({view.unanswered})"
        )
    elif view.phase in now.words.phases:
        yield Finding("waiting", view.phase, now.words.phases[view.phase])


def _opaque(now: Snapshot) -> Iterator[Finding]:
    reason = next((one.reason for one in reversed(now.events) if one.event == "bypass"), "")
    told = None if now.events and not reason else bypassed(reason, now.policy, now.words)
    if told is None:
        yield Finding("blocked", "bypassed", f"the gateway no longer reads this session ({reason}) and opens nothing")
        return
    hopeful, said = told
    text, fix = filled(said, now.policy, now.alg)
    yield Finding("waiting" if hopeful else "blocked", reason or "bypassed", text, fix)


def _no_session(now: Snapshot) -> Iterator[Finding]:
    """The end points asked about have no session: what would happen to a packet."""
    if now.control is not None or now.plain or not now.ends:
        return
    yield Finding("unknown", "no-session", f"no session of {' and '.join(now.ends)}: no packet came, or it was dropped")
    for end in now.ends:
        port = end.rpartition(":")[2]
        for one in now.forwards:
            if one.wan_port == port:
                who = f", open only to {', '.join(one.from_)}" if one.from_ else ""
                yield Finding("unknown", "forward", f"port {port} leads to {one.to}{who}: {one.hits} connections")
    for end in now.shut if now.proto != "icmp" else ():  # which no service has
        yield from _let_in(now, end)
    services = {f"{proto}/{end.rpartition(':')[2]}" for end in now.ends for proto in ("tcp", "udp")}
    if now.allow_out and not services & set(now.allow_out):
        yield Finding(
            "refused", "allow-out", f"[firewall] allow_out lists {', '.join(now.allow_out)}, none of these ports",
            "list it, or let an ALG open it",
        )  # fmt: skip
    for reason, text in DROPS.items():
        if now.reasons.get(reason):
            told = f"since the start {text} ({now.reasons[reason]} packets)"
            yield Finding("unknown", reason, told, CURES[reason])


def _let_in(now: Snapshot, end: str) -> Iterator[Finding]:
    """Whether the outside may open that end point over IPv6."""
    host, _, port = end.rpartition(":")
    proto = now.proto
    there = [
        one for one in now.allowed
        if one.to == host_of(end) and proto in (None, one.proto) and _among(int(port), one.port)
    ]  # fmt: skip
    for one in there:
        who = f" from {', '.join(one.from_)}" if one.from_ else ""
        yield Finding(
            "unknown", "allow-in", f"{one.proto} port {port} of {host} is let in{who}: {one.hits} connections"
        )
    if not there:
        yield Finding(
            "unknown",
            "allow-in",
            f"nobody outside may open {f'{proto} ' if proto else ''}port {port} of {host}",
            f"if it is a service: algate allow add {proto or 'tcp'} {port} {host}",
        )


def _among(port: int, ports: str) -> bool:
    """Whether it is one of "8443" or "6000-6009"."""
    first, _, last = ports.partition("-")
    return int(first) <= port <= int(last or first)


def _refusals(now: Snapshot) -> Iterator[Finding]:
    """Which limit a host met lately that was asked about; what it has already isn't touched by that."""
    refused = now.control is None and not now.plain
    for row in now.refusals:
        yield Finding("refused" if refused else "unknown", row.reason, *limited(row))


def _plain(now: Snapshot) -> Iterator[Finding]:
    """Sessions that no ALG watches."""
    for row in now.plain:
        if row.state == "new":
            yield Finding("blocked", "syn-unanswered", f"{row.inside} and {row.outside}: the SYN was never answered")
        else:
            text = f"{row.inside} and {row.outside} ({row.state}): {_moved(row)}, {row.age:.0f} s old"
            yield Finding("working", "session", text)
            usual = now.usual.get(f"{row.proto}/{row.outside.rpartition(':')[2]}")
            if usual and row.alg is None:
                yield Finding("blocked", "not-watched", "no plug-in watches it: its data connections get no help",
                              f"see [alg.{usual}] enabled and ports")  # fmt: skip


def _losses(now: Snapshot) -> Iterator[Finding]:
    """What was lost on the way to the helper, and what was held while nobody decided."""
    if now.control is None:
        return
    lost = now.lost + now.reasons.get("punt-lost", 0)
    if lost:
        yield Finding("unknown", "punt-lost", f"{lost} control segments never reached the helper: TCP repeated them")
    dead = now.reasons.get("helper-dead", 0)
    if dead:
        held = "held until TCP repeated them" if now.fail == "closed" else "held or passed undecided"
        yield Finding("unknown", "helper-dead", f"{dead} control segments came while no helper was running: {held}")
    for reason, (text, fix) in LARGE.items():
        if now.reasons.get(reason):
            yield Finding("unknown", reason, f"{now.reasons[reason]} {text}", fix)


def _ended(now: Snapshot) -> Iterator[Finding]:
    if now.control is None and now.events:
        yield Finding("ended", "control-ended", "the control session is over; this is what its events say")
    elif now.control is not None and not now.data and not now.expectations:
        yield Finding("working", "idle", f"control session of {now.control.inside} and {now.control.outside}: "
                      f"{now.control.state}, no data connection is expected or under way")  # fmt: skip


DROPS: Mapping[str, str] = {  # by reason; what to do is in reasons.py
    "unsolicited": "unsolicited packets from outside were dropped",
    "expect-peer": "connections to a reserved port came from someone other than the expected peer",
    "expect-spent": "connections met an expectation that was already used, expired or withdrawn",
    "no-port": "no public port was free",
    "no-block": "no port block was free",
    "no-lease": "the gateway had no lease to give out public ports: another one led, or its daemon had stopped",
    "table-full": "the session table was full",
    "allow-out": "packets to services that [firewall] allow_out doesn't list were dropped",
    "host-sessions": "hosts reached max_sessions_per_host",
    "host-ports": "hosts reached max_ports_per_host",
    "share-sessions": "hosts had their share of the session table",
    "share-ports": "hosts had their share of the public ports",
    "host-unanswered": "hosts reached max_unanswered_per_host: they call many that don't answer",
    "host-rate": "hosts reached new_sessions_per_second",
    "hairpin-off": "inside hosts tried to reach a public address, and hairpin is off",
    "forward-source": "sources that a forward's `from` doesn't list were refused",
    "no-session": "packets came that belong to no session and can't start one",
}

RULES: Sequence[Callable[[Snapshot], Iterator[Finding]]] = (
    _gateway, _connections, _expectations, _history, _dialogue, _refusals, _no_session, _plain, _losses, _ended,
)  # fmt: skip
