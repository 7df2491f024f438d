"""What is left of the public ports: by address and protocol now, and how fast they go.

The law of this file: columns of raw rows in, numbers out; it changes nothing. What of it is scarce, and for whom, is in
shares.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from algate.alg.gateway import shares
from algate.alg.rows import PortRow
from algate.bpf import abi, ticks
from algate.bpf.loader import Gateway
from algate.bpf.packing import numbers, octets

BLOCK = 65536  # rows of `ports` of one address and protocol
NOTED = 60.0  # s between two that Trend keeps
SPAN = 86400.0  # s that it looks back
LEAST = 60.0  # s that it must have seen before it says anything
FREE, RESERVED = int(abi.PortKind.FREE), int(abi.PortKind.RESERVED)
SORTS: Mapping[str, Callable[[PortRow], float]] = {
    "fill": lambda row: row.fill,
    "used": lambda row: row.used,
    "free": lambda row: row.free,
    "held_down": lambda row: row.held_down,
    "reserved": lambda row: row.reserved,
}


class PortUse:
    """Of each block, counted while the table of ports is walked: [owned, reserved, held down]."""

    def __init__(self, first: int, last: int, hold_down: int, now: int) -> None:
        """Ports `first` to `last` count; `hold_down` in ticks, `now` a tick."""
        self.blocks: dict[int, list[int]] = {}
        self._first, self._last, self._hold_down, self._now = first, last, hold_down, now

    def take(self, keys: bytes, values: bytes) -> None:
        """A batch of rows."""
        rows = memoryview(keys).cast("I").tolist()
        kinds = octets("port_slot", "owner", values, 6)
        lasts, stamps = numbers("port_slot", "last_host", values), numbers("port_slot", "stamp", values)
        for block, start, end in _stretches(rows, self._first, self._last):
            counts = self.blocks.setdefault(block, [0, 0, 0])
            some = kinds[start:end]
            free = some.count(FREE)
            counts[0] += end - start - free
            counts[1] += some.count(RESERVED)
            if free and self._hold_down and any(lasts[start:end]):
                counts[2] += self._held(some, lasts[start:end], stamps[start:end])

    def _held(self, kinds: bytes, lasts: Sequence[int], stamps: Sequence[int]) -> int:
        """Ports that hold-down keeps from all hosts but one, as port_open in ports.h."""
        now, limit = self._now, self._hold_down
        slots = zip(kinds, lasts, stamps, strict=True)
        return sum(1 for kind, last, stamp in slots if not kind and last and (now - stamp) % ticks.WRAP < limit)


def _stretches(rows: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """(block, start, end): the places of rows, which follow each other, that are ports `first` to `last` of a block."""
    start = 0
    while start < len(rows):
        block, port = divmod(rows[start], BLOCK)
        end = min(len(rows), start + BLOCK - port)
        low, high = start + max(0, first - port), min(end, start + last + 1 - port)
        if low < high:
            yield block, low, high
        start = end


class Trend:
    """How many ports each block had in use in the last day, noted now and then: 48 numbers a minute."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, tuple[int, ...]]] = deque()

    def note(self, moment: float, used: Sequence[int]) -> None:
        """What is in use at a moment; what comes too soon after the last isn't kept."""
        if self._noted and moment - self._noted[-1][0] < NOTED:
            return
        self._noted.append((moment, tuple(used)))
        while moment - self._noted[0][0] > SPAN:
            self._noted.popleft()

    def rates(self, moment: float, used: Sequence[int]) -> list[float | None]:
        """Ports a second that each block, with so many in use now, gained since the oldest note; None: not known."""
        then, before = self._noted[0] if self._noted else (moment, ())
        if moment - then < LEAST:
            return [None] * len(used)
        old = [*before, *[None] * (len(used) - len(before))]
        return [None if one is None else (now - one) / (moment - then) for now, one in zip(used, old, strict=False)]


def in_use(gateway: Gateway) -> list[int]:
    """Ports that inside hosts have, by block, as the kernel counts them."""
    blocks = range(len(shares.CLASSES) * gateway.configs[0].public_count)
    return [_count(gateway.pools[block].used) for block in blocks]


def sessions(gateway: Gateway) -> int:
    """Entries of the session table, as the kernel counts them: those that the next sweep ends are among them."""
    return _count(gateway.pools[abi.POOL_SESSIONS].used)


def _count(used: int) -> int:
    """A count that fell below 0 for a moment is 0."""
    return used if used < 1 << 63 else 0


def port_rows(use: PortUse, addresses: Iterable[str], size: int, rates: Sequence[float | None]) -> list[PortRow]:
    """A row for each address and protocol. `size`: ports in the range; `rates`: ports a second, by block."""
    ends = [(address, proto) for address in addresses for proto in shares.CLASSES]
    rows = []
    for block, ((address, proto), rate) in enumerate(zip(ends, rates, strict=False)):
        owned, reserved, held_down = use.blocks.get(block, (0, 0, 0))
        left = max(0, size - owned)
        rows.append(PortRow(
            address, proto, owned - reserved, left - held_down, held_down, reserved, owned / size if size else 1.0,
            left / rate if rate and rate > 0 else None,
        ))  # fmt: skip
    return rows
