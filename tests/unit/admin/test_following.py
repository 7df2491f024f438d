"""`follow --sessions` in the daemon: what one asker gets, and what the kernel is asked for on its behalf."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from algate.alg.admin import filters, following
from algate.alg.audit.relay import Relay, Wish
from algate.alg.audit.translations import PackedEnd, Translation, TranslationKind
from algate.alg.errors import AlgateError
from algate.alg.rows import Row

pytestmark = pytest.mark.unit

K = TranslationKind
MADE = Translation(
    K.SESSION_CREATED, 5.0, 6, PackedEnd(bytes([10, 0, 0, 2]), 4000), PackedEnd(bytes([203, 0, 113, 1]), 4001),
    PackedEnd(bytes([198, 51, 100, 7]), 21), 0xA1, "ftp", 0xB2, state="new",
)  # fmt: skip


def heard(args: dict[str, str], *told: Translation | int) -> list[Row]:
    """What an asker with these filters gets of records, and of gaps."""

    async def run() -> list[Row]:
        relay = Relay()
        stream = following.follow(relay, ("ftp", "irc"), args)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        if waiting.done():
            waiting.result()
        assert relay.wish
        for one in told:
            relay.lost(one) if isinstance(one, int) else relay.take([one])
        found = await asyncio.wait_for(waiting, 5)
        await stream.aclose()
        assert not relay.wish
        return found

    return asyncio.run(run())


def test_a_row_has_everything() -> None:
    (row,) = heard({}, MADE)
    assert row.as_dict() == {
        "time": 5.0, "event": "session-created", "id": "00000000000000a1", "proto": "tcp", "state": "new",
        "inside": "10.0.0.2:4000", "outside": "198.51.100.7:21", "mapped": "203.0.113.1:4001", "packets_out": 0,
        "packets_in": 0, "bytes_out": 0, "bytes_in": 0, "duration": 0.0, "alg": "ftp",
        "related_to": "00000000000000b2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "args",
    [
        {"proto": "tcp"}, {"state": "new"}, {"inside": "10.0.0.0/24:4000"}, {"outside": "198.51.100.7"},
        {"alg": "ftp"}, {"related_to": "b2"}, {"event": "session-created"},
    ],
)  # fmt: skip
def test_all_filters_that_sessions_know(args: dict[str, str]) -> None:
    other = replace(
        MADE, kind=K.SESSION_ENDED, proto=17, state="active", alg=None, related=0,
        inside=PackedEnd(bytes([10, 9, 0, 2]), 4000), remote=PackedEnd(bytes([198, 51, 100, 8]), 21),
    )  # fmt: skip
    assert [one.as_dict()["id"] for one in heard(args, other, replace(MADE, session=1), other)] == [f"{1:016x}"]


def test_gaps_are_told_first() -> None:
    gap, row = heard({}, MADE, 3)
    assert (gap.as_dict()["event"], gap.as_dict()["fields"]) == ("events-lost", {"count": 3})
    assert row.as_dict()["event"] == "session-created"


def test_a_slow_reader_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "QUEUE", 2)
    gap, *rows = heard({}, *(replace(MADE, session=number) for number in range(5)))
    assert gap.as_dict()["detail"] == "3 the reader is too slow"
    assert [one.as_dict()["id"][-1] for one in rows] == ["3", "4"]


def test_what_the_kernel_can_judge() -> None:
    def wish(**args: str) -> Wish:
        return following.wish(filters.parse(args))

    assert wish() == Wish(sessions=True)
    assert wish(proto="tcp,icmp").protos == {6, 1}
    assert wish(inside="10.0.0.0/24:80").inside == IPv4Network("10.0.0.0/24")
    assert wish(inside="10.0.0.0/24,10.2.0.0/24").inside == wish(inside=":80").inside == IPv4Network("0.0.0.0/0")
    assert wish(alg="ftp").watched and not wish(alg="ftp,none").watched and not wish(alg="none").watched


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"alg": "fpt"}, "--alg: 'fpt' never comes with --sessions; the nearest is ftp"),
        ({"event": "command"}, "--event: 'command' never comes with --sessions; the nearest is session-"),
        ({"reason": "any"}, "--reason: sessions have none"),
    ],
)
def test_what_never_comes_is_refused(args: dict[str, str], told: str) -> None:
    with pytest.raises(AlgateError, match=told) as caught:
        heard(args)
    assert caught.value.exit_code == 2
