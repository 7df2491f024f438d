"""Leases of public ports among several active gateways: who may use which lot until when, whatever dies or sleeps.

The law of this file: pure. One value at the engine, moved by compare-and-set, says who has what; no clock is compared
with another's. Who renews writes the number of that writing, which never comes again, and has the lease for `seconds`
from the moment before it asked; who watches waits for as long, and for hold-down, from the moment at which it first saw
that number. So the watcher's time ends later, as long as the two clocks run equally fast but for DRIFT. Moments are
seconds of CLOCK_BOOTTIME, which goes on while a host sleeps.

A lot is the same part of the ports on each public address: a host keeps its address whoever has the lot (RFC 4787
REQ-2), and the router outside tells lots by destination port alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .store import StoreError

FORMAT = 1
DRIFT = 0.02  # of a clock's pace, and of what a machine may be late
KEY = "leases"


class LeaseTerms(NamedTuple):
    """What all gateways have to agree upon. `seconds`: of a lease; `hold`: until its lots may be another's; `pool`: the
    addresses and ports that are shared, in words."""

    lots: int
    seconds: float
    hold: float
    pool: str


class LotHolding(NamedTuple):
    """Who has a lot, and since which version of the table and which time of the day."""

    owner: str
    version: int
    since: float


class LeaseTable(NamedTuple):
    """`version` counts changes of ownership, the latest of which was at `changed`, in seconds of the day's time;
    `turn` counts what was written; `beats`: each gateway's latest turn."""

    terms: LeaseTerms
    turn: int
    version: int
    changed: float
    beats: Mapping[str, int]
    held: Mapping[int, LotHolding]

    @classmethod
    def read(cls, raw: bytes, terms: LeaseTerms) -> LeaseTable:
        """From the engine's value; empty: the first one. StoreError if that is none, or has other terms."""
        if not raw:
            return cls(terms, 0, 0, 0.0, {}, {})
        try:
            told = json.loads(raw)
            found = LeaseTerms(int(told["lots"]), float(told["seconds"]), float(told["hold"]), str(told["pool"]))
            if told["format"] != FORMAT:
                raise ValueError
            held = {int(lot): LotHolding(str(one[0]), int(one[1]), float(one[2])) for lot, one in told["held"].items()}
            beats = {str(node): int(beat) for node, beat in told["beats"].items()}
            made = cls(found, int(told["turn"]), int(told["version"]), float(told["changed"]), beats, held)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise StoreError("the engine has something else where the leases should be") from None
        if found != terms:
            raise StoreError(f"the other gateways share {found}, and this one {terms}: they must be the same")
        return made

    def __bytes__(self) -> bytes:
        told = {"format": FORMAT, **self.terms._asdict(), "turn": self.turn, "version": self.version,
                "changed": self.changed, "beats": self.beats, "held": self.held}  # fmt: skip
        return json.dumps(told, separators=(",", ":"), sort_keys=True).encode()

    def lots_of(self, owner: str) -> set[int]:
        """What a gateway has."""
        return {lot for lot, one in self.held.items() if one.owner == owner}


class Proposal(NamedTuple):
    """What to write, if the engine still has `former`. `changes`: whether a lot moves."""

    former: bytes
    table: LeaseTable
    asked: float
    changes: bool


@dataclass
class Lessee:
    """One gateway. `until`: its lease's end, 0: it has none yet; `lots`: what it may give ports of while that lasts;
    `draining`: what it gives no more ports of and will give back; `lost`: what another may have now, while ports of it
    may still be in use here: they have to end before `cleared`."""

    name: str
    terms: LeaseTerms
    until: float = 0.0
    lots: set[int] = field(default_factory=set)
    draining: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    table: LeaseTable | None = None
    _empty: set[int] = field(default_factory=set)  # as of the latest proposal
    _mine: set[int] = field(default_factory=set)  # all that was ever had and not cleared
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)  # gateway -> its number, first seen when

    @property
    def new_until(self) -> float:
        """From then on no port is to be given out: a little before the lease ends."""
        return self.until - DRIFT * self.terms.seconds if self.until else 0.0

    @property
    def gone_at(self) -> float:
        """From then on nothing of it is to pass: somebody else may have it."""
        return self.until + self.terms.hold if self.until else 0.0

    def inherit(self, lots: Collection[int]) -> None:
        """Lots of which the kernel gives out ports, or has some in use, from before this was started."""
        self._mine |= set(lots)

    def observe(self, raw: bytes, now: float) -> LeaseTable:
        """What the engine had at `now` or before. StoreError as read()."""
        self.table = table = LeaseTable.read(raw, self.terms)
        for node, beat in table.beats.items():
            if self._seen.get(node, (None, 0.0))[0] != beat:
                self._seen[node] = beat, now
        for node in self._seen.keys() - table.beats.keys():
            del self._seen[node]
        return table

    def silent(self, node: str, now: float) -> bool:
        """Whether a gateway's lease is over, and hold-down too."""
        if node == self.name:
            return False
        wait = (self.terms.seconds + self.terms.hold) * (1 + DRIFT)
        return now - self._seen[node][1] > wait if node in self._seen else True

    def propose(self, raw: bytes, now: float, wall: float, empty: Collection[int]) -> Proposal:
        """The next value, of what the engine had at `now` or before: the lease renewed, lots taken that nobody has,
        those given back that are `empty`: no port of them is in use here, nor was for hold-down."""
        table = self.observe(raw, now)
        alive = {node for node in table.beats if not self.silent(node, now)} | {self.name}
        held = {lot: one for lot, one in table.held.items() if one.owner in alive}
        mine = {lot for lot, one in held.items() if one.owner == self.name}
        share = self._share(sorted(alive))
        self._empty = set(empty)
        back = sorted(mine & self.draining & self._empty)[: max(0, len(mine) - share)]
        free = [lot for lot in range(self.terms.lots) if lot not in held]
        taken = free[: max(0, share - len(mine))]
        for lot in back:
            del held[lot]
        changes = bool(taken) or held.keys() != table.held.keys()
        version = table.version + changes
        for lot in taken:
            held[lot] = LotHolding(self.name, version, wall)
        beats = {node: beat for node, beat in table.beats.items() if node in alive}
        beats[self.name] = table.turn + 1
        return Proposal(
            raw,
            LeaseTable(self.terms, table.turn + 1, version, wall if changes else table.changed, beats, held),
            now,
            changes,
        )

    def _share(self, alive: list[str]) -> int:
        place = alive.index(self.name)
        return self.terms.lots // len(alive) + (place < self.terms.lots % len(alive))

    def granted(self, proposal: Proposal) -> None:
        """The engine took it."""
        self.table = table = proposal.table
        had = table.lots_of(self.name)
        self.lost = self._mine - had
        self._mine |= had
        used_first = sorted(had, key=lambda lot: (lot in self._empty, lot))  # what is in use would take its time
        self.draining = set(used_first[self._share(sorted(table.beats)) :])
        self.lots = had - self.draining
        self.until = proposal.asked + self.terms.seconds

    def cleared(self, lots: Collection[int]) -> None:
        """Of these no port is in use here any more."""
        self.lost -= set(lots)
        self._mine -= set(lots)
