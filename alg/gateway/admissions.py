"""The services of inside IPv6 hosts that are let in: what is wanted, what is in force, and what was added live.

The law of this file: as forwards.py; it keeps the book, and an AdmissionTable carries it out. It reads no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from typing import Protocol

from algate.alg.config.load import AllowIn
from algate.alg.errors import AlgateError
from algate.alg.gateway.forwards import ORIGIN
from algate.alg.plugin.values import PortRange
from algate.alg.rows import AllowRow

MOST = 1024  # entries in force, a range being one


class AdmissionTable(Protocol):
    """The kernel's table. An entry's number is the same in it for as long as it is in force."""

    def found(self) -> Iterable[tuple[int, AllowIn, bool]]:
        """What is in it: number, entry, and whether it was added live."""
        ...

    def put(self, number: int, one: AllowIn, live: bool) -> None:
        """Let it in, or tell anew whether it is live."""
        ...

    def drop(self, number: int, one: AllowIn) -> None:
        """Let it in no more."""
        ...

    def hits(self, number: int, one: AllowIn) -> int:
        """How many sessions it has let in."""
        ...


class Admissions:
    """Those of one gateway. `sync` for the configured ones, `add` and `delete` for live ones."""

    def __init__(self, table: AdmissionTable) -> None:
        self._table = table
        self._known: dict[int, tuple[AllowIn, bool]] = {number: (one, live) for number, one, live in table.found()}

    def sync(self, wanted: Sequence[AllowIn]) -> None:
        """Make `wanted` the configured entries; live ones stay, but for those that the configuration has now."""
        for number, (known, live) in list(self._known.items()):
            if (not live and known not in wanted) or (live and any(_clash(known, one) for one in wanted)):
                self._remove(number)
        for one in wanted:
            if not any(not live and known == one for known, live in self._known.values()):
                self._write(self._free(), one, live=False)

    def add(self, one: AllowIn, live: bool = True) -> None:
        """Let one in, `live` or configured."""
        self._write(self._free(), one, live)

    def settle(self, one: AllowIn) -> bool:
        """Make a live entry a configured one. False if there is no such live entry."""
        number = next((at for at, (known, live) in self._known.items() if live and known == one), None)
        if number is not None:
            self._write(number, one, live=False)
        return number is not None

    def delete(self, proto: str, ports: PortRange, to: IPv6Address) -> bool:
        """End a live or configured entry; established sessions go on. False if there is none."""
        for number, (known, _) in self._known.items():
            if (known.proto, known.port, known.to) == (proto, ports, to):
                self._remove(number)
                return True
        return False

    def rows(self) -> list[AllowRow]:
        """What `allow list` shows."""
        return [
            AllowRow(
                known.proto, str(known.port), str(known.to), tuple(map(str, known.from_)), ORIGIN[live],
                self._table.hits(number, known),
            )
            for number, (known, live) in sorted(self._known.items())
        ]  # fmt: skip

    def all(self) -> list[AllowIn]:
        """Every entry in force."""
        return [known for known, _ in self._known.values()]

    def live(self) -> list[AllowIn]:
        """Those that were added live."""
        return [known for known, live in self._known.values() if live]

    def _free(self) -> int:
        number = next((at for at in range(1, MOST + 1) if at not in self._known), None)
        if number is None:
            raise AlgateError(f"there are already {MOST} services let in: delete one")
        return number

    def _write(self, number: int, one: AllowIn, live: bool) -> None:
        self._table.put(number, one, live)
        self._known[number] = one, live

    def _remove(self, number: int) -> None:
        one, _ = self._known.pop(number)
        self._table.drop(number, one)


def _clash(one: AllowIn, other: AllowIn) -> bool:
    return (one.proto, one.to) == (other.proto, other.to) and one.port.overlaps(other.port)
