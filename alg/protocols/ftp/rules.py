"""Whose data connection a line may name: address rules for both sides and both placements.

The law of this file: named values, the control session and the policy in; what to expect, or a reason, out. No stream,
no dialogue. Invariant 2 of the design lives here: the peer is always the other end of this control session.
"""

from __future__ import annotations

from typing import NamedTuple

from algate.alg.protocols.base import Address, Control, EndPoint, Side
from algate.alg.protocols.ftp.grammar import Named
from algate.alg.protocols.ftp.policy import FtpPolicy


class Inward(NamedTuple):
    """The inside listens: hold a public port for `inside` and say that one to the outside, which then connects."""

    inside: EndPoint


class Outward(NamedTuple):
    """The outside listens at `to`: the line is right as it stands, the inside connects."""

    to: EndPoint


class Nothing(NamedTuple):
    """No connection will be let in or out for this line."""

    reason: str


Plan = Inward | Outward | Nothing


def plan(control: Control, policy: FtpPolicy, speaker: Side, named: Named) -> Plan:
    """What a line of `speaker` that names a data connection asks of the gateway."""
    own = control.ip(speaker)
    inside = speaker is control.inside_side
    ip = own if named.ip is None else named.ip
    if inside and ip == control.public.ip:
        ip = own  # the speaker knows its public address (FTP-42, FTP-77); the connection must reach itself all the same
    if named.port < policy.min_port and named.port not in policy.low_ports:
        return Nothing("port-too-low")
    if ip != own:
        if not _listed(policy, ip):
            return Nothing("port-not-client" if speaker is Side.CLIENT else "third-party")
        if inside and speaker is Side.CLIENT:
            # A client that names another host wants two servers to talk to each other (FXP). Which side of the gateway
            # that host is on can't be known here, and rewriting an outside host's address would be wrong.
            return Nothing("third-party-untranslated")
    return Inward(EndPoint(ip, named.port)) if inside else Outward(EndPoint(ip, named.port))


def _listed(policy: FtpPolicy, ip: Address) -> bool:
    return any(ip.version == network.version and ip in network for network in policy.third_party)
