"""`explain` of a host: what is to be said of each of its sessions, the worst first.

The law of this file: as inquiry.py, which answers for one; it reads what runs, changes nothing, and stays bounded
however many sessions a host has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import ip_network

from algate.alg.admin import choosing, inquiry
from algate.alg.admin.explain import ORDER, Explanation, Finding
from algate.alg.admin.filters import Place
from algate.alg.admin.inquiry import Subject
from algate.alg.config.load import Config
from algate.alg.daemon.running import Running
from algate.alg.gateway import survey
from algate.alg.rows import SessionRow, host_of

CONTROLS_MOST = 16  # control sessions that are told of, the youngest first
ENDED_MOST = 8  # and those that are over


async def inquire(running: Running, config: Config, state: str, subject: Subject) -> Explanation:
    """The verdict is the worst of its sessions' verdicts; unknown: the host has none."""
    host = subject.host or ""
    found = await _of_host(running, host)
    controls = sorted((row for row in found if inquiry.watched(running, row)), key=lambda row: row.age)
    ids = {row.id for row in controls}
    related = await inquiry.sessions(running, lambda _: True, inquiry.relatives(running, ids, ()))
    findings: list[Finding] = []
    for control in controls[:CONTROLS_MOST]:
        own = [row for row in related if row.related_to == control.id]
        told = inquiry.ask(running, config, state, Subject(control.id, control.id, None, ()), [control], own)
        findings.append(_named(control, told.findings[0]))
        await asyncio.sleep(0)
    for ended in _ended(running, host, ids):
        told = inquiry.ask(running, config, state, Subject(ended, ended, None, ()), [], [])
        findings += [one._replace(text=f"{ended}: {one.text}") for one in told.findings if one.verdict == "refused"][:1]
    rest = [row for row in found if row.related_to is None and row not in controls]
    if rest:
        findings += inquiry.ask(running, config, state, Subject(host, "-", None, ()), rest, []).findings
    if len(controls) > CONTROLS_MOST:
        left = f"{len(controls) - CONTROLS_MOST} older control sessions aren't looked at"
        findings.append(Finding("unknown", "more-sessions", left, f"algate sessions --inside {host}"))
    findings.sort(key=lambda one: ORDER.index(one.verdict))
    findings = findings or [_none(host)]
    return Explanation(subject.text, findings[0].verdict, tuple(findings))


async def _of_host(running: Running, host: str) -> list[SessionRow]:
    """Its sessions, whichever side it is on."""
    places = choosing.places((Place(ip_network(host)),), running)
    inside = await inquiry.sessions(running, lambda _: True, survey.Wanted(insides=places))
    return inside or await inquiry.sessions(running, lambda _: True, survey.Wanted(outsides=places))


def _named(control: SessionRow, first: Finding) -> Finding:
    """What explains a session most, with whose it is."""
    who = f"{control.inside} and {control.outside} ({control.alg or 'no longer read'}, {control.id})"
    return first._replace(text=f"{who}: {first.text}")


def _ended(running: Running, host: str, alive: set[str]) -> list[str]:
    """Its latest control sessions that are over."""
    found: list[str] = []
    for control in reversed(running.events.known()):
        if control not in alive and any(host in _ips(row.fields.values()) for row in running.events.history(control)):
            found.append(control)
        if len(found) == ENDED_MOST:
            break
    return found


def _ips(ends: Iterable[object]) -> set[str]:
    return {host_of(str(one)) for one in ends}


def _none(host: str) -> Finding:
    return Finding(
        "unknown", "no-session", f"{host} has no session: no packet of it came, or it was dropped",
        "`algate status` says what was dropped; is the gateway its default route?",
    )  # fmt: skip
