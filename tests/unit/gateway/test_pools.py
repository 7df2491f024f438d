"""What is left of the public ports, and how fast they go."""

from __future__ import annotations

import struct
from itertools import islice

import pytest

from algate.alg.gateway import pools
from algate.alg.rows import PortRow
from algate.bpf import abi

KIND = abi.PortKind
FIRST, LAST, HOLD, NOW = 1024, 65535, 1000, 5


def slots(*wanted: tuple[int, abi.PortSlot], first: int, number: int) -> tuple[bytes, bytes]:
    """Rows `first` to `first + number` of `ports`: keys and values."""
    given = dict(wanted)
    rows = range(first, first + number)
    return struct.pack(f"={number}I", *rows), b"".join(bytes(given.get(row, abi.PortSlot())) for row in rows)


def owned(kind: abi.PortKind) -> abi.PortSlot:
    return abi.PortSlot(owner=int(kind) << 48 | 0x0200000A, sessions=1)


def test_each_port_is_one_thing() -> None:
    use = pools.PortUse(FIRST, LAST, HOLD, NOW)
    made = (
        (1023, owned(KIND.LOCAL)),  # below the range
        (1024, owned(KIND.MAPPING)),
        (1025, owned(KIND.HOME)),
        (1026, owned(KIND.SHARED)),
        (1027, owned(KIND.FORWARD)),
        (1028, owned(KIND.LOCAL)),
        (1029, owned(KIND.RESERVED)),
        (1030, abi.PortSlot(last_host=9, stamp=(NOW - HOLD + 1) % (1 << 32))),  # before the tick wrapped
        (1031, abi.PortSlot(last_host=9, stamp=(NOW - HOLD) % (1 << 32))),  # held long enough
        (1032, abi.PortSlot(stamp=NOW)),  # freed by nobody
    )
    use.take(*slots(*made, first=0, number=4096))
    use.take(*slots((65536 + 2000, owned(KIND.RESERVED)), first=65536, number=4096))
    assert use.blocks == {0: [6, 1, 1], 1: [1, 1, 0]}
    assert pools.port_rows(use, ["203.0.113.1"], 64512, [1.0, None, 0.0]) == [
        PortRow("203.0.113.1", "tcp", 5, 64505, 1, 1, 6 / 64512, 64506.0),
        PortRow("203.0.113.1", "udp", 0, 64511, 0, 1, 1 / 64512, None),
        PortRow("203.0.113.1", "icmp", 0, 64512, 0, 0, 0.0, None),
    ]


@pytest.mark.parametrize("size", [1, 7, 4096, 70_000])
def test_batches_may_end_anywhere(size: int) -> None:
    """In the midst of a block, of the range, and over several blocks."""
    wanted = [(row, owned(KIND.MAPPING)) for row in (1023, 1024, 2047, 2048, 65536 + 1024, 131072, 131072 + 2047)]
    use = pools.PortUse(1024, 2047, 0, NOW)
    rows = iter(range(3 * 65536) if size > 7 else [*range(1000, 2100), *range(66536, 67700), *range(131072, 133200)])
    while some := list(islice(rows, size)):
        if some[-1] - some[0] + 1 == len(some):
            use.take(*slots(*wanted, first=some[0], number=len(some)))
        else:
            for row in some:
                use.take(*slots(*wanted, first=row, number=1))
    assert {block: counts[0] for block, counts in use.blocks.items()} == {0: 2, 1: 1, 2: 1}


def test_the_rate_of_the_last_day() -> None:
    trend = pools.Trend()
    assert trend.rates(0.0, [1, 2]) == [None, None]
    trend.note(0.0, [100, 50])
    assert trend.rates(59.0, [159, 50]) == [None, None], "a minute's first connections say nothing of a day"
    assert trend.rates(100.0, [200, 40, 7]) == [1.0, -0.1, None], "an address that came meanwhile isn't known"
    for hour in range(1, 30):
        trend.note(hour * 3600.0, [100 + hour * 3600, 50])
    assert trend.rates(30 * 3600.0, [100 + 30 * 3600, 50]) == [1.0, 0.0]
    trend.note(29 * 3600.0 + 1, [0, 0])
    assert trend.rates(29 * 3600.0 + 60, [100 + 29 * 3600 + 60, 50]) == [1.0, 0.0], "too soon after the last to be kept"
    assert len(trend._noted) == 25, "a day of them"
