"""Whose data connection a line may name: address rules for both sides, and for the server inside or outside.

The law of this file: named values, the control session and the policy in; what to expect, or a reason, out. No stream,
no dialogue. Invariant 2 of the design lives here: the peer is always the other end of this control session.
"""

from __future__ import annotations

from typing import Final, final

from algate.alg.plugin.contract import end_point
from algate.alg.plugin.fixed import Fixed
from algate.alg.protocols.base import Address, Control, EndPoint, Side
from algate.alg.protocols.ftp.grammar import Form, Named
from algate.alg.protocols.ftp.policy import FtpPolicy


@final
class Inward(Fixed):
    """The inside listens: hold a public port for `inside` and tell that one to the outside, which then connects.

    `announced`: what the line says instead of the public port, if that differs.
    """

    __match_args__: Final = ("inside", "announced")

    def __init__(self, inside: EndPoint, announced: EndPoint | None = None) -> None:
        self.inside: Final = inside
        self.announced: Final = announced


@final
class Outward(Fixed):
    """The outside listens at `to`: the line needs no change, the inside connects."""

    __match_args__: Final = ("to",)

    def __init__(self, to: EndPoint) -> None:
        self.to: Final = to


@final
class Nothing(Fixed):
    """This line opens nothing."""

    __match_args__: Final = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason: Final = reason


Plan = Inward | Outward | Nothing


def plan(control: Control, policy: FtpPolicy, speaker: Side, named: Named) -> Plan:
    """What the gateway must do for a line of `speaker` that names a data connection.

    An inside host may also call itself by the addresses that the outside knows it by: the mapped public one of this
    session (FTP-42, FTP-77), and the announced one. That can't open what nobody asked for: both mean the speaker's
    own inside address, so what opens leads to the speaker's own host, at a port that `min_port` allows, only for this
    session's peer; naming its inside address in that line would have the same effect. Such a line can no longer mean
    another host. The gateway's other public addresses aren't accepted, since they may be what the outside sees of
    another inside host.
    """
    inside = speaker is control.inside_side
    own = control.inside.ip if inside else control.remote.ip
    ip = own if named.ip is None else named.ip
    if ip is not own:  # nearly always it is: see `address` in model.py
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
            # A client that names another host wants two servers to talk to each other (FXP). Nothing here tells which
            # side of the gateway that host is on, and rewriting an outside host's address would be wrong.
            return Nothing("third-party-untranslated")
    end = end_point(ip, named.port)
    return Inward(end) if inside else Outward(end)


def told(control: Control, policy: FtpPolicy, form: Form, public: EndPoint) -> EndPoint:
    """The end point that a line of that form tells the outside, given the gateway's public one.

    Behind a 1:1 NAT that is the NAT's address, which leads to the same port of `public`; mapping, expectation and
    filter stay with `public`. A peer that comes from the gateway's public address is another inside host (a
    hairpin): it is told `public`, which works without the NAT.
    """
    if policy.announce is None or form is Form.EXTENDED or control.remote.ip == control.public.ip:
        return public  # 229 carries no address
    if public.ip.version == 6:
        return public  # `announce` is of a NAT, and IPv6 has none
    return EndPoint(policy.announce, public.port)


def _listed(policy: FtpPolicy, ip: Address) -> bool:
    return any(ip.version == network.version and ip in network for network in policy.third_party)
