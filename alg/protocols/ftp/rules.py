"""Whose data connection a line may name: address rules for both sides and both placements.

The law of this file: named values, the control session and the policy in; what to expect, or a reason, out. No stream,
no dialogue. Invariant 2 of the design lives here: the peer is always the other end of this control session.
"""

from __future__ import annotations

from typing import NamedTuple

from algate.alg.protocols.base import Address, Control, EndPoint, Side
from algate.alg.protocols.ftp.grammar import Form, Named
from algate.alg.protocols.ftp.policy import FtpPolicy


class Inward(NamedTuple):
    """The inside listens: hold a public port for `inside` and say that one to the outside, which then connects.

    `announced`: what is said in its place, if anything else is.
    """

    inside: EndPoint
    announced: EndPoint | None = None


class Outward(NamedTuple):
    """The outside listens at `to`: the line is right as it stands, the inside connects."""

    to: EndPoint


class Nothing(NamedTuple):
    """No connection will be let in or out for this line."""

    reason: str


Plan = Inward | Outward | Nothing


def plan(control: Control, policy: FtpPolicy, speaker: Side, named: Named) -> Plan:
    """What a line of `speaker` that names a data connection asks of the gateway.

    Whoever is inside may call itself by each address that the outside knows it by: the mapped public one of this very
    session (FTP-42, FTP-77), and the one that is announced. That can't open what nobody asked for: either name means
    the speaker's own inside address, so what opens leads to the speaker's own host, at a port that `min_port` allows,
    for this session's peer alone; its own address in the same line brings about the very same. What the line can't do
    any more is mean another host: of the gateway's other public addresses none is taken, since it may be what the
    outside sees in another inside host's place.
    """
    own = control.ip(speaker)
    inside = speaker is control.inside_side
    ip = own if named.ip is None else named.ip
    if speaker is Side.SERVER and ip.is_unspecified:
        ip = own  # 0.0.0.0 in a 227: "the address that you reached me at"
    if inside and ip == control.public.ip:
        ip = own
    if inside and ip == policy.announce:
        ip = own
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


def told(control: Control, policy: FtpPolicy, form: Form, public: EndPoint) -> EndPoint:
    """What a line of that form tells the outside for a public end point of the gateway.

    Behind a 1:1 NAT that is the NAT's address, which leads to `public` with the same port: `public` stays what is
    mapped, expected and filtered. A peer that comes from the gateway's public address is another inside host (a
    hairpin): it gets what leads there without the NAT.
    """
    if policy.announce is None or form is Form.EXTENDED or control.remote.ip == control.public.ip:
        return public  # 229 carries no address
    return EndPoint(policy.announce, public.port)


def _listed(policy: FtpPolicy, ip: Address) -> bool:
    return any(ip.version == network.version and ip in network for network in policy.third_party)
