"""What sessions of older layouts say otherwise: whose data session one is, and its packets in 64 bits.

The law of this file: pure. It knows the fields that struct session had once, and where that is kept now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from algate.bpf import abi
from algate.bpf.description import Description
from algate.bpf.packing import from_native

Lift = Callable[[bytes, bytes, dict[bytes, bytes]], bytes]
LOW = (1 << 32) - 1
CARRY = 56  # from this bit on session.bytes holds the high bits of session.packets


def lifting(old: Description) -> Lift | None:
    """Of a session of that layout, as it was and as it was converted, what it is to be; its relation is added to the
    table given. None if the layout has nothing to lift."""
    fields = {one.name: one for one in old.fields("session")}
    related, packets = fields.get("related"), fields["packets"]
    wide = old.width(packets.kind) == 8
    if related is None and not wide:
        return None
    number = fields["id"].offset

    def lift(was: bytes, made: bytes, relations: dict[bytes, bytes]) -> bytes:
        if related is not None and any(parent := was[related.offset : related.offset + 8]):
            relations[was[number : number + 8]] = parent
        counts = [from_native(was[at : at + 8]) for at in (packets.offset, packets.offset + 8)]
        if not wide or max(counts) <= LOW:
            return made
        session = abi.Session.unpack(made)
        for place, count in enumerate(counts):
            session.bytes[place] |= (count >> 32) << CARRY
        return bytes(session)

    return lift


def told(session: dict[str, Any]) -> dict[str, Any]:
    """The same of a session in an export: its numbers as this version has them."""
    packets, octets = session.get("packets"), session.get("bytes")
    if not packets or not octets or max(packets) <= LOW:
        return session
    carried = [count | (many >> 32) << CARRY for many, count in zip(packets, octets, strict=True)]
    return session | {"packets": [many & LOW for many in packets], "bytes": carried}
