"""Whether two nodes agree: what the one that leads has is what the other was told, and no public port is two hosts'.

The law of this file: pure; tables and logs in, findings out, in the words of gateway/invariants.py. Sessions are the
same by their addresses and ports, since ids are moments of a host's own clock. Both nodes are at work, so a finding
counts if it is there at a second look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from algate.alg.gateway import records
from algate.alg.gateway.estate import Raw
from algate.alg.gateway.picture import Broken, session_text
from algate.bpf import abi
from algate.bpf.packing import from_native, native

from .bulk import KEY, YOUNG
from .standby import KeptState

BATCH = 1_250_000_000  # ns: a walk of the sessions, what the machine may be late, and the look itself
OTHERS = (abi.PortKind.FREE, abi.PortKind.LOCAL, abi.PortKind.FORWARD)  # nobody's, this host's own, or by the file


class NodeTables(NamedTuple):
    """Raw entries of a node's maps. `now`: ns by the clock of its ids."""

    maps: Mapping[str, Raw]
    now: int


class LogsTold(NamedTuple):
    """What the logs say at the engine beside the node that stands by."""

    control: KeptState
    bulk: KeptState

    @property
    def keys(self) -> dict[bytes, bytes]:
        """Raw sessions by their keys."""
        both = (*self.bulk.sessions.values(), *self.control.sessions.values())
        return {raw[:KEY]: raw[KEY:] for raw in both}


def judge(told: LogsTold, leads: NodeTables | None, stands_by: NodeTables | None) -> list[Broken]:
    """Everything that doesn't agree, as far as it is known."""
    found: list[Broken] = []
    if leads is not None:
        found += _untold(told, leads)
        found += _controls(told, leads.maps)
        found += _owners(leads.maps["ports"], _ports(told), "the log")
    if stands_by is not None:
        found += _warm(told, stands_by.maps)
        found += _owners(stands_by.maps["ports"], _ports(told), "the log")
    if leads is not None and stands_by is not None:
        found += _owners(leads.maps["ports"], stands_by.maps["ports"], "the other node")
    return list(dict.fromkeys(found))


def _ports(told: LogsTold) -> Raw:
    rows = told.bulk.ports | told.control.ports
    return {native(row, 4): slot for row, slot in rows.items()}


def _untold(told: LogsTold, leads: NodeTables) -> Iterator[Broken]:
    """Sessions, in both directions."""
    keys, there = told.keys, leads.maps["sessions"]
    for key, raw in there.items():
        one = records.unpack_session(raw)
        old = leads.now - one.id > (BATCH if one.alg else YOUNG + BATCH)
        if old and key not in keys and one.state != abi.SessionState.DEAD:
            yield Broken("untold", session_text(key), "the node that stands by doesn't know this session")
    passing = {told.control.sessions[one][:KEY] for one in told.control.parents if one in told.control.sessions}
    for key in keys:  # of data connections the control log never says that they are over
        if key not in there and key not in passing:
            yield Broken("over", session_text(key), "the node that stands by keeps a session that is over")


def _controls(told: LogsTold, maps: Mapping[str, Raw]) -> Iterator[Broken]:
    """Rewritten numbers and expectations."""
    known = {raw[:KEY]: number for number, raw in told.control.sessions.items()}
    for key, raw in maps["adjusts"].items():
        theirs = told.control.adjusts.get(known.get(key, 0))
        mine = records.unpack_adjust(raw)
        if key in maps["sessions"] and (
            theirs is None or records.unpack_adjust(theirs)._replace(session=mine.session) != mine
        ):
            yield Broken(
                "delta", session_text(key), "the other node would count this control session's bytes differently"
            )
    size = abi.HEADER.structs["expectation_key"].size
    said = {raw[:size] for _, raw in told.control.expectations.values()}
    for key, raw in maps["expectations"].items():
        one = abi.Expectation.unpack(raw)
        if one.state in (abi.ExpectationState.PENDING, abi.ExpectationState.OPEN) and key not in said:
            about = session_text(bytes(one.control_key))
            yield Broken(
                "expectation", about, "the other node doesn't expect a data connection of this control session"
            )


def _warm(told: LogsTold, maps: Mapping[str, Raw]) -> Iterator[Broken]:
    """What the node that stands by has in its kernel: those of the bulk log that no ALG watches, and no others."""
    keys = {raw[:KEY] for raw in told.bulk.sessions.values() if not records.unpack_session(raw[KEY:]).alg}
    for key in keys - maps["sessions"].keys():
        yield Broken(
            "not-entered", session_text(key), "it was told of, and isn't in the tables of the node that stands by"
        )
    for key in maps["sessions"].keys() - keys:
        yield Broken("stray", session_text(key), "the node that stands by has it, and was told of no such session")


def _owners(one: Raw, other: Raw, whose: str) -> Iterator[Broken]:
    """Public ports that two have."""
    for row in one.keys() & other.keys():
        mine, theirs = (abi.PortSlot.unpack(rows[row]) for rows in (one, other))
        if mine.owner != theirs.owner and not {_kind(mine.owner), _kind(theirs.owner)} & set(OTHERS):
            yield Broken(
                "two-owners", f"row {from_native(row)} of ports", f"one node has it for another host than {whose}"
            )


def _kind(owner: int) -> int:
    return owner >> 48 & 0xFF
