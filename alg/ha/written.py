"""Which of the engine's effects have to be written down elsewhere before they are carried out, and as what.

The law of this file: what a restart finds in the kernel's maps, another gateway finds in the log. Decisions aren't
written: what the adjust record calls decided and the log of held bytes doesn't mention passes, there as here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from algate.alg.engine import effects as fx

from .entries import Entry, EntryKind, number

_CLOSED = (fx.KeepHeld, fx.DropHeld, fx.DropDecisions, fx.Announce, fx.Describe, fx.ReleasePort)


class Tables(Protocol):
    """What the kernel has at this moment, raw."""

    def session(self, session: int) -> bytes | None:
        """Its packed key and value; None: it is gone."""

    def track(self, session: int) -> bytes | None:
        """Its struct track."""

    def adjust(self, record: fx.AdjustRecord) -> bytes:
        """A record as the kernel has it."""

    def expectation(self, one: fx.Expectation, state: int) -> bytes:
        """An expectation's packed key and value."""

    def port(self, session: bytes) -> Entry | None:
        """The row of `ports` that a session, as packed above, stands on, if the log doesn't have it."""

    def counted(self, slot: Entry) -> list[Entry]:
        """The port block that counts the port in a row of `ports`, if one does."""

    def reserved(self, expectation: bytes) -> Entry | None:
        """The row of `ports` that is held for an expectation, as packed above."""


def ahead(effects: Sequence[fx.Effect]) -> int:
    """How many of the first of them may be carried out before the other gateway has what they change: none of these
    lets anything pass. A pending expectation that isn't early holds whoever comes, one that has gone admits nobody,
    bytes of the log that the adjust record doesn't call decided are undecided, and a decision that has gone is made
    again. An adjust record does: by it the next line passes behind a replacement that the other gateway might make
    anew, of another length, and a reply opens an expectation. What tells and what frees a port is done last of all in
    any case (executor.LAST), so neither is ahead of anything here."""
    for at, one in enumerate(effects):
        if isinstance(one, fx.PutExpectation):
            if one.expectation.state == fx.EXPECT_OPEN or one.expectation.early:
                return at
        elif isinstance(one, fx.DeleteExpectation):
            if one.heir is not None:
                return at
        elif not isinstance(one, _CLOSED):
            return at
    return len(effects)


def entries(effects: Iterable[fx.Effect], tables: Tables) -> list[Entry]:
    """What of them is to be written, in their order. Empty: nobody else needs to know.

    What a log of held bytes no longer has its receiver has acknowledged, and a record folds what it has acknowledged:
    so both come with the track that says so, else the other gateway would take it for what passes as it is."""
    made: list[Entry] = []
    known: set[int] = set()  # whose session and track are in it
    for effect in effects:
        match effect:
            case fx.PutAdjust(record):
                if _know(record.session, known, made, tables):
                    made.append(Entry(EntryKind.ADJUST, number(record.session), tables.adjust(record)))
            case fx.KeepHeld(session, direction, data):
                if _know(session, known, made, tables):
                    made.append(Entry(EntryKind.HELD, number(session) + bytes([direction]), data))
            case fx.DropHeld(session, direction):
                if _know(session, known, made, tables):
                    made.append(Entry(EntryKind.HELD, number(session) + bytes([direction]), None))
            case fx.PutExpectation(one) | fx.KnownExpectation(one):
                made += _expectation(one, one.state, tables)
            case fx.OpenExpectation(one):
                made += _expectation(one, fx.EXPECT_OPEN, tables)
            case fx.DeleteExpectation(one, _, _, heir):
                made.append(Entry(EntryKind.EXPECTATION, number(one.id), None))
                if heir is not None:
                    made += _expectation(heir, heir.state, tables)
            case fx.Admitted(session, _, _, data):
                if _know(data.session, known, made, tables):
                    made.append(Entry(EntryKind.PARENT, number(data.session), number(session)))
            case fx.ResetSession():
                made.append(over(effect.session))
            case _:
                pass
    return made


def _know(session: int, known: set[int], made: list[Entry], tables: Tables) -> bool:
    """Write a session down as it is now. False: it is gone, and so is all that belongs to it."""
    if session in known:
        return True
    told = session_entries(session, tables)
    made += told
    if told:
        known.add(session)
    return bool(told)


def over(session: int) -> Entry:
    """A session has ended, and all that belongs to it with it."""
    return Entry(EntryKind.SESSION, number(session), None)


def session_entries(session: int, tables: Tables) -> list[Entry]:
    """A session as it is now, with what the kernel tracks of it. Empty: it is gone."""
    raw = tables.session(session)
    if raw is None:
        return []
    track, slot = tables.track(session), tables.port(raw)
    made = [Entry(EntryKind.SESSION, number(session), raw)]
    made += [] if track is None else [Entry(EntryKind.TRACK, number(session), track)]
    return made if slot is None else [*made, *tables.counted(slot), slot]


def _expectation(one: fx.Expectation, state: int, tables: Tables) -> list[Entry]:
    return expectation_entries(one.id, one.session, tables.expectation(one, state), tables)


def expectation_entries(key: int, session: int, raw: bytes, tables: Tables) -> list[Entry]:
    """An expectation of a control session, with the port that is held for it."""
    made, slot = Entry(EntryKind.EXPECTATION, number(key), number(session) + raw), tables.reserved(raw)
    return [made] if slot is None else [*tables.counted(slot), slot, made]


def everything(
    sessions: Iterable[int], parents: Mapping[int, int], adjusts: Mapping[int, bytes],
    held: Mapping[tuple[int, int], bytes], expectations: Iterable[tuple[int, int, bytes]], tables: Tables,
) -> Iterable[Entry]:  # fmt: skip
    """All that is held at this moment, for a log that begins anew. `expectations`: id, control session, and raw."""
    for session in sessions:
        made = session_entries(session, tables)
        yield from made
        if made and session in adjusts:
            yield Entry(EntryKind.ADJUST, number(session), adjusts[session])
        if made and session in parents:
            yield Entry(EntryKind.PARENT, number(session), number(parents[session]))
    for (session, direction), data in held.items():
        yield Entry(EntryKind.HELD, number(session) + bytes([direction]), data)
    for key, owner, raw in expectations:
        yield from expectation_entries(key, owner, raw, tables)
