"""What a watcher of one control session is told: its judgements and no others, bounded, and when it is over."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from algate.alg.audit.witness import QUEUE, Witness, record
from algate.alg.engine.effects import (
    INJECT_OUT,
    INJECT_RAW_IN,
    VERDICT_PASS,
    VERDICT_REPLACE,
    AdjustRecord,
    Announce,
    Effect,
    Inject,
    PutAdjust,
    PutDecision,
)
from algate.alg.engine.frames import Header, build
from algate.alg.plugin.model import Control, EndPoint, Event, Side

pytestmark = pytest.mark.unit
CONTROL = Control(
    7, EndPoint(ip_address("10.0.0.5"), 1), EndPoint(ip_address("203.0.113.1"), 1),
    EndPoint(ip_address("198.51.100.2"), 21), Side.CLIENT,
)  # fmt: skip
HEADER = Header(b"\xc6\x33\x64\x02", b"\x0a\x00\x00\x05", 21, 40001, 9, 500, None)
EFFECTS: list[Effect] = [
    Announce(7, CONTROL, Event("command-refused", "DELE x", "denied-command", (("user", "bob"),))),
    PutAdjust(AdjustRecord(7, (100, 200), (0, 0), ((), ()))),
    PutDecision(7, 0, 90, 4, VERDICT_PASS, 0, None, 0),
    PutDecision(7, 0, 94, 6, VERDICT_REPLACE, 0, b"new", 0),
    Inject(INJECT_OUT, b"the held frame"),
    Inject(INJECT_RAW_IN, build(INJECT_RAW_IN, HEADER, 77, 0x18, b"550 no\r\n")),
]  # fmt: skip


def test_a_judgement_as_a_record() -> None:
    assert record(7, EFFECTS, 5.0) == {
        "time": 5.0,
        "decided": [100, 200],
        "decisions": [
            {"direction": 0, "seq": 90, "size": 4, "new": None},
            {"direction": 0, "seq": 94, "size": 6, "new": b"new".hex()},
        ],
        "events": ["10.0.0.5 → 198.51.100.2 bob: DELE x refused (denied-command)"],
        "made": [{"direction": 1, "seq": 77, "size": 8, "flags": 0x18}],
    }


def test_a_watcher_hears_of_its_session_until_it_is_over() -> None:
    async def run() -> None:
        made = Witness()
        one, other = made.watch(7), made.watch(8)
        made.see(EFFECTS)
        made.over(7)
        told = await one.get()
        assert told is not None and told["decided"] == [100, 200] and told["lost"] == 0
        assert await one.get() is None
        made.see([PutAdjust(AdjustRecord(8, (1, 2), (0, 0), ((), ())))])
        told = await other.get()
        assert told is not None and told["decided"] == [1, 2], "and nothing of another's"
        made.leave(one)
        made.leave(other)
        assert not made.watched

    asyncio.run(run())


def test_who_reads_too_slowly_loses_the_oldest_and_is_told() -> None:
    async def run() -> None:
        made = Witness()
        one = made.watch(7)
        for number in range(QUEUE + 5):
            made.see([PutAdjust(AdjustRecord(7, (number, 0), (0, 0), ((), ())))])
        told = await one.get()
        assert told is not None and told["decided"] == [5, 0] and told["lost"] == 5

    asyncio.run(run())
