"""What `explain` says about IRC's DCC.

The law of this file: only words.
"""

from __future__ import annotations

from types import MappingProxyType

from algate.alg.protocols.base import Said, Words


class IrcWords(Words):
    """See Words."""

    reasons = ("client-outside", "starttls")
    refusals = MappingProxyType({
        "malformed-offer": Said("{line}: DCC that is no offer, or not in the right place, so it opens nothing"),
        "address-form": Said("{line}: the address is no IPv4 address, so nothing opens for it"),
        "not-client-address": Said("{line}: it offers an address that is not the client's own"),
        "passive-offer": Said("{line}: a passive offer (port 0): the other side will listen, nothing opens here"),
        "not-irc": Said("{line}: the session did not begin as IRC does, so nothing opens for it"),
        "bad-number": Said("{line}: a number in it is out of range, so it opens nothing"),
        "port-too-low": Said(
            "{line}: the port is below min_port ({min_port})", "[alg.{alg}] min_port allows lower ones"
        ),
        "line-would-overflow": Said("{line}: with the public address it would be too long for IRC"),
        "superseded": Said("{line}: newer offers took its place", "[alg.{alg}] max_offers allows more at once"),
        "any-peer-off": Said(
            "{line}: who will take the offer up is not known, and the policy opens nothing to anybody",
            "[alg.{alg}] any_peer = true opens each offer to anybody, once",
        ),
    })  # fmt: skip
